"""What the store lets go of besides the table's own TTL: whole days beyond a size, and columns of days past their time.

A plan is made of what the store says of its parts, day by day, so that it costs nothing to look, and looking twice
does nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple, Protocol

from exporter.clickhouse.schema import Place
from exporter.clickhouse.settings import RetentionClass

# What can be let go of before its event: no column that events are found, counted or told apart by.
CLASSES: Final[Mapping[RetentionClass, tuple[str, ...]]] = {
    "bodies": ("request_body", "response_body"),
    "headers": ("request_headers", "response_headers"),
    "log_bodies": ("body",),
    "addresses": ("ip", "response_ip"),
}


class Asked(Protocol):
    def rows(self, sql: str) -> list[tuple[str, ...]]: ...


class Keep(NamedTuple):
    """How much is kept. most_bytes: on disk, 0 for any number. class_days: a class of CLASSES -> days."""

    days: int
    most_bytes: int
    class_days: Mapping[RetentionClass, int]


class StoredDay(NamedTuple):
    """A day as it lies on disk: what of CLASSES it still has, and what is to be done about it now."""

    date: date
    events: int
    size: int  # bytes
    classes: tuple[RetentionClass, ...]
    goes: bool  # all of it, because of `most_bytes`
    clears: tuple[RetentionClass, ...]


def stored_days(store: Asked, place: Place, keep: Keep, today: date) -> list[StoredDay]:
    """The days on disk, oldest first, with what is due."""
    database, _, table = place.stored.partition(".")
    ours = f"active AND database = '{database}' AND table = '{table}'"
    sizes = store.rows(
        "SELECT partition, sum(rows), sum(bytes_on_disk) FROM system.parts "  # noqa: S608 - plain names
        f"WHERE {ours} GROUP BY partition ORDER BY partition"
    )
    names = ", ".join(f"'{column}'" for columns in CLASSES.values() for column in columns)
    has: dict[str, set[str]] = {}
    for partition, column in store.rows(
        "SELECT DISTINCT partition, column FROM system.parts_columns "  # noqa: S608
        f"WHERE {ours} AND column IN ({names})"
    ):
        has.setdefault(partition, set()).add(column)
    over = sum(int(size) for _, _, size in sizes) - keep.most_bytes if keep.most_bytes else 0
    found = []
    for number, (partition, rows, size) in enumerate(sizes):
        day = date.fromisoformat(partition)
        goes = over > 0 and number < len(sizes) - 1  # the newest day is not history
        over -= int(size) if goes else 0
        there = tuple(name for name, columns in CLASSES.items() if has.get(partition, set()) & set(columns))
        past = tuple(name for name in there if name in keep.class_days and _is_past(day, keep.class_days[name], today))
        found.append(StoredDay(day, int(rows), int(size), there, goes, () if goes else past))
    return found


def statements(place: Place, days: Sequence[StoredDay]) -> list[str]:
    """What makes the store let go of what is due."""
    alter = f"ALTER TABLE {place.stored}{place.on_cluster}"
    found = []
    for day in days:
        if day.goes:
            found.append(f"{alter} DROP PARTITION '{day.date}'")
        elif day.clears:
            columns = [column for name in day.clears for column in CLASSES[name]]
            parts = ", ".join(f"CLEAR COLUMN {column} IN PARTITION '{day.date}'" for column in columns)
            found.append(f"{alter} {parts}")
    return found


def _is_past(day: date, days: int, today: date) -> bool:
    """Whether every event of a day is older than so many days."""
    return day + timedelta(days=days) < today
