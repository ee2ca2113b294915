"""The counts of one store into another, a day at a time: each once, however often a copy is begun again.

The rows of a day go in one insert, which is there whole or not at all, with a row that holds no calls: its batch_id is
that of the store and the day they are from, its company_id says how many were copied. By it the next run knows what is
there already, for as long as the table keeps such rows (MARKER_DAYS).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from exporter.clickhouse.copying import Erased, Owner
from exporter.clickhouse.keeper import StoreKeeper
from exporter.clickhouse.minutes_table import (
    MARKER_DAYS,
    columns,
    counted_since,
    minutes_table,
    stored_minutes,
)
from exporter.clickhouse.reader import StoreReader
from exporter.clickhouse.schema import Place

# Bytes of a day that are inserted at once, as text: a store takes requests of 256 MiB. Days with more are not copied.
MOST_BYTES: Final = 200 << 20
_NUMBERS: Final = frozenset(
    {"unseen", "estimated", "folded", "records", "kept", "calls", "duration_sum_ms", "status_code"}
)


class Origin(NamedTuple):
    """The store whose counts they are."""

    store: str  # an id that no other has
    since_unix_s: int  # from when on it has counted all that came


class Counted(NamedTuple):
    """What a day has."""

    records: int
    kept: int


def origin(store: StoreReader, place: Place) -> Origin | None:
    """None where the store does not count. Raises StoreError."""
    since = counted_since(store, place)
    if since is None:
        return None
    name = stored_minutes(place).partition(".")[2]
    where = f"database = '{place.database}' AND name = '{name}'"
    ((identity,),) = store.rows(f"SELECT uuid FROM system.tables WHERE {where}")  # noqa: S608 - plain names
    return Origin(identity, since)


def counted_days(store: StoreReader, place: Place) -> dict[date, Counted]:
    """What every day has. Raises StoreError."""
    rows = store.rows(
        f"SELECT toDate(minute) AS day, sum(records), sum(kept) FROM {minutes_table(place)} WHERE batch_id = 0 "  # noqa: S608
        "GROUP BY day ORDER BY day"
    )
    return {date.fromisoformat(day): Counted(int(records), int(kept)) for day, records, kept in rows}


def counts_of(place: Place, day: date) -> str:
    """The SELECT of a day's rows, in the columns of `columns()`."""
    return f"SELECT {', '.join(columns())} FROM {minutes_table(place)} WHERE {_of(day)} AND batch_id = 0"  # noqa: S608


def total(rows: Iterable[bytes]) -> Counted:
    """What these rows of FORM have."""
    names = list(columns())
    records, kept = names.index("records"), names.index("kept")
    sums = [0, 0]
    for row in rows:
        fields = row.split(b"\t")
        sums[0] += int(fields[records])
        sums[1] += int(fields[kept])
    return Counted(*sums)


def without(rows: Sequence[bytes], is_erased: Erased | None) -> Sequence[bytes]:
    """The rows but those of companies that were erased."""
    if is_erased is None:
        return rows
    names = list(columns())
    company, tenant, minute = (names.index(name) for name in ("company_id", "tenant", "minute"))

    def stays(row: bytes) -> bool:
        fields = row.split(b"\t")
        start = int(datetime.fromisoformat(fields[minute].decode()).replace(tzinfo=UTC).timestamp()) * 10**9
        return not is_erased(Owner("", fields[company].decode(), fields[tenant].decode(), start, start))

    return [row for row in rows if stays(row)]


def bring(keeper: StoreKeeper, place: Place, of: Origin, day: date, rows: Sequence[bytes]) -> bool:
    """Have the day's counts there, once; False where what is there already does not tell which of them are new.

    Raises StoreError.
    """
    new, marker = total(rows), _marker(of, day)
    there = counted_days(keeper, place).get(day)
    copied = _copied(keeper, place, marker)
    if copied == new or (copied is None and there == new) or not rows:
        return True
    if copied is not None:
        if there != copied:
            return False  # it has counted itself since, and these have grown
        keeper.command(
            f"ALTER TABLE {stored_minutes(place)}{place.on_cluster} DELETE WHERE {_of(day)} "
            f"AND batch_id IN (0, {marker}) SETTINGS mutations_sync = 2"
        )
    elif there is not None and day < datetime.now(UTC).date() - timedelta(days=MARKER_DAYS - 1):
        return False  # whether these are among them is not known any more
    body = b"\n".join([*rows, _marker_row(day, marker, new)]) + b"\n"
    if len(body) > MOST_BYTES:
        return False
    keeper.insert_whole(minutes_table(place), list(columns()), body, f"counts-{secrets.token_hex(16)}")
    return True


def _of(day: date) -> str:
    return f"toDate(minute) = '{day}'"


def _marker(of: Origin, day: date) -> int:
    return int.from_bytes(hashlib.sha256(f"{of.store} {day}".encode()).digest()[:8]) | 1


def _copied(keeper: StoreKeeper, place: Place, marker: int) -> Counted | None:
    rows = keeper.rows(f"SELECT company_id FROM {minutes_table(place)} WHERE batch_id = {marker} LIMIT 1")  # noqa: S608
    return Counted(*map(int, rows[0][0].split()[1:])) if rows else None


def _marker_row(day: date, marker: int, of: Counted) -> bytes:
    values: Mapping[str, str] = {
        "minute": f"{day} 00:00:00",
        "company_id": f"copied {of.records} {of.kept}",
        "batch_id": str(marker),
        "durations": "{}",
        "written_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
    }
    return "\t".join(values.get(name, "0" if name in _NUMBERS else "") for name in columns()).encode()


Rows = Callable[[date], Sequence[bytes]]


def bring_all(
    keeper: StoreKeeper, place: Place, of: Origin, days: Iterable[date], rows: Rows, is_erased: Erased | None = None
) -> list[date]:
    """The days whose counts are there now. rows: of a day. Raises StoreError."""
    return [day for day in days if bring(keeper, place, of, day, without(rows(day), is_erased))]
