"""What a decoded request consists of: resources and scopes, and below them spans or log records."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from mapping.otlp.wire import Entry

_REASONS_SHOWN: Final = 3  # distinct reasons named in the answer to the sender


class SpanEvent(NamedTuple):
    """An event on a span, such as an exception."""

    name: str
    time_unix_ns: int
    attributes: dict[str, Any]


class SpanLink(NamedTuple):
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


class SpanStatus(NamedTuple):
    code: int
    message: str


class SpanRecord(NamedTuple):
    """One valid span. `entries` ends with NOTHING, so that index -1 reads as an absent attribute."""

    span: Any  # wire.Span
    trace_id: bytes
    span_id: bytes
    parent_id: bytes  # b"" for a root
    entries: list[Entry]
    status: SpanStatus
    events: tuple[SpanEvent, ...]
    links: tuple[SpanLink, ...]


class LogItem(NamedTuple):
    """One valid log record. Ids that are not valid are b"", as the specification asks (spec/otlp-http.md §3)."""

    record: Any  # wire.LogRecord
    trace_id: bytes
    span_id: bytes
    entries: list[Entry]
    body: Any
    digest: str  # of body, attributes and resource as sent


class ResourceFacts(NamedTuple):
    """A resource as sent, keyed by its bytes so that equal resources are one object."""

    raw: bytes
    attributes: dict[str, Any]


class ScopeFacts(NamedTuple):
    raw: bytes
    name: str
    version: str
    attributes: dict[str, Any]


class SpanGroup(NamedTuple):
    """The spans of one scope of one resource, in wire order."""

    resource: ResourceFacts
    scope: ScopeFacts
    schema_url: str
    records: list[SpanRecord]
    large: bool  # some record takes more than LARGE_RECORD bytes on the wire


class LogGroup(NamedTuple):
    resource: ResourceFacts
    scope: ScopeFacts
    schema_url: str
    records: list[LogItem]
    large: bool


class Decoded:
    """A validated request. `accepted + refused` is what the sender sent; `groups` is private to mapping."""

    __slots__ = ("accepted", "groups", "message", "refused", "signal", "size")

    def __init__(
        self,
        signal: Literal["traces", "logs"],
        groups: list[SpanGroup] | list[LogGroup],
        accepted: int,
        refused: dict[str, int],
        size: int,
    ) -> None:
        self.signal = signal
        self.groups = groups
        self.accepted = accepted
        self.refused = sum(refused.values()) if refused else 0
        self.message = _message(refused) if refused else ""  # why some were refused, "" when none were
        self.size = size  # bytes, inflated

    @property
    def first_trace_id(self) -> bytes:
        """Of the first record that was accepted; b"" when it has none."""
        for group in self.groups:
            if group.records:
                return group.records[0].trace_id
        return b""


def _message(refused: dict[str, int]) -> str:
    shown = sorted(refused.items(), key=lambda item: (-item[1], item[0]))[:_REASONS_SHOWN]
    more = len(refused) - len(shown)
    text = "; ".join(f"{count} refused: {reason}" for reason, count in shown)
    return f"{text}; and {more} more reasons" if more else text
