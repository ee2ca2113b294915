"""Bounds on what a body would become in memory, counted on the wire before anything is decoded.

A span of two bytes costs a hundred once decoded, so a limit on bytes is no limit on memory or time. Counting costs
little because it is done only as far as the size of the body makes a limit reachable:

    bytes <= 2 x max_records     no limit can be reached: nothing is read
    bytes <= 2 x max_elements    records are counted, in C (0.005 us each)
    the cheap bound holds        the same, after one pass in C over the bytes (1 ns each)
    otherwise                    every field is walked in Python, stopping at the limit (0.15 us each)

So no more fields of any kind reach the decoder than a request within the limits can have, whether they are known,
unknown or groups, and the walk ends where bytes cannot be protobuf: there the decoder stops as well.
Depth needs no count: protobuf stops at 100 nested messages, and the decoder refuses such a record alone.
"""

from __future__ import annotations

import random
import time
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from receiver.errors import BadRequest

SLICE_BYTES = 1 << 20  # bytes looked at in one call, as nothing else runs meanwhile: about a millisecond
_BREATHE = 0x7FF  # elements less one between breaks, about half a millisecond
_MAX_DEPTH = 128  # deeper than protobuf itself decodes
_LONGEST_VARINT = 10  # bytes, 64 bits; of a tag 5
_LONGEST_TAG = 5
# Fields of each kind that a request within the limits may have: an attribute is one in its record, with a key and a
# value that holds one more; a span has 16 beside its attributes, events and links.
_FIELDS_OF_ELEMENT = 4
_FIELDS_OF_RECORD = 16

# Every element is found in one of four places, which bounds their number from above (`_few_elements`):
# - a record, resource or scope: counted exactly, and at most max_records of the first and as many of the others;
# - an attribute or array item of at least _SMALL bytes without an array or map inside: such do not overlap, and with
#   tag and length take _SMALL + 2 bytes each;
# - a shorter one: its length byte is less than _SMALL (also when written too long, which ends in a zero);
# - one with an array or map inside, an event or a link: each needs one of these tag bytes (or the same with the high
#   bit, when the tag is written too long).
_SMALL = 10
_SAMPLE = 512  # bytes of a body in one place that are looked at to judge it
_MANY_TELLING = 100_000  # bytes; 512 spans of 16 attributes have 22,000
_TAGS = bytes([0x2A, 0x32, 0x5A, 0x6A])
_TELLING = bytes(range(_SMALL)) + _TAGS + bytes(tag | 0x80 for tag in _TAGS)


class Limits(NamedTuple):
    """How much one request may hold.

    A record is a span or a log record; the resources and scopes they come under have a limit of the same size to
    themselves. An element is any of these, an event, a link, an attribute (also one inside a map) or an item of an
    array.
    """

    max_records: int
    max_elements: int


class _Kind:
    """A message as far as it matters here: the fields that hold further messages, by their wire tag.

    alone: it is decoded apart from what holds it, so bytes that cannot be protobuf refuse one record, not the request.
    """

    __slots__ = ("alone", "children", "element", "group", "record")

    def __init__(
        self, *, record: bool = False, group: bool = False, element: bool = False, alone: bool = False
    ) -> None:
        self.children: dict[int, _Kind] = {}
        self.record = record
        self.group = group
        self.element = element or record or group
        self.alone = alone


def _requests() -> dict[str, _Kind]:
    """The trees of ExportTraceServiceRequest and ExportLogsServiceRequest.

    Field numbers: opentelemetry-proto 1.11, as wire tags (number << 3 | 2).
    """
    key_value, item = _Kind(element=True, alone=True), _Kind(element=True, alone=True)
    value, array, kvlist = _Kind(alone=True), _Kind(alone=True), _Kind(alone=True)
    key_value.children = {0x12: value}
    value.children = item.children = {0x2A: array, 0x32: kvlist}
    array.children = {0x0A: item}
    kvlist.children = {0x0A: key_value}
    event, link = _Kind(element=True, alone=True), _Kind(element=True, alone=True)
    resource, scope = _Kind(alone=True), _Kind(alone=True)
    event.children = {0x1A: key_value}
    link.children = {0x22: key_value}
    span, log = _Kind(record=True), _Kind(record=True)
    span.children = {0x4A: key_value, 0x5A: event, 0x6A: link}
    log.children = {0x2A: value, 0x32: key_value}
    resource.children = {0x0A: key_value}
    scope.children = {0x1A: key_value}
    requests = {}
    for signal, record in (("traces", span), ("logs", log)):
        scoped, group, request = _Kind(group=True), _Kind(group=True), _Kind()
        scoped.children = {0x0A: scope, 0x12: record}
        group.children = {0x0A: resource, 0x12: scoped}
        request.children = {0x0A: group}
        requests[signal] = request
    return requests


_REQUESTS = _requests()


def _records() -> _Kind:
    """What both trees have in common, down to the records."""
    request, group, scoped = _Kind(), _Kind(group=True), _Kind(group=True)
    request.children, group.children, scoped.children = {0x0A: group}, {0x12: scoped}, {0x12: _Kind(record=True)}
    return request


_RECORDS = _records()


def _outline() -> Any:
    """The class of either request without what is inside records: they are bytes, counted without being parsed.

    Both signals number these fields alike.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="weighbridge/outline.proto", package="weighbridge", syntax="proto3")
    for name, number, inner in (("Request", 1, "Group"), ("Group", 2, "Scope"), ("Scope", 2, "")):
        added = file.message_type.add(name=name).field.add(name="inner", number=number, label=field.LABEL_REPEATED)
        added.type = field.TYPE_MESSAGE if inner else field.TYPE_BYTES
        if inner:
            added.type_name = f".weighbridge.{inner}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("weighbridge.Request"))


_Outline = _outline()


def check(data: bytes, signal: str, limits: Limits) -> None:
    """Return when the protobuf request holds no more than the limits. Raises BadRequest 413.

    Malformed bytes are left to the decoder, which says what is wrong with them.
    """
    if len(data) <= 2 * limits.max_records:
        return
    if _few_elements(data, limits):
        _count_records(data, limits)
    else:
        _count_elements(data, _REQUESTS[signal], limits)


def records_in(data: bytes, most: int) -> tuple[int, int]:
    """How many records, and how many resources and scopes, the request holds. (0, 0) when it is malformed.

    A record takes 5 ns and a resource or scope 600, so beyond `most` of the latter nothing is counted any more.
    """
    try:
        groups = _Outline.FromString(data).inner
    except DecodeError:
        return 0, 0
    records = 0
    above = len(groups)
    if above > most:
        return 0, above
    for group in groups:
        above += len(group.inner)
        if above > most:
            break
        for scope in group.inner:
            records += len(scope.inner)
    return records, above


def first_record(data: bytes) -> bytes:
    """The bytes of the first span or log record; b"" when there is none. Raises DecodeError of protobuf."""
    for group in _Outline.FromString(data).inner:
        for scope in group.inner:
            for record in scope.inner:
                return bytes(record)
    return b""


def _count_records(data: bytes, limits: Limits) -> None:
    if is_crowded(data):  # the outline of so many would hold up others for 5 ms
        _count_elements(data, _RECORDS, Limits(limits.max_records, len(data)))
        return
    records, above = records_in(data, limits.max_records)
    if records > limits.max_records or above > limits.max_records:
        raise too_many_records(limits)


def _few_elements(data: bytes, limits: Limits) -> bool:
    """Whether a cheap upper bound already shows that max_elements is not reached."""
    size = len(data)
    if size <= 2 * limits.max_elements:
        return True
    left = limits.max_elements - 2 * limits.max_records - size // (_SMALL + 2)
    for at in range(0, size, SLICE_BYTES):
        if left < 0:
            break
        left -= telling_bytes(data[at : at + SLICE_BYTES])
    return left >= 0


def is_crowded(data: bytes) -> bool:
    """Whether the body seems to hold so many small things that it takes long for its size.

    Judged by a sixty-fourth of it, in pieces that are longer than small things and whose places no sender can know:
    every so many bytes would see the same byte of things that repeat as often.
    """
    part = 64 * _SAMPLE
    starts = (start + random.randrange(part - _SAMPLE) for start in range(0, len(data), part))
    return 64 * telling_bytes(b"".join(data[at : at + _SAMPLE] for at in starts)) > _MANY_TELLING


def telling_bytes(data: bytes) -> int:
    """How many bytes could belong to a small or nested element: near the number of such in a body that is full of
    them, and about one in fourteen of a usual body."""
    return len(data) - len(data.translate(None, _TELLING))


def _count_elements(data: bytes, kind: _Kind, limits: Limits) -> None:
    """Walk the messages depth first, stopping at a limit or at the first byte that makes the request undecodable."""
    records_left, elements_left = limits
    groups_left = records_left
    fields_left = _FIELDS_OF_ELEMENT * elements_left + _FIELDS_OF_RECORD * records_left
    children = kind.children
    position, end = 0, len(data)
    outer: list[tuple[int, _Kind]] = []  # where the enclosing messages end, and what they are
    while True:
        while position >= end:
            if not outer:
                return
            end, kind = outer.pop()
            children = kind.children
        fields_left -= 1
        if fields_left < 0:
            raise too_many_fields(limits)
        try:
            tag = data[position]
            position += 1
            if tag > 0x7F:
                tag, position = _varint(data, position - 1, _LONGEST_TAG)
            wire_type = tag & 7
            if tag < 8 or wire_type > 5:
                raise _NotProtobuf
            if wire_type != 2:
                if wire_type == 0:
                    if data[position] > 0x7F:
                        _, position = _varint(data, position, _LONGEST_VARINT)
                    else:
                        position += 1
                elif wire_type == 1:
                    position += 8
                elif wire_type == 5:
                    position += 4
                # 3 and 4 begin and end a group, whose fields are walked like any others
                if position > end:
                    raise _NotProtobuf
                continue
            length = data[position]
            position += 1
            if length > 0x7F:
                length, position = _varint(data, position - 1, _LONGEST_VARINT)
            if position + length > end:
                raise _NotProtobuf
        except (_NotProtobuf, IndexError):
            if not kind.alone:
                return  # the decoder refuses all of it
            position = end
            continue
        child = children.get(tag)
        if child is None:
            position += length
            continue
        elements_left -= child.element
        records_left -= child.record
        groups_left -= child.group
        if records_left < 0 or groups_left < 0:
            raise too_many_records(limits)
        if elements_left < 0:
            raise too_many_elements(limits)
        if not elements_left & _BREATHE:
            time.sleep(0)  # long bodies are counted in a thread: let the event loop have its turn
        if child.children and len(outer) < _MAX_DEPTH:
            outer.append((end, kind))
            end, kind, children = position + length, child, child.children
        else:
            position += length


class _NotProtobuf(Exception):
    pass


def too_many_records(limits: Limits) -> BadRequest:
    """The answer to a request over max_records."""
    return BadRequest(
        413, f"more than {limits.max_records} records, or resources and scopes, in one request; send smaller batches"
    )


def too_many_elements(limits: Limits) -> BadRequest:
    """The answer to a request over max_elements."""
    return BadRequest(413, f"more than {limits.max_elements} attributes and items in one request; send smaller batches")


def too_many_fields(limits: Limits) -> BadRequest:
    """The answer to a request of more fields than max_records and max_elements can have."""
    return BadRequest(413, f"more fields than {limits.max_elements} attributes and items have; send smaller batches")


def _varint(data: bytes, position: int, longest: int) -> tuple[int, int]:
    """A number and the position behind it. Raises _NotProtobuf when it takes more than `longest` bytes."""
    value = 0
    for shift in range(0, 7 * longest, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _NotProtobuf
