"""`weighbridge check --live`: each kind of destination is tried for real, and what is wrong is said in words."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import COMMAND, BridgeProcess, free_port
from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import WRITER, password
from sink_kafka import Kafka
from spool_tools import on_a_loop

pytestmark = pytest.mark.process


def check(folder: Path, *sinks: dict[str, Any], **sections: Any) -> tuple[int, list[str], str]:
    """The exit code, the lines, and what was said on standard error."""
    settings = {"spool": {"directory": str(folder / "spool")}, "exporter": {"sinks": list(sinks)}, **sections}
    (folder / "w.yaml").write_text(yaml.safe_dump(settings))
    command = [*COMMAND, "check", "--live", "--config", str(folder / "w.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    return done.returncode, done.stdout.splitlines(), done.stderr


class Answering:
    """An HTTP server on loopback that answers by path and header, and notes what it was asked."""

    def __init__(self, key: tuple[str, str], paths: dict[str, int]) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.command, self.path, body))
                status = paths.get(self.path, 404) if self.headers.get(key[0]) == key[1] else 401
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[Answering]:
    found = Answering(*request.param)
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_a_server_is_asked_who_it_is_and_its_password_is_tried(tmp_path: Path, engine: EngineProcess) -> None:
    def sink(secret: str, port: int = engine.port) -> dict[str, Any]:
        return {"name": "store", "type": "clickhouse", "dsn": f"http://{WRITER}:{secret}@127.0.0.1:{port}/analytics"}

    secret = password(engine.data, WRITER)
    code, (line,), _ = check(tmp_path, sink(secret))
    assert (code, line.startswith("store  ok     ClickHouse 2")) == (0, True), line
    assert "analytics.api_events" in line
    code, (line,), complaint = check(tmp_path, sink("wrong"))
    assert (code, "WRONG" in line, f"does not let user '{WRITER}' in" in line) == (1, True, True), line
    assert "not in order: store" in complaint
    closed = free_port()
    code, (line,), _ = check(tmp_path, sink(secret, closed))
    assert (code, f"nobody listens on 127.0.0.1:{closed} (connection refused)" in line) == (1, True), line
    assert secret not in line


def test_the_embedded_engine_is_tried_where_it_would_run(tmp_path: Path) -> None:
    dsn = f"chdb://{tmp_path}/new/store"
    code, (line,), _ = check(tmp_path, {"name": "store", "type": "clickhouse", "dsn": dsn})
    assert (code, "runs here" in line, "GB are free" in line) == (0, True, True), line
    assert not (tmp_path / "new").exists()  # nothing is made


def test_the_engine_of_a_running_bridge_is_left_alone(bridge: BridgeProcess) -> None:
    done = bridge.command("check", "--live")
    assert "the engine of a running bridge (process " in done.stdout


@pytest.mark.parametrize("answering", [(("X-Moesif-Application-Id", "right"), {"/v1/config": 200})], indirect=True)
def test_moesif_is_asked_for_its_configuration(answering: Answering, tmp_path: Path) -> None:
    def sink(key: str, base: str = answering.url) -> dict[str, Any]:
        return {"name": "moesif", "type": "moesif", "application_id": key, "base_url": base}

    code, (line,), _ = check(tmp_path, sink("right"))
    assert (code, "knows this application" in line) == (0, True)
    assert [asked[:2] for asked in answering.asked] == [("GET", "/v1/config")]  # no event is sent
    code, (line,), _ = check(tmp_path, sink("wrong"))
    assert (code, "does not know this application_id (401)" in line) == (1, True)
    code, (line,), _ = check(tmp_path, sink("right", answering.url + "/api"))
    assert (code, "is base_url right?" in line) == (1, True)


@pytest.mark.parametrize("answering", [(("Api-Key", "right"), {"/v1/traces": 200, "/v1/metrics": 200})], indirect=True)
def test_an_otlp_endpoint_gets_requests_without_records(answering: Answering, tmp_path: Path) -> None:
    def sink(key: str, *signals: str) -> dict[str, Any]:
        headers = {"Api-Key": key}
        return {"name": "o", "type": "otlphttp", "endpoint": answering.url, "headers": headers, "signals": [*signals]}

    telemetry = {"otlp_endpoint": answering.url, "headers": {"Api-Key": "right"}}
    code, lines, _ = check(tmp_path, sink("right", "traces"), telemetry=telemetry)
    assert (code, [line.split()[:2] for line in lines]) == (0, [["o", "ok"], ["telemetry", "ok"]])
    assert sorted(answering.asked) == [("POST", "/v1/metrics", b""), ("POST", "/v1/traces", b"")]
    code, (line,), _ = check(tmp_path, sink("wrong", "traces"))
    assert (code, "does not let us in (401): look at `headers`" in line) == (1, True)
    code, (line,), _ = check(tmp_path, sink("right", "traces", "logs"))
    assert (code, "has no /v1/logs (404)" in line) == (1, True)


@on_a_loop
async def test_kafka_is_asked_for_its_topics(tmp_path: Path) -> None:
    cluster = Kafka(tmp_path)
    await cluster.start()
    made = cluster.settings().topic

    def sink(topic: str, brokers: list[str] = cluster.brokers) -> dict[str, Any]:
        return {"name": "k", "type": "kafka", "brokers": brokers, "topic": topic}

    cluster._cluster.list_topics(made, timeout=30)  # the mock makes a topic that is asked for by name
    code, (line,), _ = check(tmp_path, sink(made))
    assert (code, made in line) == (0, True), line
    code, (line,), _ = check(tmp_path, sink("absent"))
    assert (code, "the brokers have no topic absent" in line) == (1, True), line
    closed = free_port()
    code, (line,), _ = check(tmp_path, sink(made, [f"127.0.0.1:{closed}"]))
    assert (code, "nobody listens on" in line) == (1, True), line
    await cluster.stop()


def test_files_are_opened_and_not_made(tmp_path: Path) -> None:
    here = {"name": "files", "type": "jsonlines", "path": str(tmp_path / "events.jsonl")}
    code, (line,), _ = check(tmp_path, here)
    assert (code, "can be written" in line) == (0, True)
    assert not (tmp_path / "events.jsonl").exists()
    (tmp_path / "no").write_text("a file")
    code, _, complaint = check(tmp_path, {**here, "path": str(tmp_path / "no" / "events.jsonl")})
    assert (code, "no directory" in complaint) == (2, True)


def test_one_that_is_wrong_hides_none_of_the_others(tmp_path: Path) -> None:
    files = {"name": "files", "type": "jsonlines", "path": "-"}
    gone = {"name": "gone", "type": "otlphttp", "endpoint": "http://no-such-host.invalid:4318"}
    code, lines, complaint = check(tmp_path, files, gone, {"name": "none", "type": "blackhole"})
    assert (code, [line.split()[1] for line in lines]) == (1, ["ok", "WRONG", "ok"])
    assert "the name no-such-host.invalid is not known here" in lines[1]
    assert "not in order: gone" in complaint


def test_a_certificate_that_nobody_vouches_for_is_named(tmp_path: Path) -> None:
    made, key = tmp_path / "s.crt", tmp_path / "s.key"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    bridge = BridgeProcess(tmp_path, receiver={"tls": {"certificate_file": str(made), "private_key_file": str(key)}})
    bridge.configure(
        receiver={
            "endpoint": f"127.0.0.1:{bridge.port}",
            "tls": {"certificate_file": str(made), "private_key_file": str(key)},
        },
        exporter={"sinks": [{"name": "n", "type": "blackhole"}]},
    )
    bridge.start()
    other = tmp_path / "other"
    other.mkdir()

    def sink(scheme: str) -> dict[str, Any]:
        return {"name": "o", "type": "otlphttp", "endpoint": f"{scheme}://localhost:{bridge.port}"}

    try:
        code, (line,), _ = check(other, sink("https"))
        assert (code, "is not accepted: self-signed certificate" in line.replace("self signed", "self-signed")) == (
            1,
            True,
        )
        code, (line,), _ = check(other, sink("http"))
        assert (code, "WRONG" in line) == (1, True)
    finally:
        assert bridge.stop() == 0


def test_a_port_that_accepts_and_says_nothing_has_an_end(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port = mute.getsockname()[1]
        sink = {"name": "o", "type": "otlphttp", "endpoint": f"http://127.0.0.1:{port}"}
        code, (line,), _ = check(tmp_path, sink)
    assert (code, "no answer" in line) == (1, True), line
    json.dumps(line)
