"""One pipeline over a spool in memory, for tests: run to the end, killed, and started again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from events import NOW_NS
from exporter.deadletter import DeadLetters
from exporter.journal import Journal
from exporter.pipeline import Pipeline
from exporter.replay import is_dropped
from exporter.settings import BatchSettings, RetrySettings
from exporter.source import Unit
from mapping.event import Event
from sink_memory import MemorySink

QUICK_RETRY = RetrySettings(initial_interval_s=0.001, max_interval_s=0.002, unauthorised_interval_s=0.001)
QUICK_BATCH = BatchSettings(max_age_s=0.02)


class ListSource:
    """A spool of ten bytes per record that holds what it is given."""

    def __init__(self, *records: list[Event], received_unix_ns: int = NOW_NS) -> None:
        self.records = list(records)
        self.received_unix_ns = received_unix_ns
        self.released = 0
        self.whole = True  # whether calls that sampling dropped, which are among the records, are told
        self.gone = 0  # so many records are not there any more
        self.reads: list[int] = []

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        self.reads.append(position)
        index = max(self.gone, -(-position // 10))
        if index >= len(self.records):
            await asyncio.sleep(min(timeout_s, 0.005))
            return None
        assert index * 10 >= self.released, "the pipeline read what it had released"
        events = [event for event in self.records[index] if not is_dropped(event)]
        dropped = [event for event in self.records[index] if is_dropped(event)]
        received = max((e.received_unix_ns for e in events), default=self.received_unix_ns)
        tenant = events[0].tenant if events else ""
        begin, size = index * 10, 1000 * len(self.records[index])
        told = dropped if self.whole else None
        return Unit(begin, begin + 10, received, events, size, tenant, sampled_out=len(dropped), dropped=told)

    def caught_up(self, position: int) -> bool:
        return position >= len(self.records) * 10

    def has_read(self, sink: str, position: int) -> None:
        pass

    def release(self, sink: str, position: int) -> None:
        self.released = position


class Rig:
    """One pipeline over a source and a sink; `restart` builds the next process over the same files."""

    def __init__(self, directory: Path, source: ListSource, sink: MemorySink, **batch: Any) -> None:
        self.directory = directory
        self.source = source
        self.sink = sink
        self.now = NOW_NS
        self.batch = QUICK_BATCH.model_copy(update=batch)
        self.dead = DeadLetters(directory / "dead.jsonl")
        self.pipeline = self.build()

    def build(self) -> Pipeline:
        journal = Journal(self.directory / "sink.journal")
        journal.open(0)
        return Pipeline(
            self.sink,
            self.source,
            journal,
            self.dead,
            self.batch,
            QUICK_RETRY,
            now_unix_ns=lambda: self.now,
        )

    def drain(self) -> None:
        async def go() -> None:
            task = asyncio.create_task(self.pipeline.run())
            self.pipeline.stop()
            await asyncio.wait_for(task, 60)

        asyncio.run(go())

    def run_until(self, done: Callable[[], bool]) -> None:
        """Run like a living process and then kill it: whatever is in flight is cancelled."""

        async def go() -> None:
            task = asyncio.create_task(self.pipeline.run())
            async with asyncio.timeout(60):
                while not done():
                    await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(go())

    def restart(self) -> None:
        self.pipeline = self.build()


def outcomes(rig: Rig) -> dict[str, int]:
    """Where the records ended, all tenants together; nothing may be left unexplained."""
    assert rig.pipeline.journal.books().residue == 0
    return dict(sum((Counter(c) for c in rig.pipeline.totals.plain().values()), Counter()))


def ids(events: list[Event]) -> list[str]:
    return sorted(e.transaction_id for e in events)


def access_log(span: Event, **changes: Any) -> Event:
    return span._replace(source="log", **changes)
