"""Identity inside a trace (spec/mapping.md §5.4): who lends, who borrows, and what stops it."""

from __future__ import annotations

import time
from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping.event import Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.settings import MappingSettings
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, TRACE, log, logs, mapped, mapper, span, traces

HTTP = {"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200}


def who(*spans: Span, settings: MappingSettings | None = None, resource: dict[str, Any] | None = None) -> list[str]:
    """user/company of every event, in wire order."""
    events = mapped(traces(*spans, resource=resource), settings, keep_skips=True).events
    return [f"{event.user_id}/{event.company_id}" for event in events]


def test_nearest_ancestor_lends() -> None:
    spans = (
        span({}, kind=CLIENT, number=4, parent=3),
        span({}, kind=INTERNAL, number=3, parent=2),
        span({"user.id": "near"}, kind=INTERNAL, number=2, parent=1),
        span({**HTTP, "user.id": "far", "company.id": "acme"}, number=1),
    )
    assert who(*spans) == ["near/acme", "near/acme", "near/acme", "far/acme"]


def test_server_span_takes_what_its_middleware_states_and_others_see_it() -> None:
    """Express puts user.id on the middleware's span, which is skipped."""
    spans = (
        span({"express.type": "middleware", "user.id": "u"}, kind=INTERNAL, number=2, parent=1),
        span({}, kind=CLIENT, number=3, parent=1),
        span(HTTP, number=1),
    )
    assert who(*spans) == ["u/", "u/", "u/"]


def test_two_different_values_lend_nothing_upwards() -> None:
    spans = (
        span({"user.id": "a"}, kind=INTERNAL, number=2, parent=1),
        span({"user.id": "b"}, kind=INTERNAL, number=3, parent=1),
        span(HTTP, number=1),
    )
    assert who(*spans) == ["a/", "b/", "/"]


def test_only_internal_spans_lend_upwards_and_only_attributes_do() -> None:
    token = {"http.request.header.x-consumer-id": ["from-header"]}
    spans = (
        span({"user.id": "callee"}, kind=CLIENT, number=2, parent=1),
        span({**token}, kind=INTERNAL, number=3, parent=1),
        span(HTTP, number=1),
    )
    assert who(*spans) == ["callee/", "from-header/", "/"]


def test_own_evidence_wins() -> None:
    assert who(span({**HTTP, "user.id": "own"}, number=2, parent=1), span({**HTTP, "user.id": "parent"}, number=1)) == [
        "own/",
        "parent/",
    ]


def test_other_traces_lend_nothing_even_with_equal_span_ids() -> None:
    stranger = span({**HTTP, "user.id": "stranger"}, number=1)
    stranger.trace_id = b"\x07" * 16
    assert who(span({}, kind=INTERNAL, number=2, parent=1), stranger) == ["/", "stranger/"]


def test_other_resources_lend_nothing() -> None:
    request = traces(span({**HTTP, "user.id": "u"}, number=1))
    request.MergeFrom(traces(span({}, kind=INTERNAL, number=2, parent=1), resource={"service.name": "other"}))
    assert [event.user_id for event in mapped(request).events] == ["u", ""]


def test_loops_of_parents_end() -> None:
    spans = (
        span({}, kind=INTERNAL, number=1, parent=2),
        span({}, kind=INTERNAL, number=2, parent=1),
        span({"user.id": "u"}, kind=INTERNAL, number=3, parent=3),
    )
    assert who(*spans) == ["/", "/", "u/"]


def test_deep_chains_are_walked_once() -> None:
    chain = [span({}, kind=INTERNAL, number=n, parent=n - 1) for n in range(2, 5_000)]
    events = mapped(traces(*chain, span({**HTTP, "user.id": "root"}, number=1))).events
    assert {event.user_id for event in events} == {"root"}


def test_company_of_the_resource_comes_last() -> None:
    resource = {"service.name": "s", "tenant.id": "of-resource"}
    spans = (
        span({}, kind=INTERNAL, number=2, parent=1),
        span({**HTTP, "company.id": "of-span"}, number=1),
        span({}, kind=INTERNAL, number=9),
    )
    assert who(*spans, resource=resource) == ["/of-span", "/of-span", "/of-resource"]


def test_inheritance_can_be_switched_off() -> None:
    spans = (span({}, kind=INTERNAL, number=2, parent=1), span({**HTTP, "user.id": "u"}, number=1))
    assert who(*spans, settings=MappingSettings(inherit=False)) == ["/", "u/"]


def test_a_call_that_comes_after_a_child_which_names_the_user_has_it() -> None:
    """Children end first, and so are exported first."""
    made = mapper()
    assert user(made, span({"user.id": "u"}, kind=INTERNAL, number=2, parent=1), NOW) == "u"
    assert user(made, span(HTTP, number=1), NOW + 59 * 10**9) == "u"
    assert user(made, span(HTTP, number=3), NOW + 61 * 10**9) == ""


def test_a_call_has_the_user_that_its_access_log_names() -> None:
    made = mapper()
    line = orjson.dumps({"method": "GET", "path": "/a", "status": 200, "user_id": "u"}).decode()
    request = Decoder().logs(logs(log(line, trace_id=TRACE)).SerializeToString())
    assert [event.user_id for event in made.map(request, received_unix_ns=NOW).events] == ["u"]
    assert user(made, span(HTTP, number=1), NOW) == "u"


def test_an_application_log_that_names_a_user_says_nothing_of_the_call() -> None:
    made = mapper()
    request = Decoder().logs(logs(log("deleted", {"user.id": "u"}, trace_id=TRACE)).SerializeToString())
    assert [event.user_id for event in made.map(request, received_unix_ns=NOW).events] == ["u"]
    assert user(made, span(HTTP, number=1), NOW) == ""


def test_children_that_come_in_a_later_request_are_identified_for_as_long_as_asked_for() -> None:
    parent, child = span({**HTTP, "user.id": "u"}, number=1), span({}, kind=INTERNAL, number=2, parent=1)
    forgetful, remembering = (mapper(MappingSettings(inherit_across_requests_s=seconds)) for seconds in (0, 30))
    for made, wanted in ((forgetful, ""), (remembering, "u")):
        assert user(made, parent, NOW) == "u"
        assert user(made, child, NOW + 29 * 10**9) == wanted
    assert user(remembering, child, NOW + 31 * 10**9) == ""


def test_trace_that_named_two_users_lends_none_across_requests() -> None:
    made = mapper(MappingSettings(inherit_across_requests_s=30))
    assert user(made, span({**HTTP, "user.id": "a"}, number=1), NOW) == "a"
    assert user(made, span({**HTTP, "user.id": "b"}, number=2), NOW) == "b"
    assert user(made, span(HTTP, number=3), NOW) == ""


def user(made: Mapper, one: Span, received: int) -> str:
    (event,) = made.map(Decoder().traces(traces(one).SerializeToString()), received_unix_ns=received).events
    return event.user_id


def test_nested_server_spans_take_the_value_of_all_below_them() -> None:
    spans = (
        span({"user.id": "a"}, kind=INTERNAL, number=4, parent=3),
        span(HTTP, kind=SERVER, number=3, parent=2),
        span({"user.id": "b"}, kind=INTERNAL, number=5, parent=2),
        span({}, kind=INTERNAL, number=2, parent=1),
        span(HTTP, kind=SERVER, number=1),
    )
    assert who(*spans) == ["a/", "a/", "b/", "/", "/"]


def test_a_deep_trace_of_stated_users_costs_no_more_per_span() -> None:
    def cost(depth: int) -> float:
        chain = [span({"user.id": f"u{n % 3}"}, kind=INTERNAL, number=n, parent=n - 1) for n in range(2, depth)]
        data = traces(*reversed(chain), span(HTTP, number=1)).SerializeToString()
        decoded = Decoder().traces(data)
        made = mapper()
        start = time.process_time()
        assert made.map(decoded, received_unix_ns=NOW).events[-1].user_id == ""
        return (time.process_time() - start) / depth

    assert cost(16_000) < 5 * cost(1_000)


def test_inheritance_of_many_spans_pauses_between_slices() -> None:
    """However many spans a request has, no step of mapping holds the event loop for long."""
    count = 20_000
    chain = [
        span({"user.id": "u"} if not number else {}, kind=SERVER, number=number + 1, parent=number)
        for number in range(count)
    ]
    steps = mapper().steps(Decoder().traces(traces(*chain).SerializeToString()), received_unix_ns=NOW)
    slices = 0
    events: list[Event] | None = None
    while events is None:
        try:
            next(steps)
            slices += 1
        except StopIteration as done:
            events = done.value.events
    assert {event.user_id for event in events} == {"u"}
    assert slices > 2 * count / 256 + 2 * count / 4096


def test_logs_take_the_user_of_their_trace_from_an_earlier_request_where_asked_for() -> None:
    owned = Decoder().traces(traces(span({"user.id": "ann"})).SerializeToString())
    said = [log("a", trace_id=TRACE), log("b", {"user.id": "bob"}, trace_id=TRACE), log("c")]
    later = Decoder().logs(logs(*said).SerializeToString())
    for seconds, users in ((0, ["", "bob", ""]), (30, ["ann", "bob", ""])):
        made = mapper(MappingSettings(inherit_across_requests_s=seconds))
        made.map(owned, received_unix_ns=NOW)
        assert [event.user_id for event in made.map(later, received_unix_ns=NOW).events] == users
