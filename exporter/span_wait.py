"""Calls that were read from log records and wait for the span of the same call.

One exchange often gives a span and an access-log line. Both have the same transaction id, or are the same call by
`exporter.same_call`; the span says more, and the line usually comes first. So the line's call waits, and counts only if
no span came in time (spec/mapping.md §6 L8). Calls that wait for the spans above them wait in the same way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exporter.journal import Ref
from exporter.same_call import MOST_COMPARED, SECOND_NS, Buckets, Call, call_of, keys_of, nearest
from mapping.event import API_CALL, Event, memory_of

# Beyond so many bytes of waiting calls only the place in the spool is kept; a call is mapped again if its span never
# comes.
HELD_BYTES = 32 << 20
# Beyond this many the oldest wait no longer: 1,000 bytes each with the journal's share, so 100 MB.
MOST_WAITING = 100_000


class Waiting(NamedTuple):
    ref: Ref
    event: Event | None  # None: read it again from the spool
    tenant: str
    due_unix_ns: int
    call: Call


def waits(event: Event) -> bool:
    """True for a call known from a log record that names its trace."""
    return event.source == "log" and event.event_type == API_CALL and event.trace_id != ""


class SpanWait:
    """Waiting calls by transaction id, in order of arrival: about 800 bytes each, and HELD_BYTES of events."""

    def __init__(self, wait_s: float) -> None:
        self._wait_ns = int(wait_s * SECOND_NS)
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()  # a dict finds its first item in linear time
        self._traces, self._index = Buckets(), Buckets()
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transaction_id: str) -> bool:
        return transaction_id in self._waiting

    def none_of(self, trace_ids: Iterable[str]) -> bool:
        """True when no waiting call is of one of these traces."""
        return not self._waiting or self._traces.none_of(trace_ids)

    def of_trace(self, trace_id: str, most: int) -> list[tuple[str, Waiting]]:
        """The waiting calls of a trace, of whatever tenant, oldest first, `most` at most."""
        return [(one, self._waiting[one]) for one in self._traces.some(trace_id, most)]

    def hold(self, ref: Ref, event: Event) -> None:
        keep = None
        if self._held_bytes < HELD_BYTES:
            keep = event
            self._held_bytes += memory_of(event)
        transaction_id, call = event.transaction_id, call_of(event)
        due = event.received_unix_ns + self._wait_ns
        self._waiting[transaction_id] = Waiting(ref, keep, event.tenant, due, call)
        self._traces.add(event.trace_id, transaction_id)
        for key in keys_of(call):
            self._index.add(key, transaction_id)

    def same_call(self, span: Event) -> str | None:
        """The transaction id of the waiting line that tells of this span's call, the nearest of a few."""
        if self._traces.none_of((span.trace_id,)):
            return None
        call, waiting = call_of(span), self._waiting
        near = [waiting[one].call for key in keys_of(call) for one in self._index.some(key, MOST_COMPARED)]
        found = nearest(call, near, is_line=False)
        return found.transaction_id if found is not None else None

    def pop(self, transaction_id: str) -> Waiting:
        waiting = self._waiting.pop(transaction_id)
        if waiting.event is not None:
            self._held_bytes -= memory_of(waiting.event)
        self._traces.remove(waiting.call.trace_id, transaction_id)
        for key in keys_of(waiting.call):
            self._index.remove(key, transaction_id)
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
