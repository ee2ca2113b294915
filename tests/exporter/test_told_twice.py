"""A span and its access-log line are one call, also when the line has only the trace, a child's id, another status."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import exporter.same_call as same_call_module
from events import NOW_NS, SECOND_NS, event
from exporter.errors import Retryable
from mapping.event import Event
from pipeline_rig import ListSource, Rig, access_log, outcomes
from sink_memory import MemorySink

CHILD = "c" * 16


def line(span: Event, span_id: str = "", **changes: Any) -> Event:
    """The line of an access log about a span's call, with an id of its own."""
    own = event().transaction_id
    return access_log(span, transaction_id=own, span_id=span_id, hop="open", name="", **changes)


def delivered(tmp_path: Path, *requests: list[Event], **batch: Any) -> list[Event]:
    """What a sink has when these have come and everything is over; the ledger is looked at."""
    rig = Rig(tmp_path, ListSource(*requests), MemorySink(), **batch)
    rig.drain()
    rig.now += 60 * SECOND_NS
    rig.restart()
    rig.drain()
    told = outcomes(rig)
    assert told["received"] == sum(map(len, requests))
    assert told["delivered"] == len(rig.sink.events)
    assert told["received"] == sum(told.values()) - told["received"]
    return list(rig.sink.events)


def in_any_order(*events: Event) -> list[tuple[Event, ...]]:
    return list(itertools.permutations(events))


@pytest.mark.parametrize("span_id", ["", CHILD])
@pytest.mark.parametrize("line_first", [True, False])
def test_a_line_of_the_trace_or_of_a_span_below_is_the_same_call(
    tmp_path: Path, span_id: str, line_first: bool
) -> None:
    span = event()
    told = [[line(span, span_id)], [span]]
    (only,) = delivered(tmp_path, *(told if line_first else told[::-1]))
    assert only == span


@pytest.mark.parametrize("line_first", [True, False])
def test_the_span_of_a_line_may_come_in_another_process(tmp_path: Path, line_first: bool) -> None:
    """A line that waits waits on after a kill; a line that has been told of is not told of again."""
    span = event()
    first, second = ([line(span)], [span]) if line_first else ([span], [line(span)])
    source = ListSource(first, [event()])
    rig = Rig(tmp_path, source, MemorySink())
    rig.run_until(lambda: rig.pipeline.journal.cursor == 20)
    if line_first:
        rig.restart()
    source.records.append(second)
    rig.run_until(lambda: rig.pipeline.journal.cursor == 30)
    rig.now += 60 * SECOND_NS
    rig.restart()
    rig.drain()
    assert [e.transaction_id for e in rig.sink.events].count(span.transaction_id) == 1
    assert outcomes(rig) == {"received": 3, "delivered": 2, "deduplicated": 1}


def test_two_attempts_with_a_line_each_stay_two_in_any_order(tmp_path: Path) -> None:
    for status in (200, 503):
        first = event(span_id="a" * 16)
        second = event(trace_id=first.trace_id, span_id="b" * 16, status=status)
        for ids in (("", ""), (first.span_id, second.span_id), (CHILD, "d" * 16)):
            lines = [line(first, ids[0]), line(second, ids[1])]
            for number, order in enumerate(in_any_order(first, second, *lines)):
                folder = tmp_path / f"{status}{ids[0][:1]}{number}"
                folder.mkdir()
                found = delivered(folder, *([each] for each in order))
                assert Counter(e.span_id for e in found) == {first.span_id: 1, second.span_id: 1}


def test_a_line_without_a_span_stays_one_and_is_nobody_elses(tmp_path: Path) -> None:
    span = event()
    others = [
        line(event()),
        line(span, uri="http://shop.example/items/4712"),
        line(span, verb="POST"),
        line(span, direction="Outgoing"),
        line(span, tenant="other"),
        line(span, status=404, service="edge"),
        line(span, start_unix_ns=NOW_NS - 900 * SECOND_NS, end_unix_ns=NOW_NS - 900 * SECOND_NS),
    ]
    found = delivered(tmp_path, others, [span])
    assert Counter(e.source for e in found) == {"log": len(others), "span": 1}


def test_a_gateway_and_its_service_with_a_span_and_a_line_each_are_two_hops(tmp_path: Path) -> None:
    gateway = event(span_id="a" * 16, service="gateway")
    service = event(trace_id=gateway.trace_id, span_id="b" * 16, parent_id="a" * 16, service="orders")
    lines = [line(gateway), line(service)]
    for number, order in enumerate(in_any_order(gateway, service, *lines)):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = delivered(folder, *([each] for each in order))
        assert Counter(e.service for e in found) == {"gateway": 1, "orders": 1}


def test_the_query_and_a_last_slash_make_no_other_call_and_a_route_serves_where_no_path_was_sent(
    tmp_path: Path,
) -> None:
    slash, routed = event(), event(uri="http://shop/items/{id}", flags=("uri_from_route",))
    lines = [line(slash, uri="http://shop.example/items/4711/?page=2"), line(routed, uri="http://shop.example/items/9")]
    assert {e.source for e in delivered(tmp_path, lines, [slash, routed])} == {"span"}


def test_the_status_that_was_sent_is_the_one_of_the_log(tmp_path: Path) -> None:
    """A proxy that gives up on its upstream answers 504 after its span has seen 200."""
    span = event(duration_ms=3000.0, start_unix_ns=NOW_NS - 5 * SECOND_NS, end_unix_ns=NOW_NS - 2 * SECOND_NS)
    for number, span_id in enumerate(("", span.span_id, CHILD)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (only,) = delivered(folder, [line(span, span_id, status=504)], [span])
        assert (only.source, only.status, only.error_type) == ("span", 504, "timeout")
        assert only.flags == ("status_from_log",)


def test_a_span_that_knows_no_status_takes_its_lines(tmp_path: Path) -> None:
    span = event(status=0)
    (only,) = delivered(tmp_path, [line(span, status=201)], [span])
    assert (only.source, only.status) == ("span", 201)


def test_a_batch_that_is_repeated_after_a_kill_has_the_status_of_the_log_again(tmp_path: Path) -> None:
    span = event()
    sink = MemorySink()

    def die(batch: Any, in_doubt: bool) -> None:
        sink.batches[batch.token] = (batch.batch_id, list(batch.events))
        raise Retryable("the answer was lost")

    sink.fail = die
    rig = Rig(tmp_path, ListSource([line(span, status=504)], [span]), sink)
    rig.run_until(lambda: rig.pipeline.counts.retries > 2)
    before = [list(rows) for _, rows in sink.batches.values()]
    sink.fail = None
    rig.restart()
    rig.drain()
    assert [list(rows) for _, rows in sink.batches.values()] == before
    assert [e.status for e in sink.events] == [504]


def test_a_resent_line_whose_span_has_come_is_a_copy(tmp_path: Path) -> None:
    span = event()
    told = line(span, CHILD)
    (only,) = delivered(tmp_path, [told], [span], [told], [told])
    assert only == span


def test_more_calls_of_one_trace_than_are_remembered_cost_each_a_few_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0
    distance = same_call_module.distance

    def counting(*calls: Any) -> tuple[int, int] | None:
        nonlocal compared
        compared += 1
        return distance(*calls)

    monkeypatch.setattr(same_call_module, "distance", counting)
    monkeypatch.setattr(same_call_module, "MOST_REMEMBERED", 500)
    trace = event().trace_id
    spans = [event(trace_id=trace, span_id=f"{number:016x}") for number in range(2000)]
    lines = [line(span) for span in spans]
    found = delivered(tmp_path, lines[:1000], spans, lines[1000:])
    assert 2000 <= len(found) <= 3000
    assert compared <= 4000 * 2 * same_call_module.MOST_COMPARED


@pytest.mark.parametrize("seed", range(8))
def test_kills_at_random_moments_lose_no_span_and_explain_every_line(tmp_path: Path, seed: int) -> None:
    """Of lines whose spans an earlier process delivered nobody here knows that they are told twice: the view does."""
    dice = random.Random(seed)
    spans = [event() for _ in range(80)]
    traffic = spans + [line(span, dice.choice(["", CHILD])) for span in spans]
    dice.shuffle(traffic)
    source = ListSource(*[traffic[at : at + 7] for at in range(0, len(traffic), 7)])
    rig = Rig(tmp_path, source, MemorySink(), max_events=13)
    for _ in range(5):
        target = min(len(source.records) * 10, rig.pipeline.journal.cursor + 10 * dice.randrange(1, 8))
        rig.run_until(lambda: rig.pipeline.journal.cursor >= target)  # noqa: B023
        rig.restart()
    rig.drain()
    rig.now += 60 * SECOND_NS
    rig.restart()
    rig.drain()
    found = outcomes(rig)
    assert found["received"] == 160 == found["delivered"] + found["deduplicated"]
    assert Counter(e.source for e in rig.sink.events)["span"] == 80
