"""Masks, spec/mapping.md §7."""

from __future__ import annotations

import base64
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.masks.redactor import MASK, RedactionError, Redactor
from mapping.masks.settings import MaskSettings
from mapping.masks.text import MAX_TEXT_CHARS
from mapping.masks.verdicts import HEADERS, KEYS, QUERY
from mapping.presets import Presets
from mapping.rules import bodies
from mapping.rules.codings import UNREADABLE, Unread

DEFAULT = Redactor(MaskSettings())
SECRET = "hunter2-fake"


def redactor(**settings: Any) -> Redactor:
    return Redactor(MaskSettings.model_validate(settings))


def of_body(body: object, rules: Redactor = DEFAULT, side: Any = "request") -> Any:
    return rules.body(bodies.Body("json", body), side).data


@pytest.mark.parametrize("name", HEADERS)
def test_default_headers_are_masked_on_both_sides(name: str) -> None:
    for side in ("request", "response"):
        assert DEFAULT.headers({name: SECRET, "accept": "x"}, side) == {name: MASK, "accept": "x"}


def test_headers_without_secrets_come_back_as_they_are() -> None:
    headers = {"accept": "x", "user-agent": "curl/8?a=b"}
    assert DEFAULT.headers(headers) is headers


def test_secrets_in_urls_of_headers_are_masked() -> None:
    masked = DEFAULT.headers({"referer": f"https://h.test/a?token={SECRET}&b=1#x"})
    assert masked == {"referer": "https://h.test/a?token=REDACTED&b=1#x"}


@pytest.mark.parametrize("name", QUERY)
def test_default_query_parameters_keep_their_key_and_lose_their_value(name: str) -> None:
    assert DEFAULT.query(f"a=1&{name.upper()}={SECRET}&b=2") == f"a=1&{name.upper()}=REDACTED&b=2"


@pytest.mark.parametrize(
    ("query", "masked"),
    [
        ("", ""),
        ("token", "token"),
        ("token=", "token="),
        ("tokens=a&tokenizer=b", "tokens=a&tokenizer=b"),
        ("%74oken=a", "%74oken=REDACTED"),
        ("user[password]=a", "user[password]=REDACTED"),
        ("token[]=a&token[]=b", "token[]=REDACTED&token[]=REDACTED"),
        ("token=a=b", "token=REDACTED"),
    ],
)
def test_query_spellings(query: str, masked: str) -> None:
    assert DEFAULT.query(query) == masked


@pytest.mark.parametrize("key", [*KEYS, "Password", "api-key", "clientSecret", "user.password"])
def test_default_keys_are_masked_at_any_depth(key: str) -> None:
    masked = of_body({"a": [{"b": {key: SECRET, "keep": "x"}}], key: {"whole": SECRET}})
    assert masked == {"a": [{"b": {key: MASK, "keep": "x"}}], key: MASK}


def test_keys_that_only_resemble_secrets_stay() -> None:
    body = {"tokens": 3, "passwords_changed": 1, "secretary": "Ann", "gen_ai.usage.input_tokens": 7, "note": None}
    assert of_body(body) is body


def test_null_and_empty_secrets_stay_visible_as_missing() -> None:
    body = {"password": None, "token": ""}
    assert of_body(body) is body


def test_json_inside_strings_is_masked_however_deep() -> None:
    inner = orjson.dumps({"password": SECRET, "ok": 1}).decode()
    body = {"payload": orjson.dumps({"again": inner}).decode()}
    masked = of_body(body)
    assert SECRET not in str(masked)
    assert orjson.loads(orjson.loads(masked["payload"])["again"]) == {"password": MASK, "ok": 1}


def test_escaped_key_in_json_text_is_masked() -> None:
    assert SECRET not in str(of_body({"payload": f'{{"p\\u0061ssword": "{SECRET}"}}'}))


def test_json_text_without_mask_words_is_not_touched() -> None:
    body = {"payload": '{ "a" :  1 }'}
    assert of_body(body) is body


def test_values_too_deep_to_check_are_masked() -> None:
    body: Any = {"password": SECRET}
    for _ in range(150):
        body = {"d": body}
    assert SECRET not in str(of_body(body))


@pytest.mark.parametrize(
    "text",
    [
        f"{{'event': 'charge', 'password': '{SECRET}', 'cents': 5}}",
        f'{{"password": "{SECRET}',
        f'{{"a": 1, "password" : "{SECRET}", ',
        f'failed with {{"user": {{"token": {{"deep": "{SECRET}"}}}}}} and more',
        f'payload="{{\\"api_key\\": \\"{SECRET}\\"}}"',
        f"login password={SECRET} ok",
        f'level=info client_secret="{SECRET} x" y=1',
        f'127.0.0.1 "GET /notes?token={SECRET} HTTP/1.1" 200',
        f'["a", {{"authorization": "Bearer {SECRET}"}}]',
        f'{{"password": "a\\"{SECRET}"}}x',
        f"GET / HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nHost: h",
        f"sent cookie: session={SECRET}; b={SECRET}",
        f"sent X-Api-Key: {SECRET} to h",
        f"connect postgres://ann:{SECRET}@db.test/x",
        f"--token={SECRET} --verbose",
        f"Server=db;Password={SECRET};x=1",
        f'{{"password [": "{SECRET}"}}',
    ],
)
def test_secrets_in_text_that_is_almost_structure_are_masked(text: str) -> None:
    masked = DEFAULT.text(text)
    assert SECRET not in masked
    assert "REDACTED" in masked


@pytest.mark.parametrize(
    "text",
    [
        "plain failure, code=17",
        "",
        "what? a=b",
        "it's the 'user' here",
        '{"a": 1}',
        "the password was wrong",
        "tokens=5",
        "Unexpected token: } in JSON",
        "invalid token: expired",
        "--token is required",
        "docker run --user 1000:1000 img",
        "missing ['password', 'email']",
        "/cb?redirect_uri=https%3A%2F%2Fapp.example.com%2Fa%3Fx%3D1",
        "arn:aws:lambda:eu-west-1:1:function:f and nginx:latest on localhost:8000",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert DEFAULT.text(text) == text


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"user=ann&password=" + SECRET.encode(), "application/x-www-form-urlencoded"),
        (b"user=ann&password=" + SECRET.encode(), ""),
        (b'{"password": "' + SECRET.encode() + b'"}', "application/json"),
        (b"<a:login><wsse:Password Type='x'>" + SECRET.encode() + b"</wsse:Password></a:login>", "text/xml"),
    ],
)
def test_bodies_that_stay_base64_are_masked_inside(raw: bytes, content_type: str) -> None:
    encoded = bodies.encode(raw, content_type, mask=DEFAULT.body)
    assert encoded.encoding == "base64"
    assert SECRET.encode() not in base64.b64decode(encoded.text)
    assert b"REDACTED" in base64.b64decode(encoded.text)


@given(st.binary(max_size=60))
def test_bytes_without_secrets_stay_as_they_are_or_are_not_kept(raw: bytes) -> None:
    body = bodies.read(raw)
    if isinstance(body, bodies.Body) and body.data == raw:
        assert DEFAULT.body(body).data in (raw, UNREADABLE.encode())


def test_json_body_keeps_its_text_when_nothing_was_hidden() -> None:
    assert bodies.encode('{ "a": 1 }', mask=DEFAULT.body).text == '{ "a": 1 }'
    assert bodies.encode('{ "pwd": 1 }', mask=DEFAULT.body).text == '{"pwd":"[REDACTED]"}'


def test_header_like_attributes_and_log_bodies_are_masked() -> None:
    attributes = {"rpc.grpc.request.metadata.cookie": [SECRET], "headers": {"X-Api-Key": SECRET}, "n": 1, "ok": "yes"}
    assert DEFAULT.attributes(attributes) == {
        "rpc.grpc.request.metadata.cookie": MASK,
        "headers": {"X-Api-Key": MASK},
        "n": 1,
        "ok": "yes",
    }
    assert DEFAULT.log_body({"request": {"headers": {"set-cookie": SECRET}}}) == {
        "request": {"headers": {"set-cookie": MASK}}
    }


def test_attributes_without_secrets_come_back_as_they_are() -> None:
    attributes = {"url.path": "/a", "n": 1, "nested": {"a": ["b"]}, "quote": "it's", "f": 1.5, "t": True, "none": None}
    assert DEFAULT.attributes(attributes) is attributes
    assert DEFAULT.attributes(attributes) is attributes


def test_headers_written_as_lists_are_masked() -> None:
    pairs = [["Host", "h"], ["Cookie", SECRET], ["token", SECRET]]
    named = [{"name": "Authorization", "value": SECRET}, {"key": "cookie", "value": SECRET}, {"name": "n", "value": 1}]
    masked = DEFAULT.log_body({"raw": pairs, "har": named, "tags": ["token", "auth"]})
    assert masked == {
        "raw": [["Host", "h"], ["Cookie", MASK], ["token", MASK]],
        "har": [{"name": "Authorization", "value": MASK}, {"key": "cookie", "value": MASK}, {"name": "n", "value": 1}],
        "tags": ["token", "auth"],
    }


def test_log_bodies_of_bytes_are_masked_inside() -> None:
    raw = base64.b64encode(b'{"password": "' + SECRET.encode() + b'"}').decode()
    assert base64.b64decode(cast("str", DEFAULT.base64(raw))) == b'{"password":"[REDACTED]"}'
    plain = base64.b64encode(b"order 4711 placed").decode()
    assert DEFAULT.base64(plain) == plain
    assert DEFAULT.base64("AP8=") == Unread("binary", 2)


def test_url_in_an_attribute_loses_its_secrets() -> None:
    assert DEFAULT.value("link", f"see https://h.test/?sig={SECRET}&x=1.") == "see https://h.test/?sig=REDACTED&x=1."


def test_prompts_are_dropped_unless_wanted() -> None:
    attributes = {"gen_ai.input.messages": "[...]", "gen_ai.prompt.0.content": "hi", "gen_ai.request.model": "m"}
    assert DEFAULT.attributes(attributes) == {"gen_ai.request.model": "m"}
    nested = {"gen_ai": {"input": {"messages": SECRET}, "request": {"model": "m"}}, "gen_ai.prompt": SECRET}
    assert DEFAULT.log_body(nested) == {"gen_ai": {"input": {}, "request": {"model": "m"}}}
    assert SECRET not in DEFAULT.text(f"{{'gen_ai.input.messages': '{SECRET}'}}")
    assert not DEFAULT.keeps_body_of("gen_ai.user.message")
    assert DEFAULT.keeps_body_of("billing.invoice_viewed")
    keeping = Redactor(MaskSettings(), genai_content=True)
    assert keeping.attributes(attributes) == attributes
    assert keeping.keeps_body_of("gen_ai.user.message")


def test_actions_remove_mask_and_hash() -> None:
    rules = redactor(
        hash_key="k",
        rules=[
            {"keys": ["gone", "X-Gone"], "action": "remove"},
            {"keys": ["email", "X-Email"], "action": "hash"},
            {"keys": "password", "action": "hash"},
        ],
    )
    body = of_body({"gone": 1, "email": "a@b.test", "list": [{"email": "a@b.test"}], "password": {"a": 1}}, rules)
    assert "gone" not in body
    assert body["email"] == body["list"][0]["email"] == rules.value("email", "a@b.test")
    assert body["email"].startswith("hmac-sha256:")
    assert body["email"] != redactor(hash_key="other", rules=[{"keys": "email", "action": "hash"}]).value(
        "email", "a@b.test"
    )
    assert body["password"].startswith("hmac-sha256:")
    assert rules.headers({"x-gone": "1", "x-email": "a@b.test"}) == {"x-email": body["email"]}
    assert rules.query("gone=1&email=a%40b.test&x=1") == f"email={body['email']}&x=1"
    assert rules.attributes({"gone": 1, "x": 2}) == {"x": 2}


def test_key_paths_match_from_the_top_and_lists_are_passed_through() -> None:
    rules = redactor(rules=[{"keys": ["orders[*].card.holder", "a.b"]}])
    body = {
        "orders": [{"card": {"holder": SECRET, "x": 1}}],
        "card": {"holder": "stays"},
        "a.b": SECRET,
        "deep": {"a": {"b": "stays"}},
    }
    assert of_body(body, rules) == {
        "orders": [{"card": {"holder": MASK, "x": 1}}],
        "card": {"holder": "stays"},
        "a.b": MASK,
        "deep": {"a": {"b": "stays"}},
    }
    assert rules.attributes({"a": '{"b": "x"}', "a.b": SECRET}) == {"a": '{"b":"[REDACTED]"}', "a.b": MASK}


def test_rules_hold_in_their_places_only() -> None:
    rules = redactor(rules=[{"keys": "name", "places": ["response_body"]}])
    assert of_body({"name": "a"}, rules) == {"name": "a"}
    assert of_body({"name": "a"}, rules, "response") == {"name": MASK}
    assert rules.query("name=a") == "name=a"


def test_masks_of_a_gateway_are_added_to_the_defaults() -> None:
    presets = Presets.model_validate(
        {
            "krakend": {
                "user_id_headers": ["X"],
                "request_header_masks": ["X-Custom"],
                "response_body_masks": ["iban"],
            }
        }
    )
    rules = Redactor(presets.masks_over(MaskSettings()))
    assert rules.headers({"x-custom": "a", "cookie": "b"}) == {"x-custom": MASK, "cookie": MASK}
    assert rules.headers({"x-custom": "a"}, "response") == {"x-custom": "a"}
    assert of_body({"iban": "a", "password": "b"}, rules, "response") == {"iban": MASK, "password": MASK}
    assert of_body({"iban": "a"}, rules) == {"iban": "a"}


def test_defaults_can_be_switched_off_and_names_added() -> None:
    rules = redactor(defaults=False, keys="nickname", headers="X-Secret", query="q")
    assert of_body({"password": "a", "nickName": "b"}, rules) == {"password": "a", "nickName": MASK}
    assert rules.headers({"cookie": "a", "x-secret": "b"}) == {"cookie": "a", "x-secret": MASK}
    assert rules.query("token=a&q=b") == "token=a&q=REDACTED"


def test_attributes_are_dropped_by_glob() -> None:
    rules = redactor(drop_attributes=["db.*", "code.?ile"])
    assert rules.attributes({"db.statement": "x", "code.file": "y", "dbx": 1}) == {"dbx": 1}


def test_addresses_are_truncated_or_hashed() -> None:
    truncating = redactor(ip_address="truncate")
    assert truncating.ip("203.0.113.7") == "203.0.113.0"
    assert truncating.ip("2001:db8:1:2::7") == "2001:db8:1::"
    assert truncating.headers({"x-forwarded-for": "203.0.113.7, unknown"}) == {
        "x-forwarded-for": f"203.0.113.0, {MASK}"
    }
    assert truncating.value("client.address", "203.0.113.7") == "203.0.113.0"
    assert truncating.log_body({"client": {"ip": "203.0.113.7"}, "remote_addr": "203.0.113.7"}) == {
        "client": {"ip": "203.0.113.0"},
        "remote_addr": "203.0.113.0",
    }
    hashing = redactor(ip_address="hash", hash_key="k")
    assert hashing.ip("203.0.113.7").startswith("hmac-sha256:")
    assert DEFAULT.ip("203.0.113.7") == "203.0.113.7"


def test_patterns_hide_values_wherever_they_are() -> None:
    rules = redactor(patterns=["email", "pan"])
    assert of_body({"note": "ask ann@example.test", "n": 4111111111111111, "m": 4711}, rules) == {
        "note": f"ask {MASK}",
        "n": MASK,
        "m": 4711,
    }
    assert rules.query("q=ann%40example.test&p=1") == "q=REDACTED&p=1"
    assert rules.headers({"from": "ann@example.test"}) == {"from": MASK}
    assert rules.attributes({"who": "ann@example.test", "x": "y"}) == {"who": MASK, "x": "y"}
    assert DEFAULT.text("ann@example.test 4111111111111111") == "ann@example.test 4111111111111111"


class Unreadable(dict[str, object]):
    def items(self) -> Any:
        raise KeyError(SECRET)


def test_failure_is_an_error_without_the_payload() -> None:
    with pytest.raises(RedactionError) as caught:
        DEFAULT.attributes(Unreadable(a=1))
    assert str(caught.value) == "masking attributes failed: KeyError"
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_hashing_needs_a_key() -> None:
    for settings in ({"ip_address": "hash"}, {"rules": [{"keys": "a", "action": "hash"}]}):
        with pytest.raises(ValueError, match="hash_key"):
            MaskSettings.model_validate(settings)


NAMES = st.sampled_from(["a", "b.c", "Password", "api-key", "user.token", "ssn"])
TREES = st.recursive(
    st.just(SECRET) | st.integers(0, 9) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=3)
        | st.dictionaries(NAMES, inner, max_size=3).map(lambda value: orjson.dumps(value).decode())
    ),
    max_leaves=10,
)


def leaks(value: Any, hidden: bool = False) -> bool:
    """True when the secret stands anywhere under a masked key."""
    if isinstance(value, str):
        if value[:1] == "{":
            return leaks(orjson.loads(value), hidden)
        return hidden and value == SECRET
    if isinstance(value, dict):
        return any(leaks(item, hidden or key not in ("a", "b.c")) for key, item in value.items())
    return isinstance(value, list) and any(leaks(item, hidden) for item in value)


@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_nothing_under_a_masked_key_survives_in_any_structure(body: dict[str, Any]) -> None:
    assert not leaks(of_body(body))
    assert not leaks(DEFAULT.log_body(body))
    assert not leaks(DEFAULT.attributes(body))
    assert not leaks(orjson.loads(DEFAULT.text(orjson.dumps(body).decode())))


@given(st.text(max_size=200))
def test_no_text_makes_masking_fail(text: str) -> None:
    DEFAULT.text(text)
    DEFAULT.query(text)
    redactor(patterns=["email", "pan", "iban", "token"]).text(text)


def test_long_text_is_cut_where_masks_stop_looking() -> None:
    rules = redactor()
    text = "password=hunter1 " + "a=b " * 20_000 + "password=hunter2"
    shown = rules.text(text)
    assert shown.startswith("password=[REDACTED] a=b")
    assert "hunter" not in shown
    assert MAX_TEXT_CHARS - 20 <= len(shown) <= MAX_TEXT_CHARS
    assert rules.values.cuts == 1
    assert rules.text("plain words " * 20_000) == "plain words " * 20_000  # nothing in it can be a secret
    assert rules.values.cuts == 1
    assert len(rules.text("plain words " * 200_000)) <= MAX_TEXT_CHARS
    assert rules.values.cuts == 2
    assert len(rules.query("a=b&" * 20_000 + "password=hunter2")) == MAX_TEXT_CHARS


@pytest.mark.parametrize("patterns", [(), ("email",)])
def test_long_json_is_masked_leaf_by_leaf(patterns: tuple[str, ...]) -> None:
    rules = redactor(patterns=patterns)
    value = {"password": "hunter2", "text": "a", "list": ["b"] * 20_000, "long": "token=hunter2 " * 6000}
    shown = orjson.loads(rules.text(orjson.dumps(value).decode()))
    assert shown["password"] == "[REDACTED]"
    assert shown["list"] == value["list"]
    assert len(shown["long"]) < len(value["long"])
    assert "hunter2" not in shown["long"]
    assert rules.values.cuts


def test_long_form_is_masked_part_by_part() -> None:
    rules = redactor()
    form = b"a=b&" * 20_000 + b"password=hunter2&c=d"
    assert rules.body(bodies.Body("base64", form)).data == form.replace(b"hunter2", b"REDACTED")
    assert rules.values.cuts < 1
    cut = cast("bytes", rules.body(bodies.Body("base64", form * 10)).data)
    assert len(cut) < bodies.MAX_BODY_BYTES + 100
    assert b"hunter" not in cut
    assert rules.values.cuts == 1


KEY = "h7Nter2Zq"  # of no provider


@pytest.mark.parametrize(
    "text",
    [
        f"env dump: HTTP_AUTHORIZATION=Bearer {KEY} HTTP_COOKIE=sid={KEY}",
        f"http_cookie: sid={KEY}; b={KEY}",
        f"{{'HTTP_COOKIE': 'sid={KEY}'",
        f"request_Authorization: Bearer {KEY}",
        f"downstream_Set-Cookie: a={KEY}; Path=/",
        f"sent_http_set_cookie=a={KEY}",
        f"origin_X-Auth-Token: {KEY}",
        f"rawHeaders: [ 'Host', 'h', 'Authorization', 'Bearer {KEY}', 'Cookie', 'a={KEY}' ]",
        f"rawHeaders: ['Cookie', 'a=\\'{KEY}', 'Host'",
        f"run --db-password {KEY} --x y",
        f"get -u ann:{KEY} http://h",
        f"mysql -uroot -p{KEY} -h h",
        f"sshpass -p '{KEY} x' ssh h",
        f"redis-cli -h h -a {KEY} ping",
        f"curl -s -b sid={KEY} http://h",
        f"the api key: {KEY}",
        f"Private Key = {KEY}",
        f"dsn ann:{KEY}@tcp(db:3306)/x",
        f"connect ann:{KEY}@db.example.com:5432",
        f"Incorrect API key provided: sk-proj-{KEY}{KEY}. You can find",
        f"Incorrect API key provided: {KEY}.",
        f"wrong password: {KEY}",
        f"saw ghp_{KEY}{KEY}{KEY} there",
        f"saw \\nsk-{KEY}{KEY} there",
        f"sent Bearer {KEY} there",
        f"sent \udcff bearer {KEY} there \udcff",
        f"eyJhbGciOiJIUzI1NiJ9.eyJz{KEY}In0.abcDEF123",
        f"-----BEGIN RSA PRIVATE KEY-----\nMII{KEY}\nx\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_texts_that_hold_a_secret_in_the_forms_of_the_field(text: str) -> None:
    assert KEY not in DEFAULT.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "invalid token: expired",
        "Bearer authentication failed, basic/digest offered",
        "Bearer token missing",
        "token_count: 3, max_tokens=5",
        "mailto:ann@example.com wrote to:bob@example.com",
        "sk-some-long-name-of-a-class and a risk-based task-force",
        "docker run -u 1000:1000 img",
        "mkdir -p /tmp/x; ssh -p 2222 h; curl -b cookies.txt http://h",
        "api key: missing",
        "primary key: 7",
        "git@github.com:org/repo.git app:1.2@sha256:12345678",
    ],
)
def test_texts_that_only_look_like_secrets_stay(text: str) -> None:
    assert DEFAULT.text(text) == text
