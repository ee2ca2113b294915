"""What a service takes from the OpenTelemetry SDK: a tracer, JSON logs correlated to spans, a last flush.

Each service of the shop has its own providers, as it would in a process of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# traceparent carries the trace, baggage carries who called; both are W3C headers
PROPAGATOR = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])

QUEUE_RECORDS = 65536  # a run must not lose records to a full SDK queue (SDK default 2048)
EXPORT_EVERY_MS = 500  # SDK default 5000 for spans: too long to wait in front of a terminal


class Telemetry:
    """One service's tracer and log, exported to `endpoint`, a base URL to which /v1/<signal> is appended."""

    def __init__(self, service: str, version: str, endpoint: str, run: str) -> None:
        resource = Resource.create(
            {
                "service.name": service,
                "service.namespace": "demo-shop",
                "service.version": version,
                "service.instance.id": f"{service}-1",
                "deployment.environment.name": "demo",
                "cloud.region": "eu-central-1",
                "demo.run": run,
            }
        )
        base = endpoint.rstrip("/")
        self._span_exporter = SpanExporter(endpoint=f"{base}/v1/traces", compression=Compression.Gzip)
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(
            BatchSpanProcessor(self._span_exporter, max_queue_size=QUEUE_RECORDS, schedule_delay_millis=EXPORT_EVERY_MS)
        )
        self._log_exporter = LogExporter(endpoint=f"{base}/v1/logs", compression=Compression.Gzip)
        self._logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._logs.add_log_record_processor(
            BatchLogRecordProcessor(
                self._log_exporter, max_queue_size=QUEUE_RECORDS, schedule_delay_millis=EXPORT_EVERY_MS
            )
        )
        self.service = service
        self.served = 0  # requests: each is told twice, by its span and by its access log line
        self.tracer = self._spans.get_tracer(f"shop.{service}", version)
        self.log = logging.getLogger(f"shop.{service}.{run}")
        self.log.setLevel(logging.DEBUG)
        self.log.propagate = False  # the shop's log lines go to the bridge, not to this terminal
        self._handler = JsonLogHandler(self._logs, service)
        self.log.addHandler(self._handler)

    def flush(self) -> None:
        """Sends everything recorded so far; blocks up to a minute."""
        self._spans.force_flush(30_000)
        self._logs.force_flush(30_000)

    @property
    def sent(self) -> int:
        """Spans and log records that were accepted."""
        return self._span_exporter.sent + self._log_exporter.sent

    @property
    def lost(self) -> int:
        """Spans and log records that were given up."""
        return self._span_exporter.lost + self._log_exporter.lost

    def close(self) -> None:
        self.log.removeHandler(self._handler)
        self._spans.shutdown()
        self._logs.shutdown()


class SpanExporter(OTLPSpanExporter):
    """The SDK's exporter, which only logs a batch that it gives up on; this one also counts."""

    sent = 0  # spans that were accepted
    lost = 0  # spans that were not

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
        else:
            self.lost += len(spans)
        return result


class LogExporter(OTLPLogExporter):
    """As SpanExporter, for log records."""

    sent = 0  # log records
    lost = 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        result = super().export(batch)
        if result is LogRecordExportResult.SUCCESS:
            self.sent += len(batch)
        else:
            self.lost += len(batch)
        return result


class JsonLogHandler(logging.Handler):
    """Emits each log line as a JSON string body in the current span's context, as a JSON formatter would."""

    def __init__(self, provider: LoggerProvider, name: str) -> None:
        super().__init__()
        self._logger = provider.get_logger(f"shop.{name}")

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = getattr(record, "fields", {})
        self._logger.emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                severity_number=SeverityNumber[_SEVERITY[record.levelname]],
                severity_text=_SEVERITY[record.levelname],
                body=json.dumps({"message": record.getMessage(), "level": record.levelname.lower(), **fields}),
                exception=record.exc_info[1] if record.exc_info else None,
            )
        )


# Python's level names in OpenTelemetry's words (logs data model, "Displaying Severity")
_SEVERITY = {"DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARN", "ERROR": "ERROR", "CRITICAL": "FATAL"}
