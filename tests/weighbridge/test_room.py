"""A 503 for want of room names the true reason: the sink that holds the spool, or a disk that others have filled."""

from __future__ import annotations

import json
import os
import random
import urllib.error
import urllib.request
from pathlib import Path

from bridge import BridgeProcess, eventually, free_port
from otlp_requests import spans_request


def not_ready(bridge: BridgeProcess) -> list[str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/readyz", timeout=30):
            return []
    except urllib.error.HTTPError as error:
        with error:
            reasons: list[str] = json.loads(error.read())["reasons"]
            return reasons


def refused(bridge: BridgeProcess) -> str:
    """What the sender is told once there is no room."""
    dice = random.Random(3)

    def told() -> str:
        status, answer = bridge.post("/v1/traces", spans_request(dice, 200)[1])
        if status == 200:
            return ""
        assert status == 503
        return answer.decode(errors="replace")  # its message, and two bytes before it

    found: str = eventually(told, "there is no room")
    return found


def test_a_full_spool_names_the_sink_that_holds_it(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge = own_bridge
    away = {"name": "away", "type": "clickhouse", "dsn": f"http://127.0.0.1:{free_port()}/none"}
    lines = {"name": "lines", "type": "jsonlines", "path": str(tmp_path / "lines.jsonl")}
    spool = {"directory": str(tmp_path / "spool"), "max_bytes": 1 << 20, "segment_bytes": 1 << 16}
    bridge.configure(spool=spool, exporter={"sinks": [lines, away], "batch": {"max_age_s": 0.05}})
    bridge.start()
    text = refused(bridge)
    assert "the spool is full: it holds " in text
    assert "of 1048576 bytes (spool.max_bytes); sink away is furthest behind, its oldest request has waited" in text
    (reason,) = eventually(lambda: not_ready(bridge), "not ready")
    assert "sink away is furthest behind" in reason
    assert "refused" in reason.lower(), "what the destination says is there, too"


def test_a_disk_that_the_store_fills_is_not_called_a_full_spool(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge = own_bridge
    free = os.statvfs(tmp_path)
    spool = {"directory": str(tmp_path / "spool"), "min_free_bytes": free.f_bavail * free.f_frsize * 2}
    bridge.configure(spool=spool)
    bridge.start()
    text = refused(bridge)
    assert "the disk is full: the disk of " in text
    assert "spool.min_free_bytes is" in text
    assert f"the store in {tmp_path}/store is on the same disk" in text
    assert "spool is full" not in text
    assert not_ready(bridge)[0].startswith("the disk is full: ")
