"""The whole bridge as a user has it: the real process, the real SDK, the real store."""

from __future__ import annotations

import gzip
import json
import logging
import random
import urllib.error
import urllib.request
import warnings
import zlib

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from bridge import BridgeProcess, eventually
from otlp_requests import logs_request, spans_request
from project_files import TESTDATA

LABELS = {"sink", "tenant", "catching_up", "received"}
CORPUS = TESTDATA / "corpus"


class Shop:
    """An application instrumented with the SDK, sending to the bridge like anybody's."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({"service.name": "sdk-shop", "deployment.environment.name": "test"})
        self.tracers = TracerProvider(resource=resource)
        self.tracers.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces", compression=Compression.Gzip))
        )
        self.loggers = LoggerProvider(resource=resource)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the handler moves to an instrumentation package
            from opentelemetry.sdk._logs import LoggingHandler

            self.log = logging.Logger("sdk-shop")
            self.log.addHandler(LoggingHandler(logger_provider=self.loggers))
        self.tracer = self.tracers.get_tracer("shop")

    def order(self, user: str, status: int) -> str:
        """One order call: its trace id."""
        with self.tracer.start_as_current_span(
            "POST /orders/{id}",
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": "/orders/{id}",
                "url.path": "/orders/4711",
                "url.query": "api_key=hunter2&dry=1",
                "url.scheme": "https",
                "server.address": "shop.example",
                "http.response.status_code": status,
                "user.id": user,
                "company.id": "acme",
                "user_agent.original": "shop-app/1.0",
                "client.address": "203.0.113.7",
                "http.request.header.authorization": ["Bearer very-secret"],
            },
        ) as span:
            self.log.warning(json.dumps({"message": "card declined", "password": "hunter2", "attempt": 1}))
            with self.tracer.start_as_current_span("SELECT orders", attributes={"db.system.name": "sqlite"}):
                pass
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR, "payment gateway timed out"))
            return trace.format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        self.tracers.shutdown()
        self.loggers.shutdown()


@pytest.fixture(scope="module")
def orders(bridge: BridgeProcess) -> list[str]:
    shop = Shop(bridge.endpoint)
    traces = [shop.order(f"user-{number % 3}", 504 if number == 2 else 201) for number in range(20)]
    shop.close()
    eventually(lambda: len(stored(bridge, "service = 'sdk-shop'")) == 60, "all spans and logs of the SDK are stored")
    return traces


def stored(
    bridge: BridgeProcess, where: str, columns: str = "trace_id, span_id, event_type"
) -> list[dict[str, object]]:
    return bridge.query(f"SELECT {columns} FROM api_events WHERE {where} ORDER BY event_time")


def test_every_span_and_log_of_the_sdk_is_found_once(bridge: BridgeProcess, orders: list[str]) -> None:
    rows = stored(bridge, "service = 'sdk-shop'")
    kinds = {
        kind: sorted(str(row["trace_id"]) for row in rows if row["event_type"] == kind)
        for kind in ("api_call", "action", "log")
    }
    assert kinds == dict.fromkeys(("api_call", "action", "log"), sorted(orders))


def test_an_api_call_has_the_fields_a_person_asks_for(bridge: BridgeProcess, orders: list[str]) -> None:
    [row] = stored(
        bridge,
        f"trace_id = '{orders[2]}' AND event_type = 'api_call'",
        "method, endpoint, uri, status_code, direction, user_id, company_id, environment, ip, user_agent, weight, "
        "error_type",
    )
    assert row == {
        "method": "POST",
        "endpoint": "/orders/{id}",
        "uri": "https://shop.example/orders/4711?api_key=REDACTED&dry=1",
        "status_code": 504,
        "direction": "incoming",
        "user_id": "user-2",
        "company_id": "acme",
        "environment": "test",
        "ip": "203.0.113.7",
        "user_agent": "shop-app/1.0",
        "weight": 1,
        "error_type": "timeout",
    }


def test_no_secret_reaches_the_store(bridge: BridgeProcess, orders: list[str]) -> None:
    everything = json.dumps(stored(bridge, "service = 'sdk-shop'", "*"))
    assert "hunter2" not in everything
    assert "very-secret" not in everything


def test_a_trace_shows_its_calls_and_what_was_logged_during_them(bridge: BridgeProcess, orders: list[str]) -> None:
    shown = bridge.command("trace", orders[2]).stdout
    for part in ("POST", "/orders/{id}", "504", "user-2", "acme", "card declined"):
        assert part in shown, shown


def test_tail_finds_events_by_customer(bridge: BridgeProcess, orders: list[str]) -> None:
    lines = bridge.command("tail", "--where", "user=user-2", "--where", "status=504").stdout.splitlines()
    assert len(lines) == 1
    assert "504" in lines[0]


def test_a_request_sent_again_is_not_counted_again(bridge: BridgeProcess) -> None:
    ids, body = spans_request(random.Random(7), 30)
    for _ in range(3):
        assert bridge.post("/v1/traces", body) == (200, b"")
    assert bridge.post("/v1/traces", gzip.compress(body), Content_Encoding="gzip") == (200, b"")
    in_list = "span_id IN (" + ",".join(f"'{span_id}'" for span_id in ids) + ")"
    eventually(lambda: len(stored(bridge, in_list)) >= 30, "the spans are stored")
    eventually(lambda: pending(bridge) == 0, "everything is delivered")
    assert len(stored(bridge, in_list)) == 30


def pending(bridge: BridgeProcess) -> int:
    """Records that have not ended. Whenever it is asked, the ledger adds up."""
    ledger = bridge.ledger()
    assert not any(ledger["residue"].values()), ledger
    for row in ledger["sinks"]:
        assert row["received"] == sum(value for name, value in row.items() if name not in LABELS)
    return sum(row["waiting_for_span"] + row["in_spool"] for row in ledger["sinks"])


def test_the_ledger_begins_at_the_socket(bridge: BridgeProcess) -> None:
    (before,) = bridge.ledger()["intake"]
    _, body = spans_request(random.Random(8), 12)
    for _ in range(3):
        assert bridge.post("/v1/traces", body)[0] == 200
    assert bridge.post("/v1/traces", b"\xff\xff")[0] == 400
    (after,) = bridge.ledger()["intake"]
    grown = {name: after[name] - before[name] for name in ("accepted", "resent", "unanswered", "stored")}
    assert grown == {"accepted": 36, "resent": 24, "unanswered": 0, "stored": 12}
    assert after["refused_requests"]["malformed"] == before["refused_requests"].get("malformed", 0) + 1
    shown = bridge.command("ledger").stdout
    assert "resent" in shown
    assert shown.splitlines()[-1] == "Nothing is unexplained."


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (spans_request(random.Random(1), 3)[1][:-5], {}, 400, "protobuf"),
        (gzip.compress(spans_request(random.Random(2), 50)[1])[:-9], {"Content_Encoding": "gzip"}, 400, "gzip"),
        (b"{}", {"Content_Type": "text/plain"}, 415, "application/x-protobuf"),
        (b"not json", {"Content_Type": "application/json"}, 400, "JSON"),
        (gzip.compress(bytes(70 << 20), 1), {"Content_Encoding": "gzip"}, 413, "67108864"),
    ],
    ids=["truncated protobuf", "cut gzip", "wrong content type", "not JSON", "oversized"],
)
def test_malformed_input_is_refused_readably_and_the_next_request_succeeds(
    bridge: BridgeProcess, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    code, answer = bridge.post("/v1/traces", body, **headers)
    assert (code, says in answer.decode(errors="replace")) == (status, True), answer
    assert bridge.post("/v1/logs", logs_request(random.Random(status), 2)[1])[0] == 200


def corpus_requests() -> list[str]:
    return sorted(path.name.removesuffix(".headers.json") for path in CORPUS.glob("*.headers.json"))


def test_the_corpus_is_here() -> None:
    assert len(corpus_requests()) == 33


@pytest.mark.parametrize("name", corpus_requests())
def test_every_captured_request_is_accepted_with_its_own_headers(bridge: BridgeProcess, name: str) -> None:
    captured = json.loads((CORPUS / f"{name}.headers.json").read_text())
    body = (CORPUS / f"{name}.bin").read_bytes()
    keep = {"content-type", "content-encoding", "user-agent", "accept", "accept-encoding"}
    headers = {key: value for key, value in captured["headers"] if key.lower() in keep}
    request = urllib.request.Request(bridge.endpoint + captured["path"], data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
        assert answer.read() in (b"", b"{}")


def test_the_health_of_a_running_bridge(bridge: BridgeProcess) -> None:
    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}{path}") as answer:
            text: str = answer.read().decode()
            return text

    assert json.loads(get("/healthz")) == {"status": "ok"}
    ready = json.loads(get("/readyz"))
    assert (ready["status"], ready["sinks_retrying"]) == ("ready", [])
    assert {"oldest_undelivered_age_s", "last_sync_age_s", "last_sync_s"} < ready.keys()
    assert ready["keys_file_error"] is None
    metrics = get("/metrics")
    assert 'weighbridge_sink_residue_records{sink="store"} 0' in metrics
    assert "otelcol_receiver_accepted_spans_total" in metrics
    assert "weighbridge_should_skip_errors_total 0" in metrics


def test_sigterm_delivers_what_was_acknowledged_and_ends_with_0(own_bridge: BridgeProcess) -> None:
    own_bridge.start()
    acknowledged: set[str] = set()
    for seed in range(20):
        ids, body = spans_request(random.Random(seed), 50)
        assert own_bridge.post("/v1/traces", zlib.compress(body), Content_Encoding="deflate")[0] == 200
        acknowledged |= ids
    assert own_bridge.stop() == 0
    assert {row["span_id"] for row in stored(own_bridge, "1")} == acknowledged
