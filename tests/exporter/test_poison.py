"""Events that a sink cannot encode, in every kind of sink: they cost only themselves, also in the next process."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import events
from exporter.deadletter import DeadLetters, event_of
from exporter.errors import Retryable, TooLarge
from exporter.journal import Journal
from exporter.pipeline import Pipeline
from exporter.settings import BatchSettings
from exporter.sink import Batch
from exporter.writer import MOST_CALLS, NOT_TOLD_APART
from mapping.event import Event
from pipeline_rig import QUICK_RETRY, ListSource, Rig, ids, outcomes
from sink_destinations import DESTINATIONS
from sink_memory import MemorySink

pytestmark = pytest.mark.process  # a real engine is among the sinks

KINDS = sorted(DESTINATIONS)
DAY_NS = 86_400 * 10**9
DEEP = 300


def event(**changes: Any) -> Event:
    now = time.time_ns()
    return events.event(**{"start_unix_ns": now, "end_unix_ns": now, "received_unix_ns": now} | changes)


# What a mapping with a fault of its own may hand to a sink.
POISON: dict[str, Callable[[], Event]] = {
    "time beyond 64 bits": lambda: event(end_unix_ns=1 << 80),
    "time before 64 bits": lambda: event(end_unix_ns=-(1 << 80)),
    "severity beyond 8 bits": lambda: event(severity_number=1 << 70),
    "lone surrogate": lambda: event(user_id="\ud800"),
    "surrogate in a header": lambda: event(request_headers={"a\udfff": "b"}),
    "surrogate as the id": lambda: event(transaction_id="\ud800"),
    "surrogate in the trace id": lambda: event(trace_id="\udc80" * 32),
    "a body that is no JSON": lambda: event(request_body='{"a":', request_body_encoding="json"),
    "a deep body": lambda: event(request_body="[" * DEEP + "]" * DEEP, request_body_encoding="json"),
    "a dotted key": lambda: event(metadata=json.dumps({".".join(["k"] * DEEP): 1})),
    "metadata that is no JSON": lambda: event(metadata="{"),
    "a number for a text": lambda: event(uri=7),
    "no text at all": lambda: event(service=None),
    "no decision": lambda: event(decision=None),
    "no status": lambda: event(status=None),
}


def on(kind: str, folder: Path, test: Callable[[Any], Awaitable[None]]) -> None:
    async def go() -> None:
        destination = DESTINATIONS[kind](folder)
        await destination.start()
        try:
            await test(destination)
        finally:
            await destination.stop()

    asyncio.run(go())


def pipeline(folder: Path, sink: Any, source: ListSource, letters: DeadLetters) -> Pipeline:
    journal = Journal(folder / "sink.journal")
    journal.open(0)
    batch = BatchSettings(max_age_s=0.02)
    return Pipeline(sink, source, journal, letters, batch, QUICK_RETRY)


async def drained(pipe: Pipeline) -> None:
    task = asyncio.create_task(pipe.run())
    pipe.stop()
    await asyncio.wait_for(task, 120)
    await pipe.sink.close()
    pipe.close()


class Unanswered:
    """A sink whose process dies as soon as its destination has the good rows, before anybody is told."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.written = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    async def write(self, batch: Batch, *, in_doubt: bool) -> Any:
        await self._sink.write(batch, in_doubt=in_doubt)
        self.written.set()
        await asyncio.sleep(3600)


@pytest.mark.parametrize("kind", KINDS)
def test_poison_costs_only_itself_also_after_a_kill_in_the_middle(kind: str, tmp_path: Path) -> None:
    good = [event() for _ in range(40)]
    rows = list(good)
    poison = [make() for make in POISON.values()]
    for place, bad in enumerate(poison):
        rows.insert(2 * place, bad)

    async def test(destination: Any) -> None:
        source, letters = ListSource(rows), DeadLetters(tmp_path / "dead.jsonl")
        dying = Unanswered(destination.sink())
        first = pipeline(tmp_path, dying, source, letters)
        running = asyncio.create_task(first.run())
        await asyncio.wait_for(dying.written.wait(), 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await first.sink.close()
        first.close()

        second = pipeline(tmp_path, destination.sink(), source, letters)
        await drained(second)
        totals = second.totals
        assert second.journal.books().residue == 0
        found = Counter(await asyncio.to_thread(destination.stored))
        dead = {entry["transaction_id"] for entry in letters.read()}
        assert totals.get("delivered") + totals.get("dead_lettered") == len(rows)
        assert totals.get("dead_lettered") >= 5, "what these are is not poison for this sink"
        wanted = {row.transaction_id for row in good}
        assert wanted <= set(found)
        assert not wanted & dead
        if destination.exact:
            assert max(found.values()) == 1
        assert second.cursor == 10, "the cursor passes"

    on(kind, tmp_path, test)


@pytest.mark.parametrize("name", POISON)
def test_a_dead_letter_can_be_written_whatever_it_holds(name: str, tmp_path: Path) -> None:
    bad, letters = POISON[name](), DeadLetters(tmp_path / "dead.jsonl")
    letters.add("store", "it cannot \ud800 be", [event(), bad], (10, 20))
    first, second = letters.read()
    assert second["transaction_id"] == bad.transaction_id.encode("utf-8", "replace").decode()
    assert (second["sink"], second["reason"], second["spool"]) == ("store", "it cannot ? be", [10, 20])
    event_of(first)
    if "without_content" in second:
        assert second["event"]["span"]["id"] == bad.span_id
        with pytest.raises(ValueError, match="without its content"):
            event_of(second)


def test_any_exception_of_a_sink_is_tried_again_then_laid_at_the_rows_to_blame(tmp_path: Path) -> None:
    rows = [event() for _ in range(64)]
    poison = {rows[3].transaction_id, rows[40].transaction_id}
    tries: list[int] = []

    def fail(batch: Batch, in_doubt: bool) -> None:
        tries.append(len(batch.events))
        if any(row.transaction_id in poison for row in batch.events):
            raise RecursionError("a text that quotes a row")

    rig = Rig(tmp_path, ListSource(rows), MemorySink(fail=fail))
    rig.drain()
    assert outcomes(rig) == {"received": 64, "delivered": 62, "dead_lettered": 2}
    assert tries[:4] == [64, 64, 64, 32], "the whole three times, then each piece once"
    assert {letter["reason"] for letter in rig.dead.read()} == {"a fault of the bridge (RecursionError)"}
    assert ids(rig.sink.events) == sorted(row.transaction_id for row in rows if row.transaction_id not in poison)


def test_a_fault_that_passes_costs_no_row(tmp_path: Path) -> None:
    left = [RuntimeError("once"), Retryable("503"), OSError(5, "input"), MemoryError(), KeyError("twice")]

    def fail(batch: Batch, in_doubt: bool) -> None:
        if left:
            raise left.pop(0)

    rig = Rig(tmp_path, ListSource([event()]), MemorySink(fail=fail))
    rig.drain()
    assert outcomes(rig) == {"received": 1, "delivered": 1}


@pytest.mark.parametrize("method", ["open", "existing"])
def test_a_fault_of_another_call_does_not_end_the_pipeline(method: str, tmp_path: Path) -> None:
    sink, left = MemorySink(), [ValueError(), ValueError(), TypeError(), ValueError(), AttributeError()]
    real = getattr(sink, method)

    async def failing(*args: Any) -> Any:
        if left:
            raise left.pop(0)
        return await real(*args)

    setattr(sink, method, failing)
    old = event(end_unix_ns=0)  # the destination is asked whether it has it
    rig = Rig(tmp_path, ListSource([old]), sink)
    rig.drain()
    assert outcomes(rig) == {"received": 1, "delivered": 1}


def test_three_hundred_bad_rows_of_ten_thousand_are_told_apart_with_few_calls(tmp_path: Path) -> None:
    rows = [event() for _ in range(10_000)]
    bad = {row.transaction_id for row in rows[::33][:300]}
    calls = 0

    def fail(batch: Batch, in_doubt: bool) -> None:
        nonlocal calls
        calls += 1
        if any(row.transaction_id in bad for row in batch.events):
            raise TooLarge("cannot parse")

    rig = Rig(tmp_path, ListSource(rows), MemorySink(fail=fail))
    rig.drain()
    assert outcomes(rig) == {"received": 10_000, "delivered": 9_700, "dead_lettered": 300}
    assert {letter["transaction_id"] for letter in rig.dead.read()} == bad
    assert calls <= MOST_CALLS


def test_ten_thousand_rows_that_a_destination_refuses_cost_bounded_calls_and_a_bounded_file(tmp_path: Path) -> None:
    rows, after = [event() for _ in range(10_000)], [event() for _ in range(5)]
    bad, calls = {row.transaction_id for row in rows}, 0

    def fail(batch: Batch, in_doubt: bool) -> None:
        nonlocal calls
        calls += 1
        if any(row.transaction_id in bad for row in batch.events):
            raise TooLarge("cannot parse")

    rig = Rig(tmp_path, ListSource(rows, after), MemorySink(fail=fail))
    rig.dead.max_bytes = 1 << 20
    rig.drain()
    assert outcomes(rig) == {"received": 10_005, "delivered": 5, "dead_lettered": 10_000}
    assert calls <= MOST_CALLS + 32
    assert rig.dead.size <= 1 << 20
    kept = list(rig.dead.read())
    assert 0 < len(kept) < 10_000
    assert (rig.dead.kept["memory"], rig.dead.not_kept["memory"]) == (len(kept), 10_000 - len(kept))
    assert {entry["reason"] for entry in kept} <= {"cannot parse", "cannot parse" + NOT_TOLD_APART}


def test_ten_thousand_poison_rows_of_a_real_sink_end_in_the_dead_letters(tmp_path: Path) -> None:
    """The sink finds them all at once: nothing is sent for them, and what comes after them is delivered."""
    rows = [event(user_id="\ud800") for _ in range(10_000)]
    last = event()

    async def test(destination: Any) -> None:
        letters = DeadLetters(tmp_path / "dead.jsonl", max_bytes=4 << 20)
        pipe = pipeline(tmp_path, destination.sink(), ListSource(rows, [last]), letters)
        await drained(pipe)
        assert pipe.totals.plain() == {"": {"received": 10_001, "delivered": 1, "dead_lettered": 10_000}}
        assert pipe.counts.batches == 1
        assert await asyncio.to_thread(destination.stored) == [last.transaction_id]
        assert letters.size <= 4 << 20

    on("clickhouse", tmp_path, test)


def test_pieces_go_side_by_side_where_the_sink_allows_it(tmp_path: Path) -> None:
    rows = [event() for _ in range(64)]
    bad = {row.transaction_id for row in rows[::8]}
    running = most = 0

    class Wide(MemorySink):
        at_once = 4

        async def write(self, batch: Batch, *, in_doubt: bool) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            try:
                return await super().write(batch, in_doubt=in_doubt)
            finally:
                running -= 1

    def fail(batch: Batch, in_doubt: bool) -> None:
        if any(row.transaction_id in bad for row in batch.events):
            raise TooLarge("400")

    rig = Rig(tmp_path, ListSource(rows), Wide(fail=fail))
    rig.drain()
    assert outcomes(rig) == {"received": 64, "delivered": 56, "dead_lettered": 8}
    assert most == 4


def test_an_entry_larger_than_readers_take_is_kept_without_content(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("exporter.deadletter.LONGEST_ENTRY", 1 << 16)
    letters = DeadLetters(tmp_path / "dead.jsonl")
    letters.add("store", "no", [event(uri="x" * (1 << 16)), event()])
    large, small = letters.read()
    assert "without_content" in large
    event_of(small)
    letters.path.write_bytes(b"y" * (1 << 18) + b"\n" + letters.path.read_bytes())
    assert len(list(letters.read())) == 2, "a line longer than any entry is passed over"


def test_a_full_disk_leaves_no_half_entry_and_takes_those_without_content_where_there_is_room(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("exporter.attempts.DISK_PAUSE_S", 0.001)
    large = event(uri="x" * 5000)

    def fail(batch: Batch, in_doubt: bool) -> None:
        raise TooLarge("400")

    rig = Rig(tmp_path, ListSource([large]), MemorySink(fail=fail))
    real = rig.dead._append

    def no_room(fd: int, size: int, lines: Any) -> int:
        found = list(lines)
        if sum(map(len, found)) > 4000:
            real(fd, size, [line[:100] for line in found])
            raise OSError(28, "No space left on device")
        return real(fd, size, found)

    monkeypatch.setattr(rig.dead, "_append", no_room)
    rig.drain()
    [letter] = rig.dead.read()
    assert (letter["transaction_id"], letter["without_content"]) == (
        large.transaction_id,
        "there was no room on the disk",
    )
    assert outcomes(rig) == {"received": 1, "dead_lettered": 1}


def test_a_sink_that_is_at_fault_itself_does_not_get_a_backlog_into_the_dead_letters_at_full_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    def fail(batch: Batch, in_doubt: bool) -> None:
        if left:
            raise RuntimeError("session is closed")

    records = [[event()] for _ in range(12)]
    left = [1]
    rig = Rig(tmp_path, ListSource(*records), MemorySink(fail=fail), max_events=1)
    rig.pipeline._writer._interval_s = 5.0
    monkeypatch.setattr("exporter.writer.asyncio.sleep", sleep)

    async def go() -> None:
        task = asyncio.create_task(rig.pipeline.run())
        while rig.pipeline.totals.get("dead_lettered") < 9:
            await real(0.001)
        left.clear()
        rig.pipeline.stop()
        await asyncio.wait_for(task, 60)

    asyncio.run(go())
    long = [pause for pause in pauses if pause >= 5.0]
    assert long[:8] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert rig.pipeline.totals.get("delivered") >= 1
    assert rig.pipeline._writer._pause_s == 0.0
