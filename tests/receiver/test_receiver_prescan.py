"""Counting on the wire: never more work than the limit allows, and never another count than protobuf's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from mapping.otlp.decode import DecodeError, Decoder
from mapping.otlp.records import SpanGroup
from receiver.decode import prescan
from receiver.decode.prescan import Limits
from receiver.errors import BadRequest

FAR = 1 << 40


def count_one_by_one(data: bytes, limits: Limits) -> None:
    prescan._count_elements(data, prescan._REQUESTS["traces"], limits)


def is_within(data: bytes, signal: str, records: int = FAR, elements: int = FAR) -> bool:
    """Whether the exact count is within the limits; the shortcuts for short bodies are left out."""
    try:
        prescan._count_elements(data, prescan._REQUESTS[signal], Limits(records, elements))
    except BadRequest as error:
        return error.status != 413
    return True


def value_elements(value: AnyValue) -> int:
    """Elements inside an AnyValue, which is none itself."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return sum(1 + value_elements(item) for item in value.array_value.values)
    return attribute_elements(value.kvlist_value.values) if kind == "kvlist_value" else 0


def attribute_elements(attributes: Any) -> int:
    return sum(1 + value_elements(item.value) for item in attributes)


def counted(message: ExportTraceServiceRequest) -> tuple[int, int, int]:
    """Records, resources with scopes, and elements of a message, from its objects."""
    records = groups = elements = 0
    for group in message.resource_spans:
        groups += 1
        elements += 1 + attribute_elements(group.resource.attributes)
        for scope in group.scope_spans:
            groups += 1
            elements += 1 + attribute_elements(scope.scope.attributes)
            for span in scope.spans:
                records += 1
                elements += 1 + attribute_elements(span.attributes)
                elements += sum(1 + attribute_elements(event.attributes) for event in span.events)
                elements += sum(1 + attribute_elements(link.attributes) for link in span.links)
    return records, groups, elements


def fill(value: AnyValue, shape: int) -> None:
    if shape % 3 == 0:
        value.string_value = "x" * (shape % 300)
    elif shape % 3 == 1:
        value.array_value.values.add().int_value = shape
        value.array_value.values.add().kvlist_value.values.add(key="k").value.double_value = 1.0
    else:
        value.kvlist_value.values.add()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(0, 1000), max_size=5), max_size=4), max_size=4))
def test_the_exact_count_is_protobuf_s(shapes: list[list[list[int]]]) -> None:
    message = ExportTraceServiceRequest()
    for group_shape in shapes:
        group = message.resource_spans.add()
        fill(group.resource.attributes.add().value, len(group_shape))
        for scope_shape in group_shape:
            scope = group.scope_spans.add()
            scope.scope.name = "s"
            for number in scope_shape:
                span = scope.spans.add(name="n" * number, flags=number)
                for _ in range(number % 4):
                    fill(span.attributes.add(key="a").value, number)
                fill(span.events.add().attributes.add().value, number)
                span.links.add()
    records, groups, elements = counted(message)
    most = max(records, groups)
    data = message.SerializeToString()
    assert is_within(data, "traces", records=most, elements=elements)
    assert not most or not is_within(data, "traces", records=most - 1)
    assert prescan.records_in(data, 1_000_000) == (records, groups)
    prescan._count_records(data, Limits(most, 0))
    if most:
        with pytest.raises(BadRequest, match="records"):
            prescan._count_records(data, Limits(most - 1, 0))
    assert not elements or not is_within(data, "traces", elements=elements - 1)


def test_log_records_are_counted_with_their_bodies() -> None:
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.body.array_value.values.add()
    record.attributes.add(key="k").value.bool_value = True
    data = message.SerializeToString()  # group, scope, record, item, attribute
    assert is_within(data, "logs", records=2, elements=5)
    assert not is_within(data, "logs", elements=4)
    assert not is_within(data, "logs", records=1)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["traces", "logs"]))
def test_any_bytes_are_walked_to_an_end(data: bytes, signal: str) -> None:
    is_within(data, signal, records=50, elements=50)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.data())
def test_damage_never_makes_the_walk_fail(position: int, data: st.DataObject) -> None:
    message = ExportTraceServiceRequest()
    span = message.resource_spans.add().scope_spans.add().spans.add(name="n" * 200)
    span.attributes.add(key="k").value.array_value.values.add()
    body = bytearray(message.SerializeToString())
    body[position % len(body)] = data.draw(st.integers(0, 255))
    is_within(bytes(body), "traces")


def nested(depth: int) -> AnyValue:
    value = AnyValue(int_value=1)
    for level in range(depth):
        outer = AnyValue()
        if level % 2:
            outer.array_value.values.append(value)
        else:
            outer.kvlist_value.values.add(value=value)
        value = outer
    return value


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20), st.sampled_from("aelr")), min_size=1, max_size=100))
def test_the_cheap_bound_is_never_below_the_exact_count(shapes: list[tuple[int, int, str]]) -> None:
    """Otherwise a bomb could pass it. Short, long and deeply nested things; on spans, events, links and resources."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    span = group.scope_spans.add().spans.add()
    for size, depth, place in shapes:
        where: Any = {"a": span, "e": span.events.add(), "l": span.links.add(), "r": group.resource}[place]
        where.attributes.add(key="k" * size, value=nested(depth))
    records, groups, elements = counted(message)
    most = max(records, groups)
    assert not prescan._few_elements(message.SerializeToString(), Limits(most, elements - 1))


@pytest.mark.parametrize("count", [prescan._count_records, count_one_by_one])
def test_exactly_the_limit_of_records_is_taken(count: Callable[[bytes, Limits], None]) -> None:
    """The resource and the scope around them take nothing from it."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for _ in range(1000):
        spans.add()
    count(message.SerializeToString(), Limits(1000, FAR))
    prescan.check(message.SerializeToString(), "traces", Limits(1000, FAR))
    spans.add()
    with pytest.raises(BadRequest, match="more than 1000 records"):
        count(message.SerializeToString(), Limits(1000, FAR))


@pytest.mark.parametrize(
    "body",
    [
        b"\x12\x00" * 1_000_000,
        b"\x0a\x00" * 1_000_000,
        b"\x0a\x02\x12\x00" * 500_000,
    ],
)
def test_counting_stops_at_the_limit(body: bytes) -> None:
    """A bomb costs what the limit allows, not what it holds."""
    request = b"\x0a" + b"\x80\x80\x80\x01" + body if body[0] == 0x12 else body
    started = time.process_time()
    is_within(request, "traces", records=1000, elements=1000)
    assert time.process_time() - started < 0.5  # 0.0005 s; the whole walk takes longer


def test_a_long_tag_hides_nothing() -> None:
    """A field number may be written with more bytes than it needs."""
    span = b"\x92\x80\x00\x00" * 10  # field 2, three bytes of tag, no content
    scope = b"\x12" + bytes([len(span)]) + span
    request = b"\x0a" + bytes([len(scope)]) + scope
    assert is_within(request, "traces", records=10)
    assert not is_within(request, "traces", records=9)


def test_elements_inside_an_unknown_group_are_counted_rather_than_missed() -> None:
    attributes = b"\x4a\x00" * 5
    span = b"\xa3\x06" + attributes + b"\xa4\x06" + attributes
    scope = b"\x12" + bytes([len(span)]) + span
    scopes = b"\x12" + bytes([len(scope)]) + scope
    request = b"\x0a" + bytes([len(scopes)]) + scopes
    assert not is_within(request, "traces", elements=3 + 9)


def test_a_body_too_short_to_reach_a_limit_is_not_read() -> None:
    prescan.check(b"\xff" * 100, "traces", Limits(50, 1))
    with pytest.raises(BadRequest):
        prescan.check(b"\x0a\x00" * 51, "traces", Limits(50, 1000))


@pytest.mark.parametrize("body", [b"\x0a\x00" * 500_000, b"\x0a\xc0\x84\x3d" + b"\x12\x00" * 500_000])
def test_more_resources_or_scopes_than_allowed_are_not_looked_at_one_by_one(body: bytes) -> None:
    """Each is an object of Python's: half a million, which fit in a kilobyte of gzip, took a third of a second."""
    started = time.thread_time()
    assert prescan.records_in(body, 5000)[1] > 5000
    assert time.thread_time() - started < 0.15


@pytest.mark.parametrize("record", [True, False])
def test_bodies_full_of_small_things_are_counted_exactly_up_to_the_limit(record: bool) -> None:
    """By a walk that stops there and lets others run meanwhile."""

    def body(count: int) -> bytes:
        groups = (
            [ResourceSpans(scope_spans=[ScopeSpans(spans=[Span()] * count)])] if record else [ResourceSpans()] * count
        )
        return ExportTraceServiceRequest(resource_spans=groups).SerializeToString()

    most = 150_000
    assert prescan.is_crowded(body(most))
    prescan.check(body(most), "traces", Limits(most, 1_000_000))
    with pytest.raises(BadRequest, match=f"more than {most} records"):
        prescan.check(body(most + 1), "traces", Limits(most, 1_000_000))


def field(tag: int, content: bytes) -> bytes:
    size, head = len(content), bytearray([tag])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(head) + bytes([size]) + content


def one_span_of(content: bytes) -> bytes:
    return field(0x0A, field(0x12, field(0x12, content)))


FILLERS = {
    "zeros": bytes(1),
    "ones": b"\x01",
    "high bits": b"\xff",
    "continued varints": b"\x80",
    "known numbers": b"\x30\x00",
    "unknown numbers": b"\x78\x7f",
    "unknown two-byte tags": b"\xe0\x01\x7f",
    "unknown empty texts": b"\xe2\x01\x00",
    "empty names": b"\x2a\x00",
    "empty statuses": b"\x7a\x00",
    "groups": b"\x0b\x0c",
    "deep groups": b"\x0b",
    "fixed numbers": b"\x39" + bytes(8),
    "attributes without an end": b"\x4a\x7f",
    "bad attributes": b"\x4a\x01\x06",
    "packed numbers": b"\xf2\x01\x04\x01\x01\x01\x01",
}


class Steps(bytes):
    """A body that counts the bytes that are looked at one by one."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:
        self.looks += 1
        return super().__getitem__(at)


@pytest.mark.parametrize("inside", ["the request", "a span", "an attribute"])
@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_no_filler_is_walked_further_than_a_request_within_the_limits(filler: bytes, inside: str) -> None:
    content = filler * (400_000 // len(filler))
    if inside == "a span":
        content = one_span_of(content)
    elif inside == "an attribute":
        content = one_span_of(field(0x4A, content))
    body = Steps(content)
    limits = Limits(100, 5000)
    refused = False
    try:
        prescan._count_elements(body, prescan._REQUESTS["traces"], limits)
    except BadRequest as error:
        refused = error.status == 413
    assert body.looks < 6 * (4 * limits.max_elements + 16 * limits.max_records)
    if not refused:  # then the decoder is quick with it
        with contextlib.suppress(DecodeError):
            assert Decoder().traces(content).accepted == 0


def test_a_bad_value_hides_nothing_that_follows_it() -> None:
    """The decoder refuses the record and goes on with the next: so must the count."""
    bad = one_span_of(b"\x4a\x01\x06")
    assert not is_within(bad * 50, "traces", records=49)
    many = one_span_of(b"\x4a\x01\x06" + b"\x4a\x00" * 50)
    assert not is_within(many, "traces", elements=52)


class Count:
    """What the decoder made of a request."""

    def __init__(self, data: bytes) -> None:
        decoded = Decoder().traces(data)
        self.records = decoded.accepted + decoded.refused
        groups = cast("list[SpanGroup]", decoded.groups)
        spans = [record for group in groups for record in group.records]
        self.elements = sum(len(span.entries) - 1 + len(span.events) + len(span.links) for span in spans)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_is_damaged_makes_no_more_than_was_counted(data: st.DataObject) -> None:
    message = ExportTraceServiceRequest()
    for _ in range(2):
        spans = message.resource_spans.add().scope_spans.add().spans
        for number in range(3):
            span = spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n" * number)
            fill(span.attributes.add(key="a").value, number)
            fill(span.events.add(name="e").attributes.add().value, number)
    body = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(
            st.sampled_from([0, 1, 2, 6, 7, 10, 0x0B, 0x4A, 0x7F, 0x80, 0xFF])
        )
    try:
        made = Count(bytes(body))
    except DecodeError:
        return
    if made.records:
        assert not is_within(bytes(body), "traces", records=made.records - 1)
    if made.elements:
        assert not is_within(bytes(body), "traces", elements=made.elements - 1)
