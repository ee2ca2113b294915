"""Rows made again from the spool: of a batch that an earlier process planned, or a call that waited for its span.

A request is mapped again once for all of its calls that waited, or as often as INDEXED_BYTES of them need: never once
for each. What is made here is let go of when it was asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from exporter.journal import Plan, Ref, event_key
from exporter.same_call import with_status
from exporter.source import Source, Unit
from mapping.event import Event, memory_of

log = logging.getLogger(__name__)

# Events of one request that are held until they are asked for, in bytes; for the others it is mapped once more.
INDEXED_BYTES = 32 << 20
# Events between two breaths of the event loop: about 2 ms.
SLICE = 512


def is_dropped(event: Event) -> bool:
    """Whether sampling dropped this call, so that it is only counted.

    One without a decision, which no encoder takes, is a row: it ends as a dead letter of its own.
    """
    return event.decision is not None and not event.decision.keep


class Rows(NamedTuple):
    """The rows of a plan, and with them what is only counted: as in `exporter.sink.Calls`."""

    events: list[Event]
    dropped: list[Event]
    whole: bool


class Replay:
    """One per pipeline. Memory: INDEXED_BYTES of events, and 100 bytes for each event of one request.

    counts: the sink counts what sampling dropped.
    """

    def __init__(self, source: Source, sink: str, *, counts: bool = False) -> None:
        self._counts = counts
        self._source = source
        self._sink = sink
        self._indexed = -1  # spool position of the request that these are of
        self._places: dict[int, int] = {}  # of its events: key, place in its order
        self._events: dict[int, Event] = {}  # by key, some of them
        self._told_of = -1  # the request of which events are missing, as the log says

    async def rows_of(self, plan: Plan) -> Rows:
        """What a plan is about, as the rates in force now have it."""
        left_out = Counter((*plan.drop, *plan.defer))
        events = [event for ref in sorted(plan.add) if (event := await self.event_at(ref)) is not None]
        whole = True
        statuses = {key: status for _, key, status in plan.statuses}
        position = plan.begin
        self.oldest_unix_ns = 0
        while position < plan.end:
            unit = await self._source.next(position, 0)
            if unit is None or unit.position >= plan.end:
                break
            self.oldest_unix_ns = self.oldest_unix_ns or unit.received_unix_ns
            whole = unit.dropped is not None
            found = self._events_of(unit)
            if left_out:
                for start in range(0, len(found), SLICE):
                    some = found[start : start + SLICE]
                    events += [event for event in some if not _take_one(left_out, unit.position, event)]
                    await asyncio.sleep(0)
            else:
                events += found
            position = unit.next_position
        if statuses:
            events = [_correct(event, statuses) for event in events]
        if not self._counts:
            return Rows(events, [], False)
        kept = [event for event in events if not is_dropped(event)]
        return Rows(kept, [event for event in events if is_dropped(event)], whole)

    def _events_of(self, unit: Unit) -> Sequence[Event]:
        """In the order in which they were sorted: with the calls that sampling dropped, where the sink counts them."""
        return [*unit.events, *unit.dropped] if self._counts and unit.dropped else unit.events

    async def event_at(self, ref: Ref) -> Event | None:
        """The waiting call that a reference names; None when it is there no more, which is logged."""
        position, key = ref
        if self._indexed != position:
            await self._index(position, 0)
        if key in self._places and key not in self._events:
            await self._index(position, self._places[key])
        event = self._events.pop(key, None)
        if event is None and position != self._told_of:  # once for all of a request's
            self._told_of = position
            log.error("sink %s: a waiting event of request %d is no longer in the spool", self._sink, position)
        return event

    async def _index(self, position: int, first: int) -> None:
        """Map a request again, and keep its events from place `first` on, as many as there is room for."""
        self._indexed, self._places, self._events = position, {}, {}
        unit = await self._source.next(position, 0)
        if unit is None or unit.position != position:
            return
        size = 0
        for place, event in enumerate(self._events_of(unit)):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            key = event_key(event.transaction_id)
            self._places.setdefault(key, place)
            if place >= first and size <= INDEXED_BYTES and self._places[key] == place:
                size += memory_of(event)
                self._events[key] = event


def _take_one(left_out: Counter[Ref], position: int, event: Event) -> bool:
    """True when this event is named, and one copy less is then: of equal ones it does not matter which is left out."""
    ref = position, event_key(event.transaction_id)
    if left_out[ref] <= 0:
        return False
    left_out[ref] -= 1
    return True


def _correct(event: Event, statuses: dict[int, int]) -> Event:
    status = statuses.get(event_key(event.transaction_id))
    return event if status is None else with_status(event, status)
