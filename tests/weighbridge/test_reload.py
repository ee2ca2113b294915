"""SIGHUP: other settings while running, nothing lost, nothing twice, and bad ones change nothing."""

from __future__ import annotations

import json
import os
import pty
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

from bridge import COMMAND, BridgeProcess, eventually, free_port
from otlp_requests import spans_request


def lines(directory: Path, name: str = "lines", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "jsonlines", "path": str(directory / f"{name}.jsonl"), **more}


def written(directory: Path, name: str = "lines") -> list[dict[str, Any]]:
    path = directory / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def settings(*sinks: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {"exporter": {"sinks": list(sinks), "batch": {"max_age_s": 0.05}}, **sections}


def send(bridge: BridgeProcess, seed: int, count: int = 20) -> set[str]:
    ids, body = spans_request(random.Random(seed), count)
    assert bridge.post("/v1/traces", body)[0] == 200
    return ids


def reloaded(bridge: BridgeProcess, says: str) -> None:
    """SIGHUP, and wait for one more line that says so."""
    before = bridge.log.read_text().count(says)
    bridge.reload()
    eventually(lambda: bridge.log.read_text().count(says) > before, says)


def test_mapping_sampling_and_sinks_change_while_running(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge = own_bridge
    bridge.configure(**settings(lines(tmp_path), {"name": "none", "type": "blackhole"}))
    bridge.start()
    first = send(bridge, 1)
    eventually(lambda: len(written(tmp_path)) == 20, "the first are written")

    bridge.config.write_text("exporter: {sinks: [{name: lines, type: jsonlines, path: x, colour: red}]}")
    reloaded(bridge, "settings not reloaded, the old ones go on: ")
    assert "colour: no such setting" in bridge.log.read_text()
    second = send(bridge, 2)
    eventually(lambda: len(written(tmp_path)) == 40, "the old settings go on")

    bridge.configure(
        **settings(
            lines(tmp_path, max_bytes=1 << 20),
            lines(tmp_path, "more"),
            sampling={"rules": [{"name": "nothing", "rate": "0"}]},
            receiver={"max_connections": 77},
        )
    )
    reloaded(bridge, "settings reloaded: mapping and sampling, sink none removed, sink lines changed, sink more added")
    assert "changed settings that need a restart: receiver" in bridge.log.read_text()
    send(bridge, 3)
    rows = eventually(lambda: settled(bridge), "everything has ended")
    assert (rows["lines"]["received"], rows["lines"]["sampled_out"]) == (60, 20)
    assert rows["more"]["sampled_out"] >= 20

    bridge.configure(**settings(lines(tmp_path), mapping={"should_skip": 'req_method == "GET"'}))
    reloaded(bridge, "settings reloaded: mapping and sampling, sink more removed, sink lines changed")
    send(bridge, 4)
    rows = eventually(lambda: settled(bridge), "everything has ended")
    assert (rows["lines"]["received"], rows["lines"]["skipped"]) == (80, 20)
    assert {event["span"]["id"] for event in written(tmp_path)} == first | second
    assert len(written(tmp_path)) == 40
    reloaded(bridge, "settings reloaded: nothing has changed")
    assert bridge.stop() == 0


def settled(bridge: BridgeProcess) -> dict[str, Any] | None:
    """The ledger's rows by sink, once nothing is under way."""
    ledger = bridge.ledger()
    assert not any(ledger["residue"].values()), ledger
    assert all(row["in_spool"] >= 0 for row in ledger["sinks"]), ledger
    if any(row["in_spool"] or row["waiting_for_span"] or row["catching_up"] for row in ledger["sinks"]):
        return None
    return {row["sink"]: row for row in ledger["sinks"]}


def test_reloading_again_and_again_under_load_loses_and_repeats_nothing(
    own_bridge: BridgeProcess, tmp_path: Path
) -> None:
    """Settings read again and again lose nothing (spec/reliability.md §4 R26)."""
    bridge = own_bridge
    bridge.configure(**settings(lines(tmp_path)))
    bridge.start()
    sent: set[str] = set()
    done = threading.Event()

    def load() -> None:
        seed = 100
        while not done.is_set():
            sent.update(send(bridge, seed := seed + 1, 50))

    sender = threading.Thread(target=load)
    sender.start()
    try:
        for turn in range(8):
            more = [lines(tmp_path, "more")] if turn % 2 else []
            bridge.configure(**settings(lines(tmp_path, max_bytes=(1 << 30) + turn), *more))
            reloaded(bridge, "settings reloaded: ")
    finally:
        done.set()
        sender.join()
    assert len(sent) > 500
    eventually(lambda: settled(bridge), "everything has ended")
    found = [event["span"]["id"] for event in written(tmp_path)]
    assert (len(found), set(found)) == (len(sent), sent)
    copies = [event["span"]["id"] for event in written(tmp_path, "more")]
    assert len(copies) == len(set(copies))
    assert bridge.stop() == 0


def test_a_reload_that_fails_at_any_new_sink_has_let_go_of_nothing(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    """Removed, changed and added at once: what the removed one had not delivered yet is still there afterwards."""
    bridge = own_bridge
    away = {"name": "away", "type": "clickhouse", "dsn": f"http://127.0.0.1:{free_port()}/none"}
    sections = settings(lines(tmp_path), away)
    bridge.configure(**sections)
    bridge.start()
    sent = send(bridge, 7)
    eventually(lambda: len(written(tmp_path)) == 20, "the other sink has them")
    journals = tmp_path / "spool" / "sinks"
    news = ("first", "middle", "last")
    for broken in news:
        (journals / f"{broken}.journal").mkdir()  # cannot be opened
        for rules in ({}, {"mapping": {"identify_user": {"headers": ["X-User"]}}}):
            changed = lines(tmp_path, max_bytes=1 << 20)
            bridge.configure(**settings(changed, *(lines(tmp_path, name) for name in news), **rules))
            reloaded(bridge, "settings not reloaded, the old ones go on")
            assert "a fault of the bridge" not in bridge.log.read_text()
            rows = {row["sink"]: row for row in bridge.ledger()["sinks"]}
            assert (sorted(rows), rows["away"]["in_spool"]) == (["away", "lines"], 20)
            assert {path.stem for path in journals.glob("*.journal")} == {"lines", "away", broken}
            assert bridge.metric("weighbridge_spool_requests") == 1
        (journals / f"{broken}.journal").rmdir()

    bridge.configure(**settings(lines(tmp_path), mapping={"should_skip": "req_method =="}))  # and no sink `away`
    reloaded(bridge, "settings not reloaded, the old ones go on")
    more = send(bridge, 8)
    bridge.configure(**settings(lines(tmp_path), lines(tmp_path, "away")))
    reloaded(bridge, "settings reloaded: sink away changed")
    eventually(lambda: settled(bridge), "everything has ended")
    for name in ("lines", "away"):
        assert sorted(event["span"]["id"] for event in written(tmp_path, name)) == sorted(sent | more)
    assert bridge.stop() == 0


def test_a_bridge_whose_terminal_is_closed_stops(tmp_path: Path) -> None:
    """Closing a terminal sends the same signal as asking for a reload."""
    bridge = BridgeProcess(tmp_path, **settings({"name": "none", "type": "blackhole"}))
    terminal, ours = pty.openpty()
    with bridge.log.open("ab") as log:
        process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, "serve", "--config", str(bridge.config)],
            stdin=ours,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
    os.close(ours)
    try:
        eventually(lambda: "ready after" in bridge.log.read_text(), "the bridge runs on a terminal")
        os.close(terminal)
        assert process.wait(60) == 0
        assert "stopping" in bridge.log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
