"""OTLP requests for tests, built with the official protobuf classes: the one builder of them.

`traces(span(…), span(…))` and `logs(log(…))` are messages; `spans_request` and `logs_request` make traffic whose ids
are all new. Requests that are no good, or whose bytes matter, are written out where they are tested.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_INFO, LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

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
    end_unix_ns: int = NOW,
    **fields: Any,
) -> Span:
    """A span of TRACE that took 5 ms until end_unix_ns; number and parent make its ids."""
    made = Span(
        trace_id=TRACE,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=Span.SpanKind.ValueType(kind),
        start_time_unix_nano=end_unix_ns - 5_000_000,
        end_time_unix_nano=end_unix_ns,
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


def spans_request(dice: random.Random, count: int) -> tuple[set[str], bytes]:
    """(span ids, body) of `count` new server spans with two customers' ids on them."""
    now = time.time_ns()
    made = [
        span(
            {
                "http.request.method": "GET",
                "http.route": "/items/{id}",
                "url.path": f"/items/{dice.randrange(1000)}",
                "url.scheme": "http",
                "server.address": "shop.example",
                "http.response.status_code": 200,
                "user.id": f"user-{dice.randrange(10)}",
                "company.id": "acme",
            },
            name="GET /items/{id}",
            end_unix_ns=now,
            trace_id=dice.randbytes(16),
            span_id=dice.randbytes(8),
        )
        for _ in range(count)
    ]
    return {one.span_id.hex() for one in made}, traces(*made).SerializeToString()


def logs_request(dice: random.Random, count: int) -> tuple[set[str], bytes]:
    """(span ids, body) of `count` new log records, each of a span of its own, with JSON text bodies."""
    made = [
        log(
            json.dumps({"message": "stock checked", "sku": f"sku-{dice.randrange(100)}"}),
            trace_id=dice.randbytes(16),
            span_id=dice.randbytes(8),
            time_unix_nano=time.time_ns(),
            severity_number=SEVERITY_NUMBER_INFO,
        )
        for _ in range(count)
    ]
    return {one.span_id.hex() for one in made}, logs(*made).SerializeToString()
