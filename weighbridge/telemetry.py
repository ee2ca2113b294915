"""The bridge's own metrics and warnings, sent over OTLP/HTTP to where an operator watches.

The metrics are those of /metrics under the same names; the log records are what the log has at warning and above. What
cannot be sent is lost, and said once until sending works again: being watched must not hold up the work.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from weighbridge.admin.server import Metric
from weighbridge.log_lines import OURS, fields_of
from weighbridge.telemetry_settings import TelemetrySettings

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0  # of one request, retries included: also how long a stop may wait for it


async def tell(settings: TelemetrySettings, metrics: Callable[[], Iterable[Metric]]) -> None:
    """Until cancelled: warnings as they come, metrics every interval. metrics: called on the event loop."""
    resource = Resource.create({"service.name": "weighbridge", "service.version": version("weighbridge")})
    base = settings.otlp_endpoint.rstrip("/")
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    common: dict[str, Any] = {"headers": headers, "timeout": TIMEOUT_S, "compression": Compression.Gzip}
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # the SDK tells of every attempt
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{base}/v1/logs", **common)))
    exporter = OTLPMetricExporter(f"{base}/v1/metrics", **common)
    handler = _Handler(provider)
    for name in OURS:
        logging.getLogger(name).addHandler(handler)
    try:
        await _send_metrics(settings.interval_s, exporter, resource, metrics)
    finally:
        for name in OURS:
            logging.getLogger(name).removeHandler(handler)
        await asyncio.to_thread(provider.shutdown)
        await asyncio.to_thread(exporter.shutdown)


async def _send_metrics(
    interval_s: float, exporter: OTLPMetricExporter, resource: Resource, metrics: Callable[[], Iterable[Metric]]
) -> None:
    started_unix_ns = time.time_ns()
    failing = False
    while True:
        await asyncio.sleep(interval_s)
        data = _metrics_data(resource, metrics(), started_unix_ns)
        failed = await asyncio.to_thread(exporter.export, data) is not export.MetricExportResult.SUCCESS
        if failed and not failing:
            log.warning("telemetry.otlp_endpoint does not take the bridge's own metrics")
        failing = failed


def _metrics_data(resource: Resource, metrics: Iterable[Metric], started_unix_ns: int) -> export.MetricsData:
    now = time.time_ns()
    found = []
    for metric in metrics:
        points = [export.NumberDataPoint(labels, started_unix_ns, now, value) for labels, value in metric.samples]
        data: export.Sum | export.Gauge = export.Gauge(points)
        if metric.kind == "counter":
            data = export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)
        found.append(export.Metric(metric.name, metric.help, metric.unit, data))
    scope = export.ScopeMetrics(InstrumentationScope("weighbridge"), found, "")
    return export.MetricsData([export.ResourceMetrics(resource, [scope], "")])


class _Handler(logging.Handler):
    """Hands on what the log has at warning and above, its fields as attributes."""

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__(logging.WARNING)
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        # Python's levels are 30, 40 and 50 where OpenTelemetry has 13, 17 and 21.
        severity = SeverityNumber(min(record.levelno // 10 * 4 + 1, SeverityNumber.FATAL.value))
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                severity_number=severity,
                severity_text=record.levelname,
                body=record.getMessage(),
                attributes={name: str(value) for name, value in fields_of(record).items()},
            )
        )
