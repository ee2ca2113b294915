"""Spans that tests of public reports put together, and the calls that they become."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping.event import API_CALL, Event
from mapping_requests import SERVER, mapped, span, traces

Said = dict[str, Any]

UNSPECIFIED = 0
CALL: Said = {"http.request.method": "GET", "url.path": "/orders/17", "http.response.status_code": 200}


def of_span(said: Said, kind: int = SERVER, **more: Any) -> Event:
    (event,) = mapped(traces(span(said, kind=kind, **more))).events
    return event


def calls(*requests: ExportTraceServiceRequest) -> list[Event]:
    whole = ExportTraceServiceRequest()
    for request in requests:
        whole.MergeFrom(request)
    return [event for event in mapped(whole).events if event.event_type == API_CALL]


def of_scopes(*spans: tuple[str, Span]) -> ExportTraceServiceRequest:
    """Spans of one resource, each with the name of its scope."""
    request = traces()
    del request.resource_spans[0].scope_spans[:]
    for scope, one in spans:
        of_scope = request.resource_spans[0].scope_spans.add()
        of_scope.scope.name = scope
        of_scope.spans.append(one)
    return request
