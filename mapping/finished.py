"""Events that need a last look: flags for what was left out of them, and the bound on their size."""

from __future__ import annotations

from typing import Any, Final

import orjson

from mapping.bounds import CUT, LARGEST_EVENT
from mapping.context import Group
from mapping.event import EMPTY_HEADERS, TEXT_TRUNCATED, Event

RESOURCE_TRUNCATED: Final = "resource_truncated"  # flag: the resource or scope was too long to repeat in each event
EVENT_TRUNCATED: Final = "event_truncated"  # flag, as in Moesif: bodies, headers or metadata were left out
_REST_CHARS: Final = 8192  # of each text that is left when nothing else helps


def finished(event: Event, group: Group, *, text_cut: bool, over: bool) -> Event:
    """The event with flags for what is missing, and of at most LARGEST_EVENT bytes of JSON.

    text_cut: masks cut a text. over: some of its attributes or values were over a bound.
    """
    flags = event.flags
    if text_cut:
        flags += (TEXT_TRUNCATED,)
    if over:
        flags += (CUT,)
    if group.cut:
        flags += (RESOURCE_TRUNCATED,)
    if group.large:
        smaller = _within(event)
        if smaller is not event:
            event, flags = smaller, (*flags, EVENT_TRUNCATED)
    return event._replace(flags=flags) if flags is not event.flags else event


def size_of(event: Event) -> int:
    """Bytes of the event's texts in JSON."""
    return sum(map(_size, event))


def _size(value: Any) -> int:
    if isinstance(value, str):
        # A text that is JSON already counts a little more than it will take: its quotes are escaped here.
        return len(orjson.dumps(value)) if value else 0
    if isinstance(value, dict):
        return sum(len(name) + 6 + _size(text) for name, text in value.items())
    return 8


def _within(event: Event) -> Event:
    """The event itself when it is small enough, else without what has to go: bodies, headers, the largest metadata."""
    size = size_of(event)
    if size <= LARGEST_EVENT:
        return event
    for fields in _TO_GO:
        event = event._replace(**fields)
        if (size := size_of(event)) <= LARGEST_EVENT:
            return event
    metadata: dict[str, Any] = orjson.loads(event.metadata)
    sizes = {key: _size(orjson.dumps(value).decode()) - 2 for key, value in metadata.items()}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if size <= LARGEST_EVENT:
            break
        del metadata[key]
        size -= sizes[key]
    event = event._replace(metadata=orjson.dumps(metadata).decode())
    if size_of(event) <= LARGEST_EVENT:
        return event
    long = {name: text[:_REST_CHARS] for name, text in event._asdict().items() if _is_long(name, text)}
    return event._replace(links="", **{name: text for name, text in long.items() if name != "links"})


def _is_long(name: str, text: object) -> bool:
    return isinstance(text, str) and len(text) > _REST_CHARS and name not in ("metadata", "resource")


_TO_GO: Final[tuple[dict[str, Any], ...]] = (
    {"response_body": "", "response_body_encoding": ""},
    {"request_body": "", "request_body_encoding": ""},
    {"body": "", "body_encoding": ""},
    {"response_headers": EMPTY_HEADERS, "request_headers": EMPTY_HEADERS},
)
