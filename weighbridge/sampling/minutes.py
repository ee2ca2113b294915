"""The sampling ledger on disk: exact counts per minute, rule and tenant that outlive the process.

Saved once a second together with the spool position up to which requests are in it, so that the next process goes on
exactly there: what a kill kept from being saved is counted when it is read again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from mapping.sampling.ledger import LedgerKey, LedgerRow

log = logging.getLogger(__name__)

MAX_ROWS = 500_000  # about 50 MB; beyond, the oldest minutes go
_ROWS = f"""CREATE TABLE IF NOT EXISTS minutes (
    minute INTEGER, rule TEXT, tenant TEXT, {", ".join(f"{name} NUMERIC NOT NULL" for name in LedgerRow._fields)},
    PRIMARY KEY (minute, rule, tenant)) WITHOUT ROWID"""
_PLACES = "CREATE TABLE IF NOT EXISTS places (mapped INTEGER, decided INTEGER)"
_ADD = f"""INSERT INTO minutes VALUES ({", ".join("?" * (3 + len(LedgerRow._fields)))})
    ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in LedgerRow._fields)}"""  # noqa: S608
_FORGET = "DELETE FROM minutes WHERE minute <= (SELECT minute FROM minutes ORDER BY minute LIMIT 1 OFFSET ?)"


class Places(NamedTuple):
    """Spool positions: requests before them are counted."""

    mapped: int
    decided: int  # by whole-trace sampling


class SamplingMinutes:
    """One per spool. A file that cannot be used costs a warning, never a request; from then on it is left alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._usable = True

    def places(self) -> Places | None:
        """What the last process saved; None when there is nothing."""
        if not self._path.exists():
            return None
        found = self._do("SELECT mapped, decided FROM places")
        return Places(*found[0]) if found else None

    def add(self, rows: Mapping[LedgerKey, LedgerRow], places: Places) -> None:
        """Blocks for a disk write."""
        if not self._usable:
            return
        try:
            with closing(self._open()) as file, file:
                file.executemany(_ADD, [(*key, *row) for key, row in rows.items()])
                file.execute("DELETE FROM places")
                file.execute("INSERT INTO places VALUES (?, ?)", places)
                count = file.execute("SELECT count(*) FROM minutes").fetchone()[0] if rows else 0
                if count > MAX_ROWS:
                    file.execute(_FORGET, (count - MAX_ROWS,))
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def since(self, minute_unix_s: int) -> list[dict[str, Any]]:
        """Rows from this minute on, oldest first."""
        names = ("minute_unix_s", "rule", "tenant", *LedgerRow._fields)
        rows = self._do("SELECT * FROM minutes WHERE minute >= ? ORDER BY minute, tenant, rule", minute_unix_s)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _do(self, sql: str, *values: int) -> list[Any]:
        if not self._usable:
            return []
        try:
            with closing(self._open()) as file:
                return file.execute(sql, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            return []

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(self._path)
        # A kill loses nothing; a power cut may lose the last seconds, whose place is then lost with them.
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        file.execute(_ROWS)
        file.execute(_PLACES)
        return file

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        log.warning("%s cannot be used, sampling is not counted by the minute: %s", self._path, error)
