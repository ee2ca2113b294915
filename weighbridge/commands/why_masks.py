"""Where an event shows a mask: names and paths, never values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import orjson

from mapping.masks.mask import MASK, QUERY_MASK

MOST_PLACES: Final = 12  # in one line
# Of an event, by the names that columns of the store and fields of an event share, where a value can be masked.
PLACES: Final = (
    "uri", "request_headers", "response_headers", "request_body", "response_body", "body", "metadata", "links", "name",
    "action", "action_name", "resource",
)  # fmt: skip


def said_of_masks(event: Mapping[str, object]) -> str:
    """`; masked: request_headers.authorization, uri`, or nothing. event: its values by name; JSON may be text."""
    found = list(islice(_masked(event), MOST_PLACES + 1))
    more = " and more" if len(found) > MOST_PLACES else ""
    return f"; masked: {', '.join(found[:MOST_PLACES])}{more}" if found else ""


def _masked(event: Mapping[str, object]) -> Iterator[str]:
    """Each place once: elements of a list are one."""
    seen: set[str] = set()
    for name in PLACES:
        for path in _within(name, event.get(name)):
            if path not in seen:
                seen.add(path)
                yield path


def _within(path: str, value: object) -> Iterator[str]:
    if isinstance(value, str):
        if QUERY_MASK not in value:  # which MASK holds
            return
        inside = _json(value)
        found = False
        if isinstance(inside, dict | list):
            for place in _within(path, inside):
                found = True
                yield place
        if not found:
            yield path
    elif isinstance(value, Mapping):
        for key, of_key in value.items():
            yield from _within(f"{path}.{key}", of_key)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _within(path, one)


def _json(text: str) -> object:
    """What a text of JSON holds; None for any other."""
    if not text.startswith(("{", "[")) or text.startswith(MASK):
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None
