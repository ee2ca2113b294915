"""One destination is away, comes late, or is taken out of the settings: the others and the spool do not mind."""

from __future__ import annotations

import gzip
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeProcess, eventually, free_port
from otlp_requests import spans_request

RETRY = {"initial_interval_s": 0.1, "max_interval_s": 0.3}


class Endpoint:
    """An OTLP endpoint that is away until `start`; keeps what it is sent."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if endpoint.status == 200:
                    endpoint.received.append((self.path, dict(self.headers), body))
                self.send_response(endpoint.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.stop()


def copy(endpoint: Endpoint) -> dict[str, Any]:
    return {"name": "copy", "type": "otlphttp", "endpoint": f"http://127.0.0.1:{endpoint.port}", "retry": RETRY}


def lines(directory: Path, name: str = "lines") -> dict[str, Any]:
    return {"name": name, "type": "jsonlines", "path": str(directory / f"{name}.jsonl")}


def written(directory: Path, name: str = "lines") -> list[str]:
    path = directory / f"{name}.jsonl"
    return [json.loads(line)["span"]["id"] for line in path.read_text().splitlines()] if path.exists() else []


def settings(*sinks: dict[str, Any]) -> dict[str, Any]:
    return {"exporter": {"sinks": list(sinks), "batch": {"max_age_s": 0.1}}}


def send(bridge: BridgeProcess, count: int, seed: int) -> tuple[list[bytes], set[str], float]:
    """Requests as sent, but for the time in their gzip header, which the receiver sets to zero; their span ids; and
    the longest time one took to be acknowledged.
    """
    dice = random.Random(seed)
    bodies, ids, longest = [], set[str](), 0.0
    for _ in range(count):
        span_ids, plain = spans_request(dice, 50)
        body = gzip.compress(plain, mtime=seed)
        began = time.monotonic()
        assert bridge.post("/v1/traces", body, Content_Encoding="gzip")[0] == 200
        longest = max(longest, time.monotonic() - began)
        bodies.append(body[:4] + bytes(4) + body[8:])
        ids |= span_ids
    return bodies, ids, longest


def test_a_dead_destination_slows_nobody_and_catches_up_byte_for_byte(tmp_path: Path, endpoint: Endpoint) -> None:
    store = {"name": "store", "type": "clickhouse", "dsn": f"chdb://{tmp_path}/store"}
    bridge = BridgeProcess(tmp_path, **settings(store, lines(tmp_path), copy(endpoint)))
    bridge.start()
    try:
        bodies, ids, longest = send(bridge, 40, seed=1)
        assert longest < 20, "nobody waits for the one that is away"
        eventually(lambda: len(written(tmp_path)) >= 2000, "the file has all")
        eventually(lambda: bridge.query("SELECT count() AS n FROM api_events") == [{"n": 2000}], "the store has all")
        assert set(written(tmp_path)) == ids
        assert bridge.metric("weighbridge_spool_requests") == 40, "the spool keeps them for the one that is away"
        rows = {row["sink"]: row for row in bridge.ledger()["sinks"]}
        assert (rows["copy"]["in_spool"], rows["copy"]["delivered"], rows["lines"]["delivered"]) == (2000, 0, 2000)

        endpoint.start()
        eventually(lambda: len(endpoint.received) >= 40, "the one that was away catches up")
        eventually(lambda: bridge.metric("weighbridge_spool_requests") == 0, "the spool lets go")
        assert sorted(body for _, _, body in endpoint.received) == sorted(bodies)
        path, headers, _ = endpoint.received[0]
        assert (path, headers["Content-Type"], headers["Content-Encoding"]) == (
            "/v1/traces",
            "application/x-protobuf",
            "gzip",
        )
        ledger = bridge.ledger()
        assert {row["sink"]: row["delivered"] for row in ledger["sinks"]} == dict.fromkeys(
            ("store", "lines", "copy"), 2000
        )
        assert not any(ledger["residue"].values())

        endpoint.status = 400
        send(bridge, 1, seed=2)
        listed = eventually(lambda: bridge.command("deadletter", "list").stdout, "what it refuses for good is listed")
        assert "the destination answered 400" in listed
        shown = json.loads(bridge.command("deadletter", "show", listed.split()[2]).stdout)
        assert len(bridge.command("map", shown["file"]).stdout.splitlines()) == 50
        endpoint.status = 200
        assert bridge.command("deadletter", "replay", "--reason", "answered 400").stdout.startswith("50 ")
        assert len(endpoint.received) == 41
        assert bridge.command("deadletter", "list").stdout == ""
    finally:
        assert bridge.stop() == 0


def test_a_destination_that_never_answers_holds_up_neither_a_command_nor_the_exit(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = "; ".join(
        (
            "from weighbridge import cli, deliveries",
            "from weighbridge.admin import health",
            "deliveries.DRAIN_S = deliveries.CLOSE_S = health.REPLAY_ANSWER_S = 0.3",
            "cli.main()",
        )
    )
    monkeypatch.setattr("bridge.COMMAND", [sys.executable, "-P", "-c", impatient])
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        dsn = f"http://127.0.0.1:{silent.getsockname()[1]}/analytics"
        bridge = BridgeProcess(
            tmp_path, **settings({"name": "store", "type": "clickhouse", "dsn": dsn}, copy(endpoint))
        )
        endpoint.status = 400
        endpoint.start()
        bridge.start()
        send(bridge, 1, seed=7)
        eventually(lambda: bridge.command("deadletter", "list").stdout, "the request is refused")
        endpoint.status = 503
        send(bridge, 1, seed=8)
        for _ in range(2):
            assert bridge.command("deadletter", "replay").stdout.startswith("their destination is away or busy")
        endpoint.status = 200
        eventually(lambda: bridge.command("deadletter", "list").stdout == "", "it is sent when it can be")
        assert len(endpoint.received) == 2, "each once"
        began = time.monotonic()
        assert bridge.stop() == 0
        assert time.monotonic() - began < 30
    log = bridge.log.read_text()
    assert "sink store hangs in a call" in log
    assert "Traceback" not in log


def test_sinks_come_and_go_with_the_settings(tmp_path: Path, endpoint: Endpoint) -> None:
    bridge = BridgeProcess(tmp_path, **settings(lines(tmp_path), copy(endpoint)))
    try:
        bridge.start()
        _, before, _ = send(bridge, 10, seed=3)
        eventually(lambda: len(written(tmp_path)) == 500, "the file has all")
        bridge.kill()

        bridge.configure(**settings(lines(tmp_path), copy(endpoint), lines(tmp_path, "later")))
        bridge.start()
        _, after, _ = send(bridge, 1, seed=4)
        eventually(lambda: len(written(tmp_path, "later")) == 550, "the new one begins with the oldest in the spool")
        assert set(written(tmp_path, "later")) == before | after
        assert "sink later is new: it begins with the oldest request in the spool" in bridge.log.read_text()
        rows = {row["sink"]: row for row in bridge.ledger()["sinks"]}
        assert (rows["later"]["received"], rows["later"]["in_spool"]) == (550, 0)
        assert (rows["copy"]["in_spool"], rows["copy"]["catching_up"]) == (50, True)
        bridge.kill()

        bridge.configure(**settings(lines(tmp_path), lines(tmp_path, "later")))
        bridge.start()
        eventually(lambda: bridge.metric("weighbridge_spool_requests") == 0, "the spool waits for nobody")
        assert "sink copy is not in the settings any more" in bridge.log.read_text()
        assert (tmp_path / "spool" / "sinks" / "copy.journal").exists()
        assert len(written(tmp_path)) == 550, "nothing came twice"
        _, last, _ = send(bridge, 1, seed=5)
        eventually(lambda: last <= set(written(tmp_path)), "it goes on")
        assert bridge.stop() == 0

        endpoint.start()
        bridge.configure(**settings(lines(tmp_path), copy(endpoint)))
        bridge.start()
        bodies, _, _ = send(bridge, 1, seed=6)
        eventually(lambda: bodies[0] in [body for _, _, body in endpoint.received], "the one that is back goes on")
        eventually(lambda: bridge.metric("weighbridge_spool_requests") == 0, "the spool lets go")
        assert not any(bridge.ledger()["residue"].values())
    finally:
        bridge.stop()


def test_the_port_of_an_absent_endpoint_is_free() -> None:
    """What the tests above mean by away."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", Endpoint().port)) != 0
