"""The store's sink against a real engine: every field arrives, every batch once, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from clickhouse_connect.driver.summary import QuerySummary

from clickhouse_rig import NOW_NS, count, event, some, with_sink
from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import password
from exporter.clickhouse.rows import DAY_US, event_time_us, insert
from exporter.clickhouse.schema import insert_types
from exporter.clickhouse.sink import ClickHouseSink
from exporter.errors import Expired, Retryable, Unwritable
from exporter.sink import Batch
from exporter.sinks.clickhouse import Settings, create, event_day
from mapping.event import Decision

HALF = Decision(True, 2, 2.5, "999", "errors", 0.4, "rv", "th", "8", "c1", "0123456789abcd", "kept")


# -- what is stored ------------------------------------------------------------------------------------------


def test_every_field_of_an_event_has_its_column(clean: EngineProcess) -> None:
    full = event(
        tenant="acme", parent_id="aaaaaaaaaaaaaaaa", user_id="u", company_id="c", session_token="s",
        subscription_id="sub", application_id="app", client_id="cl", plan_id="pro", environment="prod", region="eu",
        api_version="v1", user_agent="curl", ip_address="::1", response_ip_address="10.0.0.1",
        request_headers={"A": "1", "B": "ü"},
        response_headers={"C": "3"}, request_body='{"a":1}', request_body_encoding="json", response_body="AAE=",
        response_body_encoding="base64", request_id="r", name="GET /items", span_status=2, links="[]",
        error_type="server", action_name="act", family="db", severity_number=17, severity_text="ERROR", event_name="e",
        body="text", body_encoding="text", metadata='{"a.b":1,"when":"2024-01-01","list":[1,2]}', flags=("late",),
        decision=HALF, duration_ms=12.5, status=503,
    )  # fmt: skip

    async def use(sink: ClickHouseSink) -> None:
        await sink.write(Batch(2**64 - 1, [full]), in_doubt=False)

    with_sink(clean, use)
    stored = clean.client().query("SELECT * FROM analytics.api_events").first_item
    assert stored is not None
    assert stored.pop("event_time") == datetime(1970, 1, 1) + timedelta(microseconds=full.start_unix_ns // 1000)
    assert stored.pop("received_at") == datetime(1970, 1, 1) + timedelta(milliseconds=NOW_NS // 1_000_000)
    assert stored == {
        "event_type": "api_call", "batch_id": 2**64 - 1, "event_id": full.transaction_id, "source": "span",
        "tenant": "acme", "start_unix_ns": full.start_unix_ns, "end_unix_ns": full.end_unix_ns,
        "trace_id": full.trace_id, "span_id": full.span_id, "parent_span_id": "aaaaaaaaaaaaaaaa", "request_id": "r",
        "company_id": "c", "user_id": "u", "session_id": "s", "subscription_id": "sub", "application_id": "app",
        "client_id": "cl", "plan": "pro", "service": "shop", "environment": "prod", "region": "eu",
        "resource": full.resource, "direction": "incoming", "hop": "", "method": "GET", "endpoint": "/items/{id}",
        "uri": full.uri, "api_version": "v1", "status_code": 503, "error_type": "server", "duration_ms": 12.5,
        "name": "GET /items", "span_status": 2, "links": "[]", "action": "act", "family": "db", "ip": "::1",
        "response_ip": "10.0.0.1", "user_agent": "curl", "request_headers": {"A": "1", "B": "ü"},
        "response_headers": {"C": "3"}, "request_body": '{"a":1}', "request_body_encoding": "json",
        "response_body": "AAE=", "response_body_encoding": "base64",
        "metadata": {"a": {"b": 1}, "when": "2024-01-01", "list": [1, 2]}, "flags": ["late"], "severity_number": 17,
        "severity": "ERROR", "event_name": "e", "body": "text", "body_encoding": "text", "weight": 2,
        "adjusted_count": 2.5, "sampling_p": 0.4, "th": "999", "th_in": "8", "rv": "0123456789abcd",
        "sampling_rule": "errors", "sampling_reason": "kept", "sampling_config": "c1", "r_source": "rv",
        "upstream": "th",
    }  # fmt: skip
    assert set(insert_types()) == {*stored, "event_time", "received_at"}


def test_what_an_event_lacks_is_empty_and_an_unknown_duration_is_null(clean: EngineProcess) -> None:
    async def use(sink: ClickHouseSink) -> None:
        await sink.write(Batch(1, [event(duration_ms=-1.0, status=0)]), in_doubt=False)
        await sink.write(Batch(2, [event(duration_ms=0.0), event(duration_ms=-1.0, decision=HALF)]), in_doubt=False)

    with_sink(clean, use)
    columns_ = (
        "duration_ms, weight, adjusted_count, sampling_p, flags, request_headers, toJSONString(metadata), user_id"
    )
    rows = clean.client().query(f"SELECT {columns_} FROM analytics.api_events ORDER BY batch_id, weight").result_rows
    assert rows == [
        (None, 1, 1.0, 1.0, [], {}, "{}", ""),
        (0.0, 1, 1.0, 1.0, [], {}, "{}", ""),
        (None, 2, 2.5, 0.4, [], {}, "{}", ""),
    ]


def test_columns_of_the_consumer_guide_are_read_from_metadata(clean: EngineProcess) -> None:
    metadata = {
        "timings.upstream_ms": 7.5, "timings.queue_ms": "3", "result.cache.hit": True, "result.cache.status": "HIT",
        "quota.bucket": "day", "quota.consumed": 1, "quota.limit": 100, "quota.remaining": 99,
        "flags.experiment": "checkout", "flags.variant": "b", "network.pop": "FRA", "network.asn": 3320,
    }  # fmt: skip

    async def use(sink: ClickHouseSink) -> None:
        full = event(metadata=json.dumps(metadata), ip_address="2001:db8::1", user_id="u", company_id="c", plan_id="p")
        await sink.write(Batch(1, [full]), in_doubt=False)
        await sink.write(Batch(2, [event(ip_address="10.1.2.3")]), in_doubt=False)

    with_sink(clean, use)
    rows = (
        clean.client()
        .query(
            "SELECT upstream_ms, queue_ms, cache_hit, cache_status, quota_bucket, quota_consumed, quota_limit,"
            " quota_remaining, experiment, variant, pop, asn, ip_family, developer_id, organization_id, plan_id,"
            " request_duration_ms"
            " FROM analytics.api_events ORDER BY batch_id"
        )
        .result_rows
    )
    assert rows[0] == (
        7.5, 3.0, True, "HIT", "day", 1.0, 100.0, 99.0, "checkout", "b", "FRA", "3320", "ipv6", "u", "c", "p", 1000.0
    )  # fmt: skip
    assert rows[1] == (None,) * 12 + ("ipv4", "", "", "", 1000.0)


# -- the day an event is filed under -------------------------------------------------------------------------

DAY_NS = DAY_US * 1000


@pytest.mark.parametrize(
    ("start", "filed"),
    [
        (NOW_NS - DAY_NS, NOW_NS - DAY_NS),
        (NOW_NS + 299_000_000_000, NOW_NS + 299_000_000_000),
        (NOW_NS + 301_000_000_000, NOW_NS),  # a clock more than 5 minutes ahead: our time counts
        (2**64 - 1, NOW_NS),
        (NOW_NS - 88 * DAY_NS, NOW_NS - 88 * DAY_NS),
        (NOW_NS - 90 * DAY_NS, NOW_NS - 89 * DAY_NS),  # what retention would delete at once
        (0, NOW_NS - 89 * DAY_NS),
    ],
    ids=["yesterday", "soon", "ahead", "never", "old", "too old", "1970"],
)
def test_an_event_is_filed_where_it_can_be_found(start: int, filed: int) -> None:
    assert event_time_us(event(start_unix_ns=start), 90) == filed // 1000
    assert event_day(event(start_unix_ns=start), 90) == filed // DAY_NS


@pytest.mark.parametrize(
    ("start", "filed"), [(NOW_NS, NOW_NS), (0, 0), (2**63, 86_400_000_000_000)], ids=["now", "1970", "never"]
)
def test_a_clock_of_ours_that_was_never_set_does_not_decide(start: int, filed: int) -> None:
    """The store would delete at once what is filed under 1970."""
    odd = event(start_unix_ns=start, received_unix_ns=86_400_000_000_000)
    assert event_time_us(odd, 90) == filed // 1000
    assert event_day(odd, 90) == filed // DAY_NS


def test_what_the_store_would_delete_at_once_is_refused_whole(clean: EngineProcess) -> None:
    """It says that it wrote them."""
    old = event(start_unix_ns=NOW_NS - 100 * DAY_NS, received_unix_ns=NOW_NS - 100 * DAY_NS)

    async def use(sink: ClickHouseSink) -> None:
        with pytest.raises(Expired, match=r"events of \d{4}-\d\d-\d\d are older than the 30 days"):
            await sink.write(Batch(1, [old, old]), in_doubt=False)
        await sink.write(Batch(2, some(2)), in_doubt=False)

    with_sink(clean, use, retention_days=30)
    assert count(clean) == 2


def test_events_of_impossible_times_are_stored_and_marked(clean: EngineProcess) -> None:
    async def use(sink: ClickHouseSink) -> None:
        for number, start in enumerate((0, 2**64 - 1, NOW_NS)):
            await sink.write(Batch(number, [event(start_unix_ns=start)]), in_doubt=False)

    with_sink(clean, use)
    marked = clean.client().query("SELECT has(flags, 'event_time_clamped') FROM analytics.api_events ORDER BY batch_id")
    assert marked.result_rows == [(True,), (True,), (False,)]


# -- once ----------------------------------------------------------------------------------------------------


def test_a_batch_in_doubt_is_written_only_as_far_as_it_is_missing(clean: EngineProcess) -> None:
    whole, half, none = some(100), some(100), some(100)

    async def use(sink: ClickHouseSink) -> None:
        await sink.write(Batch(1, whole), in_doubt=False)
        await sink.write(Batch(2, half[:50]), in_doubt=False)
        for number, batch in enumerate((whole, half, none), 1):
            await sink.write(Batch(number, batch), in_doubt=True)
            await sink.write(Batch(number, batch), in_doubt=True)

    with_sink(clean, use)
    assert count(clean) == count(clean, "uniqExact(event_id)") == 300


def test_rows_lost_on_their_way_to_a_store_that_says_ok_are_noticed(
    clean: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(9, some(20))

    async def use(sink: ClickHouseSink) -> None:
        monkeypatch.setattr("exporter.clickhouse.sink.insert", lambda events, *rest: insert(events[:13], *rest))
        with pytest.raises(Retryable, match="wrote 13 of 20 rows"):
            await sink.write(batch, in_doubt=False)
        monkeypatch.setattr("exporter.clickhouse.sink.insert", insert)
        await sink.write(batch, in_doubt=False)

    with_sink(clean, use)
    assert count(clean) == count(clean, "uniqExact(event_id)") == 20


@pytest.mark.parametrize("cluster", ["", "main"])
def test_a_200_that_is_not_the_stores_own_is_no_yes(
    cluster: str, clean: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's login page, or ClickHouse's error text in the body of a 200."""

    async def use(sink: ClickHouseSink) -> None:
        # The one table stands for a cluster's: the engine has no Keeper to make those with.
        sink._settings = sink._settings.model_copy(update={"cluster": cluster})
        batch = Batch(1, some(20))
        with monkeypatch.context() as patch:
            patch.setattr(sink._connected(), "raw_insert", lambda *_, **__: QuerySummary({}))
            with pytest.raises(Retryable, match="wrote 0 of 20 rows"):
                await sink.write(batch, in_doubt=False)
        await sink.write(batch, in_doubt=False)
        with monkeypatch.context() as patch:  # written, but for the header that says so
            patch.setattr(QuerySummary, "written_rows", 0)
            await sink.write(Batch(2, some(5)), in_doubt=False)

    with_sink(clean, use)
    assert count(clean) == count(clean, "uniqExact(event_id)") == 25


def test_a_remembered_token_cannot_swallow_a_batch(clean: EngineProcess) -> None:
    """A plain table may know the token of rows that never became visible (spec/store.md §2.3)."""
    batch = Batch(7, some(10))

    async def use(sink: ClickHouseSink) -> None:
        await sink.write(batch, in_doubt=False)
        clean.client().command("DELETE FROM analytics.api_events WHERE 1")
        await sink.write(batch, in_doubt=False)
        assert count(clean) == 0  # this is the trap
        await sink.write(batch, in_doubt=True)

    with_sink(clean, use)
    assert count(clean) == 10


def test_pieces_of_a_batch_are_settled_one_by_one(clean: EngineProcess) -> None:
    rows = [event(name="\ud800") if number == 2 else event() for number in range(8)]

    async def use(sink: ClickHouseSink) -> None:
        with pytest.raises(Unwritable):
            await sink.write(Batch(1, rows), in_doubt=False)
        with pytest.raises(Unwritable):
            await sink.write(Batch(1, rows[:4], "0"), in_doubt=False)
        await sink.write(Batch(1, rows[:2], "00"), in_doubt=False)
        with pytest.raises(Unwritable):
            await sink.write(Batch(1, rows[2:4], "01"), in_doubt=False)
        await sink.write(Batch(1, rows[3:4], "011"), in_doubt=False)
        await sink.write(Batch(1, rows[3:4], "011"), in_doubt=True)
        await sink.write(Batch(1, rows[:2], "00"), in_doubt=True)
        await sink.write(Batch(1, rows[4:], "1"), in_doubt=False)

    with_sink(clean, use)
    assert count(clean) == count(clean, "uniqExact(event_id)") == 7


def test_a_plain_server_is_asked_whether_the_old_insert_still_runs(clean: EngineProcess) -> None:
    """The engine stands in for a server: same client, compressed, address and password from the settings."""
    secret = password(clean.data, "writer")

    async def go() -> None:
        dsn = f"http://writer:{secret}@127.0.0.1:{clean.port}/other"
        sink = create(Settings(name="store", dsn=dsn, compression="zstd"))
        assert secret not in repr(sink._settings)
        await sink.open()
        await sink.write(Batch(1, some(5)), in_doubt=False)
        await sink.write(Batch(2, some(5)), in_doubt=True)
        await sink.close()
        await sink.close()

    asyncio.run(go())
    assert clean.ask("SELECT count() FROM api_events", database="other") == (0, "10\n")
    clean.client().command("DROP DATABASE other SYNC")


def test_events_that_another_batch_brought_are_recognised(clean: EngineProcess) -> None:
    rows = some(6)
    skewed = event(start_unix_ns=NOW_NS + DAY_NS)
    again = skewed._replace(received_unix_ns=NOW_NS + 3_000_000_000)  # sent a second time, later

    async def use(sink: ClickHouseSink) -> None:
        await sink.write(Batch(1, [*rows[:3], skewed]), in_doubt=False)
        await sink.write(Batch(2, rows[3:5]), in_doubt=False)
        known = {row.transaction_id for row in rows[:5]} | {skewed.transaction_id}
        assert await sink.existing([*rows, again], ()) == known
        assert await sink.existing(rows, (1,)) == {row.transaction_id for row in rows[3:5]}
        assert await sink.existing([], ()) == set()
        assert await sink.existing([event(transaction_id="it's \\ not")], ()) == set()
        strange = [event(transaction_id=text) for text in ("it's \\ here", "two\nlines", "tab\t", "\\n", "a,b", "ü")]
        await sink.write(Batch(3, strange), in_doubt=False)
        assert await sink.existing([*rows[:1], *strange], (1,)) == {row.transaction_id for row in strange}
        assert await sink.existing([*rows[3:], *strange[2:]], ()) == known - {
            row.transaction_id for row in rows[:3]
        } - {skewed.transaction_id} | {row.transaction_id for row in strange[2:]}

    with_sink(clean, use)


def test_killing_the_engine_during_inserts_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """The sink runs its own engine; after each kill the same batch is written again until it is accepted."""
    batches = [Batch(number, some(2000)) for number in range(1, 13)]

    async def go() -> int:
        sink = create(Settings(name="store", dsn=f"chdb://{tmp_path}/store"))
        await sink.open()
        engine = sink._engine
        assert engine is not None
        failures = 0
        for batch in batches:
            writing = asyncio.create_task(sink.write(batch, in_doubt=False))
            if batch.batch_id % 3 == 0:
                await asyncio.sleep(0.002 * batch.batch_id)
                if engine.pid is not None:
                    os.kill(engine.pid, signal.SIGKILL)
            while True:
                try:
                    await writing
                    break
                except Retryable:
                    failures += 1
                    await asyncio.sleep(0.05)
                    writing = asyncio.create_task(sink.write(batch, in_doubt=False))
        assert engine.restarts >= 3
        await sink.close()
        return failures

    assert asyncio.run(go()) >= 3
    engine = EngineProcess(tmp_path / "store")
    assert count(engine) == count(engine, "uniqExact(event_id)") == 24_000
    assert engine.stop() == 0
