"""Routes and path templates of spec/mapping.md §3.3."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import route, route_spelling


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
        ("/api/users/[id]", "/api/users/{id}"),
        ("/docs/[...slug]", "/docs/{slug}"),
        ("/docs/[[...slug]]", "/docs/{slug}"),
        ("/[[lang]]/item/[id=integer]", "/{lang}/item/{id}"),
        ("/(app)/users/[id]", "/users/{id}"),
        ("/users/:id(.:format)", "/users/{id}"),
        ("/users(/:id)(.:format)", "/users/{id}"),
        ("/users/:id(.json)", "/users/{id}"),
        ("/users/:id.?:format?", "/users/{id}"),
        ("/users/?", "/users/"),
        ("GET /files/{path...}", "/files/{path}"),
        ("GET /{$}", "/"),
        ("GET api.example.test/users/{id}", "/users/{id}"),
        ("api.example.test:8080/users/{id}", "/users/{id}"),
        ("get /users/{id}", "/users/{id}"),
        ("http get /users/{id}", "/users/{id}"),
        ("GET|HEAD /users/{id}", "/users/{id}"),
        ("[GET] /users/{id}", "/users/{id}"),
        ("PROPFIND /dav/{id}", "/dav/{id}"),
        ("UsersController.get /users/{id}", "/users/{id}"),
        ("/users/:id<int>", "/users/{id}"),
        ("/users/:id<int;min(1)>?", "/users/{id}"),
        ("/users/{id}/(method:GET)", "/users/{id}"),
        ("/users/$id<[^/]+>", "/users/{id}"),
        ("/users/$userId/posts", "/users/{userId}/posts"),
        ("/odata/$metadata", "/odata/$metadata"),
        ("/books/<path..>", "/books/{path}"),
        ("/u/<id:int>", "/u/{id}"),
        ("/u/<id:re:[a-z]+>", "/u/{id}"),
        (r"/news[/{year:\d{4}}]", "/news/{year}"),
        (r"/news[/{year:\d{4}}[/{month}]]", "/news/{year}/{month}"),
        ("/{controller=Home}/{action=Index}/{id?}", "/{controller}/{action}/{id}"),
        ("/{**rest}", "/{rest}"),
        (r"/u/{id<\d+>}", "/u/{id}"),
        ("/u/{page?1}", "/u/{page}"),
        ("/u/{!slug}", "/u/{slug}"),
        ("/u/{{id}}", "/u/{id}"),
        ("/u/{0}/{1}", "/u/{param}/{param}"),
        ("/books{?max,offset}", "/books"),
        ("/files{/path:.*}", "/files/{path}"),
        ("/{proxy+}", "/{proxy}"),
        ("/p/{rest*2}", "/p/{rest}"),
        ("/cart;jsessionid=0F1E2D", "/cart"),
        ("404 Not Found", ""),
        ("/404 Not Found", ""),
        ("UsersController#show", ""),
        ("App\\Users@show", ""),
        ("orders::show", ""),
        ("", ""),
        ("None", ""),
        ("unknown", ""),
    ],
)
def test_every_spelling_of_a_route_becomes_one(raw: str, normal: str) -> None:
    assert route_spelling.normalise(raw) == normal


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
        ("/shop/cart;jsessionid=0F1E2D3C4B5A69788796A5B4C3D2E1F0", "/shop/cart"),
        ("/cars;color=red;year=2012/parts", "/cars/parts"),
        ("/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/u/{id}"),
        ("/u/V1StGXR8_Z5jdHi6B-myT", "/u/{id}"),
        ("/u/507f1f77bcf86cd799439011", "/u/{id}"),
        ("/v/dQw4w9WgXcQ", "/v/{id}"),
        ("/i/INV-2026-001", "/i/{id}"),
        ("/posts/a-title-of-words-12345", "/posts/{id}"),
        ("/posts/12345-a-title", "/posts/{id}"),
        ("/posts/best-of-2026", "/posts/best-of-2026"),
        ("/404-not-found", "/404-not-found"),
        ("/files/17.json", "/files/{id}.json"),
        ("/files/9f1c2d3e-0000-4000-8000-aaaaaaaaaaaa.jpg", "/files/{id}.jpg"),
        ("/js/app.v2.js", "/js/app.v2.js"),
        ("/api/2.0/users", "/api/2.0/users"),
        ("/OAuth2Callback", "/OAuth2Callback"),
        ("/odata/Orders(17)/Lines", "/odata/Orders({id})/Lines"),
        ("/odata/Orders('a')", "/odata/Orders({id})"),
        ("/hosts/10.0.0.1", "/hosts/{id}"),
        ("/items/1,2,3", "/items/{id}"),
        ("/w/2026-W09", "/w/{id}"),
        ("/n/user:42", "/n/{id}"),
        ("/t/+4912345678", "/t/{id}"),
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
        ("get /users/{id}", "/users/{id}"),
        ("Http Get /users/:id", "/users/:id"),
        ("UsersController.get {id}", ""),
        ("UsersController.get", ""),
        ("404 Not Found", ""),
        ("GET /api/users/[id]", "/api/users/[id]"),
    ],
)
def test_server_span_names_hold_routes(name: str, raw: str) -> None:
    assert route_spelling.from_span_name(name) == raw


def choose(path: str = "", http_route: str = "", url_template: str = "", span_name: str = "") -> str:
    book = route.RouteBook()
    return book.route("svc", http_route=http_route, url_template=url_template, span_name=span_name, path=path)


def test_route_attribute_comes_first_then_template_then_name_then_path() -> None:
    path = "/a/1"
    assert choose(path, "/a/:x", "/a/{y}", "GET /a/{z}") == "/a/{x}"
    assert choose(path, "", "/a/{y}", "GET /a/{z}") == "/a/{y}"
    assert choose(path, "", "", "GET /a/{z}") == "/a/{z}"
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


@pytest.mark.parametrize(
    ("raw", "path", "chosen"),
    [
        ("orders-service", "/orders/17", "/orders/{id}"),
        ("orders", "/orders/17", "/orders/{id}"),
        ("health", "/health", "/health"),
        ("/billing/**", "/orders/17", "/orders/{id}"),
        ("/order", "/orders/17", "/orders/{id}"),
        ("/orders/57", "/orders/56", "/orders/{id}"),
        ("404 Not Found", "/nope/12345", "/nope/{id}"),
        ("/orders/**", "/orders/17", "/orders/**"),
        ("/orders", "/orders/17", "/orders/{id}"),
        ("/api/v1", "/api/v1/orders/17", "/api/v1/orders/{id}"),  # Starlette: where the routes are mounted
        ("/users/{id}/posts", "/users/7/posts/17", "/users/{id}/posts/{id}"),
        ("/files/", "/files/a/b.png", "/files/"),  # Go: all below
        ("/orders", "/api/orders", "/orders"),  # mounted: the framework does not see the prefix
        ("/orders", "/Orders/", "/orders"),
        ("/orders(.:format)", "/orders.json", "/orders"),
        ("/caf\u00e9", "/caf%C3%A9", "/caf\u00e9"),
        ("/orders", "/orders;v=1", "/orders"),
        ("GET /orders/17", "/orders/17", "/orders/{id}"),  # Litestar: the path with its verb
        ("POST /orders", "/orders", "/orders"),
        ("/pets/{petId}", "/prod/pets/7", "/pets/{petId}"),
        ("/Users/{id}", "/users/17", "/Users/{id}"),
        ("/caf\u00e9/{id}", "/caf%C3%A9/17", "/caf\u00e9/{id}"),
        ("/{controller}/{action}", "/Home/Index", "/{controller}/{action}"),
        ("/users/{id}.json", "/users/17.json", "/users/{id}.json"),
        (r"^(?:old/)?x/(\d+)$", "/x/17", "/old/x/{param}"),
        ("/news[/archive]", "/news", "/news/archive"),
        ("/customers/[cid]/orders/route", "/customers/ann/orders", "/customers/{cid}/orders"),  # Next.js: its file
        ("/(shop)/docs/[...slug]/page", "/docs/a/b", "/docs/{slug}"),
        ("/page", "/", "/"),
        ("/shop/@basket/[id]/page", "/shop/7", "/shop/{id}"),
        ("/@{user}/posts", "/@ann/posts", "/@{user}/posts"),
        ("/route", "/", "/"),
        ("/orders/page", "/orders/page", "/orders/page"),
        ("/blog/page", "/orders/17", "/orders/{id}"),
        ("/a/{b}", "/a;v=1/7", "/a/{b}"),
    ],
)
def test_a_route_that_the_path_is_not_of_is_none(raw: str, path: str, chosen: str) -> None:
    assert choose(path, http_route=raw) == chosen


def test_where_routes_are_mounted_is_no_route_in_a_span_name_either() -> None:
    assert choose("/api/v1/orders/17", http_route="/api/v1", span_name="GET /api/v1") == "/api/v1/orders/{id}"
    assert choose("/prod/health", span_name="GET /health") == "/health"


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


def words(count: int) -> list[str]:
    return [f"/{''.join(chr(97 + int(digit)) for digit in str(number))}" for number in range(count)]


def test_a_flood_of_paths_leaves_room_for_new_routes_and_those_in_use() -> None:
    book = route.RouteBook(max_templates=100)
    for _ in range(50):
        assert book.template("svc", "/orders") == "/orders"
    flood = [book.template("svc", path) for path in words(5000)]
    assert len(set(flood)) <= 101
    assert book.template("svc", "/orders") == "/orders"
    new = [book.template("svc", path) for _ in range(10) for path in ("/neworders", "/newusers")]
    assert new[2 * route.ADMITTED :] == ["/neworders", "/newusers"] * (10 - route.ADMITTED)
    assert book.template("svc", "/orders") == "/orders"


def test_what_the_book_remembers_of_a_service_is_bounded() -> None:
    book = route.RouteBook(max_templates=50)
    for path in words(3000) * 2:
        book.template("svc", path)
    seen = book._seen["svc"]
    assert len(seen.calls) == 50
    assert len(seen.waiting) <= 50


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
    found = route_spelling.normalise(raw)
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
