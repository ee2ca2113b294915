"""Records as a pure function of their number: sender and judge agree without telling each other anything.

A request is (plan, number); a record is its index in the request. Sending a request again sends the same bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

METHODS = ("GET", "GET", "GET", "POST", "PUT", "DELETE")
ROUTES = ("/items/{id}", "/orders/{id}", "/carts/{id}/lines", "/search/{id}")
STATUSES = (200, 200, 200, 200, 201, 204, 404, 401, 500)


class Plan(NamedTuple):
    """What a producer sends. Equal plans send equal bytes."""

    seed: int
    base_unix_ns: int  # time of request 0; each request is one millisecond later
    records: int = 50  # in a request
    logs_percent: int = 30  # of the requests
    json_percent: int = 20
    gzip_percent: int = 60
    impossible_times: bool = False  # from 1970 to 2262, ends before starts: only the other columns are compared
    ids_in_headers: bool = False  # spans carry a header that looks like an event's own id


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Row(NamedTuple):
    """What the store must hold for a record: columns of api_events by name."""

    span_id: str
    trace_id: str
    event_type: str
    start_unix_ns: int
    end_unix_ns: int
    method: str
    endpoint: str
    uri: str
    status_code: int
    user_id: str
    company_id: str
    service: str
    body: str
    weight: int


def digest(plan: Plan, number: int, index: int) -> bytes:
    """32 bytes that everything about a record is taken from. Index -1 is the request itself."""
    return blake2b(f"{plan.seed} {number} {index}".encode(), digest_size=32).digest()


def is_logs(plan: Plan, number: int) -> bool:
    return digest(plan, number, -1)[0] % 100 < plan.logs_percent


def rows(plan: Plan, number: int) -> Iterator[Row]:
    """What must be stored of a request."""
    logs = is_logs(plan, number)
    for index in range(plan.records):
        facts = digest(plan, number, index)
        start = plan.base_unix_ns + number * 1_000_000 + index * 1000
        duration = 1_000_000 * (1 + facts[28])
        if plan.impossible_times:
            start, duration = int.from_bytes(facts[:8]) >> 1, duration * (facts[8] % 3 - 1)
        item = int.from_bytes(facts[24:27])
        route = ROUTES[facts[27] % len(ROUTES)]
        row = Row(
            span_id=facts[16:24].hex(),
            trace_id=facts[:16].hex(),
            event_type="log",
            start_unix_ns=start,
            end_unix_ns=start,
            method="",
            endpoint="",
            uri="",
            status_code=0,
            user_id="",
            company_id="",
            service="producer",
            body=json.dumps({"message": "counted", "item": item}),
            weight=1,
        )
        yield (
            row
            if logs
            else row._replace(
                event_type="api_call",
                end_unix_ns=max(0, start + duration),
                method=METHODS[facts[29] % len(METHODS)],
                endpoint=route,
                uri="http://shop.example" + route.replace("{id}", str(item)),
                status_code=STATUSES[facts[30] % len(STATUSES)],
                user_id=f"user-{item % 997}",
                company_id=f"company-{item % 31}",
                body="",
            )
        )


def request(plan: Plan, number: int) -> Request:
    """The bytes to send."""
    dice = digest(plan, number, -1)
    message = _logs(plan, number) if is_logs(plan, number) else _spans(plan, number)
    path = "/v1/logs" if is_logs(plan, number) else "/v1/traces"
    headers = {"Content-Type": "application/x-protobuf"}
    if dice[1] % 100 < plan.json_percent:
        headers["Content-Type"] = "application/json"
        body = json.dumps(_otlp_json(plan, number)).encode()
    else:
        body = message.SerializeToString(deterministic=True)
    if dice[2] % 100 < plan.gzip_percent:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, 1, mtime=0)
    return Request(path, headers, body)


def _attributes(plan: Plan, row: Row) -> dict[str, str | int]:
    header = {"http.request.header.transaction_id": f"{row.span_id}-of-another"} if plan.ids_in_headers else {}
    return {
        **header,
        "http.request.method": row.method,
        "http.route": row.endpoint,
        "url.scheme": "http",
        "url.path": row.uri.removeprefix("http://shop.example"),
        "server.address": "shop.example",
        "http.response.status_code": row.status_code,
        "user.id": row.user_id,
        "company.id": row.company_id,
    }


def _key_value(key: str, value: str | int) -> KeyValue:
    made = KeyValue(key=key)
    if isinstance(value, int):
        made.value.int_value = value
    else:
        made.value.string_value = value
    return made


def _spans(plan: Plan, number: int) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.append(_key_value("service.name", "producer"))
    spans = group.scope_spans.add().spans
    for row in rows(plan, number):
        span = spans.add()
        span.trace_id = bytes.fromhex(row.trace_id)
        span.span_id = bytes.fromhex(row.span_id)
        span.name = f"{row.method} {row.endpoint}"
        span.kind = Span.SPAN_KIND_SERVER
        span.start_time_unix_nano = row.start_unix_ns
        span.end_time_unix_nano = row.end_unix_ns
        span.attributes.extend(_key_value(key, value) for key, value in _attributes(plan, row).items())
    return message


def _logs(plan: Plan, number: int) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    group.resource.attributes.append(_key_value("service.name", "producer"))
    records = group.scope_logs.add().log_records
    for row in rows(plan, number):
        record = records.add()
        record.trace_id = bytes.fromhex(row.trace_id)
        record.span_id = bytes.fromhex(row.span_id)
        record.time_unix_nano = row.start_unix_ns
        record.severity_number = 9  # type: ignore[assignment]
        record.body.string_value = row.body
    return message


def _otlp_json(plan: Plan, number: int) -> dict[str, Any]:
    """The same request in OTLP's JSON encoding: hexadecimal ids, 64-bit integers as text."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "producer"}}]}
    if is_logs(plan, number):
        records = [
            {
                "traceId": row.trace_id,
                "spanId": row.span_id,
                "timeUnixNano": str(row.start_unix_ns),
                "severityNumber": 9,
                "body": {"stringValue": row.body},
            }
            for row in rows(plan, number)
        ]
        return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
    spans = [
        {
            "traceId": row.trace_id,
            "spanId": row.span_id,
            "name": f"{row.method} {row.endpoint}",
            "kind": 2,
            "startTimeUnixNano": str(row.start_unix_ns),
            "endTimeUnixNano": str(row.end_unix_ns),
            "attributes": [
                {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
                for key, value in _attributes(plan, row).items()
            ],
        }
        for row in rows(plan, number)
    ]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
