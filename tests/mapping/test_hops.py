"""One request tells of a call that it is the customer's own or an inner hop, or that only the whole trace can tell."""

from __future__ import annotations

from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping_requests import CLIENT, INTERNAL, SERVER, TRACE, log, logs, mapped, span, traces

HTTP = {"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200}


def hops(*spans: Span) -> list[str]:
    """`hop` of every event, in wire order."""
    return [event.hop for event in mapped(traces(*spans), keep_skips=True).events]


def call(number: int, parent: int = 0, kind: int = SERVER) -> Span:
    return span(HTTP, kind=kind, number=number, parent=parent)


def test_the_first_call_of_a_trace_is_its_entry() -> None:
    assert hops(call(1)) == ["entry"]


def test_a_call_below_another_is_an_inner_hop_in_any_order() -> None:
    chain = (call(1), call(2, 1, CLIENT), call(3, 2))
    assert hops(*chain) == ["entry", "inner", "inner"]
    assert hops(*reversed(chain)) == ["inner", "inner", "entry"]


def test_plumbing_and_work_between_two_calls_hide_nothing() -> None:
    middleware = span({"express.type": "middleware"}, kind=INTERNAL, number=2, parent=1)
    assert hops(call(1), middleware, span({}, kind=INTERNAL, number=3, parent=2), call(4, 3, CLIENT), call(5, 4)) == [
        "entry",
        "inner",
        "inner",
        "inner",
        "inner",
    ]


def test_a_gateway_that_tries_again_makes_one_entry_and_three_inner_calls() -> None:
    tries = [each for number in (2, 4, 6) for each in (call(number, 1, CLIENT), call(number + 1, number))]
    assert [hop for hop, each in zip(hops(call(1), *tries), (call(1), *tries), strict=True) if each.kind == SERVER] == [
        "entry",
        "inner",
        "inner",
        "inner",
    ]


def test_a_call_whose_parent_is_elsewhere_is_open() -> None:
    """The caller may have sent its own traceparent, or a gateway's spans come in another request."""
    assert hops(call(3, 2)) == ["open"]
    assert hops(call(3, 2), call(4, 3, CLIENT), call(5, 4)) == ["open", "inner", "inner"]


def test_our_own_client_without_a_call_above_it_leaves_the_call_an_entry() -> None:
    """A browser or a job that reports to the same bridge is above the call, but is no call of the API."""
    assert hops(call(1, kind=CLIENT), call(2, 1)) == ["", "entry"]


def test_spans_that_are_each_others_parents_are_open() -> None:
    assert hops(call(1, 2), call(2, 1)) == ["inner", "inner"]
    assert hops(call(1, 1)) == ["open"]
    assert hops(span({}, kind=INTERNAL, number=1, parent=2), span({}, kind=INTERNAL, number=2, parent=1)) == ["", ""]


def test_a_chain_of_thousands_of_spans_costs_each_of_them_once() -> None:
    chain = [
        call(1),
        *(span({}, kind=INTERNAL, number=n, parent=n - 1) for n in range(2, 20_000)),
        call(20_000, 19_999),
    ]
    found = hops(*reversed(chain))
    assert found.count("entry") == 1
    assert found.count("inner") == len(chain) - 1


def test_a_call_read_from_a_log_is_open_where_it_belongs_to_a_trace() -> None:
    body: Any = orjson.dumps({"method": "GET", "path": "/a", "status": 200}).decode()
    events = mapped(logs(log(body, trace_id=TRACE), log(body))).events
    assert [(event.event_type, event.hop) for event in events] == [("api_call", "open"), ("api_call", "entry")]
