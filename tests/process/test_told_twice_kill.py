"""Two sinks of a bridge that is killed while lines wait: each has every call once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import orjson

from bridge import BridgeProcess, eventually
from mapping_requests import log, logs, span, traces

WAIT_S = 600


def lines_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def test_lines_wait_for_their_spans_over_a_kill(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge, now = own_bridge, time.time_ns()
    paths = [tmp_path / f"{name}.jsonl" for name in ("first", "second")]
    sinks = [{"name": path.stem, "type": "jsonlines", "path": str(path)} for path in paths]
    bridge.configure(exporter={"sinks": sinks, "batch": {"max_age_s": 0.05, "span_wait_s": WAIT_S}})
    bridge.start()
    told = [bytes([at]) * 16 for at in range(1, 7)]
    body = [orjson.dumps({"method": "GET", "path": "/a", "status": 200}).decode()] * len(told)
    records = [log(text, trace_id=trace, time_unix_nano=now) for text, trace in zip(body, told, strict=True)]
    assert bridge.post("/v1/logs", logs(*records).SerializeToString())[0] == 200
    eventually(
        lambda: [row["received"] for row in bridge.ledger()["sinks"]] == [len(told)] * 2, "both have taken the lines"
    )
    bridge.kill()
    bridge.start()
    http = {"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200}
    spans = [
        span(http, number=at, start_time_unix_nano=now - 5_000_000, end_time_unix_nano=now)
        for at in range(1, len(told) + 1)
    ]
    for each, trace in zip(spans, told, strict=True):
        each.trace_id = trace
    assert bridge.post("/v1/traces", traces(*spans).SerializeToString())[0] == 200
    bridge.kill()
    bridge.start()
    for path in paths:
        found = eventually(
            lambda path=path: calls if len(calls := lines_in(path)) == len(told) else None,  # type: ignore[misc]
            "every call is delivered",
        )
        assert len({call["trace_id"] for call in found}) == len(told)
    rows = bridge.ledger()["sinks"]
    assert [(row["received"], row["delivered"], row["deduplicated"]) for row in rows] == [(12, 6, 6)] * 2
