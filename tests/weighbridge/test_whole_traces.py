"""Whole traces in the running bridge: decided when a trace is complete, delivered once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from exporter.sink import Batch
from mapping.sampling.sampler import Sampler
from sink_memory import MemorySink
from whole_trace_rig import TraceRig

T0 = 1_795_200_000.0
HIGH, LOW = b"\xf0" * 16, b"\x00" * 15 + b"\x01"  # kept at 10 %, and dropped at every rate below 100 %


def test_an_error_in_a_later_request_keeps_the_trace_whole_and_ordinary_traces_go_whole(tmp_path: Path) -> None:
    async def go() -> None:
        rig = TraceRig(tmp_path, MemorySink(), T0)
        await rig.open()
        await rig.send([(LOW, 200), (HIGH, 200), (HIGH, 200)], T0)
        await rig.send([(HIGH, 200)], T0 + 3)
        await rig.send([(LOW, 503), (LOW, 200)], T0 + 4)
        await asyncio.sleep(0.3)
        assert rig.sink.events == [], "10 seconds have not passed on the records' clock"
        rig.wall_s = T0 + 11
        await rig.until(lambda: len(rig.handed) == 3)
        await rig.stop()
        assert rig.delivered() == [1, 5, 6]
        assert rig.outcomes == {"received": 6, "delivered": 3, "sampled_out": 3}
        assert {event.decision.rule for event in rig.sink.events} == {"errors"}
        assert [decision.rule for decision in rig.decisions].count("default") == 3

    asyncio.run(go())


def test_late_records_follow_the_decision_whether_it_was_to_keep_or_to_drop(tmp_path: Path) -> None:
    async def go() -> None:
        rig = TraceRig(tmp_path, MemorySink(), T0, rate=10)
        await rig.open()
        failed = b"\x00" * 15 + b"\x02"
        await rig.send([(LOW, 200), (failed, 500)], T0)
        await rig.send([(LOW, 500), (failed, 200), (HIGH, 200)], T0 + 20)
        rig.wall_s = T0 + 40
        await rig.until(lambda: len(rig.handed) == 2)
        await rig.stop()
        assert rig.delivered() == [2, 4, 5]
        assert {(e.decision.rule, e.decision.weight) for e in rig.sink.events} == {("errors", 1), ("default", 10)}

    asyncio.run(go())


def test_requests_in_the_spool_are_decided_on_their_own_clock_without_waiting(tmp_path: Path) -> None:
    """An hour's backlog: what came within the wait counts as in time, what came later does not."""

    async def go() -> None:
        rig = TraceRig(tmp_path, MemorySink(), T0 + 3600)
        await rig.spool.open()
        rig.feed.start(rig.spool.end_position)
        for second in range(0, 40, 2):
            await rig.send([(second.to_bytes(16, "big"), 200), (LOW, 500 if second == 6 else 200)], T0 + second)
        await rig.spool.close()
        again = TraceRig(tmp_path, rig.sink, T0 + 3600)
        await again.open()
        await again.until(lambda: len(again.handed) == 20)
        await again.stop()
        assert len(again.delivered()) == 20
        assert all(event.trace_id == LOW.hex() for event in again.sink.events)

    asyncio.run(go())


def test_stopping_decides_what_is_there(tmp_path: Path) -> None:
    async def go() -> None:
        rig = TraceRig(tmp_path, MemorySink(), T0, rate=10)
        await rig.open()
        await rig.send([(LOW, 200), (HIGH, 200), (LOW, 200)], T0)
        await rig.until(lambda: bool(rig.feed.counts.taken))
        await rig.stop()
        assert rig.delivered() == [2]
        assert [event.decision.reason for event in rig.sink.events] == ["kept_early"]
        assert rig.outcomes == {"received": 3, "delivered": 1, "sampled_out": 2}

    asyncio.run(go())


def test_memory_is_bounded_and_what_does_not_fit_is_decided_early_and_delivered(tmp_path: Path) -> None:
    async def go() -> None:
        rig = TraceRig(tmp_path, MemorySink(), T0, rate=100, max_bytes=100_000)
        await rig.open()
        most = 0
        dice = random.Random(4)
        for number in range(60):
            await rig.send([(dice.randbytes(16), 200) for _ in range(5)], T0 + number / 100)
            await asyncio.sleep(0)
            assert rig.source._main is None or rig.source._main.held_bytes <= 100_000
            most = max(most, rig.source._main.held_bytes if rig.source._main else 0)
        assert most > 50_000
        assert rig.feed.memory.bytes < 50_000, "what was read ahead is not held a second time"
        await rig.stop()
        assert rig.delivered() == list(range(1, 301))
        assert "kept_early" in {event.decision.reason for event in rig.sink.events}

    asyncio.run(go())


@pytest.mark.parametrize("seed", range(4))
def test_kills_at_any_moment_lose_nothing_repeat_nothing_and_decide_as_before(tmp_path: Path, seed: int) -> None:
    """The same requests through one process, and through processes that are killed every few requests."""
    dice = random.Random(seed)
    traces = [dice.randbytes(16) for _ in range(40)]
    requests = []
    at_s = T0
    for number in range(60):
        at_s += dice.uniform(0.1, 0.9)
        recent = traces[number // 2 : number // 2 + 10]
        spans = [(dice.choice(recent), 500 if dice.random() < 0.05 else 200) for _ in range(dice.randrange(1, 6))]
        requests.append((spans, at_s))
    total = sum(len(spans) for spans, _ in requests)

    async def run(directory: Path, kills: list[int]) -> list[int]:
        sink = MemorySink()
        rig = TraceRig(directory, sink, T0, rate=30)
        await rig.open()
        for number, (spans, at) in enumerate(requests):
            await rig.send(spans, at)
            rig.wall_s = at
            if number in kills:
                await asyncio.sleep(0.002 * (number % 9))
                await rig.kill()
                next_id = rig.next_id
                rig = TraceRig(directory, sink, at, rate=30)
                rig.next_id = next_id
                await rig.open()
        rig.wall_s += 30
        await rig.until(lambda: sum(rig.pipeline.totals.get(o) for o in ("delivered", "sampled_out")) == total)
        await rig.stop()
        outcomes = rig.outcomes
        assert outcomes["received"] == total == outcomes["delivered"] + outcomes["sampled_out"]
        assert len(sink.events) == outcomes["delivered"]
        return rig.delivered()

    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = asyncio.run(run(tmp_path / "whole", []))
    killed = asyncio.run(run(tmp_path / "killed", sorted(dice.sample(range(60), 8))))
    assert len(whole) == len(set(whole)) > 0
    assert killed == whole


def test_a_batch_that_was_planned_before_a_kill_is_made_again_with_the_same_rows(tmp_path: Path) -> None:
    failing = True

    def fail(batch: Batch, in_doubt: bool) -> None:
        if failing:
            raise asyncio.CancelledError  # as a kill inside the write

    async def go() -> None:
        nonlocal failing
        sink = MemorySink(fail=fail)
        rig = TraceRig(tmp_path, sink, T0, rate=10)
        await rig.open()
        for second in range(30):
            await rig.send([(HIGH, 200), (LOW, 500 if second == 8 else 200)], T0 + second)
        await rig.until(lambda: bool(rig.pipeline.journal.open_plans))
        rows = [plan.rows for plan in rig.pipeline.journal.open_plans]
        await rig.kill()
        failing = False
        again = TraceRig(tmp_path, sink, T0 + 60, rate=10)
        await again.open()
        await again.until(lambda: again.pipeline.totals.get("delivered") == 60)
        await again.stop()
        assert sink.writes[0][1:] == (rows[0], True)
        assert again.delivered() == list(range(1, 61))

    asyncio.run(go())


def test_what_was_handed_out_but_not_counted_before_a_kill_is_counted_by_the_next_process(tmp_path: Path) -> None:
    async def go() -> None:
        sink = MemorySink()
        rig = TraceRig(tmp_path, sink, T0, rate=10)
        rig.saved = 0
        await rig.open()
        for second in range(4):
            await rig.send([(HIGH, 200), (LOW, 500 if second == 3 else 200), (bytes(15) + b"\x02", 200)], T0 + second)
        rig.wall_s = T0 + 30
        await rig.until(lambda: len(rig.delivered()) == 8)
        counted = rig.handed[0].next_position  # the books were saved after the first request
        await rig.kill()
        again = TraceRig(tmp_path, sink, T0 + 31, rate=10)
        again.counted = lambda: counted
        await again.open()
        await again.until(lambda: len(again.handed) == 3)
        await again.stop()
        assert [unit.position for unit in again.handed] == [unit.position for unit in rig.handed[1:]]
        assert again.decisions == rig.decisions[3:]
        assert len(again.delivered()) == 8

    asyncio.run(go())


def test_the_spool_is_given_back_when_the_view_of_open_traces_needs_it_no_more(tmp_path: Path) -> None:
    async def go() -> None:
        rig = TraceRig(tmp_path, MemorySink(), T0, rate=10)
        await rig.open()
        for second in range(60):
            await rig.send([(second.to_bytes(8, "big") + b"\xff" * 8, 200)] * 5, T0 + second)
        await rig.until(lambda: len(rig.handed) > 40)
        await asyncio.sleep(0.1)
        assert 10 < rig.spool.request_count < 60, "the newest are undecided, and before them is their view"
        rig.wall_s = T0 + 100
        await rig.until(lambda: rig.spool.request_count == 0)
        assert rig.feed.memory.bytes == 0
        await rig.stop()

    asyncio.run(go())


def test_no_undecided_event_reaches_a_sink(tmp_path: Path) -> None:
    async def go() -> None:
        rig = TraceRig(tmp_path, MemorySink(), T0, rate=50, max_bytes=60_000, max_trace_bytes=8_000)
        await rig.open()
        dice = random.Random(2)
        traces = [dice.randbytes(16) for _ in range(12)]
        for number in range(80):
            await rig.send([(dice.choice(traces), 200) for _ in range(4)], T0 + number / 3)
        rig.wall_s = T0 + 60
        await rig.until(lambda: len(rig.handed) == 80)
        await rig.stop()
        assert rig.sink.events
        assert all(event.decision.rule != Sampler.UNDECIDED for event in rig.sink.events)
        assert rig.outcomes["received"] == 320

    asyncio.run(go())
