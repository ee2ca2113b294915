"""The values that sampling rules may ask of an event (sampling.md §7), found only when a rule has conditions."""

from __future__ import annotations

from typing import Any

from mapping.context import Work
from mapping.event import Event

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


class SpanFacts:
    """A span's values at rule paths."""

    __slots__ = ("_event", "_work")

    def __init__(self, event: Event, work: Work) -> None:
        self._event = event
        self._work = work

    def __call__(self, path: str) -> object:
        event = self._event
        if path.startswith("attr."):
            return _attribute(self._work, path[5:])
        if path.startswith("resource."):
            return self._work.group.attributes.get(path[9:])
        if path == "span.kind":
            kind = self._work.record.span.kind
            return _KINDS[kind] if 0 <= kind < len(_KINDS) else None
        return event_fact(event, path)


def event_fact(event: Event, path: str) -> object:
    """The value at a path that every event answers, None when absent."""
    match path:
        case "service":
            return event.service or None
        case "route":
            return event.route or None
        case "url.path":
            return (
                event.uri.partition("://")[2].partition("?")[0].partition("/")[2].join(("/", "")) if event.uri else None
            )
        case "method":
            return event.verb or None
        case "status":
            return event.status or None
        case "status_class":
            return f"{event.status // 100}xx" if event.status else None
        case "duration_ms":
            return event.duration_ms if event.duration_ms >= 0 else None
        case "user":
            return event.user_id or None
        case "company":
            return event.company_id or None
        case "session":
            return event.session_token or None
        case "name":
            return event.name or None
        case "severity":
            return event.severity_number or None
        case "direction":
            return event.direction or None
        case _:
            return None


def _attribute(work: Work, key: str) -> Any:
    found = None
    for entry, value in zip((entry[0] for entry in work.record.entries), work.values, strict=True):
        if entry.partition("\0")[0] == key:
            found = value
    return found
