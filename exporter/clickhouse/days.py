"""The days of a store: how many events each has, and a fingerprint of which. Copies are checked by both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import NamedTuple, Protocol

from exporter.clickhouse.reader import Result
from exporter.clickhouse.schema import Place


class Asked(Protocol):
    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> Result: ...


class Day(NamedTuple):
    """A UTC day of event times. `mark`: equal for equal sets of event ids."""

    date: date
    events: int
    mark: str


def days(store: Asked, place: Place, since: date | None = None, until: date | None = None) -> list[Day]:
    """The days that have events, oldest first; from `since` on, before `until`. Raises StoreError."""
    answer = store.query(
        "SELECT toString(toDate(event_time)) AS day, count(), hex(groupBitXor(cityHash64(event_id))) "  # noqa: S608
        f"FROM {place.table} WHERE {_between(since, until)} GROUP BY day ORDER BY day"
    )
    return [Day(date.fromisoformat(day), int(events), str(mark)) for day, events, mark in answer.rows]


def one_day(store: Asked, place: Place, day: date) -> Day:
    """This day as it is now, also one without events. Raises StoreError."""
    answer = store.query(
        f"SELECT count(), hex(groupBitXor(cityHash64(event_id))) FROM {place.table} WHERE {of_day(day)}"  # noqa: S608
    )
    ((events, mark),) = answer.rows
    return Day(day, int(events), str(mark))


def of_day(day: date) -> str:
    """The condition of SQL under which an event is of this day; whole partitions, nothing else is read."""
    return f"toDate(event_time) = '{day}'"


def today() -> date:
    return datetime.now(UTC).date()


def _between(since: date | None, until: date | None) -> str:
    bounds = [f"toDate(event_time) >= '{since}'"] if since else []
    bounds += [f"toDate(event_time) < '{until}'"] if until else []
    return " AND ".join(bounds) or "1"
