"""What a log record says (spec/mapping.md §6 L1 to L4, L6): body, trace, time, severity, event name, exception.

Enters: the record's fields and its decoded body and attributes. Leaves: a LogRecord. `mapping.logs.http` then decides
whether the record describes an HTTP exchange (spec/mapping.md §6 L5).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from mapping.bounds import LAST_NS, LONGEST_KEY, MOST_SEVERE, held, is_key
from mapping.dialects.reading import Dialects, Reading
from mapping.logs.http import HttpExchange, HttpKeys, built_in, exchange_by, exchange_in, http_keys
from mapping.logs.ids import IdKeys, id_keys, ids_in
from mapping.logs.json_text import (
    BEFORE_JSON,
    WRAPPERS,
    Kinds,
    exact,
    holds_long_numbers,
    json_end,
    line_in,
    read_object,
    unwrapped,
)
from mapping.logs.levels import INFO, LevelKey, level_in, level_keys, severity
from mapping.logs.times import between_ms, time_in, unix_ns
from mapping.rules.headers import read_pairs

_MAX_DEPTH = 32  # of the flattened view; deeper values are stored but not looked at
_MAX_FLAT_KEYS = 5000
_LISTED = frozenset((list, str))  # how headers come that are no object
_MOST_SCOPES = 16  # of a line of .NET
_MOST_PAIRS = 64  # of a line of Logback or Log4j
_OF_LISTS = frozenset(("Scopes", "kvpList", "contextMap"))  # lists in which loggers keep what they tell of a line
_PAIR = frozenset(("key", "value"))

_EXCEPTION_KEYS = ("exception.type", "exception.message", "exception.stacktrace")  # as ExceptionInfo has them
_EVENT_NAME_KEYS = ("event.name", "otel.event.name")

# Log4j's, and protobuf's as JSON.
_INSTANTS = (
    ("instant.epochSecond", "instant.nanoOfSecond"),
    ("timestamp.seconds", "timestamp.nanos"),
    ("time.seconds", "time.nanos"),
    ("timestampSeconds", "timestampNanos"),
)
_ENDS_OF_JSON = "}]\n"
_NOTHING: Mapping[str, object] = {}
_new = tuple.__new__


class Body(NamedTuple):
    """A log body. `flat` is the view that rules read: nested keys joined with dots, {} for text."""

    encoding: str  # json | text | base64 | "" for no body
    text: str  # JSON object text as sent when a string held one, plain text or base64; "" when only `map` has it
    map: Mapping[str, object] | None
    flat: Mapping[str, object]


class ExceptionInfo(NamedTuple):
    type: str
    message: str
    stacktrace: str


class LogRecord(NamedTuple):
    """A log record understood. Ids are lower-case hex or ""; times are nanoseconds since the epoch."""

    body: Body
    trace_id: str
    span_id: str
    trace_source: str  # record | attributes | body | ""
    time_unix_ns: int
    severity_number: int  # 1 to 24, 0 unknown
    severity_text: str
    event_name: str  # of the record or its attributes
    body_event: str  # the body's own `event`: named last in spec/mapping.md §6 L4, not in the corpus
    exception: ExceptionInfo | None
    http: HttpExchange | None


@dataclass(frozen=True, slots=True)  # read field by field for every record: a quarter of the time of a tuple's
class LogKeys:
    """What a set of attribute keys and body keys can say; the keys that are there, in the order of precedence."""

    attribute_ids: IdKeys
    body_ids: IdKeys
    times: tuple[str, ...]
    starts: tuple[str, ...]  # times at which a call began
    ends: tuple[str, ...]  # times at which it ended
    line: str  # the key of the body under which a line in plain text may stand, "" for none
    compact: bool  # Serilog's compact format, which leaves out the level of information
    instant: tuple[str, str] | None  # the keys of a time's seconds and of its nanoseconds
    dated: bool  # date and time of day stand apart, as in W3C extended logs
    levels: tuple[LevelKey, ...]
    attribute_levels: tuple[LevelKey, ...]
    event_names: tuple[str, ...]  # among the attributes
    body_event: bool
    exception: bool
    http: HttpKeys | None  # of the body; None when it cannot tell of a call
    attribute_http: HttpKeys | None  # of the attributes, where a dialect has its calls there
    reading: Reading  # what the keys of the body mean
    attribute_reading: Reading


NO_BODY = Body("", "", None, _NOTHING)


def read(
    body: object,
    attributes: Mapping[str, object],
    *,
    trace_id: str = "",
    span_id: str = "",
    time_unix_nano: int = 0,
    observed_unix_nano: int = 0,
    received_unix_ns: int = 0,
    severity_number: int = 0,
    severity_text: str = "",
    event_name: str = "",
    http_from_attributes: bool = False,
    trust_forwarded: bool = True,
) -> LogRecord:
    """The record understood. Ids are hex, "" or zeros for none; times and severity as sent, 0 for none.

    http_from_attributes: attributes may describe an HTTP exchange too (winston and pino bridges put it there).
    """
    found = read_body(body)
    return understand(
        found,
        attributes,
        log_keys(attributes, found.flat),
        trace_id=trace_id,
        span_id=span_id,
        time_unix_nano=time_unix_nano,
        observed_unix_nano=observed_unix_nano,
        received_unix_ns=received_unix_ns,
        severity_number=severity_number,
        severity_text=severity_text,
        event_name=event_name,
        http_from_attributes=http_from_attributes,
        trust_forwarded=trust_forwarded,
    )


def log_keys(
    attributes: Iterable[str], body: Iterable[str], dialects: Dialects | None = None, scope: str = ""
) -> LogKeys:
    """What records with these attribute keys and these keys of a flattened body may say."""
    names, of_attributes = tuple(body), tuple(attributes)
    dialects = dialects or built_in()
    said, beside = dialects.reading(names, scope), dialects.reading(of_attributes, scope)
    return LogKeys(
        attribute_ids=id_keys(of_attributes, beside.of("trace_id"), beside.of("span_id")),
        body_ids=id_keys(names, said.of("trace_id"), said.of("span_id")),
        times=said.of("time"),
        starts=said.of("start"),
        ends=said.of("end"),
        line=next((name for name in WRAPPERS if name in names), ""),
        compact="@t" in names and "@l" not in names and ("@m" in names or "@mt" in names),
        instant=next((pair for pair in _INSTANTS if pair[0] in names and pair[1] in names), None),
        dated="date" in names and "time" in names,
        levels=level_keys(names, said.of("level")),
        attribute_levels=level_keys(of_attributes, beside.of("level")),
        event_names=tuple(key for key in _EVENT_NAME_KEYS if key in of_attributes),
        body_event="event" in names,
        exception=any(key in of_attributes for key in _EXCEPTION_KEYS),
        http=http_keys(said),
        attribute_http=http_keys(beside) if beside.in_attributes else None,
        reading=said,
        attribute_reading=beside,
    )


def understand(
    found: Body,
    attributes: Mapping[str, object],
    keys: LogKeys,
    trace_id: str,
    span_id: str,
    time_unix_nano: int,
    observed_unix_nano: int,
    received_unix_ns: int,
    severity_number: int,
    severity_text: str,
    event_name: str,
    http_from_attributes: bool,
    trust_forwarded: bool,
) -> LogRecord:
    """As `read`, for a caller that has read the body and remembers the keys."""
    flat = found.flat
    if trace_id[:1] == "0" and not trace_id.strip("0"):
        trace_id = ""
    if span_id[:1] == "0" and not span_id.strip("0"):
        span_id = ""
    trace_source = "record" if trace_id else ""
    if not (trace_id and span_id):
        for source, values, named in (("attributes", attributes, keys.attribute_ids), ("body", flat, keys.body_ids)):
            if named.trace or named.span:
                trace, span = ids_in(values, named)
                if trace and not trace_id:
                    trace_id, trace_source = trace, source
                span_id = span_id or span
    if severity_number > MOST_SEVERE:
        severity_number = MOST_SEVERE
    elif severity_number <= 0:
        severity_number, severity_text = severity(severity_text, flat, keys.levels)
        if not severity_number and keys.attribute_levels:
            severity_number, severity_text = severity(severity_text, attributes, keys.attribute_levels)
        if not severity_number:
            if found[0] == "text" and not severity_text:
                severity_number, severity_text = level_in(found[1])
            elif keys.compact:
                severity_number = INFO
            elif keys.line and isinstance(line := flat[keys.line], str):
                severity_number, severity_text = level_in(line)
    described = exchange_by(keys.http, flat, trust_forwarded) if keys.http is not None else None
    if described is None and keys.attribute_http is not None:
        described = exchange_by(keys.attribute_http, attributes, trust_forwarded)
    if described is None and http_from_attributes:
        described = exchange_in({**flat, **flatten(attributes)}, trust_forwarded)
    if keys.ends and described is not None and described.duration_ms < 0:
        described = described._replace(duration_ms=between_ms(flat, keys.starts, keys.ends))
    time = time_unix_nano
    if not 0 < time <= LAST_NS:
        of_body = time_in(flat, keys.times, observed_unix_nano) if keys.times else 0
        if not of_body and keys.instant:
            seconds, part = (unix_ns(flat[key]) for key in keys.instant)
            of_body = held(seconds + part // 1_000_000_000)  # read as seconds, they are nanoseconds
        if not of_body and keys.dated:  # UTC, by the format's own words
            of_body = unix_ns(f"{flat['date']!s:.32} {flat['time']!s:.32}Z")
        if not of_body and keys.starts:
            of_body = time_in(flat, keys.starts, observed_unix_nano)
            if of_body and described is not None and described.duration_ms > 0:
                of_body += round(described.duration_ms * 1e6)
        time = of_body or held(observed_unix_nano) or received_unix_ns
    return _new(
        LogRecord,
        (
            found,
            trace_id,
            span_id,
            trace_source,
            time,
            severity_number,
            severity_text,
            event_name or (_text(attributes, keys.event_names) if keys.event_names else ""),
            _text(flat, ("event",)) if keys.body_event else "",
            exception_in(attributes) if keys.exception else None,
            described,
        ),
    )


def read_body(body: object) -> Body:
    """A map, a JSON object in a string, text, or bytes as base64 (spec/mapping.md §6 L1)."""
    if body is None:
        return NO_BODY
    if isinstance(body, str):
        first = body[:1]
        if text := body if first == "{" else line_in(body) if first in BEFORE_JSON or first.isspace() else "":
            parsed, is_json, kinds = read_object(text)
            if parsed is not None:
                return _of_object(parsed, kinds, body if is_json and text is body else "", text)
        if body[-1:] in _ENDS_OF_JSON and (parsed := json_end(body)) is not None:
            return _new(Body, ("text", body, None, flatten(parsed)))
        return _new(Body, ("text", body, None, _NOTHING)) if body else NO_BODY
    if type(body) is dict or isinstance(body, Mapping):
        return _of_object(body, {*map(type, body.values())}, "", "")
    if isinstance(body, (bytes, bytearray)):
        return Body("base64", b64encode(body).decode("ascii"), None, _NOTHING)
    if isinstance(body, bool):
        return Body("text", "true" if body else "false", None, _NOTHING)
    if isinstance(body, (int, float)):
        return Body("text", str(body), None, _NOTHING)
    return Body("text", orjson.dumps(body, default=_json_default).decode(), None, _NOTHING)


def _of_object(parsed: Mapping[str, object], kinds: Kinds, shown: str, source: str) -> Body:
    """The body that an object is. kinds: types of its values, shown: its text as sent, source: the text that it was
    read from, "" for none.
    """
    flat = _flattened(parsed) if dict in kinds else parsed
    if list in kinds and not _OF_LISTS.isdisjoint(parsed):
        flat = {**_of_lists(parsed), **flat}
    if source and (float in kinds or dict in kinds) and holds_long_numbers(flat):
        found = exact(source)
        if found is not None:
            parsed, flat = found, flatten(found)
    inner = unwrapped(flat) if not source or '\\"' in source else None
    # Masks look at the object, not at a text whose secrets are behind escaped quotes.
    if inner is None:
        return _new(Body, ("json", shown, parsed, flat))
    listed = {} if _OF_LISTS.isdisjoint(inner) else _of_lists(inner)
    return _new(Body, ("json", "", parsed, {**listed, **flatten(inner)} if listed else flatten(inner)))


def _of_lists(parsed: Mapping[str, object]) -> dict[str, object]:
    """What loggers tell of a line in lists: .NET's JSON console of its scopes (its trace, its request, its user),
    Logback of its pairs (`"kvpList": [{"status": 200}]`), Log4j of its context (`[{"key": "user", "value": "ann"}]`).
    """
    found: dict[str, object] = {}
    for name, prefix, most in (
        ("Scopes", "Scopes.", _MOST_SCOPES),
        ("kvpList", "", _MOST_PAIRS),
        ("contextMap", "contextMap.", _MOST_PAIRS),
    ):
        items = parsed.get(name)
        for item in items[:most] if isinstance(items, list) else ():
            if not isinstance(item, dict):
                continue
            if item.keys() == _PAIR and isinstance(key := item["key"], str):
                item = {key: item["value"]}
            _add_leaves(found, item, prefix, 1)
    return found


def flatten(nested: Mapping[str, object]) -> Mapping[str, object]:
    """The map with nested keys joined by dots; a literal dotted key wins. A map without nesting comes back as is."""
    return _flattened(nested) if dict in map(type, nested.values()) else nested


def _flattened(nested: Mapping[str, object]) -> Mapping[str, object]:
    flat: dict[str, object] = {key: value for key, value in nested.items() if type(value) is not dict}
    for key, value in nested.items():
        if type(value) is dict and is_key(key):
            _add_leaves(flat, value, key + ".", 1)
    return flat


def exception_in(attributes: Mapping[str, object]) -> ExceptionInfo | None:
    """The exception in a record's attributes, None when there is none (spec/mapping.md §6 L6)."""
    get = attributes.get
    kind, message, stack = get("exception.type"), get("exception.message"), get("exception.stacktrace")
    if not (kind or message or stack):
        return None
    return ExceptionInfo(
        kind if type(kind) is str else "",
        message if type(message) is str else "",
        stack if type(stack) is str else "",
    )


def _text(values: Mapping[str, object], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = values.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def _add_leaves(flat: dict[str, object], nested: Mapping[str, object], prefix: str, depth: int) -> None:
    longest = LONGEST_KEY - len(prefix)
    for key, value in nested.items():
        if type(value) is dict:
            if depth < _MAX_DEPTH and is_key(below := f"{prefix}{key}."):
                _add_leaves(flat, value, below, depth + 1)
        elif key == "headers" and type(value) in _LISTED and (found := read_pairs(value)) is not None:
            _add_leaves(flat, found, f"{prefix}headers.", depth + 1)
        elif len(flat) < _MAX_FLAT_KEYS and len(key) <= longest:
            flat.setdefault(prefix + key, value)


def _json_default(value: object) -> str:
    return b64encode(value).decode("ascii") if isinstance(value, (bytes, bytearray)) else str(value)
