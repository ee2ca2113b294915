"""A framework that traces itself under an instrumented server tells of one call twice; other spans below are hops."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping.rules.route_spelling import MAX_ROUTE_CHARS
from mapping_requests import CLIENT, INTERNAL, SERVER, mapped, span, traces

HTTP = {"http.request.method": "GET", "url.path": "/api/a", "http.response.status_code": 200}


def kinds(*spans: Span) -> list[str]:
    return [event.event_type for event in mapped(traces(*spans)).events]


SAME: list[dict[str, Any]] = [
    HTTP,
    {"http.method": "GET", "http.target": "/api/a?page=2", "http.status_code": 200},
    {"http.request.method": "GET", "url.full": "http://shop.example/api/a/", "user.id": "u"},
    {"http.request.method": "get", "url.path": "/a"},  # mounted below /api
    {"http.request.method": "GET"},
]
OTHERS: list[dict[str, Any]] = [
    HTTP | {"http.request.method": "POST"},
    HTTP | {"url.path": "/b"},
    HTTP | {"http.response.status_code": 404},
]


@pytest.mark.parametrize("said", SAME)
def test_the_same_exchange_below_a_call_of_one_resource_is_an_action(said: dict[str, Any]) -> None:
    for order in (1, -1):
        pair = [span(HTTP, number=1), span(said, number=2, parent=1)][::order]
        assert kinds(*pair) == ["api_call", "action"][::order]
    work = span({}, kind=INTERNAL, number=3, parent=1)
    assert kinds(span(HTTP, number=1), work, span(said, number=2, parent=3)) == ["api_call", "action", "action"]


def test_a_target_that_may_hide_secrets_is_compared_too() -> None:
    whole = {
        "http.request.method": "GET",
        "url.full": "http://h/api/a?token=x%2Fy&u=a@b",
        "http.response.status_code": 200,
    }
    assert kinds(span(whole, number=1), span(HTTP, number=2, parent=1)) == ["api_call", "action"]
    other = {**whole, "url.full": "http://h/api/b?token=x%2Fy&u=a@b"}
    assert kinds(span(HTTP, number=1), span(other, number=2, parent=1)) == ["api_call", "api_call"]


@pytest.mark.parametrize("said", OTHERS)
def test_another_exchange_below_a_call_is_a_hop(said: dict[str, Any]) -> None:
    assert kinds(span(HTTP, number=1), span(said, number=2, parent=1)) == ["api_call", "api_call"]


def test_what_a_service_calls_over_the_network_is_a_hop_also_where_it_is_itself() -> None:
    call = span(HTTP, kind=CLIENT, number=3, parent=1)
    assert kinds(span(HTTP, number=1), call, span(HTTP, number=2, parent=3)) == ["api_call"] * 3


def test_another_resource_below_a_call_is_a_hop() -> None:
    request = traces(span(HTTP, number=1), resource={"service.name": "envoy"})
    request.resource_spans.extend(
        traces(span(HTTP, number=2, parent=1), resource={"service.name": "orders"}).resource_spans
    )
    assert [event.event_type for event in mapped(request).events] == ["api_call", "api_call"]


def test_whom_the_inner_span_names_the_call_is_of() -> None:
    named = span({**HTTP, "user.id": "u", "company.id": "acme"}, number=3, parent=2)
    spans = [span(HTTP, number=1), span(HTTP, number=2, parent=1), named]
    for order in (1, -1):
        call, *actions = mapped(traces(*spans[::order])).events[::order]
        assert (call.user_id, call.company_id) == ("u", "acme")
        assert [event.event_type for event in actions] == ["action", "action"]


def test_two_names_of_one_call_leave_the_outer_one() -> None:
    outer = span({**HTTP, "user.id": "gateway"}, number=1)
    call, _ = mapped(traces(outer, span({**HTTP, "user.id": "u", "company.id": "c"}, number=2, parent=1))).events
    assert (call.user_id, call.company_id) == ("gateway", "c")


def test_calls_beside_each_other_are_calls() -> None:
    assert kinds(span(HTTP, number=2, parent=1), span(HTTP, number=3, parent=1)) == ["api_call"] * 2


BARE = {"http.request.method": "GET", "url.path": "/api/customers/ann/orders", "http.response.status_code": 200}
ROUTE = "/api/customers/:cid/orders"


def routes(*spans: Span) -> list[str]:
    return [event.route for event in mapped(traces(*spans)).events if event.event_type == "api_call"]


TELLING: list[tuple[int, dict[str, Any]]] = [
    (SERVER, {**BARE, "http.route": ROUTE}),  # a router under otelhttp, a framework behind a function
    (SERVER, {"http.method": "GET", "http.target": BARE["url.path"], "http.route": "/api/customers/[cid]/orders"}),
    (INTERNAL, {"nestjs.type": "request_context", "http.request.method": "GET", "http.route": ROUTE}),
    (
        INTERNAL,
        {"next.span_type": "AppRouteRouteHandlers.runHandler", "next.route": "/api/customers/[cid]/orders/route"},
    ),
    (INTERNAL, {"http.method": "GET", "http.url": "http://h/api/customers/ann/orders", "http.route": ROUTE}),
    (INTERNAL, {"http.route": ROUTE}),
]


@pytest.mark.parametrize(("kind", "said"), TELLING)
def test_a_call_has_the_route_that_a_span_within_it_tells(kind: int, said: dict[str, Any]) -> None:
    for own in ({}, {"http.route": "/*"}, {"http.route": "/{proxy+}"}, {"http.route": ""}, {"http.route": "/api"}):
        for order in (1, -1):
            pair = [span({**BARE, **own}, number=1), span(said, kind=kind, number=2, parent=1)][::order]
            assert set(routes(*pair)) == {"/api/customers/{cid}/orders"}
        step = span({}, kind=INTERNAL, number=3, parent=1)
        inner = span(said, kind=kind, number=2, parent=3)
        assert set(routes(inner, step, span({**BARE, **own}, number=1))) == {"/api/customers/{cid}/orders"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (SERVER, {**BARE, "http.route": "/*"}),  # says less
        (INTERNAL, {"http.route": "/api/:version"}),
        (INTERNAL, {"http.request.method": "GET", "url.path": "/other", "http.route": "/a/b/c/d/:other"}),  # within it
        (INTERNAL, {"express.type": "middleware", "http.route": "/a/b/c/d/e"}),
        (CLIENT, {**BARE, "url.full": "http://stock/a/b/c/d/e", "http.route": "/a/b/c/d/:e"}),
    ],
)
def test_a_call_keeps_its_route_where_a_span_within_it_says_less_or_tells_of_another(
    kind: int, said: dict[str, Any]
) -> None:
    outer = span({**BARE, "http.route": "/api/customers/{id}/orders"}, number=1)
    assert routes(outer, span(said, kind=kind, number=2, parent=1))[0] == "/api/customers/{id}/orders"


def test_a_call_that_says_no_status_has_that_of_a_span_within_it() -> None:
    silent = {key: value for key, value in BARE.items() if key != "http.response.status_code"}
    inner = span({**BARE, "http.response.status_code": 404}, number=2, parent=1)
    resolve = {"http.route": ROUTE, "http.response.status_code": 404}
    for within in (inner, span(resolve, kind=INTERNAL, number=2, parent=1)):
        for order in (1, -1):
            events = mapped(traces(*[span(silent, number=1), within][::order])).events
            (call,) = (event for event in events if event.event_type == "api_call")
            assert (call.status, call.error_type) == (404, "not_found")
    (call, _) = mapped(traces(span(BARE, number=1), span(resolve, kind=INTERNAL, number=2, parent=1))).events
    assert (call.status, call.route) == (200, "/api/customers/ann/orders"), "another exchange"


def test_routes_of_what_a_call_asks_for_are_not_its_own() -> None:
    call = span({"http.request.method": "GET", "url.full": "http://stock/x"}, kind=CLIENT, number=2, parent=1)
    stock = span({**BARE, "http.route": ROUTE}, number=3, parent=2)
    within = span({"http.route": ROUTE}, kind=INTERNAL, number=4, parent=2)
    assert routes(span(BARE, number=1), call, within)[0] == "/api/customers/ann/orders"
    assert routes(span(BARE, number=1), call, stock)[0] == "/api/customers/ann/orders"
    other = traces(span(BARE, number=1), resource={"service.name": "nginx"})
    other.resource_spans.extend(traces(span({"http.route": ROUTE}, kind=INTERNAL, number=2, parent=1)).resource_spans)
    assert mapped(other).events[0].route == "/api/customers/ann/orders"


def test_texts_beyond_a_routes_length_are_neither_lent_nor_compared() -> None:
    long = "/a" * MAX_ROUTE_CHARS
    assert routes(span(BARE, number=1), span({"http.route": long}, kind=INTERNAL, number=2, parent=1)) == [
        "/api/customers/ann/orders"
    ]
    template = {**BARE, "url.path": "/{proxy+}" + "/{a}" * MAX_ROUTE_CHARS}
    assert kinds(span(template, number=1), span(BARE, number=2, parent=1)) == ["api_call", "api_call"]
    assert kinds(span({**BARE, "url.path": "/{proxy+}"}, number=1), span(BARE, number=2, parent=1))[1] == "action"
