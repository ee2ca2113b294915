"""Lines of pairs: logfmt (`key=value`), as Go's slog and logrus, lograge, Heroku's router and many others write them,
and LTSV (`key:value` between tabs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MOST_PAIRS: Final = 64  # of a line that is read
# One pair and the blanks behind it. Possessive, so that a line is looked at in time linear in its length.
_PAIR: Final = re.compile(
    r"""([A-Za-z_@][\w.@#\-]{0,63}+)=("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'(?!\S)|\{(?:[^{}]++|\{[^{}]*+\})*+\}"""
    r"""|[0-9.]{1,19} (?:ns|us|\u00b5s|\u03bcs|ms|s)(?!\S)|[^\s"]*+)(?:\s++|\Z)""",
    re.ASCII,
).match
_LABEL: Final = re.compile(r"[A-Za-z_][\w.\-]{0,63}", re.ASCII).fullmatch  # of LTSV
LATEST: Final = 256  # characters before the first pair
# Ends of keys that tell more than a message does: of a call, its trace, its caller.
_TELLING: Final = ("id=", "status=", "Id=", "ID=", "trace=", "user=", "level=")
_MOST_TRIES: Final = 4  # places where the pairs of a line may begin; a URL in its message has a `=` too
_ESCAPES: Final = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\t": "\t", "\\r": "\r"}
_escaped: Final = re.compile(r'\\["\\ntr]').sub


def read_end(text: str) -> Mapping[str, object] | None:
    """The pairs at the end of a line, whatever message stands before them; None for a text that ends otherwise."""
    if not any(word in text for word in _TELLING) and "=" not in text[: text.find(" ")]:
        return None
    at = 0
    for _ in range(_MOST_TRIES):
        at = text.find("=", at + 1, LATEST)
        if at < 0:
            break
        if (pairs := read(text, text.rfind(" ", 0, at) + 1)) is not None:
            return pairs
    return None


def read(text: str, at: int = 0) -> Mapping[str, object] | None:
    """The pairs of a line that is nothing but pairs from `at` on, at least two; None for any other text."""
    found: dict[str, object] = {}
    end = len(text)
    while at < end:
        pair = _PAIR(text, at)
        if pair is None or len(found) >= MOST_PAIRS:
            return None
        key, value = pair.groups()
        if value[:1] == '"' or (value[:1] == "'" == value[-1:] and len(value) > 1):  # structlog writes Python's
            value = value[1:-1]
            if "\\" in value:
                value = _escaped(lambda escape: _ESCAPES[escape[0]], value)
        if value:
            found.setdefault(key, value)
        at = pair.end()
    return found if len(found) > 1 else None


def read_ltsv(text: str) -> Mapping[str, object] | None:
    """The fields of a line of LTSV, at least two; None for any other text. See ltsv.org."""
    found: dict[str, object] = {}
    for field in text.split("\t", MOST_PAIRS)[:MOST_PAIRS]:
        label, colon, value = field.partition(":")
        if not colon or _LABEL(label) is None:
            return None
        if value not in ("", "-"):
            found.setdefault(label, value)
    return found if len(found) > 1 else None
