"""A sink that stays away, with a bound: its oldest are given up and counted, and nobody else is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from bridge import BridgeProcess, eventually, free_port
from otlp_requests import logs_request, spans_request

BOUND = 1 << 18


def configure(bridge: BridgeProcess, directory: Path, away: dict[str, Any]) -> None:
    lines = {"name": "lines", "type": "jsonlines", "path": str(directory / "lines.jsonl")}
    spool = {"directory": str(directory / "spool"), "max_bytes": 1 << 20, "segment_bytes": 1 << 15}
    batch = {"max_age_s": 0.05, "span_wait_s": 1}
    bridge.configure(
        spool=spool, exporter={"sinks": [lines, {"name": "away", "backlog_bytes": BOUND, **away}], "batch": batch}
    )


def rows(bridge: BridgeProcess) -> dict[str, Any]:
    ledger = bridge.ledger()
    assert not any(ledger["residue"].values()), ledger
    return {row["sink"]: row for row in ledger["sinks"]}


def test_beyond_its_bound_a_sink_drops_by_name_and_intake_goes_on(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge = own_bridge
    configure(bridge, tmp_path, {"type": "clickhouse", "dsn": f"http://127.0.0.1:{free_port()}/none"})
    bridge.start()
    dice = random.Random(1)
    records = size = 0
    while size < 3 << 20:  # three times what the spool may hold
        if dice.random() < 0.3:
            body = logs_request(dice, 100)[1]
            path = "/v1/logs"
        else:
            body = spans_request(dice, 100)[1]
            path = "/v1/traces"

        def accepted(path: str = path, body: bytes = body) -> bool:
            return bridge.post(path, body)[0] == 200  # 503 while it is being given up

        eventually(accepted, "intake goes on")
        records, size = records + 100, size + len(body)
        if size > 1 << 20 and records % 2000 == 0:  # killed, and twice in a row
            for _ in range(2):
                bridge.kill()
                bridge.start()
    eventually(lambda: rows(bridge)["lines"]["delivered"] == records, "the other sink has all")
    away = eventually(lambda: (found := rows(bridge)["away"])["dropped"] and found, "some are given up")
    assert away["received"] == records or away["catching_up"]
    eventually(lambda: bridge.metric("weighbridge_spool_bytes") < 2 * BOUND, "and have left the disk")
    assert "sink away: " in bridge.log.read_text()
    assert "are given up for it" in bridge.log.read_text()

    configure(bridge, tmp_path, {"type": "jsonlines", "path": str(tmp_path / "away.jsonl")})
    bridge.reload()
    unfinished = (
        "catching_up",
        "in_spool",
        "waiting_for_span",
    )  # while it catches up nobody knows what is in the spool
    away = eventually(lambda: (row := rows(bridge)["away"]) and not any(map(row.get, unfinished)) and row, "the end")
    assert away["delivered"] + away["dropped"] == records
    written = [json.loads(line)["transaction_id"] for line in (tmp_path / "away.jsonl").read_text().splitlines()]
    assert len(written) == len(set(written)) == away["delivered"]
