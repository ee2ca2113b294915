"""OTLP/HTTP: the answer to what was taken in (spec/otlp-http.md §7)."""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otlp_http import (
    JSON,
    PROTOBUF,
    RunningReceiver,
    json_logs,
    json_span,
    json_spans,
    logs,
    logs_response,
    spans,
    spans_message,
)
from receiver.intake import Received


@pytest.mark.parametrize(("path", "body"), [("/v1/traces", spans(3)), ("/v1/logs", logs(3))])
def test_full_success_in_protobuf_is_zero_bytes(server: RunningReceiver, path: str, body: bytes) -> None:
    answer = server.post(body, path=path)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    assert answer.type == PROTOBUF
    assert not ExportTraceServiceResponse.FromString(answer.body).HasField("partial_success")


@pytest.mark.parametrize(("path", "body"), [("/v1/traces", json_spans(json_span())), ("/v1/logs", json_logs({}))])
def test_full_success_in_json_is_an_empty_object(server: RunningReceiver, path: str, body: str) -> None:
    answer = server.post(body, JSON, path=path)
    assert (answer.status, answer.body, answer.type) == (200, b"{}", JSON)


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"", PROTOBUF),
        (b"\x0a\x00", PROTOBUF),
        (b"\x0a\x02\x12\x00", PROTOBUF),
        (b"\x0a\x02\x0a\x00", PROTOBUF),
        ("{}", JSON),
        ('{"resourceSpans":[],"resourceLogs":[]}', JSON),
        ('{"resourceSpans":[{}]}', JSON),
        ('{"resourceSpans":[{"scopeSpans":[{}]}],"resourceLogs":[{"scopeLogs":[{"logRecords":[]}]}]}', JSON),
    ],
)
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_requests_without_items_succeed(server: RunningReceiver, body: bytes | str, media: str, path: str) -> None:
    answer = server.post(body, media, path=path)
    assert (answer.status, answer.body) == (200, b"" if media == PROTOBUF else b"{}")


def test_a_json_body_of_zero_bytes_is_400(server: RunningReceiver) -> None:
    assert server.post("", JSON).status == 400


@pytest.mark.parametrize("bad", [1, 499])
def test_partial_success_counts_the_refused_spans_and_says_why(server: RunningReceiver, bad: int) -> None:
    """One bad record in 500 costs nobody the other 499."""
    message = spans_message(500)
    for span in message.resource_spans[0].scope_spans[0].spans[:bad]:
        span.trace_id = b"short"
    answer = server.post(message.SerializeToString())
    assert (answer.status, answer.rejected) == (200, bad)
    assert server.last.decoded.accepted == 500 - bad
    assert "trace id" in answer.warning
    assert ExportTraceServiceResponse.FromString(answer.body).partial_success.rejected_spans == bad


def test_partial_success_counts_the_refused_log_records(server: RunningReceiver) -> None:
    message = ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    scope.log_records.add()
    body = message.SerializeToString() + b"\x0a\x07\x12\x05\x12\x03\x32\x01\x07"  # an attribute of wire type 7
    answer = server.post(body, path="/v1/logs")
    assert logs_response(answer).partial_success.rejected_log_records == 1
    assert logs_response(answer).partial_success.error_message


def test_the_reasons_of_both_stages_are_in_one_message(server: RunningReceiver) -> None:
    body = json_spans(json_span(), json_span(kind="x"), json_span(traceId="00"))
    answer = server.post(body, JSON)
    assert answer.rejected == 2
    assert "kind" in answer.warning
    assert "trace id" in answer.warning


def test_a_response_never_echoes_much_of_what_was_refused(server: RunningReceiver) -> None:
    names = [f"SPAN_KIND_{number}_" + "x" * 1000 for number in range(200)]
    answer = server.post(json_spans(json_span(), *(json_span(kind=name) for name in names)), JSON)
    assert answer.rejected == 200
    assert len(answer.body) < 2000


def test_the_body_is_kept_exactly_as_sent_with_its_labels(server: RunningReceiver) -> None:
    body = json_spans(json_span())
    server.post(body, "application/json; charset=utf-8", encoding="identity")
    last = server.last
    assert (last.body, last.content_type) == (body.encode(), "application/json; charset=utf-8")
    assert (last.content_encoding, last.signal, last.tenant) == ("identity", "traces", "")
    assert last.received_unix_ns > 1_700_000_000_000_000_000


def test_the_answer_comes_only_after_the_intake_has_it(server: RunningReceiver) -> None:
    """The intake returns when the request is on disk (spec/design.md §3 P1)."""
    order: list[str] = []

    async def slowly(received: Received) -> None:
        order.append("taken")

    server.intake.before = slowly
    try:
        assert server.post(spans()).status == 200
        order.append("answered")
    finally:
        server.intake.before = None
    assert order == ["taken", "answered"]


def test_identical_bytes_sent_again_are_answered_the_same(server: RunningReceiver) -> None:
    body = spans(3)
    assert [server.post(body).status for _ in range(3)] == [200, 200, 200]


def test_the_response_to_json_parses_as_json_with_known_keys_only(server: RunningReceiver) -> None:
    partial = json.loads(server.post(json_spans(json_span(), 5), JSON).body)
    assert set(partial) == {"partialSuccess"}
    assert set(partial["partialSuccess"]) == {"rejectedSpans", "errorMessage"}
