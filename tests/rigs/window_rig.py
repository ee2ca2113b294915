"""Windows under a hard cap, for tests: a real spool, feed and mapper under one pipeline per sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from exporter.deadletter import DeadLetters
from exporter.journal import Journal
from exporter.pipeline import Pipeline
from exporter.settings import BatchSettings, RetrySettings
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from receiver.spool import Entry, Spool, SpoolSettings
from sink_memory import MemorySink
from weighbridge.feed import Feed
from weighbridge.sampling.open_window import Closed
from weighbridge.sampling.window_store import WindowStore
from weighbridge.sampling.windows import Windows, WindowSource
from weighbridge.tasks import Tasks
from whole_trace_rig import SECOND_NS, SpanOf, request


class WindowRig:
    """One process over `directory`; a second one over the same directory is the next process.

    wall_s: the wall clock; it stands until a test moves it, and so does monotonic_s, the other one.
    """

    def __init__(
        self, directory: Path, wall_s: float, *sinks: MemorySink, counted: int = 0, budget: int = 10, **settings: Any
    ) -> None:
        """counted: requests before this spool position are in the books of an earlier process."""
        self.directory = directory
        self.sinks = sinks or (MemorySink(),)
        for number, sink in enumerate(self.sinks):
            sink.name = self._name(number)
        self.wall_s = wall_s
        self.monotonic_s = 0.0
        window = {"events_per_second": budget, "window_s": "1s", **settings.pop("window", {})}
        self.settings = SamplingSettings.model_validate({"budget": window, **settings})
        assert self.settings.budget is not None
        self.budget = self.settings.budget
        self.sampler = Sampler(self.settings)
        # Rates are not what these tests are about: the first table lets everything through.
        self.sampler.budget = None
        self.decoder = Decoder()
        self.mapper = Mapper(MappingSettings(), self.sampler)
        self.counted = counted
        self.books_lag = 0  # so many windows are not in the books on disk yet; the spool keeps them
        self.next_id = 1
        self.closed: list[Closed] = []
        settings_ = SpoolSettings(directory=directory / "spool", segment_bytes=16384, max_bytes=1 << 22)
        self.spool = Spool(settings_, lambda appended, entry, payload: self.feed.committed(appended, entry, payload))
        self.feed = Feed(
            self.spool.read,
            self._decode,
            self._steps,
            self._passed,
            [self._name(number) for number in range(len(self.sinks))],
            64 << 20,
            directory / "unmappable",
            self._mapped,
        )
        self.pipelines: list[Pipeline] = []
        self.tasks: list[asyncio.Task[None]] = []

    def _name(self, number: int) -> str:
        return f"memory{number}"

    async def _decode(self, entry: Entry) -> Decoded:
        return self.decoder.traces(entry.body)

    def _steps(self, decoded: Decoded, received_unix_ns: int, tenant: str) -> Generator[None, None, Mapped]:
        self.sampler.tally.take()  # of what was only read again
        return self.mapper.steps(decoded, received_unix_ns=received_unix_ns, tenant=tenant)

    def _mapped(self, tenant: str, received_unix_ns: int) -> None:
        self.windows.mapped(tenant, received_unix_ns, self.sampler.tally.take())

    def _passed(self, position: int) -> None:
        if lag := self.books_lag:
            position = min(position, self.closed[-1 - lag].end if len(self.closed) > lag else 0)
        self.spool.release(position)

    async def open(self) -> None:
        await self.spool.open()
        self.feed.start(self.spool.end_position, max(self.counted, self.spool.start_position))
        self.windows = Windows(
            self.feed,
            lambda: self.budget,
            WindowStore(self.directory / "windows.sqlite"),
            lambda: self.spool.start_position,
            self.closed.append,
            lambda: int(self.wall_s * SECOND_NS),
            lambda: self.monotonic_s,
        )
        await self.windows.start(Tasks().keep)
        for number in range(len(self.sinks)):
            self.begin(number)

    def begin(self, number: int) -> None:
        """The pipeline of a sink."""
        name = self._name(number)
        journal = Journal(self.directory / f"{name}.journal")
        journal.open(self.spool.start_position)
        pipeline = Pipeline(
            self.sinks[number],
            WindowSource(name, self.windows, self.feed),
            journal,
            DeadLetters(self.directory / "dead.jsonl"),
            BatchSettings(max_age_s=0.02, max_events=20),
            RetrySettings(initial_interval_s=0.001, max_interval_s=0.002, unauthorised_interval_s=0.001),
        )
        self.pipelines.append(pipeline)
        self.tasks.append(asyncio.create_task(pipeline.run()))

    async def send(self, spans: Sequence[SpanOf], at_s: float) -> None:
        at_unix_ns = int(at_s * SECOND_NS)
        body = request(spans, at_unix_ns, self.next_id)
        self.next_id += len(spans)
        entry = Entry("traces", "acme", "application/x-protobuf", "", at_unix_ns, body)
        await self.spool.append(entry, self.decoder.traces(body))

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not done():
                for task in self.tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """As at SIGTERM."""
        self.windows.drain()
        for pipeline in self.pipelines:
            pipeline.stop()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 60)
        await self._close()

    async def kill(self) -> None:
        """What is in flight is cancelled; nothing is decided."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        await self.windows.stop()
        for pipeline in self.pipelines:
            pipeline.close()
        await self.spool.close()

    def delivered(self, number: int = 0) -> list[tuple[int, str, float, int]]:
        """(span id, th, adjusted count, weight) of what a sink has."""
        return sorted(
            (int(e.span_id, 16), e.decision.th, e.decision.adjusted_count, e.decision.weight)
            for e in self.sinks[number].events
        )

    def outcomes(self, number: int = 0) -> dict[str, int]:
        pipeline = self.pipelines[number]
        assert pipeline.journal.books().residue == 0
        return pipeline.totals.plain().get("acme", {})
