"""Whole traces through the real process: kill -9 while they wait, then SIGTERM, and nothing is lost or twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

from bridge import BridgeProcess, eventually
from whole_trace_rig import RULES, request

TRACES = 60


def test_traces_that_wait_when_the_process_is_killed_are_decided_whole_by_the_next(tmp_path: Path) -> None:
    """At a rate of 0, exactly the traces with an error stay, also those whose halves two processes received."""
    bridge = BridgeProcess(tmp_path, sampling={"rate": 0, "rules": RULES, "tail": {"decision_wait_s": "12s"}})
    dice = random.Random(9)
    traces = [dice.randbytes(16) for _ in range(TRACES)]
    failed = set(dice.sample(traces, 15))

    def post(statuses: list[tuple[bytes, int]], first_id: int) -> None:
        assert bridge.post("/v1/traces", request(statuses, time.time_ns(), first_id))[0] == 200

    def stored() -> list[str]:
        rows = bridge.query("SELECT trace_id, span_id, sampling_rule AS rule FROM api_events ORDER BY span_id")
        assert all(row["rule"] == "errors" for row in rows)
        return [row["span_id"] for row in rows]

    try:
        bridge.start()
        post([(trace, 200) for trace in traces], 1)
        bridge.kill()
        bridge.start()
        post([(trace, 500 if trace in failed else 200) for trace in traces], 1001)
        expected = sorted(
            f"{first + n:016x}" for first in (1, 1001) for n, trace in enumerate(traces) if trace in failed
        )
        assert stored() == []
        eventually(lambda: stored() == expected, "the traces with errors are stored")
        bridge.kill()
        bridge.start()
        # One trace that nothing ends: stopping decides it with what there is.
        post([(b"\x07" * 16, 500)], 5001)
        sent = 2 * TRACES + 1
        assert bridge.stop() == 0
        bridge.start()
        eventually(lambda: stored() == [*expected, f"{5001:016x}"], "and what waited when it was stopped")
        [row] = eventually(lambda: bridge.ledger()["sinks"], "the ledger has the sink")
        assert row["received"] == sent
        assert row["delivered"] == len(expected) + 1
        assert row["sampled_out"] == sent - len(expected) - 1
        assert bridge.stop() == 0
    finally:
        bridge.kill()


def test_rules_change_while_traces_wait_and_the_wait_itself_only_with_a_restart(tmp_path: Path) -> None:
    tail = {"decision_wait_s": "2s"}
    bridge = BridgeProcess(tmp_path, sampling={"rate": 0, "tail": tail})
    try:
        bridge.start()
        bridge.configure(sampling={"rate": 0, "tail": {"decision_wait_s": "3s"}})
        bridge.reload()
        eventually(lambda: "sampling.tail cannot change" in bridge.log.read_text(), "the reload is refused")
        assert (
            bridge.post("/v1/traces", request([(b"\x07" * 16, 500), (b"\x08" * 16, 200)], time.time_ns(), 1))[0] == 200
        )
        bridge.configure(sampling={"rate": 0, "rules": RULES, "tail": tail})
        bridge.reload()
        eventually(lambda: "mapping and sampling" in bridge.log.read_text(), "the rules are reloaded")
        rows = eventually(lambda: bridge.query("SELECT trace_id FROM api_events"), "what the new rules keep is stored")
        assert [row["trace_id"] for row in rows] == ["07" * 16]
        assert bridge.stop() == 0
    finally:
        bridge.kill()
