"""OTLP JSON -> protobuf bytes, so that one decoder validates and reads both encodings.

Source: protobuf's JSON mapping with OTLP's deviations (opentelemetry-proto docs/specification.md, "JSON Protobuf
Encoding"): ids are hex, enums are integers, keys are lowerCamelCase only, unknown keys are ignored. Taken beyond that,
because senders do it: null anywhere means absent (JavaScript writes NaN so), integers as strings or whole floats,
enum names, base64 in either alphabet with or without padding.

A record that breaks these rules is refused alone, as in protobuf; what does not parse, or breaks them above the
records, refuses the request. The wire is written by hand: with every value checked it takes less time than building the
library's messages without a check (12 and 15 us a span of 16 attributes, after 3 for parsing the JSON).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from receiver.decode import json_pieces
from receiver.decode.json_fields import (
    ONE_BYTE,
    SCALARS,
    BadField,
    Json,
    enum,
    fixed32,
    fixed64,
    hex_id,
    hex_id_or_none,
    json_list,
    json_object,
    message,
    name_of,
    text,
    unsigned,
    with_size,
)
from receiver.decode.json_repair import BYTE_ORDER_MARK, repair
from receiver.decode.prescan import SLICE_BYTES, Limits, too_many_elements, too_many_records
from receiver.errors import BadRequest

_MAX_DEPTH = 40  # levels of nested values; mapping accepts 32, and Python recurses about 3 frames a level
_LONGEST_CACHED = 512  # bytes of an attribute that is kept for the rest of the request
_MOST_CACHED = 50_000  # such attributes; a table of a million takes half a second to grow, and nothing else runs
_AT_ONCE = 10_000  # attributes of one record that are joined, and their parts freed, in one call
_SHOWN = 3  # reasons named in the answer


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
        """Empty when none was refused."""
        return "; ".join(f"{count} refused: {reason}" for reason, count in self._reasons.most_common(_SHOWN))


def transcode(data: bytes, signal: str, limits: Limits, refused: Refused) -> bytes:
    """The same request in protobuf, without the records added to `refused`.

    Raises BadRequest: 400 when it is not OTLP JSON above the records, 413 over a limit.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    _check_size(data, limits)
    pieces: list[Any] = []
    request = _parse(data, pieces)
    try:
        json_object(request, "the body")
        wire = _Transcoder(limits, refused).request(request, signal)
    except BadField as error:
        raise BadRequest(400, f"the body is not OTLP JSON: {error}") from error
    del request
    pieces.reverse()
    while pieces:  # one at a time, the outer ones first
        pieces.pop()
    return wire


def _parse(data: bytes, pieces: list[Any]) -> Any:
    """The JSON, with U+FFFD for what is no Unicode in it: one bad text must not cost the others. Raises BadRequest."""
    try:
        return json_pieces.loads(data, pieces)
    except orjson.JSONDecodeError as error:
        pieces.clear()
        whole = repair(data) if data.lstrip(b" \t\r\n")[:1] == b"{" else data
        if whole is data:
            raise BadRequest(400, f"the body is not JSON: {str(error)[:200]}") from error
    try:
        return json_pieces.loads(whole, pieces)
    except orjson.JSONDecodeError as error:
        raise BadRequest(400, f"the body is not JSON: {str(error)[:200]}") from error


def _check_size(data: bytes, limits: Limits) -> None:
    """JSON takes up to 70 times its size once parsed (`{},{}`), so what it will make is counted first, in C.

    An attribute has at most three braces (an array or a map) and two commas; a record has three braces, and commas
    between its 16 fields. Commas also bound arrays of numbers and objects of many keys. Brackets need a bound of their
    own, as `[[[]]],[[[]]]` has few commas for its lists: a value or event has at most one, a record three, a resource
    or scope two. What is counted exactly is counted while it is transcoded.
    """
    records, most = limits
    if len(data) <= most:
        return
    objects, lists, members = 3 * most + 3 * records, most + 5 * records + 1, 4 * most + 16 * records
    pieces = range(0, len(data), SLICE_BYTES)
    if (
        sum(data.count(b"{", at, at + SLICE_BYTES) for at in pieces) <= objects
        and sum(data.count(b",", at, at + SLICE_BYTES) for at in pieces) <= members
        and sum(data.count(b"[", at, at + SLICE_BYTES) for at in pieces) <= lists
    ):
        return
    texts = 2 * members  # keys and values
    for piece in _between_texts(data):
        objects -= piece.count(b"{")
        members -= piece.count(b",")
        lists -= piece.count(b"[")
        texts -= piece.count(b'"')
        if min(objects, members, lists, texts) < 0:
            raise too_many_elements(limits)


def _between_texts(data: bytes) -> Iterator[bytes]:
    """The JSON with a quote in place of each text: bodies that are JSON or CSV are full of braces and commas."""
    escaped = inside = 0  # whether the last byte escapes the next, and whether it is inside a text
    for at in range(0, len(data), SLICE_BYTES // 4):  # taking one apart takes longer than looking at it
        piece = data[at + escaped : at + SLICE_BYTES // 4]
        escaped = (len(piece) - len(piece.rstrip(b"\\"))) & 1
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        yield b'"'.join(parts[inside::2])
        inside ^= (len(parts) - 1) & 1


class _Transcoder:
    """One request. Attributes seen before in it are written from memory: most repeat from record to record."""

    def __init__(self, limits: Limits, refused: Refused) -> None:
        self._limits = limits
        self._records_left = self._groups_left = limits.max_records
        self._elements_left = limits.max_elements
        self._refused = refused
        self._seen: dict[tuple[str, str, Any], bytes] = {}
        self._keys: dict[str, bytes] = {}

    def request(self, request: Json, signal: str) -> bytes:
        record: Callable[[list[bytes], Json], None]
        if signal == "traces":
            groups, scopes, records, record = "resourceSpans", "scopeSpans", "spans", self._span
        else:
            groups, scopes, records, record = "resourceLogs", "scopeLogs", "logRecords", self._log_record
        out: list[bytes] = []
        for group in json_list(request, groups):
            if group is None:  # as everywhere in lists: null is an empty value
                continue
            json_object(group, groups)
            self._count_group()
            parts: list[bytes] = []
            bad = self._header(parts, group, "resource", self._resource)
            for scoped in json_list(group, scopes):
                if scoped is None:
                    continue
                json_object(scoped, scopes)
                self._count_group()
                inner: list[bytes] = []
                bad_scope = bad or self._header(inner, scoped, "scope", self._scope)
                items = json_list(scoped, records)
                if bad_scope:
                    self._refused.add(bad_scope, len(items))
                    continue
                self._records(inner, items, record)
                text(inner, b"\x1a", scoped, "schemaUrl")
                message(parts, b"\x12", inner)
            text(parts, b"\x1a", group, "schemaUrl")
            message(out, b"\x0a", parts)
        return b"".join(out)

    def _header(self, out: list[bytes], parent: Json, name: str, write: Callable[[list[bytes], Json], None]) -> str:
        """Write a resource or scope; "" or why it is bad, which refuses the records under it."""
        value = parent.get(name)
        if value is None:
            return ""
        parts: list[bytes] = []
        try:
            write(parts, json_object(value, name))
        except BadField as error:
            return str(error)
        message(out, b"\x0a", parts)
        return ""

    def _records(self, out: list[bytes], items: list[Any], write: Callable[[list[bytes], Json], None]) -> None:
        for item in items:
            self._count_record()
            parts: list[bytes] = []
            try:
                item = {} if item is None else item
                if type(item) is not dict:
                    raise BadField(f"a record must be an object, not {name_of(item)}")
                write(parts, item)
            except BadField as error:
                self._refused.add(str(error))
                continue
            message(out, b"\x12", parts)

    def _count_record(self) -> None:
        self._records_left -= 1
        if self._records_left < 0:
            raise too_many_records(self._limits)
        self._count_elements(1)

    def _count_group(self) -> None:
        self._groups_left -= 1
        if self._groups_left < 0:
            raise too_many_records(self._limits)
        self._count_elements(1)

    def _count_elements(self, count: int) -> None:
        self._elements_left -= count
        if self._elements_left < 0:
            raise too_many_elements(self._limits)

    def _elements(self, parent: Json, name: str) -> list[Any]:
        items = json_list(parent, name)
        self._count_elements(len(items))
        return items

    def _resource(self, out: list[bytes], resource: Json) -> None:
        self._attributes(out, b"\x0a", resource)
        unsigned(out, b"\x10", resource, "droppedAttributesCount")

    def _scope(self, out: list[bytes], scope: Json) -> None:
        text(out, b"\x0a", scope, "name")
        text(out, b"\x12", scope, "version")
        self._attributes(out, b"\x1a", scope)
        unsigned(out, b"\x20", scope, "droppedAttributesCount")

    def _span(self, out: list[bytes], span: Json) -> None:
        hex_id(out, b"\x0a", span, "traceId")
        hex_id(out, b"\x12", span, "spanId")
        text(out, b"\x1a", span, "traceState")
        hex_id(out, b"\x22", span, "parentSpanId")
        text(out, b"\x2a", span, "name")
        enum(out, b"\x30", span, "kind")
        fixed64(out, b"\x39", span, "startTimeUnixNano")
        fixed64(out, b"\x41", span, "endTimeUnixNano")
        self._attributes(out, b"\x4a", span)
        unsigned(out, b"\x50", span, "droppedAttributesCount")
        for event in self._elements(span, "events"):
            if event is None:
                continue
            parts: list[bytes] = []
            fixed64(parts, b"\x09", json_object(event, "events"), "timeUnixNano")
            text(parts, b"\x12", event, "name")
            self._attributes(parts, b"\x1a", event)
            unsigned(parts, b"\x20", event, "droppedAttributesCount")
            message(out, b"\x5a", parts)
        unsigned(out, b"\x60", span, "droppedEventsCount")
        for link in self._elements(span, "links"):
            if link is None:
                continue
            parts = []
            hex_id(parts, b"\x0a", json_object(link, "links"), "traceId")
            hex_id(parts, b"\x12", link, "spanId")
            text(parts, b"\x1a", link, "traceState")
            self._attributes(parts, b"\x22", link)
            unsigned(parts, b"\x28", link, "droppedAttributesCount")
            fixed32(parts, b"\x35", link, "flags")
            message(out, b"\x6a", parts)
        unsigned(out, b"\x70", span, "droppedLinksCount")
        status = span.get("status")
        if status is not None:
            parts = []
            text(parts, b"\x12", json_object(status, "status"), "message")
            enum(parts, b"\x18", status, "code")
            message(out, b"\x7a", parts)
        fixed32(out, b"\x85\x01", span, "flags")

    def _log_record(self, out: list[bytes], record: Json) -> None:
        fixed64(out, b"\x09", record, "timeUnixNano")
        enum(out, b"\x10", record, "severityNumber")
        text(out, b"\x1a", record, "severityText")
        body = record.get("body")
        if body is not None:
            out += (b"\x2a", with_size(self._any_value(body, 0)))
        self._attributes(out, b"\x32", record)
        unsigned(out, b"\x38", record, "droppedAttributesCount")
        fixed32(out, b"\x45", record, "flags")
        hex_id_or_none(out, b"\x4a", record, "traceId")
        hex_id_or_none(out, b"\x52", record, "spanId")
        fixed64(out, b"\x59", record, "observedTimeUnixNano")
        text(out, b"\x62", record, "eventName")

    def _attributes(self, out: list[bytes], tag: bytes, parent: Json) -> None:
        items = parent.get("attributes")
        if items is None:
            return
        if type(items) is not list:
            raise BadField(f'"attributes" must be an array, not {name_of(items)}')
        self._count_elements(len(items))
        if len(items) <= _AT_ONCE:
            self._key_values(out, tag, items)
            return
        for at in range(0, len(items), _AT_ONCE):
            parts: list[bytes] = []
            self._key_values(parts, tag, items[at : at + _AT_ONCE])
            out.append(b"".join(parts))

    def _key_values(self, out: list[bytes], tag: bytes, items: list[Any]) -> None:
        seen, keys = self._seen, self._keys
        for item in items:
            try:  # the form nearly all attributes have, often enough the same as on an earlier record
                key = item["key"]
                ((kind, content),) = item["value"].items()
                found = seen.get((key, kind, content))
            except (KeyError, TypeError, AttributeError, ValueError):
                found = self._key_value(item, 0)
            else:
                if found is None:
                    start = keys.get(key)
                    if kind == "stringValue" and start is not None and type(content) is str:
                        found = _short_text(start, content.encode())
                    if found is None:
                        found = self._key_value(item, 0)
                    if len(found) <= _LONGEST_CACHED and (content or kind != "doubleValue"):  # 0.0 equals -0.0
                        if len(seen) >= _MOST_CACHED:
                            seen.clear()
                        seen[key, kind, content] = found
            out.append(tag)
            out.append(found)

    def _key_value(self, item: Any, depth: int) -> bytes:
        """A KeyValue with its length in front."""
        if item is None:
            return b"\0"
        if type(item) is not dict:
            raise BadField(f"an attribute must be an object with key and value, not {name_of(item)}")
        key = item.get("key")
        start = self._keys.get(key) if type(key) is str else None
        if start is None:
            parts: list[bytes] = []
            text(parts, b"\x0a", item, "key")
            start = self._keys[key or ""] = b"".join(parts)
        value = item.get("value")
        if value is None:
            return with_size(start)
        return with_size(start + b"\x12" + with_size(self._any_value(value, depth)))

    def _any_value(self, value: Any, depth: int) -> bytes:
        if value is None:
            return b""
        if type(value) is not dict:
            raise BadField(f'a value must be an object such as {{"stringValue":"x"}}, not {name_of(value)}')
        if depth > _MAX_DEPTH:
            raise BadField(f"a value is nested deeper than {_MAX_DEPTH} levels")
        for kind, content in value.items():
            write = SCALARS.get(kind)
            if content is None:
                continue
            if write is not None:
                return write(content)
            if kind == "arrayValue":
                values = self._elements(json_object(content, kind), "values")
                parts = [b"\x0a" + with_size(self._any_value(item, depth + 1)) for item in values]
                return b"\x2a" + with_size(b"".join(parts))
            if kind == "kvlistValue":
                values = self._elements(json_object(content, kind), "values")
                parts = [b"\x0a" + self._key_value(item, depth + 1) for item in values if item is not None]
                return b"\x32" + with_size(b"".join(parts))
        return b""


def _short_text(start: bytes, raw: bytes) -> bytes | None:
    """A KeyValue of one string with its length in front, when all its lengths take one byte; start is its key."""
    size = len(raw)
    whole = len(start) + size + 4
    if whole > 0x7F:
        return None
    return ONE_BYTE[whole] + start + b"\x12" + ONE_BYTE[size + 2] + b"\x0a" + ONE_BYTE[size] + raw
