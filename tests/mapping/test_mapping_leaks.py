"""No secret leaves, wherever in a request it stands: every kind of place, in every form that senders write it."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mapping.event import Event
from mapping.settings import MappingSettings
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, TRACE, key_values, log, logs, mapped, span, traces

SECRET = "hunter2fake"

CALL: dict[str, Any] = {
    "http.request.method": "GET",
    "url.path": "/x",
    "http.response.status_code": 500,
    "server.address": "h",
}
# Ways in which applications put secrets into attributes and log bodies.
PLACES: dict[str, dict[str, Any]] = {
    "header": {"http.request.header.authorization": [f"Bearer {SECRET}"]},
    "cookies": {"http.request.header.cookie": [SECRET], "http.response.header.set_cookie": [SECRET]},
    "header map as JSON": {"http.request.headers": orjson.dumps({"Cookie": SECRET, "X-Api-Key": SECRET}).decode()},
    "header map": {"http.request.headers": {"Cookie": SECRET}},
    "referer": {"http.request.header.referer": [f"http://x/?token={SECRET}"]},
    "full URL": {"url.full": f"http://u:{SECRET}@h/a?token={SECRET}&b=1#access_token={SECRET}"},
    "target": {"http.target": f"/a?api_key={SECRET}"},
    "query": {"url.path": "/a", "url.query": f"password={SECRET}"},
    "query in a query": {"url.path": "/a", "url.query": f"next=%2Fb%3Fpassword%3D{SECRET}&c=1"},
    "query in a path": {"url.path": f"/a?password={SECRET}"},
    "query in a path beside a query": {"url.path": f"/a?password={SECRET}", "url.query": "x=1"},
    "JSON body": {"http.request.body": orjson.dumps({"a": [{"password": SECRET}]}).decode()},
    "body map": {"http.request.body": {"a": {"password": SECRET}}},
    "form body": {"http.request.body": f"a=1&password={SECRET}"},
    "body of bytes": {"http.request.body": orjson.dumps({"password": SECRET})},
    "JSON in JSON": {"http.response.body": orjson.dumps({"inner": orjson.dumps({"token": SECRET}).decode()}).decode()},
    "keys": {
        "password": SECRET,
        "app.user.password": SECRET,
        "x.nested": {"a": {"client_secret": SECRET}},
        "json": orjson.dumps({"ssn": SECRET}).decode(),
    },
    "texts": {
        "peer": f"http://x/?sig={SECRET}",
        "dsn": f"postgres://u:{SECRET}@db/x",
        "cs": f"Server=a;Password={SECRET}",
        "raw": f"Authorization: Bearer {SECRET}",
        "tabbed": f"Authorization:\tBearer {SECRET}",
    },
    "headers by other names": {
        "rpc.grpc.request.metadata.authorization": [SECRET],
        "headers": [["cookie", SECRET]],
        "har": [{"name": "Cookie", "value": SECRET}],
    },
    "statement": {"db.statement": f"select '{SECRET}'"},
    "baggage": {"http.request.header.baggage": [f"user=a,password={SECRET}"], "baggage": f"token={SECRET};p=1"},
    "names": {
        "db.system": "sqlite",
        "db.query.summary": f'login {{"password": "{SECRET}"}}',
        "moesif.action_name": f"reset token={SECRET}",
        "event.name": f"reset?token={SECRET}",
    },
    "XML": {"soap": f"<a><s:Password Type='x'>{SECRET}</s:Password><token><![CDATA[{SECRET}]]></token></a>"},
    "prompt": {"gen_ai.input.messages": SECRET, "gen_ai.request.model": "m"},
    "API key": {"http.request.header.x_api_key": [SECRET]},
    "JSON in a list": {"l": [orjson.dumps({"password": SECRET}).decode()]},
    "bytes": {"b": orjson.dumps({"password": SECRET})},
}

# What senders write that is nearly a structure, each as a text of its own.
LOOSE = {
    "form part": f'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n{SECRET}\r\n--b--\r\n',
    "nested form": f"user[password]={SECRET}",
    "GraphQL": f'mutation {{ login(password: "{SECRET}") {{ id }} }}',
    "Go struct": f"{{User:ann Password:{SECRET}}}",
    "Go map": f"map[token:{SECRET}]",
    "Go headers": f"map[authorization:Bearer {SECRET}]",
    "YAML": f"db:\n  user: ann\n  password: {SECRET} or so\n",
    "sentence": f"login failed, password: {SECRET}",
    "sentence with a verb": f"the password is: {SECRET}",
    "curl": f"curl -u ann:{SECRET} http://h:80/",
    "curl in quotes": f'curl --user "ann:{SECRET}" h',
    "curl's header": f"curl -H 'Authorization:Bearer {SECRET}' h",
    "option": f"mysql --password {SECRET} --verbose",
    "environment": f"PGPASSWORD={SECRET} psql",
    "encoded form": f"a%3Db%26password%3D{SECRET}",
    "encoded JSON": f"%22password%22%3A%22{SECRET}%22",
    "URL in a query": f"/login?next=%2Fa%3Ftoken%3D{SECRET}",
    "key with a blank": f'{{"password ": "{SECRET}"}}',
    "header without a blank": f"Authorization:Bearer {SECRET}",
    "tuple": f"('password', '{SECRET}')",
    "ASGI headers": f"[(b'host', b'h'), (b'authorization', b'Bearer {SECRET}')]",
    "hash of Ruby": f'{{"password" => "{SECRET}", :token=>"{SECRET}"}}',
    "XML attributes": f'<add key="password" value="{SECRET}"/>',
    "JSON of PHP": f'{{"dsn":"postgres:\\/\\/u:{SECRET}@h"}}',
}

names = pytest.mark.parametrize("name", PLACES)


def decoded(text: str) -> str:
    """What base64 text says, "" for any other text."""
    try:
        return b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def seen_in(event: Event) -> Iterator[str]:
    """All that a reader of the event can see, base64 undone."""
    yield repr(event)
    yield from map(decoded, (event.request_body, event.response_body, event.body))
    for value in orjson.loads(event.metadata).values():
        if isinstance(value, str):
            yield decoded(value)


def assert_hidden(request: Any) -> None:
    found = mapped(request)
    assert not found.failed
    assert len(found.events) == 1
    assert not [text for text in seen_in(found.events[0]) if SECRET in text]


def called(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes on an HTTP call; those that locate it are not given twice."""
    own = {"url.full", "http.target", "url.path"} & attributes.keys()
    return {key: value for key, value in CALL.items() if not (own and key == "url.path")} | attributes


def as_json(attributes: dict[str, Any]) -> str:
    return orjson.dumps(attributes, default=bytes.decode).decode()


@names
@pytest.mark.parametrize("kind", [SERVER, CLIENT, INTERNAL])
def test_span_attributes_hide_secrets(name: str, kind: int) -> None:
    attributes = PLACES[name]
    assert_hidden(traces(span(attributes if kind == INTERNAL else called(attributes), kind=kind)))


@names
@pytest.mark.parametrize("kind", [SERVER, INTERNAL])
def test_what_surrounds_a_span_hides_secrets(name: str, kind: int) -> None:
    attributes = PLACES[name]
    own = {} if kind == INTERNAL else CALL
    exception = {
        "exception.message": f"{as_json(attributes)} password={SECRET}",
        "exception.stacktrace": f'x "token": "{SECRET}"',
    }
    event = Span.Event(name="exception", attributes=key_values(exception | attributes))
    link = Span.Link(trace_id=TRACE, span_id=b"\3" * 8, attributes=key_values(attributes))
    failure = Status(code=Status.STATUS_CODE_ERROR, message=f'failed "password": "{SECRET}"')
    assert_hidden(traces(span(own, kind=kind, events=[event], links=[link], status=failure)))
    request = traces(
        span(own, kind=kind, name=f"GET /x?token={SECRET}", status=failure), resource={"service.name": "s"} | attributes
    )
    request.resource_spans[0].scope_spans[0].scope.attributes.extend(key_values(attributes))
    assert_hidden(request)


@names
def test_log_bodies_hide_secrets_in_every_form(name: str) -> None:
    attributes = PLACES[name]
    text = as_json(attributes)
    plain = orjson.loads(text)
    for body in (attributes, text, repr(plain), f"got {text} ok", text.encode()):
        assert_hidden(logs(log(body)))


@pytest.mark.parametrize("text", LOOSE.values(), ids=LOOSE)
def test_loose_text_hides_secrets(text: str) -> None:
    nested = orjson.dumps({"text": text, "list": [text]}).decode()
    for value in (text, nested, text.encode(), {"text": text}, f"got {nested} ok", repr({"text": text})):
        assert_hidden(traces(span(CALL | {"http.request.body": value, "a": value})))
        assert_hidden(logs(log(value, {"a": value})))
    failure = Status(code=Status.STATUS_CODE_ERROR, message=text)
    assert_hidden(traces(span({"db.system": "x", "db.query.summary": text}, kind=CLIENT, name=text, status=failure)))


@names
def test_log_attributes_and_resources_hide_secrets(name: str) -> None:
    attributes = PLACES[name]
    assert_hidden(logs(log("x", attributes)))
    assert_hidden(logs(log("x"), resource=attributes))


@names
def test_access_logs_hide_secrets(name: str) -> None:
    body = {
        "method": "GET",
        "status": 200,
        "url": f"http://u:{SECRET}@h/a?token={SECRET}",
        "http.request.header.cookie": SECRET,
        "request": {"headers": {"cookie": SECRET}},
    }
    assert_hidden(logs(log(body | PLACES[name])))


def test_bytes_that_hide_nothing_come_as_sent() -> None:
    assert decoded(mapped(logs(log(b"plain \xff bytes: nothing"))).events[0].body).startswith("plain")
    assert mapped(logs(log(b""))).events[0].body == ""
    assert mapped(logs(log(b"x", observed_time_unix_nano=NOW))).events[0].body_encoding == "base64"


@pytest.mark.parametrize("header", ["x-request-id", "x-correlation-id", "api-version", "user-agent"])
def test_a_masked_header_is_masked_in_the_columns_read_from_it(header: str) -> None:
    settings = MappingSettings.model_validate({"masks": {"headers": [header]}})
    found = mapped(traces(span(called({f"http.request.header.{header}": [SECRET]}))), settings)
    assert SECRET not in repr(found.events[0])


@pytest.mark.parametrize("kind", [SERVER, CLIENT, INTERNAL])
@pytest.mark.parametrize("text", [f"Bearer {SECRET}abcdefgh12", f"password={SECRET}"])
@pytest.mark.parametrize(
    "name", ["http.request.method", "http.method", "api.version", "api_version", "rpc.grpc.status_code", "request.id"]
)
def test_what_stands_where_a_word_belongs_hides_secrets(name: str, text: str, kind: int) -> None:
    found = mapped(traces(span({**CALL, name: text}, kind=kind), span({"rpc.system": "grpc", name: text}, kind=kind)))
    assert SECRET not in repr(found.events)
    assert len(found.events) == 2
