"""Requests like those of a busy instrumented service: 512 spans of 16 attributes, gzip, every id new."""

from __future__ import annotations

import gzip
import random
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPANS_PER_REQUEST = 512
ROUTES = ["/api/users/{id}", "/api/orders", "/api/orders/{id}", "/api/search", "/api/carts/{id}/items", "/healthz"]
METHODS = ["GET", "GET", "GET", "POST", "PUT"]
OLDEST_NS = 5_000_000_000  # spans start at most so long before `now`
STATUSES = [200] * 18 + [404, 500]


def _attribute(key: str, value: str | int | bool) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def span_named(name: bytes) -> bytes:
    """A gzip body with one span of this name."""
    message = ExportTraceServiceRequest.FromString(request(0, 1))
    message.resource_spans[0].scope_spans[0].spans[0].name = name.decode()
    return gzip.compress(message.SerializeToString())


def request(seed: int, spans: int = SPANS_PER_REQUEST, now_unix_ns: int | None = None) -> bytes:
    """One ExportTraceServiceRequest, protobuf. About half of the 16 attributes repeat, as they do in practice."""
    dice = random.Random(seed)
    now = now_unix_ns or time.time_ns()
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    for key, text in {
        "service.name": "shop-api",
        "service.namespace": "shop",
        "service.instance.id": "shop-api-7d4f9",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.45.2",
        "host.name": "node-3",
    }.items():
        group.resource.attributes.append(_attribute(key, text))
    scope = group.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.fastapi"
    scope.scope.version = "0.66b2"
    for _ in range(spans):
        _span(scope.spans.add(), dice, now)
    return message.SerializeToString()


def _span(span: Span, dice: random.Random, now: int) -> None:
    route = dice.choice(ROUTES)
    method = dice.choice(METHODS)
    status = dice.choice(STATUSES)
    item = dice.randrange(100_000)
    path = route.replace("{id}", str(item))
    start = now - dice.randrange(OLDEST_NS)
    span.trace_id = dice.randbytes(16)
    span.span_id = dice.randbytes(8)
    span.parent_span_id = dice.randbytes(8)
    span.name = f"{method} {route}"
    span.kind = Span.SPAN_KIND_SERVER
    span.start_time_unix_nano = start
    span.end_time_unix_nano = start + dice.randrange(1_000_000, 300_000_000)
    span.flags = 0x101
    span.attributes.extend(
        _attribute(key, value)
        for key, value in (
            ("http.request.method", method),
            ("url.scheme", "https"),
            ("url.path", path),
            ("url.query", f"page={item % 20}"),
            ("http.route", route),
            ("http.response.status_code", status),
            ("server.address", "shop.example"),
            ("server.port", 443),
            ("client.address", f"203.0.113.{item % 250}"),
            ("network.peer.address", "10.0.0.4"),
            ("network.peer.port", 40000 + item % 20000),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", f"shop-app/{item % 7}.2 (Android 14)"),
            ("user.id", f"user-{item % 5000}"),
            ("company.id", f"company-{item % 300}"),
            ("thread.id", 139000 + item % 8),
        )
    )


def bodies(count: int, first_seed: int = 0) -> list[bytes]:
    """Gzip bodies as an SDK sends them (level 6).

    Make them when the bridge has started: no span ends before they are made. For those that ended before its start a
    bridge asks the store whether an earlier process has brought them, which is so in its first seconds only.
    """
    now = time.time_ns() + OLDEST_NS
    return [gzip.compress(request(first_seed + number, now_unix_ns=now), 6) for number in range(count)]
