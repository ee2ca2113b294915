"""A hard cap on every window of events: held between the feed and the sinks' pipelines until the window is over.

One reader for all sinks. It reads ahead of the one that is furthest, decides a window when a record of a later one
comes or the clock passes its end, writes the decision to disk and only then hands its events out. What a sink reads
again, or later than the others, it gets from the feed, decided by what is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping

from exporter.source import Unit
from mapping.sampling.counts import CountKey, Sums
from mapping.sampling.dropped import counted_only
from mapping.sampling.ledger import NS_PER_MINUTE
from mapping.sampling.settings import BudgetSettings
from mapping.sampling.window import Cap, decided
from weighbridge.feed import Feed
from weighbridge.sampling.open_window import Closed, Decided, Key, OpenWindow, length_ns, with_decision
from weighbridge.sampling.window_store import DecidedWindow, WindowStore
from weighbridge.tasks import Spawn

log = logging.getLogger(__name__)

LOOK_S = 0.25  # longest time between two looks at the clock
RETRY_S = 1.0  # pause after the disk refused a window
WARN_S = 10.0  # at most one line in so long


class Windows:
    """What holds the feed for all sinks."""

    def __init__(
        self,
        feed: Feed,
        budget: Callable[[], BudgetSettings],
        store: WindowStore,
        needed_from: Callable[[], int] = lambda: 0,
        closed: Callable[[Closed], None] = lambda window: None,
        wall_unix_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """budget: asked once per window. needed_from: the spool's oldest record.

        closed: told of every window whose records the feed counts, in order, before a sink has them.
        """
        self.early = 0  # windows that ended early for want of room
        self._feed = feed
        self._budget = budget
        self._store = store
        self._needed_from = needed_from
        self._told = closed
        self._wall_unix_ns = wall_unix_ns
        self._monotonic_s = monotonic_s
        self._passed: dict[str, int] = {}  # by sink
        self._decided: list[Decided] = []  # in order, for sinks that keep up
        self._decided_bytes = 0
        self._held_from = 0  # what is before this position is held no more
        self._open: OpenWindow | None = None
        self._read_to = 0
        self._cut = 0  # windows on disk end here
        self._next_number = 0
        self._found: DecidedWindow | None = None  # the one that was last looked up
        self._fresh: tuple[Key, Mapping[CountKey, Sums]] | None = None
        self._draining = False
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._asking = 0
        self._warned_s = -WARN_S
        self._task: asyncio.Task[None] | None = None

    # -- for the bridge ------------------------------------------------------------------------------------

    async def on_disk(self) -> int | None:
        """The position up to which windows are decided; None when there were none."""
        last = await asyncio.to_thread(self._store.last)
        return None if last is None else last.end

    async def start(self, spawn: Spawn) -> None:
        """Call when the feed has started: windows go on where it counts on. spawn: begins what runs beside."""
        last = await asyncio.to_thread(self._store.last)
        if last is not None and last.end > self._feed.end:  # of another spool
            await asyncio.to_thread(self._store.clear)
            last = None
        if last is not None:
            self._cut, self._next_number = last.end, last.next_number
        self._read_to = self._held_from = self._feed.counted
        self._task = spawn("sampling windows", self._run)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._store.close)

    def mapped(self, tenant: str, received_unix_ns: int, dropped: Mapping[CountKey, Sums]) -> None:
        """A request was mapped for the first time; dropped: what the rules dropped of it, which counts with its window.

        That is always the one that is read here: sinks get nothing that was not.
        """
        self._fresh = (tenant, received_unix_ns // NS_PER_MINUTE), dropped

    # -- for the sinks -------------------------------------------------------------------------------------

    async def next(self, sink: str, position: int, timeout_s: float, leaving: Callable[[], bool]) -> Unit | None:
        """As in Source. A record whose window is open is waited for, also with timeout 0."""
        deadline_s = time.monotonic() + timeout_s
        self._passed.setdefault(sink, position)
        while True:
            if position < self._held_from:
                unit = await self._again(position)
                if unit is not None and unit.position < self._held_from:
                    return unit
                position = self._held_from if unit is None else unit.position
                continue
            at = bisect_left(self._decided, position, key=lambda record: record.unit.position)
            if at < len(self._decided):
                unit = self._decided[at].unit
                self._let_go(sink, unit.next_position)
                return unit
            waits = self._open is not None and position < self._open.end
            rest_s = deadline_s - time.monotonic()
            if leaving() or (not waits and rest_s <= 0 and self._feed.caught_up(max(position, self._read_to))):
                return None
            await self._wait(rest_s if not waits and rest_s > 0 else LOOK_S)

    def drain(self) -> None:
        """Nothing more will come: the open window ends when everything is read."""
        self._draining = True

    def forget(self, sink: str) -> None:
        self._passed.pop(sink, None)

    async def _again(self, position: int) -> Unit | None:
        """A record that is not held, decided as it was the first time."""
        unit = await self._feed.next(position, 0)
        if unit is None or unit.position >= self._held_from:
            return unit
        cap = await self._cap_at(unit.position)
        kept, counted = [], None if unit.dropped is None else list(unit.dropped)
        for event in unit.events:
            decision = decided(event.decision, event.trace_id, cap)
            if decision is not None:
                kept.append(with_decision(event, decision))
            elif counted is not None and (call := counted_only(event, event.decision)) is not None:
                counted.append(call)
        sampled_out = unit.sampled_out + len(unit.events) - len(kept)
        return unit._replace(events=kept, sampled_out=sampled_out, dropped=counted)

    async def _cap_at(self, position: int) -> Cap:
        """Of the window that a record was in; none when it was counted by a process without windows."""
        found = self._found
        if found is None or not found.begin <= position < found.end:
            found = await asyncio.to_thread(self._store.around, position)
            self._found = found or self._found
        return found.cap if found else Cap()

    async def _wait(self, timeout_s: float) -> None:
        self._asking += 1
        self._asked.set()
        try:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
        finally:
            self._asking -= 1
            if not self._asking:
                self._asked.clear()

    def _let_go(self, sink: str, position: int) -> None:
        """A sink goes on to `position`: what all sinks that keep up have had needs no memory."""
        self._passed[sink] = position
        low = min(passed for passed in self._passed.values() if passed >= self._held_from)
        self._drop(bisect_left(self._decided, low, key=lambda record: record.unit.position))

    def _drop(self, n: int) -> None:
        if n:
            self._held_from = self._decided[n - 1].unit.next_position
            self._decided_bytes -= sum(record.size for record in self._decided[:n])
            del self._decided[:n]

    # -- the reader ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            try:
                await self._step()
            except Exception:
                log.exception("a sampling window is held up; it is tried again")
                await asyncio.sleep(RETRY_S)

    async def _step(self) -> None:
        unit = await self._feed.next(self._read_to, self._patience_s())
        window = self._open
        if unit is not None:
            await self._add(unit)
        elif window is not None and self._feed.caught_up(self._read_to) and self._ends(window):
            await self._close(window)
        self._changed.set()

    def _patience_s(self) -> float:
        if self._open is None:
            return LOOK_S
        if self._draining:
            return 0.001
        return min(LOOK_S, max(0.001, (self._open.end_unix_ns - self._wall_unix_ns()) / 1e9))

    async def _add(self, unit: Unit) -> None:
        window = self._open
        if window is not None and self._comes_after(window, unit):
            await self._close(window)
            window = None
        if window is None:
            window = self._open = await self._begun_with(unit)
        if self._fresh is not None:
            window.dropped_by_rule(*self._fresh)
            self._fresh = None
        self._read_to = unit.next_position
        await window.add(unit)
        for sink in self._passed:
            self._feed.has_read(sink, self._read_to)
        if self._decided_bytes + window.bytes > window.settings.max_bytes:
            await self._make_room(window)

    def _ends(self, window: OpenWindow) -> bool:
        return self._draining or window.is_over(self._wall_unix_ns(), self._monotonic_s())

    def _comes_after(self, window: OpenWindow, unit: Unit) -> bool:
        if window.known is not None:
            return unit.position >= window.known.end
        # A record that is on disk later than one of the next window counts there.
        return unit.received_unix_ns // length_ns(window.settings) > window.number

    async def _begun_with(self, unit: Unit) -> OpenWindow:
        known = None
        if unit.position < self._cut:
            known = await asyncio.to_thread(self._store.around, unit.position)
        settings = self._budget()
        number = max(unit.received_unix_ns // length_ns(settings), self._next_number)
        return OpenWindow(unit.position, number, settings, known, self._monotonic_s())

    async def _make_room(self, window: OpenWindow) -> None:
        """Of decided records, which can be read again; else of those that are out already; else the window ends."""
        most = window.settings.max_bytes
        while self._decided and self._decided_bytes + window.bytes > most:
            self._drop(1)
        if window.bytes > most:
            await window.make_room()
        if window.bytes > most * 0.9 and window.known is None:
            self.early += 1
            self._warn("sampling windows end early: sampling.budget.max_bytes does not hold what may be kept")
            await self._close(window, early=True)

    async def _close(self, window: OpenWindow, *, early: bool = False) -> None:
        """Decide: on disk, then in the books, then for the sinks."""
        cap = await window.cap()
        if window.known is None:
            done = DecidedWindow(window.begin, window.end, window.number + (not early), cap)
            await self._write(done)
            self._cut, self._next_number = done.end, done.next_number
        records, closed = await window.decide(cap)
        self._told(closed)
        self._decided += records
        self._decided_bytes += sum(record.size for record in records)
        self._open = None

    async def _write(self, window: DecidedWindow) -> None:
        while True:
            try:
                await asyncio.to_thread(self._store.add, window, self._needed_from())
                return
            except OSError as error:
                self._warn(f"a sampling window waits to be written: {error}")
                await asyncio.sleep(RETRY_S)

    def _warn(self, message: str) -> None:
        if time.monotonic() - self._warned_s >= WARN_S:
            self._warned_s = time.monotonic()
            log.warning("%s", message)


class WindowSource:
    """`exporter.source.Source` of one sink."""

    def __init__(self, sink: str, windows: Windows, feed: Feed) -> None:
        self._sink = sink
        self._windows = windows
        self._feed = feed
        self._leaving = False

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        return await self._windows.next(self._sink, position, timeout_s, lambda: self._leaving)

    def caught_up(self, position: int) -> bool:
        return self._feed.caught_up(position)

    def has_read(self, sink: str, position: int) -> None:
        pass  # the windows tell the feed themselves: they are ahead of the pipeline

    def release(self, sink: str, position: int) -> None:
        self._feed.release(sink, position)

    def drain(self) -> None:
        self._windows.drain()

    def leave(self) -> None:
        """The pipeline ends: do not make it wait."""
        self._leaving = True
        self._windows.forget(self._sink)
