"""The window that is filling: its records, what can still be kept of them, and what it adds to the books."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporter.source import Unit
from mapping.event import Decision, Event, memory_of
from mapping.sampling.counts import CountKey, Sums, add
from mapping.sampling.dropped import BYTES as DROPPED_BYTES
from mapping.sampling.dropped import counted_only
from mapping.sampling.ledger import NS_PER_MINUTE
from mapping.sampling.settings import BudgetSettings
from mapping.sampling.window import Cap, Tallied, Window, passed_by_rule, place_of, under_cap
from weighbridge.sampling.window_store import DecidedWindow

SLICE = 256  # events between two breaths of the event loop
RECORD_BYTES = 200  # of a spool record without events

Key = tuple[str, int]  # tenant, minute in which it was received


class Counted(NamedTuple):
    """What a decided window adds to the books for one tenant, received in one minute."""

    tenant: str
    received_unix_ns: int  # within the minute
    sums: Mapping[CountKey, Sums]
    kept: Sequence[Event]


class Closed(NamedTuple):
    end: int
    capped: int  # events that the cap dropped
    counted: Sequence[Counted]


class Decided(NamedTuple):
    unit: Unit
    size: int  # bytes in memory


class _Held:
    """A spool record. Its events become fewer as more comes."""

    __slots__ = ("counted", "dropped", "events", "key", "size", "unit")

    def __init__(self, unit: Unit) -> None:
        self.unit = unit._replace(events=())
        self.events: list[Event] = list(unit.events)
        self.size = sum(map(memory_of, unit.events)) + RECORD_BYTES
        self.dropped = 0
        # Of the dropped the calls, to be counted: those that the rules dropped, and then the cap; None: nobody counts.
        self.counted = None if unit.dropped is None else list(unit.dropped)
        self.size += DROPPED_BYTES * len(self.counted or ())
        self.key = unit.tenant, unit.received_unix_ns // NS_PER_MINUTE


class OpenWindow:
    """Windows are numbered from 1970 on. known: it was decided before, by an earlier process, else None."""

    def __init__(
        self, begin: int, number: int, settings: BudgetSettings, known: DecidedWindow | None, monotonic_s: float
    ) -> None:
        self.begin = self.end = begin
        self.number = number
        self.settings = settings
        self.bytes = 0
        self.known = known
        self._began_monotonic_s = monotonic_s
        self._window = Window(settings.window_events)
        self._held: list[_Held] = []
        self._by_rule: dict[Key, dict[CountKey, Sums]] = {}
        self._tallied: dict[Key, Tallied] = {}
        self._unexamined = 0  # events since the last look at which of them can still be kept
        self._examine_at = 2 * settings.window_events + 1000
        self._since_breath = 0

    async def cap(self) -> Cap:
        """What has come so far allows no more."""
        return self.known.cap if self.known else await asyncio.to_thread(self._window.cap)

    @property
    def end_unix_ns(self) -> int:
        return (self.number + 1) * length_ns(self.settings)

    def is_over(self, wall_unix_ns: int, monotonic_s: float) -> bool:
        """By the wall clock; by another where that was set back."""
        open_ns = (monotonic_s - self._began_monotonic_s) * 1e9
        return wall_unix_ns >= self.end_unix_ns or open_ns >= length_ns(self.settings)

    async def add(self, unit: Unit) -> None:
        held = _Held(unit)
        for event in held.events:
            at = place_of(event.decision, event.trace_id)
            self._window.add(at.r, at.t)
        self._held.append(held)
        self.bytes += held.size
        self.end = unit.next_position
        self._unexamined += len(held.events)
        if self._unexamined > self._examine_at:
            await self.make_room()

    def dropped_by_rule(self, key: Key, sums: Mapping[CountKey, Sums]) -> None:
        found = self._by_rule.setdefault(key, {})
        for name, more in passed_by_rule(sums).items():
            found[name] = add(found.get(name), more)

    async def make_room(self) -> None:
        """Let go of events that are out whatever comes."""
        cap, left = await self.cap(), 0
        for held in self._held:
            await self._thin(held, cap)
            left += len(held.events)
        await asyncio.to_thread(self._window.forget)
        self._unexamined, self._examine_at = 0, max(self._examine_at, left)

    async def decide(self, cap: Cap) -> tuple[list[Decided], Closed]:
        kept: dict[Key, list[Event]] = {}
        decided = []
        for held in self._held:
            await self._thin(held, cap, last=True)
            kept.setdefault(held.key, []).extend(held.events)
            unit = held.unit
            sampled_out = unit.sampled_out + held.dropped
            unit = unit._replace(events=held.events, sampled_out=sampled_out, dropped=held.counted)
            decided.append(Decided(unit, held.size))
        return decided, self._close(cap, kept)

    def _close(self, cap: Cap, kept: Mapping[Key, Sequence[Event]]) -> Closed:
        counted, capped = [], 0
        for key in {**self._by_rule, **self._tallied}:
            sums: Mapping[CountKey, Sums] = self._by_rule.get(key, {})
            tallied = self._tallied.get(key)
            if tallied is not None:
                capped += tallied.dropped
                sums = {**sums, **tallied.sums(cap.t)}  # of other reasons, so no key is in both
            if sums:
                counted.append(Counted(key[0], key[1] * NS_PER_MINUTE, sums, kept.get(key, ())))
        return Closed(self.end, capped, counted)

    async def _thin(self, held: _Held, cap: Cap, *, last: bool = False) -> None:
        """Drop what the cap excludes. last: and decide the rest."""
        kept: list[Event] = []
        tallied = self._tallied.setdefault(held.key, Tallied())
        for event in held.events:
            at = place_of(event.decision, event.trace_id)
            t_cap = cap.of(at.r, at.t)
            if at.r < t_cap:
                tallied.drop(event.decision)
                size = memory_of(event)
                if held.counted is not None and (call := counted_only(event, event.decision)) is not None:
                    held.counted.append(call)
                    size -= DROPPED_BYTES
                held.size -= size
                self.bytes -= size
            elif last:
                tallied.keep(event.decision, at, t_cap)
                kept.append(with_decision(event, under_cap(event.decision, at, t_cap)))
            else:
                kept.append(event)
        self._since_breath += len(held.events)
        held.dropped += len(held.events) - len(kept)
        held.events = kept
        if self._since_breath > SLICE:
            self._since_breath = 0
            await asyncio.sleep(0)


def with_decision(event: Event, decision: Decision) -> Event:
    return event if decision is event.decision else event._replace(decision=decision)


def length_ns(settings: BudgetSettings) -> int:
    assert settings.window_s is not None
    return int(settings.window_s * 1e9)
