"""How sure the store says it is: intervals equal to the plain calculation's, and strata of which nothing was kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from test_queries import SINCE, UNTIL, call, sampled

from bench.estimate import Kept, estimate_share, estimate_total, upper_when_nothing_kept
from engine_process import EngineProcess
from exporter.clickhouse import queries
from exporter.clickhouse.queries import parse_condition
from exporter.clickhouse.reader import StoreReader
from exporter.sinks.clickhouse import Settings
from mapping.event import Decision, Event
from stored import store_events


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("intervals"))
    yield process
    assert process.stop() == 0


def asked(engine: EngineProcess, database: str, *arguments: object, **more: object) -> dict[object, dict[str, Any]]:
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}?database={database}")) as reader:
        found = reader.run(queries.totals(SINCE, UNTIL, *arguments, **more)).dicts()  # type: ignore[arg-type]
    return {row["by"]: row for row in found}


def ruled(rule: str, p: float) -> Decision:
    return sampled(p)._replace(rule=rule)


def test_intervals_equal_the_plain_calculation(engine: EngineProcess) -> None:
    dice = random.Random(11)
    rows = [
        call(number, trace_id=f"{dice.randrange(1, 200):032x}", decision=sampled(dice.choice([0.5, 0.2, 0.1])),
             company_id=dice.choice(["a", "b", "b", "b", "c"]), status=dice.choice([200, 200, 200, 500]))
        for number in range(400)
    ]  # fmt: skip
    store_events(engine, rows, "plain")
    for company, found in asked(engine, "plain", "company_id").items():
        mine = [row for row in rows if row.company_id == company]
        counted = [Kept(row.trace_id, row.decision.adjusted_count) for row in mine]
        errors = [Kept(k.cluster, k.adjusted_count) for k, row in zip(counted, mine, strict=True) if row.status == 500]
        shared = [k._replace(value=float(row.status == 500)) for k, row in zip(counted, mine, strict=True)]
        for name, expected in (
            ("calls", estimate_total(counted)),
            ("errors", estimate_total(errors)),
            ("error_rate", estimate_share(shared)),
        ):
            assert found[name] == pytest.approx(expected.value)
            assert found[f"{name}_low"] == pytest.approx(expected.low), name
            assert found[f"{name}_high"] == pytest.approx(expected.high), name
        assert found["answer"] == "estimate"


def kept_errors(unit: str = "acme") -> list[Event]:
    """A large customer, calls kept at 10 % and errors all; and `unit`, of whom two errors are all that is left."""
    rows = [
        call(number, trace_id=f"{number:032x}", company_id="large", user_id="l", decision=ruled("default", 0.1))
        for number in range(1, 200)
    ]
    rows += [
        call(
            number, trace_id=f"{number:032x}", company_id="large", user_id="l", status=500, decision=ruled("errors", 1)
        )
        for number in range(300, 310)
    ]
    rows += [
        call(number, trace_id=f"{number:032x}", company_id=unit, user_id="u", status=500, decision=ruled("errors", 1))
        for number in range(400, 402)
    ]
    return rows


def test_a_stratum_of_which_nothing_was_kept_is_not_nothing(engine: EngineProcess) -> None:
    """42 calls of which 40 were dropped and two errors kept: told as at least 2 and at most 37, not as 2."""
    store_events(engine, kept_errors(), "nothing")
    most = upper_when_nothing_kept(0.1, 0.025)
    conditions = [parse_condition("company_id=acme")], [parse_condition("user_id=u")]
    for found in (
        asked(engine, "nothing", "company_id")["acme"],
        asked(engine, "nothing", "user_id")["u"],
        *(asked(engine, "nothing", "all", where)[""] for where in conditions),
    ):
        assert (found["calls"], found["answer"], found["error_rate"]) == (None, "too few", None)
        assert (found["calls_low"], found["calls_high"]) == (2, pytest.approx(2 + most, rel=1e-3))
        assert found["errors"] == 2  # no error was ever dropped
        assert found["error_rate_low"] == pytest.approx(2 / (2 + most), rel=1e-3)
        assert found["error_rate_high"] == 1
    large = asked(engine, "nothing", "company_id")["large"]
    assert (large["calls"], large["errors"], large["errors_low"], large["answer"]) == (2000, 10, None, "estimate")


def test_errors_that_are_sampled_elsewhere_may_be_missing_here(engine: EngineProcess) -> None:
    rows = [
        call(number, trace_id=f"{number:032x}", company_id="fails" if number % 2 else "works",
             status=404 if number % 10 == 1 else 200, decision=ruled("default", 0.1))
        for number in range(1, 200)
    ]  # fmt: skip
    store_events(engine, rows, "elsewhere")
    works = asked(engine, "elsewhere", "company_id")["works"]
    assert (works["errors"], works["errors_low"], works["error_rate_low"]) == (0, 0, 0)
    assert works["errors_high"] == pytest.approx(upper_when_nothing_kept(0.1, 0.025), rel=1e-3)
    assert works["error_rate_high"] == pytest.approx(works["errors_high"] / (works["errors_high"] + 990))


def test_what_a_rule_keeps_whole_is_exact(engine: EngineProcess) -> None:
    """A customer, an endpoint or a status with a rule of its own at 100 %: there is no stratum that it could miss."""
    rows = kept_errors()
    rows += [
        call(number, trace_id=f"{number:032x}", company_id="whole", route="/whole", decision=ruled("whole", 1))
        for number in range(500, 520)
    ]
    store_events(engine, rows, "whole")
    whole = asked(engine, "whole", "company_id")["whole"]
    assert (whole["calls"], whole["calls_low"], whole["calls_high"], whole["answer"]) == (20, None, None, "exact")
    assert asked(engine, "whole", "endpoint")["GET /whole"]["answer"] == "exact"
    assert asked(engine, "whole", "status_code")[500]["answer"] == "exact"
    failed = asked(engine, "whole", "company_id", [parse_condition("status_code=500")])
    assert {row["answer"] for row in failed.values()} == {"exact"}


def test_a_budget_that_lets_a_small_customer_keep_all_leaves_its_answer_exact(engine: EngineProcess) -> None:
    rows = [
        call(number, trace_id=f"{number:032x}", company_id="large", decision=ruled("default", 0.1 + number % 7 / 100))
        for number in range(1, 100)
    ]
    rows += [call(number, trace_id=f"{number:032x}", company_id="small") for number in range(200, 205)]
    store_events(engine, rows, "budget")
    small = asked(engine, "budget", "company_id")["small"]
    assert (small["calls"], small["answer"]) == (5, "exact")


def test_a_rate_that_was_lowered_in_between_leaves_doubt_about_who_was_seen_before_only(engine: EngineProcess) -> None:
    rows = [
        call(
            number, trace_id=f"{number:032x}", company_id="large", decision=ruled("default", 1 if number < 50 else 0.1)
        )
        for number in range(1, 100)
    ]
    rows += [call(1, trace_id=f"{number:032x}", company_id="small") for number in range(200, 202)]
    store_events(engine, rows, "lowered")
    small = asked(engine, "lowered", "company_id")["small"]
    assert (small["calls_low"], small["answer"]) == (2, "too few")
    assert small["calls_high"] == pytest.approx(2 + upper_when_nothing_kept(0.1, 0.025), rel=1e-3)
    hours = asked(engine, "lowered", "hour")
    assert {row["answer"] for row in hours.values()} == {"estimate"}


def test_a_percentile_beyond_what_was_kept_is_not_said(engine: EngineProcess) -> None:
    """The 99th of 40 traces: there may be calls slower than any that was kept."""
    rows = [
        call(number, trace_id=f"{number:032x}", duration_ms=float(number), decision=sampled(0.1))
        for number in range(1, 41)
    ]
    store_events(engine, rows, "beyond")
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}?database=beyond")) as reader:
        for q, answer in ((0.99, "too few"), (0.5, "estimate")):
            (found,) = reader.run(queries.percentile(SINCE, UNTIL, q)).dicts()
            assert found["answer"] == answer
            assert (found["high"] is None) == (found["percentile_ms"] is None) == (q == 0.99)
            assert found["low"] is not None
    rows = [call(number, trace_id=f"{number:032x}", duration_ms=float(number)) for number in range(1, 41)]
    store_events(engine, rows, "all")
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}?database=all")) as reader:
        (found,) = reader.run(queries.percentile(SINCE, UNTIL, 0.99)).dicts()
        assert (found["percentile_ms"], found["answer"], found["low_confidence"]) == (40, "exact", False)
