"""The engine process: a stock ClickHouse client is content with it, and it dies no other death than a clean one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from bridge import eventually
from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import READER, password, read_published
from exporter.clickhouse.engine.settings import EngineSettings
from exporter.clickhouse.engine.supervisor import EngineFailed, EngineSupervisor, command, environment

MAKE = "CREATE TABLE analytics.t (a UInt32, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a SETTINGS "
DURABLE = "non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("engine") / "store")
    process.client().command("CREATE DATABASE analytics ENGINE = Atomic")
    yield process
    assert process.stop() == 0


@pytest.fixture
def table(engine: EngineProcess) -> Iterator[str]:
    client = engine.client()
    client.command(MAKE + DURABLE)
    yield "analytics.t"
    client.command("DROP TABLE analytics.t SYNC")


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_a_stock_client_inserts_and_reads_back(engine: EngineProcess, table: str, compress: Any) -> None:
    """20,000 rows: the client sends them as blocks of 8,192, each compressed by itself."""
    client = engine.client(compress=compress)
    rows = [[number, f"name-{number % 7}"] for number in range(20_000)]
    assert client.insert(table, rows, column_names=["a", "s"]).written_rows == 20_000
    assert client.query(f"SELECT count(), sum(a) FROM {table}").result_rows == [(20_000, 199_990_000)]
    answer = client.query(
        "SELECT a, s FROM analytics.t WHERE a < {below:UInt32} AND s = {name:String} ORDER BY a",
        parameters={"below": 15, "name": "name-1"},
    )
    assert answer.result_rows == [(1, "name-1"), (8, "name-1")]
    assert client.ping()


def test_a_token_makes_a_second_insert_of_the_same_rows_harmless(engine: EngineProcess, table: str) -> None:
    client = engine.client()
    for _ in range(2):
        client.insert(table, [[1, "x"]], column_names=["a", "s"], settings={"insert_deduplication_token": "one"})
    client.raw_insert(table, ["a", "s"], b"2\ty'\n3\tz\n", fmt="TSV", settings={"insert_deduplication_token": "two"})
    assert client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows == [(1, "x"), (2, "y'"), (3, "z")]


def test_errors_carry_clickhouses_code(engine: EngineProcess) -> None:
    client = engine.client()
    with pytest.raises(DatabaseError) as unknown:
        client.query("SELECT nothing FROM system.one")
    assert unknown.value.code == 47
    with pytest.raises(DatabaseError) as missing:
        client.insert("analytics.none", [[1]], column_names=["a"], column_type_names=["UInt8"])
    assert missing.value.code == 60


def test_without_the_password_nothing_is_answered(engine: EngineProcess) -> None:
    assert engine.ask("SELECT 1", user="nobody")[0] == 516
    assert (engine.data / "reader.password").stat().st_mode & 0o777 == 0o600
    assert (engine.data / "writer.password").stat().st_mode & 0o777 == 0o600
    assert password(engine.data, READER) not in (engine.data / "engine.json").read_text()


def test_a_half_answer_is_not_put_in_front_of_the_next(engine: EngineProcess) -> None:
    """A statement that fails after it has written part of its result must not leave that part behind."""
    for _ in range(4):  # more than there are connections
        code, body = engine.ask("SELECT throwIf(number = 3000000), 'a secret of somebody else' FROM numbers(4000000)")
        assert code == 395
        assert "secret" not in body.partition("In scope")[0].partition("while executing")[0]
        assert engine.ask("SELECT 1") == (0, "1\n")
    code, _ = engine.ask("SELECT throwIf(number = 3000000), 'a secret' FROM numbers(4000000)", user="writer")
    assert code == 395
    assert engine.ask("SELECT 1", user="writer") == (0, "1\n")


def test_settings_of_one_statement_do_not_stay_for_the_next(engine: EngineProcess) -> None:
    question = "SELECT getSetting('max_block_size')"
    default = engine.ask(question, user="writer")
    assert engine.ask(question, user="writer", max_block_size="77") == (0, "77\n")
    assert engine.ask(question, user="writer") == default


def test_a_writer_that_asks_to_be_read_only_is_a_reader_for_that_statement(engine: EngineProcess, table: str) -> None:
    insert = f"INSERT INTO {table} VALUES (1, 'x')"
    assert engine.ask(insert, user="writer", readonly="2")[0] == 164
    assert engine.ask("SELECT * FROM file('/etc/hostname')", user="writer", readonly="1")[0] == 164
    assert engine.ask(insert, user="writer")[0] == 0
    assert engine.ask(f"SELECT a FROM {table}", user="writer", readonly="2") == (0, "1\n")


def test_a_slow_reader_does_not_hold_up_an_insert(engine: EngineProcess, table: str) -> None:
    reading = threading.Thread(target=engine.ask, args=("SELECT sum(sipHash64(number)) FROM numbers(100000000)",))
    started = time.monotonic()
    reading.start()
    engine.client().insert(table, [[1, "x"]], column_names=["a", "s"])
    inserted = time.monotonic() - started
    reading.join()
    assert inserted < time.monotonic() - started


def test_what_it_says_about_itself_is_true_and_gone_at_the_end(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path)
    found = read_published(tmp_path)
    assert found is not None
    assert (found.port, found.pid) == (engine.port, engine.process.pid)
    assert engine.stop() == 0
    assert read_published(tmp_path) is None


def test_a_second_engine_waits_for_the_first_and_names_it_when_it_gives_up(tmp_path: Path) -> None:
    first = EngineProcess(tmp_path)
    impatient = EngineProcess(tmp_path, lock_wait_s=0.2)
    assert f"in use by another process (process {first.process.pid})" in impatient.said["error"]
    assert impatient.stop() == 1
    ending = threading.Timer(0.5, first.stop)
    ending.start()
    patient = EngineProcess(tmp_path, lock_wait_s=20)
    ending.join()
    assert patient.ask("SELECT 1") == (0, "1\n")
    assert patient.stop() == 0


def test_sigterm_lets_the_running_insert_finish(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path)
    engine.client().command("CREATE DATABASE analytics ENGINE = Atomic")
    engine.client().command(MAKE + DURABLE)
    codes: list[int] = []
    insert = "INSERT INTO analytics.t SELECT number, toString(sipHash64(number)) FROM numbers(3000000)"
    inserting = threading.Thread(target=lambda: codes.append(engine.ask(insert, user="writer")[0]))
    inserting.start()
    time.sleep(0.3)
    assert inserting.is_alive()
    engine.process.send_signal(signal.SIGTERM)
    inserting.join()
    assert codes == [0]
    assert engine.stop() == 0
    again = EngineProcess(tmp_path)
    assert again.ask("SELECT count() FROM t") == (0, "3000000\n")
    assert again.stop() == 0


PARENT = """
import asyncio, pathlib, sys
from exporter.clickhouse.engine.supervisor import EngineSupervisor
async def main():
    supervisor = EngineSupervisor(pathlib.Path(sys.argv[1]))
    await supervisor.start()
    print(supervisor.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_signals_in_quick_succession_end_it_like_one(tmp_path: Path) -> None:
    """A signal that arrives while the last one is being handled must not leave it waiting for itself."""
    for _ in range(3):
        process = EngineProcess(tmp_path)
        for _ in range(300):
            process.process.send_signal(signal.SIGTERM)
        assert process.stop() in (0, -signal.SIGTERM)  # the interpreter itself is ended by one that comes last


def test_an_engine_that_waits_for_the_data_ends_when_its_parent_does(tmp_path: Path) -> None:
    first = EngineProcess(tmp_path)
    waiting = subprocess.Popen(
        command(tmp_path, EngineSettings(lock_wait_s=60)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    time.sleep(1.0)
    assert waiting.poll() is None
    assert waiting.communicate(timeout=60)[0] == b""
    assert waiting.returncode == 1
    assert first.stop() == 0


def test_the_engine_ends_with_its_parent_and_frees_the_data(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert os.path.exists(f"/proc/{pid}")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the engine ends", 10)
    successor = EngineProcess(tmp_path, lock_wait_s=0)
    assert successor.ask("SELECT 1") == (0, "1\n")
    assert successor.stop() == 0


def test_a_killed_engine_is_started_again(tmp_path: Path) -> None:
    async def go() -> None:
        supervisor = EngineSupervisor(tmp_path)
        first = await supervisor.start()
        pid = supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while supervisor.endpoint == first:
                await asyncio.sleep(0.01)
            assert supervisor.endpoint is None
            second = await supervisor.ready()
        assert second.password == first.password
        assert supervisor.pid is not None
        assert os.getsid(supervisor.pid) != os.getsid(0)  # Ctrl-C must not reach it before the last flush
        assert supervisor.restarts == 1
        await supervisor.stop()
        assert supervisor.endpoint is None

    asyncio.run(go())


def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def go() -> None:
        supervisor = EngineSupervisor(tmp_path / "file" / "store", EngineSettings(lock_wait_s=0))
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(EngineFailed, match="Not a directory"):
            await supervisor.start()
        await supervisor.stop()

    asyncio.run(go())


def test_an_engine_that_cannot_use_its_data_says_so_in_one_line(tmp_path: Path) -> None:
    """The engine adds pages of addresses in its own code, at every try."""

    async def go() -> None:
        supervisor = EngineSupervisor(tmp_path, EngineSettings(lock_wait_s=0))
        (tmp_path / "data").write_text("in the way")
        with pytest.raises(EngineFailed) as failed:
            await supervisor.start()
        await supervisor.stop()
        assert "\n" not in str(failed.value)
        assert "Stack trace" not in str(failed.value)

    asyncio.run(go())
