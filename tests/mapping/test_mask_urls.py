"""Secrets in URLs are hidden wherever a URL stands and however it is nested; one value has one hash everywhere."""

from __future__ import annotations

from urllib.parse import quote

import orjson
import pytest

from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskRule, MaskSettings
from mapping.rules import bodies
from mapping.rules.route import RouteBook
from mapping.rules.route_spelling import normalise

SECRET = "SEC-1f2e3d"
DEFAULT = Redactor(MaskSettings())
NESTED = [
    f"https://u:{SECRET}@h/x",
    f"/cb?token={SECRET}",
    f"/cb?a=1&token={SECRET}",
    f"/cb;token={SECRET}/x",
    f'{{"password":"{SECRET}"}}',
    f"https://h/#access_token={SECRET}&b=1",
    f"a=1&token={SECRET}",
]


def encoded(value: str, times: int) -> str:
    for _ in range(times):
        value = quote(value, safe="")
    return value


@pytest.mark.parametrize("times", range(1, 7))
@pytest.mark.parametrize("value", NESTED)
def test_urls_and_json_inside_a_query_are_masked_however_often_encoded(value: str, times: int) -> None:
    inner = encoded(value, times)
    shown = (
        DEFAULT.query(f"a=1&redirect_uri={inner}&b=2"),
        DEFAULT.headers({"x-original-uri": f"/a?next={inner}"})["x-original-uri"],
        DEFAULT.text(f"GET /a?next={inner} HTTP/1.1"),
        str(DEFAULT.value("http.target", f"/a?next={inner}")),
    )
    assert [text for text in shown if SECRET in text] == []
    assert "b=2" in shown[0]


@pytest.mark.parametrize("value", [NESTED[0], NESTED[1], NESTED[3], NESTED[4]])
def test_what_nobody_encoded_is_masked_too(value: str) -> None:
    assert SECRET not in DEFAULT.query(f"next={value}")
    assert SECRET not in DEFAULT.headers({"x-forwarded-uri": f"/a?next={value}"})["x-forwarded-uri"]


@pytest.mark.parametrize(
    "query",
    [
        "redirect_uri=https%3A%2F%2Fapp.example.com%2Fa%3Fx%3D1",
        "q=100%25+sure",
        "q=50%2",
        "filter=%7B%22a%22%3A1%7D",
        "e=a%40b.c&u=https://h/a?x=1",
        "t=2020-01-01T00%3A00%3A00Z",
    ],
)
def test_queries_without_secrets_keep_every_letter(query: str) -> None:
    assert DEFAULT.query(query) == query


@pytest.mark.parametrize(
    "name", ["x-original-uri", "x-forwarded-uri", "x-envoy-original-path", ":path", "refresh", "link", "x-anything"]
)
def test_a_url_in_a_header_of_any_name_loses_its_secrets(name: str) -> None:
    for url in (
        f"/a?api_key={SECRET}&b=1",
        f"https://u:{SECRET}@h/",
        f"</a?sig={SECRET}>; rel=next",
        f"/a;token={SECRET}",
    ):
        assert SECRET not in DEFAULT.headers({name: url})[name]
    assert DEFAULT.headers({name: "0; charset=utf-8"}) == {name: "0; charset=utf-8"}


def test_a_route_never_has_a_query() -> None:
    assert normalise(f"/a/:id?token={SECRET}") == "/a/{id}"
    assert RouteBook().route("s", url_template=f"/a?token={SECRET}", path="/a") == "/a"
    assert RouteBook().route("s", http_route=f"/a?token={SECRET}", path=f"/a?token={SECRET}") == "/a"
    assert normalise("/users/:id?") == "/users/{id}"


def test_a_value_has_one_hash_in_all_places_and_patterns_do_not_come_before_it() -> None:
    mail = "ann@example.com"
    rules = Redactor(MaskSettings(patterns=("email",), rules=(MaskRule(keys=("email",), action="hash"),), hash_key="k"))
    wanted = rules.headers({"email": mail})["email"]
    assert wanted.startswith("hmac-sha256:")
    in_query = f"email={wanted}&b=1"
    assert rules.query(f"email={mail}&b=1") == rules.query("email=ann%40example.com&b=1") == in_query
    assert rules.text(f"GET /a?email={mail}&b=1 HTTP/1.1") == f"GET /a?{in_query} HTTP/1.1"
    assert rules.text(rules.text(f"https://h/a?email={mail}&b=1")) == f"https://h/a?{in_query}"
    assert rules.value("email", mail) == wanted
    assert rules.value("email", [mail]) == [wanted]
    assert orjson.loads(rules.text(orjson.dumps({"email": mail}).decode())) == {"email": wanted}
    form = bodies.Body("base64", b"email=ann%40example.com&b=1", "", "application/x-www-form-urlencoded")
    assert rules.body(form).data == in_query.encode()
    assert rules.body(bodies.Body("json", {"email": mail})).data == {"email": wanted}
    assert rules.query("email=bo@example.com") != rules.query(f"email={mail}")
