"""What the settings hide is hidden in every column and member that is read from it: a table of places and masks."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from exporter.sinks.json_line import dumps, event_dict
from exporter.sinks.moesif_events import action, api_call
from mapping.event import ACTION, API_CALL, Event
from mapping.event_json import event_json
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, TRACE, key_values, log, logs, mapped, span, traces

SECRET = "zq7planted"
CALL: dict[str, Any] = {
    "http.request.method": "GET",
    "url.scheme": "https",
    "server.address": "shop.example",
    "url.path": "/v1/orders",
    "http.route": "/v1/orders",
    "http.response.status_code": 500,
}
LINE: dict[str, Any] = {
    "method": "GET",
    "status": 500,
    "host": "shop.example",
    "path": "/v1/orders",
    "route": "/v1/orders",
}


def masked(*, places: list[str] | None = None, **masks: Any) -> list[MappingSettings]:
    """The mask in its lists, and as rules that mask, remove and hash."""
    (names,) = masks.values()
    rules = [{"keys": names, "action": action, "places": places or []} for action in ("mask", "remove", "hash")]
    settings = [{"rules": [rule], "hash_key": "k"} for rule in rules]
    if "attributes" in (places or ["attributes"]) and "keys" in masks:
        settings.append({"drop_attributes": names})
    return [MappingSettings.model_validate({"masks": one}) for one in (masks, *settings)]


_MAPPERS: dict[int, tuple[MappingSettings, Mapper]] = {}  # a mapper is made once for its settings


def shown(request: Any, settings: MappingSettings) -> list[str]:
    """Everything that leaves: rows, lines of JSON, what is sent to Moesif."""
    if id(settings) not in _MAPPERS:
        _MAPPERS.clear()
        _MAPPERS[id(settings)] = settings, Mapper(settings, Sampler(SamplingSettings()))
    decode = Decoder().traces if isinstance(request, ExportTraceServiceRequest) else Decoder().logs
    mapper = _MAPPERS[id(settings)][1]
    found = mapper.map(decode(request.SerializeToString()), received_unix_ns=NOW, keep_skips=True)
    assert not found.failed
    assert found.events
    return [text for event in found.events for text in _shown(event)]


def _shown(event: Event) -> list[str]:
    lines = [repr(event), orjson.dumps(event_json(event)).decode(), dumps(event_dict(event)).decode()]
    if event.event_type == API_CALL:
        lines.append(api_call(event).decode())
    elif event.event_type == ACTION:
        lines.append(action(event).decode())
    return lines


def assert_hidden(request: Any, settings: MappingSettings) -> None:
    assert not [text for text in shown(request, settings) if SECRET in text]


HEADERS = (
    *("x-request-id", "x-correlation-id", "request-id", "api-version", "x-api-version", "accept-version", "user-agent"),
    *("x-forwarded-for", "forwarded", "host", "x-forwarded-host", "x-user-id", "x-company-id", "x-consumer-username"),
    *("x-cache", "cache-status", "cf-cache-status", "x-served-by", "cf-ray", "x-amz-cf-pop", "ratelimit-policy"),
    *("ratelimit", "x-partner", "content-type", "referer"),
)


@pytest.mark.parametrize("header", HEADERS)
def test_a_masked_header_shows_nowhere(header: str) -> None:
    value = f"{SECRET};q=1" if header.startswith("ratelimit") else SECRET
    value = f"ab-{SECRET}" if header in ("cf-ray", "x-served-by") else value
    for side in ("request", "response"):
        sent = {f"http.{side}.header.{header}": [value]}
        event = Span.Event(name=f"http.{side}", attributes=key_values(sent))
        for settings in masked(headers=[header], places=[f"{side}_headers"]):
            if settings.masks.headers or settings.masks.rules:
                assert_hidden(traces(span({**CALL, **sent})), settings)
                assert_hidden(traces(span({**CALL, **sent}, kind=CLIENT)), settings)
                assert_hidden(traces(span(CALL, events=[event])), settings)
                assert_hidden(traces(span({**CALL, f"http.{side}.headers": {header: value}})), settings)


@pytest.mark.parametrize("header", HEADERS)
def test_a_masked_header_of_a_log_line_shows_nowhere(header: str) -> None:
    for body in ({side: {"headers": {header: SECRET}} for side in ("request", "response")}, {f"http_{header}": SECRET}):
        # A rule for a word alone is no rule for a header.
        for settings in masked(headers=[header])[: None if "-" in header or "request" in body else 1]:
            for line in ({**LINE, **body}, {**LINE, **body, "headers": {header: SECRET}}):
                assert_hidden(logs(log(line)), settings)
                assert_hidden(logs(log(orjson.dumps(line).decode(), trace_id=TRACE)), settings)


ATTRIBUTES = (
    *("url.full", "url.path", "url.query", "http.target", "http.url", "server.address", "http.route", "url.template"),
    *("user_agent.original", "http.user_agent", "client.address", "network.peer.address", "api.version", "request.id"),
    *("user.id", "enduser.id", "company.id", "session.id", "client.id", "application.id", "plan", "subscription.id"),
    *("moesif.action_name", "error.type", "feature_flag.key", "feature_flag.variant", "network.asn", "tenant.id"),
    *(
        "messaging.destination.name",
        "messaging.message.id",
        "db.namespace",
        "rpc.method",
        "rpc.service",
        "gen_ai.agent.name",
    ),
    *("gen_ai.request.model", "faas.invocation_id", "celery.task_name", "graphql.operation.name", "db.query.summary"),
)
FAMILIES: tuple[dict[str, Any], ...] = (
    {"db.system": "mysql"},
    {"messaging.system": "kafka"},
    {"rpc.system": "grpc", "rpc.grpc.status_code": 13},
    {"gen_ai.operation.name": "invoke_agent"},
    {"faas.trigger": "timer"},
    {"graphql.operation.type": "query"},
)


@pytest.mark.parametrize("key", ATTRIBUTES)
def test_a_masked_attribute_shows_nowhere(key: str) -> None:
    value = f"/{SECRET}" if "path" in key or "target" in key or "route" in key else SECRET
    value = f"https://h/{SECRET}" if key in ("url.full", "http.url") else f"a={SECRET}" if key == "url.query" else value
    failed = Status(code=Status.STATUS_CODE_ERROR)
    for settings in masked(keys=[key]):
        for kind in (SERVER, CLIENT):
            own = {
                name: kept
                for name, kept in CALL.items()
                if name != "url.path" or not key.startswith(("url.f", "http."))
            }
            assert_hidden(traces(span({**own, key: value}, kind=kind, status=failed)), settings)
        for family in FAMILIES:
            assert_hidden(traces(span({**family, key: value}, kind=INTERNAL, status=failed)), settings)
        assert_hidden(logs(log("x", {key: value})), settings)
        assert_hidden(logs(log(LINE, {key: value})), settings)
        assert_hidden(traces(span(CALL), resource={"service.name": "s", key: value}), settings)


@pytest.mark.parametrize(
    "key",
    ["service.name", "deployment.environment", "deployment.environment.name", "cloud.region", "region", "host.name"],
)
def test_a_masked_attribute_of_the_resource_shows_nowhere(key: str) -> None:
    for settings in masked(keys=[key]):
        assert_hidden(
            traces(span(CALL), span({"db.system": "x"}, kind=INTERNAL, number=2), resource={key: SECRET}), settings
        )
        assert_hidden(logs(log("x"), log(LINE), resource={key: SECRET}), settings)


BODY_KEYS = (
    *(
        "url",
        "path",
        "query",
        "route",
        "host",
        "client_ip",
        "remote_addr",
        "user_agent",
        "http_user_agent",
        "request_id",
    ),
    *("user_id", "tenant_id", "x_forwarded_for", "upstream_cache_status", "session.id", "client_id", "plan", "referer"),
    *("consumer.username", "api_version", "event", "note"),
)


@pytest.mark.parametrize("key", BODY_KEYS)
@pytest.mark.parametrize("places", [None, ["log_body"]])
def test_a_masked_key_of_a_log_line_shows_nowhere(key: str, places: list[str] | None) -> None:
    value = f"/{SECRET}" if key in ("url", "path", "route") else f"a={SECRET}" if key == "query" else SECRET
    line = {name: kept for name, kept in LINE.items() if not (key in ("url", "path") and name in ("url", "path"))}
    for settings in masked(keys=[key], places=places)[1 if places else 0 :]:
        # Globs and paths hold from the top.
        deeper = settings.masks.drop_attributes or (settings.masks.rules and "." in key)
        nested = {key: value} if deeper else {"a": {key: value}}
        for body in ({**line, key: value}, {"level": "info", key: value}, {**line, **nested}):
            assert_hidden(logs(log(body)), settings)
            assert_hidden(logs(log(orjson.dumps(body).decode())), settings)


@pytest.mark.parametrize("part", ["type", "message", "stacktrace"])
@pytest.mark.parametrize("of", ["exception", "error"])
def test_a_masked_part_of_an_exception_shows_in_no_error(part: str, of: str) -> None:
    exception = {"exception.type": "ValueError", "exception.message": "m1", "exception.stacktrace": "at m1"}
    exception |= {f"exception.{part}": SECRET}
    if part == "message":
        exception["exception.stacktrace"] = f"ValueError: {SECRET}\n at f"
    event = Span.Event(name="exception", attributes=key_values(exception))
    failed = Status(code=Status.STATUS_CODE_ERROR, message=SECRET if part == "message" else "")
    for settings in masked(keys=[f"{of}.{part}"]):
        assert_hidden(traces(span(CALL, events=[event], status=failed)), settings)
        assert_hidden(traces(span({"db.system": "x"}, kind=INTERNAL, events=[event], status=failed)), settings)
        assert_hidden(logs(log("x", exception)), settings)
        assert_hidden(logs(log(LINE, exception)), settings)


@pytest.mark.parametrize(
    "key", ["authorization.value", "password.new.plain", "x.token.data", "cookie.0", "http.authorization.parts.0"]
)
def test_what_is_below_a_masked_name_is_hidden_however_it_is_written(key: str) -> None:
    nested: Any = SECRET
    for part in reversed(key.split(".")):
        nested = {part: nested}
    settings = MappingSettings()
    for attributes in ({key: SECRET}, nested):
        assert_hidden(traces(span({**CALL, **attributes})), settings)
        for body in (attributes, {**LINE, **attributes}):
            assert_hidden(logs(log(body, attributes)), settings)
            assert_hidden(logs(log(orjson.dumps(body).decode())), settings)
    for path in ("card", "card.owner", "card.owner.name"):
        for own in masked(keys=[path])[1:4]:
            assert_hidden(traces(span({**CALL, "card.owner.name.first": SECRET})), own)
            assert_hidden(logs(log({**LINE, "card.owner": {"name": {"first": SECRET}}})), own)


@pytest.mark.parametrize(
    "key", ["token.count", "k8s.secret.name", "password.length", "gen_ai.token.type", "cookie.policy"]
)
def test_facts_about_a_secret_stay(key: str) -> None:
    (event,) = mapped(traces(span({**CALL, key: "seven"}))).events
    assert orjson.loads(event.metadata)[key] == "seven"


BODIES = (
    *(
        "http.request.body",
        "http.request.body.content",
        "http.request.body.text",
        "http.request.payload",
        "request.body",
    ),
    *(
        "request_body",
        "requestBody",
        "req.body",
        "http.request_body",
        "otel.request.body",
        "request.payload",
        "reqBody",
    ),
    *("request_payload", "request.postData.text", "request.content", "request.data", "http.body", "body", "payload"),
    *("graphql.variables", "http.request.body.0", "graphql.execute.variables", "graphql.execute.result"),
)


@pytest.mark.parametrize("key", ["url.query", "http.query_string", "http.request.query"])
def test_queries_that_are_attributes_are_masked_as_the_settings_say_of_queries(key: str) -> None:
    settings = MappingSettings.model_validate({"masks": {"query": ["tenant"]}})
    query = f"a=b&tenant={SECRET}"
    assert_hidden(traces(span({**CALL, key: query})), settings)
    assert_hidden(traces(span({"db.system": "x", key: query}, kind=INTERNAL)), settings)
    assert_hidden(logs(log("x", {key: query})), settings)
    assert_hidden(logs(log({**LINE, key: query})), settings)
    (event,) = mapped(logs(log("x", {key: "a=b&page=2"})), settings).events
    assert orjson.loads(event.metadata)[key] == "a=b&page=2"


@pytest.mark.parametrize("name", BODIES)
def test_no_body_is_kept_anywhere_when_bodies_are_off(name: str) -> None:
    settings = MappingSettings(log_body=False)
    for key in (name, name.replace("request", "response").replace("req", "res") if "quest" in name else name):
        nested: Any = {"order": SECRET}
        for part in reversed(key.split(".")):
            nested = {part: nested}
        for value in (SECRET, {"order": SECRET}, [SECRET], orjson.dumps({"order": SECRET}).decode(), SECRET.encode()):
            for kind in (SERVER, CLIENT):
                assert_hidden(traces(span({**CALL, key: value}, kind=kind)), settings)
            assert_hidden(traces(span({"db.system": "x", key: value}, kind=INTERNAL)), settings)
            sent = [
                Span.Event(name=f"http.{side}", attributes=key_values({key: value})) for side in ("request", "response")
            ]
            assert_hidden(traces(span(CALL, events=sent)), settings)
            assert_hidden(
                traces(span(CALL, links=[Span.Link(trace_id=TRACE, attributes=key_values({key: value}))])), settings
            )
            assert_hidden(logs(log("x", {key: value})), settings)
            for line in ({**LINE, key: value}, {"msg": "done", key: value}):
                assert_hidden(logs(log(line)), settings)
        for line in (
            {**LINE, **nested},
            {"msg": "done", "http": nested},
            {**LINE, "wrapped": orjson.dumps(nested).decode()},
        ):
            assert_hidden(logs(log(line)), settings)
            assert_hidden(logs(log(orjson.dumps(line).decode(), time_unix_nano=NOW)), settings)
    (event,) = mapped(traces(span({**CALL, "http.request.body.size": 7})), settings).events
    assert orjson.loads(event.metadata)["http.request.body.size"] == 7


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ('mutation Pay { pay(card: "4111", n: 12) { id } }', "mutation Pay { pay(card: ?, n: ?) { id } }"),
        ('{ user(id: "x") { name } }', "{ user(id: ?) { name } }"),
        (
            "SELECT * FROM users_2 WHERE mail = 'a@b.example' AND n > 5",
            "SELECT * FROM users_2 WHERE mail = ? AND n > ?",
        ),
        ("insert into t values ('it''s', 'x\\'y', 7)", "insert into t values (?, ?, ?)"),
        ("SELECT shop.orders", "SELECT shop.orders"),
        ("update order 17", "update order 17"),
        ("GET /v1/orders/17", "GET /v1/orders/17"),
    ],
)
def test_values_of_a_statement_that_a_span_is_named_after_are_hidden(statement: str, shown: str) -> None:
    request = traces(span({"span.type": "sql", "resource.name": statement}, kind=INTERNAL, name=statement))
    (event,) = mapped(request).events
    assert (event.name, event.action_name) == (shown, shown)
    assert orjson.loads(event.metadata)["resource.name"] == shown
