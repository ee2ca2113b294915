"""The events that requests become; what the requests are made of comes from otlp_requests."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mapping.event import Event
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from otlp_requests import (
    CLIENT,
    CONSUMER,
    INTERNAL,
    NOW,
    PRODUCER,
    SERVER,
    TRACE,
    any_value,
    key_values,
    log,
    logs,
    span,
    traces,
)

# What tests of the mapping need, in one import.
__all__ = [
    "CLIENT",
    "CONSUMER",
    "INTERNAL",
    "NOW",
    "PRODUCER",
    "SERVER",
    "TRACE",
    "any_value",
    "key_values",
    "log",
    "logs",
    "mapped",
    "mapper",
    "one",
    "span",
    "traces",
]


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
