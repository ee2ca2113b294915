"""Whole-trace sampling for one sink: between the feed, whose events wait for a decision, and the sink's pipeline.

Everything that was not delivered yet stays in the spool, and before it what the view of its traces was made from. So
after a restart the same traces are read again and decided as before, as long as they are not much longer than the wait.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter.durable import write_file
from exporter.source import Unit
from mapping.event import Decision
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import TailSettings
from weighbridge.feed import Feed
from weighbridge.sampling.trace_wait import Reader

# Of decision_wait_s: one to see every open trace from its first record, one for those that were decided meanwhile.
WAITS_KEPT = 2
BACK_UNUSED_S = 60.0


class WholeTraceSource:
    """`exporter.source.Source` of decided events.

    place: file that says from where a restart must read; without it that is `start_position`, the spool's oldest
    record. decided: told of each unit in order and of the decisions that were made for it; counted: requests before
    this position were told by an earlier process.
    """

    def __init__(
        self,
        sink: str,
        feed: Feed,
        tail: TailSettings,
        sampler: Callable[[], Sampler],
        start_position: int,
        place: Path,
        decided: Callable[[Unit, Sequence[Decision]], None] = lambda unit, decisions: None,
        counted: Callable[[], int] | None = None,
        wall_unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._sink = sink
        self._feed = feed
        self._tail = tail
        self._sampler = sampler
        self._start_position = start_position
        self._place = place
        self._told = decided
        self._counted = counted
        self._wall_unix_ns = wall_unix_ns
        self._main: Reader | None = None  # follows the cursor
        self._back: Reader | None = None  # for what the pipeline wants to see once more
        self._back_used_s = 0.0
        self._kept_from = 0
        self._low_water = 0
        self._draining = False
        self._leaving = False

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        """As in Source. A record whose traces are undecided is waited for, also with timeout 0."""
        main = self._main
        if main is None:
            # A killed process may have handed out what it did not come to count.
            first = position if self._counted is None else min(position, self._counted())
            self._kept_from = self._low_water = min(self._placed(), first)
            main = self._main = self._reader(
                self._kept_from, first, lambda read_to: self._feed.has_read(self._sink, read_to)
            )
        reader = main
        if position < main.at:
            if self._back is None or position < self._back.at:
                self._back = self._reader(self._kept_from, position)
            reader = self._back
            self._back_used_s = time.monotonic()
        reader.draining, reader.leaving = self._draining, self._leaving
        while True:
            found = await reader.next(main.at if reader is main else position, timeout_s)
            if found is None:
                self._let_go()
                return None
            if reader is main:
                self._told(found.unit, found.decisions)
            if found.unit.position >= position:
                return found.unit

    def caught_up(self, position: int) -> bool:
        return self._feed.caught_up(position)

    def has_read(self, sink: str, position: int) -> None:
        pass  # the main reader tells the feed itself: it is ahead of the pipeline

    def release(self, sink: str, position: int) -> None:
        self._low_water = max(self._low_water, position)
        if time.monotonic() - self._back_used_s > BACK_UNUSED_S:
            self._back = None  # it holds as much as the wait is long
        self._let_go()

    def drain(self) -> None:
        """Nothing more will come: decide at once what is there."""
        self._draining = True
        for reader in (self._main, self._back):
            if reader is not None:
                reader.draining = True

    def leave(self) -> None:
        """The pipeline ends: do not make it wait."""
        self._leaving = True
        for reader in (self._main, self._back):
            if reader is not None:
                reader.leaving = True

    # -- inside --------------------------------------------------------------------------------------------

    def _reader(self, start: int, first: int, has_read: Callable[[int], None] = lambda position: None) -> Reader:
        return Reader(self._feed, self._tail, self._sampler, start, first, has_read, self._wall_unix_ns)

    def _let_go(self) -> None:
        """Keep what is needed to see the traces after the low water as they are seen now, and no more."""
        main = self._main
        if main is None:
            return
        marks, low_water = main.marks, self._low_water
        clock_s = next((mark.clock_s for mark in marks if mark.position >= low_water), main.clock_s)
        horizon_s = clock_s - WAITS_KEPT * self._tail.decision_wait_s
        while marks and marks[0].clock_s < horizon_s and marks[0].position < low_water:
            marks.popleft()
        kept_from = min(marks[0].position, low_water) if marks else low_water
        if kept_from > self._kept_from:
            self._kept_from = kept_from
            with contextlib.suppress(OSError):  # an older place only makes a restart read more
                write_file(self._place, str(kept_from).encode(), sync=False)
            self._feed.release(self._sink, kept_from)

    def _placed(self) -> int:
        try:
            return max(int(self._place.read_text(encoding="utf-8")), self._start_position)
        except (OSError, ValueError):
            return self._start_position
