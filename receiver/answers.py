"""Response bodies: what the sender reads, in the encoding it sent (spec/otlp-http.md §7, §8). All are small."""

from __future__ import annotations

from enum import Enum

import orjson

# Clients read at most 64 KiB of an error (Collector) and log it whole; a kilobyte says what is wrong.
_MAX_MESSAGE = 1024

# google.rpc.Code beside HTTP's status, as the Collector answers (receiver/otlpreceiver statusutil): drives nothing.
_RPC_CODES = {400: 3, 401: 16, 403: 7, 404: 12, 429: 8, 502: 14, 503: 14, 504: 14}
_RPC_UNKNOWN = 2
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


class Media(Enum):
    """The two encodings of OTLP/HTTP. The value is the Content-Type, sent without parameters: the Collector's exporter
    compares the whole header and ignores a partial success with `; charset=utf-8` behind it."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


# Full success: an unset partial_success is zero bytes, or an empty object.
SUCCESS = {Media.PROTOBUF: b"", Media.JSON: b"{}"}


def partial_success(media: Media, signal: str, rejected: int, message: str) -> bytes:
    """An Export*ServiceResponse that says how many records were refused, and why."""
    message = _trimmed(message)
    if media is Media.JSON:
        field = "rejectedSpans" if signal == "traces" else "rejectedLogRecords"
        return orjson.dumps({"partialSuccess": {field: str(rejected), "errorMessage": message}})
    inner = b"\x08" + varint(rejected) if rejected else b""
    text = message.encode()
    if text:
        inner += b"\x12" + varint(len(text)) + text
    return b"\x0a" + varint(len(inner)) + inner


def error(media: Media, status: int, message: str, field: str = "body") -> bytes:
    """A google.rpc.Status for an HTTP status of 4xx or 5xx.

    That of a 400 holds a google.rpc.BadRequest in its details, with one violation: of `field`, a part of the request.
    Source: opentelemetry-proto docs/specification.md, "Bad Data".
    """
    code = _RPC_CODES.get(status, _RPC_UNKNOWN)
    message = _trimmed(message)
    if media is Media.JSON:
        answer: dict[str, object] = {"code": code, "message": message}
        if status == 400:
            violation = {"field": field, "description": message}
            answer["details"] = [{"@type": _BAD_REQUEST, "fieldViolations": [violation]}]
        return orjson.dumps(answer)
    body = b"\x08" + varint(code) + _sized(b"\x12", message.encode())
    if status == 400:
        violated = _sized(b"\x0a", _sized(b"\x0a", field.encode()) + _sized(b"\x12", message.encode()))
        body += _sized(b"\x1a", _sized(b"\x0a", _BAD_REQUEST.encode()) + _sized(b"\x12", violated))
    return body


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A protobuf varint of a number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _trimmed(message: str) -> str:
    """At most a kilobyte of valid UTF-8: an error text must never fail to marshal (the Collector's does: 500)."""
    if len(message) > _MAX_MESSAGE:
        message = message[: _MAX_MESSAGE - 1] + "…"
    return message.encode("utf-8", "replace").decode()
