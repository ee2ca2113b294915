"""A hard cap through the real process: kill -9 while windows are open and half delivered, with two sinks."""

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

from bridge import BridgeProcess, eventually
from whole_trace_rig import RULES, request

# The whole budget is open to keys not seen before, so that only the window thins what the rules keep; each request has
# more than a window's.
BUDGET = {"events_per_second": 40, "window_s": "500ms", "epoch_s": "1h", "cold_start_share": 1}


def test_two_sinks_get_the_same_capped_windows_over_kills_and_the_ledger_counts_all_once(tmp_path: Path) -> None:
    sinks = [{"name": name, "type": "jsonlines", "path": str(tmp_path / f"{name}.jsonl")} for name in ("one", "two")]
    bridge = BridgeProcess(
        tmp_path,
        sampling={"rules": RULES, "rate": 50, "budget": BUDGET},
        exporter={"sinks": sinks, "batch": {"max_age_s": 0.1}},
    )
    dice = random.Random(3)
    traces = [dice.randbytes(16) for _ in range(400)]
    sent = answered = 0
    going = threading.Event()

    def send() -> None:
        nonlocal sent, answered
        while not going.is_set():
            spans = [(dice.choice(traces), 500 if dice.random() < 0.1 else 200) for _ in range(60)]
            first, sent = sent + 1, sent + 60
            body = request(spans, time.time_ns(), first)
            while True:  # as a client does: the same bytes until they are acknowledged
                try:
                    if bridge.post("/v1/traces", body)[0] == 200:
                        break
                except OSError:
                    pass
                time.sleep(0.02)
            answered += 60

    def ledger() -> Counter[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/sampling?minutes=60") as answer:
            rows = json.loads(answer.read())
        total: Counter[str] = Counter()
        for row in rows:
            total.update({name: row[name] for name in ("received", "kept", "kept_adjusted")})
        return total

    def delivered(name: str) -> dict[str, Any]:
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        found = {line["span"]["id"]: line["metadata"]["sampling"] for line in lines}
        assert len(found) == len(lines), "nothing is there twice"
        return found

    sender = threading.Thread(target=send)
    try:
        bridge.start()
        sender.start()
        for _ in range(3):
            time.sleep(dice.uniform(0.5, 1.3))
            bridge.kill()
            bridge.start()
        time.sleep(0.7)
        going.set()
        sender.join(30)
        total = eventually(lambda: (t := ledger())["received"] >= answered and t, "all that was sent is counted")
        assert total["received"] == answered == sent
        assert bridge.stop() == 0
        one, two = delivered("one"), delivered("two")
        assert one == two
        assert len(one) == total["kept"]
        assert sum(s["adjusted_count"] for s in one.values()) == pytest.approx(total["kept_adjusted"])
        capped = [s for s in one.values() if s["rule"] == "errors" and s.get("th")]
        assert capped, "errors are kept at 100 %, so only the cap has thinned them"
    finally:
        going.set()
        bridge.kill()


def test_the_window_changes_only_with_a_restart_and_its_budget_at_once(tmp_path: Path) -> None:
    sinks = [{"name": "one", "type": "jsonlines", "path": str(tmp_path / "one.jsonl")}]
    sections: dict[str, Any] = {"exporter": {"sinks": sinks, "batch": {"max_age_s": 0.1}}}
    bridge = BridgeProcess(tmp_path, sampling={"budget": BUDGET}, **sections)
    try:
        bridge.start()
        bridge.configure(sampling={"budget": {**BUDGET, "window_s": "1s"}}, **sections)
        bridge.reload()
        eventually(lambda: "sampling.budget.window_s cannot change" in bridge.log.read_text(), "the reload is refused")
        bridge.configure(sampling={"budget": {**BUDGET, "events_per_second": 8}}, **sections)
        bridge.reload()
        eventually(lambda: "mapping and sampling" in bridge.log.read_text(), "the budget is reloaded")
        dice = random.Random(1)
        body = request([(dice.randbytes(16), 200) for _ in range(50)], time.time_ns(), 1)
        assert bridge.post("/v1/traces", body)[0] == 200
        eventually(lambda: bridge.metric("weighbridge_sampling_records_total") == 50, "the window is decided")
        assert bridge.metric("weighbridge_sampling_windows_early_total") == 0
        assert bridge.stop() == 0
        assert len((tmp_path / "one.jsonl").read_text().splitlines()) == 4
    finally:
        bridge.kill()
