"""Decoding: every record is checked, a bad one is refused alone, and values read as OTLP's own classes read them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from mapping.otlp.decode import DecodeError, Decoder
from mapping.otlp.records import Decoded
from mapping.otlp.wire import AttributeCache, Undecodable, entry
from mapping_requests import any_value, key_values, log, logs, span, traces

scalars = st.one_of(
    st.text(max_size=200),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=40),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
)


def first(decoded: Decoded) -> Any:
    """The first record of a request; which class it has depends on the signal."""
    return decoded.groups[0].records[0]


def decode(request: ExportTraceServiceRequest | ExportLogsServiceRequest) -> Decoded:
    data = request.SerializeToString()
    return Decoder().traces(data) if isinstance(request, ExportTraceServiceRequest) else Decoder().logs(data)


def same(left: Any, right: Any) -> bool:
    """Equality that knows NaN and tells 1, 1.0 and True apart."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


@given(st.text(max_size=140), values)
def test_attribute_reads_as_it_was_written(key: str, value: Any) -> None:
    marked, read, _ = AttributeCache()[KeyValue(key=key, value=any_value(value)).SerializeToString()]
    assert marked.partition("\0")[0] == key.replace("\0", "\ufffd")
    assert same(read, value)


@given(values)
def test_log_body_reads_as_it_was_written(value: Any) -> None:
    assert same(first(decode(logs(log(value)))).body, value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """The short way for common attributes never reads what protobuf itself would refuse."""
    try:
        KeyValue.FromString(data)
        valid = True
    except Exception:
        valid = False
    try:
        AttributeCache()[data]
    except Undecodable:
        assert not valid
    # What is read although OTLP's own class refuses it can only be text that is not UTF-8.


def test_bad_record_is_refused_alone() -> None:
    good = span(number=7)
    no_id = span()
    no_id.span_id = b""
    short = span()
    short.trace_id = b"1234"
    zero = span()
    zero.trace_id = bytes(16)
    decoded = decode(traces(good, no_id, short, zero, span(number=8)))
    assert (decoded.accepted, decoded.refused) == (2, 3)
    assert decoded.message == "3 refused: a span needs a trace id of 16 bytes and a span id of 8, not all zero"


def test_parent_of_a_wrong_length_is_refused_and_zeros_are_no_parent() -> None:
    odd, zeros = span(), span()
    odd.parent_span_id = b"123"
    zeros.parent_span_id = bytes(8)
    decoded = decode(traces(odd, zeros))
    assert (decoded.accepted, decoded.refused) == (1, 1)
    assert first(decoded).parent_id == b""


def test_log_with_invalid_ids_is_kept_without_them() -> None:
    decoded = decode(logs(log("a", trace_id=b"123", span_id=b"1"), log("b", trace_id=bytes(16), span_id=bytes(8))))
    assert (decoded.accepted, decoded.refused) == (2, 0)
    assert [(item.trace_id, item.span_id) for item in decoded.groups[0].records] == [(b"", b"")] * 2


def test_attribute_that_is_no_protobuf_refuses_its_record_only() -> None:
    bad = span(number=3).SerializeToString() + b"\x4a\x03\x0a\x7f\x00"  # field 9 holding what is no KeyValue
    good = span(number=4).SerializeToString()
    scope = b"".join(b"\x12" + sized(made) for made in (bad, good))
    decoded = Decoder().traces(b"\x0a" + sized(b"\x12" + sized(scope)))
    assert (decoded.accepted, decoded.refused) == (1, 1)
    assert "an attribute is not valid protobuf" in decoded.message


@pytest.mark.parametrize("depth", [20, 32])
def test_values_nested_to_the_bound_are_taken(depth: int) -> None:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    assert decode(traces(span({"a": value}))).accepted == 1


def test_deeper_values_refuse_their_record_only() -> None:
    value: Any = "deep"
    for _ in range(33):
        value = [value]
    decoded = decode(traces(span({"a": value}), span(number=2)))
    assert (decoded.accepted, decoded.refused) == (1, 1)
    assert "nested deeper than 32 levels" in decoded.message


def test_200_000_levels_are_refused_without_a_crash() -> None:
    parts: list[bytes] = []
    size = 0
    for _ in range(200_000):
        for tag in (b"\x0a", b"\x2a"):  # ArrayValue.values, AnyValue.array_value
            head = tag + varint(size)
            parts.append(head)
            size += len(head)
    value = b"".join(reversed(parts))
    with pytest.raises(Undecodable, match="an attribute is not valid protobuf"):
        AttributeCache()[b"\x0a\x01a\x12" + sized(value)]


def sized(data: bytes) -> bytes:
    return varint(len(data)) + data


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def test_invalid_utf8_is_repaired_everywhere() -> None:
    request = traces(span({"key": "good-value"}, name="good-name"), resource={"service.name": "good-shop"})
    data = request.SerializeToString().replace(b"good", b"g\xff\xfed")
    (group,) = Decoder().traces(data).groups
    assert group.resource.attributes == {"service.name": "g\ufffd\ufffdd-shop"}
    assert group.records[0].entries[0][1] == "g\ufffd\ufffdd-value"


def test_two_requests_in_one_body_are_merged() -> None:
    data = traces(span(number=1)).SerializeToString() + traces(span(number=2)).SerializeToString()
    assert Decoder().traces(data).accepted == 2


def test_unknown_fields_and_enum_numbers_are_taken() -> None:
    unknown = b"\xf8\x3e\x01" + b"\xf2\x3e\x02hi"
    made = span({"a": 1}, kind=77)
    request = traces(made).SerializeToString() + unknown
    decoded = Decoder().traces(request)
    assert decoded.accepted == 1
    assert first(decoded).span.kind == 77


def test_duplicate_empty_and_very_many_attributes_are_taken() -> None:
    made = span({f"k{number}": number for number in range(10_000)})
    made.attributes.extend([*key_values({"k1": "again", "": "no key"}), KeyValue(key="empty"), KeyValue()])
    assert decode(traces(made)).accepted == 1


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\x0a\x05abc", b"\x00\x01", b"\x0f", b"\xff" * 12, b"\x0a\x02\x12\x7f"])
def test_what_protobuf_refuses_is_refused_as_a_whole(data: bytes) -> None:
    for decode_signal in (Decoder().traces, Decoder().logs):
        with pytest.raises(DecodeError, match="not a protobuf Export"):
            decode_signal(data)


def test_extreme_times_and_flags_are_taken() -> None:
    made = span(start_time_unix_nano=2**64 - 1, end_time_unix_nano=0, flags=2**32 - 1)
    assert decode(traces(made)).accepted == 1


def test_undecodable_resource_refuses_its_records_only() -> None:
    good = traces(span(number=1)).SerializeToString()
    bad = traces(span(number=2), span(number=3))
    bad.resource_spans[0].ClearField("resource")
    scope = bad.resource_spans[0].SerializeToString()
    broken = b"\x0a\x03\x0a\x01\x0f" + scope  # resource { attributes: <one byte that is no message> }
    decoded = Decoder().traces(good + b"\x0a" + sized(broken))
    assert (decoded.accepted, decoded.refused) == (1, 2)


def test_cache_is_bounded_and_keeps_what_is_in_use() -> None:
    cache = AttributeCache(limit_bytes=40_000)
    used = KeyValue(key="method", value=any_value("GET")).SerializeToString()
    first = cache[used]
    most = 0
    for number in range(5_000):
        assert cache[used] is first
        assert cache[KeyValue(key="id", value=any_value(f"new-{number}")).SerializeToString()][1] == f"new-{number}"
        most = max(most, len(cache) + len(cache._old))
    assert most < 250


def test_long_values_are_not_kept() -> None:
    cache = AttributeCache()
    assert cache[KeyValue(key="a", value=any_value("x" * 1_000_000)).SerializeToString()][1] == "x" * 1_000_000
    assert len(cache) == 0


def test_message_names_the_most_frequent_reasons_only() -> None:
    decoded = Decoded("traces", [], 0, {"a": 1, "b": 5, "c": 2, "d": 3}, 0)
    assert decoded.refused == 11
    assert decoded.message == "5 refused: b; 3 refused: d; 2 refused: c; and 1 more reasons"


@pytest.mark.parametrize("size", [*range(120, 136), *range(1020, 1028), *range(16370, 16400)])
def test_long_texts_of_known_keys_are_read_as_those_of_new_ones(size: int) -> None:
    """Where lengths take one byte, two, three: plain texts, others, and such as are none."""
    for begin in ("", "?a=1&token=", "é", "\0"):
        text = begin + "x" * (size - len(begin.encode()))
        for data in (text.encode(), b"\xff" + text.encode()[1:]):
            cache = AttributeCache()
            assert cache[KeyValue(key="stack", value=any_value("x")).SerializeToString()] == entry("stack", "x")
            sent = b"\x0a\x05stack\x12" + sized(b"\x0a" + sized(data))
            assert cache[sent] == entry("stack", data.decode("utf-8", "replace"))
            assert cache[b"\x0a\x05other\x12" + sent[8:]] == entry("other", data.decode("utf-8", "replace"))


@given(
    key=st.text(max_size=20) | st.just("component"),
    value=st.text(alphabet="ab:=@'\"\\ ?\té\0", max_size=20)
    | st.sampled_from(["graphql", "GET", "a: b", "page=3", "x" * 127, "x" * 128, "x" * 200, "http://h:80/a"])
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans(),
)
def test_attributes_of_known_keys_are_read_as_those_of_new_ones(key: str, value: str | int) -> None:
    cache = AttributeCache()
    learned = KeyValue(key=key, value=any_value("x")).SerializeToString()
    assert cache[learned] == entry(key, "x")
    assert cache[KeyValue(key=key, value=any_value(value)).SerializeToString()] == entry(key, value)
