"""Counts from before sampling, through the real process and its store: kill -9, resent requests, two sinks, upstream's
weights; the sums of the minutes are what was sent, and the ledger, to the unit.
"""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bridge import BridgeProcess, eventually
from engine_process import EngineProcess
from whole_trace_rig import request

ERRORS = [{"name": "errors", "rate": 100, "when": [{"path": "status", "op": "gte", "value": 500}]}]
WAYS: dict[str, dict[str, Any]] = {
    "one rate": {"rate": 1},
    "whole traces": {"rate": 1, "rules": ERRORS, "tail": {"decision_wait_s": "1s"}},
    "a cap on each window": {
        "rate": 50,
        "rules": ERRORS,
        "budget": {"events_per_second": 20, "window_s": "500ms", "epoch_s": "1h", "cold_start_share": 1},
    },
}
COMPANIES = ("acme", "globex", "initech")


def body_of(
    dice: random.Random, first: int, count: int, sent: Counter[tuple[str, int]], stood_for: Counter[str]
) -> bytes:
    """Spans of one to six in a trace, some thinned by an SDK that kept a quarter; what they are is noted."""
    spans: list[tuple[bytes, int]] = []
    while len(spans) < count:
        trace_id = dice.randbytes(16)
        spans += [(trace_id, 500 if dice.random() < 0.05 else 200) for _ in range(dice.randrange(1, 7))]
    message = ExportTraceServiceRequest.FromString(request(spans[:count], time.time_ns(), first))
    for span, (trace_id, status) in zip(message.resource_spans[0].scope_spans[0].spans, spans, strict=False):
        company = COMPANIES[trace_id[0] % 3]
        span.attributes.add(key="company.id").value.string_value = company
        quarter = trace_id[9] >= 0xC0 and trace_id[1] < 128
        if quarter:
            span.trace_state = "ot=th:c"
        sent[company, status] += 1
        stood_for[company] += 4 if quarter else 1
    return message.SerializeToString()


@pytest.mark.parametrize("way", WAYS)
def test_the_minutes_are_what_was_sent_over_kills_and_resent_requests(tmp_path: Path, way: str) -> None:
    store = tmp_path / "store"
    sinks = [
        {"name": "store", "type": "clickhouse", "dsn": f"chdb://{store}"},
        {"name": "file", "type": "jsonlines", "path": str(tmp_path / "file.jsonl")},
    ]
    bridge = BridgeProcess(
        tmp_path, sampling=WAYS[way], exporter={"sinks": sinks, "batch": {"max_age_s": 0.1, "max_events": 40}}
    )
    dice = random.Random(way)
    sent: Counter[tuple[str, int]] = Counter()
    stood_for: Counter[str] = Counter()
    going = threading.Event()

    def send() -> None:
        while not going.is_set():
            body = body_of(dice, 1 + sent.total(), 90, sent, stood_for)
            times = 1 + (dice.random() < 0.2)  # some are sent again though they were answered
            while times:
                try:
                    times -= bridge.post("/v1/traces", body)[0] == 200
                except OSError:
                    time.sleep(0.02)

    def sampling() -> Counter[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/sampling?minutes=60") as answer:
            total: Counter[str] = Counter()
            for row in json.loads(answer.read()):
                total.update({name: row[name] for name in ("received", "received_adjusted")})
            return total

    sender = threading.Thread(target=send)
    try:
        bridge.start()
        sender.start()
        for _ in range(3):
            time.sleep(dice.uniform(0.6, 1.5))
            bridge.kill()
            bridge.start()
        time.sleep(1)
        going.set()
        sender.join(60)
        eventually(lambda: sampling()["received"] >= sent.total(), "all that was sent is decided")
        ledger = sampling()
        eventually(lambda: not any(row["in_spool"] for row in bridge.ledger()["sinks"]), "all of it is delivered", 120)
        assert bridge.stop() == 0
    finally:
        going.set()
        bridge.kill()
    engine = EngineProcess(store)
    try:
        client = engine.client(database="analytics")
        ((twice,),) = client.query("SELECT count() - uniqExact(event_id) FROM api_events").result_rows
        ((records, kept, calls, rows, days),) = client.query(
            "SELECT sum(records), sum(kept), sum(calls), (SELECT count() FROM api_events), uniqExact(toDate(minute)) "
            "FROM api_minutes"
        ).result_rows
        by_status = client.query(
            "SELECT company_id, status_code, sum(records) FROM api_minutes WHERE batch_id = 0 GROUP BY ALL"
        ).result_rows
        by_company = client.query(
            "SELECT company_id, sum(calls) FROM api_minutes WHERE batch_id = 0 GROUP BY ALL"
        ).result_rows
    finally:
        engine.stop()
    assert {(company, status): count for company, status, count in by_status} == dict(sent)
    assert {row[0]: row[1] for row in by_company} == {name: float(n) for name, n in stood_for.items()}
    assert not twice
    assert days <= 2
    assert records == ledger["received"] == sent.total()
    assert calls == pytest.approx(ledger["received_adjusted"])
    assert kept == rows < records / 3
