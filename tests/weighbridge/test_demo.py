"""The demo shop sends what real instrumented services send: traces over two services, and logs that belong to them."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from weighbridge.commands.demo import run_demo
from weighbridge.commands.errors import CommandError
from weighbridge.demo.shop import Run, run_shop
from weighbridge.settings import Settings

REQUESTS = 60


class Received(NamedTuple):
    """What an OTLP receiver saw, by service."""

    spans: dict[str, list[Span]]
    logs: dict[str, list[LogRecord]]


def attributes(span: Span) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value") for item in span.attributes}


async def _shop_before_a_stub() -> tuple[Run, Received]:
    """A run of the shop against a server that keeps what it gets."""
    received = Received({"storefront": [], "payments": []}, {"storefront": [], "payments": []})

    async def take(request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has undone the gzip
        if request.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {item.key: item.value.string_value for item in resource.resource.attributes}["service.name"]
                received.spans[service] += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            for group in ExportLogsServiceRequest.FromString(body).resource_logs:
                service = {item.key: item.value.string_value for item in group.resource.attributes}["service.name"]
                received.logs[service] += [record for scope in group.scope_logs for record in scope.log_records]
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/{signal}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        run = await run_shop(f"http://127.0.0.1:{runner.addresses[0][1]}", REQUESTS, lambda outcome: None)
    finally:
        await runner.cleanup()
    return run, received


@pytest.fixture(scope="module")
def shop() -> tuple[Run, Received]:
    return asyncio.run(_shop_before_a_stub())


def test_every_kind_of_answer_occurs(shop: tuple[Run, Received]) -> None:
    run, _ = shop
    assert len(run.outcomes) == REQUESTS
    assert {outcome.status for outcome in run.outcomes} == {200, 201, 401, 402, 404, 422, 429, 500, 502, 504}
    assert run.lost == 0


def test_every_call_is_one_trace_that_starts_in_the_storefront(shop: tuple[Run, Received]) -> None:
    run, received = shop
    roots = [span for span in received.spans["storefront"] if span.kind == Span.SPAN_KIND_SERVER]
    assert all(not span.parent_span_id for span in roots)
    assert sorted(span.trace_id.hex() for span in roots) == sorted(outcome.trace_id for outcome in run.outcomes)


def test_payments_continues_the_trace_of_the_call_that_asked_it(shop: tuple[Run, Received]) -> None:
    _, received = shop
    asked = {span.span_id: span for span in received.spans["storefront"] if span.kind == Span.SPAN_KIND_CLIENT}
    served = [span for span in received.spans["payments"] if span.kind == Span.SPAN_KIND_SERVER]
    assert served
    for span in served:
        assert asked[span.parent_span_id].trace_id == span.trace_id
        assert attributes(span)["user.id"]  # carried by baggage


def test_a_call_that_timed_out_has_no_status_but_an_error_type(shop: tuple[Run, Received]) -> None:
    run, received = shop
    late = {outcome.trace_id for outcome in run.outcomes if outcome.status == 504}
    calls = [
        attributes(span)
        for span in received.spans["storefront"]
        if span.trace_id.hex() in late and span.kind == Span.SPAN_KIND_CLIENT and span.name == "POST"
    ]
    assert calls
    for call in calls:
        assert "http.response.status_code" not in call
        assert call["error.type"] == "TimeoutError"


def test_logs_are_json_text_and_belong_to_a_span(shop: tuple[Run, Received]) -> None:
    _, received = shop
    spans = {(span.trace_id, span.span_id) for service in received.spans.values() for span in service}
    records = [record for service in received.logs.values() for record in service]
    assert records
    for record in records:
        assert json.loads(record.body.string_value)["message"]
        assert (record.trace_id, record.span_id) in spans


def test_every_served_request_has_an_access_log_line_with_the_status_of_its_span(shop: tuple[Run, Received]) -> None:
    _, received = shop
    logged = {
        record.span_id: json.loads(record.body.string_value)["status"]
        for service in received.logs.values()
        for record in service
        if json.loads(record.body.string_value)["message"] == "request"
    }
    served = {
        span.span_id: attributes(span)["http.response.status_code"]
        for service in received.spans.values()
        for span in service
        if span.kind == Span.SPAN_KIND_SERVER
    }
    assert served == logged


def test_without_its_library_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("weighbridge.demo")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(CommandError, match=r"`jwt`, which is not installed: `make install`, .*`weighbridge\[demo\]`"):
        run_demo(Settings(), 1, None, None)
