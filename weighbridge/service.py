"""The bridge: the one place where the parts are put together, started and stopped.

    receiver (HTTP) -> spool (disk) -> feed (memory) -> mapper -> one pipeline per sink -> sink

Started from the far end, so that nothing arrives before it can go on; stopped from the near end, so that what was
acknowledged is delivered or stays in the spool.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

from exporter.deadletter import DeadLetters
from exporter.forward import RawPipeline
from exporter.journal import Journal
from exporter.pipeline import Pipeline
from exporter.refused import RefusedRequests
from exporter.sinks import SinkSettings, module_of
from mapping.event_json import event_json
from mapping.mapper import Mapped, Mapper
from mapping.otlp import Decoded, Decoder
from mapping.sampling.sampler import Sampler
from receiver import app
from receiver.admin import Admin
from receiver.counts import ReceiverCounts
from receiver.decode import DecodeLimits, decode_request
from receiver.intake import Overloaded, Received
from receiver.spool import Appended, Entry, Spool, SpoolFailed, SpoolFull
from weighbridge.feed import Feed
from weighbridge.health import Health
from weighbridge.settings import Settings

log = logging.getLogger(__name__)

# SIGTERM is answered within this many seconds whatever the sinks do; container runtimes kill after 10.
DRAIN_S = 8.0
# Pause before a pipeline that failed unexpectedly begins again.
SINK_RESTART_S = 5.0


class Bridge:
    """Everything between the socket and the sinks, for one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        receiver = settings.receiver
        self._limits = DecodeLimits(receiver.max_body_bytes, receiver.max_records, receiver.max_elements)
        self.counts = ReceiverCounts()
        self.decoder = Decoder()
        self.sampler = Sampler(settings.sampling)
        self.mapper = Mapper(settings.mapping, self.sampler)
        self.directory = Path(settings.spool.directory)
        self.dead_letters = DeadLetters(self.directory / "deadletter.jsonl", event_json)
        self.refused_requests = RefusedRequests(self.directory / "refused")
        self.spool = Spool(settings.spool, self._committed)
        self.feed = Feed(
            self.spool.read,
            self._decode_again,
            self._map,
            self.spool.release,
            [sink.name for sink in settings.exporter.sinks],
            settings.exporter.memory_bytes,
            self.directory / "unmappable",
        )
        self.pipelines: dict[str, Pipeline | RawPipeline] = {}
        self.health = Health(self)
        self.accepting = False
        # Records since the start, by tenant: answered 200, and of these those of requests that were there already.
        self.acknowledged: Counter[str] = Counter()
        self.resent: Counter[str] = Counter()
        self._started_at = 0  # spool position of the first record of this process
        self._deliveries: dict[str, asyncio.Task[None]] = {}
        self._receiver: app.Running | None = None
        self._admin: Admin | None = None

    async def start(self) -> None:
        """Returns when requests are accepted. Raises OSError or a part's own error when it cannot be."""
        await self.spool.open()
        self._started_at = self.spool.end_position
        self.feed.start(self._started_at)
        self._tell_of_removed_sinks()
        for sink_settings in self.settings.exporter.sinks:
            pipeline = self._pipeline(sink_settings)
            name = f"sink {sink_settings.name}"
            self._deliveries[sink_settings.name] = asyncio.create_task(
                self._deliver(pipeline, sink_settings), name=name
            )
        self._admin = await Admin.start(self.settings.admin, self.health, self.health.routes())
        self._receiver = await app.start(self.settings.receiver, self.decoder, self, self.counts)
        self.accepting = True

    async def stop(self) -> None:
        """Refuse new requests, answer open ones, deliver what is committed within DRAIN_S; the spool keeps the rest."""
        self.accepting = False
        if self._receiver:
            await self._receiver.stop()
        for pipeline in self.pipelines.values():
            pipeline.stop()
        if self._deliveries:
            _, late = await asyncio.wait(self._deliveries.values(), timeout=DRAIN_S)
            for task in late:
                log.warning("%s is not drained: the rest stays in the spool", task.get_name())
                task.cancel()
            await asyncio.gather(*self._deliveries.values(), return_exceptions=True)
        for pipeline in self.pipelines.values():
            await pipeline.sink.close()
            pipeline.close()
        await self.spool.close()
        if self._admin:
            await self._admin.stop()

    # -- the steps between the parts -----------------------------------------------------------------------

    async def accept(self, received: Received) -> None:
        """`receiver.intake.Intake`: returns when the request is on disk."""
        entry = Entry(
            received.signal,
            received.tenant,
            received.content_type,
            received.content_encoding,
            received.received_unix_ns,
            received.body,
        )
        try:
            appended = await self.spool.append(entry, received.decoded)
        except SpoolFull as error:
            raise Overloaded(f"the spool is full: {error}") from error
        except SpoolFailed as error:
            raise Overloaded(f"the spool cannot be written: {error}") from error
        self.acknowledged[received.tenant] += received.decoded.accepted
        if appended.duplicate:
            self.resent[received.tenant] += received.decoded.accepted
        else:
            await self.feed.pace()

    def _committed(self, appended: Appended, entry: Entry, payload: object) -> None:
        self.feed.committed(appended, entry, payload)

    def _decode_again(self, entry: Entry) -> Decoded:
        return decode_request(
            self.decoder, entry.signal, entry.content_type, entry.content_encoding, entry.body, self._limits
        )

    def _map(self, decoded: Decoded, received_unix_ns: int, tenant: str) -> Generator[None, None, Mapped]:
        return self.mapper.steps(decoded, received_unix_ns=received_unix_ns, tenant=tenant)

    def _pipeline(self, sink_settings: SinkSettings) -> Pipeline | RawPipeline:
        module = module_of(sink_settings.type)
        needs = (event_json,) if getattr(module, "NEEDS_EVENT_JSON", False) else ()
        sink = module.create(sink_settings, *needs)
        batch = sink_settings.batch or self.settings.exporter.batch
        retry = sink_settings.retry or self.settings.exporter.retry
        journal = Journal(self.directory / "sinks" / f"{sink_settings.name}.journal", self._started_at)
        is_new = not journal.path.exists()
        journal.open(self.spool.start_position)
        if is_new:
            log.info("sink %s is new: it begins with the oldest request in the spool", sink_settings.name)
        if before := self.pipelines.get(sink_settings.name):
            journal.at_mark = before.journal.at_mark
        pipeline: Pipeline | RawPipeline
        if getattr(module, "FORWARDS_REQUESTS", False):
            pipeline = RawPipeline(sink, self.feed, journal, self.refused_requests, batch, retry)
        else:
            day_of = getattr(sink, "day_of", None)
            pipeline = Pipeline(sink, self.feed, journal, self.dead_letters, batch, retry, day_of=day_of)
        self.pipelines[sink_settings.name] = pipeline
        return pipeline

    def _tell_of_removed_sinks(self) -> None:
        named = {sink.name for sink in self.settings.exporter.sinks}
        for path in sorted((self.directory / "sinks").glob("*.journal")):
            if path.stem not in named:
                log.warning(
                    "sink %s is not in the settings any more: the spool does not wait for it; its place is kept in %s",
                    path.stem,
                    path,
                )

    async def _deliver(self, pipeline: Pipeline | RawPipeline, sink_settings: SinkSettings) -> None:
        """Run a sink's pipeline; after a fault of ours begin again from its journal, as a restart would."""
        while True:
            try:
                await pipeline.run()
                return
            except Exception:
                log.exception("sink %s stopped; its events are in the spool, it begins again", sink_settings.name)
            await pipeline.sink.close()
            pipeline.close()
            await asyncio.sleep(SINK_RESTART_S)
            pipeline = self._pipeline(sink_settings)
            if not self.accepting:
                pipeline.stop()


async def run(settings: Settings, ready: Callable[[], None] = lambda: None) -> None:
    """Run until SIGTERM or SIGINT, then drain. ready: called once requests are accepted."""
    started = time.monotonic()
    bridge = Bridge(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await bridge.start()
        # The hot path makes few cycles: a collection every 50,000 allocations instead of 700 saves a tenth of the CPU.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        # Threads that decode or encode hand over after 1 ms instead of 5: answers wait less, at no cost measured.
        sys.setswitchinterval(0.001)
        log.info("ready after %.2f s", time.monotonic() - started)
        ready()
        await stopping.wait()
        log.info("stopping")
    finally:
        await bridge.stop()
