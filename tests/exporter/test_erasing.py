"""What is deleted of a store: exactly what is theirs, whatever their ids look like, and nothing when nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine_process import EngineProcess
from events import NOW_NS, SECOND_NS, event
from exporter.clickhouse.erasing import Whose, count, delete
from exporter.clickhouse.keeper import StoreKeeper
from exporter.clickhouse.schema import Place
from exporter.clickhouse.settings import Settings
from store_files import RETENTION_DAYS, embedded
from stored import store_events

ODD = ("o'Brien", "back\\slash", "100%s", "{a:String}", 'a "quoted" é', "' OR 1 = 1 --", "line\nbreak\ttab", "%(x)s")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("engine") / "store")
    whom: list[dict[str, Any]] = [{"user_id": user} for user in (*ODD, "plain")]
    times: list[dict[str, Any]] = [
        {"start_unix_ns": NOW_NS - seconds * SECOND_NS, "user_id": "of-times"} for seconds in (10, 20, 30)
    ]
    tenants: list[dict[str, Any]] = [{"tenant": tenant, "user_id": "of-tenants"} for tenant in ("", "a", "b")]
    companies: list[dict[str, Any]] = [
        {"company_id": company, "user_id": "of-companies"} for company in ("acme", "globex")
    ]
    store_events(process, [event(**fields) for fields in (*whom, *times, *tenants, *companies)])
    yield process
    assert process.stop() == 0


@pytest.fixture
def store(engine: EngineProcess) -> Iterator[tuple[StoreKeeper, Place]]:
    settings = Settings(name="s", dsn=embedded(engine), retention_days=RETENTION_DAYS)
    with StoreKeeper(settings) as keeper:
        yield keeper, Place.of(settings)


def whose(**terms: object) -> Whose:
    fields: dict[str, object] = {
        **{"users": (), "companies": (), "tenant": None, "before_unix_ns": NOW_NS, "came_before_unix_ns": 0},
        **terms,
    }
    return Whose(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("user", ODD)
def test_an_odd_id_is_nobody_elses(store: tuple[StoreKeeper, Place], user: str) -> None:
    keeper, place = store
    everybody = count(keeper, place.table, "1")
    where = whose(users=(user,)).where()
    assert count(keeper, place.table, where) == 1
    assert delete(keeper, place, place.table, place.stored, where) == 1
    assert count(keeper, place.table, "1") == everybody - 1
    assert delete(keeper, place, place.table, place.stored, where) == 0


def test_times_tenants_and_companies_are_kept_to(store: tuple[StoreKeeper, Place]) -> None:
    keeper, place = store

    def found(**terms: object) -> int:
        return count(keeper, place.table, whose(**terms).where())

    assert found(users=("of-times",)) == 3
    assert found(users=("of-times",), before_unix_ns=NOW_NS - 15 * SECOND_NS) == 2
    assert found(users=("of-times",), before_unix_ns=0, came_before_unix_ns=NOW_NS + SECOND_NS) == 3
    assert [found(users=("of-tenants",), tenant=tenant) for tenant in (None, "", "a", "c")] == [3, 1, 1, 0]
    assert found(companies=("acme",)) == 1
    assert found(companies=("acme",), users=("of-tenants",)) == 4
    assert count(keeper, f"{place.database}.nothing", "1") == 0
