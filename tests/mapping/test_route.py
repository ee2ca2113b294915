"""Routes and path templates of mapping.md §3.3."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import route


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("/orders/{id}", "/orders/{id}"),
        ("products/<int:pid>", "/products/{pid}"),
        ("/u/<id>", "/u/{id}"),
        ('/l/<regex("[a-z]{2}"):lang>', "/l/{lang}"),
        ("/files/<path:rest>", "/files/{rest}"),
        ("/todos/:id", "/todos/{id}"),
        ("/todos/:id?", "/todos/{id}"),
        (r"/todos/:id(\d+)", "/todos/{id}"),
        ("/flights/:from-:to", "/flights/{from}-{to}"),
        ("/todos/{id:int}", "/todos/{id}"),
        ("/todos/{id?}", "/todos/{id}"),
        (r"/todos/{id:\d{4}}", "/todos/{id}"),
        ("/f/{path:path}", "/f/{path}"),
        ("/f/{*rest}", "/f/{rest}"),
        ("/f/*rest", "/f/{rest}"),
        ("/users{/:id}", "/users/{id}"),
        ("/v1/{name=shelves/*}:cancel", "/v1/{name}:cancel"),
        ("/v1/items:batchGet", "/v1/items:batchGet"),
        ("^a/(?P<y>[0-9]{4})/$", "/a/{y}/"),
        (r"^api/^items/(?P<pk>[^/.]+)/$", "/api/items/{pk}/"),
        (r"^items\.(?P<format>[a-z0-9]+)/?$", "/items.{format}/"),
        (r"^(?:old/)?x/(\d+)/[a-z]+$", "/old/x/{param}/{param}"),
        (r"/^\/rx\/(\d+)$/", "/rx/{param}"),
        (r"/^\/rx\/(?<name>[^/]+)$/i", "/rx/{name}"),
        ("GET /users/{id}", "/users/{id}"),
        ("https://api.test/users/{id}", "/users/{id}"),
        ("/", "/"),
        ("", ""),
        ("None", ""),
        ("unknown", ""),
    ],
)
def test_every_spelling_of_a_route_becomes_one(raw: str, normal: str) -> None:
    assert route.normalise(raw) == normal


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/orders/1234", "/orders/{id}"),
        ("/missing/9f1c2d3e-0000-4000-8000-aaaaaaaaaaaa", "/missing/{id}"),
        ("/x/9f1c2d3e000040008000aaaaaaaaaaaa/y", "/x/{id}/y"),
        ("/x/aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "/x/{id}"),
        ("/x/deadbee1", "/x/{id}"),
        ("/x/deadbeef", "/x/deadbeef"),
        ("/reports/2026-11-20T10", "/reports/{id}"),
        ("/users/ann@example.test", "/users/{id}"),
        ("/users/ann%40example.test", "/users/{id}"),
        ("/customers/cus_NffrFeUfNV2Hib", "/customers/{id}"),
        ("/keys/sk_live_abcdefg1", "/keys/{id}"),
        ("/keys/user_settings", "/keys/user_settings"),
        ("/t/a1b2c3-very-long-token", "/t/{id}"),
        ("/t/1234-5678-9012-3456-7890", "/t/1234-5678-9012-3456-7890"),
        ("/v1/word-503/static2", "/v1/word-503/static2"),
        ("/oauth2/token", "/oauth2/token"),
        ("/", "/"),
        ("", "/"),
        ("a/1", "/a/{id}"),
        ("/a//1/", "/a//{id}/"),
        ("/caf%C3%A9/1", "/caf\u00e9/{id}"),
        ("/a%20b/%2F%00/%ff", "/a b/%2F%00/%ff"),
    ],
)
def test_only_segments_that_look_like_values_are_replaced(path: str, template: str) -> None:
    assert route.template_path(path) == template


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("GET /orders/{id}", "/orders/{id}"),
        ("/invoices/<int:inv>", "/invoices/<int:inv>"),
        ("POST invoices/<int:inv>", "invoices/<int:inv>"),
        ("^a/(?P<y>[0-9]{4})/$", "^a/(?P<y>[0-9]{4})/$"),
        ("HTTP GET", ""),
        ("GET", ""),
        ("orders-fn", ""),
        ("GET orders", ""),
    ],
)
def test_server_span_names_hold_routes(name: str, raw: str) -> None:
    assert route.from_span_name(name) == raw


def choose(path: str = "", http_route: str = "", url_template: str = "", span_name: str = "") -> str:
    book = route.RouteBook()
    return book.route("svc", http_route=http_route, url_template=url_template, span_name=span_name, path=path)


def test_route_attribute_comes_first_then_template_then_name_then_path() -> None:
    path = "/a/1"
    assert choose(path, "/r/:x", "/t/{y}", "GET /n/{z}") == "/r/{x}"
    assert choose(path, "", "/t/{y}", "GET /n/{z}") == "/t/{y}"
    assert choose(path, "", "", "GET /n/{z}") == "/n/{z}"
    assert choose(path, "", "", "GET") == "/a/{id}"
    assert choose("", "", "", "GET") == ""


def test_slash_that_express_reports_for_unmatched_paths_is_passed_over() -> None:
    assert choose("/nowhere/7", http_route="/", span_name="GET /") == "/nowhere/{id}"
    assert choose("/", http_route="/") == "/"


def test_null_word_is_no_route() -> None:
    assert choose("/a/1", http_route="None") == "/a/{id}"


def test_route_that_is_only_the_raw_path_is_templated() -> None:
    assert choose("/orders/56", http_route="/orders/56") == "/orders/{id}"
    assert choose("/a%20b/56", http_route="/a b/56") == "/a b/{id}"
    assert choose("/orders/56", http_route="/orders/57") == "/orders/57"


def test_raw_path_in_a_span_name_is_templated() -> None:
    assert choose("/invoices/77", span_name="GET /invoices/77") == "/invoices/{id}"


def test_templates_beyond_the_cap_become_other_and_known_ones_stay() -> None:
    book = route.RouteBook(max_templates=3)
    assert [book.template("svc", f"/p{chr(97 + i)}") for i in range(5)] == [
        "/pa",
        "/pb",
        "/pc",
        route.OTHER,
        route.OTHER,
    ]
    assert book.template("svc", "/pb") == "/pb"
    assert book.template("other", "/pe") == "/pe"
    assert book.route("svc", http_route="/z/{id}", path="/z/1") == "/z/{id}"


def test_services_and_templates_are_bounded_and_the_silent_service_goes_first() -> None:
    book = route.RouteBook(max_templates=1, max_services=2)
    book.template("a", "/x")
    book.template("b", "/x")
    book.template("a", "/x")
    book.template("c", "/x")
    assert book.template("a", "/new") == route.OTHER
    assert book.template("b", "/new") == "/new"
    small = route.RouteBook(max_templates=10, max_total=12)
    for i in range(8):
        small.template("a", f"/w{'x' * i}")
    for i in range(8):
        small.template("b", f"/w{'x' * i}")
    assert small.template("a", "/unseen") == "/unseen"


@given(st.text(max_size=60))
def test_normalising_never_fails_and_gives_an_absolute_route_or_nothing(raw: str) -> None:
    found = route.normalise(raw)
    assert found == "" or found.startswith("/")


@given(st.lists(st.integers(0, 10**18), min_size=1, max_size=4))
def test_paths_that_differ_in_numbers_share_a_template(numbers: list[int]) -> None:
    paths = {route.template_path(f"/a/{number}/b") for number in numbers}
    assert paths == {"/a/{id}/b"}


@given(st.text(alphabet="/abc019-_@{}", max_size=60))
def test_templating_a_template_changes_nothing(path: str) -> None:
    once = route.template_path(path)
    assert route.template_path(once) == once
    assert not re.search(r"/[0-9]+(?:/|$)", once)
