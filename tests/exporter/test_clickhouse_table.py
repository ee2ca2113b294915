"""The store's sink and the store: what its errors mean, the table and its versions, connections, and closing."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge import eventually
from clickhouse_rig import NOW_NS, count, event, some, with_sink
from engine_process import EngineProcess
from exporter.clickhouse.errors import sink_error
from exporter.clickhouse.schema import Place, columns, create_statements
from exporter.clickhouse.sink import ClickHouseSink
from exporter.errors import Retryable, SinkError, TooLarge, Unauthorised
from exporter.sink import Batch
from exporter.sinks.clickhouse import Settings, create

# -- errors --------------------------------------------------------------------------------------------------


def test_a_wrong_password_keeps_everything(clean: EngineProcess) -> None:
    async def go() -> None:
        sink = create(Settings(name="store", dsn=f"http://writer:wrong@127.0.0.1:{clean.port}"))
        with pytest.raises(Unauthorised, match="516"):
            await sink.open()
        await sink.close()

    asyncio.run(go())


def test_an_absent_server_is_tried_again(tmp_path: Path) -> None:
    async def go() -> None:
        sink = create(Settings(name="store", dsn="http://127.0.0.1:1"))
        with pytest.raises(Retryable):
            await sink.open()
        with pytest.raises(Retryable):
            await sink.write(Batch(1, some(1)), in_doubt=False)
        await sink.close()
        down = create(Settings(name="store", dsn=f"chdb://{tmp_path}"), lambda: None)
        with pytest.raises(Retryable, match="starting again"):
            await down.open()
        await down.close()

    asyncio.run(go())


class Failure(Exception):
    def __init__(self, code: int | None) -> None:
        super().__init__("row 4: 'the customer\\'s password'")
        self.code = code


@pytest.mark.parametrize(
    ("code", "kind"),
    [(252, Retryable), (241, Retryable), (159, Retryable), (202, Retryable), (210, Retryable), (243, Retryable),
     (319, Retryable), (516, Unauthorised), (193, Unauthorised), (497, Unauthorised), (27, TooLarge), (117, TooLarge),
     (53, TooLarge), (None, TooLarge)],
)  # fmt: skip
def test_clickhouses_codes_have_their_meaning_and_carry_no_rows(code: int | None, kind: type[SinkError]) -> None:
    error = sink_error(Failure(code), about_rows=True)
    assert type(error) is kind
    assert "password" not in str(error).replace("wrong password", "")


@pytest.mark.parametrize(
    ("dsn", "why"),
    [
        ("file:///x", "must begin with"),
        ("chdb://", "names no folder"),
        ("http://", "names no host"),
    ],
)
def test_a_bad_address_is_told_at_once(dsn: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Settings(name="store", dsn=dsn)


# -- the table -----------------------------------------------------------------------------------------------


def test_an_older_table_gets_what_it_lacks_and_the_log_says_so(
    clean: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(number: int, sink: ClickHouseSink) -> None:
        await sink.write(Batch(number, [event(family="db", region="eu")]), in_doubt=False)

    with_sink(clean, lambda sink: write(1, sink))
    client = clean.client()
    client.command(
        "ALTER TABLE analytics.api_events DROP COLUMN family, DROP COLUMN ip_family, DROP COLUMN region, "
        "DROP COLUMN trace_hash"
    )
    client.command("ALTER TABLE analytics.api_events MODIFY COMMENT 'weighbridge schema 0'")
    with caplog.at_level(logging.WARNING):
        with_sink(clean, lambda sink: write(2, sink), retention_days=30)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "ADD COLUMN IF NOT EXISTS family LowCardinality(String) AFTER action" in logged
    assert "MODIFY TTL toDateTime(event_time) + toIntervalDay(30)" in logged
    assert "MATERIALIZE COLUMN trace_hash" in logged
    described = [row[0] for row in client.query("DESCRIBE TABLE analytics.api_events").result_rows]
    assert described == list(columns())
    hashed = "trace_hash = cityHash64(tenant, if(trace_id = '', event_id, trace_id))"
    question = f"SELECT batch_id, family, region, {hashed} FROM analytics.api_events ORDER BY batch_id"
    assert client.query(question).result_rows == [(1, "", "", 1), (2, "db", "eu", 1)]
    caplog.clear()
    with_sink(clean, lambda sink: write(3, sink), retention_days=30)
    assert "changing the table" not in caplog.text


@pytest.mark.parametrize(
    ("comment", "why"), [("weighbridge schema 999", "too old for it"), ("ours", "not made by weighbridge")]
)
def test_a_table_that_is_not_ours_to_change_is_left_alone(clean: EngineProcess, comment: str, why: str) -> None:
    async def nothing(sink: ClickHouseSink) -> None:
        with pytest.raises(SinkError, match=why):
            await sink.open()

    async def made(sink: ClickHouseSink) -> None:
        pass

    with_sink(clean, made)
    clean.client().command(f"ALTER TABLE analytics.api_events MODIFY COMMENT '{comment}'")
    with_sink(clean, nothing, open_=False)


def test_every_table_keeps_what_it_acknowledged_through_a_power_cut(clean: EngineProcess) -> None:
    """Each of these settings was found necessary (spec/store.md §1.6); the defaults lose acknowledged rows."""

    async def made(sink: ClickHouseSink) -> None:
        pass

    with_sink(clean, made)
    _, definition = clean.ask("SHOW CREATE TABLE api_events")
    for setting in (
        "fsync_after_insert = 1",
        "fsync_part_directory = 1",
        "min_rows_to_fsync_after_merge = 1",
        "max_suspicious_broken_parts = 1000000",
        "non_replicated_deduplication_window = 10000",
    ):
        assert setting in definition


def test_the_statements_for_a_cluster_parse(engine: EngineProcess) -> None:
    statements = create_statements(Place("analytics", "main", 90))
    assert len(statements) == 3
    for statement in statements:
        assert "ON CLUSTER 'main'" in statement
        code, answer = engine.ask(f"EXPLAIN AST {statement}", user="writer")
        assert code == 0, answer
    assert "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')" in statements[1]


def test_a_proxy_is_not_asked_for_this_machines_own_engine(
    clean: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def use(sink: ClickHouseSink) -> None:
        await sink.write(Batch(1, some(1)), in_doubt=False)

    with_sink(clean, use)
    assert count(clean) == 1


def test_close_waits_for_the_running_write(clean: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    real = ClickHouseSink._write

    def told(sink: ClickHouseSink, batch: Batch, in_doubt: bool) -> None:
        begun.set()
        real(sink, batch, in_doubt)

    monkeypatch.setattr(ClickHouseSink, "_write", told)

    async def use(sink: ClickHouseSink) -> None:
        writing = asyncio.create_task(sink.write(Batch(1, some(3000)), in_doubt=False))
        await asyncio.to_thread(begun.wait)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    with_sink(clean, use)
    assert eventually(lambda: count(clean), "the cancelled write ended whole") == 3000


def test_times_are_those_of_the_world(clean: EngineProcess) -> None:
    async def use(sink: ClickHouseSink) -> None:
        await sink.write(Batch(1, some(1)), in_doubt=False)

    with_sink(clean, use)
    client = clean.client(tz_mode="aware")
    stored = client.query("SELECT received_at FROM analytics.api_events").result_rows
    assert abs(stored[0][0] - datetime.fromtimestamp(NOW_NS / 1e9, UTC)) < timedelta(minutes=10)
