"""Trace and span ids that applications, libraries and proxies write into a log's fields (spec/mapping.md §6 L2).

Which keys may hold an id is worked out once for a set of keys (`id_keys`); `ids_in` then reads the values. A key counts
whatever its case, dashes and underscores, at the top or below the objects in which loggers keep their context. A value
counts by its form; what has none of the forms links nothing. Values of more than MAX_CHARS are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from mapping.rules.names import CONTEXTS, LONGEST_KEY, split_name

MAX_CHARS = 512  # of a value; the longest propagation header is X-Ray's, with its lineage below 300

# What came with the request names its trace; the span id in it is the caller's.
_HEADERS = frozenset(("headers", "header", "requestheaders", "carrier"))
_HEADER_PREFIXES = ("requestheader", "reqheader", "request", "http")
_CONTEXTS_OF_REQUESTS = CONTEXTS | {"request", "req", "http", "httprequest", "kafka", "message", "messaging"}
_DEEPEST = 4  # objects above a key

_TRACE_WORDS = {
    name: rank
    for rank, names in enumerate(
        (
            ("traceid", "oteltraceid", "opentelemetrytraceid", "@tr", "otelid", "currenttraceid", "elasticapmtraceid"),
            ("trace",),
            ("traceparent", "w3ctraceparent", "otraceparent"),
            ("xb3traceid", "b3traceid", "b3", "xb3"),
            ("xraytraceid", "awsxraytraceid", "xamzntraceid", "amzntraceid", "amzntrace", "xrayid", "xray"),
            ("ubertraceid", "jaegertraceid", "sentrytrace", "sentrytraceid", "xcloudtracecontext", "cloudtracecontext"),
            ("xtraceid", "xdatadogtraceid", "ddtraceid", "datadogtraceid"),
        )
    )
    for name in names
}
_SPAN_WORDS = {
    name: rank
    for rank, names in enumerate(
        (
            ("spanid", "otelspanid", "opentelemetryspanid", "@sp", "currentspanid"),
            ("xb3spanid", "b3spanid"),
            ("ddspanid", "datadogspanid", "xspanid"),
        )
    )
    for name in names
}
_FIRST_HEADER = _TRACE_WORDS["traceparent"]  # words from here on are headers
_DATADOG = frozenset(("ddtraceid", "datadogtraceid", "xdatadogtraceid", "ddspanid", "datadogspanid"))
_OF_KONG = frozenset(("w3c", "b3", "jaeger", "ot", "aws", "gcp", "datadog"))  # below trace_id, for each propagation
_NET = frozenset(("activityid", "requestid"))  # of .NET, where they are a traceparent
_EXACTLY = frozenset(("operation_Id", "ai.operation.id"))  # Application Insights; other operation ids are no traces

_HEX32 = re.compile(r"[0-9a-f]{32}").fullmatch
_PLAIN = re.compile(r"(?:0x)?([0-9a-f]{32}|[0-9a-f]{16})").fullmatch
_SPAN = re.compile(r"(?:0x)?([0-9a-f]{16})").fullmatch
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}").fullmatch
_PATH = re.compile(r"(?:[^/]{0,256}/){1,8}traces/([0-9a-f]{32})").fullmatch
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?").fullmatch
_B3 = re.compile(r"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-[01d](?:-[0-9a-f]{16})?)?").fullmatch
_JAEGER = re.compile(r"([0-9a-f]{1,32}):([0-9a-f]{1,16}):[0-9a-f]{1,16}:[0-9a-f]{1,2}").fullmatch
_GOOGLE = re.compile(r"([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=[0-9]+)?").fullmatch
_XRAY = re.compile(r"(root=|(?<![0-9a-f]))1-([0-9a-f]{8})-([0-9a-f]{24})(?![0-9a-f])")
_XRAY_PARENT = re.compile(r"(?:parent=|@)([0-9a-f]{16})(?![0-9a-f])").search

_AROUND = " \t\r\n\"'{}"  # blanks, the quotes of a value that was encoded twice, the braces of a GUID

Ids = tuple[str, str]  # trace id of 32 digits and span id of 16, "" for what is not there
_NOTHING: Ids = ("", "")


class IdKeys(NamedTuple):
    """The keys of a record that may hold ids, the best first, each with how its values are read."""

    trace: tuple[tuple[str, Callable[[object], Ids]], ...]
    span: tuple[tuple[str, Callable[[object], Ids]], ...]


NO_KEYS = IdKeys((), ())


def id_keys(names: Iterable[str], first: Iterable[str] = (), first_spans: Iterable[str] = ()) -> IdKeys:
    """Which of these keys of a flattened record may hold its trace and span ids.

    first, first_spans: keys that a dialect names for them; other than these, the name of a key decides.
    """
    trace: list[tuple[int, int, str, Callable[[object], Ids]]] = []
    span: list[tuple[int, int, str, Callable[[object], Ids]]] = []
    trace += [(-1, 0, name, _path_or_id) for name in first]
    span += [(-1, 0, name, _span) for name in first_spans]
    for name in names:
        word, depth, of_headers = _word(name) if len(name) <= LONGEST_KEY else ("", 0, False)
        if word == "operationid":
            trace.append((8, depth, name, _exact))
        elif word in _NET:
            trace.append((9, depth, name, _traceparent))
        elif word in _TRACE_WORDS:
            read = _datadog_trace if word in _DATADOG else _path_or_id if word == "trace" else _any_form
            if of_headers:
                read = _without_span
            trace.append((_TRACE_WORDS[word], depth, name, read))
        elif word in _SPAN_WORDS and not of_headers:
            span.append((_SPAN_WORDS[word], depth, name, _datadog_span if word in _DATADOG else _span))
    if not trace and not span:
        return NO_KEYS
    return IdKeys(*(tuple((key, read) for _, _, key, read in sorted(found, key=_order)) for found in (trace, span)))


def ids_in(values: Mapping[str, object], keys: IdKeys) -> Ids:
    """(trace id, span id) of a record, "" for what no usable value says.

    A header that names both gives its span only where no key of its own does.
    """
    trace = span = along = ""
    for key, read in keys.trace:
        value = values.get(key)
        if value is not None:
            found, along = read(value)
            if found:
                trace = found
                break
    for key, read in keys.span:
        value = values.get(key)
        if value is not None and (span := read(value)[1]):
            break
    return trace, span or along


def _order(found: tuple[int, int, str, Callable[[object], Ids]]) -> tuple[int, int]:
    return found[0], found[1]


def _word(name: str) -> tuple[str, int, bool]:
    """(what the key is called, objects above it, whether it is a captured header); "" for a key that is none."""
    if name.endswith("googleapis.com/trace"):
        return "trace", 0, False
    if name.endswith("googleapis.com/spanId"):
        return "spanid", 0, False
    if name in _EXACTLY:
        return "operationid", 0, False
    above, last = split_name(name)
    if last in _NET and CONTEXTS.issuperset(above):
        return last, len(above), False
    if last in _OF_KONG and above[-1:] == ["traceid"]:
        above.pop()
        last = "ddtraceid" if last == "datadog" else "traceid"
    if last == "id" and above[-1:] in (["trace"], ["span"]):
        last = f"{above.pop()}id"
    of_headers = bool(above) and above[-1] in _HEADERS
    if of_headers:
        above.pop()
    elif last in _TRACE_WORDS or last in _SPAN_WORDS:
        if above[-1:] in (["dd"], ["datadog"], ["xray"], ["b3"]) and last in ("traceid", "spanid"):
            last = f"{above.pop().replace('datadog', 'dd')}{last}"
    else:
        # nginx, CGI and Traefik write a request's headers among their own fields.
        if not last.startswith(_HEADER_PREFIXES):
            return "", 0, False
        prefix = next(prefix for prefix in _HEADER_PREFIXES if last.startswith(prefix))
        last, of_headers = last[len(prefix) :], bool(prefix)
        if _TRACE_WORDS.get(last, 0) < _FIRST_HEADER:
            return "", 0, False
    allowed = _CONTEXTS_OF_REQUESTS if of_headers else CONTEXTS
    if len(above) > _DEEPEST or not allowed.issuperset(above):
        return "", 0, False
    return (last, len(above), of_headers) if last in _TRACE_WORDS or last in _SPAN_WORDS else ("", 0, False)


def _text(value: object) -> str:
    """The value as text in lower case, "" when it cannot be an id. A list of one is its item."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or len(value) > MAX_CHARS:
        return ""
    text = value.strip(_AROUND).lower()
    return unquote(text) if "%3a" in text else text


def _any_form(value: object) -> Ids:
    """Ids in any of the forms that are in use."""
    text = _text(value)
    if len(text) < 16 and ":" not in text:
        return _NOTHING
    if plain := _PLAIN(text):
        return _valid(plain[1], "")
    if (found := _TRACEPARENT(text)) and text[:2] != "ff":
        return _valid(found[1], found[2])
    if found := _B3(text):
        return _valid(found[1], found[2])
    if found := _JAEGER(text):
        return _valid(found[1], found[2])
    if found := _GOOGLE(text):
        return _valid(found[1], _hex_of(found[2] or "0", 64))
    if "1-" in text and (found := _root(text)):
        parent = _XRAY_PARENT(text)
        return _valid(found[2] + found[3], parent[1] if parent else "")
    if found := _PATH(text):
        return _valid(found[1], "")
    return _valid(text.replace("-", ""), "") if _UUID(text) else _NOTHING


def _path_or_id(value: object) -> Ids:
    """As `_any_form`, for a key that also holds texts of other kinds: 16 digits alone are no trace there."""
    text = _text(value)
    return _NOTHING if len(text) < 32 else _any_form(text)


def _without_span(value: object) -> Ids:
    return _any_form(value)[0], ""


def _exact(value: object) -> Ids:
    text = _text(value)
    return _valid(text, "") if _HEX32(text) else _NOTHING


def _traceparent(value: object) -> Ids:
    found = _TRACEPARENT(_text(value))
    return _valid(found[1], found[2]) if found else _NOTHING


def _root(text: str) -> re.Match[str] | None:
    """X-Ray's id in a text: the root where several are named (load balancers add their own)."""
    first = None
    for found in _XRAY.finditer(text):
        if found[1]:
            return found
        first = first or (found if not text[: found.start()].endswith(("self=", "parent=")) else None)
    return first


def _datadog_trace(value: object) -> Ids:
    """Datadog writes decimals of 64 bits, since 2023 also 32 hex digits or decimals of 128 bits."""
    text = _decimal(value)
    if text and len(text) != 32:
        return _valid(_hex_of(text, 128), "")
    return _any_form(value)


def _datadog_span(value: object) -> Ids:
    text = _decimal(value)
    return ("", _nonzero(_hex_of(text, 64), 16)) if text else _span(value)


def _span(value: object) -> Ids:
    found = _SPAN(_text(value))
    return ("", _nonzero(found[1], 16)) if found else _NOTHING


def _decimal(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 128:
        return str(value)
    text = value.strip() if isinstance(value, str) and len(value) < 64 else ""
    return text if text.isascii() and text.isdigit() and len(text) < 40 else ""


def _hex_of(decimal: str, bits: int) -> str:
    """Hex digits of a decimal number, "" when it takes more than `bits`."""
    number = int(decimal)
    return f"{number:0{16 if number < 1 << 64 else 32}x}" if number < 1 << bits else ""


def _valid(trace: str, span: str) -> Ids:
    """The ids in full length; no ids at all when the trace id is all zeros."""
    trace = _nonzero(trace, 32)
    return (trace, _nonzero(span, 16)) if trace else _NOTHING


def _nonzero(digits: str, length: int) -> str:
    return digits.rjust(length, "0") if digits.strip("0") else ""
