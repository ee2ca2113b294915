"""Drivers as they are read the embedded store: clickhouse-go (Grafana), JDBC (Metabase), the dialect of SQLAlchemy that
Superset uses.
"""

from __future__ import annotations

import os
import subprocess
import sys
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
SQLALCHEMY = ("1.4.54", "2.1.9")  # of which Superset has the first until its version 6


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


@pytest.mark.parametrize("version", SQLALCHEMY)
def test_the_dialect_of_sqlalchemy_describes_and_charts(address: str, version: str, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--target", str(tmp_path))
    run(*pip, f"sqlalchemy=={version}", cwd=HERE, timeout_s=BUILD_S)
    ask = (sys.executable, str(HERE / "sqlalchemy" / "ask.py"), address, "grafana", SECRET)
    done = subprocess.run(ask, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        *("ping 1", "schemas True", "tables api_calls api_events api_minutes", "has True False"),
        *("columns True True True", "chart 4 18 datetime", "lab [('user-0', 10), ('user-1', 10), ('user-2', 8)]"),
        *("preview 5 dict", "bound True", "refused True", "refused True"),
    ], done.stderr
