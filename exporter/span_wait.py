"""Calls that were read from log records and wait for the span of the same call.

One exchange often gives a span and an access-log line. Both have the same transaction id; the span says more, and the
line usually comes first. So the line's call waits, and counts only if no span came in time (spec/mapping.md §6 L8).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from exporter.journal import Ref
from mapping.event import API_CALL, Event

SECOND_NS = 1_000_000_000
# Beyond so many bytes of waiting calls only the place in the spool is kept; a call is mapped again if its span never
# comes.
HELD_BYTES = 32 << 20
# Of an event beside its texts, in memory.
EVENT_BYTES = 2000
# Beyond this many the oldest wait no longer: 400 bytes each with the journal's share, so 80 MB.
MOST_WAITING = 200_000


class Waiting(NamedTuple):
    ref: Ref
    event: Event | None  # None: read it again from the spool
    tenant: str
    due_unix_ns: int


def waits(event: Event) -> bool:
    """True for a call known from a log record that names its span."""
    return event.source == "log" and event.event_type == API_CALL and event.span_id != ""


def size_of(event: Event) -> int:
    """Bytes an event occupies in memory, roughly."""
    texts = len(event.request_body) + len(event.response_body) + len(event.body) + len(event.metadata)
    return EVENT_BYTES + texts + 100 * (len(event.request_headers) + len(event.response_headers))


class SpanWait:
    """Waiting calls by transaction id, in order of arrival: about 300 bytes each, and HELD_BYTES of events."""

    def __init__(self, span_wait_s: float) -> None:
        self._wait_ns = int(span_wait_s * SECOND_NS)
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()  # a dict finds its first item in linear time
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transaction_id: str) -> bool:
        return transaction_id in self._waiting

    def none_of(self, transaction_ids: Sequence[str]) -> bool:
        """True when no waiting call is among these."""
        return not self._waiting or self._waiting.keys().isdisjoint(transaction_ids)

    def hold(self, ref: Ref, event: Event) -> None:
        keep = None
        if self._held_bytes < HELD_BYTES:
            keep = event
            self._held_bytes += size_of(event)
        self._waiting[event.transaction_id] = Waiting(ref, keep, event.tenant, event.received_unix_ns + self._wait_ns)

    def pop(self, transaction_id: str) -> Waiting:
        waiting = self._waiting.pop(transaction_id)
        if waiting.event is not None:
            self._held_bytes -= size_of(waiting.event)
        return waiting

    def due(self, watermark_unix_ns: int, most: int) -> Iterator[tuple[str, Waiting]]:
        """Take out those whose time is over, oldest first, `most` at most.

        watermark: everything received before this time has been seen, so a span that came in time has been too. Beyond
        MOST_WAITING the oldest are taken out before their time.
        """
        while self._waiting and most > 0:
            transaction_id, waiting = next(iter(self._waiting.items()))
            if waiting.due_unix_ns > watermark_unix_ns and len(self._waiting) <= MOST_WAITING:
                return
            yield transaction_id, self.pop(transaction_id)
            most -= 1
