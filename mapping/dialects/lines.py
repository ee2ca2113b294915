"""Access logs in plain text: a line is read by its format, as nginx writes formats, into fields under their names.

`$remote_addr - $remote_user [$time_local] "$request" $status`: a name stands for what is between the characters around
it, a blank for any number of them. A format fits a line that begins with it; whatever a server adds behind a blank is
looked through for `key=value` pairs and nginx's seconds. Before a format may stand what shippers and loggers write in
front: a format is tried where an address or a bracket begins, too. An access line of a format that nobody has told is
read as far as all such lines are alike. Patterns are possessive, so that a line is looked at in time linear in its
length, however hostile. Lines that end with `key=value` pairs need no format, and of others the ids of trace and span
are read that Spring writes into brackets: `[shop,66ab…,b7ad…]`, `[66ab…-b7ad…]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mapping.dialects import access_line, contexts, logfmt

LONGEST_LINE: Final = 32_768  # characters of a line that is read: a request line of 16 Ki, and as much around it
MOST_FIELDS: Final = 64  # of a format
_WANTED: Final = ({"request", "status"}, {"method", "url", "status"}, {"cs_method", "cs_uri_stem", "sc_status"})
_NAME: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]{0,63})\}|([A-Za-z_][A-Za-z0-9_]{0,63}))")
_ADDRESS: Final = r"(?:[0-9a-fA-F.:]{3,45}|-)"
# What else than an access line would have these is no call: the request must be one, and the status a status.
_KNOWN: Final = {
    "request": access_line.REQUEST,
    "method": r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)",
    "url": r"(?:https?://[^\s\"\\/]{1,256})?/[^\s\"\\]{0,16384}+",
    "status": access_line.STATUS,
    "took_text": r"\d{1,9}(?:\.\d{1,9})?\s?(?:ns|us|\u00b5s|\u03bcs|ms|s|m)",
    "time_local": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    # Of lines that begin with a time and have no quotes: W3C's without their header, Squid's.
    "unix_time": r"\d{10}\.\d{3}",
    "elapsed_ms": r"\d{1,9}(?:\.\d{1,9})?",
    "c_ip": _ADDRESS,
    "s_ip": _ADDRESS,
    "cs_method": r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)",
    "cs_uri_stem": r"/[^\s\"\\]{0,16384}+",
    "sc_status": access_line.STATUS,
}
_W3C: Final = {"date": r"\d{4}-\d\d-\d\d", "time": r"\d\d:\d\d:\d\d(?:\.\d{1,6})?"}
_REQUEST_AND_STATUS: Final = '"$request" $status'
_BEFORE_STATUS: Final = '" '  # the end of a quoted request
_REQUEST_LAST: Final = '"$request"'  # HAProxy's end with it
_REQUEST_WITHIN: Final = '"$request" "'  # load balancers': the status stands before it
_UNQUOTED: Final = ("$method $url HTTP/", "$url version=HTTP/", "HTTP/$version $method $url ")
_VERSION: Final = "HTTP/"
_VERSION_AT: Final = 12  # characters before the end of such a line
_AGENT_NEXT: Final = '" "'
# Beginnings of the formats without a request line in quotes.
_BARE: Final = ("$method ", "[GIN] ", "HTTP $method ", "$status $method ", "$clock | ", "[$clock] ")
# Beginnings of formats whose lines begin with a time and have no quotes.
_TIMED: Final = ("$unix_time ", "$date $time ", "$date\t$time\t")
_WORDED: Final = "router: completed "  # gitea's, behind a time, a place in its source and a level
_WORDED_WITHIN: Final = 512  # characters
_BARE_BEGIN: Final = frozenset("GHPDO[- ")
_MAY_BEGIN: Final = _BARE_BEGIN | frozenset("0123456789")  # or a stamp does
_begins_bare: Final = re.compile(
    rf"(?:HTTP |[1-5]\d\d )?{_KNOWN['method']} /|\[GIN\] |\[?\d\d:\d\d:\d\d(?:\]| \|) ", re.ASCII
).match
# A request without quotes and version; between method and path CloudFront has the host.
_request_within: Final = re.compile(
    r"[ \t](?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)[ \t](?:[\w.-]{1,256}+\t)?(?:/|https?://)", re.ASCII
).search
_IDS_WITHIN: Final = 512  # characters of a line: they stand before its message
_ids_in_brackets: Final = re.compile(
    r"(?<=[\[,])([0-9a-f]{32}|[0-9a-f]{16})[,-]([0-9a-f]{16})(?=[\],])", re.ASCII
).search
# Ids under their names, wherever a pattern of a logger puts them: `[trace_id=66ab… span_id=b7ad…]`, `TraceId:66ab…`.
_named_trace: Final = re.compile(
    r"(?<![A-Za-z0-9])((?:dd[._]|otel)?trace[._-]?(?:id|parent)|trace(?==projects/))[\"']?\s?[=:]\s?[\"']?"
    r"([0-9A-Za-z:/=;._-]{5,160})",
    re.ASCII | re.IGNORECASE,
).search
_named_span: Final = re.compile(
    r"(?<![A-Za-z0-9])((?:dd[._]|otel)?span[._-]?id)[\"']?\s?[=:]\s?[\"']?([0-9A-Fa-f]{16}|[0-9]{5,20})(?![0-9A-Za-z])",
    re.ASCII | re.IGNORECASE,
).search
_colours: Final = re.compile(r"\x1b\[[0-9;]{0,16}m").sub
_colours_of_format: Final = re.compile(r"\x1b\[[^m]{0,16}m").sub
_MOST_STARTS: Final = 6  # places in a line where a format is tried, beside its beginning
# Where a format may begin behind what a shipper or a logger has written in front.
_starts: Final = re.compile(
    r"(?<=\s)(?=\[|request\{|Request finished |\d{1,3}\.\d{1,3}\.\d{1,3}\.|[0-9a-f]{1,4}:[0-9a-f:])", re.ASCII
).finditer
_STARTS_WITHIN: Final = 256  # characters
# What stands before a line: of a container runtime or Docker Compose, and a time and a level in brackets.
_stamp: Final = re.compile(
    r"(?:[0-9T:.+Z-]{20,40} (?:stdout|stderr) [FP] |[\w.-]{1,64} *+\| |\[[^\]\[]{1,64}\] | {0,8}+--> )", re.ASCII
).match


def compile_format(text: str) -> re.Pattern[str]:
    """The pattern of a format. Raises ValueError, saying what is wrong with it."""
    names = [found[1] or found[2] for found in _NAME.finditer(text)]
    if len(names) != len(set(names)) or len(names) > MOST_FIELDS:
        raise ValueError(f"a format names each field once, and at most {MOST_FIELDS}")
    if not any(wanted <= {*names} for wanted in _WANTED):
        raise ValueError("a format has $request and $status, or $method, $url and $status")
    known = {**_KNOWN, **_W3C} if text.startswith("$date") and names[1:2] == ["time"] else _KNOWN
    parts: list[str] = []
    at = 0
    for found in _NAME.finditer(text):
        before, after = text[at : found.start()], text[found.end() : found.end() + 1]
        if at and not before:
            raise ValueError("something stands between two fields of a format")
        parts.append(_literal(before))
        name = found[1] or found[2]
        parts.append(f"(?P<{name}>{known.get(name) or _between(before[-1:], after)})")
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
        first = [text for text in known if text.startswith(_REQUEST_LAST) and text not in quoted]
        within = [text for text in known if any(sign in text for sign in (_REQUEST_WITHIN, *_UNQUOTED))]
        within = [text for text in within if text not in first]
        bare = [text for text in known if text.startswith(_BARE) and text not in quoted]
        timed = [text for text in known if text.startswith(_TIMED) and text not in quoted]
        worded = [text for text in known if text.startswith(_WORDED)]
        kinds = (quoted, last, first, within, bare, timed, worded)
        compiled = map(_compiled, kinds)
        self._quoted, self._last, self._first, self._within, self._bare, self._timed, self._worded = compiled
        # A team's own of any other form: they are tried on every line.
        told = {text for kind in kinds for text in kind}
        self._others = _compiled(text for text in known if text not in told)

    def read(self, text: str) -> Mapping[str, object] | None:
        """The fields of a line, those without a value left out; None when it has no known format."""
        if not (
            _BEFORE_STATUS in text
            or (text and (text[-1] == '"' or (text[0] in _BARE_BEGIN and not text[1:2].islower())))
            or "=" in text
            or "[" in text
            or " HTTP/" in text
            or " | " in text
            or "raceI" in text
            or "race_id" in text
            or ("/" in text and ("\tstatus:" in text or _has_request(text)))
            or self._others
        ):  # as nearly all
            return None
        if len(text) > LONGEST_LINE:
            return None
        if "\x1b" in text:
            text = _colours("", text)
        text = text.strip()
        call = access_line.find(text) if _BEFORE_STATUS in text else None
        if call is not None or self._others or text[:1] in _MAY_BEGIN or _VERSION in text or "| " in text:
            found = self._by_a_format(text, call)
            if found is not None:
                return found
        if "/" in text and (found := self._without_quotes(text)) is not None:
            return found
        ids = _ids_by_name(text) if "race" in text or "TRACE" in text else None
        if "=" in text:
            pairs = logfmt.read_end(text)
            if ("}" in text or "]" in text) and (context := contexts.read(text)) is not None:
                return {**context, **(ids or {}), **(pairs or {})}
            if pairs is not None:
                return {**ids, **pairs} if ids else pairs
        if ids:
            return ids
        if "[" in text and (of_spring := _ids_in_brackets(text, 0, _IDS_WITHIN)) is not None:
            return {"trace_id": of_spring[1], "span_id": of_spring[2]}
        return None

    def _without_quotes(self, text: str) -> Mapping[str, object] | None:
        """The fields of an access line that has neither quotes nor a version of HTTP, and of LTSV."""
        if "\tstatus:" in text and (found := logfmt.read_ltsv(text)) is not None:
            return found
        if not _has_request(text):
            return None
        if "0" <= text[:1] <= "9":
            for pattern, _, _ in self._timed:
                if (fits := pattern.match(text)) is not None:
                    return {name: value for name, value in fits.groupdict().items() if value not in ("-", "")}
        if (at := text.find(_WORDED, 0, _WORDED_WITHIN)) >= 0:
            for pattern, _, _ in self._worded:
                if (fits := pattern.match(text, at)) is not None:
                    return fits.groupdict()
        return access_line.read_bare(text)

    def _by_a_format(self, text: str, call: re.Match[str] | None) -> Mapping[str, object] | None:
        """The fields of a line, whatever a shipper or a logger has written in front of it."""
        calls = call is not None
        if (found := self._by_format(text, 0, calls)) is not None:
            return found
        stamp = _stamp(text)
        if stamp is not None and (found := self._by_format(text[stamp.end() :], 0, calls)) is not None:
            return found
        if calls or _VERSION in text[-_VERSION_AT:] or (_VERSION in text and ('"' not in text or "request{" in text)):
            for start in _places(text):
                if (found := self._by_format(text, start, calls)) is not None:
                    return found
        elif (quote := text.find('"', 1, _STARTS_WITHIN)) > 0 and _VERSION in text:
            found = self._by_format(text, quote, calls)
            if found is not None:
                return found
        if call is None and _VERSION in text:
            call = access_line.find_plain(text)
        return access_line.read(text, call) if call is not None else None

    def _by_format(self, text: str, start: int, calls: bool) -> Mapping[str, object] | None:
        """The fields of the text from `start` on. calls: a request in quotes and its status stand there."""
        patterns = self._others if start == 0 else ()
        if calls:
            patterns = [*patterns, *self._quoted]
        elif _VERSION in text[-_VERSION_AT:]:
            patterns = [*patterns, *self._last]
        elif _VERSION in text and (_AGENT_NEXT in text or '"' not in text or text.startswith("request{", start)):
            patterns = [*patterns, *self._within]
        elif text[start : start + 1] == '"':
            patterns = [*patterns, *self._first]
        if start == 0 and text[:1] in _MAY_BEGIN and _begins_bare(text) is not None:
            patterns = [*patterns, *self._bare]
        quotes, opened = text.count('"'), text.count("[")
        for pattern, least_quotes, least_opened in patterns:
            if least_quotes > quotes or least_opened > opened:  # sooner told than by a pattern that fails at the end
                continue
            if (found := pattern.match(text, start)) is not None:
                fields: dict[str, object] = {
                    name: value for name, value in found.groupdict().items() if value not in ("-", "")
                }
                if "," in (
                    caller := str(fields.get("remote_host") or fields.get("remote_addr", ""))
                ):  # a proxy's header
                    fields["x_forwarded_for"] = caller
                return access_line.with_rest(fields, text, found.end())
        return None


def _has_request(text: str) -> bool:
    """True when a method and a path or URL stand beside each other, with blanks around the method."""
    if not (" /" in text or "://" in text or "\t/" in text):
        return False
    if not (  # a search for all of them takes four times as long
        "GET" in text
        or "POST" in text
        or "PUT" in text
        or "PATCH" in text
        or "HEAD" in text
        or "DELETE" in text
        or "OPTIONS" in text
    ):
        return False
    return _request_within(text) is not None


def _ids_by_name(text: str) -> dict[str, object] | None:
    """Trace and span that a line names, as it writes them; None without a trace."""
    trace = _named_trace(text)
    if trace is None:
        return None
    found: dict[str, object] = {_spelled(trace[1]): trace[2]}
    if (span := _named_span(text)) is not None:
        found[_spelled(span[1])] = span[2]
    return found


def _spelled(name: str) -> str:
    """The name as JSON has it: what is no id of Datadog's is an id in any form."""
    name = name.lower()
    kind = "span_id" if "span" in name else "traceparent" if name.endswith("parent") else "trace_id"
    return f"dd.{kind}" if name.startswith("dd") else kind


def _places(text: str) -> Iterator[int]:
    """Where in the text a format may begin, but for its beginning."""
    for number, found in enumerate(_starts(text, 0, _STARTS_WITHIN)):
        if number >= _MOST_STARTS:
            return
        yield found.start()


def _compiled(formats: Iterable[str]) -> list[tuple[re.Pattern[str], int, int]]:
    """The patterns, each with the quotes and opening brackets that a line of it has at least."""
    plain = (_colours_of_format("", text) for text in formats)
    return [(compile_format(text), text.count('"'), text.count("[")) for text in plain]
