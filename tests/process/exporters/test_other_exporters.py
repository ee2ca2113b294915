"""Exporters of other versions and languages, in environments of their own (`pytest -m exporters`)."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otlp_http import RunningReceiver
from receiver.intake import Overloaded, Received

pytestmark = pytest.mark.exporters

HERE = Path(__file__).parent
OLD_PYTHON = "1.43.0"  # the last before 5xx other than 502, 503, 504 and 429 were sorted anew
SEND_PYTHON = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
for number in range(20):
    with provider.get_tracer("t").start_as_current_span("GET /items", attributes={"number": number}):
        pass
exporter = OTLPSpanExporter(endpoint=sys.argv[1] + "/v1/traces", compression=Compression(sys.argv[2]))
print(exporter.export(memory.get_finished_spans()).name)
"""


def run(*command: str, cwd: Path | None = None, timeout_s: float = 120) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the older exporter."""
    home = tmp_path_factory.mktemp("old-python")
    run(sys.executable, "-m", "venv", str(home))
    python = str(home / "bin" / "python")
    run(python, "-m", "pip", "install", "-q", f"opentelemetry-exporter-otlp-proto-http=={OLD_PYTHON}", timeout_s=300)
    return python


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with send.mjs and the packages it needs."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    home = tmp_path_factory.mktemp("node")
    for file in ("package.json", "send.mjs"):
        shutil.copy(HERE / "node" / file, home / file)
    run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=home, timeout_s=300)
    return home


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_an_older_python_exporter(server: RunningReceiver, old_python: str, compression: str) -> None:
    assert run(old_python, "-c", SEND_PYTHON, f"http://127.0.0.1:{server.port}", compression).strip() == "SUCCESS"
    assert server.last.decoded.accepted == 20


def test_an_older_python_exporter_sends_again_after_503(server: RunningReceiver, old_python: str) -> None:
    """It ignores Retry-After and drops the data on a 429."""
    refused: list[Received] = []

    async def once(received: Received) -> None:
        if not refused:
            refused.append(received)
            raise Overloaded("full", 1)

    server.intake.before = once
    assert run(old_python, "-c", SEND_PYTHON, f"http://127.0.0.1:{server.port}", "gzip").strip() == "SUCCESS"
    assert [received.body for received in server.intake.received] == [refused[0].body]


def sent(home: Path, server: RunningReceiver, encoding: str, compression: str, count: int) -> list[str]:
    base = f"http://127.0.0.1:{server.port}/some/base"
    out = run("node", "send.mjs", base, encoding, compression, str(count), cwd=home)
    return list(json.loads(out.strip().splitlines()[-1]))


@pytest.mark.parametrize("encoding", ["json", "proto"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_node_exporters(server: RunningReceiver, node: Path, encoding: str, compression: str) -> None:
    assert set(sent(node, server, encoding, compression, 700)) == {"ok"}
    by_signal = {"traces": 0, "logs": 0}
    for received in server.intake.received:
        by_signal[received.signal] += received.decoded.accepted
        assert received.decoded.refused == 0
        assert (received.content_type, received.content_encoding) == (
            "application/json" if encoding == "json" else "application/x-protobuf",
            "" if compression == "none" else "gzip",
        )
    assert by_signal == {"traces": 700, "logs": 700}

    record = next(item for item in server.intake.received if item.signal == "traces").decoded.groups[0].records[0]
    values: dict[str, Any] = {key.partition("\0")[0]: value for key, value, _ in record.entries}
    assert (values["text"], values["whole"], values["half"]) == ("grüße 🚚", 42, 0.5)
    assert values["large"] == 9007199254740991
    if encoding == "proto":  # JSON has no word for them: JavaScript writes null
        assert math.isnan(values["nan"])
        assert values["infinite"] == math.inf
    log = next(item for item in server.intake.received if item.signal == "logs").decoded.groups[0].records[0]
    assert log.body["nested"]["list"][:2] == [1, "two"]  # type: ignore[union-attr]
    assert log.trace_id


def test_node_exporters_send_again_after_503(server: RunningReceiver, node: Path) -> None:
    refused = {"traces": 2, "logs": 2}

    async def twice(received: Received) -> None:
        if refused[received.signal]:
            refused[received.signal] -= 1
            raise Overloaded("full", 1)

    server.intake.before = twice
    assert set(sent(node, server, "proto", "gzip", 100)) == {"ok"}
    assert sum(received.decoded.accepted for received in server.intake.received) == 200


def test_no_lock_file_is_left_in_the_checkout() -> None:
    assert sorted(os.listdir(HERE / "node")) == ["package.json", "send.mjs"]
