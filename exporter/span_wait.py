"""Calls that were read from log records and wait for the span of the same call.

One exchange often gives a span and an access-log line. Both have the same transaction id; the span says more, and the
line usually comes first. So the line's call waits, and counts only if no span came in time (mapping.md §6 L8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from exporter.journal import Ref
from mapping.event import API_CALL, Event

SECOND_NS = 1_000_000_000
# Beyond this many, only the place in the spool is kept, and the event is mapped again if its span never comes.
HELD_EVENTS = 10_000


class Waiting(NamedTuple):
    ref: Ref
    event: Event | None  # None: read it again from the spool
    tenant: str
    due_unix_ns: int


def waits(event: Event) -> bool:
    """True for a call known from a log record that names its span."""
    return event.source == "log" and event.event_type == API_CALL and event.span_id != ""


class SpanWait:
    """Waiting calls by transaction id, in order of arrival: about 300 bytes each, 2 KB for the first HELD_EVENTS."""

    def __init__(self, span_wait_s: float) -> None:
        self._wait_ns = int(span_wait_s * SECOND_NS)
        self._waiting: dict[str, Waiting] = {}
        self._held = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transaction_id: str) -> bool:
        return transaction_id in self._waiting

    def none_of(self, transaction_ids: Sequence[str]) -> bool:
        """True when no waiting call is among these."""
        return not self._waiting or self._waiting.keys().isdisjoint(transaction_ids)

    def hold(self, ref: Ref, event: Event) -> None:
        keep = event if self._held < HELD_EVENTS else None
        self._held += keep is not None
        self._waiting[event.transaction_id] = Waiting(ref, keep, event.tenant, event.received_unix_ns + self._wait_ns)

    def pop(self, transaction_id: str) -> Waiting:
        waiting = self._waiting.pop(transaction_id)
        self._held -= waiting.event is not None
        return waiting

    def due(self, watermark_unix_ns: int, most: int) -> Iterator[tuple[str, Waiting]]:
        """Take out those whose time is over, oldest first, `most` at most.

        watermark: everything received before this time has been seen, so a span that came in time has been too.
        """
        while self._waiting and most > 0:
            transaction_id, waiting = next(iter(self._waiting.items()))
            if waiting.due_unix_ns > watermark_unix_ns:
                return
            yield transaction_id, self.pop(transaction_id)
            most -= 1
