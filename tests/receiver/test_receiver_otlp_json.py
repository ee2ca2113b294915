"""What is written for OTLP JSON: the same message as Google's own JSON parser reads, for every field."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from receiver.decode import otlp_json, prescan
from receiver.decode.otlp_json import Refused, transcode
from receiver.decode.prescan import Limits
from receiver.errors import BadRequest

LIMITS = Limits(50_000, 1_000_000)
IDS = ("traceId", "spanId", "parentSpanId")

Message = ExportTraceServiceRequest | ExportLogsServiceRequest


def ours(document: Any, signal: str = "traces") -> Message:
    """The message we write for a document in which nothing is refused."""
    refused = Refused()
    data = transcode(json.dumps(document).encode(), signal, LIMITS, refused)
    assert refused.count == 0, refused.message()
    return (ExportTraceServiceRequest if signal == "traces" else ExportLogsServiceRequest).FromString(data)


def theirs(document: Any, signal: str = "traces") -> Message:
    """The message Google's parser reads: ids in base64, unknown keys ignored."""
    message = (ExportTraceServiceRequest if signal == "traces" else ExportLogsServiceRequest)()
    return json_format.ParseDict(_base64_ids(document), message, ignore_unknown_fields=True)


def _base64_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_base64_ids(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode() if key in IDS and item else _base64_ids(item)
            for key, item in value.items()
        }
    return value


ATTRIBUTES: list[dict[str, Any]] = [
    {"key": "text", "value": {"stringValue": "grüße 🚚"}},
    {"key": "empty", "value": {"stringValue": ""}},
    {"key": "true", "value": {"boolValue": True}},
    {"key": "false", "value": {"boolValue": False}},
    {"key": "negative", "value": {"intValue": "-5"}},
    {"key": "largest", "value": {"intValue": "9223372036854775807"}},
    {"key": "zero", "value": {"intValue": 0}},
    {"key": "double", "value": {"doubleValue": 1.5}},
    {"key": "whole", "value": {"doubleValue": 3}},
    {"key": "infinite", "value": {"doubleValue": "-Infinity"}},
    {"key": "bytes", "value": {"bytesValue": "AP8="}},
    {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {}, {"arrayValue": {"values": []}}]}}},
    {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": True}}, {"key": ""}]}}},
    {"key": "none", "value": {}},
    {"key": "absent"},
    {"value": {"intValue": "1"}},
    {},
    {"key": "text", "value": {"stringValue": "grüße 🚚"}},
]

SPAN = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "parentSpanId": "eee19b7ec3c1b173",
    "traceState": "ot=th:c",
    "name": "GET /items",
    "kind": 3,
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": "18446744073709551615",
    "attributes": ATTRIBUTES,
    "droppedAttributesCount": 1,
    "events": [
        {"timeUnixNano": "5", "name": "exception", "attributes": ATTRIBUTES, "droppedAttributesCount": 300},
        {},
    ],
    "droppedEventsCount": 4294967295,
    "links": [
        {
            "traceId": "5b8efff798038103d269b633813fc60d",
            "spanId": "eee19b7ec3c1b175",
            "traceState": "a=b",
            "attributes": ATTRIBUTES,
            "droppedAttributesCount": 2,
            "flags": 257,
        },
        {},
    ],
    "droppedLinksCount": 3,
    "status": {"code": 2, "message": "boom"},
    "flags": 4294967295,
}
RECORD = {
    "timeUnixNano": "1544712660300000000",
    "observedTimeUnixNano": "1544712660300000001",
    "severityNumber": 10,
    "severityText": "Information",
    "body": {"stringValue": "Example log record"},
    "attributes": ATTRIBUTES,
    "droppedAttributesCount": 7,
    "flags": 1,
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "eventName": "order.placed",
}
RESOURCE = {"attributes": ATTRIBUTES, "droppedAttributesCount": 9}
SCOPE = {"name": "shop", "version": "1.0", "attributes": ATTRIBUTES, "droppedAttributesCount": 8}


def envelope(signal: str, *records: Any) -> dict[str, Any]:
    groups, scopes, items = (
        ("resourceSpans", "scopeSpans", "spans") if signal == "traces" else ("resourceLogs", "scopeLogs", "logRecords")
    )
    scope = {"scope": SCOPE, items: list(records), "schemaUrl": "https://schema.example/2"}
    return {groups: [{"resource": RESOURCE, scopes: [scope, {}], "schemaUrl": "https://schema.example/1"}, {}]}


@pytest.mark.parametrize(("signal", "record"), [("traces", SPAN), ("logs", RECORD)])
def test_a_record_with_every_field_is_read_as_google_reads_it(signal: str, record: dict[str, Any]) -> None:
    document = envelope(signal, record, record, {})
    assert ours(document, signal) == theirs(document, signal)


@pytest.mark.parametrize(("signal", "record"), [("traces", SPAN), ("logs", RECORD)])
def test_each_field_alone_is_read_as_google_reads_it(signal: str, record: dict[str, Any]) -> None:
    for name, value in record.items():
        document = envelope(signal, {name: value})
        assert ours(document, signal) == theirs(document, signal), name


@pytest.mark.parametrize("value", [attribute.get("value", {}) for attribute in ATTRIBUTES])
def test_every_kind_of_value_may_be_a_log_body(value: Any) -> None:
    document = envelope("logs", {"body": value})
    assert ours(document, "logs") == theirs(document, "logs")


json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(
    st.builds(lambda value: {"stringValue": value}, json_text),
    st.builds(lambda value: {"boolValue": value}, st.booleans()),
    st.builds(lambda value: {"intValue": str(value)}, st.integers(-(1 << 63), (1 << 63) - 1)),
    st.builds(lambda value: {"doubleValue": value}, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(lambda value: {"bytesValue": base64.b64encode(value).decode()}, st.binary(max_size=20)),
    st.just({}),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda items: {"arrayValue": {"values": items}}, st.lists(inner, max_size=3)),
        st.builds(
            lambda items: {"kvlistValue": {"values": [{"key": key, "value": value} for key, value in items]}},
            st.lists(st.tuples(json_text, inner), max_size=3),
        ),
    ),
    max_leaves=8,
)
attributes = st.lists(st.builds(lambda key, value: {"key": key, "value": value}, json_text, values), max_size=6)


@settings(max_examples=150, deadline=None)
@given(attributes, json_text, st.integers(0, (1 << 64) - 1))
def test_any_attributes_are_read_as_google_reads_them(items: list[Any], name: str, time_unix_ns: int) -> None:
    span = {"name": name, "startTimeUnixNano": str(time_unix_ns), "attributes": items}
    document = envelope("traces", span, span)
    assert ours(document) == theirs(document)


def test_nan_is_written_as_nan() -> None:
    message = ours(envelope("traces", {"attributes": [{"key": "k", "value": {"doubleValue": "NaN"}}]}))
    assert isinstance(message, ExportTraceServiceRequest)
    assert math.isnan(message.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.double_value)


def test_what_is_refused_is_left_out_and_the_rest_is_whole() -> None:
    document = envelope("traces", SPAN, {"kind": "nonsense"}, SPAN, 7)
    refused = Refused()
    data = transcode(json.dumps(document).encode(), "traces", LIMITS, refused)
    assert ExportTraceServiceRequest.FromString(data) == theirs(envelope("traces", SPAN, SPAN))
    assert refused.count == 2
    assert refused.message().startswith("1 refused: ")


def test_records_are_bounded_while_they_are_read() -> None:
    document = json.dumps(envelope("traces", *[{}] * 20)).encode()
    with pytest.raises(BadRequest, match="more than 10 records") as caught:
        transcode(document, "traces", Limits(10, 1_000_000), Refused())
    assert caught.value.status == 413


def test_minus_zero_stays_itself_after_zero() -> None:
    values = [{"doubleValue": 0.0}, {"doubleValue": -0.0}, {"doubleValue": 0}]
    document = envelope("traces", {"attributes": [{"key": "k", "value": value} for value in values]})
    assert ours(document).SerializeToString() == theirs(document).SerializeToString()


def elements(count: int) -> str:
    """JSON of a resource, a scope, a log record, an attribute with a list of two, and more attributes."""
    listed = {"key": "k", "value": {"arrayValue": {"values": [{}, {"kvlistValue": {}}]}}}
    record = {"attributes": [listed, *[{"key": "k"}] * (count - 6)]}
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})


def test_exactly_max_elements_are_taken_as_in_protobuf() -> None:
    document = elements(20).encode()
    plain = transcode(document, "logs", Limits(10, 20), Refused())
    prescan.check(plain, "logs", Limits(10, 20))
    for refused in (lambda: transcode(document, "logs", Limits(10, 19), Refused()), lambda: counted(plain, 19)):
        with pytest.raises(BadRequest) as caught:
            refused()
        assert caught.value.status == 413


def counted(plain: bytes, most: int) -> None:
    prescan._count_elements(plain, prescan._REQUESTS["logs"], Limits(10, most))


@pytest.mark.parametrize("text", ["1,2,3,", '{"a":[{},{}]},', '"\\', '\\",{'])
def test_braces_and_commas_inside_a_text_count_for_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"body": {"stringValue": text * 500}}
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record] * 3}]}]}
    for size in (8, 20, 28, 1 << 20):  # where a piece ends: within an escape, before and behind it
        monkeypatch.setattr(otlp_json, "SLICE_BYTES", size)
        plain = transcode(json.dumps(document).encode(), "logs", Limits(3, 5), Refused())
        assert len(ExportLogsServiceRequest.FromString(plain).resource_logs[0].scope_logs[0].log_records) == 3


@settings(max_examples=40)
@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_stands_between_texts_is_what_json_is_made_of(value: Any) -> None:
    def braces(value: Any) -> int:
        inner = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        return isinstance(value, dict) + sum(map(braces, inner))

    assert sum(piece.count(b"{") for piece in otlp_json._between_texts(json.dumps(value).encode())) == braces(value)


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_many_attributes_of_one_record_are_written_as_few_are(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = [{"key": f"k{number % 5}", "value": {"intValue": number}} for number in range(7)]
    document = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": attributes}]}]}]}).encode()
    expected = transcode(document, "traces", LIMITS, Refused())
    monkeypatch.setattr(otlp_json, "_AT_ONCE", at_once)
    monkeypatch.setattr(otlp_json, "_MOST_CACHED", at_once)
    assert transcode(document, "traces", LIMITS, Refused()) == expected
