"""The books of sampling: what was decided of every request, counted once, and how far that is on disk.

A request is weighed when it is mapped, and counted when that was for the first time. Where its records wait for the
rest of their traces or for the end of a window, they are counted when they are decided. The spool keeps what the
minutes on disk do not know of yet, so that a process that is killed counts nothing twice and leaves nothing out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path

from exporter.source import HoldingSource, Unit
from mapping.event import Decision, Event
from mapping.mapped import Mapped
from mapping.sampling.counts import CountKey, Sums, sums_of
from mapping.sampling.settings import BudgetSettings, SamplingSettings
from receiver.spool.watching import Readable
from weighbridge.feed import Feed
from weighbridge.sampling.minutes import Places, SamplingMinutes
from weighbridge.sampling.open_window import Closed
from weighbridge.sampling.running import Sampling
from weighbridge.sampling.trace_source import WholeTraceSource
from weighbridge.sampling.window_store import WindowStore
from weighbridge.sampling.windows import Windows, WindowSource
from weighbridge.tasks import Spawn

MINUTES = "sampling_ledger.sqlite"
WINDOWS = "sampling_windows.sqlite"


class SamplingBooks:
    """One per process; `sampling` is of the settings in force. directory: of the spool."""

    def __init__(
        self, sampling: Sampling, settings: SamplingSettings, feed: Feed, spool: Readable, directory: Path
    ) -> None:
        self.sampling = sampling
        self.minutes = SamplingMinutes(directory / MINUTES)
        self.windows: Windows | None = None
        self._settings = settings
        self._feed = feed
        self._spool = spool
        if settings.window_s and not settings.tail:
            store = WindowStore(directory / WINDOWS)
            self.windows = Windows(feed, self._budget, store, lambda: spool.start_position, self._window_closed)
        # Of the request that was mapped last: by which sampling, what was decided, and what was kept of it.
        self._weighed: tuple[Sampling, Mapping[CountKey, Sums], Sequence[Event]] = sampling, {}, ()
        self._decided_to = 0  # what waited for whole traces or windows before this position is counted
        self._mapped_from = 0  # this process has counted as mapped what is after this position
        self._passed_to = 0  # every sink is done with what is before this position
        self._saved: Places | None = None
        self._saving = asyncio.Lock()

    async def start(self, spawn: Spawn) -> None:
        """Call when the spool is open and nothing is read from it yet: starts the feed where the books go on."""
        end = self._spool.end_position
        places = await asyncio.to_thread(self.minutes.places)
        if places is None:
            at = (await self.windows.on_disk() if self.windows else None) or end
            places = Places(at, at)
        counted = places.mapped if self._settings.tail else places.decided
        self._feed.start(end, max(counted, self._spool.start_position))
        self._decided_to, self._mapped_from = min(places.decided, end), self._feed.counted
        await self.save()  # so that the next process knows where this one began to count
        if self.windows:
            await self.windows.start(spawn)
        self.sampling.start(spawn)

    async def stop(self) -> None:
        """Call when nothing is mapped any more."""
        if self.windows:
            await self.windows.stop()
        await self.save()
        await self.sampling.stop()

    async def change(self, sampling: Sampling, settings: SamplingSettings) -> None:
        """Go on with another sampling, which has started; the books of the one before are carried on."""
        await self.sampling.stop()
        sampling.carry_on(self.sampling)
        self.sampling, self._settings = sampling, settings

    def holding(self) -> Callable[[str, Path], HoldingSource] | None:
        """Makes what holds a sink's events until they are decided, from its name and a file; None: nothing waits."""
        if self._settings.tail:
            return self._whole_traces
        windows = self.windows
        return None if windows is None else lambda sink, place: WindowSource(sink, windows, self._feed)

    # -- from the feed, one request at a time --------------------------------------------------------------

    def weigh(self, steps: Generator[None, None, Mapped], received_unix_ns: int) -> Generator[None, None, Mapped]:
        """Map a request by these steps; what sampling decides in them is `count`ed next, or never."""
        sampling = self.sampling
        self._weighed = sampling, {}, ()  # of a request that cannot be mapped, nothing
        mapped, decided = yield from sampling.weigh(steps, time.time_ns(), received_unix_ns)
        self._weighed = sampling, decided, mapped.events
        return mapped

    def count(self, tenant: str, received_unix_ns: int) -> None:
        """The request that was weighed last was mapped for the first time."""
        sampling, decided, kept = self._weighed
        self._weighed = sampling, {}, ()
        if self.windows:  # what is kept by the rules is decided by the window, and what they dropped counts with it
            self.windows.mapped(tenant, received_unix_ns, decided)
        else:
            sampling.decided(tenant, received_unix_ns, decided, kept)

    def passed(self, position: int) -> None:
        """Every sink is done with what is before a position: the spool may let go of what the minutes know of too."""
        self._passed_to = position
        if self._saved is not None and self._feed.maps:
            position = min(position, *self._saved)
        self._spool.release(position)

    # -- every second --------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """What is due in sampling also comes into force while nothing arrives; then it is on disk."""
        await self._feed.between_requests(lambda: self.sampling.tick(time.time_ns()))
        await self.save()

    def seen(self, etags: Iterable[str]) -> None:
        """Versions of remote sampling rules that destinations have just named, "" for none: newer ones are fetched."""
        if self.sampling.remote is not None:
            for etag in etags:
                self.sampling.remote.seen(etag)

    async def save(self) -> None:
        """Write the sampling ledger's news to disk."""
        async with self._saving:
            mapped = self._feed.counted
            places = Places(mapped, self._decided_to if self._settings.tail else mapped)
            if self.windows:  # what the rules dropped counts with its window
                places = Places(self._decided_to, self._decided_to)
            rows = self.sampling.ledger.take()
            if (rows, places) != ({}, self._saved):
                await asyncio.to_thread(self.minutes.add, rows, places)
                self._saved = places
                self.passed(self._passed_to)

    # -- what waited ---------------------------------------------------------------------------------------

    def _budget(self) -> BudgetSettings:
        budget = self._settings.budget
        assert budget is not None
        return budget

    def _window_closed(self, window: Closed) -> None:
        self._decided_to = window.end
        self._feed.counts.events -= window.capped
        self._feed.counts.sampled_out += window.capped
        for tenant, received_unix_ns, sums, kept in window.counted:
            self.sampling.decided(tenant, received_unix_ns, sums, kept)

    def _whole_traces(self, sink: str, place: Path) -> WholeTraceSource:
        tail = self._settings.tail
        assert tail is not None
        start = self._spool.start_position
        return WholeTraceSource(
            sink, self._feed, tail, lambda: self.sampling.sampler, start, place, self._decided, lambda: self._decided_to
        )

    def _decided(self, unit: Unit, decisions: Sequence[Decision]) -> None:
        """Whole traces are decided for each sink, and again after a fault; they count once."""
        if unit.position < self._decided_to:
            return
        self._decided_to = unit.next_position
        if unit.position >= self._mapped_from:
            dropped = sum(not decision.keep for decision in decisions)
            self._feed.counts.events -= dropped
            self._feed.counts.sampled_out += dropped
        self.sampling.decided(unit.tenant, unit.received_unix_ns, sums_of(decisions), unit.events)
