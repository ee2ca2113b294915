"""The named queries give what a slow, plain calculation over the same events gives; the reader finds the store."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import events
from bench.estimate import Kept, estimate_quantile, estimate_share, estimate_total
from engine_process import EngineProcess
from exporter.clickhouse import queries
from exporter.clickhouse.queries import parse_condition
from exporter.clickhouse.reader import Result, StoreError, StoreReader
from exporter.sinks.clickhouse import Settings
from mapping.event import ACTION, LOG, UNSAMPLED, Decision, Event
from stored import store_events

DAY_NS = 86_400_000_000_000
# The start of a day two weeks ago: every event below is of that day or the week before.
DAY = time.time_ns() // DAY_NS * DAY_NS - 14 * DAY_NS
SINCE = datetime.fromtimestamp(DAY / 1e9, UTC) - timedelta(days=10)
UNTIL = SINCE + timedelta(days=20)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def sampled(p: float) -> Decision:
    return UNSAMPLED._replace(p=p, adjusted_count=1 / p, weight=round(1 / p)) if p < 1 else UNSAMPLED


def call(second: float, **changes: object) -> Event:
    start = DAY + int(second * 1e9)
    return events.event(**{"start_unix_ns": start, "end_unix_ns": start, "received_unix_ns": start + 10**9} | changes)


def shop() -> list[Event]:
    """Four customers; globex fails, initech is sampled, one trace has an action and logs, umbrella onboards."""
    rows = [
        call(number, trace_id=f"{number:032x}", company_id="acme", user_id=f"u{number % 3}", plan_id="pro",
             duration_ms=float(number + 1), route="/items/{id}", status=200)
        for number in range(20)
    ]  # fmt: skip
    rows += [
        call(3600 + number, trace_id=f"{100 + number:032x}", company_id="globex", user_id="g", plan_id="free",
             verb="POST", route="/orders", status=401 if number < 4 else 500, duration_ms=50.0,
             error_type="auth" if number < 4 else "server")
        for number in range(6)
    ]  # fmt: skip
    rows += [
        call(7200 + number, trace_id=f"{200 + number:032x}", company_id="initech", plan_id="pro", decision=sampled(0.1),
             status=200 if number % 5 else 503, error_type="" if number % 5 else "upstream", duration_ms=10.0)
        for number in range(50)
    ]  # fmt: skip
    rows += [
        call(3600.5, trace_id=TRACE, span_id="1" * 16, company_id="globex", user_id="g", status=500,
             error_type="server", verb="POST", route="/orders"),
        call(3600.6, trace_id=TRACE, span_id="2" * 16, parent_id="1" * 16, event_type=ACTION,
             action_name="SELECT orders", family="db", direction="", verb="", route="", status=0),
        call(3600.7, trace_id=TRACE, span_id="1" * 16, event_type=LOG, source="log", direction="", verb="", route="",
             status=0, severity_number=17, severity_text="ERROR", body="no stock", duration_ms=-1.0),
    ]  # fmt: skip
    rows += [
        call(-7 * 86400, trace_id=f"{300:032x}", company_id="umbrella", user_id="w", verb="POST", route="/signup"),
        call(-7 * 86400 + 60, trace_id=f"{301:032x}", company_id="umbrella", user_id="w", verb="POST", route="/keys"),
        call(-7 * 86400 + 99, trace_id=f"{302:032x}", company_id="newco", user_id="n", verb="POST", route="/signup"),
        call(60, trace_id=f"{303:032x}", company_id="umbrella", user_id="w", metadata='{"deployment":"blue"}'),
    ]
    return rows


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("queries"))
    store_events(process, shop())
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def reader(engine: EngineProcess) -> Iterator[StoreReader]:
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}")) as found:
        yield found


def by(result: Result, key: str) -> dict[object, dict[str, object]]:
    return {row[key]: row for row in result.dicts()}


def test_a_trace_comes_in_order_of_time_with_its_logs(reader: StoreReader) -> None:
    for around in (None, SINCE + timedelta(days=10)):
        rows = reader.run(queries.trace(TRACE.upper(), around)).dicts()
        assert [row["event_type"] for row in rows] == ["api_call", "action", "log"]
        assert rows[0]["span_id"] == rows[1]["parent_span_id"] == rows[2]["span_id"]
        assert rows[0]["event_time"].tzinfo is not None
        assert rows[2]["duration_ms"] is None
    assert reader.run(queries.trace("f" * 32)).rows == []


def test_tail_goes_on_after_the_last_row(reader: StoreReader) -> None:
    after, seen = SINCE, []
    while rows := reader.run(queries.tail(after, [parse_condition("company_id=acme")], limit=8)).dicts():
        seen += [row["event_id"] for row in rows]
        after = rows[-1]["received_at"]
    assert len(seen) == len(set(seen)) == 20


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("company_id=acme", 20),
        ("company_id != acme", 63),
        ("status_code>=500", 13),
        ("status_code = 401", 4),
        ("metadata.deployment=blue", 1),
        ("body~stock", 1),
        ("severity=ERROR", 1),
        ("event_time<2001-01-01", 0),
        ("user_id=' OR 1=1 --", 0),
    ],
)
def test_conditions_choose_rows(reader: StoreReader, condition: str, count: int) -> None:
    found = reader.run(queries.latest(SINCE, UNTIL, [parse_condition(condition)], limit=100))
    assert len(found.rows) == count


@pytest.mark.parametrize("condition", ["", "nonsense", "password=1", "status_code=many", "metadata.a`b=1", "a b=1"])
def test_what_is_no_condition_is_refused(condition: str) -> None:
    with pytest.raises(ValueError, match=r"not a condition|no column|is a number"):
        parse_condition(condition)


def test_latest_are_the_newest(reader: StoreReader) -> None:
    rows = reader.run(queries.latest(SINCE, UNTIL, limit=3)).dicts()
    assert [row["company_id"] for row in rows] == ["initech"] * 3
    assert rows[0]["event_time"] > rows[1]["event_time"] > rows[2]["event_time"]


def test_a_users_last_calls(reader: StoreReader) -> None:
    rows = reader.run(queries.user_calls("g", SINCE, UNTIL, limit=3)).dicts()
    assert [row["status_code"] for row in rows] == [500, 500, 401]


def test_customers_who_get_401(reader: StoreReader) -> None:
    assert reader.run(queries.failing_customers(SINCE, UNTIL, 401)).dicts()[0]["failed"] == 4
    rows = by(reader.run(queries.failing_customers(SINCE, UNTIL)), "company_id")
    assert {company: row["failed"] for company, row in rows.items()} == {"globex": 7, "initech": 100}
    assert rows["globex"]["endpoints"] == ["POST /orders"]
    assert rows["globex"]["users_seen"] == 1


def test_top_erroring_customers_count_weights(reader: StoreReader) -> None:
    rows = reader.run(queries.top_erroring_customers(SINCE, UNTIL)).dicts()
    assert [(row["company_id"], row["calls"], row["errors"]) for row in rows] == [
        ("initech", 500, 100),
        ("globex", 7, 7),
    ]
    assert rows[0]["by_type"] == {"upstream": 100}
    assert rows[1]["by_type"] == {"auth": 4, "server": 3}
    assert len(reader.run(queries.top_erroring_customers(SINCE, UNTIL, least_calls=100)).rows) == 1


def test_traffic_by_plan_is_weighted(reader: StoreReader) -> None:
    rows = reader.run(queries.traffic_by_plan(SINCE, UNTIL)).dicts()
    pro = next(row for row in rows if row["plan"] == "pro")
    assert (pro["calls"], pro["rows_seen"], pro["error_rate"]) == (520, 70, pytest.approx(100 / 520))


def test_percentiles_by_endpoint_and_hour(reader: StoreReader) -> None:
    rows = reader.run(queries.endpoint_percentiles(SINCE, UNTIL, "/items/{id}")).dicts()
    first = next(row for row in rows if row["rows_seen"] == 21)
    assert first["p50"] == pytest.approx(11, abs=1)
    late = next(row for row in rows if row["rows_seen"] == 50)
    assert (late["calls"], late["p99"]) == (500, 10)


def test_logs_of_failing_calls(reader: StoreReader) -> None:
    rows = reader.run(queries.logs_of_failing_calls(SINCE, UNTIL)).dicts()
    assert [(row["company_id"], row["status_code"], row["body"]) for row in rows] == [("globex", 500, "no stock")]
    empty = reader.run(queries.logs_of_failing_calls(SINCE, UNTIL, "acme"))
    assert empty.rows == []
    assert "body" in empty.columns  # also an empty answer has a header


def test_retention_by_week(reader: StoreReader) -> None:
    rows = reader.run(queries.retention_cohorts(SINCE, UNTIL)).rows
    week = datetime.fromtimestamp(DAY / 1e9, UTC).date()
    first = week - timedelta(days=week.weekday() + 7)
    assert [row[1:] for row in rows if row[0] == first] == [(0, 2), (1, 1)]


def test_the_funnel_needs_its_steps_in_order(reader: StoreReader) -> None:
    steps = ["POST /signup", "POST /keys", "GET /items/{id}"]
    rows = reader.run(queries.onboarding_funnel(steps, SINCE, UNTIL, timedelta(days=20))).rows
    assert rows == [(1, "POST /signup", 2), (2, "POST /keys", 1), (3, "GET /items/{id}", 1)]
    rows = reader.run(queries.onboarding_funnel(steps, SINCE, UNTIL, timedelta(days=1))).rows
    assert [row[2] for row in rows] == [2, 1, 0]


def test_endpoint_coverage(reader: StoreReader) -> None:
    rows = by(reader.run(queries.endpoint_coverage(SINCE, UNTIL)), "company_id")
    assert (rows["umbrella"]["endpoints_seen"], rows["umbrella"]["all_endpoints"]) == (3, 4)
    assert rows["acme"]["coverage"] == 0.25


# -- intervals -----------------------------------------------------------------------------------------------


def totals(engine: EngineProcess, database: str, rows: list[Event]) -> dict[str, Any]:
    store_events(engine, rows, database)
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}?database={database}")) as reader:
        (row,) = reader.run(queries.totals(SINCE, UNTIL)).dicts()
    return row


def test_the_interval_follows_traces_as_in_the_specifications_example(engine: EngineProcess) -> None:
    """spec/sampling.md §11: 3 spans of A and 1 of B at 10 %, 2 errors of E at 100 %: too few for a number."""
    rows = [call(1, trace_id="a" * 32, decision=sampled(0.1)) for _ in range(3)]
    rows += [call(1, trace_id="b" * 32, decision=sampled(0.1))]
    rows += [call(1, trace_id="e" * 32, status=500) for _ in range(2)]
    found = totals(engine, "example", rows)
    assert (found["calls"], found["answer"], found["low_confidence"]) == (None, "too few", True)
    expected = estimate_total([Kept(row.trace_id, row.decision.adjusted_count) for row in rows])
    assert (expected.value, expected.too_few) == (42, True)
    assert expected.standard_error == pytest.approx(30)
    assert (found["calls_low"], found["calls_high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert (found["errors"], found["errors_low"], found["errors_high"]) == (2, None, None)


def test_intervals_equal_the_plain_ones_also_when_a_trace_has_several_probabilities(engine: EngineProcess) -> None:
    dice = random.Random(4)
    rows = [
        call(number, trace_id=f"{dice.randrange(1, 60):032x}", decision=sampled(dice.choice([1.0, 0.5, 0.2, 0.1])),
             status=dice.choice([200, 200, 200, 500]))
        for number in range(300)
    ]  # fmt: skip
    found = totals(engine, "mixed", rows)
    counted = [Kept(row.trace_id, row.decision.adjusted_count) for row in rows]
    shared = [k._replace(value=float(row.status >= 400)) for k, row in zip(counted, rows, strict=True)]
    assert not found["low_confidence"]
    for name, expected in (
        ("calls", estimate_total(counted)),
        ("errors", estimate_total([k for k in shared if k.value])),
        ("error_rate", estimate_share(shared)),
    ):
        assert found[name] == pytest.approx(expected.value)
        assert found[f"{name}_low"] == pytest.approx(expected.low), name
        assert found[f"{name}_high"] == pytest.approx(expected.high), name


def test_unsampled_totals_are_exact(reader: StoreReader) -> None:
    rows = by(reader.run(queries.totals(SINCE, UNTIL, "company_id")), "by")
    acme = rows["acme"]
    assert (acme["calls"], acme["answer"], acme["low_confidence"]) == (20, "exact", False)
    assert (acme["calls_low"], acme["calls_high"], acme["error_rate_high"]) == (None, None, None)
    some = rows["initech"]
    assert (some["calls"], some["rows_seen"], some["sampled_traces"], some["n_eff"]) == (500, 50, 50, 50)
    with pytest.raises(ValueError, match="cannot group by"):
        queries.totals(SINCE, UNTIL, "body")


def test_a_percentile_and_its_interval_equal_the_plain_calculation(engine: EngineProcess) -> None:
    dice = random.Random(5)
    rows = [
        call(number, trace_id=f"{dice.randrange(1, 90):032x}", decision=sampled(dice.choice([1.0, 0.5, 0.2, 0.1])),
             company_id=dice.choice(["acme", "globex"]), duration_ms=float(dice.randrange(1, 400)))
        for number in range(600)
    ]  # fmt: skip
    store_events(engine, rows, "durations")
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}?database=durations")) as reader:
        for q in (0.5, 0.95, 0.999):
            for company, found in by(reader.run(queries.percentile(SINCE, UNTIL, q, "company_id")), "by").items():
                kept = [
                    Kept(row.trace_id, row.decision.adjusted_count, row.duration_ms)
                    for row in rows
                    if row.company_id == company
                ]
                expected = estimate_quantile(kept, q)
                for name, number in (
                    ("percentile_ms", expected.value), ("low", expected.low), ("high", expected.high),
                ):  # fmt: skip
                    assert found[name] == pytest.approx(number), (q, company, name)
                assert found["low_confidence"] == expected.low_confidence
                assert found["calls"] == pytest.approx(sum(one.adjusted_count for one in kept))
    with pytest.raises(ValueError, match="between 0 and 1"):
        queries.percentile(SINCE, UNTIL, 95)


def population(dice: random.Random, company: str, unit: str) -> tuple[int, int, float, list[Event]]:
    """(calls, errors, median) of 300 traces or users with 1 to 12 calls, and what a rate of 15 % keeps of them."""
    durations, errors, kept = [], 0, []
    for _ in range(300):
        who, keep = f"{dice.getrandbits(127) + 1:032x}", dice.random() < 0.15
        scale = dice.lognormvariate(3, 1)
        for _ in range(dice.randint(1, 12)):
            status, duration = dice.choice([200] * 9 + [500]), round(scale * dice.random(), 3)
            durations.append(duration)
            errors += status == 500
            if keep:
                whose = (
                    {"trace_id": who}
                    if unit == "trace"
                    else {"user_id": who, "trace_id": f"{dice.getrandbits(127):032x}"}
                )
                decision = sampled(0.15)._replace(r_source="trace_id" if unit == "trace" else "unit")
                kept.append(
                    call(1, company_id=company, status=status, duration_ms=duration, decision=decision, **whose)
                )
    return len(durations), errors, sorted(durations)[len(durations) // 2], kept


@pytest.mark.parametrize("unit", ["trace", "user"])
def test_intervals_hold_the_truth_as_often_as_they_say(engine: EngineProcess, unit: str) -> None:
    """100 populations; a true coverage of 95 % gives fewer than 87 hits once in 1000. By record, about 50."""
    dice = random.Random(6)
    truths: dict[object, tuple[int, int, float]] = {}
    rows = []
    for number in range(100):
        company = f"c{number}"
        calls, errors, median, kept = population(dice, company, unit)
        truths[company] = calls, errors, median
        rows += kept
    store_events(engine, rows, f"coverage_{unit}")
    hits = Counter[str]()
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}?database=coverage_{unit}")) as reader:
        for row in reader.run(queries.totals(SINCE, UNTIL, "company_id", sample_unit=unit)).dicts():
            calls, errors, _ = truths[row["by"]]
            hits["calls"] += row["calls_low"] <= calls <= row["calls_high"]
            hits["errors"] += row["errors_low"] <= errors <= row["errors_high"]
            hits["rate"] += row["error_rate_low"] <= errors / calls <= row["error_rate_high"]
        for row in reader.run(queries.percentile(SINCE, UNTIL, 0.5, "company_id", sample_unit=unit)).dicts():
            hits["median"] += row["low"] <= truths[row["by"]][2] <= row["high"]
    assert min(hits.values()) >= 87, hits


# -- finding the store ---------------------------------------------------------------------------------------


def test_the_reader_starts_an_engine_when_none_runs_and_stops_it(tmp_path: Path) -> None:
    first = EngineProcess(tmp_path)
    store_events(first, [call(1)])
    assert first.stop() == 0
    with StoreReader(Settings(name="s", dsn=f"chdb://{tmp_path}")) as reader:
        assert reader.query("SELECT count() AS n FROM api_events") == Result(("n",), [(1,)])
        with StoreReader(Settings(name="s", dsn=f"chdb://{tmp_path}")) as second:  # through the first one's engine
            assert second.query("SELECT count() AS n FROM api_events").rows == [(1,)]
    after = EngineProcess(tmp_path, lock_wait_s=0)
    after.kill()  # leaves engine.json behind
    with StoreReader(Settings(name="s", dsn=f"chdb://{tmp_path}")) as reader:
        assert reader.query("SELECT count() AS n FROM api_events").rows == [(1,)]


def test_a_server_is_asked_read_only(engine: EngineProcess) -> None:
    """The engine stands in for a server, with the credentials that the bridge writes with."""
    secret = (engine.data / "writer.password").read_text()
    with StoreReader(Settings(name="s", dsn=f"http://writer:{secret}@127.0.0.1:{engine.port}/analytics")) as reader:
        assert reader.run(queries.traffic_by_plan(SINCE, UNTIL)).rows
        with pytest.raises(StoreError):
            reader.query("DROP TABLE api_events")


def test_what_the_reader_cannot_do_is_one_line(reader: StoreReader, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store in"):
        StoreReader(Settings(name="s", dsn=f"chdb://{tmp_path}/none")).open()
    for sql in ("SELECT nothing FROM api_events", "DROP TABLE api_events", "SELECT file('/etc/hostname')"):
        with pytest.raises(StoreError) as refused:
            reader.query(sql)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 520


def test_every_query_is_reached_by_a_function() -> None:
    assert [name for name in queries.names() if not callable(getattr(queries, name, None))] == []
