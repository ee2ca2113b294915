"""A sink's share of the events, where its settings say which: the others are counted as `routed`, elsewhere or nowhere.

What an event is asked is said of the event alone, so that a request that is read again is shared out as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exporter.source import Source, Unit
from mapping.event import Event

Takes = Callable[[Event], bool]


class RoutedSource:
    """The source, with the events that this sink takes."""

    def __init__(self, source: Source, takes: Takes) -> None:
        self._source = source
        self._takes = takes

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        unit = await self._source.next(position, timeout_s)
        if unit is None:
            return None
        events = self._share(unit.events)
        # Of these only calls are told; what a sink does not count stays among the `sampled_out` of the unit.
        dropped = None if unit.dropped is None else self._share(unit.dropped)
        routed = len(unit.events) - len(events)
        if not routed and (dropped is None or len(dropped) == len(unit.dropped or ())):
            return unit
        return unit._replace(events=events, dropped=dropped, routed=routed)

    def _share(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if self._takes(event)]

    def caught_up(self, position: int) -> bool:
        return self._source.caught_up(position)

    def has_read(self, sink: str, position: int) -> None:
        self._source.has_read(sink, position)

    def release(self, sink: str, position: int) -> None:
        self._source.release(sink, position)
