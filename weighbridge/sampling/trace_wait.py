"""Reading ahead in the feed until whole traces are decided, on the clock of the records themselves.

The clock is the receive time of the records read, so that a replay decides as before; while there is nothing to
read it goes on with the wall clock. Decisions are due at its quarter seconds only, however often anybody looks.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from exporter.source import Unit
from mapping.event import Decision, Event, memory_of
from mapping.sampling.dropped import BYTES as DROPPED_BYTES
from mapping.sampling.dropped import counted_only
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import TailSettings
from mapping.sampling.whole_traces import Finished, WholeTraces
from weighbridge.feed import Feed

TICK_S = 0.25  # exact in binary, so a replay meets the same ticks
# A request is on disk within this time after it was received; before that the wall clock must not pass it.
SETTLE_S = 0.5
PAUSE_S = 0.1
SLICE = 256  # events between two breaths of the event loop
# After so long without a record the clock jumps: by then every trace is decided and the pace of arrivals forgotten.
QUIET_S = 64.0


class Decided(NamedTuple):
    unit: Unit  # with the events that were kept
    decisions: list[Decision]  # made here, of kept and dropped ones


class Mark(NamedTuple):
    position: int
    clock_s: float  # when it was read


class _Record:
    """A spool record whose events come back one trace after the other."""

    __slots__ = ("counted", "decisions", "events", "held", "open", "size", "unit")

    def __init__(self, unit: Unit, *, held: bool) -> None:
        self.unit = unit._replace(events=())
        self.events: list[Event | None] = list(unit.events)
        self.open = len(self.events)
        self.decisions: list[Decision] = []
        self.held = held  # False: only read for the view of its traces
        self.size = sum(map(memory_of, unit.events)) if held else 0
        # Of the dropped the calls, to be counted; None: nobody counts.
        self.counted = None if unit.dropped is None else list(unit.dropped)


Token = tuple[_Record, int]


class Reader:
    """Units from `first` on, in order. What lies between `start` and `first` is read only for the view of its traces.

    has_read: told of the position before which nothing is read again.
    """

    def __init__(
        self,
        feed: Feed,
        tail: TailSettings,
        sampler: Callable[[], Sampler],
        start: int,
        first: int,
        has_read: Callable[[int], None] = lambda position: None,
        wall_unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.at = first  # the earliest position that `next` can still serve
        self.read_to = start
        self.clock_s = 0.0  # 0: nothing was read yet
        self.marks: deque[Mark] = deque()
        self.draining = False
        self.leaving = False
        self.held_bytes = 0
        self._feed = feed
        self._sampler = sampler
        self._first = first
        self._has_read = has_read
        self._wall_unix_ns = wall_unix_ns
        self._whole: WholeTraces[Token] = WholeTraces(sampler(), counted=False)
        self._max_bytes = tail.max_bytes
        self._longest_s = tail.decision_wait_s + QUIET_S
        self._records: deque[_Record] = deque()
        self._grid_s = 0.0
        self._newest_s = 0.0
        self._read_monotonic_s = 0.0

    async def next(self, position: int, timeout_s: float) -> Decided | None:
        """The first record at or after `position`, however long its traces take; None: no record within the time."""
        deadline_s = time.monotonic() + timeout_s
        patience_s = 0.0
        while True:
            while (head := self._head()) is not None and not head.open:
                self._records.popleft()
                self.held_bytes -= head.size
                if head.unit.position >= position:
                    self.at = head.unit.next_position
                    return _decide(head)
            unit = await self._feed.next(self.read_to, patience_s)
            patience_s = 0.0
            if unit is not None:
                await self._add(unit)
            elif self._feed.caught_up(self.read_to):
                if self.clock_s:
                    self._advance(self._now_s())
                if head is None:
                    patience_s = deadline_s - time.monotonic()
                    if patience_s <= 0:
                        return None
                elif self.leaving:
                    return None
                elif self.draining:
                    self._finish(self._whole.drain())
                else:
                    patience_s = PAUSE_S

    def _head(self) -> _Record | None:
        return self._records[0] if self._records else None

    async def _add(self, unit: Unit) -> None:
        self._advance(unit.received_unix_ns / 1e9)
        self._newest_s, self._read_monotonic_s = self.clock_s, time.monotonic()
        self._whole.follow(self._sampler())
        self.marks.append(Mark(unit.position, self.clock_s))
        record = _Record(unit, held=unit.position >= self._first)
        if record.held:
            self._records.append(record)
            self.held_bytes += record.size
        for start in range(0, len(unit.events), SLICE):
            if start:
                await asyncio.sleep(0)
            events = unit.events[start : start + SLICE]
            self._finish(
                self._whole.add([(event, (record, start + i)) for i, event in enumerate(events)], self.clock_s)
            )
        self.read_to = unit.next_position
        self._has_read(self.read_to)
        # Decided events wait for undecided ones before them; the bound is for both.
        while self.held_bytes > self._max_bytes and self._records[0].open:
            self._finish(self._whole.oldest())

    def _finish(self, finished: Iterable[Finished[Token]]) -> None:
        for event, (record, index), decision in finished:
            if event is None and record.held:
                before = record.events[index]
                size = memory_of(before) if before else 0
                if before and record.counted is not None:
                    reason = decision.reason if decision else "sampled_out"
                    call = counted_only(before, before.decision, reason=reason)
                    if call is not None:
                        record.counted.append(call)
                        size -= DROPPED_BYTES
                record.size -= size
                self.held_bytes -= size
            record.events[index] = event
            record.open -= 1
            if decision is not None and record.held:
                record.decisions.append(decision)

    # -- clock ---------------------------------------------------------------------------------------------

    def _now_s(self) -> float:
        """The wall clock; where it is behind the records, what has passed since the newest was read."""
        waited_s = time.monotonic() - self._read_monotonic_s
        return max(self._wall_unix_ns() / 1e9, self._newest_s + waited_s) - SETTLE_S

    def _advance(self, to_s: float) -> None:
        if not self.clock_s:
            self.clock_s, self._grid_s = to_s, float(math.floor(to_s))
            return
        if to_s <= self.clock_s:
            return
        self.clock_s = to_s
        quiet_from_s = self._grid_s + self._longest_s
        while self._grid_s + TICK_S <= to_s:
            if self._grid_s >= quiet_from_s:
                self._grid_s = max(self._grid_s, math.floor(to_s) - 1.0 - TICK_S)
                quiet_from_s = math.inf
            self._grid_s += TICK_S
            self._finish(self._whole.tick(self._grid_s))


def _decide(record: _Record) -> Decided:
    kept = [event for event in record.events if event is not None]
    unit = record.unit
    dropped = len(record.events) - len(kept)
    unit = unit._replace(events=kept, sampled_out=unit.sampled_out + dropped, dropped=record.counted)
    return Decided(unit, record.decisions)
