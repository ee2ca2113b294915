"""A file of what sampling decided of requests, by their position in the spool: on disk before it is acted on."""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any

from exporter.durable import sync_folder

log = logging.getLogger(__name__)

FORGET_EVERY = 64  # rows; every write is a disk write of its own


class DecidedFile:
    """One table. Methods block for the disk, from any thread; they raise OSError when it cannot be used."""

    def __init__(self, path: Path, table: str, forget: str, lost: str) -> None:
        """table, forget: SQL that makes the table, and that deletes what is before a position. lost: what is decided
        anew when the file is damaged.
        """
        self._path = path
        self._table = table
        self._forget = forget
        self._lost = lost
        self._file: sqlite3.Connection | None = None
        self._using = threading.Lock()
        self._rows_since_forgotten = FORGET_EVERY

    def add(self, sql: str, *values: int | str | bytes, needed_from: int) -> None:
        """Returns when it is on disk. What is before `needed_from` may be forgotten."""
        self.do(sql, *values)
        if self._rows_since_forgotten >= FORGET_EVERY:
            self.do(self._forget, needed_from)
            self._rows_since_forgotten = 0
        self._rows_since_forgotten += 1

    def do(self, sql: str, *values: int | str | bytes) -> list[Any]:
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

    def close(self) -> None:
        with self._using:
            self._shut()

    def _execute(self, sql: str, values: tuple[int | str | bytes, ...]) -> list[Any]:
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
            "%s is damaged (%s): it is kept as %s, and %s not yet delivered are decided anew",
            self._path,
            error,
            aside,
            self._lost,
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
            file.execute(self._table)
            sync_folder(self._path.parent)
        except BaseException:
            file.close()
            raise
        return file
