"""Lines of `key=value` pairs: logfmt, as Go's slog and logrus, lograge, Heroku's router and many others write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MOST_PAIRS: Final = 64  # of a line that is read
# One pair and the blanks behind it. Possessive, so that a line is looked at in time linear in its length.
_PAIR: Final = re.compile(r'([A-Za-z_@][\w.@\-]{0,63}+)=("(?:[^"\\]|\\.)*+"|[^\s"]*+)(?:\s++|\Z)', re.ASCII).match
LATEST: Final = 64  # characters before the first `=`
_ESCAPES: Final = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\t": "\t", "\\r": "\r"}
_escaped: Final = re.compile(r'\\["\\ntr]').sub


def read(text: str) -> Mapping[str, object] | None:
    """The pairs of a line that is nothing but pairs, at least two; None for any other text."""
    found: dict[str, object] = {}
    at = 0
    end = len(text)
    while at < end:
        pair = _PAIR(text, at)
        if pair is None or len(found) >= MOST_PAIRS:
            return None
        key, value = pair.groups()
        if value[:1] == '"':
            value = value[1:-1]
            if "\\" in value:
                value = _escaped(lambda escape: _ESCAPES[escape[0]], value)
        if value:
            found.setdefault(key, value)
        at = pair.end()
    return found if len(found) > 1 else None
