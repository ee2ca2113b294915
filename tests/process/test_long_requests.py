"""A request that takes seconds to decode holds up nobody, neither when it comes nor after a restart."""

from __future__ import annotations

import gzip
import json
import threading
import time
import urllib.request
from pathlib import Path

from bridge import BridgeProcess, eventually
from otlp_http import json_span, json_spans


class Probe(threading.Thread):
    """Asks again and again whether the bridge is alive, and keeps the longest wait for an answer in seconds."""

    def __init__(self, bridge: BridgeProcess) -> None:
        super().__init__()
        self.longest_s = 0.0
        self._url = f"http://127.0.0.1:{bridge.admin}/healthz"
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.01):
            started = time.monotonic()
            with urllib.request.urlopen(self._url, timeout=60) as answer:
                answer.read()
            self.longest_s = max(self.longest_s, time.monotonic() - started)

    def end(self) -> float:
        self._ended.set()
        self.join()
        return self.longest_s


def long_request() -> bytes:
    """24 MB of JSON that holds many things: several seconds of decoding."""
    attributes = [{"key": f"a.key.{n}", "value": {"stringValue": f"a value of usual length, {n}"}} for n in range(40)]
    span = json_span(attributes=attributes)
    spans = [{**span, "spanId": f"{number + 1:016x}", "name": f"name {number}"} for number in range(9000)]
    return gzip.compress(json_spans(*spans).encode(), 1)


def test_a_long_request_holds_up_nobody_before_or_after_a_restart(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    sinks = [{"name": "file", "type": "jsonlines", "path": str(events)}]
    late = {"max_age_s": 600.0, "max_bytes": 1 << 30, "max_events": 1_000_000}  # nothing is delivered before the kill
    bridge = BridgeProcess(tmp_path, exporter={"sinks": sinks, "batch": late})
    body = long_request()
    bridge.start()
    try:
        probe = Probe(bridge)
        started = time.monotonic()
        status, _ = bridge.post("/v1/traces", body, Content_Type="application/json", Content_Encoding="gzip")
        took_s, waited_s = time.monotonic() - started, probe.end()
        assert status == 200
        assert waited_s < took_s / 2, "others waited for the long request"

        bridge.kill()
        assert not events.exists() or not events.read_bytes()
        bridge.configure(exporter={"sinks": sinks})
        started = time.monotonic()
        bridge.start()
        probe = Probe(bridge)
        eventually(lambda: bridge.metric("weighbridge_spool_requests") == 0, "the long request is delivered", 120)
        took_s, waited_s = time.monotonic() - started, probe.end()
        assert waited_s < took_s / 3, "others waited for what came before the restart"
        lines = events.read_text().splitlines()
        assert len({json.loads(line)["span"]["id"] for line in lines}) == 9000
    finally:
        bridge.stop()


def test_sigterm_is_obeyed_while_a_long_request_is_decoded_again(tmp_path: Path) -> None:
    sinks = [{"name": "file", "type": "jsonlines", "path": str(tmp_path / "events.jsonl")}]
    bridge = BridgeProcess(tmp_path, exporter={"sinks": sinks})
    bridge.start()
    try:
        status, _ = bridge.post("/v1/traces", long_request(), Content_Type="application/json", Content_Encoding="gzip")
        assert status == 200
        bridge.kill()
        bridge.start()
        assert bridge.stop() == 0  # within a minute: it drains, or leaves to the spool what takes too long
        assert "Traceback" not in bridge.log.read_text()
    finally:
        bridge.kill()
