"""Trace and span ids that applications write into the fields of a log record (mapping.md §6 L2)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TRACE_KEYS = (
    "trace_id",
    "traceId",
    "traceID",
    "TraceId",
    "trace.id",
    "otelTraceID",
    "otel.trace_id",
    "dd.trace_id",
    "logging.googleapis.com/trace",
    "traceparent",
)
_SPAN_KEYS = (
    "span_id",
    "spanId",
    "spanID",
    "SpanId",
    "span.id",
    "otelSpanID",
    "otel.span_id",
    "dd.span_id",
    "logging.googleapis.com/spanId",
    "traceparent",
)
ID_KEYS = frozenset((*_TRACE_KEYS, *_SPAN_KEYS))
_HEX32 = re.compile(r"[0-9a-f]{32}").fullmatch
_HEX16 = re.compile(r"[0-9a-f]{16}").fullmatch
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?").fullmatch


def trace_id_in(values: Mapping[str, object]) -> str:
    """The first usable trace id under any of its names, as 32 hex digits in lower case; "" without one."""
    for key in _TRACE_KEYS:
        value = values.get(key)
        if value is None:
            continue
        if key == "dd.trace_id" and (decimal := _decimal_id(value)):
            return decimal.rjust(32, "0")
        if not isinstance(value, str) or len(value) > 256:
            continue
        text = value.strip().lower()
        if key == "traceparent":
            parent = _TRACEPARENT(text)
            text = parent[1] if parent else ""
        elif "/" in text:
            text = text.rpartition("traces/")[2]
        text = text.replace("-", "")
        if _HEX16(text):
            text = text.rjust(32, "0")
        if _HEX32(text) and text.strip("0"):
            return text
    return ""


def span_id_in(values: Mapping[str, object]) -> str:
    """The first usable span id under any of its names, as 16 hex digits in lower case; "" without one."""
    for key in _SPAN_KEYS:
        value = values.get(key)
        if value is None:
            continue
        if key == "dd.span_id" and (decimal := _decimal_id(value)):
            return decimal
        if not isinstance(value, str) or len(value) > 256:
            continue
        text = value.strip().lower()
        if key == "traceparent":
            parent = _TRACEPARENT(text)
            text = parent[2] if parent else ""
        if _HEX16(text) and text.strip("0"):
            return text
    return ""


def _decimal_id(value: object) -> str:
    """16 hex digits of Datadog's decimal 64-bit ids, "" when the value is none."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**64:
        return f"{value:016x}"
    return ""
