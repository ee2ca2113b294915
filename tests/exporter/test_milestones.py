"""How customers get on: populations of which the answers are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from test_queries import SINCE, UNTIL, call, sampled

from engine_process import EngineProcess
from exporter.clickhouse import looks, queries
from exporter.clickhouse.queries import Statement
from exporter.clickhouse.reader import StoreReader
from exporter.sinks.clickhouse import Settings
from mapping.event import ACTION, Event
from mapping.spans.models import STEPS
from stored import store_events

DAY_S = 86_400
BEGIN = SINCE + timedelta(days=10)  # the start of DAY
_numbers = iter(range(1, 10**6))


def of(company: str, second: float, status: int = 200, **changes: object) -> Event:
    return call(second, trace_id=f"{next(_numbers):032x}", company_id=company, status=status, **changes)


def customers() -> list[Event]:
    """old: for a week, v1, then v2. new: fails twice, then works. lost: last week only. loud: fails in one minute."""
    rows = [of("old", -day * DAY_S + 60, api_version="v1", user_id="o") for day in range(1, 8)]
    rows += [of("old", hour * 3600, api_version="v2", user_id="o") for hour in range(10)]
    rows += [of("new", 3600, 401), of("new", 3601, 401), of("new", 3700, user_id="n"), of("new", 3800)]
    rows += [of("lost", -6 * DAY_S + number, user_id="l") for number in range(20)]
    rows += [of("loud", 7200 + number, 503, user_id="x", verb="POST", route="/pay") for number in range(12)]
    rows += [of("big", 100 + number, decision=sampled(0.1)) for number in range(20)]
    rows += [
        of("old", 50 + number, event_type=ACTION, direction="", verb="", route="", family="genai",
           metadata='{"action":{"model":"gpt-x","tokens":{"input":100,"output":7}}}')
        for number in range(3)
    ]  # fmt: skip
    rows += [
        of("old", 60, event_type=ACTION, direction="", verb="", route="", family="genai",
           metadata=f'{{"action":{{"model":"gpt-x","operation":"{step}"}}}}')
        for step in STEPS
    ]  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreReader]:
    engine = EngineProcess(tmp_path_factory.mktemp("milestones"))
    store_events(engine, customers())
    with StoreReader(Settings(name="s", dsn=f"chdb://{engine.data}")) as found:
        yield found
    assert engine.stop() == 0


def asked(reader: StoreReader, statement: Statement, key: str = "company_id") -> dict[Any, dict[str, Any]]:
    return {row[key]: row for row in reader.run(statement).dicts()}


def test_first_calls_are_those_of_customers_that_are_new(reader: StoreReader) -> None:
    rows = asked(reader, queries.first_calls(BEGIN, UNTIL))
    assert set(rows) == {"new", "loud", "big"}
    assert (rows["new"]["failed_before"], rows["new"]["seconds_to_success"], rows["new"]["calls"]) == (2, 100, 4)
    assert (rows["loud"]["first_success"], rows["loud"]["failed_before"]) == (None, 12)
    assert "old" in asked(reader, queries.first_calls(BEGIN, UNTIL, before=timedelta(hours=1)))


def test_milestones_are_reached_in_weighted_calls(reader: StoreReader) -> None:
    rows = asked(reader, queries.milestones(SINCE, UNTIL, ["1", "15", "100"]))
    assert rows["old"]["reached"][0].startswith(str((BEGIN - timedelta(days=7)).date()))
    assert rows["old"]["reached"][1].endswith("07:00:00")
    assert rows["old"]["reached"][2] == ""
    assert rows["big"]["calls"] == 200
    assert rows["big"]["reached"][2].endswith("00:01:00")  # the tenth of those that were kept
    assert rows["loud"]["first_success"] is None
    assert rows["loud"]["days_without_errors"] == (UNTIL - BEGIN).days
    assert rows["lost"]["days_without_errors"] == (UNTIL - BEGIN).days + 6
    with pytest.raises(ValueError, match="numbers of calls"):
        queries.milestones(SINCE, UNTIL, ["many"])


def test_adoption_counts_customers_beside_calls(reader: StoreReader) -> None:
    rows = asked(reader, queries.adoption(BEGIN, UNTIL, version="v2"), "api_version")
    assert rows["v2"]["customers_seen"] == 1
    assert rows["v2"]["share_of_customers"] == pytest.approx(1 / 4)
    assert rows["v2"]["share_of_calls"] == pytest.approx(10 / 226)


def test_new_returning_and_lost_customers(reader: StoreReader) -> None:
    rows = reader.run(queries.returning(SINCE, BEGIN + timedelta(days=1), period="day")).dicts()
    today = next(row for row in rows if row["period"] == BEGIN.date())
    assert (today["new"], today["returning"], today["came_back"]) == (3, 1, 0)
    assert sum(row["lost"] for row in rows) == 1
    with pytest.raises(ValueError, match="period is"):
        queries.returning(SINCE, UNTIL, period="year")


def test_health_is_measured_against_the_customers_own_past(reader: StoreReader) -> None:
    rows = asked(reader, queries.health(BEGIN, BEGIN + timedelta(days=1), before=timedelta(days=10)))
    assert (rows["old"]["calls"], rows["old"]["calls_before"]) == (10, pytest.approx(0.7))
    assert rows["old"]["change"] == pytest.approx(10 / 0.7 - 1)
    assert (rows["lost"]["calls"], rows["lost"]["change"]) == (0, -1)
    assert (rows["loud"]["change"], rows["loud"]["error_rate"]) == (None, 1)


def test_retry_storms_are_failures_of_one_user_in_a_minute(reader: StoreReader) -> None:
    (row,) = reader.run(queries.retry_storms(SINCE, UNTIL)).dicts()
    assert (row["company_id"], row["endpoint"], row["failed"], row["statuses"]) == ("loud", "/pay", 12, [503])
    assert reader.run(queries.retry_storms(SINCE, UNTIL, least=13)).rows == []


def test_tokens_by_customer_model_and_day(reader: StoreReader) -> None:
    (row,) = reader.run(queries.tokens(SINCE, UNTIL)).dicts()
    assert (row["company_id"], row["model"], row["calls"], row["input_tokens"], row["output_tokens"]) == (
        "old", "gpt-x", 3, 300, 21,
    )  # fmt: skip


def test_the_consoles_models_are_counted_without_the_steps_around_their_calls(reader: StoreReader) -> None:
    (row,) = reader.run(looks.models(looks.Scope(), looks.Span(SINCE, UNTIL), ())).dicts()
    assert (row["model"], row["calls"], row["input_tokens"]) == ("gpt-x", 3, 300)


def test_months_add_up(reader: StoreReader) -> None:
    rows = reader.run(queries.monthly(SINCE, UNTIL)).dicts()
    old = [row for row in rows if row["company_id"] == "old"]
    assert sum(row["calls"] for row in old) == 17
    assert sum(row["days_seen"] for row in old) == 8
