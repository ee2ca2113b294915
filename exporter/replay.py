"""Rows made again from the spool: of a batch that an earlier process planned, or a call that waited for its span."""

from __future__ import annotations

import logging
from collections import Counter

from exporter.journal import Plan, Ref, event_key
from exporter.source import Source, Unit
from mapping.event import Event

log = logging.getLogger(__name__)


class Replay:
    def __init__(self, source: Source, sink: str) -> None:
        self._source = source
        self._sink = sink
        self._last_read: Unit | None = None

    async def rows_of(self, plan: Plan) -> list[Event]:
        """The rows of a plan, as the rates in force now let them through."""
        left_out = Counter((*plan.drop, *plan.defer))
        events = [event for ref in sorted(plan.add) if (event := await self.event_at(ref)) is not None]
        position = plan.begin
        while position < plan.end:
            unit = await self._source.next(position, 0)
            if unit is None or unit.position >= plan.end:
                break
            if left_out:
                events += [event for event in unit.events if not _take_one(left_out, unit.position, event)]
            else:
                events += unit.events
            position = unit.next_position
        return events

    async def event_at(self, ref: Ref) -> Event | None:
        """The event that a reference names; None when it is there no more, which is logged."""
        position, key = ref
        unit = self._last_read
        if unit is None or unit.position != position:  # neighbours in one record are mapped once
            unit = self._last_read = await self._source.next(position, 0)
        if unit is not None and unit.position == position:
            for event in unit.events:
                if event_key(event.transaction_id) == key:
                    return event
        log.error(
            "a waiting event is no longer in the spool",
            extra={"sink": self._sink, "position": position},
        )
        return None


def _take_one(left_out: Counter[Ref], position: int, event: Event) -> bool:
    """True when this event is named, and one copy less is then: of equal ones it does not matter which is left out."""
    ref = position, event_key(event.transaction_id)
    if left_out[ref] <= 0:
        return False
    left_out[ref] -= 1
    return True
