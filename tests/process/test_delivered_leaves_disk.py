"""What every sink has does not stay on disk unmasked: while the bridge runs, after a stop, after a kill and a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge import BridgeProcess, eventually, free_port
from mapping_requests import log, logs

SECRET = "swordfish-4711"


def body(number: int) -> bytes:
    return logs(log(f"login of customer {number}, password={SECRET}")).SerializeToString()


def holding(directory: Path) -> list[str]:
    """Files in which the secret stands in clear."""
    return [
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


def configure(bridge: BridgeProcess, seal_after_s: float, *more: dict[str, Any]) -> None:
    lines = {"name": "lines", "type": "jsonlines", "path": str(bridge.directory / "lines.jsonl")}
    spool = {"directory": str(bridge.directory / "spool"), "seal_after_s": seal_after_s}
    bridge.configure(spool=spool, exporter={"sinks": [lines, *more], "batch": {"max_age_s": 0.05}})


def delivered(bridge: BridgeProcess, count: int) -> None:
    lines = bridge.directory / "lines.jsonl"
    eventually(lambda: lines.exists() and len(lines.read_text().splitlines()) == count, f"{count} are delivered")


def test_while_it_runs_and_nothing_more_comes(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge = own_bridge
    configure(bridge, 1.0)
    bridge.start()
    assert bridge.post("/v1/logs", body(1))[0] == 200
    delivered(bridge, 1)
    eventually(lambda: not holding(tmp_path), "the request has left the disk")
    assert bridge.post("/v1/logs", body(1))[0] == 200  # still known
    assert bridge.metric("weighbridge_receiver_resent_records_total") == 1


def test_after_a_stop_and_after_a_kill_and_a_start(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge = own_bridge
    configure(bridge, 3600.0)
    bridge.start()
    assert bridge.post("/v1/logs", body(1))[0] == 200
    delivered(bridge, 1)
    assert bridge.stop() == 0
    assert not holding(tmp_path)

    bridge.start()
    assert bridge.post("/v1/logs", body(1))[0] == 200
    assert bridge.metric("weighbridge_receiver_resent_records_total") == 1
    assert bridge.post("/v1/logs", body(2))[0] == 200
    delivered(bridge, 2)
    bridge.kill()
    assert holding(tmp_path)
    for _ in range(2):
        bridge.start()
        eventually(lambda: not holding(tmp_path), "the request has left the disk")
        assert bridge.post("/v1/logs", body(2))[0] == 200
        assert bridge.metric("weighbridge_receiver_resent_records_total") == 1
        bridge.kill()


def test_at_a_start_at_which_the_destination_is_away(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge = own_bridge
    configure(bridge, 3600.0)
    bridge.start()
    assert bridge.post("/v1/logs", body(1))[0] == 200
    delivered(bridge, 1)
    eventually(lambda: bridge.metric("weighbridge_spool_requests") == 0, "noted")
    bridge.kill()
    (tmp_path / "spool" / "sinks" / "lines.journal").rename(tmp_path / "spool" / "sinks" / "away.journal")
    away = {"name": "away", "type": "clickhouse", "dsn": f"http://127.0.0.1:{free_port()}/none"}
    bridge.configure(exporter={"sinks": [away]})
    bridge.start()
    eventually(lambda: not holding(tmp_path), "the request has left the disk")
