"""Trace and span ids in the fields of log records, spec/mapping.md §6 L2."""

from __future__ import annotations

from typing import Any

import pytest

from mapping.logs.ids import id_keys, ids_in
from mapping.logs.record import flatten

TRACE = "6b1f0c9d2e7a48538f4d0a1b2c3d4e5f"
SPAN = "0a1b2c3d4e5f6071"
XRAY = f"1-{TRACE[:8]}-{TRACE[8:]}"
BOTH = (TRACE, SPAN)


def ids(body: dict[str, Any]) -> tuple[str, str]:
    flat = flatten(body)
    return ids_in(flat, id_keys(flat))


@pytest.mark.parametrize(
    "key",
    [
        "trace_id",
        "traceId",
        "TraceID",
        "TRACE_ID",
        "trace-id",
        "traceid",
        "Trace Id",
        "otelTraceID",
        "otel_trace_id",
        "@tr",
    ],
)
def test_a_trace_id_counts_in_every_spelling(key: str) -> None:
    assert ids({key: TRACE})[0] == TRACE


@pytest.mark.parametrize(
    "above",
    """
    mdc MDC contextMap context_map ctx context fields extra trace labels attributes Properties meta otel jsonPayload
    fields.mdc record.extra tracing.context span tags
    """.split(),  # noqa: SIM905
)
def test_what_a_logger_keeps_in_an_object_counts(above: str) -> None:
    body: Any = {"traceId": TRACE, "spanId": SPAN}
    for name in reversed(above.split(".")):
        body = {name: body}
    assert ids({"message": "m", **body}) == BOTH


@pytest.mark.parametrize(
    "above", ["upstream", "job", "links", "parent", "previous", "body", "payload", "data", "error.context.request"]
)
def test_ids_of_something_else_link_nothing(above: str) -> None:
    assert ids({f"{above}.trace_id": TRACE, f"{above}.span_id": SPAN}) == ("", "")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (TRACE.upper(), (TRACE, "")),
        (f"0x{TRACE}", (TRACE, "")),
        (f" {TRACE} ", (TRACE, "")),
        ("6b1f0c9d-2e7a-4853-8f4d-0a1b2c3d4e5f", (TRACE, "")),
        (XRAY, (TRACE, "")),
        (f"Root={XRAY};Parent={SPAN};Sampled=1", BOTH),
        (f"Self=1-67891233-12456789abcdef0123456789;Root={XRAY}", (TRACE, "")),
        (f"Root={XRAY};Self=1-67891233-12456789abcdef0123456789;CalledFrom=app", (TRACE, "")),
        (f"{XRAY}@{SPAN}", BOTH),
        (f"00-{TRACE}-{SPAN}-01", BOTH),
        (f"01-{TRACE}-{SPAN}-01-more", BOTH),
        (f"{TRACE}-{SPAN}", BOTH),
        (f"{TRACE}-{SPAN}-d", BOTH),
        (f"{TRACE}-{SPAN}-1-aaaaaaaaaaaaaaaa", BOTH),
        (f"{TRACE}:{SPAN}:0:1", BOTH),
        (f"{TRACE}%3A{SPAN}%3A0%3A1", BOTH),
        ("abc:def:0:1", ("0" * 29 + "abc", "0" * 13 + "def")),
        (f"{TRACE}/1234567890;o=1", (TRACE, "00000000499602d2")),
        (f"projects/my-shop/traces/{TRACE}", (TRACE, "")),
        ([f"00-{TRACE}-{SPAN}-01"], BOTH),
        (f"ff-{TRACE}-{SPAN}-01", ("", "")),
        (f"00-{'0' * 32}-{SPAN}-01", ("", "")),
        ("0" * 32, ("", "")),
        (TRACE[:-1], ("", "")),
        (TRACE + "0", ("", "")),
        (f"1-{TRACE}", ("", "")),
        ("order-17", ("", "")),
        ("", ("", "")),
        (17, ("", "")),
        (True, ("", "")),
        ([TRACE, TRACE], ("", "")),
        ("1" * 100_000, ("", "")),
    ],
)
def test_the_form_of_a_value_says_what_it_is(value: Any, found: tuple[str, str]) -> None:
    assert ids({"trace_id": value}) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN}, BOTH),
        ({"X-B3-TraceId": SPAN, "X-B3-SpanId": SPAN}, ("0" * 16 + SPAN, SPAN)),
        ({"b3": f"{TRACE}-{SPAN}-1"}, BOTH),
        ({"b3": "0"}, ("", "")),
        ({"uber-trace-id": f"{TRACE}:{SPAN}:0:1"}, BOTH),
        ({"sentry-trace": f"{TRACE}-{SPAN}"}, BOTH),
        ({"x_cloud_trace_context": f"{TRACE}/1"}, (TRACE, "0" * 15 + "1")),
        ({"X-Amzn-Trace-Id": f"Root={XRAY}"}, (TRACE, "")),
        ({"xrayTraceId": XRAY}, (TRACE, "")),
        ({"AWS-XRAY-TRACE-ID": f"{XRAY}@{SPAN}"}, BOTH),
        ({"logging.googleapis.com/trace": TRACE, "logging.googleapis.com/spanId": SPAN}, BOTH),
        ({"trace": "at app.js:17"}, ("", "")),
        ({"trace": SPAN}, ("", "")),
        ({"@tr": TRACE, "@sp": SPAN}, BOTH),
        ({"operation_Id": TRACE}, (TRACE, "")),
        ({"operationId": TRACE}, ("", "")),
        ({"dd.trace_id": "1311768467294899695", "dd.span_id": 255}, ("0" * 16 + "1234567890abcdef", "0" * 14 + "ff")),
        ({"dd": {"trace_id": str(int(TRACE, 16)), "span_id": str(int(SPAN, 16))}}, BOTH),
        ({"dd": {"trace_id": TRACE}}, (TRACE, "")),
        ({"dd.trace_id": 2**128}, ("", "")),
        ({"trace_id": TRACE, "span_id": f"0x{SPAN.upper()}"}, BOTH),
        ({"trace_id": TRACE, "span_id": "0" * 16}, (TRACE, "")),
        ({"trace_id": "none", "traceparent": f"00-{TRACE}-{SPAN}-01"}, BOTH),
        # The span in a request's own header is the caller's.
        ({"req": {"headers": {"traceparent": f"00-{TRACE}-{SPAN}-01"}}}, (TRACE, "")),
        ({"request.headers.x-b3-traceid": TRACE, "request.headers.x-b3-spanid": SPAN}, (TRACE, "")),
        ({"http_traceparent": f"00-{TRACE}-{SPAN}-01"}, (TRACE, "")),
        ({"request_X-Amzn-Trace-Id": f"Root={XRAY}"}, (TRACE, "")),
        ({"parent_span_id": SPAN, "trace_id": TRACE}, (TRACE, "")),
        ({"http_trace": TRACE, "request_trace": TRACE}, ("", "")),
    ],
)
def test_headers_and_vendors_fields(body: dict[str, Any], found: tuple[str, str]) -> None:
    assert ids(body) == found
