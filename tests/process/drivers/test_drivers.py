"""clickhouse-go, which Grafana uses, and the JDBC driver, which Metabase uses, read the embedded store as they are."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import free_port
from engine_process import EngineProcess
from store_files import odd_events
from stored import store_events

pytestmark = pytest.mark.drivers

HERE = Path(__file__).parent
SECRET = "a long secret"
BUILD_S = 600  # downloads and compiles, on a machine that does other things too
USERS = [f"user-{number} {count}" for number, count in enumerate((10, 10, 8, 8, 8, 8, 8))]
SUM = "sum 19999900000"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    engine = EngineProcess(
        tmp_path_factory.mktemp("engine") / "store", endpoint=f"127.0.0.1:{port}", users={"grafana": SECRET}
    )
    store_events(engine, odd_events(days=2, a_day=30))
    yield f"127.0.0.1:{port}"
    assert engine.stop() == 0


def run(*command: str, cwd: Path, timeout_s: float = 120, fails: bool = False) -> list[str]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return (done.stderr if fails else done.stdout).splitlines()


def test_clickhouse_go_reads_native_blocks(address: str, tmp_path: Path) -> None:
    run("go", "build", "-o", str(tmp_path / "ask"), ".", cwd=HERE / "go", timeout_s=BUILD_S)
    said = run(str(tmp_path / "ask"), address, "grafana", SECRET, cwd=tmp_path)
    half = len(said) // 2
    assert said[:half] == said[half:]  # without compression, and asking for gzip
    assert [" ".join(line.split()[:2]) for line in said[:7]] == USERS
    assert said[7:half] == [
        *("acme 30", "acme 30", "rows 3 columns true", "late 1 true", SUM, "none false", "refused true")
    ]


def test_the_jdbc_driver_reads_rows_and_metadata(address: str, tmp_path: Path) -> None:
    libraries = tmp_path / "lib"
    fetch = ("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={libraries}")
    run(*fetch, cwd=HERE / "jdbc", timeout_s=BUILD_S)
    java = ("java", "-cp", f"{libraries}/*", str(HERE / "jdbc" / "Ask.java"), address, "grafana", SECRET)
    said = run(*java, "false", cwd=tmp_path)
    assert [" ".join(line.split()[:2]) for line in said[:7]] == USERS
    assert {"table api_calls", "table api_events"} <= set(said)
    rest = [line for line in said[7:] if not line.startswith("table ")]
    assert rest == ["acme 30", "columns true", "rows 3", "none false", SUM, "refused true"]
    run(*java, "true", cwd=tmp_path, fails=True)  # its own compression, which the engine does not have
