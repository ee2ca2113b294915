"""Rows of one store into another: text in between, so that versions, servers and the embedded engine can differ.

An event that is there already is left out by its id, so that a copy may be begun again at any point, and may go to a
store that a bridge writes to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from exporter.clickhouse.days import of_day
from exporter.clickhouse.keeper import StoreKeeper
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.clickhouse.schema import Place, insert_types
from exporter.clickhouse.sink import quote

FORM: Final = "TabSeparated"  # one line a row; everything else in it is escaped
_MOST_ROWS: Final = 50_000  # of an insert, and of the question which of them are there
_MOST_BYTES: Final = 24 << 20


class Copied(NamedTuple):
    """What became of rows: how many were new, and how many were there already."""

    added: int
    present: int


def stored_columns(store: StoreReader, place: Place) -> list[str]:
    """The columns that the table stores, in its order. Raises StoreError where there is no such table."""
    answer = store.query(
        "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String}"
        " AND default_kind NOT IN ('ALIAS', 'MATERIALIZED') ORDER BY position",
        {"database": place.database, "table": place.stored.partition(".")[2]},
    )
    found = [str(name) for (name,) in answer.rows]
    if not {"event_id", "event_time", "event_type"} <= set(found):
        raise StoreError(f"there is no table {place.table}")
    return found


def unknown(columns: Iterable[str]) -> list[str]:
    """Those that this program does not know: made by a later one, or by hand."""
    return sorted(set(columns) - insert_types().keys())


def question(place: Place, columns: Sequence[str], day: date) -> str:
    """The SELECT of a whole day."""
    return f"SELECT {', '.join(columns)} FROM {place.table} WHERE {of_day(day)}"  # noqa: S608 - names of ours


def add(store: StoreKeeper, place: Place, columns: Sequence[str], texts: Iterable[bytes]) -> Iterator[Copied]:
    """Insert the rows of these texts (FORM, cut between rows) that are not there yet; tells of every insert.

    Raises StoreError.
    """
    event_id, event_time = columns.index("event_id"), columns.index("event_time")
    for rows in _inserts(texts):
        fields = [row.split(b"\t", max(event_id, event_time) + 1) for row in rows]
        ids = [field[event_id].decode() for field in fields]
        times = [field[event_time].decode() for field in fields]
        within = f"event_time >= {_moment(min(times))} AND event_time <= {_moment(max(times))}"
        there = store.present(place, ids, within)
        fresh = {identity: row for identity, row in zip(ids, rows, strict=True) if identity not in there}
        if fresh:
            body = b"\n".join(fresh.values()) + b"\n"
            store.insert_text(place, columns, body, f"copy-{hashlib.sha256(body).hexdigest()[:32]}")
        yield Copied(len(fresh), len(rows) - len(fresh))


def _moment(text: str) -> str:
    return f"parseDateTime64BestEffort({quote(text)}, 6, 'UTC')"


def _inserts(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    rows: list[bytes] = []
    size = 0
    for text in texts:
        for row in text.rstrip(b"\n").split(b"\n"):
            if rows and (len(rows) == _MOST_ROWS or size + len(row) > _MOST_BYTES):
                yield rows
                rows, size = [], 0
            rows.append(row)
            size += len(row)
    if rows:
        yield rows
