"""The port for tools: a stock client as a named user reads, in every format, and can do nothing else."""

from __future__ import annotations

import base64
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from pydantic import ValidationError

from bridge import eventually, free_port
from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import READER, WRITER, password
from exporter.clickhouse.engine.settings import EngineSettings
from store_files import odd_events
from stored import store_events

SECRET = "a long secret"


def with_tools(data: Path, port: int, **more: Any) -> EngineProcess:
    return EngineProcess(data, endpoint=f"127.0.0.1:{port}", users={"grafana": SECRET}, **more)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[EngineProcess]:
    process = with_tools(tmp_path_factory.mktemp("engine") / "store", port, reader_max_result_bytes=2_000_000)
    store_events(process, odd_events(days=2, a_day=30))
    yield process
    assert process.stop() == 0


def client(port: int, user: str = "grafana", secret: str = SECRET) -> Any:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, username=user, password=secret, database="analytics"
    )


def ask(port: int, sql: str, headers: dict[str, str] | None = None, **query: str) -> tuple[int, bytes, str]:
    """Status, body and the format it says."""
    credentials = base64.b64encode(f"grafana:{SECRET}".encode()).decode()
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    wire.request(
        "POST", f"/?{urlencode(query)}", sql.encode(), {"Authorization": f"Basic {credentials}", **(headers or {})}
    )
    answer = wire.getresponse()
    body = answer.read()
    wire.close()
    return answer.status, body, answer.getheader("X-ClickHouse-Format", "")


def test_clickhouse_connect_reads_as_a_named_user(engine: EngineProcess, port: int) -> None:
    reading = client(port)
    rows = reading.query("SELECT user_id, count() FROM api_events GROUP BY user_id ORDER BY user_id").result_rows
    assert [user for user, _ in rows] == [f"user-{number}" for number in range(7)]
    assert sum(count for _, count in rows) == 60
    ((metadata, time),) = reading.query("SELECT metadata, event_time FROM api_events LIMIT 1").result_rows
    assert metadata["flags"]["experiment"] == "x"
    assert time.year == 2026
    assert reading.query(
        "SELECT count() FROM api_calls(since = {a:DateTime64(6)}, until = now64(6))",
        parameters={"a": "2026-01-01 00:00:00"},
    ).result_rows == [(60,)]
    assert {"api_calls", "api_events"} <= set(reading.command("SHOW TABLES").splitlines())
    assert reading.command("EXISTS TABLE `analytics`.`api_events`") == 1
    assert "event_id" in {row[0] for row in reading.query("DESCRIBE TABLE `analytics`.`api_events`").result_rows}
    assert ("api_events",) in reading.query("SELECT name FROM system.tables WHERE database = 'analytics'").result_rows


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE analytics.api_events",
        "INSERT INTO analytics.api_events (event_id) VALUES ('x')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "EXISTS TABLE `default`.`/etc/passwd`",
        'DESCRIBE TABLE "default"."/etc/passwd"',
        "SHOW TABLES FROM `default`",
        "SET readonly = 0",
        "SELECT * FROM system.query_log",
    ],
)
def test_it_can_do_nothing_else(engine: EngineProcess, port: int, statement: str) -> None:
    with pytest.raises(DatabaseError):
        client(port).command(statement)


def test_only_named_users_and_only_there(engine: EngineProcess, port: int) -> None:
    for user, secret in [
        (WRITER, password(engine.data, WRITER)),
        (READER, password(engine.data, READER)),
        ("grafana", "a longer secret"),
        ("grafana", ""),
        ("", ""),
    ]:
        with pytest.raises(DatabaseError):
            client(port, user, secret)
    with pytest.raises(DatabaseError):
        client(engine.port)
    command = Path(f"/proc/{engine.process.pid}/cmdline").read_bytes()
    assert SECRET.encode() not in command
    assert b"grafana" not in command


def test_the_format_is_the_statements_else_the_one_asked_for(engine: EngineProcess, port: int) -> None:
    sql = "SELECT 1 AS a, 'x' AS b"
    assert ask(port, sql) == (200, b"1\tx\n", "TabSeparated")
    assert ask(port, sql, default_format="JSONEachRow") == (200, b'{"a":1,"b":"x"}\n', "JSONEachRow")
    assert ask(port, sql + " FORMAT CSV", default_format="JSONEachRow") == (200, b'1,"x"\n', "CSV")
    assert ask(port, sql, {"X-ClickHouse-Format": "CSV"}) == (200, b'1,"x"\n', "CSV")
    assert ask(port, sql, default_format="TSV; DROP")[0] == 500
    for odd in ("Template", "Regexp", "MySQLWire", "Protobuf", "Npy"):
        status, body, _ = ask(port, sql, default_format=odd)
        assert (status, b"Code: 164" in body) == (500, True)
    status, body, _ = ask(port, sql, compress="1")
    assert (status, b"set compress=false" in body) == (500, True)
    native = b"\x02\x01\x01a\x05UInt8\x01\x01b\x06String\x01x"
    assert ask(port, sql, default_format="Native") == (200, native, "Native")
    head = b"\x01\x00\x02\xff\xff\xff\xff\x00"
    assert ask(port, sql, default_format="Native", client_protocol_version="54483") == (200, head + native, "Native")


def test_every_block_of_a_long_answer_has_its_head_and_long_is_bounded(engine: EngineProcess, port: int) -> None:
    asked: Any = {"default_format": "Native", "client_protocol_version": "54483"}
    status, body, _ = ask(port, "SELECT number FROM numbers(150000)", **asked)
    rows = 0
    while body:
        assert body[:8] == b"\x01\x00\x02\xff\xff\xff\xff\x00"
        size = _varint(body[9:])
        rows += size
        body = body[9 + _length(body[9:]) + len(b"\x06number\x06UInt64") + 8 * size :]
    assert (status, rows) == (200, 150_000)
    status, body, _ = ask(port, "SELECT number FROM numbers(5000000)", **asked)
    assert (status, b"Code: 396" in body) == (500, True)
    assert ask(port, "SELECT 1")[:2] == (200, b"1\n")


def _varint(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data[: _length(data)]))


def _length(data: bytes) -> int:
    return next(place for place, byte in enumerate(data, 1) if byte < 0x80)


def test_a_taken_port_does_not_keep_the_store_from_opening(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        engine = with_tools(tmp_path, port)
        assert engine.ask("SELECT 1") == (0, "1\n")
    eventually(lambda: _answers(port), "the port is taken over", 30)
    assert engine.stop() == 0
    assert not _answers(port)
    again = with_tools(tmp_path, port)
    eventually(lambda: _answers(port), "the next engine has it at once", 30)
    assert again.stop() == 0


def _answers(port: int) -> bool:
    try:
        return ask(port, "SELECT 1")[0] == 200
    except OSError:
        return False


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for wrong in (
        {"endpoint": "127.0.0.1:8123"},
        {"users": {"grafana": SECRET}},
        {"endpoint": "127.0.0.1:8123", "users": {"grafana": "short"}},
        {"endpoint": "127.0.0.1:8123", "users": {"writer": SECRET}},
        {"endpoint": "8123", "users": {"grafana": SECRET}},
    ):
        with pytest.raises(ValidationError):
            EngineSettings.model_validate(wrong)
    assert SECRET not in repr(EngineSettings.model_validate({"endpoint": "[::1]:8123", "users": {"grafana": SECRET}}))
