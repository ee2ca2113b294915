"""What came back: an HTTP status, or the status of an RPC, in whatever form it was sent."""

from __future__ import annotations

from typing import Any, Final

# Of a gRPC call that is told as an HTTP call: attributes by precedence.
GRPC_STATUSES: Final = (
    "rpc.grpc.status_code",
    "grpc.status_code",
    "rpc.response.status_code",
    "http.response.header.grpc-status",
    "http.response.trailer.grpc-status",
)
SUCCESSES: Final = frozenset(("", "OK", "0", "ok"))
_GRPC: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def rpc_status(value: Any, *, grpc: bool) -> str:
    """An RPC status by name where it has one, else as text; "" for none. grpc: integers are gRPC's codes."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 3:
        value = int(value)
    if grpc and isinstance(value, int) and 0 <= value < len(_GRPC):
        return _GRPC[value]
    if isinstance(value, str):
        return value
    return "" if isinstance(value, bool) or not isinstance(value, int | float) else str(value)


def status_of(value: Any) -> int:
    """An HTTP status in an int, double or digit string, its reason behind it or not; 0 for others
    (spec/mapping.md §3.4).
    """
    if isinstance(value, str):
        if value[3:4] == " ":  # `200 OK`
            value = value[:3]
        value = int(value) if len(value) == 3 and value.isascii() and value.isdigit() else 0
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 100 <= value <= 599 and value == int(value) else 0
