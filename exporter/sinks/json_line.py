"""An event as JSON bytes, for the sinks that send JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import orjson

from exporter.errors import TooLarge, Unwritable
from mapping.event import Event
from mapping.event_json import event_json

T = TypeVar("T")


def dumps(value: object) -> bytes:
    """JSON. Raises TooLarge for what has none, such as a lone surrogate: the pipeline finds the row to blame."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError as error:
        raise TooLarge(f"an event cannot be written as JSON ({type(error).__name__})") from error


def event_dict(event: Event) -> dict[str, Any]:
    """The event as `weighbridge map` prints it. Raises TooLarge when one of its JSON texts is none."""
    try:
        return event_json(event)
    except ValueError as error:
        raise TooLarge(f"an event holds what is no JSON ({type(error).__name__})") from error


def encode_all(events: Iterable[Event], encode: Callable[[Event], T]) -> list[T]:
    """Every event as `encode` makes it. Raises Unwritable for those that cannot be, all of them at once."""
    made: list[T] = []
    wrong: dict[int, str] = {}
    for place, event in enumerate(events):
        try:
            made.append(encode(event))
        except MemoryError:
            raise
        except TooLarge as error:
            wrong[place] = str(error)
        except Exception as error:
            wrong[place] = f"an event cannot be encoded ({type(error).__name__})"
    if wrong:
        raise Unwritable(wrong)
    return made
