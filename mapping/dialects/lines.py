"""Access logs in plain text: a line is read by its format, as nginx writes formats, into fields under their names.

`$remote_addr - $remote_user [$time_local] "$request" $status`: a name stands for what is between the characters around
it, a blank for any number of them. A format fits a line that begins with it; whatever a server adds behind a blank is
left unread. Patterns are possessive, so that a line is looked at in time linear in its length, however hostile. Lines
that are nothing but `key=value` pairs need no format, and of others the ids of trace and span are read that Spring
writes into brackets: `[shop,66ab…,b7ad…]`, `[66ab…-b7ad…]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from mapping.dialects import logfmt

LONGEST_LINE: Final = 32_768  # characters of a line that is read: a request line of 16 Ki, and as much around it
MOST_FIELDS: Final = 64  # of a format
_NAME: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]{0,63})\}|([A-Za-z_][A-Za-z0-9_]{0,63}))")
# What else than an access line would have these is no call: the request must be one, and the status a status.
_KNOWN: Final = {
    "request": r"[A-Z][A-Za-z-]{2,19} [^\s\"\\]{1,16384}+(?: HTTP/[0-9.]{1,4})?+",
    "method": r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)",
    "url": r"/[^\s\"\\]{0,16384}+",
    "status": r"(?:[1-5][0-9]{2}|0)",  # Envoy's 0: nobody waited for the answer
    "time_local": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
}
_METHODS_BEGIN: Final = "GHPDO"
_REQUEST_AND_STATUS: Final = '"$request" $status'
_BEFORE_STATUS: Final = '" '  # the end of a quoted request
_REQUEST_LAST: Final = '"$request"'  # HAProxy's end with it
_VERSION: Final = "HTTP/"
_VERSION_AT: Final = 12  # characters before the end of such a line
_BARE: Final = ("$method ", "\x1b[0m$method ", "[GIN] ")  # beginnings of the formats without a request line in quotes
_begins_bare: Final = re.compile(rf"(?:\x1b\[0m)?{_KNOWN['method']} /|\[GIN\] ", re.ASCII).match
_IDS_WITHIN: Final = 512  # characters of a line: they stand before its message
_ids_in_brackets: Final = re.compile(
    r"(?<=[\[,])([0-9a-f]{32}|[0-9a-f]{16})[,-]([0-9a-f]{16})(?=[\],])", re.ASCII
).search
# What is in every line whose format has the status right behind the quoted request, and in few other texts.
_tells_a_call: Final = re.compile(f'"{_KNOWN["request"]}" {_KNOWN["status"]}', re.ASCII).search


def compile_format(text: str) -> re.Pattern[str]:
    """The pattern of a format. Raises ValueError, saying what is wrong with it."""
    names = [found[1] or found[2] for found in _NAME.finditer(text)]
    if len(names) != len(set(names)) or len(names) > MOST_FIELDS:
        raise ValueError(f"a format names each field once, and at most {MOST_FIELDS}")
    if not ({"request", "status"} <= {*names} or {"method", "url", "status"} <= {*names}):
        raise ValueError("a format has $request and $status, or $method, $url and $status")
    parts: list[str] = []
    at = 0
    for found in _NAME.finditer(text):
        before, after = text[at : found.start()], text[found.end() : found.end() + 1]
        if at and not before:
            raise ValueError("something stands between two fields of a format")
        parts.append(_literal(before))
        name = found[1] or found[2]
        parts.append(f"(?P<{name}>{_KNOWN.get(name) or _between(before[-1:], after)})")
        at = found.end()
    return re.compile(f"{''.join(parts)}{_literal(text[at:])}(?=\\s|\\x1b|\\Z)", re.ASCII)


def _literal(text: str) -> str:
    return re.sub(r"(?:\\ )+", " ++", re.escape(text))


def _between(before: str, after: str) -> str:
    if before == after == '"':
        return r'(?:[^"\\]|\\.)*+'
    if before == "[" and after == "]":
        return r"[^\]]*+"
    if before == "{" and after == "}":
        return r"[^}]*+"
    if after and not after.isspace():
        return rf"[^\s{re.escape(after)}]++"
    return r"\S++"


class Lines:
    """The formats of one mapper."""

    def __init__(self, formats: Iterable[str]) -> None:
        """formats: those of a team's own dialects first; of the others the longest that fits says most."""
        known = tuple(dict.fromkeys(formats))
        quoted = [text for text in known if _REQUEST_AND_STATUS in text]  # as most that are built in
        last = [text for text in known if text.endswith(_REQUEST_LAST)]
        bare = [text for text in known if text.startswith(_BARE) and text not in quoted]
        self._quoted, self._last, self._bare = map(_compiled, (quoted, last, bare))
        self._begin = frozenset("".join(_METHODS_BEGIN if text[0] == "$" else text[0] for text in bare))
        # A team's own of any other form: they are tried on every line.
        self._others = _compiled(text for text in known if text not in {*quoted, *last, *bare})

    def read(self, text: str) -> Mapping[str, object] | None:
        """The fields of a line, those without a value left out; None when it has no known format."""
        if _BEFORE_STATUS in text:
            patterns = (
                [*self._others, *self._quoted] if _tells_a_call(text[:LONGEST_LINE]) is not None else self._others
            )
        elif text and (
            text[-1] == '"'
            or "=" in text
            or "[" in text
            or self._others
            or (text[0] in self._begin and not text[1:2].islower())
        ):
            patterns = [*self._others, *self._last] if _VERSION in text[-_VERSION_AT:] else self._others
        else:  # as nearly all
            return None
        if len(text) > LONGEST_LINE:
            return None
        if text[0] in self._begin and _begins_bare(text) is not None:
            patterns = [*patterns, *self._bare]
        for pattern in patterns:
            if (found := pattern.match(text)) is not None:
                return {name: value for name, value in found.groupdict().items() if value not in ("-", "")}
        if text.find("=", 1, logfmt.LATEST) > 0 and (pairs := logfmt.read(text)) is not None:
            return pairs
        if "[" in text and (ids := _ids_in_brackets(text, 0, _IDS_WITHIN)) is not None:
            return {"trace_id": ids[1], "span_id": ids[2]}
        return None


def _compiled(formats: Iterable[str]) -> list[re.Pattern[str]]:
    return [compile_format(text) for text in formats]
