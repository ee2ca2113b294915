"""Access logs in plain text: a line is read by its format, as nginx writes formats, into fields under their names.

`$remote_addr - $remote_user [$time_local] "$request" $status`: a name stands for what is between the characters around
it. A format fits a line that begins with it; whatever a server adds behind a blank is left unread. Patterns are
possessive, so that a line is looked at in time linear in its length, however hostile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

LONGEST_LINE: Final = 32_768  # characters of a line that is read: a request line of 16 Ki, and as much around it
MOST_FIELDS: Final = 64  # of a format
_NAME: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]{0,63})\}|([A-Za-z_][A-Za-z0-9_]{0,63}))")
# What else than an access line would have these is no call: the request must be one, and the status a status.
_KNOWN: Final = {
    "request": r"[A-Z][A-Za-z-]{2,19} [^\s\"\\]{1,16384}+(?: HTTP/[0-9.]{1,4})?+",
    "status": r"[1-5][0-9]{2}",
    "time_local": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
}
_REQUEST_AND_STATUS: Final = '"$request" $status'
_BEFORE_STATUS: Final = '" '  # the end of a quoted request
# What is in every line whose format has the status right behind the quoted request, and in few other texts.
_tells_a_call: Final = re.compile(f'"{_KNOWN["request"]}" {_KNOWN["status"]}', re.ASCII).search


def compile_format(text: str) -> re.Pattern[str]:
    """The pattern of a format. Raises ValueError, saying what is wrong with it."""
    names = [found[1] or found[2] for found in _NAME.finditer(text)]
    if len(names) != len(set(names)) or len(names) > MOST_FIELDS:
        raise ValueError(f"a format names each field once, and at most {MOST_FIELDS}")
    if not {"request", "status"} <= {*names}:
        raise ValueError("a format has $request and $status")
    parts: list[str] = []
    at = 0
    for found in _NAME.finditer(text):
        before, after = text[at : found.start()], text[found.end() : found.end() + 1]
        if at and not before:
            raise ValueError("something stands between two fields of a format")
        parts.append(re.escape(before))
        name = found[1] or found[2]
        parts.append(f"(?P<{name}>{_KNOWN.get(name) or _between(before[-1:], after)})")
        at = found.end()
    return re.compile(f"{''.join(parts)}{re.escape(text[at:])}(?=\\s|\\Z)", re.ASCII)


def _between(before: str, after: str) -> str:
    if before == after == '"':
        return r'(?:[^"\\]|\\.)*+'
    if before == "[" and after == "]":
        return r"[^\]]*+"
    if after and not after.isspace():
        return rf"[^\s{re.escape(after)}]++"
    return r"\S++"


class Lines:
    """The formats of one mapper."""

    def __init__(self, formats: Iterable[str]) -> None:
        """formats: those of a team's own dialects first; of the others the longest that fits says most."""
        known = tuple(dict.fromkeys(formats))
        self._patterns = [compile_format(text) for text in known]
        self._quoted = all(_REQUEST_AND_STATUS in text for text in known)  # as in all formats that are built in

    def read(self, text: str) -> Mapping[str, object] | None:
        """The fields of a line, those without a value left out; None when it has no known format."""
        if (self._quoted and _BEFORE_STATUS not in text) or len(text) > LONGEST_LINE:
            return None
        if self._quoted and _tells_a_call(text) is None:
            return None
        for pattern in self._patterns:
            if (found := pattern.match(text)) is not None:
                return {name: value for name, value in found.groupdict().items() if value not in ("-", "")}
        return None
