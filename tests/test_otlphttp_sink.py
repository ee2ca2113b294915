"""Events leave as OTLP that says what they said, with what sampling dropped still known."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from events import event
from exporter.sink import Batch
from exporter.sinks.otlphttp_messages import logs, traces
from mapping.event import ACTION, LOG, UNSAMPLED
from sink_destinations import Otlp

RESOURCE = '{"resource":{"service.name":"shop","ports":[1,2]},"scope":{"name":"asgi","version":"1","kind":"x"}}'
SAMPLED = UNSAMPLED._replace(th="c", p=0.25, adjusted_count=4.0, weight=4, rv="0123456789abcd")


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: plain(item.value) for item in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


def attributes(record: Any) -> dict[str, Any]:
    return {item.key: plain(item.value) for item in record.attributes}


def test_a_call_becomes_a_span() -> None:
    call = event(
        resource=RESOURCE, parent_id="a" * 16, name="GET /items", span_status=2, user_id="u", company_id="c",
        ip_address="10.0.0.1", user_agent="curl", request_headers={"X-A": "1"},
        metadata='{"tier":"gold","n":1,"f":0.5}', decision=SAMPLED, error_type="server", status=503,
    )  # fmt: skip
    (group,) = traces([call, event(event_type=LOG)]).resource_spans
    assert attributes(group.resource) == {"service.name": "shop", "ports": [1, 2]}
    (scope,) = group.scope_spans
    assert (scope.scope.name, scope.scope.version, attributes(scope.scope)) == ("asgi", "1", {"kind": "x"})
    (span,) = scope.spans
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (
        call.trace_id,
        call.span_id,
        "a" * 16,
    )
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (call.start_unix_ns, call.end_unix_ns)
    assert (span.kind, span.status.code) == (Span.SPAN_KIND_SERVER, Status.STATUS_CODE_ERROR)
    assert span.trace_state == "ot=th:c;rv:0123456789abcd"
    assert attributes(span) == {
        "tier": "gold", "n": 1, "f": 0.5, "weighbridge.transaction_id": call.transaction_id, "user.id": "u",
        "company.id": "c", "error.type": "server", "http.request.method": "GET", "url.full": call.uri,
        "http.route": "/items/{id}", "http.response.status_code": 503, "user_agent.original": "curl",
        "client.address": "10.0.0.1", "http.request.header.x-a": ["1"],
    }  # fmt: skip


def test_a_call_that_only_a_log_told_of_gets_ids_from_its_content() -> None:
    call = event(trace_id="", span_id="")
    spans = [traces([call]).resource_spans[0].scope_spans[0].spans[0] for _ in range(2)]
    assert spans[0].span_id == spans[1].span_id == uuid.UUID(call.transaction_id).bytes[:8]
    assert len(spans[0].trace_id) == 16


def test_an_action_becomes_a_span_and_a_log_a_record() -> None:
    done = event(event_type=ACTION, action_name="SELECT", family="db", direction="Internal")
    span = traces([done]).resource_spans[0].scope_spans[0].spans[0]
    assert (span.name, span.kind) == ("SELECT", Span.SPAN_KIND_INTERNAL)
    assert attributes(span)["action.family"] == "db"
    said = event(
        event_type=LOG, severity_number=17, severity_text="ERROR", body='{"message":"no","codes":[1,null]}',
        body_encoding="json", decision=SAMPLED, event_name="e",
    )  # fmt: skip
    record = logs([said, done]).resource_logs[0].scope_logs[0].log_records[0]
    assert (record.severity_number, record.severity_text, record.event_name) == (17, "ERROR", "e")
    assert plain(record.body) == {"message": "no"} | {"codes": [1, None]}
    assert attributes(record)["sampling.threshold"] == "c"
    assert attributes(record)["sampling.randomness"] == "0123456789abcd"


def test_events_of_one_resource_share_a_group() -> None:
    message = traces([event(resource=json.dumps({"resource": {"n": n % 2}, "scope": {}})) for n in range(6)])
    assert [len(group.scope_spans[0].spans) for group in message.resource_spans] == [3, 3]


def test_what_a_partial_success_refuses_is_counted_and_not_sent_again(tmp_path: Path) -> None:
    class Picky(Otlp):
        def _accept(self, path: str, body: bytes) -> web.Response:
            super()._accept(path, body)
            answer = ExportTraceServiceResponse()
            answer.partial_success.rejected_spans = 2
            return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")

    async def go() -> None:
        destination = Picky(tmp_path)
        await destination.start()
        sink = destination.sink(signals=["traces"], gzip=False)
        await sink.open()
        await sink.write(Batch(1, [event() for _ in range(5)] + [event(event_type=LOG)]), in_doubt=False)
        assert (sink.counts.sent, sink.counts.refused, sink.counts.not_its_signal) == (3, 2, 1)
        assert len(destination.accepted) == 5
        await sink.close()
        await destination.stop()

    asyncio.run(go())
