"""OTLP JSON -> protobuf bytes, so that one decoder validates and reads both encodings.

Source: protobuf's JSON mapping with OTLP's deviations (opentelemetry-proto docs/specification.md, "JSON Protobuf
Encoding"): ids are hex, enums are integers, keys are lowerCamelCase only, unknown keys are ignored. Taken beyond that,
because senders do it: null anywhere means absent (JavaScript writes NaN so), integers as strings or whole floats,
enum names, base64 in either alphabet with or without padding.

A record that breaks these rules is refused alone, as in protobuf; what does not parse, or breaks them above the
records, refuses the request. The wire is written by hand: with every value checked it takes less time than building the
library's messages without a check (14 and 17 us a span of 16 attributes, after 6 for parsing the JSON).
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from receiver.errors import BadRequest
from receiver.prescan import Limits
from receiver.status import varint

_MAX_DEPTH = 40  # levels of nested values; mapping accepts 32, and Python recurses about 3 frames a level
_LONGEST_CACHED = 512  # bytes of an attribute that is kept for the rest of the request
_SLICE = 1 << 20  # bytes looked at in one call, as nothing else runs meanwhile: about a millisecond
_SHOWN = 3  # reasons named in the answer

_Json = dict[str, Any]

_SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_ENUM_NAMES = {f"SPAN_KIND_{name}": number for number, name in enumerate(_SPAN_KINDS)}
_ENUM_NAMES |= {f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))}
_ENUM_NAMES |= {"SEVERITY_NUMBER_UNSPECIFIED": 0}
_ENUM_NAMES |= {
    f"SEVERITY_NUMBER_{level}{step or ''}": index * 4 + 1 + max(0, step - 1)
    for index, level in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in (0, 2, 3, 4)
}


class Refused:
    """How many records were refused while transcoding, and why."""

    def __init__(self) -> None:
        self.count = 0
        self._reasons: Counter[str] = Counter()

    def add(self, reason: str, count: int = 1) -> None:
        self.count += count
        if len(self._reasons) < 100 or reason in self._reasons:
            self._reasons[reason] += count

    def message(self) -> str:
        """ "" when none was refused."""
        return "; ".join(f"{count} refused: {reason}" for reason, count in self._reasons.most_common(_SHOWN))


class _Bad(ValueError):
    """Something in one record (or its resource or scope) that OTLP JSON does not allow. The text is for the sender."""


def transcode(data: bytes, signal: str, limits: Limits, refused: Refused) -> bytes:
    """The same request in protobuf, without the records added to `refused`.

    Raises BadRequest: 400 when it is not OTLP JSON above the records, 413 over a limit.
    """
    _check_size(data, limits)
    try:
        request = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(400, f"the body is not JSON: {str(error)[:200]}") from error
    try:
        _object(request, "the body")
        return _Transcoder(limits, refused).request(request, signal)
    except _Bad as error:
        raise BadRequest(400, f"the body is not OTLP JSON: {error}") from error


def _check_size(data: bytes, limits: Limits) -> None:
    """JSON takes up to 70 times its size once parsed (`{},{}`), so what it will make is counted first, in C.

    An attribute has two braces and two commas; commas also bound arrays of numbers and objects of many keys.
    """
    objects, members = 2 * limits.max_elements, 4 * limits.max_elements
    for at in range(0, len(data) if len(data) > limits.max_elements else 0, _SLICE):
        objects -= data.count(b"{", at, at + _SLICE)
        members -= data.count(b",", at, at + _SLICE)
        if objects < 0 or members < 0:
            raise BadRequest(413, f"more than {limits.max_elements} attributes and values; send smaller batches")


class _Transcoder:
    """One request. Attributes seen before in it are written from memory: most repeat from record to record."""

    def __init__(self, limits: Limits, refused: Refused) -> None:
        self._limits = limits
        self._records_left = limits.max_records
        self._refused = refused
        self._seen: dict[tuple[str, str, Any], bytes] = {}
        self._keys: dict[str, bytes] = {}

    def request(self, request: _Json, signal: str) -> bytes:
        record: Callable[[list[bytes], _Json], None]
        if signal == "traces":
            groups, scopes, records, record = "resourceSpans", "scopeSpans", "spans", self._span
        else:
            groups, scopes, records, record = "resourceLogs", "scopeLogs", "logRecords", self._log_record
        out: list[bytes] = []
        for group in _list(request, groups):
            _object(group, groups)
            self._count_record()
            parts: list[bytes] = []
            bad = self._header(parts, group, "resource", self._resource)
            for scoped in _list(group, scopes):
                _object(scoped, scopes)
                self._count_record()
                inner: list[bytes] = []
                bad_scope = bad or self._header(inner, scoped, "scope", self._scope)
                items = _list(scoped, records)
                if bad_scope:
                    self._refused.add(bad_scope, len(items))
                    continue
                self._records(inner, items, record)
                _text(inner, b"\x1a", scoped, "schemaUrl")
                _message(parts, b"\x12", inner)
            _text(parts, b"\x1a", group, "schemaUrl")
            _message(out, b"\x0a", parts)
        return b"".join(out)

    def _header(self, out: list[bytes], parent: _Json, name: str, write: Callable[[list[bytes], _Json], None]) -> str:
        """Write a resource or scope; "" or why it is bad, which refuses the records under it."""
        value = parent.get(name)
        if value is None:
            return ""
        parts: list[bytes] = []
        try:
            write(parts, _object(value, name))
        except _Bad as error:
            return str(error)
        _message(out, b"\x0a", parts)
        return ""

    def _records(self, out: list[bytes], items: list[Any], write: Callable[[list[bytes], _Json], None]) -> None:
        for item in items:
            self._count_record()
            parts: list[bytes] = []
            try:
                if type(item) is not dict:
                    raise _Bad(f"a record must be an object, not {_name(item)}")
                write(parts, item)
            except _Bad as error:
                self._refused.add(str(error))
                continue
            _message(out, b"\x12", parts)

    def _count_record(self) -> None:
        self._records_left -= 1
        if self._records_left < 0:
            raise BadRequest(413, f"more than {self._limits.max_records} records; send smaller batches")

    def _resource(self, out: list[bytes], resource: _Json) -> None:
        self._attributes(out, b"\x0a", resource)
        _unsigned(out, b"\x10", resource, "droppedAttributesCount")

    def _scope(self, out: list[bytes], scope: _Json) -> None:
        _text(out, b"\x0a", scope, "name")
        _text(out, b"\x12", scope, "version")
        self._attributes(out, b"\x1a", scope)
        _unsigned(out, b"\x20", scope, "droppedAttributesCount")

    def _span(self, out: list[bytes], span: _Json) -> None:
        _hex(out, b"\x0a", span, "traceId")
        _hex(out, b"\x12", span, "spanId")
        _text(out, b"\x1a", span, "traceState")
        _hex(out, b"\x22", span, "parentSpanId")
        _text(out, b"\x2a", span, "name")
        _enum(out, b"\x30", span, "kind")
        _fixed64(out, b"\x39", span, "startTimeUnixNano")
        _fixed64(out, b"\x41", span, "endTimeUnixNano")
        self._attributes(out, b"\x4a", span)
        _unsigned(out, b"\x50", span, "droppedAttributesCount")
        for event in _list(span, "events"):
            parts: list[bytes] = []
            _fixed64(parts, b"\x09", _object(event, "events"), "timeUnixNano")
            _text(parts, b"\x12", event, "name")
            self._attributes(parts, b"\x1a", event)
            _unsigned(parts, b"\x20", event, "droppedAttributesCount")
            _message(out, b"\x5a", parts)
        _unsigned(out, b"\x60", span, "droppedEventsCount")
        for link in _list(span, "links"):
            parts = []
            _hex(parts, b"\x0a", _object(link, "links"), "traceId")
            _hex(parts, b"\x12", link, "spanId")
            _text(parts, b"\x1a", link, "traceState")
            self._attributes(parts, b"\x22", link)
            _unsigned(parts, b"\x28", link, "droppedAttributesCount")
            _fixed32(parts, b"\x35", link, "flags")
            _message(out, b"\x6a", parts)
        _unsigned(out, b"\x70", span, "droppedLinksCount")
        status = span.get("status")
        if status is not None:
            parts = []
            _text(parts, b"\x12", _object(status, "status"), "message")
            _enum(parts, b"\x18", status, "code")
            _message(out, b"\x7a", parts)
        _fixed32(out, b"\x85\x01", span, "flags")

    def _log_record(self, out: list[bytes], record: _Json) -> None:
        _fixed64(out, b"\x09", record, "timeUnixNano")
        _enum(out, b"\x10", record, "severityNumber")
        _text(out, b"\x1a", record, "severityText")
        body = record.get("body")
        if body is not None:
            out += (b"\x2a", _sized(self._any_value(body, 0)))
        self._attributes(out, b"\x32", record)
        _unsigned(out, b"\x38", record, "droppedAttributesCount")
        _fixed32(out, b"\x45", record, "flags")
        _hex_or_none(out, b"\x4a", record, "traceId")
        _hex_or_none(out, b"\x52", record, "spanId")
        _fixed64(out, b"\x59", record, "observedTimeUnixNano")
        _text(out, b"\x62", record, "eventName")

    def _attributes(self, out: list[bytes], tag: bytes, parent: _Json) -> None:
        items = parent.get("attributes")
        if items is None:
            return
        if type(items) is not list:
            raise _Bad(f'"attributes" must be an array, not {_name(items)}')
        seen, write = self._seen, self._key_value
        for item in items:
            try:  # the form nearly all attributes have, often enough the same as on an earlier record
                ((kind, content),) = item["value"].items()
                identity = item["key"], kind, content
                found = seen.get(identity)
            except (KeyError, TypeError, AttributeError, ValueError):
                found = write(item, 0)
            else:
                if found is None:
                    found = write(item, 0)
                    if len(found) <= _LONGEST_CACHED:
                        seen[identity] = found
            out.append(tag)
            out.append(found)

    def _key_value(self, item: Any, depth: int) -> bytes:
        """A KeyValue with its length in front."""
        if type(item) is not dict:
            raise _Bad(f"an attribute must be an object with key and value, not {_name(item)}")
        key = item.get("key")
        start = self._keys.get(key) if type(key) is str else None
        if start is None:
            parts: list[bytes] = []
            _text(parts, b"\x0a", item, "key")
            start = self._keys[key or ""] = b"".join(parts)
        value = item.get("value")
        if value is None:
            return _sized(start)
        return _sized(start + b"\x12" + _sized(self._any_value(value, depth)))

    def _any_value(self, value: Any, depth: int) -> bytes:
        if type(value) is not dict:
            raise _Bad(f'a value must be an object such as {{"stringValue":"x"}}, not {_name(value)}')
        if depth > _MAX_DEPTH:
            raise _Bad(f"a value is nested deeper than {_MAX_DEPTH} levels")
        for kind, content in value.items():
            write = _SCALARS.get(kind)
            if content is None:
                continue
            if write is not None:
                return write(content)
            if kind == "arrayValue":
                values = _list(_object(content, kind), "values")
                parts = [b"\x0a" + _sized(self._any_value(item, depth + 1)) for item in values]
                return b"\x2a" + _sized(b"".join(parts))
            if kind == "kvlistValue":
                values = _list(_object(content, kind), "values")
                parts = [b"\x0a" + self._key_value(item, depth + 1) for item in values]
                return b"\x32" + _sized(b"".join(parts))
        return b""


def _string_value(content: Any) -> bytes:
    if type(content) is not str:
        raise _Bad(f'"stringValue" must be a string, not {_name(content)}')
    return b"\x0a" + _sized(content.encode())


def _bool_value(content: Any) -> bytes:
    if type(content) is not bool:
        raise _Bad(f'"boolValue" must be true or false, not {_name(content)}')
    return b"\x10\x01" if content else b"\x10\x00"


def _int_value(content: Any) -> bytes:
    number = _integer(content, "intValue", -(1 << 63), (1 << 63) - 1)
    return b"\x18" + varint(number & 0xFFFFFFFFFFFFFFFF)


def _double_value(content: Any) -> bytes:
    if type(content) is int or type(content) is float:
        number = float(content)
    elif type(content) is str:
        # The three names of the JSON mapping, then anything JSON would write without quotes.
        name = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(content, content)
        if name == content and (not content.isascii() or content.strip("0123456789+-.eE") or len(content) > 400):
            raise _Bad('"doubleValue" is not a number')
        try:
            number = float(name)
        except ValueError as error:
            raise _Bad('"doubleValue" is not a number') from error
    else:
        raise _Bad(f'"doubleValue" must be a number, not {_name(content)}')
    return b"\x21" + struct.pack("<d", number)


def _bytes_value(content: Any) -> bytes:
    if type(content) is not str or not content.isascii():
        raise _Bad('"bytesValue" must be base64')
    text = content.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise _Bad('"bytesValue" must be base64') from error
    return b"\x3a" + _sized(decoded)


_SCALARS: dict[str, Callable[[Any], bytes]] = {
    "stringValue": _string_value,
    "boolValue": _bool_value,
    "intValue": _int_value,
    "doubleValue": _double_value,
    "bytesValue": _bytes_value,
}

_ONE_BYTE = [bytes([length]) for length in range(0x80)]


def _sized(content: bytes) -> bytes:
    """content with its length in front."""
    length = len(content)
    return (_ONE_BYTE[length] if length < 0x80 else varint(length)) + content


def _message(out: list[bytes], tag: bytes, parts: list[bytes]) -> None:
    out += (tag, _sized(b"".join(parts)))


def _object(value: Any, name: str) -> _Json:
    if type(value) is not dict:
        raise _Bad(f"{name} must be an object, not {_name(value)}")
    return value


def _list(parent: _Json, name: str) -> list[Any]:
    value = parent.get(name)
    if value is None:
        return []
    if type(value) is not list:
        raise _Bad(f'"{name}" must be an array, not {_name(value)}')
    return value


def _text(out: list[bytes], tag: bytes, parent: _Json, name: str) -> None:
    value = parent.get(name)
    if not value and (value is None or value == ""):
        return
    if type(value) is not str:
        raise _Bad(f'"{name}" must be a string, not {_name(value)}')
    out += (tag, _sized(value.encode()))


def _hex(out: list[bytes], tag: bytes, parent: _Json, name: str) -> None:
    """An id. Its length is judged by the decoder, with protobuf's."""
    value = parent.get(name)
    if value is None or value == "":
        return
    if type(value) is not str:
        raise _Bad(f'"{name}" must be a string of hex digits, not {_name(value)}')
    try:
        raw = bytes.fromhex(value)
    except ValueError as error:
        raise _Bad(f'"{name}" is not hex') from error
    if len(raw) * 2 != len(value):  # fromhex skips spaces
        raise _Bad(f'"{name}" is not hex')
    out += (tag, _sized(raw))


def _hex_or_none(out: list[bytes], tag: bytes, parent: _Json, name: str) -> None:
    """A log record with a bad id is kept, as having none (logs.proto, LogRecord.trace_id)."""
    try:
        _hex(out, tag, parent, name)
    except _Bad:
        return


def _fixed64(out: list[bytes], tag: bytes, parent: _Json, name: str) -> None:
    value = parent.get(name)
    if value is None:
        return
    if type(value) is str and len(value) < 20 and value.isdigit() and value.isascii():
        number = int(value)  # at most 19 digits, so it fits
    else:
        number = _integer(value, name, 0, 0xFFFFFFFFFFFFFFFF)
    if number:
        out += (tag, number.to_bytes(8, "little"))


def _fixed32(out: list[bytes], tag: bytes, parent: _Json, name: str) -> None:
    value = parent.get(name)
    if value is not None:
        out += (tag, _integer(value, name, 0, 0xFFFFFFFF).to_bytes(4, "little"))


def _unsigned(out: list[bytes], tag: bytes, parent: _Json, name: str) -> None:
    value = parent.get(name)
    if value is not None:
        out += (tag, varint(_integer(value, name, 0, 0xFFFFFFFF)))


def _enum(out: list[bytes], tag: bytes, parent: _Json, name: str) -> None:
    """An enum's number, known or not; names are forbidden to senders, yet known ones are understood."""
    value = parent.get(name)
    if value is None:
        return
    if type(value) is str and value in _ENUM_NAMES:
        number = _ENUM_NAMES[value]
    else:
        number = _integer(value, name, -(1 << 31), (1 << 31) - 1)
    if number:
        out += (tag, varint(number & 0xFFFFFFFFFFFFFFFF))


def _integer(value: Any, name: str, low: int, high: int) -> int:
    """An integer written as a number, a whole float or a string of either."""
    if type(value) is str:
        # int() would take "1_000", " 5" and other scripts' digits, and refuse 4400 digits with another error.
        if not value.isascii() or len(value) > 40 or not value or value.strip("0123456789+-.eE"):
            raise _Bad(f'"{name}" is not an integer')
        try:
            value = int(value) if value.lstrip("-").isdigit() else float(value)
        except ValueError as error:
            raise _Bad(f'"{name}" is not an integer') from error
    if type(value) is float:
        # -2^63 - 1 is parsed as the float -2^63, which would fit.
        if not value.is_integer() or value == -(2.0**63):
            raise _Bad(f'"{name}" is not an integer or out of range')
        value = int(value)
    if type(value) is not int:
        raise _Bad(f'"{name}" must be an integer, not {_name(value)}')
    if not low <= value <= high:
        raise _Bad(f'"{name}" is out of range')
    return value


def _name(value: Any) -> str:
    """What JSON calls it."""
    if value is None:
        return "null"
    names: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")
