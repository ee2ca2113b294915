"""Bounds on what a body would become in memory, counted on the wire before anything is decoded.

A span of two bytes costs a hundred once decoded, so a limit on bytes is no limit on memory or time. Counting costs
little because it is done only as far as the size of the body makes a limit reachable:

    bytes <= 2 x max_records     neither limit can be reached: nothing is read
    bytes <= 2 x max_elements    records are counted, by their headers alone (0.15 us each)
    the cheap bound holds        the same, after one pass in C over the bytes (1 ns each)
    otherwise                    every element is counted, stopping at the limit (0.3 us each)

Depth needs no count: protobuf stops at 100 nested messages, and the decoder refuses such a record alone.
"""

from __future__ import annotations

from typing import NamedTuple

from receiver.errors import BadRequest

_MAX_DEPTH = 128  # deeper than protobuf itself decodes

# Elements of at least this many bytes of content number at most len(data) / (_SMALL + 2); shorter ones show by their
# length byte, which is one of these.
_SMALL = 8
_SMALL_LENGTHS = bytes(range(_SMALL))


class Limits(NamedTuple):
    """How much one request may hold. A record is a span, a log record, or a resource or scope that holds them; an
    element is a record, an attribute, an event, a link or a value inside an array or map."""

    max_records: int
    max_elements: int


class _Kind:
    """A message as far as it matters here: the fields that hold further messages, by their wire tag."""

    __slots__ = ("children", "record")

    def __init__(self, record: bool = False) -> None:
        self.children: dict[int, _Kind] = {}
        self.record = record


def _request(record_fields: bool) -> tuple[_Kind, _Kind]:
    """The tree of ExportTraceServiceRequest and of ExportLogsServiceRequest; without the fields of records when only
    records are to be counted. Field numbers: opentelemetry-proto 1.11, as wire tags (number << 3 | 2)."""
    key_value, any_value, array, kvlist = _Kind(), _Kind(), _Kind(), _Kind()
    key_value.children = {0x12: any_value}
    any_value.children = {0x2A: array, 0x32: kvlist}
    array.children = {0x0A: any_value}
    kvlist.children = {0x0A: key_value}
    event, link, span, log = _Kind(), _Kind(), _Kind(record=True), _Kind(record=True)
    resource, scope = _Kind(), _Kind()
    event.children = {0x1A: key_value}
    link.children = {0x22: key_value}
    if record_fields:
        span.children = {0x4A: key_value, 0x5A: event, 0x6A: link}
        log.children = {0x2A: any_value, 0x32: key_value}
        resource.children = {0x0A: key_value}
        scope.children = {0x1A: key_value}
    requests = []
    for record in (span, log):
        scoped, grouped, request = _Kind(record=True), _Kind(record=True), _Kind()
        scoped.children = {0x0A: scope, 0x12: record}
        grouped.children = {0x0A: resource, 0x12: scoped}
        request.children = {0x0A: grouped}
        requests.append(request)
    return requests[0], requests[1]


_RECORDS = dict(zip(("traces", "logs"), _request(record_fields=False), strict=True))
_ELEMENTS = dict(zip(("traces", "logs"), _request(record_fields=True), strict=True))


def check(data: bytes, signal: str, limits: Limits) -> None:
    """Return when the protobuf request holds no more than the limits. Raises BadRequest 413.

    Malformed bytes are left to the decoder, which says what is wrong with them.
    """
    size = len(data)
    if size <= 2 * limits.max_records:
        return
    kind = _RECORDS[signal] if _few_elements(data, size, limits.max_elements) else _ELEMENTS[signal]
    _count(data, kind, limits)


def _few_elements(data: bytes, size: int, max_elements: int) -> bool:
    """Whether a cheap upper bound already shows that max_elements is not reached."""
    if size <= 2 * max_elements:
        return True
    large = size // (_SMALL + 2)
    return large + size - len(data.translate(None, _SMALL_LENGTHS)) <= max_elements


def _count(data: bytes, kind: _Kind, limits: Limits) -> None:
    """Walk the messages depth first, stopping at a limit or at the first byte that is not protobuf."""
    records_left, elements_left = limits
    children = kind.children
    position, end = 0, len(data)
    outer: list[tuple[int, dict[int, _Kind]]] = []  # where the enclosing messages end, and their fields
    try:
        while True:
            while position >= end:
                if not outer:
                    return
                end, children = outer.pop()
            tag = data[position]
            position += 1
            if tag > 0x7F:
                tag, position = _varint(data, position - 1)
            wire_type = tag & 7
            if wire_type == 2:
                length = data[position]
                position += 1
                if length > 0x7F:
                    length, position = _varint(data, position - 1)
                child = children.get(tag)
                if child is None:
                    position += length
                    continue
                elements_left -= 1
                records_left -= child.record
                if elements_left < 0 or records_left < 0:
                    break
                if child.children and len(outer) < _MAX_DEPTH and position + length <= end:
                    outer.append((end, children))
                    end, children = position + length, child.children
                else:
                    position += length
            elif wire_type == 0:
                while data[position] > 0x7F:
                    position += 1
                position += 1
            elif wire_type == 1:
                position += 8
            elif wire_type == 5:
                position += 4
            elif wire_type > 5:
                return
            # 3 and 4 begin and end a group, whose fields are walked like any others
    except IndexError:
        return  # cut short
    if records_left < 0:
        raise BadRequest(413, f"more than {limits.max_records} records in one request; send smaller batches")
    raise BadRequest(413, f"more than {limits.max_elements} attributes and values in one request; send smaller batches")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return value, position
        shift += 7
