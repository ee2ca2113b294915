"""Bounded memories of what repeats from record to record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

Value = TypeVar("Value")

_LONGEST_KEY: Final = 4096
_ALL_KEYS: Final = 1 << 20  # characters of all keys of one memory; its values are about as large


class Memory(dict[Any, Value]):
    """A dict that fills itself with `make(key)` and starts over when it has `limit` entries.

    Hits cost no Python frame. Keys of more than `longest` characters are not remembered, and all keys together are
    bounded.
    """

    __slots__ = ("_limit", "_longest", "_make", "_size")

    def __init__(self, make: Callable[[Any], Value], limit: int = 8192, longest: int = _LONGEST_KEY) -> None:
        super().__init__()
        self._make = make
        self._limit = limit
        self._longest = longest
        self._size = 0  # characters of all keys

    def __missing__(self, key: Any) -> Value:
        value = self._make(key)
        size = _size(key)
        if size <= self._longest:
            self._size += size
            if len(self) >= self._limit or self._size > _ALL_KEYS:
                self.clear()
                self._size = size
            self[key] = value
        return value


def _size(key: Any) -> int:
    """Characters in a key: a text, bytes, or a tuple of texts and small values."""
    return sum(map(_size, key)) if isinstance(key, tuple) else len(key) if isinstance(key, str | bytes) else 8
