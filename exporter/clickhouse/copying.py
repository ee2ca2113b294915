"""Rows of one store into another: text in between, so that versions, servers and the embedded engine can differ.

An event that is there already is left out by its id, so that a copy may be begun again at any point, and may go to a
store that a bridge writes to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

from exporter.clickhouse.days import of_day
from exporter.clickhouse.engine.lanes import quote
from exporter.clickhouse.keeper import StoreKeeper
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.clickhouse.schema import Place, insert_types

FORM: Final = "TabSeparated"  # one line a row; everything else in it is escaped
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES: Final = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"0": b"\0", b"b": b"\b", b"f": b"\f"}
_MOST_ROWS: Final = 50_000  # of an insert, and of the question which of them are there
_MOST_BYTES: Final = 24 << 20


class Copied(NamedTuple):
    """What became of rows: how many were new, how many were there already, and how many are of the erased."""

    added: int
    present: int
    erased: int = 0


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


class Owner(NamedTuple):
    """Whose a row is, and when it was: of its event's start and of its arrival, nanoseconds since the epoch."""

    user: str
    company: str
    tenant: str
    start_unix_ns: int
    received_unix_ns: int


Erased = Callable[[Owner], bool]
_OWNERS: Final = ("user_id", "company_id", "tenant", "start_unix_ns", "received_at")


def add(
    store: StoreKeeper,
    place: Place,
    columns: Sequence[str],
    texts: Iterable[bytes],
    is_erased: Erased | None = None,
) -> Iterator[Copied]:
    """Insert the rows of these texts (FORM, cut between rows) that are not there yet; tells of every insert.

    is_erased: of rows that are to stay away. Raises StoreError.
    """
    event_id, event_time = columns.index("event_id"), columns.index("event_time")
    owners = [columns.index(name) for name in _OWNERS] if is_erased is not None else []
    for every in _inserts(texts):
        rows = every if is_erased is None else [row for row in every if not is_erased(_owner(row, owners))]
        if not rows:
            yield Copied(0, 0, len(every))
            continue
        fields = [row.split(b"\t", max(event_id, event_time) + 1) for row in rows]
        ids = [field[event_id].decode() for field in fields]
        times = [field[event_time].decode() for field in fields]
        within = f"event_time >= {_moment(min(times))} AND event_time <= {_moment(max(times))}"
        there = store.present(place, ids, within)
        fresh = {identity: row for identity, row in zip(ids, rows, strict=True) if identity not in there}
        if fresh:
            body = b"\n".join(fresh.values()) + b"\n"
            store.insert_text(place, columns, body, f"copy-{hashlib.sha256(body).hexdigest()[:32]}")
        yield Copied(len(fresh), len(rows) - len(fresh), len(every) - len(rows))


def _owner(row: bytes, places: Sequence[int]) -> Owner:
    fields = row.split(b"\t", max(places) + 1)
    user, company, tenant, start, received = (_unescaped(fields[place]) for place in places)
    return Owner(user, company, tenant, int(start), int(datetime.fromisoformat(received).timestamp()) * 10**9)


def _unescaped(field: bytes) -> str:
    """A text of FORM."""
    if b"\\" in field:
        field = _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), field)
    return field.decode(errors="replace")


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
