"""Decided windows on disk: where in the spool each began and ended, and its cap.

A window is here before anything of it is handed out. So every sink, a replay after a restart and a sink that is added
later find the same windows with the same caps, whatever the clock said when they were closed.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any, NamedTuple

from exporter.durable import sync_folder
from mapping.sampling.window import Cap

log = logging.getLogger(__name__)

FORGET_EVERY = 64  # windows; every write is a disk write of its own

_WINDOWS = """CREATE TABLE IF NOT EXISTS windows (begin INTEGER NOT NULL, end INTEGER PRIMARY KEY,
    next_number INTEGER NOT NULL, t INTEGER NOT NULL, own TEXT NOT NULL)"""
_COLUMNS = "SELECT begin, end, next_number, t, own FROM windows"


class DecidedWindow(NamedTuple):
    """Spool records from `begin` on, before `end`."""

    begin: int
    end: int
    next_number: int  # what comes after it is in a window of at least this number
    cap: Cap


class WindowStore:
    """One per spool. Methods block for the disk, from any thread; they raise OSError when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: sqlite3.Connection | None = None
        self._using = threading.Lock()
        self._rows_since_forgotten = FORGET_EVERY

    def last(self) -> DecidedWindow | None:
        found = self._do(f"{_COLUMNS} ORDER BY end DESC LIMIT 1")
        return _window(found[0]) if found else None

    def around(self, position: int) -> DecidedWindow | None:
        """The window that a record of the spool was in; None for one that no window has held."""
        found = self._do(f"{_COLUMNS} WHERE end > ? ORDER BY end LIMIT 1", position)
        window = _window(found[0]) if found else None
        return window if window is not None and window.begin <= position else None

    def add(self, window: DecidedWindow, needed_from: int) -> None:
        """Returns when it is on disk. Windows before `needed_from` may be forgotten."""
        own = [[r, t, t_cap] for (r, t), t_cap in window.cap.own.items()]
        row = window.begin, window.end, window.next_number, window.cap.t, json.dumps(own, separators=(",", ":"))
        self._do("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?)", *row)
        if self._rows_since_forgotten >= FORGET_EVERY:
            self._do("DELETE FROM windows WHERE end <= ?", needed_from)
            self._rows_since_forgotten = 0
        self._rows_since_forgotten += 1

    def clear(self) -> None:
        self._do("DELETE FROM windows")

    def close(self) -> None:
        with self._using:
            self._shut()

    def _do(self, sql: str, *values: int | str) -> list[Any]:
        with self._using:
            try:
                return self._execute(sql, values)
            except sqlite3.Error as error:
                self._shut()
                if type(error) is not sqlite3.DatabaseError:  # of the disk, not of the file
                    raise OSError(f"{self._path}: {error}") from error
                self._set_aside(error)
            try:
                return self._execute(sql, values)
            except sqlite3.Error as error:
                self._shut()
                raise OSError(f"{self._path}: {error}") from error

    def _execute(self, sql: str, values: tuple[int | str, ...]) -> list[Any]:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._connect()
        return self._file.execute(sql, values).fetchall()

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_suffix(".damaged")
        log.error(
            "%s is damaged (%s): it is kept as %s, and windows not yet delivered are decided anew",
            self._path,
            error,
            aside,
        )
        for suffix in ("", "-wal", "-shm"):
            file = Path(f"{self._path}{suffix}")
            if file.exists():
                file.replace(f"{aside}{suffix}")

    def _connect(self) -> sqlite3.Connection:
        file = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = FULL")  # a power cut takes back nothing that was handed out
            file.execute(_WINDOWS)
            sync_folder(self._path.parent)
        except BaseException:
            file.close()
            raise
        return file


def _window(row: Any) -> DecidedWindow:
    begin, end, next_number, t, own = row
    return DecidedWindow(begin, end, next_number, Cap(t, {(r, t_of): t_cap for r, t_of, t_cap in json.loads(own)}))
