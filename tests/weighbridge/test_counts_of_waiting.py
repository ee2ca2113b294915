"""Calls that wait for whole traces or for the end of a window are counted when they are decided, kept or not, once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from events import NOW_NS
from mapping.event import Event
from mapping.sampling.counts import NOT_ESTIMABLE
from sink_memory import MemorySink
from whole_trace_rig import TraceRig
from window_rig import WindowRig

T0 = NOW_NS // 10**9 // 10 * 10


def counted(sink: MemorySink) -> list[Event]:
    return [one for calls in sink.counted.values() for one in (*calls.events, *calls.dropped)]


def span_ids(events: list[Event]) -> list[int]:
    return sorted(int(event.span_id, 16) for event in events)


@pytest.mark.parametrize("rate", [0, 10])
def test_a_trace_that_is_dropped_as_a_whole_is_counted_and_a_rate_of_zero_said(tmp_path: Path, rate: int) -> None:
    dice = random.Random(3)

    async def go() -> None:
        sink = MemorySink(counts=True)
        rig = TraceRig(tmp_path, sink, T0, rate=rate)
        rig.mapper.count_dropped = True
        await rig.open()
        traces = [dice.randbytes(16) for _ in range(30)]
        for second in range(10):
            await rig.send([(dice.choice(traces), 500 if dice.random() < 0.05 else 200) for _ in range(9)], T0 + second)
        rig.wall_s = T0 + 11
        await rig.until(lambda: len(rig.handed) > 0)
        await rig.kill()
        again = TraceRig(tmp_path, sink, T0 + 60, rate=rate)
        again.mapper.count_dropped = True
        await again.open()
        await again.until(lambda: len(counted(sink)) == 90)
        await again.stop()
        assert span_ids(counted(sink)) == list(range(1, 91))
        assert sum(len(calls.dropped) for calls in sink.counted.values()) == again.outcomes["sampled_out"] > 0
        reasons = {one.decision.reason for one in counted(sink) if not one.decision.keep}
        assert reasons == ({"rule_zero"} if not rate else {"sampled_out"})
        assert not rate or not reasons & NOT_ESTIMABLE

    asyncio.run(go())


@pytest.mark.parametrize("seed", range(3))
def test_what_the_cap_of_a_window_drops_is_counted_by_every_sink_over_kills(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    sinks = MemorySink(counts=True), MemorySink(counts=True)

    def process(wall_s: float, counted_to: int) -> WindowRig:
        rules: list[dict[str, Any]] = [
            {"name": "errors", "rate": 100, "when": [{"path": "status", "op": "gte", "value": 500}]}
        ]
        rig = WindowRig(tmp_path, wall_s, *sinks, counted=counted_to, rules=rules, rate=50)
        rig.mapper.count_dropped = True
        return rig

    async def go() -> None:
        sent = 0
        counted_to = 0
        for life in range(3):
            rig = process(T0 + life * 10, counted_to)
            rig.next_id = sent + 1
            await rig.open()
            for number in range(12):
                spans = [(dice.randbytes(16), 500 if dice.random() < 0.2 else 200) for _ in range(dice.randrange(1, 9))]
                await rig.send(spans, T0 + life * 10 + number / 6)
            sent = rig.next_id - 1
            rig.wall_s += 3
            before = len(counted(sinks[0]))
            await rig.until(lambda before=before: len(counted(sinks[0])) > before)  # type: ignore[misc]
            counted_to = rig.feed.counted
            await (rig.kill() if life < 2 else rig.stop())
        for sink in sinks:
            assert span_ids(counted(sink)) == list(range(1, sent + 1))
            assert 0 < len(sink.events) < sent

    asyncio.run(go())
