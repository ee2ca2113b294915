"""What has become of a request's records: events, and how many of them are none."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from mapping.event import Decision, Event
from mapping.masks.redactor import RedactionError
from mapping.otlp.records import LogItem, SpanRecord
from mapping.rules.bodies import Room
from mapping.sampling.dropped import counted_only
from mapping.together import Lent

_new: Final = tuple.__new__


class Failed(NamedTuple):
    """A record that could not be mapped or masked. Nothing of its content is here (spec/mapping.md §7, fail closed)."""

    signal: str  # traces | logs
    trace_id: str
    span_id: str
    reason: str


class Mapped(NamedTuple):
    """len(events) + skipped + sampled_out + len(failed) is the number of records that were decoded."""

    events: list[Event]
    skipped: int
    sampled_out: int
    failed: list[Failed]
    inflated: int = 0  # bytes of bodies that came compressed, after it
    dropped: list[Event] | None = None  # of sampled_out the API calls, to be counted; None: they are not told apart
    lent: Lent | None = None  # what earlier requests told of the calls of these records, and sampling asked for


class Out:
    """What has become of a request's records so far."""

    __slots__ = ("dropped", "events", "failed", "keep_skips", "lent", "room", "sampled_out", "skipped")

    def __init__(self, keep_skips: bool, room: Room, count_dropped: bool) -> None:
        self.dropped: list[Event] | None = [] if count_dropped else None
        self.room = room
        self.events: list[Event] = []
        self.skipped = 0
        self.sampled_out = 0
        self.failed: list[Failed] = []
        self.keep_skips = keep_skips
        self.lent: Lent | None = None

    def fail(self, signal: str, record: SpanRecord | LogItem, error: Exception) -> None:
        # The text of an unexpected error may quote the record; RedactionError promises that its own does not.
        reason = str(error) if isinstance(error, RedactionError) else f"mapping failed: {type(error).__name__}"
        self.failed.append(Failed(signal, record.trace_id.hex(), record.span_id.hex(), reason))

    def drop(self, event: Event, decision: Decision, stated: Any = None) -> None:
        """Sampling drops this event: it is counted if it is a call. stated: the weight that its sender states."""
        self.sampled_out += 1
        if self.dropped is not None and (call := counted_only(event, decision, stated)) is not None:
            self.dropped.append(call)

    def mapped(self) -> Mapped:
        return _new(
            Mapped,
            (self.events, self.skipped, self.sampled_out, self.failed, self.room.used, self.dropped, self.lent),
        )
