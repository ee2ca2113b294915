"""Questions by name are answered exactly from the counts by minute where these know, else from events, and say why."""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import events
from clickhouse_rig import with_sink
from engine_process import EngineProcess
from exporter.clickhouse import looks, queries
from exporter.clickhouse.answers import Answer, answer
from exporter.clickhouse.looks import EVERYTHING, Scope, Span
from exporter.clickhouse.queries import parse_condition
from exporter.clickhouse.queries.minutes import Alternative, choose
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.clickhouse.sink import ClickHouseSink
from exporter.sink import Batch, Calls
from exporter.sinks.clickhouse import Settings
from mapping.event import UNSAMPLED, Event
from mapping.sampling.dropped import counted_only

DAY_NS = 86_400_000_000_000
NOW = time.time_ns()
DAY = NOW // DAY_NS * DAY_NS - 4 * DAY_NS
SINCE = datetime.fromtimestamp(DAY / 1e9, UTC)
UNTIL = datetime.fromtimestamp(NOW / 1e9, UTC) + timedelta(minutes=5)
TENTH = UNSAMPLED._replace(th="e668", adjusted_count=10.0, p=0.1, weight=10)
HALF = UNSAMPLED._replace(th="8", adjusted_count=2.0, p=0.5, weight=2)
DROPPED = UNSAMPLED._replace(keep=False, weight=0, adjusted_count=0.0, p=0.1, reason="sampled_out")


def call(dice: random.Random, **changes: Any) -> Event:
    company = dice.choice(("acme", "globex", "initech"))
    status = dice.choice((200,) * 8 + (404, 503))
    start = DAY + dice.randrange(3 * DAY_NS)
    fields = {
        "start_unix_ns": start, "end_unix_ns": start, "received_unix_ns": time.time_ns() + 2 * 10**9,
        "company_id": company,
        "plan_id": {"acme": "pro", "globex": "free", "initech": "pro"}[company], "status": status, "hop": "entry",
        "error_type": {404: "not_found", 503: "upstream"}.get(status, ""), "user_id": f"u{dice.randrange(9)}",
        "route": dice.choice(("/items/{id}", "/orders", "/rare" if company == "acme" else "/items")),
        "verb": dice.choice(("GET", "POST")), "duration_ms": dice.lognormvariate(3, 1.5),
    }  # fmt: skip
    return events.event(**fields | changes)


def store(engine: EngineProcess, kept: Iterable[Event], dropped: Iterable[Event] = (), *, whole: bool = True) -> None:
    """Write and count these, a batch a day."""
    days: defaultdict[int, tuple[list[Event], list[Event]]] = defaultdict(lambda: ([], []))
    for place, some in enumerate((kept, dropped)):
        for one in some:
            gone = one if one.decision.keep else counted_only(one, one.decision)
            assert gone is not None
            days[one.start_unix_ns // DAY_NS][place].append(gone)

    async def go(sink: ClickHouseSink) -> None:
        for rows, gone in days.values():
            number = random.SystemRandom().randrange(1, 1 << 60)
            if rows:
                await sink.write(Batch(number, rows), in_doubt=False)
            await sink.count(Calls(number, rows, gone, whole), in_doubt=False)

    with_sink(engine, go)


def sampled(calls: list[Event], dice: random.Random) -> tuple[list[Event], list[Event]]:
    kept: list[Event] = []
    gone: list[Event] = []
    for one in calls:
        (kept if dice.random() < 0.1 else gone).append(one)
    return [one._replace(decision=TENTH) for one in kept], [one._replace(decision=DROPPED) for one in gone]


def asked(engine: EngineProcess, name: str, **arguments: Any) -> Answer:
    values: dict[str, Any] = {"since": SINCE, "until": UNTIL, **arguments}
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}")) as reader:
        return answer(reader, name, values, getattr(queries, name)(**values))


def failed(one: Event) -> bool:
    return one.status >= 400


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("minutes"))
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def calls(engine: EngineProcess) -> list[Event]:
    """Three thousand calls, of which a tenth is kept."""
    dice = random.Random(11)
    found = [call(dice) for _ in range(3000)]
    inner = [call(dice, hop="inner") for _ in range(50)]
    outgoing = [call(dice, direction="Outgoing", hop="inner") for _ in range(50)]
    refused = [one._replace(decision=DROPPED._replace(reason="rule_zero")) for one in (call(dice), call(dice))]
    store(engine, [], [])  # the table is made before anything is received
    kept, gone = sampled([*found, *inner, *outgoing], dice)
    store(engine, kept, [*gone, *refused])
    return found


def test_totals_are_exact_and_show_no_interval(engine: EngineProcess, calls: list[Event]) -> None:
    found = asked(engine, "totals", by="company_id")
    assert found.exact
    assert found.said.startswith("exact")
    assert found.result.columns == ("by", "calls", "errors", "error_rate", "server_errors", "rows_seen")
    for row in found.result.dicts():
        own = [one for one in calls if one.company_id == row["by"]]
        assert (row["calls"], row["errors"]) == (len(own), sum(map(failed, own)))
        assert row["server_errors"] == sum(one.status >= 500 for one in own)
        assert row["error_rate"] == pytest.approx(sum(map(failed, own)) / len(own))
        assert 0 < row["rows_seen"] < len(own)
    assert len(found.result.rows) == 3


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("all", lambda one: ""),
        ("plan", lambda one: one.plan_id),
        ("endpoint", lambda one: f"{one.verb} {one.route}"),
        ("status_code", lambda one: one.status),
        ("error_type", lambda one: one.error_type),
        ("day", lambda one: datetime.fromtimestamp(one.start_unix_ns / 1e9, UTC).date()),
        ("hour", lambda one: datetime.fromtimestamp(one.start_unix_ns // (3600 * 10**9) * 3600, UTC)),
        ("service", lambda one: one.service),
    ],
)
def test_totals_are_exact_by_every_key(engine: EngineProcess, calls: list[Event], by: str, key: Any) -> None:
    found = asked(engine, "totals", by=by)
    assert found.exact
    assert {row["by"]: row["calls"] for row in found.result.dicts()} == Counter(map(key, calls))


def test_conditions_choose_what_is_counted(engine: EngineProcess, calls: list[Event]) -> None:
    where = [parse_condition("plan=pro"), parse_condition("status_code>=500"), parse_condition("endpoint~items")]
    found = asked(engine, "totals", where=where)
    wanted = [one for one in calls if one.plan_id == "pro" and one.status >= 500 and "items" in one.route]
    assert found.exact
    assert found.result.dicts()[0]["calls"] == len(wanted)
    all_hops = asked(engine, "totals", hops="all")
    assert (all_hops.exact, all_hops.result.dicts()[0]["calls"]) == (True, len(calls) + 50)


def test_a_time_is_cut_to_whole_minutes(engine: EngineProcess, calls: list[Event]) -> None:
    since, until = SINCE + timedelta(hours=5, seconds=30), SINCE + timedelta(hours=41, minutes=7)
    found = asked(engine, "totals", since=since, until=until)
    low, high = (since - timedelta(seconds=30)).timestamp() * 1e9, until.timestamp() * 1e9
    assert found.result.dicts()[0]["calls"] == sum(low <= one.start_unix_ns < high for one in calls)


def test_traffic_by_plan(engine: EngineProcess, calls: list[Event]) -> None:
    found = asked(engine, "traffic_by_plan")
    assert found.exact
    assert {(row["day"], row["plan"]): row["calls"] for row in found.result.dicts()} == Counter(
        (datetime.fromtimestamp(one.start_unix_ns / 1e9, UTC).date(), one.plan_id) for one in calls
    )
    for row in found.result.dicts():
        assert 0 < row["server_error_rate"] < row["error_rate"] < 0.5


def test_top_erroring_customers(engine: EngineProcess, calls: list[Event]) -> None:
    found = asked(engine, "top_erroring_customers", least_calls=10)
    assert found.exact
    for row in found.result.dicts():
        own = [one for one in calls if one.company_id == row["company_id"]]
        assert (row["calls"], row["errors"]) == (len(own), sum(map(failed, own)))
        assert row["by_type"] == Counter(one.error_type for one in own if one.error_type)
    assert asked(engine, "top_erroring_customers", least_calls=5000).result.rows == []


@pytest.mark.parametrize("status", [0, 404])
def test_failing_customers(engine: EngineProcess, calls: list[Event], status: int) -> None:
    found = asked(engine, "failing_customers", status=status)
    assert found.exact
    wanted = [one for one in calls if (failed(one) if not status else one.status == status)]
    assert {row["company_id"]: row["failed"] for row in found.result.dicts()} == Counter(o.company_id for o in wanted)
    for row in found.result.dicts():
        own = [one for one in wanted if one.company_id == row["company_id"]]
        first = min(one.start_unix_ns for one in own) // 60_000_000_000 * 60
        assert row["first_seen"] == datetime.fromtimestamp(first, UTC)
        assert 0 < row["users_seen"] <= 9
        assert any(one.trace_id == row["last_trace"] for one in own)
        assert len(row["endpoints"]) == 3


def test_percentiles_are_right_within_a_hundredth(engine: EngineProcess, calls: list[Event]) -> None:
    found = asked(engine, "endpoint_percentiles", endpoint="/orders")
    assert found.exact
    groups: defaultdict[tuple[datetime, str], list[float]] = defaultdict(list)
    for one in calls:
        if one.route == "/orders":
            hour = datetime.fromtimestamp(one.start_unix_ns // (3600 * 10**9) * 3600, UTC)
            groups[hour, one.verb].append(one.duration_ms)
    rows = found.result.dicts()
    assert {(row["hour"], row["method"]): row["calls"] for row in rows} == {k: len(v) for k, v in groups.items()}
    for row in rows:
        durations = sorted(groups[row["hour"], row["method"]])
        for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
            true = durations[math.ceil(q * len(durations)) - 1]
            assert row[name] == pytest.approx(true, rel=0.0101, abs=0.001)


@pytest.mark.parametrize("by", ["all", "company_id", "day"])
def test_one_percentile_is_that_of_all_calls(engine: EngineProcess, calls: list[Event], by: str) -> None:
    found = asked(engine, "percentile", q=0.9, by=by)
    assert found.exact
    assert "durations within 1 %" in found.said
    assert found.result.columns == ("by", "percentile_ms", "calls", "rows_seen")
    groups: defaultdict[object, list[float]] = defaultdict(list)
    for one in calls:
        day = datetime.fromtimestamp(one.start_unix_ns / 1e9, UTC).date()
        groups[{"all": "", "company_id": one.company_id, "day": day}[by]].append(one.duration_ms)
    rows = {row["by"]: row for row in found.result.dicts()}
    assert {value: row["calls"] for value, row in rows.items()} == {value: len(of) for value, of in groups.items()}
    for value, durations in groups.items():
        true = sorted(durations)[math.ceil(0.9 * len(durations)) - 1]
        assert rows[value]["percentile_ms"] == pytest.approx(true, rel=0.0101, abs=0.001)


def test_coverage_knows_endpoints_of_which_no_event_is_kept(engine: EngineProcess, calls: list[Event]) -> None:
    found = asked(engine, "endpoint_coverage")
    assert found.exact
    for row in found.result.dicts():
        own = {(one.verb, one.route) for one in calls if one.company_id == row["company_id"]}
        assert row["endpoints_seen"] == len(own)
        assert row["all_endpoints"] == len({(one.verb, one.route) for one in calls})


def test_what_is_not_counted_by_minute_is_estimated_and_said(engine: EngineProcess, calls: list[Event]) -> None:
    for arguments, reason in (
        ({"by": "user_id"}, "not counted by user_id"),
        ({"where": [parse_condition("uri~shop")]}, "not counted by uri"),
        ({"where": [parse_condition("metadata.x=1")]}, "not counted by metadata.x"),
    ):
        found = asked(engine, "totals", **arguments)
        assert not found.exact
        assert reason in found.said
        assert "calls_low" in found.result.columns
    assert asked(engine, "logs_of_failing_calls").said == ""


def charted(engine: EngineProcess, step_s: int, *where: str, scope: Scope = EVERYTHING) -> list[dict[str, Any]] | str:
    """The rows of `looks.series` as the minutes have them."""
    conditions = [parse_condition(text) for text in where]
    return counted(engine, looks.counted_series(scope, Span(SINCE, UNTIL), step_s, conditions))


def counted(engine: EngineProcess, found: Alternative | None) -> list[dict[str, Any]] | str:
    """The rows that the minutes have, or why they have none."""
    if found is None:
        return "not asked"
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}")) as reader:
        asking = choose(found)
        try:
            statement = next(asking)
            while True:
                statement = asking.send(reader.run(statement).dicts())
        except StopIteration as done:
            return done.value if isinstance(done.value, str) else reader.run(done.value.statement).dicts()


def test_charts_have_the_calls_that_sampling_dropped(engine: EngineProcess, calls: list[Event]) -> None:
    rows = charted(engine, 3600, "plan=pro", scope=Scope(company="acme"))
    assert not isinstance(rows, str)
    own = [one for one in calls if one.company_id == "acme"]
    whole, *points = rows
    assert (whole["time"], whole["calls"], whole["failed"]) == (0, len(own), sum(map(failed, own)))
    assert (whole["timed"], whole["sampled"], whole["vnn"], whole["timed_doubt"]) == (len(own), 0, 0, 0)
    assert whole["q"][2] == pytest.approx(sorted(one.duration_ms for one in own)[len(own) // 2], rel=0.05)
    hours = Counter(one.start_unix_ns // (3600 * 10**9) * 3600 for one in own)
    assert {row["time"]: row["calls"] for row in points} == hours
    assert charted(engine, 10) == "not asked"
    assert charted(engine, 3600, "user_id=u1") == "not asked"


@pytest.mark.parametrize(
    "name",
    [
        *("totals", "traffic_by_plan", "top_erroring_customers", "endpoint_coverage", "failing_customers"),
        *("usage", "adoption", "returning"),
    ],
)
def test_where_nothing_is_sampled_both_say_the_same(clean: EngineProcess, name: str) -> None:
    dice = random.Random(7)
    store(clean, [], [])
    store(clean, [call(dice) for _ in range(200)] + [call(dice, hop="inner") for _ in range(20)])
    found = asked(clean, name)
    assert found.exact
    values = {"since": SINCE, "until": UNTIL}
    with StoreReader(Settings(name="s", dsn=f"chdb://{clean.data}")) as reader:
        of_events = reader.run(getattr(queries, name)(**values))
    common = [column for column in found.result.columns if column in of_events.columns and not column.endswith("_seen")]
    assert len(common) > 2
    for ours, theirs in zip(found.result.dicts(), of_events.dicts(), strict=True):
        for column in common:
            if isinstance(ours[column], float):
                assert ours[column] == pytest.approx(theirs[column])
            elif column not in ("endpoints", "last_trace"):
                assert ours[column] == theirs[column]


def test_reasons_to_ask_the_events(clean: EngineProcess) -> None:
    dice = random.Random(9)

    def why(name: str = "totals", **arguments: Any) -> str:
        return asked(clean, name, **arguments).said

    store(clean, [], [])
    store(
        clean,
        [call(dice, service="edge", decision=TENTH) for _ in range(5)],
        [call(dice, service="edge", decision=DROPPED)],
    )
    assert why().startswith("exact")
    store(clean, [call(dice, service="mesh", hop="open", decision=TENTH) for _ in range(5)])
    assert "of 5 calls only the whole trace tells" in why()
    assert why(hops="all").startswith("exact")
    assert why(where=[parse_condition("service=edge")]).startswith("exact")
    head = UNSAMPLED._replace(th="c", th_in="c", adjusted_count=4.0, p=0.25, weight=4, upstream="th")
    store(clean, [call(dice, service="head", decision=head)])
    assert "an SDK had dropped calls" in why(hops="all")
    where = [parse_condition("service=kept")]
    store(clean, [call(dice, service="kept", decision=TENTH)], whole=False)
    assert "sampling.count: kept" in why(where=where)
    nameless = call(dice, service="bff", company_id="", decision=TENTH)
    store(clean, [nameless, call(dice, direction="Outgoing", hop="inner", trace_id=nameless.trace_id, service="other")])
    where = [parse_condition("service=bff")]
    assert why(where=where).startswith("exact")
    assert "whose some calls are" in why(where=where, by="company_id")
    old = time.time_ns() - 3600 * 10**9
    store(clean, [call(dice, service="late", received_unix_ns=old, decision=TENTH)])
    assert why(where=[parse_condition("service=edge")]).startswith("exact"), (
        "a new store has counted from its first event"
    )
    comment = f"weighbridge minutes 1, since {int(time.time())}"  # of one whose first events an earlier version stored
    clean.client().command(f"ALTER TABLE analytics.api_minutes MODIFY COMMENT '{comment}'")
    assert "counts calls only since" in why(where=[parse_condition("service=edge")])
    recent = datetime.now(UTC) - timedelta(minutes=1)
    assert "counts calls only since" not in why(since=recent, where=[parse_condition("service=edge")])


def mesh(dice: random.Random, count: int, *, mixed: bool = False) -> list[Event]:
    """Traces of a gateway that calls a service, each in a request of its own; and callers with a trace of their own."""
    found = []
    for number in range(count):
        of_trace: dict[str, Any] = {"trace_id": dice.randbytes(16).hex(), "decision": HALF if number % 2 else DROPPED}
        start = DAY + dice.randrange(DAY_NS)
        of_trace |= {"start_unix_ns": start, "end_unix_ns": start}
        caller = {"parent_id": "ca11ca11ca11ca11", "hop": "open"}
        found += [
            call(dice, **of_trace, service="gateway", span_id="a" * 16),
            call(dice, **of_trace, service="orders", span_id="b" * 16, parent_id="a" * 16, hop="open"),
            call(
                dice, **{**of_trace, "trace_id": dice.randbytes(16).hex()}, **caller, service="edge", span_id="c" * 16
            ),
        ]
        if mixed:
            found.append(call(dice, **{**of_trace, "trace_id": dice.randbytes(16).hex()}, **caller, service="orders"))
    return found


def test_calls_whose_parents_came_in_other_requests_count_by_what_kept_traces_tell(clean: EngineProcess) -> None:
    dice = random.Random(14)
    store(clean, [], [])
    calls = mesh(dice, 1600)
    store(clean, [one for one in calls if one.decision.keep], [one for one in calls if not one.decision.keep])
    found = asked(clean, "totals", by="service")
    assert not found.exact
    assert "of 3200 calls came in other requests; 1600 kept traces say whose" in found.said.replace(
        "the parents of", "of"
    )
    rows = {row["by"]: row for row in found.result.dicts()}
    assert {by: row["calls"] for by, row in rows.items()} == {"gateway": 1600, "edge": 1600}
    assert (rows["gateway"]["calls_low"], rows["gateway"]["calls_high"]) == (1600, 1600)
    assert 1580 < rows["edge"]["calls_low"] < 1600 == rows["edge"]["calls_high"]
    (whole,) = asked(clean, "totals").result.dicts()
    assert whole["calls"] == 3200
    assert 3180 < whole["calls_low"] < 3200 < whole["calls_high"] < 3220
    assert whole["error_rate_low"] < whole["error_rate"] < whole["error_rate_high"]
    (middle,) = asked(clean, "percentile", q=0.5).result.dicts()
    assert middle["calls"] == 3200
    assert middle["low"] <= middle["percentile_ms"] <= middle["high"]
    assert asked(clean, "traffic_by_plan").said == found.said
    assert asked(clean, "totals", where=[parse_condition("service=gateway")]).exact
    assert asked(clean, "totals", hops="all", by="service").exact


def test_calls_of_one_service_that_are_both_are_left_to_the_events(clean: EngineProcess) -> None:
    dice = random.Random(15)
    store(clean, [], [])
    calls = mesh(dice, 100, mixed=True)
    store(clean, [one for one in calls if one.decision.keep], [one for one in calls if not one.decision.keep])
    assert "only the whole trace tells" in asked(clean, "totals").said


def test_a_service_whose_calls_are_told_twice_counts_each_once(clean: EngineProcess) -> None:
    """The counts by minute have both rows, and know not which of them is an entry: the events do."""
    dice = random.Random(16)
    store(clean, [], [])
    both: list[Event] = []
    for n in range(40):
        told = call(
            dice, trace_id=f"{n:032x}", parent_id="b7ad6b7169203331", hop="open", start_unix_ns=DAY, end_unix_ns=DAY
        )
        for at in "ab":
            scope = f'{{"scope":{{"name":"{at}"}}}}'
            both.append(told._replace(transaction_id=f"{n}-{at}", span_id=f"{n:015x}{at}", resource=scope))
    store(clean, both)
    for hops, calls in (("entry", 40), ("all", 80)):
        found = asked(clean, "totals", hops=hops)
        assert ([row["calls"] for row in found.result.dicts()], found.exact) == ([calls], True)
    assert sum(row["calls"] for row in asked(clean, "usage").result.dicts()) == 40
    store(clean, [], [call(dice, start_unix_ns=DAY, decision=DROPPED)])
    (row,) = (found := asked(clean, "totals")).result.dicts()
    assert (row["calls"], found.exact) == (40, False)
    assert "only the whole trace tells" in found.said


def test_where_nothing_was_sampled_away_whole_traces_tell_exactly(clean: EngineProcess) -> None:
    """What a gateway's other requests tell is known of every call when every call is there."""
    dice = random.Random(17)
    store(clean, [], [])
    calls = [one._replace(decision=UNSAMPLED) for one in mesh(dice, 40, mixed=True)]
    health = call(dice, start_unix_ns=DAY, decision=DROPPED._replace(reason="rule_zero"))
    store(clean, calls, [health])
    found = asked(clean, "totals", by="service")
    assert (found.said, found.exact) == ("exact: every call was kept", True)
    assert {row["by"]: row["calls"] for row in found.result.dicts()} == {"gateway": 40, "edge": 40, "orders": 40}
    assert "calls_low" not in found.result.columns
    for name in ("percentile", "traffic_by_plan", "failing_customers", "endpoint_coverage", "milestones", "monthly"):
        assert asked(clean, name).said == "exact: every call was kept", name
    for name in ("tokens", "logs_of_failing_calls"):  # of records that are not counted
        assert not asked(clean, name).exact, name
    later = DAY + 2 * DAY_NS
    store(clean, [], [call(dice, start_unix_ns=later, service="edge", hop="open", decision=DROPPED)])
    assert not asked(clean, "totals", by="service").exact
    assert not asked(clean, "milestones").exact
    before = datetime.fromtimestamp(later / 1e9, UTC)
    assert asked(clean, "totals", by="service", until=before).exact
    one = calls[0].transaction_id
    clean.client().command(
        f"ALTER TABLE analytics.api_events DELETE WHERE event_id = '{one}' SETTINGS mutations_sync = 2"
    )
    assert not asked(clean, "milestones", until=before).exact, "an event that was counted is gone"


def test_charts_of_what_is_not_sampled_are_those_of_the_events(clean: EngineProcess) -> None:
    dice = random.Random(16)
    store(clean, [], [])
    store(clean, [call(dice) for _ in range(300)])
    rows = charted(clean, 86_400)
    with StoreReader(Settings(name="s", dsn=f"chdb://{clean.data}")) as reader:
        seen = reader.run(looks.overview(EVERYTHING, Span(SINCE, UNTIL), 86_400)).dicts()
    whole = [{**row, "time": 0} for row in seen if row["by"] == "half" and row["value"] == "1"]
    others = whole + [{**row, "time": int(row["value"])} for row in seen if row["by"] == "time"]
    others.sort(key=lambda row: row["time"])
    assert not isinstance(rows, str)
    assert len(rows) == len(others) >= 4
    for ours, theirs in zip(rows, others, strict=True):
        assert ours.keys() <= theirs.keys()
        for name in ("time", "calls", "failed", "server_failed", "rows_seen", "sampled", "vnn", "timed", "timed_doubt"):
            assert ours[name] == pytest.approx(theirs[name]), name
        assert ours["q"][2] == pytest.approx(theirs["q"][2], rel=0.1)


@pytest.mark.parametrize("where", ["", "company_id=acme", "status_code>=400"])
def test_counted_groups_and_halves_are_those_of_the_events(clean: EngineProcess, where: str) -> None:
    """Of a time and the time before it: what a page compares."""
    dice = random.Random(17)
    store(clean, [], [])
    store(clean, [call(dice) for _ in range(400)])
    span, before = Span(SINCE + timedelta(days=1), UNTIL), SINCE
    conditions = [parse_condition(where)] if where else []
    by = ("company_id", "endpoint", "route", "status_code", "error_type", "plan")
    rows = counted(clean, looks.counted_groups(EVERYTHING, span, by, conditions, before, 100))
    series = counted(clean, looks.counted_series(EVERYTHING, span, 3600, conditions, before))
    own = parse_condition("company_id=acme")
    beside = counted(clean, looks.counted_beside(EVERYTHING, span, own.value))
    with StoreReader(Settings(name="s", dsn=f"chdb://{clean.data}")) as reader:
        seen = reader.run(looks.groups(EVERYTHING, span, by, conditions, before, 100)).dicts()
        over = reader.run(looks.overview(EVERYTHING, span, 3600, conditions, before)).dicts()
        others = reader.run(looks.beside_others(EVERYTHING, span, [own])).dicts()
        failed = reader.run(looks.last_failed(EVERYTHING, span, by, conditions, 100)).dicts()
    assert not isinstance(rows, str)
    assert not isinstance(series, str)
    assert not isinstance(beside, str)
    names = ("by", "value", "calls_now", "failed_now", "calls_before", "failed_before", "sampled_now")
    assert sorted(tuple(row[name] for name in names) for row in rows) == sorted(
        tuple(row[name] for name in names) for row in seen
    )
    assert all(abs((row["last_seen"] - other["last_seen"]).total_seconds()) < 60 for row, other in paired(rows, seen))
    traces = {(row["by"], row["value"]): row["trace"] for row in failed}
    assert {(row["by"], row["value"]): row["last_trace"] for row in seen if row["failed_now"]} == traces
    halves = {0: "1", 1: "0"}  # by their time
    figures = {(row["by"], row["value"]): (row["calls"], row["failed"], row["rows_seen"]) for row in over}
    assert figures.pop(("time", "1"), None) is not None
    assert figures == {
        ("half", halves[row["time"]]) if row["time"] in halves else ("time", str(row["time"])): (
            row["calls"],
            row["failed"],
            row["rows_seen"],
        )
        for row in series
    }
    assert {row["own"]: (row["calls"], row["failed"]) for row in beside} == {
        row["own"]: (row["calls"], row["failed"]) for row in others
    }
    for ours, theirs in zip(*(sorted(found, key=lambda row: row["own"]) for found in (beside, others)), strict=True):
        assert ours["q"] == pytest.approx(theirs["q"], rel=0.1)


def paired(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows of the same group."""
    found = {(row["by"], row["value"]): row for row in others}
    return [(row, found[row["by"], row["value"]]) for row in some]


def test_names_that_were_folded_are_not_told_apart(clean: EngineProcess) -> None:
    dice = random.Random(10)
    store(clean, [], [])
    store(clean, [call(dice, decision=TENTH) for _ in range(30)])
    clean.client().command(
        "INSERT INTO analytics.api_minutes (minute, company_id, endpoint, direction, hop, folded, records, calls) "
        f"VALUES ({DAY // 10**9}, 'acme', '(other)', 'incoming', 'entry', 1, 1, 1)"
    )
    assert asked(clean, "totals", by="company_id").exact
    assert "too many names" in asked(clean, "totals", by="endpoint").said
    assert "too many names" in asked(clean, "endpoint_coverage").said


def test_a_store_of_an_earlier_version_answers_from_its_events(clean: EngineProcess) -> None:
    dice = random.Random(12)
    store(clean, [call(dice, decision=TENTH) for _ in range(30)])
    clean.client().command("DROP TABLE analytics.api_minutes SYNC")
    found = asked(clean, "totals")
    assert not found.exact
    assert "counts no calls by minute" in found.said
    assert found.result.dicts()[0]["calls"] == 300
    clean.client().command("DROP VIEW analytics.api_calls")  # it reads the column
    clean.client().command("ALTER TABLE analytics.api_events DROP COLUMN trace_hash")
    with pytest.raises(StoreError, match="the store is of an earlier version"):
        asked(clean, "totals")


def test_events_that_are_all_kept_are_exact_too(clean: EngineProcess) -> None:
    dice = random.Random(13)
    store(clean, [call(dice) for _ in range(20)])
    found = asked(clean, "totals", by="user_id")
    assert found.exact
    assert found.said == "exact: every call was kept"
    assert "calls_low" not in found.result.columns
    assert sum(row["calls"] for row in found.result.dicts()) == 20


def test_customers_of_whom_no_event_is_kept_are_known(clean: EngineProcess) -> None:
    dice = random.Random(18)
    store(clean, [], [])
    kept = [call(dice, company_id="acme", api_version="v2", decision=TENTH)]
    store(clean, kept, [call(dice, company_id=f"c{n}", api_version="v1", decision=DROPPED) for n in range(30)])
    returned = asked(clean, "returning", period="day")
    assert returned.exact
    assert sum(row["new"] for row in returned.result.dicts()) == 31
    versions = asked(clean, "adoption", version="v1")
    assert versions.exact
    assert sum(row["calls"] for row in versions.result.dicts()) == 30
