"""Secrets where none is expected: alone under harmless names, in headers, paths, fragments and printed lists."""

from __future__ import annotations

from typing import Any

import pytest

from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskSettings
from mapping.settings import MappingSettings
from mapping_requests import CLIENT, INTERNAL, log, logs, mapped, one

SECRET = "Zq7SEC9Kw2Zq7SEC9Kw2"
KEYS = ["sk-" + SECRET, "ghp_" + SECRET, "Bearer " + SECRET, f"eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.{SECRET}"]
DEFAULT = Redactor(MaskSettings())


def of_call(**attributes: Any) -> str:
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return str(one({"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200, **named}))


@pytest.mark.parametrize("key", KEYS)
def test_a_key_alone_is_hidden_under_any_name(key: str) -> None:
    for name in ("note", "x.y", "http.request.header.x-session-ref", "http.response.header.x-next"):
        for value in (key, [key], f"got {key} from it"):
            shown = str(one({"http.request.method": "GET", "url.path": "/a", name: value}))
            assert SECRET not in shown, (name, value)
    assert SECRET not in str(one({"note": key}, kind=INTERNAL))
    assert SECRET not in str(one({}, kind=INTERNAL, name=f"step {key}"))
    assert SECRET not in str(one({}, resource={"service.name": "shop", "note": key}))
    assert SECRET not in str(mapped(logs(log("x", {"note": key}))).events)
    assert SECRET not in of_call(url__query=f"d={key}".replace(" ", "%20"))


@pytest.mark.parametrize("name", ["user.id", "enduser.id", "session.id", "company.id"])
def test_a_key_is_nobody_in_clear(name: str) -> None:
    event = one({"http.request.method": "GET", "url.path": "/a", name: KEYS[0]})
    assert SECRET not in str(event)
    assert "sha256:" in str(event)


URLS = [
    f"/cb#access_token={SECRET}",
    f"/cb?token%3D{SECRET}",
    f"/r?next=https://h/cb#id_token={SECRET}",
    f"//u:{SECRET}@h/a",
    f"/a/token={SECRET}/b",
    f"/a?device_code={SECRET}",
    f"/a?code_verifier={SECRET}",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "name",
    [
        *("http.route", "url.template", "http.target", "note", "http.request.header.x-original-uri"),
        "http.response.header.location",
    ],
)
def test_fragments_paths_and_encoded_pairs_are_masked(url: str, name: str) -> None:
    assert SECRET not in str(one({"http.request.method": "GET", "http.response.status_code": 200, name: url}))
    assert SECRET not in str(one({"http.request.method": "GET", "url.full": "https://h" + url}, kind=CLIENT)) or (
        url[:2] == "//"  # the path of a host that was named: no password before a host
    )


@pytest.mark.parametrize("name", ["route", "endpoint", "path", "url", "uri"])
@pytest.mark.parametrize("url", URLS)
def test_so_they_are_in_lines_of_access_logs(url: str, name: str) -> None:
    line = {"method": "GET", "path": "/a", "status": 200, name: url}
    assert SECRET not in str(mapped(logs(log(line))).events)


@pytest.mark.parametrize(
    "text",
    [
        f"kong.request.headers.x_api_key: {SECRET}",
        f"it failed with ctx.db_password: {SECRET}",
        f"headers: [ 'host', 'a', 'x-api-key', '{SECRET}' ]",
        f"running ['java', '--password', '{SECRET}']",
        f"running ['curl', '-u', 'ann:{SECRET}', 'http://h']",
        f'running ["redis-cli", "-a", "{SECRET}"]',
        f"java -password {SECRET}",
        f"openssl x -passin pass:{SECRET}",
        f"app --pass {SECRET}",
        f"app --password:{SECRET}",
        f"app --user ann:{SECRET}",
        f"app --basic-auth ann:{SECRET}",
    ],
)
def test_printed_lists_options_and_dotted_names_are_masked(text: str) -> None:
    assert SECRET not in DEFAULT.text(text)
    assert SECRET not in str(one({"process.command_line": text}, kind=INTERNAL))


@pytest.mark.parametrize(
    "text",
    [
        "GET /a/b=c HTTP/1.1",
        "/v1/orders/42#section",
        "see https://h/a#L10 - done",
        "['mkdir', '-p', 'dir']",
        "tests: 5 pass - 1 failed",
        "e.g.: this one",
        "app --token-count 5 -v --pass-through yes",
        "sk-some-name-of-a-class",
        "allow-headers: ['Accept', 'Content-Type']",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert DEFAULT.text(text) == text


@pytest.mark.parametrize("name", ["gen_ai.client.inference.operation.details", "claude_code.user_prompt", "lk.turn"])
def test_the_name_of_an_event_says_that_it_is_of_a_model(name: str) -> None:
    said = "the blue lorry weighs nine tons"
    record = log({"content": said, "role": "user"}, {"event.name": name, "prompt": said, "prompt_tokens": 7})
    assert said not in str(mapped(logs(record)).events)
    assert "prompt_tokens" in str(mapped(logs(record)).events)
    kept = mapped(logs(record), MappingSettings.model_validate({"genai": {"content": True}}))
    assert said in str(kept.events)


PRINTED = [
    f"authorization=[Bearer {SECRET}]",
    f"Headers{{authorization=[Bearer {SECRET}], host=[h]}}",
    f"map[Authorization:[Bearer {SECRET}] Host:[h]]",
    f"map[Cookie:[a=b; sid={SECRET}] Host:[h]]",
    f"{{Cookie=[a=b; sid={SECRET}], Host=[h]}}",
    f"cookie=a=b; sid={SECRET}",
    f"Headers(Authorization -> List(Bearer {SECRET}))",
    f"Authorization -> [Bearer {SECRET}]",
    f"Authorization: [Basic {SECRET}, Bearer {SECRET}]",
    f"authorization=Optional[Bearer {SECRET}]",
    f'password=Some("a {SECRET}")',
    f"password={{a {SECRET}}}",
    f'password = """{SECRET}"""',
    f'password="a\\"{SECRET}"',
]


@pytest.mark.parametrize("text", PRINTED)
def test_values_in_brackets_and_quotes_are_hidden_to_their_end(text: str) -> None:
    for shown in (
        DEFAULT.text(text),
        DEFAULT.text(f"GET /a failed, {text}, tried again"),
        str(mapped(logs(log(text))).events),
        str(mapped(logs(log({"message": text}))).events),
        of_call(exception__message=text),
    ):
        assert SECRET not in shown
    assert DEFAULT.text(f"({text}) took 5 ms").endswith(" took 5 ms")


@pytest.mark.parametrize("line", [
    "run app -p hunter2fake --db x", "exec: foo -P 'Hunter2!fake' -v", "sudo app -pw s3cr3tfake",
    "a; app -p Tr0ub4dor&fake", "docker login -u ann -p s3cr3tfake reg", "mkdir x && app -p s3cr3tfake",
])  # fmt: skip
def test_a_password_behind_an_option_is_hidden_whatever_the_program(line: str) -> None:
    assert "fake" not in DEFAULT.text(line)
    assert "fake" not in str(mapped(logs(*(log(line) for _ in range(8)))).events)
    assert "fake" not in str(mapped(logs(log({"message": line}))).events)


@pytest.mark.parametrize("line", [
    "git commit-tree t -p $BRANCH2", "logger -p local0.notice -t x", "prof -p libdemo.so.1", "listen -p 8080",
    "serve -p 127.0.0.1:80", "app -p /var/lib/x1", "app -p config.d/a1", "app -p 10.2.3", "app -p v1.22.3",
    "docker run -p 8080:80 shop-2", "docker compose -p shop-2024 up", "ssh -p 2222 host1",
    "kubectl patch svc a -p spec1234", "cargo test -p crate-2024", "psql -p 54321 -U ann", "grep -P foo123bar file",
    "mkdir -p build2024", "git log -p a1b2c3d4e5", "pip install -p python312", "tmux new -p window12",
    "app -p pattern", "app -p a=b123456", "say -p <name123>", "x -p [abc123]", "the option -p is gone", "app -p a1",
])  # fmt: skip
def test_what_else_stands_behind_p_is_shown(line: str) -> None:
    assert DEFAULT.text(line) == line


@pytest.mark.parametrize("name", ["Set-Cookie", "cookie", "Authorization", "X-Api-Key", "Proxy-Authorization"])
@pytest.mark.parametrize("blank", [" ", "%20"])
def test_a_header_within_a_path_is_hidden(name: str, blank: str) -> None:
    path = f"/v1/{name}:{blank}sid={SECRET};{blank}Path=/items/7"
    assert SECRET not in str(one({"http.request.method": "GET", "url.path": path, "http.response.status_code": 404}))
    assert SECRET not in of_call(url__full=f"https://a.example.com{path}")
    told = {"method": "GET", "path": path, "status": 404}
    line = f'203.0.113.7 - - [02/Mar/2026:09:00:00 +0000] "GET {path.replace(" ", "%20")} HTTP/1.1" 404 2'
    for body in (told, line):
        (event,) = mapped(logs(log(body), resource={"service.name": "shop"})).events
        assert (event.event_type, SECRET in str(event)) == ("api_call", False)


def test_a_colon_in_a_path_hides_nothing_else() -> None:
    for path in ("/v1/items:cancel", "/v1/token:exchange", "/v1/secrets/api-key:rotate", "/v1/a: b", "/urn:x:cookie:7"):
        assert DEFAULT.path(path) == path
    for text in ("exited with code: <b>a=1; ${code}</b>", "a=1; /code: 7", "x=1; the code: monster/2"):
        assert DEFAULT.text(text) == text


@pytest.mark.parametrize("key", ["input.value", "output.value", "llm.input.value"])
def test_a_prompt_alone_goes_with_the_bodies(key: str) -> None:
    settings = MappingSettings(log_body=False)
    assert "of the customer" not in str(mapped(logs(log("m", {key: "of the customer"})), settings).events)
    assert "of the customer" not in str(mapped(logs(log({"message": "m", key: "of the customer"})), settings).events)
    assert "of the customer" not in str(one({key: "of the customer"}, settings, kind=INTERNAL))
    for harmless in ("value", "metric.value", "input.values", "max_input_value_chars"):
        assert "of the customer" in str(mapped(logs(log("m", {harmless: "of the customer"})), settings).events), (
            harmless
        )
