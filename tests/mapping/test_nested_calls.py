"""A framework that traces itself under an instrumented server tells of one call twice; other spans below are hops."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping_requests import CLIENT, INTERNAL, mapped, span, traces

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
