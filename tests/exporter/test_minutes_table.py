"""The store's counts of calls by minute: once whatever is tried again, right to the unit, bounded, kept for long."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import Any

import pytest

from clickhouse_rig import NOW_NS, event, with_sink
from engine_process import EngineProcess
from exporter.clickhouse.counted import OTHER, Bounds, count_calls
from exporter.clickhouse.durations import GAMMA, RELATIVE_ERROR, bucket_of
from exporter.clickhouse.minutes_table import MARKER_DAYS, MINUTES_DAYS, columns
from exporter.clickhouse.sink import ClickHouseSink
from exporter.errors import Retryable, SinkError
from exporter.sink import Batch, Calls
from mapping.event import ACTION, LOG, UNSAMPLED, Decision, Event
from mapping.sampling.dropped import counted_only

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000
TENTH = UNSAMPLED._replace(th="e668", adjusted_count=10.0, p=0.1, weight=10)
DROPPED = UNSAMPLED._replace(keep=False, weight=0, adjusted_count=0.0, p=0.1, reason="sampled_out")
OF_FOUR = DROPPED._replace(th_in="c", upstream="th")


def dropped(decision: Decision = DROPPED, **changes: Any) -> Event:
    call = counted_only(event(**changes), decision)
    assert call is not None
    return call


def ask(engine: EngineProcess, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in engine.client(database="analytics").query(sql).result_rows]


def totals(engine: EngineProcess) -> tuple[Any, ...]:
    return ask(engine, "SELECT sum(records), sum(kept), sum(calls), sum(duration_sum_ms) FROM api_minutes")[0]


def counted(engine: EngineProcess, *all_of: Calls, in_doubt: bool = False, **settings: Any) -> None:
    async def go(sink: ClickHouseSink) -> None:
        for calls in all_of:
            await sink.count(calls, in_doubt=in_doubt)

    with_sink(engine, go, **settings)


def test_kept_and_dropped_calls_are_counted_by_what_they_stood_for(clean: EngineProcess) -> None:
    kept = [event(decision=TENTH, company_id="acme", status=500, error_type="upstream", duration_ms=-1.0)]
    others = [event(event_type=LOG, decision=TENTH), event(event_type=ACTION)]
    gone = [dropped(company_id="acme") for _ in range(9)] + [dropped(OF_FOUR, company_id="globex")]
    counted(clean, Calls(1, [*kept, *others], gone, True))
    rows = ask(
        clean,
        "SELECT company_id, status_code, error_type, direction, method, endpoint, service, records, kept, calls, "
        "duration_sum_ms, arraySum(mapValues(durations)), unseen, estimated, folded FROM api_minutes "
        "WHERE batch_id = 0 ORDER BY company_id, status_code",
    )
    call = ("incoming", "GET", "/items/{id}", "shop")
    assert rows == [
        ("acme", 200, "", *call, 9, 0, 9.0, 9000.0, 9.0, 0, 0, 0),
        ("acme", 500, "upstream", *call, 1, 1, 1.0, 0.0, 0.0, 0, 0, 0),
        ("globex", 200, "", *call, 1, 0, 4.0, 4000.0, 4.0, 0, 0, 0),
    ]


def test_where_only_what_is_kept_is_counted_the_weights_count_and_the_rows_say_so(clean: EngineProcess) -> None:
    counted(
        clean,
        Calls(
            1,
            [
                event(decision=TENTH),
                event(),
                event(decision=UNSAMPLED._replace(th_in="c", th="c", upstream="th", adjusted_count=4.0)),
            ],
            [],
            False,
        ),
    )
    rows = ask(
        clean, "SELECT estimated, sum(records), sum(calls) FROM api_minutes GROUP BY estimated ORDER BY estimated"
    )
    assert rows == [(0, 2, 5.0), (1, 1, 10.0)], "an upstream's threshold is no estimate of ours"


def test_what_a_rate_of_zero_drops_is_counted_apart(clean: EngineProcess) -> None:
    counted(clean, Calls(1, [event()], [dropped(DROPPED._replace(reason="rule_zero", p=0.0))], True))
    assert ask(clean, "SELECT unseen, sum(calls) FROM api_minutes GROUP BY unseen ORDER BY unseen") == [
        (0, 1.0),
        (1, 1.0),
    ]


@pytest.mark.parametrize("rows", [[event() for _ in range(3)], []])
def test_a_batch_counts_once_however_often_it_is_tried(clean: EngineProcess, rows: list[Event]) -> None:
    calls = Calls(7, rows, [dropped() for _ in range(5)], True)
    counted(clean, calls)
    counted(clean, calls, in_doubt=True)  # by the next process
    counted(clean, calls, calls, in_doubt=True)
    counted(clean, calls)  # by the same process, as a live retry: the token
    ask(clean, "SELECT 1")
    clean.client().command("OPTIMIZE TABLE analytics.api_minutes FINAL")
    counted(clean, calls, in_doubt=True)
    assert totals(clean)[:2] == (len(rows) + 5, len(rows))


def test_an_insert_that_failed_after_it_was_written_is_not_repeated(
    clean: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(7, [event()], [dropped()], True)

    async def go(sink: ClickHouseSink) -> None:
        insert = sink._insert

        def written_and_lost(*arguments: Any) -> int:
            insert(*arguments)
            raise OSError("the answer was lost")

        monkeypatch.setattr(sink, "_insert", written_and_lost)
        with pytest.raises(Retryable):
            await sink.count(calls, in_doubt=False)
        monkeypatch.setattr(sink, "_insert", insert)
        await sink.count(calls, in_doubt=False)

    with_sink(clean, go)
    assert totals(clean)[0] == 2


def test_sums_and_buckets_stay_when_the_store_merges(clean: EngineProcess) -> None:
    rng = random.Random(5)
    durations = [rng.lognormvariate(4, 2) for _ in range(2000)]
    batches = [
        Calls(n + 1, [event(duration_ms=d, start_unix_ns=NOW_NS - MINUTE_NS) for d in durations[n::20]], [], True)
        for n in range(20)
    ]
    counted(clean, *batches)
    clean.client().command("OPTIMIZE TABLE analytics.api_minutes FINAL")
    assert ask(clean, "SELECT count() FROM api_minutes WHERE batch_id = 0") == [(1,)]
    (total,) = ask(clean, "SELECT sum(calls), sum(duration_sum_ms), sumMap(durations) FROM api_minutes")
    assert total[0] == 2000
    assert total[1] == pytest.approx(sum(durations))
    below, ordered = 0.0, sorted(durations)
    for bucket, calls in sorted(total[2].items()):
        for duration in ordered[int(below) : int(below + calls)]:
            assert abs(2 * GAMMA**bucket / (GAMMA + 1) / duration - 1) <= RELATIVE_ERROR * (1 + 1e-9)
        below += calls


@pytest.mark.parametrize("duration", [0.0, 1e-9, 0.001, 0.5, 1.0, 1e5, 1e9, 1e300, math.inf])
def test_a_bucket_is_a_small_number_whatever_the_duration(duration: float) -> None:
    assert -400 < bucket_of(duration) < 1100


def test_old_minutes_become_hours_and_hours_go_in_the_end(clean: EngineProcess) -> None:
    """Old by their own time; which batches are counted is known for weeks after that was written."""

    def at(days: float) -> list[Event]:
        hour = (NOW_NS - int(days * DAY_NS)) // (60 * MINUTE_NS) * 60 * MINUTE_NS
        return [event(start_unix_ns=hour + n * MINUTE_NS, received_unix_ns=NOW_NS) for n in range(60)]

    batches = [Calls(n, at(days), [], True) for n, days in enumerate((MINUTES_DAYS - 2, MINUTES_DAYS + 2, 50), 1)]
    counted(clean, *batches, minutes_retention_days=30)
    client = clean.client()
    client.command("OPTIMIZE TABLE analytics.api_minutes FINAL")
    found = ask(
        clean,
        "SELECT dateDiff('day', minute, now()) AS age, count(), uniqExact(minute), sum(calls) FROM api_minutes "
        "WHERE batch_id = 0 GROUP BY 1 ORDER BY 1",
    )
    assert [row[1:] for row in found] == [(60, 60, 60.0), (1, 1, 60.0)]
    assert {row[0] for row in ask(clean, "SELECT batch_id FROM api_minutes WHERE batch_id != 0")} >= {1, 2}
    counted(clean, *batches[:2], in_doubt=True, minutes_retention_days=30)
    assert totals(clean)[0] == 120
    client.command(
        "ALTER TABLE analytics.api_minutes UPDATE written_at = now() - INTERVAL 40 DAY WHERE 1 "
        "SETTINGS mutations_sync = 2"
    )
    client.command("OPTIMIZE TABLE analytics.api_minutes FINAL")
    assert ask(clean, "SELECT count() FROM api_minutes WHERE batch_id != 0") == [(0,)], f"after {MARKER_DAYS} days"
    assert totals(clean)[0] == 120


def test_an_older_store_gets_the_table_and_its_retention_follows_the_settings(
    clean: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(sink: ClickHouseSink) -> None:
        await sink.write(Batch(1, [event()]), in_doubt=False)

    with_sink(clean, write)
    clean.client().command("DROP TABLE analytics.api_minutes SYNC")  # as an earlier version left it
    counted(clean, Calls(2, [event()], [], True))
    assert totals(clean)[0] == 1
    ((since,),) = ask(clean, "SELECT extract(comment, 'since (.*)') FROM system.tables WHERE name = 'api_minutes'")
    assert abs(int(since) - NOW_NS // 10**9) < 1000, "what was stored before it was made is not counted"
    described = [row[0] for row in ask(clean, "DESCRIBE TABLE api_minutes")]
    assert described == list(columns())
    ((comment,),) = ask(
        clean, "SELECT comment FROM system.tables WHERE name = 'api_minutes' AND database = 'analytics'"
    )
    with caplog.at_level(logging.WARNING):
        counted(clean, Calls(3, [event()], [], True), minutes_retention_days=500)
    assert "MODIFY TTL minute + toIntervalDay(500)" in caplog.text
    caplog.clear()
    counted(clean, Calls(4, [event()], [], True), minutes_retention_days=500)
    assert "changing" not in caplog.text
    assert ask(clean, "SELECT comment FROM system.tables WHERE name = 'api_minutes' AND database = 'analytics'") == [
        (comment,)
    ]
    assert totals(clean)[0] == 3


def test_a_new_store_has_counted_since_ever(clean: EngineProcess) -> None:
    counted(clean)
    assert ask(clean, "SELECT comment FROM system.tables WHERE name = 'api_minutes'") == [
        ("weighbridge minutes 1, since 0",)
    ]


def test_a_table_of_others_or_of_a_newer_version_is_left_alone(clean: EngineProcess) -> None:
    counted(clean)
    for comment, why in (("ours", "not made by weighbridge"), ("weighbridge minutes 99, since 1", "too old for it")):
        clean.client().command(f"ALTER TABLE analytics.api_minutes MODIFY COMMENT '{comment}'")
        with pytest.raises(SinkError, match=why):
            counted(clean)


def test_names_without_end_become_others_and_nothing_is_lost() -> None:
    bounds = Bounds(most=100, most_folded=20)
    calls = [event(company_id=f"c{n}", route=f"/r{n}", tenant="t") for n in range(1000)]
    seen: dict[tuple[Any, ...], float] = {}
    for first in range(0, 1000, 100):
        for row in bounds.fold(count_calls(Calls(first, calls[first : first + 100], [], True), 90)):
            seen[row.key] = seen.get(row.key, 0) + row.calls
    assert len(seen) == 100 + 20 + 1
    assert sum(seen.values()) == 1000
    levels = {level: sum(n for key, n in seen.items() if key[-1] == level) for level in (0, 1, 2)}
    assert levels == {0: 100, 1: 20, 2: 880}
    assert bounds.folded == 900
    assert {key[0] for key in seen if key[-1] == 2} == {OTHER}
    assert {key[3] for key in seen if key[-1]} == {OTHER}
    assert {key[13] for key in seen} == {"t"}
    again = bounds.fold(count_calls(Calls(1, calls[:100], [], True), 90))
    assert {row.key[-1] for row in again} == {0}, "who came first in a minute keeps the name"


def test_a_text_that_no_column_takes_is_counted_all_the_same(clean: EngineProcess) -> None:
    counted(clean, Calls(1, [event(company_id="a\ud800b", route="/é", plan_id="x" * 5000)], [], True))
    assert ask(clean, "SELECT company_id, endpoint, length(plan) FROM api_minutes WHERE batch_id = 0") == [
        ("a?b", "/é", 5000)
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"service": None}, {"company_id": b"x"}, {"region": ["a"]}, {"route": {}}, {"error_type": 7},
        {"status": None}, {"status": -1}, {"status": 1 << 40}, {"status": "200"},
        {"duration_ms": None}, {"duration_ms": math.inf}, {"duration_ms": math.nan},
        {"start_unix_ns": None}, {"start_unix_ns": 1 << 80}, {"end_unix_ns": 1 << 80}, {"start_unix_ns": -(1 << 80)},
        {"decision": None},
    ],
)  # fmt: skip
def test_a_call_that_no_row_can_be_made_of_costs_no_counts(clean: EngineProcess, wrong: dict[str, Any]) -> None:
    counted(
        clean,
        Calls(1, [event(), event(**wrong), event()], [dropped()._replace(**{**wrong, "decision": DROPPED})], True),
    )
    assert totals(clean)[:3] == (4, 3, 4.0)


def test_reading_clients_see_the_counts(clean: EngineProcess) -> None:
    counted(clean, Calls(1, [event()], [], True))
    assert clean.ask("SELECT sum(calls) FROM api_minutes") == (0, "1\n")


def test_counting_is_not_begun_twice_by_two_sinks(clean: EngineProcess) -> None:
    async def go(sink: ClickHouseSink) -> None:
        await asyncio.gather(*(sink.count(Calls(n + 1, [event()], [], True), in_doubt=False) for n in range(5)))

    with_sink(clean, go)
    with_sink(clean, go)  # the tokens of the same batches
    assert totals(clean)[0] == 5
