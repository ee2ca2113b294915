"""Lanes in processes of their own: what kills one costs no acknowledgement, and one bad record costs one record."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bridge import COMMAND, BridgeProcess, eventually, free_port
from faults import planted_lanes
from otlp_requests import spans_request
from weighbridge.partitions import folder_of

SEVERAL: dict[str, Any] = {
    "lanes": {"count": 2},
    "mapping": {"inherit_across_requests_s": 0},
}


def with_fault(dice: random.Random, count: int, name: str) -> tuple[set[str], str, bytes]:
    """Span ids of a request of which one span is the end of the process that maps it; that one's id, and the body."""
    ids, body = spans_request(dice, count)
    request = ExportTraceServiceRequest.FromString(body)
    bad = request.resource_spans[0].scope_spans[0].spans[dice.randrange(count)]
    bad.name = f"planted: {name}"
    return ids, bad.span_id.hex(), request.SerializeToString()


def stored(bridge: BridgeProcess) -> set[str]:
    lines = bridge.command("query", "SELECT span_id FROM api_events", "--format", "csv").stdout.split()
    assert len(lines) == len(set(lines)), "nothing twice"
    return {line.strip('"') for line in lines[1:]}


def delivered(bridge: BridgeProcess) -> int:
    return sum(row["delivered"] for row in bridge.ledger()["sinks"])


def test_one_bad_record_costs_one_record_and_no_acknowledgement(own_bridge: BridgeProcess) -> None:
    bridge, dice = own_bridge, random.Random(5)
    bridge.configure(lanes={"count": 1, "memory_bytes": 400 << 20})
    bridge.program = [sys.executable, "-P", planted_lanes.__file__]
    bridge.start()
    everything: set[str] = set()
    bad: set[str] = set()
    for name in planted_lanes.FAULTS:
        ids, fatal, body = with_fault(dice, 20, name)
        everything |= ids
        bad.add(fatal)
        assert bridge.post("/v1/traces", body)[0] == 200
        for _ in range(5):  # the lane may be stuck by now; nobody who sends has to know
            ids, body = spans_request(dice, 20)
            everything |= ids
            assert bridge.post("/v1/traces", body)[0] == 200
    eventually(lambda: delivered(bridge) == len(everything) - len(bad), "all others are delivered", 120)
    assert stored(bridge) == everything - bad
    ledger = bridge.ledger()
    assert [row["failed"] for row in ledger["sinks"]] == [len(bad)]
    assert not any(ledger["residue"].values())
    ready = bridge.readiness()
    assert ready["status"] == "ready"
    assert "deadletter list" in ready["set_aside"]
    assert ready["lanes"][0]["restarts"] >= 6, "three faults, each of which ended the process twice"
    assert len(bridge.command("deadletter", "list").stdout.splitlines()) == len(bad)
    assert bridge.stop() == 0

    bridge.program = COMMAND  # the next version, which has no such fault
    bridge.start()
    assert stored(bridge) == everything - bad
    bridge.command("deadletter", "replay")
    eventually(lambda: stored(bridge) == everything, "what was set aside is delivered")
    assert [row["failed"] for row in bridge.ledger()["sinks"]] == [0]
    assert bridge.readiness()["set_aside"] is None


def test_a_sink_that_stops_its_lane_is_set_aside_and_the_others_go_on(own_bridge: BridgeProcess) -> None:
    bridge, dice = own_bridge, random.Random(8)
    sinks = [{"name": name, "type": "blackhole"} for name in ("segfault", "computes")]
    sinks.append({"name": "store", "type": "clickhouse", "dsn": f"chdb://{bridge.directory}/store"})
    bridge.configure(lanes={"count": 1}, exporter={"sinks": sinks, "batch": {"max_age_s": 0.05}})
    bridge.program = [sys.executable, "-P", planted_lanes.__file__]
    bridge.start()
    everything: set[str] = set()

    def send(requests: int) -> None:
        for _ in range(requests):
            ids, body = spans_request(dice, 20)
            everything.update(ids)
            assert bridge.post("/v1/traces", body)[0] == 200

    def by_sink() -> dict[str, int]:
        return {row["sink"]: row["delivered"] for row in bridge.ledger()["sinks"]}

    send(5)
    eventually(lambda: bridge.metric("weighbridge_sink_stopped") == 2, "both are set aside", 120)
    ready = bridge.readiness()
    assert ready["status"] == "not ready"
    assert [re.sub("; .*", "", why) for why in ready["reasons"]] == [
        f"sink {name} is set aside: it stopped its lane 3 times at the same batch" for name in ("computes", "segfault")
    ]
    restarts = ready["lanes"][0]["restarts"]
    assert restarts >= 6
    send(5)
    eventually(lambda: by_sink()["store"] == len(everything), "the third sink has all")
    assert bridge.readiness()["lanes"][0]["restarts"] == restarts, "and its lane goes on"
    assert not any(bridge.ledger()["residue"].values())
    assert bridge.stop() == 0
    assert stored(bridge) == everything

    bridge.program = COMMAND  # the next version, which has no such fault
    bridge.start()
    eventually(lambda: set(by_sink().values()) == {len(everything)}, "what waited for them is delivered")


def lanes_of(bridge: BridgeProcess) -> list[int]:
    """The processes of the lanes, once all are ready."""
    facts = eventually(
        lambda: (found := bridge.readiness()["lanes"]) and all(one["ready"] for one in found) and found, "lanes"
    )
    return [one["process"] for one in facts]


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_lanes_and_bridge_are_killed_and_nothing_is_lost_or_twice(own_bridge: BridgeProcess) -> None:
    bridge, dice = own_bridge, random.Random(6)
    budget = {"events_per_second": 1_000_000, "epoch_s": 1}  # which all lanes share, and nothing exceeds
    several = {**SEVERAL, "sampling": {"trust_upstream": False, "randomness": "hash", "budget": budget}}
    bridge.configure(**several)
    bridge.start()
    everything: set[str] = set()
    bodies: list[bytes] = []

    def send(requests: int) -> None:
        for _ in range(requests):
            ids, body = spans_request(dice, 30)
            assert bridge.post("/v1/traces", body)[0] == 200
            everything.update(ids)
            bodies.append(body)

    def rates(lane: int) -> set[bytes]:
        """Tables of the budget that a lane has."""
        file = folder_of(bridge.directory / "spool", lane) / "sampling_budget.jsonl"
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        return {line for line in lines if line.endswith(b"\n") and b'"from_unix_ns":0,' not in line}

    send(20)
    lanes_of(bridge)
    broken = bridge.directory / "spool" / "lanes" / "1" / "sinks" / "broken.journal"
    broken.mkdir()  # so the second lane alone cannot have that sink
    bridge.configure(**several, exporter={"sinks": [{"name": "broken", "type": "blackhole"}]})
    bridge.reload()
    eventually(
        lambda: "settings not reloaded" in bridge.log.read_text(), "no lane may have other settings than another"
    )
    assert {row["sink"] for row in bridge.ledger()["sinks"]} == {"store"}
    broken.rmdir()
    bridge.configure(**several)
    for number in (0, 1, 0):
        os.kill(lanes_of(bridge)[number], signal.SIGKILL)
        send(10)  # is acknowledged all the same
    processes = lanes_of(bridge)
    send(10)
    bridge.kill()
    for process in processes:
        eventually(partial(has_ended, process), "a lane ends with its bridge")
    bridge.start()
    for body in bodies:  # by senders that saw no answer
        assert bridge.post("/v1/traces", body)[0] == 200
    assert sum(row["resent"] for row in bridge.ledger()["intake"]) == len(everything)
    eventually(lambda: delivered(bridge) == len(everything), "all is delivered", 60)
    assert stored(bridge) == everything
    ledger = bridge.ledger()
    assert not any(ledger["residue"].values())
    assert sum(row["received"] for row in ledger["sinks"]) == len(everything)
    eventually(lambda: set.intersection(*map(rates, (0, 1))), "both lanes have the same rates")
    used = {folder.name for folder in (bridge.directory / "spool" / "lanes").iterdir()}
    assert used == {"1"}
    assert bridge.stop() == 0


@pytest.mark.parametrize("count", [1, 0])
def test_with_fewer_lanes_what_the_others_left_is_delivered(own_bridge: BridgeProcess, count: int) -> None:
    bridge, dice = own_bridge, random.Random(7)
    away = {"name": "store", "type": "clickhouse", "dsn": f"http://127.0.0.1:{free_port()}/none"}
    bridge.configure(**SEVERAL, exporter={"sinks": [away], "batch": {"max_age_s": 0.05}})
    bridge.start()
    everything: set[str] = set()
    for _ in range(20):
        ids, body = spans_request(dice, 5)
        everything |= ids
        assert bridge.post("/v1/traces", body)[0] == 200
    bridge.stop()
    left = [path for path in (bridge.directory / "spool").rglob("*.spool") if path.stat().st_size > 64]
    assert {path.parent.name for path in left} == {"spool", "1"}, "both lanes had some"
    bridge.configure(lanes={"count": count}, mapping={}, sampling={})
    bridge.start()
    ids, body = spans_request(dice, 5)
    assert bridge.post("/v1/traces", body)[0] == 200
    eventually(lambda: delivered(bridge) == len(everything | ids), "all is delivered", 60)
    assert stored(bridge) == everything | ids
    bridge.stop()
    assert not [path for path in (bridge.directory / "spool").rglob("*.spool") if path.stat().st_size > 64]


def test_a_lane_that_cannot_begin_stops_the_start_with_its_reason(own_bridge: BridgeProcess) -> None:
    bridge = own_bridge
    bridge.configure(lanes={"count": 1})
    journal = bridge.directory / "spool" / "sinks" / "store.journal"
    journal.parent.mkdir(parents=True)
    journal.write_text("not a journal\n")
    bridge.start()  # takes requests already, or has ended
    eventually(lambda: has_ended(bridge.pid), "it gives up")
    assert re.search(r"cannot start: lane 0: .*store\.journal", bridge.log.read_text())
