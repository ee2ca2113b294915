"""Spans of traces that come in several requests, for tests: a real spool, feed and mapper under one pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from exporter.deadletter import DeadLetters
from exporter.journal import Journal
from exporter.pipeline import Pipeline
from exporter.settings import BatchSettings, RetrySettings
from exporter.source import Unit
from mapping.event import Decision
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from otlp_requests import span, traces
from receiver.spool import Entry, Spool, SpoolSettings
from sink_memory import MemorySink
from weighbridge.feed import Feed
from weighbridge.sampling.trace_source import WholeTraceSource

RULES = [{"name": "errors", "rate": 100, "when": [{"path": "status", "op": "gte", "value": 500}]}]
SECOND_NS = 10**9

SpanOf = tuple[bytes, int]  # trace id, status of the answer


def request(spans: Sequence[SpanOf], at_unix_ns: int, first_id: int) -> bytes:
    """One request; span ids count up from first_id."""
    made = [
        span(
            {
                "http.request.method": "GET",
                "http.route": "/items/{id}",
                "url.path": "/items/7",
                "http.response.status_code": status,
            },
            name="GET /items/{id}",
            number=first_id + place,
            end_unix_ns=at_unix_ns,
            trace_id=trace_id,
        )
        for place, (trace_id, status) in enumerate(spans)
    ]
    return traces(*made).SerializeToString()


class TraceRig:
    """One process over `directory`; a second one over the same directory is the next process.

    wall: the wall clock in seconds; it stands until a test moves it.
    """

    def __init__(self, directory: Path, sink: MemorySink, wall_s: float, rate: object = 0, **tail: Any) -> None:
        self.directory = directory
        self.sink = sink
        self.wall_s = wall_s
        self.sampling = SamplingSettings.model_validate(
            {"rate": rate, "rules": RULES, "tail": {"decision_wait_s": "10s", **tail}}
        )
        self.sampler = Sampler(self.sampling)
        self.decoder = Decoder()
        self.mapper = Mapper(MappingSettings(), self.sampler)
        self.next_id = 1
        self.counted: Callable[[], int] | None = None
        self.saved: int | None = None  # the books know of what is before this position; None: of everything
        self.handed: list[Unit] = []
        self.decisions: list[Decision] = []
        settings = SpoolSettings(directory=directory / "spool", segment_bytes=16384, max_bytes=1 << 22)
        self.spool = Spool(settings, lambda appended, entry, payload: self.feed.committed(appended, entry, payload))
        self.feed = Feed(
            self.spool.read,
            self._decode,
            self.steps,
            self._release,
            ["memory"],
            64 << 20,
            directory / "unmappable",
        )

    async def _decode(self, entry: Entry) -> Decoded:
        return self.decoder.traces(entry.body)

    def steps(self, decoded: Decoded, received_unix_ns: int, tenant: str) -> Generator[None, None, Mapped]:
        return self.mapper.steps(decoded, received_unix_ns=received_unix_ns, tenant=tenant)

    async def open(self) -> None:
        await self.spool.open()
        self.feed.start(self.spool.end_position)
        self.source = WholeTraceSource(
            "memory",
            self.feed,
            self.sampling.tail,  # type: ignore[arg-type]
            lambda: self.sampler,
            self.spool.start_position,
            self.directory / "memory.place",
            self._decided,
            self.counted,
            lambda: int(self.wall_s * 1e9),
        )
        journal = Journal(self.directory / "memory.journal")
        journal.open(self.spool.start_position)
        self.pipeline = Pipeline(
            self.sink,
            self.source,
            journal,
            DeadLetters(self.directory / "dead.jsonl"),
            BatchSettings(max_age_s=0.02, max_events=20),
            RetrySettings(initial_interval_s=0.001, max_interval_s=0.002, unauthorised_interval_s=0.001),
        )
        self.task = asyncio.create_task(self.pipeline.run())

    def _release(self, position: int) -> None:
        """As the bridge does: what the books do not know of yet stays in the spool."""
        self.spool.release(position if self.saved is None else min(position, self.saved))

    def _decided(self, unit: Unit, decisions: Sequence[Decision]) -> None:
        self.handed.append(unit)
        self.decisions += decisions

    async def send(self, spans: Sequence[SpanOf], at_s: float) -> None:
        at_unix_ns = int(at_s * SECOND_NS)
        body = request(spans, at_unix_ns, self.next_id)
        self.next_id += len(spans)
        entry = Entry("traces", "acme", "application/x-protobuf", "", at_unix_ns, body)
        await self.spool.append(entry, self.decoder.traces(body))

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not done():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """As at SIGTERM."""
        self.source.drain()
        self.pipeline.stop()
        await asyncio.wait_for(self.task, 60)
        self.pipeline.close()
        await self.spool.close()

    async def kill(self) -> None:
        """What is in flight is cancelled; nothing is decided."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.pipeline.close()
        await self.spool.close()

    def delivered(self) -> list[int]:
        """Span ids in the sink."""
        return sorted(int(event.span_id, 16) for event in self.sink.events)

    @property
    def outcomes(self) -> dict[str, int]:
        assert self.pipeline.journal.books().residue == 0
        return self.pipeline.totals.plain().get("acme", {})
