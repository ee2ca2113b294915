"""Spans that are no events and only stand between others: laid aside, and all comes out as it does with them."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from captures import CAPTURES, decode, received_ns
from mapping.context import Work
from mapping.event import SKIP, Decision, Event
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.stated import weigh
from mapping.spans import tree as tree_module
from mapping.spans.inheritance import find_owners
from mapping.spans.trace_memory import Owner, TraceMemory
from mapping.spans.tree import Tree
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, TRACE, mapper, span, traces

HTTP = {"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200}
DB = {"db.system.name": "postgresql"}
STAGE = {"express.type": "middleware"}  # skipped


SYSTEMS = sorted({body.parent.relative_to(CAPTURES).as_posix() for body in CAPTURES.rglob("*-traces.bin")})


def events(
    request: ExportTraceServiceRequest | Decoded, received: int = NOW, *, keep_skips: bool = False
) -> list[Event]:
    """All events but skipped ones. keep_skips: nothing is laid aside."""
    decoded = request if isinstance(request, Decoded) else Decoder().traces(request.SerializeToString())
    mapped = mapper().map(decoded, received_unix_ns=received, keep_skips=keep_skips)
    assert len(mapped.events) + mapped.skipped == decoded.accepted
    return [event for event in mapped.events if event.event_type != SKIP]


def told(*spans: Span) -> list[tuple[str, str]]:
    """(user, hop) of every event, which are the same with nothing laid aside."""
    request = traces(*spans)
    assert events(request) == events(request, keep_skips=True)
    return [(event.user_id, event.hop) for event in events(request)]


def stage(number: int, parent: int, **more: Any) -> Span:
    return span(STAGE, kind=INTERNAL, number=number, parent=parent, **more)


@contextmanager
def asked_in_full() -> Iterator[None]:
    """Whatever a request of few spans is not asked is asked all the same."""

    def find_owner(work: Work, memory: TraceMemory | None, now: int, tenant: str) -> Owner:
        tree = Tree()
        tree.works = [work]
        tree.naming = [0] if work.who[0] or work.who[1] else []
        owners = ended(find_owners(tree, memory, now, tenant))
        return owners[0] if owners is not None else work.who[:2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mapping.mapper.find_owner", find_owner)
        patch.setattr("mapping.mapper.flat_hops", lambda tree: None)
        patch.setattr(Tree, "has_calls_of_one_trace", lambda tree: True)
        patch.setattr(Tree, "is_flat", lambda tree: False)
        patch.setattr(TraceMemory, "knows", lambda memory, traces, tenant: memory._sort() is None)
        yield


def ended(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def in_turn(made: Mapper, requests: Sequence[Decoded], received: int = NOW) -> list[Mapped]:
    """What one mapper makes of requests that come one after the other."""
    return [made.map(request, received_unix_ns=received) for request in requests]


def split(request: Decoded, dice: random.Random) -> list[Decoded]:
    """The spans of a request in their order, one to six of them in a request."""
    spans = [(group, record) for group in request.groups for record in group.records]
    requests = []
    while spans:
        few, spans = spans[: (size := dice.randint(1, 6))], spans[size:]
        groups = [of._replace(records=[record for _, record in pairs]) for of, pairs in groupby(few, key=itemgetter(0))]
        requests.append(Decoded("traces", groups, len(few), {}, request.size))
    return requests


def test_a_span_that_says_its_parent_is_elsewhere_is_below_the_stage_all_the_same() -> None:
    """It is no neighbour of the call that is below the same stage."""
    for root in (0, 9):
        named = span({"user.id": "v"}, kind=INTERNAL, number=2, parent=3)
        silent, call = span({}, kind=INTERNAL, number=4, parent=3), span(HTTP, number=1, parent=3)
        for one in (named, silent, call):
            one.flags = 0x300
        assert [user for user, _ in told(named, silent, call, stage(3, root))] == ["v", "", ""]


def test_what_is_below_a_stage_is_below_the_call_above_it() -> None:
    chain = [stage(number, number - 1) for number in range(2, 40)]
    query, call = span(DB, kind=CLIENT, number=40, parent=39), span({**HTTP, "user.id": "u"}, number=1)
    for spans in ([query, *reversed(chain), call], [call, *chain, query], [*chain, query, call]):
        assert sorted(told(*spans)) == [("u", "entry"), ("u", "inner")]


def test_a_stage_without_anything_above_it_is_where_the_trace_begins() -> None:
    assert told(stage(1, 0), span(HTTP, number=2, parent=1)) == [("", "entry")]
    assert told(stage(1, 9), span(HTTP, number=2, parent=1)) == [("", "open")]
    two = told(stage(1, 0), span(HTTP, number=2, parent=1), span(HTTP, number=3, parent=1))
    assert two == [("", "entry"), ("", "entry")]


def test_stages_that_are_above_each_other_end() -> None:
    around = [stage(1, 2), stage(2, 3), stage(3, 1)]
    assert told(*around, span(HTTP, number=4, parent=2), span(DB, kind=CLIENT, number=5, parent=3)) == [
        ("", "open"),
        ("", ""),
    ]
    assert told(stage(1, 1), span(HTTP, number=4, parent=1)) == [("", "open")]


def test_a_stage_of_another_trace_is_not_walked_through() -> None:
    stranger = stage(2, 1, trace_id=b"\x07" * 16)
    assert told(span(DB, kind=CLIENT, number=3, parent=2), stranger, span({**HTTP, "user.id": "u"}, number=1)) == [
        ("", ""),
        ("u", "entry"),
    ]


def test_a_stage_that_names_the_user_lends_it() -> None:
    named = span({**STAGE, "user.id": "u"}, kind=INTERNAL, number=2, parent=1)
    assert told(span(DB, kind=CLIENT, number=3, parent=2), named, span(HTTP, number=1)) == [
        ("u", "inner"),
        ("u", "entry"),
    ]


def test_a_stage_of_another_resource_stops_what_is_lent() -> None:
    request = traces(span({**HTTP, "user.id": "u"}, number=1), span(DB, kind=CLIENT, number=3, parent=2))
    request.MergeFrom(traces(stage(2, 1), resource={"service.name": "other"}))
    assert events(request) == events(request, keep_skips=True)
    assert [event.user_id for event in events(request)] == ["u", ""]


def test_a_span_whose_parent_is_a_stage_here_is_not_beside_the_call_below_that_stage() -> None:
    named = span({"company.id": "c"}, kind=INTERNAL, number=3, parent=2)
    named.flags = 0x300  # its parent is in another process, it says
    assert told(named, stage(2, 9), span(HTTP, number=4, parent=2)) == [("", ""), ("", "open")]


@pytest.mark.parametrize("system", SYSTEMS)
def test_captured_spans_are_the_same(system: str) -> None:
    for body in (CAPTURES / system).glob("*-traces.bin"):
        request, received = decode(body), received_ns(body)
        assert events(request, received) == events(request, received, keep_skips=True)


KINDS: tuple[tuple[int, dict[str, Any]], ...] = (
    (SERVER, HTTP),
    (CLIENT, HTTP),
    (CLIENT, DB),
    (INTERNAL, STAGE),
    (INTERNAL, STAGE),
    (INTERNAL, {}),
)


def tree_of(dice: random.Random, count: int) -> Sequence[Span]:
    spans = []
    for number in range(1, count + 1):
        kind, attributes = dice.choice(KINDS)
        who = {name: dice.choice("ab") for name in ("user.id", "company.id") if not dice.randrange(5)}
        trace = dice.choice((TRACE, TRACE, b"\x07" * 16))
        parent = dice.choice((0, dice.randrange(number), dice.randrange(number), count + 5))
        made = span({**attributes, **who}, kind=kind, number=number, parent=parent, trace_id=trace)
        made.flags = dice.choice((0, 0x100, 0x300))
        spans.append(made)
    dice.shuffle(spans)
    return spans


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 14))
def test_any_spans_are_the_same(seed: int, count: int) -> None:
    told(*tree_of(random.Random(seed), count))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_few_spans_are_asked_less_and_are_the_same(seed: int, count: int) -> None:
    """In requests of one to six, one after the other, so that earlier ones tell of the traces of later ones."""
    dice = random.Random(seed)
    request = Decoder().traces(traces(*tree_of(dice, count)).SerializeToString())
    requests = split(request, dice) + split(request, dice)
    made = in_turn(mapper(), requests)
    with asked_in_full():
        assert in_turn(mapper(), requests) == made


def test_captured_spans_in_requests_of_few_are_the_same() -> None:
    dice, asking_few, asking_all = random.Random(7), mapper(), mapper()
    for body in sorted(CAPTURES.rglob("*-traces.bin")):
        requests, received = split(decode(body), dice), received_ns(body)
        made = in_turn(asking_few, requests, received)
        with asked_in_full():
            assert in_turn(asking_all, requests, received) == made, body


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_spans_are_the_same_in_slices(seed: int) -> None:
    """Requests of more than a slice of spans take another way to the same events."""
    request = traces(*tree_of(random.Random(seed), 20))
    at_once = events(request)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_module, "_SLICE", 3)
        assert events(request) == events(request, keep_skips=True) == at_once


def test_a_span_that_cannot_be_looked_at_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails while one span is looked at, no other is taken for it afterwards."""

    def fails(decision: Decision, stated: Any, trace_id: bytes) -> Decision:
        if stated == 7:
            raise ValueError("stated")
        return weigh(decision, stated, trace_id)

    monkeypatch.setattr("mapping.mapper.weigh", fails)
    bad = span({**HTTP, "user.id": "bad", "sampling.weight": 7}, number=9, parent=1)
    query, call = span(DB, kind=CLIENT, number=2, parent=1), span({**HTTP, "user.id": "u"}, number=1)
    for spans in ([bad, query, call], [query, bad, call], [query, call, bad]):
        decoded = Decoder().traces(traces(*spans).SerializeToString())
        mapped = mapper().map(decoded, received_unix_ns=NOW)
        assert sorted((event.user_id, event.hop) for event in mapped.events) == [("u", "entry"), ("u", "inner")]
        assert len(mapped.failed) == 1
