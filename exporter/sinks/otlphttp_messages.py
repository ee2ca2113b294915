"""Events as OTLP: API calls and actions become spans, logs become log records, one resource group per resource. Pure.

What sampling has dropped stays known: `ot=th:..` in a span's trace state, sampling.threshold on a log record.
Attribute names are OpenTelemetry's semantic conventions where there is one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mapping.event import API_CALL, LOG, Event

_KINDS = {"Incoming": Span.SPAN_KIND_SERVER, "Outgoing": Span.SPAN_KIND_CLIENT, "Internal": Span.SPAN_KIND_INTERNAL}
_STATUS = {1: Status.STATUS_CODE_OK, 2: Status.STATUS_CODE_ERROR}
_INT64 = range(-(2**63), 2**63)


def traces(events: Iterable[Event]) -> ExportTraceServiceRequest:
    """The spans of these events' API calls and actions."""
    message = ExportTraceServiceRequest()
    groups: dict[str, Any] = {}
    for event in events:
        if event.event_type == LOG:
            continue
        if event.resource not in groups:
            group = message.resource_spans.add()
            groups[event.resource] = _describe(group, group.scope_spans.add(), event.resource)
        _span(groups[event.resource].spans.add(), event)
    return message


def logs(events: Iterable[Event]) -> ExportLogsServiceRequest:
    """The log records of these events' logs."""
    message = ExportLogsServiceRequest()
    groups: dict[str, Any] = {}
    for event in events:
        if event.event_type != LOG:
            continue
        if event.resource not in groups:
            group = message.resource_logs.add()
            groups[event.resource] = _describe(group, group.scope_logs.add(), event.resource)
        _log_record(groups[event.resource].log_records.add(), event)
    return message


def _describe(group: Any, scoped: Any, resource: str) -> Any:
    """Fill resource and scope from an event's `resource` text; returns `scoped`."""
    known: dict[str, Any] = orjson.loads(resource) if resource else {}
    group.resource.attributes.extend(_attributes(known.get("resource") or {}))
    scope = dict(known.get("scope") or {})
    scoped.scope.name = str(scope.pop("name", ""))
    scoped.scope.version = str(scope.pop("version", ""))
    scoped.scope.attributes.extend(_attributes(scope))
    return scoped


def _span(span: Span, event: Event) -> None:
    # A call that only a log told of has no span id: one is derived from its content, the same every time.
    derived = uuid.UUID(event.transaction_id).bytes
    span.trace_id = bytes.fromhex(event.trace_id) if event.trace_id else derived
    span.span_id = bytes.fromhex(event.span_id) if event.span_id else derived[:8]
    span.parent_span_id = bytes.fromhex(event.parent_id)
    span.name = event.name or event.action_name or f"{event.verb} {event.route}".strip()
    span.kind = _KINDS.get(event.direction, Span.SPAN_KIND_UNSPECIFIED)
    span.start_time_unix_nano = event.start_unix_ns
    span.end_time_unix_nano = event.end_unix_ns
    span.status.code = _STATUS.get(event.span_status, Status.STATUS_CODE_UNSET)
    if event.decision.th:
        rv = f";rv:{event.decision.rv}" if event.decision.rv else ""
        span.trace_state = f"ot=th:{event.decision.th}{rv}"
    span.attributes.extend(
        _attributes(_common(event) | (_call(event) if event.event_type == API_CALL else _action(event)))
    )


def _log_record(record: LogRecord, event: Event) -> None:
    record.trace_id = bytes.fromhex(event.trace_id)
    record.span_id = bytes.fromhex(event.span_id)
    record.time_unix_nano = event.start_unix_ns
    record.observed_time_unix_nano = event.received_unix_ns
    if event.severity_number in SeverityNumber.values():
        record.severity_number = SeverityNumber.ValueType(event.severity_number)
    record.severity_text = event.severity_text
    record.event_name = event.event_name
    if event.body:
        record.body.CopyFrom(_value(orjson.loads(event.body) if event.body_encoding == "json" else event.body))
    attributes = _common(event)
    if event.decision.th:
        attributes["sampling.threshold"] = event.decision.th
        if event.decision.rv:
            attributes["sampling.randomness"] = event.decision.rv
    record.attributes.extend(_attributes(attributes))


def _common(event: Event) -> dict[str, Any]:
    """Attributes of every kind of event; those that are empty are left out by _attributes."""
    return {
        **orjson.loads(event.metadata),
        "weighbridge.transaction_id": event.transaction_id,
        "user.id": event.user_id,
        "company.id": event.company_id,
        "session.id": event.session_token,
        "subscription.id": event.subscription_id,
        "error.type": event.error_type,
    }


def _call(event: Event) -> dict[str, Any]:
    incoming = event.direction != "Outgoing"
    found: dict[str, Any] = {
        "http.request.method": event.verb,
        "url.full": event.uri,
        "http.route": event.route,
        "http.response.status_code": event.status or None,
        "user_agent.original": event.user_agent,
        "client.address" if incoming else "server.address": event.ip_address if incoming else event.response_ip_address,
        "http.request.body": event.request_body,
        "http.response.body": event.response_body,
        "api.version": event.api_version,
    }
    for side, headers in (("request", event.request_headers), ("response", event.response_headers)):
        found.update({f"http.{side}.header.{name.lower()}": [value] for name, value in headers.items()})
    return found


def _action(event: Event) -> dict[str, Any]:
    return {"action.name": event.action_name, "action.family": event.family}


def _attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=_value(value)) for key, value in values.items() if value is not None and value != ""
    ]


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and value in _INT64:
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=_attributes(value)))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
    return AnyValue() if value is None else AnyValue(string_value=str(value))
