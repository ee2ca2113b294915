"""A statement whose asker has gone is stopped, and its connection serves the next one."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import READER, password
from exporter.clickhouse.engine.settings import EngineSettings
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.sinks.clickhouse import Settings

LONG = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"  # hours
LIMIT_S = 120.0  # of what takes no time; far below the engine's own bound of ten minutes here


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path / "data", readers=2, reader_max_execution_s=600)
    yield process
    assert process.stop() == 0


def ask(engine: EngineProcess, sql: str) -> socket.socket:
    """A connection on which a question was sent."""
    credentials = base64.b64encode(f"{READER}:{password(engine.data, READER)}".encode()).decode()
    connection = socket.create_connection(("127.0.0.1", engine.port), timeout=LIMIT_S)
    connection.sendall(
        f"POST /?{urlencode({'query': sql})} HTTP/1.1\r\nHost: engine\r\nAuthorization: Basic {credentials}\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    return connection


def running(engine: EngineProcess) -> int:
    _, body = engine.ask(f"SELECT count() FROM system.processes WHERE startsWith(query, '{LONG}')", "writer")
    return int(body)


def await_running(engine: EngineProcess, count: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while running(engine) != count:
        assert time.monotonic() < deadline, f"{running(engine)} run, not {count}"
        time.sleep(0.05)


def test_abandoned_questions_free_their_connections(engine: EngineProcess) -> None:
    """Both connections and two more that wait for one: all four askers go, and the next is answered."""
    askers = [ask(engine, LONG) for _ in range(4)]
    await_running(engine, 2)
    for connection in askers:
        connection.close()
    assert engine.ask("SELECT 1") == (0, "1\n")
    await_running(engine, 0)


def test_a_question_is_answered_beside_one_that_was_abandoned(engine: EngineProcess) -> None:
    patient = ask(engine, "SELECT sum(sipHash64(number)) FROM numbers(30000000)")
    abandoned = ask(engine, LONG)
    await_running(engine, 1)
    abandoned.close()
    await_running(engine, 0)
    assert patient.recv(15) == b"HTTP/1.1 200 OK"
    patient.close()


def test_a_question_that_meets_a_limit_says_which(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path / "data", reader_max_execution_s=1, reader_max_memory_bytes=100_000_000)
    limits = EngineSettings(reader_max_execution_s=1, reader_max_memory_bytes=100_000_000)
    try:
        with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}?database=system", engine=limits)) as reader:
            with pytest.raises(StoreError, match=r"longer than 1 s \(engine\.reader_max_execution_s\)"):
                reader.query(LONG)
            with pytest.raises(StoreError, match=r"than 100 MB \(engine\.reader_max_memory_bytes\)"):
                reader.query("SELECT length(groupArray(toString(number))) FROM numbers(30000000)")
    finally:
        assert engine.stop() == 0
