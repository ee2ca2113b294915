"""What is sent where it does not belong is told so, not taken with a 200 and lost."""

from __future__ import annotations

import gzip
import json
import struct
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp_requests
from otlp_http import (
    JSON,
    PROTOBUF,
    SPAN_ID,
    TRACE_ID,
    RunningReceiver,
    json_logs,
    json_span,
    json_spans,
    logs,
    spans,
)
from otlp_requests import log, traces
from receiver.counts import Key


def metrics() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="process.cpu", unit="s", description="x").sum.data_points.add(as_int=5, time_unix_nano=9)
    scope.metrics.add(name="http.server.durn", unit="s").gauge.data_points.add(as_double=0.5)
    scope.metrics.add(name="h").histogram.data_points.add(count=3)
    return request


def named_spans(*names: str, **fields: Any) -> bytes:
    return traces(
        *(Span(trace_id=TRACE_ID, span_id=SPAN_ID, name=name, **fields) for name in names)
    ).SerializeToString()


def is_refused(server: RunningReceiver, body: bytes, media: str, path: str, says: str) -> None:
    before = len(server.intake.received)
    answer = server.post(body, media, path=path)
    assert answer.status == 400
    assert says in answer.error.message
    assert len(server.intake.received) == before
    counted = server.counts.refused_requests
    assert counted[Key("", "logs" if "logs" in path else "traces", "wrong_address")] >= 1


# Names whose bytes are an AnyValue, or none, or empty: read as log bodies they are text, a number, nothing, a fault.
NAMES = ["", "GET /a", "\n\x03abc", "\x18\x05", "*\x00", "x" * 1000, "\x08\x01"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fields", [{}, {"kind": 2, "start_time_unix_nano": 5, "end_time_unix_nano": 6}])
def test_spans_at_the_address_of_logs(server: RunningReceiver, name: str, fields: dict[str, Any]) -> None:
    is_refused(server, named_spans(name, **fields), PROTOBUF, "/v1/logs", "send them to /v1/traces")


def test_spans_of_many_kinds_at_the_address_of_logs(server: RunningReceiver) -> None:
    is_refused(server, named_spans(*NAMES), PROTOBUF, "/v1/logs", "send them to /v1/traces")
    is_refused(server, spans(600), PROTOBUF, "/v1/logs", "send them to /v1/traces")
    assert server.post(gzip.compress(spans(5)), path="/v1/logs", encoding="gzip").status == 400


def test_log_records_at_the_address_of_spans(server: RunningReceiver) -> None:
    is_refused(server, logs(3), PROTOBUF, "/v1/traces", "send them to /v1/logs")
    late = log("x", time_unix_nano=0, observed_time_unix_nano=5)
    is_refused(
        server,
        otlp_requests.logs(late, resource={}).SerializeToString(),
        PROTOBUF,
        "/v1/traces",
        "send them to /v1/logs",
    )


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_metrics_at_either_address(server: RunningReceiver, path: str) -> None:
    is_refused(server, metrics().SerializeToString(), PROTOBUF, path, "metrics")
    is_refused(server, b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x"}]}]}]}', JSON, path, "metrics")


def test_metrics_at_their_own_address_are_told_that_nobody_takes_them(server: RunningReceiver) -> None:
    answer = server.post(metrics().SerializeToString(), path="/v1/metrics")
    assert answer.status == 404
    assert "metrics are not taken" in answer.error.message


SPAN = json_span()
JAEGER = {"data": [{"traceID": "ab", "processes": {}, "spans": [{"traceID": "ab", "operationName": "x"}]}]}
ZIPKIN = [{"traceId": "ab", "id": "cd", "localEndpoint": {"serviceName": "x"}}]


@pytest.mark.parametrize(
    ("path", "document", "says"),
    [
        ("/v1/logs", json.loads(json_spans(SPAN)), "send them to /v1/traces"),
        ("/v1/traces", json.loads(json_logs({})), "send them to /v1/logs"),
        ("/v1/traces", {"resourceProfiles": []}, "profiles"),
        ("/v1/traces", JAEGER, "Jaeger"),
        ("/v1/traces", ZIPKIN, "Zipkin"),
        ("/v1/logs", ZIPKIN, "Zipkin"),
        ("/v1/traces", [json.loads(json_spans(SPAN))], "array of requests"),
    ],
)
def test_json_of_another_kind(server: RunningReceiver, path: str, document: Any, says: str) -> None:
    is_refused(server, json.dumps(document).encode(), JSON, path, says)


@pytest.mark.parametrize(
    ("path", "document", "says"),
    [
        ("/v1/traces", {"resource_spans": [{"scope_spans": [{"spans": [SPAN]}]}]}, '"resourceSpans"'),
        ("/v1/traces", {"resourceSpans": [{"scope_spans": [{"spans": [SPAN]}]}]}, '"scopeSpans"'),
        ("/v1/traces", {"resourceSpans": [{"instrumentationLibrarySpans": [{"spans": [SPAN]}]}]}, '"scopeSpans"'),
        ("/v1/traces", {"resource_spans": [{"instrumentation_library_spans": [{"spans": [SPAN]}]}]}, '"scopeSpans"'),
        ("/v1/logs", {"resource_logs": [{"scope_logs": [{"log_records": [{}]}]}]}, '"resourceLogs"'),
        ("/v1/logs", {"resourceLogs": [{"scopeLogs": [{"log_records": [{}]}]}]}, '"logRecords"'),
        ("/v1/logs", {"resourceLogs": [{"instrumentationLibraryLogs": [{"logRecords": [{}]}]}]}, '"scopeLogs"'),
    ],
)
def test_json_with_keys_as_they_are_not_spelled(server: RunningReceiver, path: str, document: Any, says: str) -> None:
    """Unknown keys are ignored, says the protocol, so this is a 200; but one with a sentence."""
    answer = server.post(json.dumps(document).encode(), JSON, path=path)
    assert answer.rejected == 0
    assert says in answer.warning
    assert server.counts.warned_requests[Key("", "logs" if "logs" in path else "traces", "misspelled")] >= 1


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_several_requests_one_a_line(server: RunningReceiver, newline: str) -> None:
    body = newline.join([json_spans(SPAN), json_spans(SPAN), ""]).encode()
    is_refused(server, body, JSON, "/v1/traces", "one a line")


def test_a_message_with_the_frame_of_grpc(server: RunningReceiver) -> None:
    body = spans(2)
    answer = server.post(b"\0" + struct.pack(">I", len(body)) + body)
    assert answer.status == 400
    assert "gRPC" in answer.error.message


@pytest.mark.parametrize(
    ("path", "media", "body"),
    [
        ("/v1/traces", JSON, b"{}"),
        ("/v1/traces", JSON, b'{"resourceSpans":[]}'),
        ("/v1/logs", JSON, b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[]}]}]}'),
        ("/v1/logs", JSON, b'{"vendor":{"key":1}}'),
        ("/v1/logs", JSON, json_logs({"body": {"stringValue": '{"resourceSpans": [], "resource_logs": 1}'}}).encode()),
        ("/v1/logs", JSON, json_logs({"body": {"stringValue": '{"resourceMetrics": "x"}'}}).encode()),
        ("/v1/traces", PROTOBUF, b""),
        ("/v1/logs", PROTOBUF, b"\x0a\x00"),
        ("/v1/traces", PROTOBUF, b"\x78\x01"),
    ],
)
def test_what_is_only_empty_or_odd_is_taken(server: RunningReceiver, path: str, media: str, body: bytes) -> None:
    assert server.post(body, media, path=path).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"trace_id": TRACE_ID, "span_id": SPAN_ID},
        {"severity_number": 9, "severity_text": "INFO"},
        {"trace_id": b"x", "span_id": b"y"},
        {"event_name": "e"},
        {"flags": 1},
    ],
)
def test_log_records_without_a_time_are_log_records(server: RunningReceiver, fields: dict[str, Any]) -> None:
    body = otlp_requests.logs(LogRecord(**fields), resource={}).SerializeToString()
    assert server.post(body, path="/v1/logs").status == 200
    assert server.last.decoded.accepted == 1


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_both_signals_in_one_json_request_are_told_apart(server: RunningReceiver, path: str) -> None:
    """What the address does not take is not taken without a word."""
    both = {**json.loads(json_spans(json_span())), **json.loads(json_logs({"body": {"stringValue": "x"}}))}
    answer = server.post(json.dumps(both).encode(), JSON, path=path)
    assert answer.status == 200
    noun, right = ("log records", "/v1/logs") if path == "/v1/traces" else ("spans", "/v1/traces")
    assert f"{noun} are not taken here: send them to {right}" in answer.body.decode()
    quoted = json_logs({"body": {"stringValue": '{"resourceSpans": [], "resourceLogs": []}'}})
    assert b"not taken" not in server.post(quoted, JSON, path="/v1/logs").body
