"""OTLP/HTTP: binary protobuf bodies (spec/otlp-http.md §3). What is decoded from them is mapping's own suite."""

from __future__ import annotations

import struct
import threading
import time

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from mapping.mapper import Mapper
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from otlp_http import RunningReceiver, spans, spans_message


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def in_span(content: bytes) -> bytes:
    """A request of one good span that also holds these bytes."""
    good = spans_message().resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    return field(1, field(2, field(2, good + content)))


@pytest.mark.parametrize(
    "body",
    [
        spans()[:-1],
        spans()[:7],
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a varint of more than ten bytes
        b"\x0a\x05abc",  # a length past the end
        b"\x0a\xff\xff\xff\xff\x0f",  # a length of 4 GiB
        b"\x02\x00",  # field 0
        b"\x0e\x00",  # wire type 6
        b"\x0f\x00",  # wire type 7
        field(1, field(2, b"\x12\x05abc")),  # the same one level down
        b"hello world",
        b"\x00",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_undecodable_bytes_are_400_for_good(server: RunningReceiver, body: bytes) -> None:
    answer = server.post(body)
    assert (answer.status, answer.error.code) == (400, 3)
    assert answer.error.message
    assert server.is_well()


def test_unknown_fields_are_ignored_at_every_level(server: RunningReceiver) -> None:
    unknown = field(900, b"future") + varint(901 << 3) + b"\x07" + varint(902 << 3 | 1) + bytes(8)
    span = spans_message().resource_spans[0].scope_spans[0].spans[0].SerializeToString() + unknown
    body = field(1, field(1, unknown) + field(2, field(1, unknown) + field(2, span) + unknown) + unknown) + unknown
    assert server.post(body).rejected == 0
    assert server.last.decoded.accepted == 1


def test_two_messages_concatenated_are_merged(server: RunningReceiver) -> None:
    assert server.post(spans(2) + spans(3)).rejected == 0
    assert server.last.decoded.accepted == 5


def test_unknown_enum_numbers_are_kept(server: RunningReceiver) -> None:
    message = spans_message()
    span = message.resource_spans[0].scope_spans[0].spans[0]
    body = field(1, field(2, field(2, span.SerializeToString() + b"\x30\x63" + field(15, b"\x18\x63"))))
    assert server.post(body).rejected == 0


def test_an_unknown_group_is_skipped(server: RunningReceiver) -> None:
    group = varint(100 << 3 | 3) + b"\x08\x01" + field(2, b"inside") + varint(100 << 3 | 4)
    assert server.post(in_span(group)).rejected == 0
    assert server.post(group + spans()).rejected == 0


def test_an_unterminated_group_is_400(server: RunningReceiver) -> None:
    assert server.post(spans() + varint(100 << 3 | 3) + b"\x08\x01").status == 400


@pytest.mark.parametrize(
    "content",
    [
        varint(1 << 3 | 0) + b"\x01",  # trace_id as a varint
        varint(5 << 3 | 5) + bytes(4),  # name as fixed32
        varint(7 << 3 | 0) + b"\x05",  # a time as a varint
        varint(9 << 3 | 1) + bytes(8),  # attributes as fixed64
        field(6, b"\x02"),  # kind as bytes
    ],
)
def test_a_known_field_with_another_wire_type_is_no_server_error(server: RunningReceiver, content: bytes) -> None:
    assert server.post(in_span(content)).status in (200, 400)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"abc\x80", b"\xf8\x88\x80\x80\x80"])
def test_invalid_utf8_in_a_string_costs_nobody_a_batch(server: RunningReceiver, raw: bytes) -> None:
    attribute = field(9, field(1, raw) + field(2, field(1, raw)))
    assert server.post(in_span(field(5, raw) + attribute + field(3, raw))).rejected == 0
    assert server.last.decoded.accepted == 1


@pytest.mark.parametrize(
    "text", ["\0", "\x01\x1f\x7f", "日本語 🚚", "\ufffe\uffff", "\U0010ffff", "\u202e", "e\u0301", " \n\t"]
)
def test_any_unicode_is_accepted_in_strings(server: RunningReceiver, text: str) -> None:
    message = spans_message()
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.name = text
    span.attributes.add(key=text).value.string_value = text
    message.resource_spans[0].resource.attributes.add(key=text).value.string_value = text
    assert server.post(message.SerializeToString()).rejected == 0


ANY_VALUES = [
    AnyValue(),
    AnyValue(string_value=""),
    AnyValue(bool_value=False),
    AnyValue(int_value=-(1 << 63)),
    AnyValue(int_value=(1 << 63) - 1),
    AnyValue(double_value=float("nan")),
    AnyValue(double_value=float("-inf")),
    AnyValue(bytes_value=b"\x00\xff"),
    AnyValue(array_value=ArrayValue()),
    AnyValue(kvlist_value=KeyValueList()),
    AnyValue(
        array_value=ArrayValue(
            values=[
                AnyValue(int_value=1),
                AnyValue(string_value="a"),
                AnyValue(),
                AnyValue(array_value=ArrayValue(values=[AnyValue(bool_value=True)])),
            ]
        )
    ),
    AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="", value=AnyValue(double_value=0.5)), KeyValue(key="b")])),
]


@pytest.mark.parametrize("value", ANY_VALUES, ids=lambda value: str(value).replace("\n", " ")[:40])
def test_every_kind_of_value_is_accepted_everywhere(server: RunningReceiver, value: AnyValue) -> None:
    message = spans_message()
    group = message.resource_spans[0]
    span = group.scope_spans[0].spans[0]
    for place in (
        group.resource.attributes,
        group.scope_spans[0].scope.attributes,
        span.attributes,
        span.events.add(name="e").attributes,
        span.links.add(trace_id=bytes(range(1, 17)), span_id=bytes(range(1, 9))).attributes,
    ):
        place.add(key="k", value=value)
        place.add(key="", value=value)
    assert server.post(message.SerializeToString()).rejected == 0

    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(body=value)
    record.attributes.add(key="k", value=value)
    assert server.post(logs.SerializeToString(), path="/v1/logs").rejected == 0
    assert server.last.decoded.accepted == 1


def test_an_attribute_without_a_value_is_accepted(server: RunningReceiver) -> None:
    assert server.post(in_span(field(9, field(1, b"key")) + field(9, b""))).rejected == 0


def test_profiling_s_string_indexes_are_not_fatal(server: RunningReceiver) -> None:
    by_index = varint(3 << 3) + b"\x07" + field(2, varint(8 << 3) + b"\x07")
    assert server.post(in_span(field(9, by_index))).rejected == 0


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 1), (5, 3), ((1 << 64) - 1, (1 << 64) - 1), ((1 << 64) - 1, 0), (1, (1 << 63))]
)
def test_any_times_are_accepted(server: RunningReceiver, start: int, end: int) -> None:
    message = spans_message()
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.start_time_unix_nano, span.end_time_unix_nano = start, end
    span.flags = 0xFFFFFFFF
    span.events.add(time_unix_nano=end)
    assert server.post(message.SerializeToString()).rejected == 0


def test_numbers_at_their_limits_are_accepted(server: RunningReceiver) -> None:
    message = spans_message()
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.dropped_attributes_count = span.dropped_events_count = span.dropped_links_count = (1 << 32) - 1
    for value in (5e-324, 1.7976931348623157e308, -0.0, float("inf")):
        span.attributes.add(key=str(value)).value.double_value = value
    assert server.post(message.SerializeToString()).rejected == 0


def test_duplicate_attribute_keys_are_no_error(server: RunningReceiver) -> None:
    message = spans_message()
    span = message.resource_spans[0].scope_spans[0].spans[0]
    for number in range(3):
        span.attributes.add(key="same").value.int_value = number
    assert server.post(message.SerializeToString()).rejected == 0


BAD_IDS = [b"", b"\x01", bytes(range(15)), bytes(range(17)), bytes(16), b"\x01" * 64]


@pytest.mark.parametrize("trace_id", BAD_IDS)
def test_a_span_with_a_bad_trace_id_is_refused_alone(server: RunningReceiver, trace_id: bytes) -> None:
    message = spans_message(3)
    message.resource_spans[0].scope_spans[0].spans[1].trace_id = trace_id
    answer = server.post(message.SerializeToString())
    assert (answer.rejected, server.last.decoded.accepted) == (1, 2)
    assert "trace id" in answer.warning


@pytest.mark.parametrize("span_id", [b"", b"\x01", bytes(range(7)), bytes(range(9)), bytes(8)])
def test_a_span_with_a_bad_span_id_is_refused_alone(server: RunningReceiver, span_id: bytes) -> None:
    message = spans_message(3)
    message.resource_spans[0].scope_spans[0].spans[1].span_id = span_id
    answer = server.post(message.SerializeToString())
    assert (answer.rejected, server.last.decoded.accepted) == (1, 2)
    assert "span id" in answer.warning


def test_a_request_of_which_nothing_is_usable_is_400_with_the_reason(server: RunningReceiver) -> None:
    message = spans_message(2)
    for span in message.resource_spans[0].scope_spans[0].spans:
        span.trace_id = b"short"
    answer = server.post(message.SerializeToString())
    assert answer.status == 400
    assert "trace id" in answer.error.message


@pytest.mark.parametrize("trace_id", BAD_IDS)
@pytest.mark.parametrize("span_id", [b"", b"\x01", bytes(8)])
def test_a_log_record_with_bad_ids_is_kept(server: RunningReceiver, trace_id: bytes, span_id: bytes) -> None:
    message = ExportLogsServiceRequest()
    message.resource_logs.add().scope_logs.add().log_records.add(trace_id=trace_id, span_id=span_id)
    assert server.post(message.SerializeToString(), path="/v1/logs").rejected == 0
    assert server.last.decoded.accepted == 1


def test_a_log_record_may_have_an_observed_time_only(server: RunningReceiver) -> None:
    message = ExportLogsServiceRequest()
    message.resource_logs.add().scope_logs.add().log_records.add(observed_time_unix_nano=5)
    assert server.post(message.SerializeToString(), path="/v1/logs").rejected == 0


@pytest.mark.parametrize(("time_unix_nano", "observed", "expected"), [(7, 5, 7), (7, 0, 7), (0, 5, 5)])
def test_a_log_record_s_time_is_its_own_or_else_the_observed_one(
    server: RunningReceiver, time_unix_nano: int, observed: int, expected: int
) -> None:
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano, record.observed_time_unix_nano = time_unix_nano, observed
    record.body.string_value = "order 5 accepted"
    assert server.post(message.SerializeToString(), path="/v1/logs").rejected == 0
    mapped = Mapper(MappingSettings(), Sampler(SamplingSettings())).map(server.last.decoded, received_unix_ns=9)
    assert [event.start_unix_ns for event in mapped.events] == [expected]


def nested(depth: int) -> bytes:
    """An AnyValue of arrays in arrays."""
    value = b""
    for _ in range(depth):
        value = field(5, field(1, value))
    return value


def test_values_nested_20_deep_are_accepted(server: RunningReceiver) -> None:
    assert server.post(in_span(field(9, field(1, b"k") + field(2, nested(20))))).rejected == 0


@pytest.mark.parametrize("depth", [100, 1000, 200_000])
def test_values_nested_too_deep_refuse_their_record_alone(server: RunningReceiver, depth: int) -> None:
    """protobuf stops at 100 messages; nothing of ours recurses further."""
    deep = spans_message().resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    tail = _nested_bytes(depth)
    body = spans(1) + field(1, field(2, field(2, deep + field(9, field(1, b"k") + field(2, tail)))))
    answer = server.post(body)
    assert answer.status in (200, 413)
    if answer.status == 200:
        assert answer.rejected == 1
    assert server.is_well()


def _nested_bytes(depth: int) -> bytes:
    """As nested(), in linear time."""
    parts: list[bytes] = []
    length = 0
    for _ in range(depth):
        inner = b"\x0a" + varint(length)
        outer = b"\x2a" + varint(length + len(inner))
        parts += (inner, outer)
        length += len(inner) + len(outer)
    return b"".join(reversed(parts))


def test_a_request_nested_in_unknown_fields_is_no_server_error(server: RunningReceiver) -> None:
    assert server.post(varint(100 << 3 | 3) * 100_000).status == 400


def test_8192_items_are_accepted(server: RunningReceiver) -> None:
    """The Collector's default batch."""
    assert server.post(spans(8192)).rejected == 0
    assert server.last.decoded.accepted == 8192


def test_10_000_attributes_on_a_span_are_accepted(server: RunningReceiver) -> None:
    message = spans_message()
    for number in range(10_000):
        message.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=f"k{number}").value.int_value = number
    assert server.post(message.SerializeToString()).rejected == 0


def test_strings_of_a_mebibyte_are_accepted(server: RunningReceiver) -> None:
    message = spans_message()
    message.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="sql").value.string_value = "x" * (1 << 20)
    assert server.post(message.SerializeToString()).rejected == 0


def test_2000_resources_are_accepted(server: RunningReceiver) -> None:
    message = ExportTraceServiceRequest()
    for number in range(2000):
        group = spans_message().resource_spans[0]
        group.resource.attributes[0].value.string_value = f"service-{number}"
        message.resource_spans.append(group)
    assert server.post(message.SerializeToString()).rejected == 0
    assert server.last.decoded.accepted == 2000


def test_500_000_empty_spans_do_not_hold_up_other_clients(server: RunningReceiver) -> None:
    """A megabyte on the wire, which stalled another receiver for a minute."""
    flood = field(1, field(2, b"\x12\x00" * 500_000))
    answers: list[int] = []
    attackers = [threading.Thread(target=lambda: answers.append(server.post(flood).status)) for _ in range(5)]
    for attacker in attackers:
        attacker.start()
    slowest = 0.0
    for _ in range(30):
        started = time.monotonic()
        assert server.is_well()
        slowest = max(slowest, time.monotonic() - started)
    for attacker in attackers:
        attacker.join()
    assert answers == [413] * 5
    assert slowest < 1.0  # 0.02 s on a quiet machine


def test_a_value_in_every_wire_form_of_a_double(server: RunningReceiver) -> None:
    for bits in (0, 1, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF):
        value = varint(4 << 3 | 1) + struct.pack("<Q", bits)
        assert server.post(in_span(field(9, field(1, b"k") + field(2, value)))).rejected == 0
