"""README's programs in other languages: built as they stand there, run, and their calls have a caller.

.NET and Rust are not built here: the first cannot be, the second takes minutes.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import BridgeProcess, eventually, free_port
from project_files import ROOT

pytestmark = [pytest.mark.tools, pytest.mark.process]

README = (ROOT / "README.md").read_text()
JAVA = """
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

class Orders {
    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
        server.createContext("/v1/orders/", call -> {
            call.sendResponseHeaders(200, 2);
            call.getResponseBody().write("17".getBytes());
            call.close();
        });
        server.start();
    }
}
"""
BUILD_S = 600


def variables(language: str) -> dict[str, str]:
    """What the block of a language exports."""
    block = README.partition(f"**{language}**")[2].partition("```sh\n")[2].partition("```")[0]
    exported = (pair for line in re.findall(r"^export (.*)$", block, re.MULTILINE) for pair in line.split())
    return dict(pair.split("=", 1) for pair in exported if "=" in pair)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path_factory.mktemp("b"), mapping={"identify_company": {"jwt_claim": "company_id"}})
    process.start()
    yield process
    process.stop()


def called(command: list[str], port: int, authorization: str, bridge: BridgeProcess, **environment: str) -> None:
    """Runs the program, calls it, and looks whether the store knows who called."""
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": bridge.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    program = subprocess.Popen(command, env={**os.environ, **environment, **told}, stderr=subprocess.DEVNULL)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/orders/17", headers={"Authorization": authorization})

    def answers() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(answer.read() == b"17")
        except OSError:
            return False

    sql = "SELECT count() AS n FROM api_events WHERE service = {s:String} AND user_id = '4711' AND company_id = 'acme' "
    sql += "AND method = 'GET' AND status_code = 200 AND startsWith(endpoint, '/v1/orders/')"
    try:
        eventually(answers, "the program answers", timeout_s=120)
        service = environment["OTEL_SERVICE_NAME"]
        known = sql.replace("{s:String}", f"'{service}'")
        eventually(lambda: bridge.query(known)[0]["n"], "the store knows who called", timeout_s=60)
    finally:
        program.terminate()
        program.wait(60)


def test_the_go_program_names_its_caller(bridge: BridgeProcess, tmp_path: Path) -> None:
    (source,) = re.findall(r"^```go\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    port = free_port()
    (tmp_path / "main.go").write_text(source.replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
    gets = re.findall(r"^go get (.*)$", README, re.MULTILINE)
    assert gets
    steps = [["go", "mod", "init", "orders"], *(["go", "get", *line.split()] for line in gets)]
    steps += [["go", "mod", "tidy"], ["go", "build", "-o", "orders", "."]]
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false"}
    for step in steps:
        done = subprocess.run(step, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BUILD_S)
        assert done.returncode == 0, (step, done.stderr)
    basic = base64.b64encode(b"4711:acme").decode()
    called([str(tmp_path / "orders")], port, f"Basic {basic}", bridge, OTEL_SERVICE_NAME="orders-go")


def test_the_java_agent_names_the_caller_of_an_untouched_program(bridge: BridgeProcess, tmp_path: Path) -> None:
    agent = re.search(r"`(io\.opentelemetry\.javaagent:opentelemetry-javaagent:([\d.]+))`", README)
    assert agent
    copy = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={agent[1]}", f"-DoutputDirectory={tmp_path}"]
    done = subprocess.run(copy, cwd=tmp_path, capture_output=True, text=True, timeout=BUILD_S)
    assert done.returncode == 0, done.stdout[-2000:]
    (tmp_path / "Orders.java").write_text(JAVA)
    port = free_port()

    def part(value: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    token = f"{part({'alg': 'none'})}.{part({'sub': '4711', 'company_id': 'acme'})}.x"
    jar = tmp_path / f"opentelemetry-javaagent-{agent[2]}.jar"
    command = ["java", f"-javaagent:{jar}", str(tmp_path / "Orders.java"), str(port)]
    exported = variables("Java") | {"OTEL_SERVICE_NAME": "orders-java"}
    assert "OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS" in exported
    called(command, port, f"Bearer {token}", bridge, **exported)
