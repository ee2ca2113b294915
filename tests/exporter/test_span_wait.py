"""Calls read from access logs whose spans never come: as cheap as others, at once and after a restart."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

import exporter.replay as replay_module
import exporter.span_wait as span_wait_module
from events import NOW_NS, SECOND_NS, event
from exporter.journal import event_key
from pipeline_rig import ListSource, Rig, access_log, ids, outcomes
from sink_memory import MemorySink

LINES = 24_576  # in one request
SPAN_WAIT_S = 30
# Before, such a request held the loop for 100 s; a step is 2 ms, and a busy machine has 500 times as long.
LONGEST_LAG_S = 1.0


def lines_of_one_request(count: int, number: int = 0) -> list:  # type: ignore[type-arg]
    return [access_log(event(span_id=f"{number:08x}{place:08x}")) for place in range(count)]


class Counted:
    """Calls of event_key, while the test runs."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        before = event_key

        def counting(transaction_id: str) -> int:
            self.calls += 1
            return before(transaction_id)

        patch.setattr(replay_module, "event_key", counting)


def deferred(rig: Rig, count: int) -> None:
    """Run until so many calls wait for their span, and kill it then."""
    rig.run_until(lambda: len(rig.pipeline.journal.waiting) == count and not rig.pipeline.journal.open_plans)


def drained_with_lag_s(rig: Rig) -> float:
    """Drain; the most CPU that the loop's thread used in one turn: what others on the machine do is not in it."""
    longest = 0.0

    async def go() -> None:
        nonlocal longest
        task = asyncio.create_task(rig.pipeline.run())
        rig.pipeline.stop()
        before = time.thread_time()
        while not task.done():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, before = max(longest, now - before), now
        await task

    asyncio.run(go())
    return longest


@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_a_request_of_waiting_lines_is_mapped_again_a_few_times(
    restarts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of_one_request(LINES)
    source = ListSource(lines)
    rig = Rig(tmp_path, source, MemorySink(), span_wait_s=SPAN_WAIT_S)
    deferred(rig, LINES)
    counted = Counted(monkeypatch)
    source.reads.clear()
    for _ in range(restarts):
        rig.restart()
        deferred(rig, LINES)
    rig.restart()
    rig.now += (SPAN_WAIT_S + 1) * SECOND_NS
    assert drained_with_lag_s(rig) < LONGEST_LAG_S
    assert ids(rig.sink.events) == ids(lines)
    assert outcomes(rig) == {"received": LINES, "delivered": LINES}
    again = sum(position == 0 for position in source.reads)
    assert again <= 4 * (1 + restarts), f"mapped {again} times"
    assert counted.calls <= again * LINES


def test_while_it_lives_what_it_does_not_hold_is_mapped_again_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many requests, memory for the calls of none: as many reads as requests, not as calls."""
    monkeypatch.setattr(span_wait_module, "HELD_BYTES", 0)
    requests = [lines_of_one_request(50, number) for number in range(40)]
    source = ListSource(*requests)
    rig = Rig(tmp_path, source, MemorySink(), span_wait_s=SPAN_WAIT_S, max_events=70)

    async def go() -> None:
        task = asyncio.create_task(rig.pipeline.run())
        async with asyncio.timeout(60):
            while len(rig.pipeline.journal.waiting) < 2000:
                await asyncio.sleep(0.002)
            source.reads.clear()
            rig.now += (SPAN_WAIT_S + 1) * SECOND_NS
            rig.pipeline.stop()
            await task

    asyncio.run(go())
    assert ids(rig.sink.events) == ids(sum(requests, []))
    again = [position for position in source.reads if position < 400]
    assert sorted(again) == sorted(set(again)), "mapped once for all of its calls"


def test_events_beyond_the_bound_on_memory_are_mapped_once_more_for_each_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_wait_module, "HELD_BYTES", 0)
    monkeypatch.setattr(replay_module, "INDEXED_BYTES", 20_000)  # ten of them
    lines = lines_of_one_request(100)
    source = ListSource(lines)
    rig = Rig(tmp_path, source, MemorySink(), span_wait_s=SPAN_WAIT_S)
    deferred(rig, 100)
    source.reads.clear()
    rig.restart()
    rig.now += (SPAN_WAIT_S + 1) * SECOND_NS
    rig.drain()
    assert ids(rig.sink.events) == ids(lines)
    assert sum(position == 0 for position in source.reads) <= 22  # at recovery, and when they are due


def test_calls_that_are_there_no_more_cost_no_look_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = ListSource(lines_of_one_request(300))
    rig = Rig(tmp_path, source, MemorySink(), span_wait_s=SPAN_WAIT_S)
    deferred(rig, 300)
    source.records[0] = lines_of_one_request(3, 9)
    source.reads.clear()
    rig.restart()
    rig.drain()
    assert sum(position == 0 for position in source.reads) == 1
    assert outcomes(rig) == {"received": 300, "failed": 300}
    assert caplog.text.count("no longer in the spool") == 1


def test_beyond_the_bound_the_oldest_wait_no_longer_and_still_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_wait_module, "MOST_WAITING", 100)
    requests = [lines_of_one_request(40, number) for number in range(10)]
    spans = [line._replace(source="span") for request in requests for line in request]
    source = ListSource(*requests)
    rig = Rig(tmp_path, source, MemorySink(), span_wait_s=SPAN_WAIT_S)
    rig.run_until(lambda: len(rig.sink.events) == 300)
    assert len(rig.pipeline.journal.waiting) == 100
    source.records.append(spans)
    rig.restart()
    rig.drain()
    assert ids(rig.sink.events) == ids(spans)
    assert outcomes(rig) == {"received": 800, "delivered": 400, "deduplicated": 400}


def test_taking_out_the_oldest_does_not_get_slower_with_their_number() -> None:
    """In calls of `next` on the waiting ones a dict walks over all that were taken out before."""
    wait = span_wait_module.SpanWait(1)
    for number, line in enumerate(lines_of_one_request(50_000)):
        wait.hold((number, number), line)
    started = time.process_time()
    assert sum(len(list(wait.due(NOW_NS * 2, 10))) for _ in range(5000)) == 50_000
    assert time.process_time() - started < 5.0  # 0.05 s; 25 s when each walks
