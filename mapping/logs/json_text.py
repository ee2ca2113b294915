"""JSON objects in log texts, also those that no JSON parser of the strict kind takes, or that a shipper has wrapped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from math import isfinite

import orjson

from mapping.bounds import DEEPEST_JSON, LONGEST_JSON, is_deep

_EXACT_UP_TO = float(1 << 53)  # floats beyond may have been integers with more digits
# Python's and JavaScript's words for numbers that JSON has none for, and numbers that no double holds.
_BARE = re.compile(r"[:\[,]\s{0,8}-?(?:(?:NaN|Infinity)\b|[0-9.]{1,32}[eE]\+?[0-9]{3})").search
_LONG_NUMBER = re.compile(r"[0-9]{17}").search  # perhaps of more digits than a float has
_NEVER_DEEP = 2 * DEEPEST_JSON  # characters
_NESTING = frozenset((dict, list))
_MAY_BE_LONG = frozenset((dict, list, float))  # types of values with numbers whose digits may be lost
_HALF = re.compile(r"\\u[dD][89a-fA-F]").search  # of an emoji that was cut, as JavaScript and Java cut them
# What Docker, Vector, journald, Fluent Bit, Splunk, Azure and Google call the application's own line.
WRAPPERS = tuple(
    """
    log message MESSAGE msg _raw line textPayload event.original Message raw @m Log LogMessage LogEntry
    event short_message full_message @message log_message
    properties properties.log properties.Log jsonPayload.message jsonPayload.log
    """.split()  # noqa: SIM905 - a list literal of twenty words takes twenty lines
)
WRAPPER_KEYS = frozenset(WRAPPERS)
_WRAPPED_DEPTH = 3  # Vector wraps what Docker wrapped of a logger whose message is JSON
# About the machine, not about the call; in capitals syslog-ng's.
OF_SHIPPERS = frozenset(("host", "hostname", "source", "stream", "HOST", "HOST_FROM", "SOURCE", "SOURCEIP"))
# Of these a text is the line as the application wrote it; the others also hold its message.
_MESSAGES = (
    "message msg Message @m LogMessage properties jsonPayload.message event short_message full_message @message "
    "log_message"
)
LINES_OF_SHIPPERS = WRAPPER_KEYS.difference(_MESSAGES.split())
# First characters, beside blanks, of texts in which `line_in` finds some.
BEFORE_JSON = frozenset('{"0123456789T:.+Z-\ufeff')
LONGEST_MIXED = 32_768  # characters of a text that is looked through for JSON at its end
_MOST_BRACES = 4  # places where that JSON may begin: braces stand in messages, too
_MESSAGE_UP_TO = 4096  # characters before it
_LONGEST_BEFORE = 24  # characters of `headers=` with the colours of a terminal
_NO_MORE = " []"  # Monolog's word for an empty context
_CRI = re.compile(r"[0-9T:.+Z-]{20,40} (?:stdout|stderr) [FP] (?=\{)").match  # containerd's log files


Kinds = Set[type]
NO_OBJECT: tuple[None, bool, Kinds] = None, False, frozenset()


def json_object(text: str) -> dict[str, object] | None:
    """The object in a text, None when it holds none. NaN and Infinity are left out."""
    return read_object(text)[0]


def read_object(text: str) -> tuple[dict[str, object] | None, bool, Kinds]:
    """(the object in a text, whether the text is JSON, types of the object's values).

    Of objects nested deeper than DEEPEST_JSON: none.
    """
    if len(text) > LONGEST_JSON:
        return NO_OBJECT
    is_json = True
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value, is_json = _lenient(text) if _BARE(text) or _HALF(text) else None, False
    if not isinstance(value, dict):
        return NO_OBJECT
    kinds = {*map(type, value.values())}
    if len(text) > _NEVER_DEEP and not kinds.isdisjoint(_NESTING) and is_deep(text, value):
        return NO_OBJECT
    return value, is_json, kinds


def line_in(text: str) -> str:
    """The JSON text in a log text that begins with one, or with the stamp of a container runtime; "" for others."""
    if "{" not in text:  # as nearly all
        return ""
    if text[:1] == "{" or text.lstrip()[:1] == "{":
        return text
    if text[:2] == '"{' and text.rstrip()[-2:] == '}"' and len(text) <= LONGEST_JSON:  # encoded twice
        try:
            inner = orjson.loads(text)
        except orjson.JSONDecodeError:
            return ""
        return inner if isinstance(inner, str) else ""
    if text[:1] == "\ufeff":  # a byte order mark, as Windows writes it
        return line_in(text.lstrip("\ufeff"))
    stamp = _CRI(text)
    return text[stamp.end() :] if stamp is not None else ""


def json_end(text: str) -> dict[str, object] | None:
    """The object at the end of a text line, behind time, level and message, as zap's console and Monolog write it.

    None when there is none. Of two objects, Monolog's context and extra, the members of both.
    """
    text = text.rstrip()
    if text[-1:] not in ("}", "]") or len(text) > LONGEST_MIXED:
        return None
    text = text.removesuffix(_NO_MORE)
    at = -1
    for _ in range(_MOST_BRACES):
        at = text.find('{"', at + 1, _MESSAGE_UP_TO)
        if at < 0:
            break
        if "headers" in text[max(at - _LONGEST_BEFORE, 0) : at]:  # one of several pairs, as Rust's tracing prints them
            continue
        if (found := _exactly(text[at:])) is not None:
            return found
        parted = text.find("} {", at)
        if parted > 0 and (found := json_object(text[at : parted + 1])) is not None:
            return {**(json_object(text[parted + 2 :]) or {}), **found}
    return None


def unwrapped(flat: Mapping[str, object]) -> dict[str, object] | None:
    """The object that a shipper put, as text, into one field of its own; None without one.

    The shipper's other fields are there too, unless they are about the machine.
    """
    if WRAPPER_KEYS.isdisjoint(flat):
        return None
    found: dict[str, object] | None = None
    at = flat
    for _ in range(_WRAPPED_DEPTH):
        inner = None
        for name in WRAPPERS:
            value = at.get(name)
            if type(value) is str and value:
                first = value[0]
                inner = _exactly(value if first == "{" else line_in(value)) if first in '{"' else json_end(value)
                if inner is not None:
                    break
        if inner is None:
            break
        outer = {key: value for key, value in at.items() if key != name and key not in OF_SHIPPERS}
        found = {**outer, **inner}
        at = inner
    return found


def _exactly(text: str) -> dict[str, object] | None:
    """As `json_object`, with integers of any length as integers."""
    found, _, kinds = read_object(text)
    if found is None or kinds.isdisjoint(_MAY_BE_LONG) or _LONG_NUMBER(text) is None:
        return found
    return exact(text) or found


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def _lenient(text: str) -> object:
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        return _whole(value) if _HALF(text) else value
    except (ValueError, RecursionError):  # also for integers of more than 4,300 digits
        return None


def _whole(value: object) -> object:
    """The value with U+FFFD for every half of a character. Raises RecursionError for what is too deep."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def holds_long_numbers(values: Mapping[str, object]) -> bool:
    """True when a float is so large that it may have been an integer whose digits are lost."""
    for value in values.values():  # noqa: SIM110 - a generator takes twice as long
        if type(value) is float and not -_EXACT_UP_TO < value < _EXACT_UP_TO:
            return True
    return False


def exact(text: str) -> dict[str, object] | None:
    """As `json_object`, with integers of any length as integers; slower."""
    value = _lenient(text)
    return value if isinstance(value, dict) else None
