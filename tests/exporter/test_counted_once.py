"""Calls are counted once, kept by sampling or not, with the batches of their requests: over kills, copies and lines."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from events import NOW_NS, SECOND_NS, event
from exporter.errors import Refused, Retryable
from exporter.sink import Batch, Calls
from mapping.event import LOG, UNSAMPLED, Event
from mapping.sampling.dropped import counted_only
from pipeline_rig import ListSource, Rig, access_log, outcomes
from sink_memory import MemorySink

DROPPED = UNSAMPLED._replace(keep=False, weight=0, adjusted_count=0.0, reason="sampled_out")


def gone(of: Event | None = None, **changes: Any) -> Event:
    call = counted_only((of or event())._replace(**changes), DROPPED)
    assert call is not None
    return call


def counted(sink: MemorySink) -> list[str]:
    """Ids of the calls that are counted, kept and dropped."""
    all_of = [one for calls in sink.counted.values() for one in (*calls.events, *calls.dropped)]
    return sorted(one.transaction_id for one in all_of)


def ended(tmp_path: Path, *requests: list[Event]) -> tuple[list[str], dict[str, int], MemorySink]:
    """What is counted, and where the records ended, when these have come and everything is over."""
    rig = Rig(tmp_path, ListSource(*requests), MemorySink(counts=True))
    rig.drain()
    rig.now += 60 * SECOND_NS
    rig.restart()
    rig.drain()
    return counted(rig.sink), outcomes(rig), rig.sink


def test_what_sampling_drops_rides_with_what_it_keeps(tmp_path: Path) -> None:
    kept, dropped = [event() for _ in range(3)], [gone() for _ in range(9)]
    ids, told, sink = ended(tmp_path, [*kept, *dropped[:4]], dropped[4:])
    assert ids == sorted(one.transaction_id for one in (*kept, *dropped))
    assert told == {"received": 12, "delivered": 3, "sampled_out": 9}
    assert len(sink.events) == 3
    assert all(calls.whole for calls in sink.counted.values())


def test_days_are_counted_with_their_batches_and_alone(tmp_path: Path) -> None:
    day = 86_400 * SECOND_NS
    old: dict[str, Any] = {"start_unix_ns": NOW_NS - 2 * day, "end_unix_ns": NOW_NS - 2 * day}

    class ByDay(MemorySink):
        day_partitions = True

    rig = Rig(tmp_path, ListSource([event(), gone(**old), gone(), gone(**old)]), ByDay(counts=True))
    rig.drain()
    sizes = sorted((len(calls.events), len(calls.dropped)) for calls in rig.sink.counted.values())
    assert sizes == [(0, 2), (1, 1)]
    assert len(rig.sink.writes) == 1, "a batch without rows is not written"


@pytest.mark.parametrize("kept_first", [True, False])
def test_a_copy_in_another_request_is_not_counted_again(tmp_path: Path, kept_first: bool) -> None:
    """Whatever sampling decided of the two: other rates may have come into force between them."""
    call = event()
    both = [[call], [gone(call)]]
    ids, told, _ = ended(tmp_path, *(both if kept_first else both[::-1]), [gone(call)], [event()])
    assert len(ids) == 2
    assert told["deduplicated"] == 2
    assert told["received"] == 4


@pytest.mark.parametrize("line_first", [True, False])
@pytest.mark.parametrize("span_kept", [True, False])
@pytest.mark.parametrize("line_kept", [True, False])
@pytest.mark.parametrize("one_id", [True, False])
def test_a_span_and_its_access_log_line_are_one_call_kept_or_not(
    tmp_path: Path, line_first: bool, span_kept: bool, line_kept: bool, one_id: bool
) -> None:
    span = event()
    line = access_log(span) if one_id else access_log(span, transaction_id=event().transaction_id, span_id="")
    told = [[line if line_kept else gone(line)], [span if span_kept else gone(span)]]
    ids, ledger, sink = ended(tmp_path, *(told if line_first else told[::-1]))
    assert ids == [span.transaction_id]
    assert len(sink.events) == span_kept
    assert ledger["received"] == 2
    assert ledger["deduplicated"] == 1


def test_a_dropped_line_without_a_span_counts_when_its_time_is_over(tmp_path: Path) -> None:
    line = gone(access_log(event()))
    rig = Rig(tmp_path, ListSource([line], [event()]), MemorySink(counts=True))
    rig.run_until(lambda: rig.pipeline.journal.cursor == 20)
    assert line.transaction_id not in counted(rig.sink)
    assert rig.pipeline.waiting == 1
    rig.restart()
    rig.now += 60 * SECOND_NS
    rig.drain()
    assert line.transaction_id in counted(rig.sink)
    assert outcomes(rig) == {"received": 2, "delivered": 1, "sampled_out": 1}


@pytest.mark.parametrize("seed", range(12))
def test_kills_anywhere_count_nothing_twice_and_leave_nothing_out(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    requests: list[list[Event]] = []
    for _ in range(30):
        calls = [event() for _ in range(dice.randrange(6))]
        for one in calls:  # some lines come before their spans: what a process has forgotten it does not compare
            if dice.random() < 0.2:
                line = access_log(one, transaction_id=event().transaction_id, span_id="")
                requests.insert(dice.randrange(len(requests) + 1), [line if dice.random() < 0.5 else gone(line)])
        requests.append([one if dice.random() < 0.2 else gone(one) for one in calls])
    end = 10 * len(requests)
    spans = {one.transaction_id for request in requests for one in request if one.source == "span"}
    failures = iter([dice.random() for _ in range(1000)])

    def fails(batch: Batch, in_doubt: bool) -> None:
        if next(failures) < 0.3:
            raise Retryable("away")

    def fails_after(calls: Calls) -> None:
        if next(failures) < 0.3:
            raise Retryable("the answer was lost")

    sink = MemorySink(fail=fails, counts=True)
    sink.fail_counts = fails_after
    rig = Rig(tmp_path, ListSource(*requests), sink, max_events=3)
    for _ in range(6):
        enough = len(sink.counted) + dice.randrange(1, 4)
        rig.run_until(partial(lambda most: len(sink.counted) >= most or rig.pipeline.cursor == end, enough))
        rig.restart()
    rig.drain()
    rig.now += 60 * SECOND_NS
    rig.restart()
    rig.drain()
    assert counted(sink) == sorted(spans)
    told = outcomes(rig)
    assert told["received"] == sum(map(len, requests))
    assert told.get("delivered", 0) + told.get("sampled_out", 0) == len(spans)
    assert told.get("delivered", 0) == len(sink.events)


def test_what_the_destination_refuses_was_received_and_counts(tmp_path: Path) -> None:
    def fails(batch: Batch, in_doubt: bool) -> None:
        raise Refused("no")

    rig = Rig(tmp_path, ListSource([event(), gone()]), MemorySink(fail=fails, counts=True))
    rig.drain()
    assert len(counted(rig.sink)) == 2
    assert outcomes(rig) == {"received": 2, "dead_lettered": 1, "sampled_out": 1}


def test_counts_that_are_refused_for_good_do_not_hold_up_what_comes_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(calls: Calls) -> None:
        raise Refused("no such table")

    rig = Rig(tmp_path, ListSource([event()], [event()]), MemorySink(counts=True))
    rig.sink.fail_counts = refused
    rig.drain()
    assert len(rig.sink.events) == 2
    assert "counts" in caplog.text


def test_a_fault_of_ours_in_counting_costs_the_counts_of_its_batch_and_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(calls: Calls) -> None:
        raise TypeError("object of type 'NoneType' has no len()")

    rig = Rig(tmp_path, ListSource([event()], [event()]), MemorySink(counts=True))
    rig.sink.fail_counts = faulty
    rig.drain()
    assert len(rig.sink.events) == 2
    assert "counts" in caplog.text


def test_no_batch_mixes_requests_whose_dropped_calls_are_told_with_others(tmp_path: Path) -> None:
    source = ListSource([event(), gone()], [event(), gone()])
    rig = Rig(tmp_path, source, MemorySink(counts=True))
    first = source.next

    async def changed(position: int, timeout_s: float) -> object:
        source.whole = position < 10
        return await first(position, timeout_s)

    source.next = changed  # type: ignore[method-assign, assignment]
    rig.drain()
    assert [(calls.whole, len(calls.dropped)) for calls in rig.sink.counted.values()] == [(True, 1), (False, 0)]
    assert outcomes(rig) == {"received": 4, "delivered": 2, "sampled_out": 2}


def test_a_sink_that_does_not_count_is_told_of_rows_alone(tmp_path: Path) -> None:
    line = gone(access_log(event()))
    rig = Rig(tmp_path, ListSource([event(), gone(), line, event(event_type=LOG)]), MemorySink())
    rig.drain()
    assert rig.sink.counted == {}
    assert outcomes(rig) == {"received": 4, "delivered": 2, "sampled_out": 2}
