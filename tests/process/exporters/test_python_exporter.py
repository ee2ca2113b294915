"""The Python SDK's exporter of this environment, in this process."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from otlp_http import RunningReceiver, receiver
from receiver.errors import BadRequest, Throttled
from receiver.intake import Overloaded, Received

ATTRIBUTES: dict[str, Any] = {
    "text": "grüße 🚚",
    "yes": True,
    "whole": 1 << 40,
    "half": 0.5,
    "texts": ["a", "b"],
    "empty": "",
    "http.response.status_code": 503,
}
COMPRESSIONS = [Compression.NoCompression, Compression.Gzip, Compression.Deflate]


def some_spans(count: int) -> tuple[ReadableSpan, ...]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("shop", "1.0")
    for number in range(count):
        with tracer.start_as_current_span(f"GET /items/{number}", kind=SpanKind.SERVER, attributes=ATTRIBUTES) as span:
            span.add_event("exception", {"exception.message": "boom"})
            span.add_link(span.get_span_context(), {"why": "test"})
            span.set_status(Status(StatusCode.ERROR, "boom"))
    return memory.get_finished_spans()


def export(server: RunningReceiver, count: int = 20, **options: Any) -> SpanExportResult:
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.port}/v1/traces", **options)
    try:
        return exporter.export(some_spans(count))
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_spans_arrive_whole(server: RunningReceiver, compression: Compression) -> None:
    assert export(server, 20, compression=compression) == SpanExportResult.SUCCESS
    assert server.last.content_encoding == ("" if compression == Compression.NoCompression else compression.value)
    (group,) = server.last.decoded.groups
    assert len(group.records) == 20
    assert group.resource.attributes["service.name"] == "shop"
    record = group.records[0]
    values = {key.partition("\0")[0]: value for key, value, _ in record.entries}
    assert {key: values[key] for key in ATTRIBUTES} == ATTRIBUTES
    assert record.status.code == 2  # type: ignore[union-attr]
    assert record.events[0].attributes == {"exception.message": "boom"}  # type: ignore[union-attr]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_log_records_arrive_whole(server: RunningReceiver, compression: Compression) -> None:
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{server.port}/v1/logs", compression=compression)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    body: Any = {"order": 7, "nested": {"list": [1, "two"]}}
    provider.get_logger("shop").emit(
        LogRecord(body=body, severity_number=SeverityNumber.WARN, severity_text="WARN", attributes=ATTRIBUTES)
    )
    provider.shutdown()
    (record,) = server.last.decoded.groups[0].records
    assert record.body == body  # type: ignore[union-attr]


def refusing(server: RunningReceiver, *errors: Exception) -> None:
    """Raise these in turn, then accept."""
    pending: Iterator[Exception | None] = itertools.chain(errors, itertools.repeat(None))

    async def before(received: Received) -> None:
        if error := next(pending):
            raise error

    server.intake.before = before


@pytest.mark.parametrize(
    "error", [Overloaded("the spool is full", 1), Overloaded("", 2), RuntimeError("a fault of ours"), Throttled("", 1)]
)
@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_what_is_refused_for_now_is_sent_again_and_arrives_once(
    server: RunningReceiver, error: Exception, compression: Compression
) -> None:
    """Identical bytes come again, which is how a resend is recognised."""
    refused: list[bytes] = []
    refusing(server, error)
    before = server.intake.before

    async def watch(received: Received) -> None:
        refused.append(received.body)
        assert before is not None
        await before(received)

    server.intake.before = watch
    assert export(server, compression=compression) == SpanExportResult.SUCCESS
    assert len(server.intake.received) == 1
    assert refused == [server.last.body, server.last.body]


def test_what_is_refused_for_good_is_not_sent_again(server: RunningReceiver, caplog: pytest.LogCaptureFixture) -> None:
    refusing(server, BadRequest(400, "not for us"))
    assert export(server) == SpanExportResult.FAILURE
    assert server.intake.received == []
    assert "400" in caplog.text


def test_a_body_over_the_limit_is_refused_once_and_the_client_reads_why(caplog: pytest.LogCaptureFixture) -> None:
    """The Python exporter writes the whole body before it reads; a reset would be answered by sending it again."""
    with receiver(max_body_bytes=10_000) as server:
        caplog.set_level(logging.WARNING)
        assert export(server, 2000) == SpanExportResult.FAILURE
        assert sum(server.counts.refused_requests.values()) == 1
    assert "413" in caplog.text or "Too Large" in caplog.text


def test_a_key_goes_in_the_headers_as_moesif_documents_it() -> None:
    with receiver(tenants={"acme": {"keys": ["secret-key"]}}) as server:
        assert export(server, headers={"X-Moesif-Application-Id": "secret-key"}) == SpanExportResult.SUCCESS
        assert server.last.tenant == "acme"
        assert export(server, headers={"X-Moesif-Application-Id": "wrong"}) == SpanExportResult.FAILURE
