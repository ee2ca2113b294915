"""A lane: everything between one partition of the spool and the sinks.

    partition (disk) -> feed -> mapper -> one pipeline per sink -> sink

It knows no socket. It runs in the process of the receiver, or in one of its own (`weighbridge.lanes.process`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exporter.deadletter import DeadLetters
from exporter.delivery import Delivery
from exporter.settings import SinkSettings
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.epochs import Budget, LedBudget
from receiver.decode.compression import parse_codings
from receiver.decode.request import DecodeLimits, parse_media_type
from receiver.decode.turns import Decoding
from receiver.spool import Entry
from receiver.spool.watching import Readable
from weighbridge.admin.replay import Replays
from weighbridge.deliveries import Deliveries, make_sink
from weighbridge.explain import Explainer
from weighbridge.feed import Feed
from weighbridge.pseudonym_table import pseudonyms_of
from weighbridge.sampling.books import SamplingBooks
from weighbridge.sampling.lent_calls import LentCalls
from weighbridge.sampling.running import Sampling
from weighbridge.set_aside import SetAside
from weighbridge.settings import Settings
from weighbridge.tasks import Tasks
from weighbridge.unmappable import Returns

log = logging.getLogger(__name__)

TICK_S = 1.0
NO_LIMITS = DecodeLimits(1 << 62, 1 << 62, 1 << 62)

AppendAgain = Callable[[Entry, Decoded], Awaitable[None]]


class Lane:
    """Of one partition. directory: of its journals, dead letters and books; that of its segments, too."""

    def __init__(
        self,
        settings: Settings,
        spool: Readable,
        directory: Path,
        decoder: Decoder,
        tasks: Tasks,
        append_again: AppendAgain,
        make: Callable[[SinkSettings], Any] = make_sink,
        aside: SetAside | None = None,
        sinks_aside: Mapping[str, str] = MappingProxyType({}),
        budget: type[Budget] = Budget,
    ) -> None:
        """append_again: puts a request that could not be mapped into the spool a second time. make: makes sinks.

        aside: of a process of its own, which records can stop. sinks_aside: which are not to begin yet, and why.
        budget: of one of several lanes, it is led.
        """
        self.settings = settings
        self.directory = directory
        self.spool = spool
        self.tasks = tasks
        # What is in the spool was accepted, by the limits of that time: later ones must not strand it.
        self._decoding_again = Decoding(decoder, NO_LIMITS)
        self._budget = budget
        sampling = Sampling(settings.sampling, settings.exporter.sinks, directory, budget)
        self.mapper = Mapper(settings.mapping, sampling.sampler, count_dropped=_counts_dropped(settings))
        self._explainer = Explainer(settings.mapping.identity)
        self._pseudonyms = pseudonyms_of(settings.mapping.pseudonyms)
        self.dead_letters = DeadLetters(directory / "deadletter.jsonl", settings.exporter.dead_letter_bytes)
        self.lent_calls = LentCalls(directory / "sampling_calls.sqlite", lambda: self.books.sampling.sampler, spool)
        self.feed = Feed(
            spool.read,
            self._decode_again,
            self._map,
            lambda position: self.books.passed(position),
            [],
            settings.exporter.memory_bytes,
            directory / "unmappable",
            lambda tenant, received_unix_ns: self.books.count(tenant, received_unix_ns),
            aside,
            self.lent_calls,
        )
        self.feed.left_out.max_bytes = settings.exporter.unmappable_bytes
        self.books = SamplingBooks(sampling, settings.sampling, self.feed, spool, directory)
        self._should_skip_errors_before = 0  # of rules that were in force before a reload
        self.deliveries = Deliveries(
            directory, self.feed, spool, self.dead_letters, self.books.holding(), self.tasks, make, sinks_aside
        )
        self.returns = Returns(directory / "unmappable", self._decode_again, append_again, self.pipelines)
        self.replays = Replays(self.dead_letters, self.deliveries.refused_requests, self.pipelines, self.returns.replay)
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when every sink has begun. The partition must be open. Raises a part's own error."""
        await self.books.start(self.tasks.keep)
        self._ticking = self.tasks.keep("sampling", self._tick)
        self.tasks.once("count of the dead letters", asyncio.to_thread(self.dead_letters.count))
        await self.deliveries.start(self.settings.exporter)

    async def stop(self) -> list[str]:
        """Deliver what is committed; the spool keeps the rest. Returns what hangs in a call, as `Deliveries.stop`."""
        hanging = await self.deliveries.stop()
        hanging += [] if await self._decoding_again.close() else ["decoding"]
        if self._ticking:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        await self.books.stop()
        await self.lent_calls.close()
        return hanging

    async def check(self, settings: Settings) -> None:
        """Whether `reload` could do it now. Raises as that; nothing is changed in either case."""
        now = self.settings
        if settings.sampling.tail != now.sampling.tail:
            raise ValueError("sampling.tail cannot change while requests wait by it: restart the bridge")
        if settings.sampling.window_s != now.sampling.window_s:
            raise ValueError("sampling.budget.window_s cannot change while events wait by it: restart the bridge")
        await self.deliveries.check(settings.exporter)

    async def reload(self, settings: Settings) -> list[str]:
        """Go on with other settings of mapping, sampling and sinks, which `check` allows; what has changed.

        Raises ValueError, JournalError or OSError when they cannot be used; then nothing has been changed. A request is
        mapped by the settings that hold when a sink first asks for it.
        """
        now = self.settings
        rules_changed = (settings.mapping, settings.sampling) != (now.mapping, now.sampling)
        sampling, mapper = self.books.sampling, self.mapper
        if rules_changed:  # all of the new is made and begun before anything old is let go
            sampling = Sampling(settings.sampling, settings.exporter.sinks, self.directory, self._budget)
            mapper = Mapper(settings.mapping, sampling.sampler)
            sampling.start(self.tasks.keep)
        try:
            changes = await self.deliveries.change(settings.exporter)
        except BaseException:
            if rules_changed:
                await sampling.stop()
            raise
        self.deliveries.set_aside.clear()  # whoever changed something wants to know whether it helps
        self.dead_letters.max_bytes = settings.exporter.dead_letter_bytes
        self.feed.left_out.max_bytes = settings.exporter.unmappable_bytes
        if rules_changed:
            await self.books.change(sampling, settings.sampling)
            self._should_skip_errors_before += self.mapper.should_skip_errors
            self.mapper = mapper
            self._explainer = Explainer(settings.mapping.identity)
            self._pseudonyms = pseudonyms_of(settings.mapping.pseudonyms)
            changes.insert(0, "mapping and sampling")
        self.mapper.count_dropped = _counts_dropped(settings)
        self.settings = settings
        return changes

    @property
    def pipelines(self) -> Mapping[str, Delivery]:
        """By the sink's name."""
        return self.deliveries.pipelines

    @property
    def should_skip_errors(self) -> int:
        """Calls since the start for which the rule failed, whichever rule was in force."""
        return self._should_skip_errors_before + self.mapper.should_skip_errors

    @property
    def led_budget(self) -> LedBudget | None:
        """The budget in force, where there is one and it is told its rates."""
        budget = self.books.sampling.sampler.budget
        return budget if isinstance(budget, LedBudget) else None

    async def minutes(self, since_s: int) -> list[dict[str, Any]]:
        """What sampling decided since a minute of the Unix time, oldest first."""
        await self.books.save()
        return await asyncio.to_thread(self.books.minutes.since, since_s)

    # -- the steps between the parts -----------------------------------------------------------------------

    async def _decode_again(self, entry: Entry) -> Decoded:
        """A request read back from the spool, decoded as when it came in: what takes long goes to a thread."""
        media, codings = parse_media_type(entry.content_type), parse_codings(entry.content_encoding)
        return await self._decoding_again.decode(entry.signal, media, codings, entry.body)

    def _map(self, decoded: Decoded, received_unix_ns: int, tenant: str) -> Generator[None, None, Mapped]:
        return self.books.weigh(self._steps(decoded, received_unix_ns, tenant), received_unix_ns)

    def _steps(self, decoded: Decoded, received_unix_ns: int, tenant: str) -> Generator[None, None, Mapped]:
        explaining = log.isEnabledFor(logging.DEBUG)
        mapped = yield from self.mapper.steps(
            decoded,
            received_unix_ns=received_unix_ns,
            tenant=tenant,
            keep_skips=explaining,
            lent=self.lent_calls.now,
        )
        if explaining:
            mapped = self._explainer.tell(mapped)
        if self._pseudonyms is not None:
            mapped = mapped._replace(
                events=self._pseudonyms.applied(mapped.events),
                dropped=None if mapped.dropped is None else self._pseudonyms.applied(mapped.dropped),
            )
        return mapped

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await self.books.tick()
            await self.deliveries.keep_bounds()
            self.books.seen(pipeline.sink.config_etag for pipeline in self.pipelines.values())


def _counts_dropped(settings: Settings) -> bool:
    """Whether some sink counts the calls that sampling drops."""
    return settings.sampling.count == "all" and any(sink.counts_calls for sink in settings.exporter.sinks)
