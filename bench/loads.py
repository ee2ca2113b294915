"""What is sent to the programs of `bench.end_to_end`: spans and logs, large and small requests, protobuf and JSON."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench import log_traffic
from bench.traffic import OLDEST_NS, SPANS_PER_REQUEST, request

SMALL = 10  # records of a request, as SDKs of quiet services and of browsers send


class Load(NamedTuple):
    """One kind of request. share: requests of it for each large one of spans, so that a round takes as long."""

    name: str
    path: str
    records: int
    make: Callable[[int, int], bytes]  # seed, Unix ns -> body
    content_type: str = "application/x-protobuf"
    share: float = 1.0

    def head(self, size: int) -> bytes:
        """Of the HTTP request for a body of so many bytes."""
        lines = (
            f"POST {self.path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Content-Type: {self.content_type}",
            "Content-Encoding: gzip",
            f"Content-Length: {size}",
        )
        return "\r\n".join((*lines, "", "")).encode()

    def requests(self, large: int, first_seed: int) -> list[bytes]:
        """Whole HTTP requests, as many as `large` of the first kind take. Make them when the bridge has started."""
        now = time.time_ns() + OLDEST_NS
        bodies = (self.make(first_seed + number, now) for number in range(max(1, round(large * self.share))))
        return [self.head(len(body)) + body for body in (gzip.compress(body, 6) for body in bodies)]


def spans(seed: int, now: int) -> bytes:
    return request(seed, SPANS_PER_REQUEST, now)


def few_spans(seed: int, now: int) -> bytes:
    return request(seed, SMALL, now)


def spans_as_json(seed: int, now: int) -> bytes:
    return as_json(ExportTraceServiceRequest.FromString(request(seed, SPANS_PER_REQUEST, now)))


def logs(seed: int, now: int) -> bytes:
    return log_traffic.request("JSON logs", seed, now)


def logs_as_json(seed: int, now: int) -> bytes:
    return as_json(ExportLogsServiceRequest.FromString(logs(seed, now)))


def as_json(message: Message) -> bytes:
    """OTLP's JSON encoding: as protobuf's, but for ids in hexadecimal and enumerations as numbers."""
    return json.dumps(_with_hex_ids(MessageToDict(message, use_integers_for_enums=True))).encode()


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex_ids(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(one).hex() if key in ("traceId", "spanId", "parentSpanId") else _with_hex_ids(one)
        for key, one in value.items()
    }


JSON = "application/json"
LARGE = Load("spans, 512 a request", "/v1/traces", SPANS_PER_REQUEST, spans)
LOADS = (
    LARGE,
    Load(f"spans, {SMALL} a request", "/v1/traces", SMALL, few_spans, share=10.0),
    Load("spans as JSON, 512 a request", "/v1/traces", SPANS_PER_REQUEST, spans_as_json, JSON, share=0.5),
    Load("JSON logs, 512 a request", "/v1/logs", log_traffic.RECORDS_PER_REQUEST, logs, share=0.5),
    Load(
        "JSON logs as JSON, 512 a request", "/v1/logs", log_traffic.RECORDS_PER_REQUEST, logs_as_json, JSON, share=0.5
    ),
)
