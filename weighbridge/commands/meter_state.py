"""What `weighbridge meter` has told, in a file: so that a window is told once, and again only when it has changed.

Lines are written down before they are printed, and stay until they are: a run that ends in between leaves them to the
next, which prints the same ones. One process at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from weighbridge.commands.errors import CommandError

_VERSION: Final = 1
_WAIT_S: Final = 10  # for another run with the same file
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS meters (name TEXT PRIMARY KEY, definition TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (meter TEXT, begins_s INTEGER, tenant TEXT, company TEXT, value REAL, revision INTEGER,
    PRIMARY KEY (meter, begins_s, tenant, company)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY, line TEXT NOT NULL);
"""


class Told(NamedTuple):
    """What a window of a customer was last told to be."""

    begins: datetime
    tenant: str
    company: str
    value: float
    revision: int  # 0: told once


class MeterState:
    """The file, in a `with` statement. Everything raises CommandError, one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._file = sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)
            self._file.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.execute("BEGIN IMMEDIATE")  # the lock is kept when it ends
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            (tables,) = self._file.execute("SELECT count() FROM sqlite_master").fetchone()
            if version > _VERSION or (tables and not version):
                raise CommandError(f"{self._path} is no state of this weighbridge's meters")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._file.execute(statement)
            self._file.execute(f"PRAGMA user_version = {_VERSION}")
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise CommandError(f"{self._path}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def define(self, meter: str, definition: str) -> None:
        """Note what a meter means. Raises CommandError when it has meant something else."""
        self._file.execute("INSERT OR IGNORE INTO meters VALUES (?, ?)", (meter, definition))
        (known,) = self._file.execute("SELECT definition FROM meters WHERE name = ?", (meter,)).fetchone()
        if known != definition:
            raise CommandError(f"{self._path} knows {meter} as another meter: give this one another --name")

    def told(self, meter: str, begins: datetime, tenant: str, company: str) -> Told | None:
        """What was last told of a window."""
        found = self._file.execute(
            "SELECT value, revision FROM told WHERE meter = ? AND begins_s = ? AND tenant = ? AND company = ?",
            (meter, int(begins.timestamp()), tenant, company),
        ).fetchone()
        return None if found is None else Told(begins.astimezone(UTC), tenant, company, *found)

    def decide(self, meter: str, lines: Sequence[tuple[str, Told]]) -> None:
        """Take these as told, and their lines as waiting to be printed, in one step."""
        try:
            self._file.execute("BEGIN IMMEDIATE")
            for line, one in lines:
                self._file.execute(
                    "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?, ?)",
                    (meter, int(one.begins.timestamp()), one.tenant, one.company, one.value, one.revision),
                )
                self._file.execute("INSERT INTO waiting (line) VALUES (?)", (line,))
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise CommandError(f"{self._path}: {error}") from error

    def waiting(self) -> Iterator[tuple[int, str]]:
        """Numbered lines that may not have been printed, in their order."""
        yield from self._file.execute("SELECT number, line FROM waiting ORDER BY number")

    def printed(self, lines: Sequence[tuple[int, str]]) -> None:
        """Let go of lines that are out."""
        if lines:
            self._file.execute("DELETE FROM waiting WHERE number <= ?", (lines[-1][0],))
