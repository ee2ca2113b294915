"""Requests for the mapping tests, built with OTLP's own message classes, and the events they become."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping.event import Event
from mapping.mapper import Mapped, Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings

NOW = 1_795_193_700_000_000_000
TRACE = bytes(range(16))
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5


def any_value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
        case _:
            return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(
    attributes: dict[str, Any] | None = None,
    *,
    kind: int = SERVER,
    name: str = "GET /things",
    number: int = 1,
    parent: int = 0,
    **fields: Any,
) -> Span:
    """A span of TRACE that took 5 ms; number and parent make its ids."""
    made = Span(
        trace_id=TRACE,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=Span.SpanKind.ValueType(kind),
        start_time_unix_nano=NOW - 5_000_000,
        end_time_unix_nano=NOW,
        attributes=key_values(attributes or {}),
    )
    for field, value in fields.items():
        if field in ("events", "links"):
            getattr(made, field).extend(value)
        elif field == "status":
            made.status.CopyFrom(value)
        else:
            setattr(made, field, value)
    return made


def traces(*spans: Span, resource: dict[str, Any] | None = None) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(key_values({"service.name": "shop"} if resource is None else resource))
    scope = group.scope_spans.add()
    scope.scope.name = "test"
    scope.spans.extend(spans)
    return request


def log(body: Any = None, attributes: dict[str, Any] | None = None, **fields: Any) -> LogRecord:
    record = LogRecord(time_unix_nano=NOW, attributes=key_values(attributes or {}))
    if body is not None:
        record.body.CopyFrom(any_value(body))
    for field, value in fields.items():
        setattr(record, field, value)
    return record


def logs(*records: LogRecord, resource: dict[str, Any] | None = None) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(key_values({"service.name": "shop"} if resource is None else resource))
    group.scope_logs.add().log_records.extend(records)
    return request


def mapper(settings: MappingSettings | None = None, sampling: SamplingSettings | None = None) -> Mapper:
    return Mapper(settings or MappingSettings(), Sampler(sampling or SamplingSettings()))


def mapped(
    request: ExportTraceServiceRequest | ExportLogsServiceRequest,
    settings: MappingSettings | None = None,
    sampling: SamplingSettings | None = None,
    **options: Any,
) -> Mapped:
    decoder = Decoder()
    data = request.SerializeToString()
    decoded = decoder.traces(data) if isinstance(request, ExportTraceServiceRequest) else decoder.logs(data)
    return mapper(settings, sampling).map(decoded, received_unix_ns=options.pop("received_unix_ns", NOW), **options)


def one(
    attributes: dict[str, Any] | None = None,
    settings: MappingSettings | None = None,
    resource: dict[str, Any] | None = None,
    **fields: Any,
) -> Event:
    """The event of a single span."""
    (event,) = mapped(traces(span(attributes, **fields), resource=resource), settings).events
    return event
