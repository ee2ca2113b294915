"""Log lines with values that nothing can hold go through a whole bridge, a kill and a start, and harm nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bridge import BridgeProcess, eventually
from mapping_requests import NOW, log, logs

ODD: list[dict[str, Any]] = [
    {"timestamp": "9999-12-31T23:59:59Z"},
    {"ts": 99999999999},
    {"ts": 1e30},
    {"time": 2**64 - 1},
    {"timestamp": "0000-01-01T00:00:00Z"},
    {"timestamp": "-0001-01-01T00:00:00Z"},
    {"@timestamp": "+10000-01-01T00:00:00Z"},
    {"k." * 300 + "k": 1},
    {"method": "GET", "path": "/a", "status": 10**30, "duration": 1e308, "ts": 1e30},
]


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_odd_values_stop_no_sink_before_or_after_a_start(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge, lines = own_bridge, tmp_path / "lines.jsonl"
    sinks = [
        {"name": "store", "type": "clickhouse", "dsn": f"chdb://{tmp_path}/store"},
        {"name": "lines", "type": "jsonlines", "path": str(lines)},
    ]
    bridge.configure(exporter={"sinks": sinks, "batch": {"max_age_s": 0.05, "span_wait_s": 0}})
    bridge.start()
    deep = '{"a":' * 300 + "1" + "}" * 300
    odd = [log(f"odd {number} {json.dumps(body)}") for number, body in enumerate(ODD)]
    odd += [log(json.dumps({"message": f"odd {number}", **body})) for number, body in enumerate(ODD)]
    odd += [log(deep), log("x", observed_time_unix_nano=2**64 - 1, time_unix_nano=2**64 - 1)]
    good = [log(f"good {number}", time_unix_nano=NOW) for number in range(2)]
    assert bridge.post("/v1/logs", logs(good[0], *odd, good[1]).SerializeToString())[0] == 200
    bridge.kill()
    bridge.start()
    assert bridge.post("/v1/logs", logs(log("good 2")).SerializeToString())[0] == 200
    every = len(odd) + 3
    eventually(lambda: len(lines_of(lines)) == every, "all are in the file")
    question = "SELECT countIf(body LIKE 'good%') AS good, count() AS n FROM api_events"
    eventually(lambda: bridge.query(question) == [{"good": 3, "n": every}], "all are in the store")
    assert bridge.metric("weighbridge_dead_letters") == 0
    assert bridge.stop() == 0
