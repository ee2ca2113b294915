"""How a call ended: its status where only an event tells it, the error of one that failed (spec/mapping.md §3.9)."""

from __future__ import annotations

from typing import Any, Final

from mapping.context import Context, Work, last_exception, text_of
from mapping.otlp.records import SpanEvent
from mapping.rules import taxonomy
from mapping.rules.call_status import GRPC_STATUSES, SUCCESSES, rpc_status, status_of
from mapping.shape import ABSENT, Shape
from mapping.spans.graphql import find_lent

# Micrometer's, OpenTracing's, Envoy's and Cloudflare's for no error
_NO_ERROR: Final = frozenset(("", "none", "null", "false", "-", "ok"))

# What Go's instrumentations say of a connection that was taken over (a WebSocket): nothing failed.
_NO_STATUS: Final = "Invalid HTTP status code 0"


class OutcomePlan:
    """Tells how calls of one kind and shape ended."""

    __slots__ = ("_context", "_direction", "_error_type", "_given_up", "_grpc", "_status_at", "is_grpc", "of_events")

    def __init__(self, shape: Shape, shown: Shape, context: Context, status_at: int, direction: str) -> None:
        """shown: the shape without what the settings hide. status_at: where the status is."""
        self._context = context
        self._direction = direction
        self._status_at = status_at
        self._error_type = shown.first(("error.type",))
        self._grpc = shown.first(GRPC_STATUSES, scalar=False)
        self.is_grpc = self._grpc != ABSENT
        self._given_up = shape.reading.given_up
        self.of_events = shape.reading.status_events  # (event, attribute) where a status may be

    def told_status(self, events: tuple[SpanEvent, ...]) -> int:
        """The status that an event of the span tells, 0 for none."""
        if not self.of_events:
            return 0
        told = dict(self.of_events)
        return next((status_of(one.attributes.get(told[one.name])) for one in events if one.name in told), 0)

    def failure(
        self, work: Work, status: int, error_type: str, extra: dict[str, Any] | None
    ) -> tuple[str, dict[str, Any] | None]:
        """(error_type, additions to metadata) of a span that failed or may have. error_type: by status alone."""
        record, context = work.record, self._context
        extra = dict(extra) if extra else {}
        raw = work.values[self._error_type]
        if raw is False or (isinstance(raw, str) and raw.lower() in _NO_ERROR):
            raw = None
        failed = (
            (record.status.code == 2 and not record.status.message.startswith(_NO_STATUS))
            or raw is not None
            or last_exception(record.events) is not None
        )
        if not status and self._given_up and text_of(work.values[self._status_at]) in self._given_up:
            error_type = taxonomy.CANCELLED
        if failed:
            context.describe_error(record, raw is not None, extra)
            if not error_type and not status:
                error_type = context.failure(record, text_of(raw), self._direction)
        if self.is_grpc and not error_type:
            value = work.values[self._grpc]
            name = rpc_status(value[0] if isinstance(value, list) and value else value, grpc=True)
            if name not in SUCCESSES:  # a failure behind HTTP's 200
                error_type = taxonomy.of_failure((name,), direction=self._direction)
                extra["action.status"] = context.shown_names[name]
        if record.events and (lent := find_lent(record.events)) is not None and not error_type:
            error_type = lent.attributes["error_type"]
            context.describe_error(lent.attributes["record"], False, extra)
            extra["action.status"] = context.shown_names[lent.attributes["status"]]
        return error_type, extra
