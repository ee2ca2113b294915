"""OTLP requests for tests, built with the official protobuf classes."""

from __future__ import annotations

import json
import random
import time

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_INFO


def attribute(key: str, value: str | int) -> KeyValue:
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def spans_request(dice: random.Random, count: int) -> tuple[set[str], bytes]:
    """(span ids, body) of `count` new server spans with two customers' ids on them."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.append(attribute("service.name", "shop"))
    spans = group.scope_spans.add()
    ids = set()
    now = time.time_ns()
    for _ in range(count):
        span = spans.spans.add()
        span.trace_id = dice.randbytes(16)
        span.span_id = dice.randbytes(8)
        span.name = "GET /items/{id}"
        span.kind = span.SPAN_KIND_SERVER
        span.start_time_unix_nano = now - 5_000_000
        span.end_time_unix_nano = now
        for key, value in (
            ("http.request.method", "GET"),
            ("http.route", "/items/{id}"),
            ("url.path", f"/items/{dice.randrange(1000)}"),
            ("url.scheme", "http"),
            ("server.address", "shop.example"),
            ("http.response.status_code", 200),
            ("user.id", f"user-{dice.randrange(10)}"),
            ("company.id", "acme"),
        ):
            span.attributes.append(attribute(key, value))
        ids.add(span.span_id.hex())
    return ids, message.SerializeToString()


def logs_request(dice: random.Random, count: int) -> tuple[set[str], bytes]:
    """(span ids, body) of `count` new log records, each of a span of its own, with JSON text bodies."""
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    group.resource.attributes.append(attribute("service.name", "shop"))
    scope = group.scope_logs.add()
    ids = set()
    for _ in range(count):
        record = scope.log_records.add()
        record.trace_id = dice.randbytes(16)
        record.span_id = dice.randbytes(8)
        record.time_unix_nano = time.time_ns()
        record.severity_number = SEVERITY_NUMBER_INFO
        record.body.string_value = json.dumps({"message": "stock checked", "sku": f"sku-{dice.randrange(100)}"})
        ids.add(record.span_id.hex())
    return ids, message.SerializeToString()
