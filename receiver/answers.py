"""Response bodies: what the sender reads, in the encoding it sent (spec/otlp-http.md §7, §8). All are small."""

from __future__ import annotations

from enum import Enum

import orjson
from google.rpc import code_pb2  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

# Clients read at most 64 KiB of an error (Collector) and log it whole; a kilobyte says what is wrong.
_MAX_MESSAGE = 1024

# google.rpc.Code beside HTTP's status, as the Collector answers (receiver/otlpreceiver statusutil): drives nothing.
_RPC_CODES = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.UNIMPLEMENTED,
    429: code_pb2.RESOURCE_EXHAUSTED,
    502: code_pb2.UNAVAILABLE,
    503: code_pb2.UNAVAILABLE,
    504: code_pb2.UNAVAILABLE,
}
_TYPES = "type.googleapis.com/"


class Media(Enum):
    """The two encodings of OTLP/HTTP. The value is the Content-Type, sent without parameters: the Collector's exporter
    compares the whole header and ignores a partial success with `; charset=utf-8` behind it."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


# Full success: an unset partial_success is zero bytes, or an empty object.
SUCCESS = {Media.PROTOBUF: b"", Media.JSON: b"{}"}


def partial_success(media: Media, signal: str, rejected: int, message: str) -> bytes:
    """An Export*ServiceResponse that says how many records were refused, and why."""
    message = _trim(message)
    if media is Media.JSON:
        field = "rejectedSpans" if signal == "traces" else "rejectedLogRecords"
        return orjson.dumps({"partialSuccess": {field: str(rejected), "errorMessage": message}})
    if signal == "traces":
        spans = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
        return ExportTraceServiceResponse(partial_success=spans).SerializeToString()
    logs = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    return ExportLogsServiceResponse(partial_success=logs).SerializeToString()


def error(media: Media, status: int, message: str, field: str = "body") -> bytes:
    """A google.rpc.Status for an HTTP status of 4xx or 5xx.

    That of a 400 holds a google.rpc.BadRequest in its details, with one violation: of `field`, a part of the request.
    Source: opentelemetry-proto docs/specification.md, "Bad Data".
    """
    code = _RPC_CODES.get(status, code_pb2.UNKNOWN)
    message = _trim(message)
    if media is Media.JSON:
        answer: dict[str, object] = {"code": code, "message": message}
        if status == 400:
            violation = {"field": field, "description": message}
            answer["details"] = [{"@type": _TYPES + "google.rpc.BadRequest", "fieldViolations": [violation]}]
        return orjson.dumps(answer)
    said = Status(code=code, message=message)
    if status == 400:
        violated = BadRequest.FieldViolation(field=field, description=message)
        said.details.add().Pack(BadRequest(field_violations=[violated]), _TYPES)
    body: bytes = said.SerializeToString()
    return body


def _trim(message: str) -> str:
    """At most a kilobyte of valid UTF-8: an error text must never fail to marshal (the Collector's does: 500)."""
    if len(message) > _MAX_MESSAGE:
        message = message[: _MAX_MESSAGE - 1] + "…"
    return message.encode("utf-8", "replace").decode()
