"""The table of pseudonyms: whom they stand for. A file for its owner alone, that nothing reads but a reveal."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from mapping.pseudonyms import Kind, Pseudonyms, PseudonymSettings

log = logging.getLogger(__name__)

_BUSY_S = 5.0  # another lane writes
_MADE = """CREATE TABLE IF NOT EXISTS pseudonyms
    (pseudonym TEXT PRIMARY KEY, kind TEXT, tenant TEXT, id TEXT) WITHOUT ROWID"""


class PseudonymTable:
    """Rows are written as pseudonyms are made, by every lane. What cannot be written costs a line in the log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = False

    def add(self, pseudonym: str, kind: Kind, tenant: str, identity: str) -> None:
        try:
            with closing(self._open()) as file, file:
                row = (pseudonym, kind, tenant, identity)
                file.execute("INSERT OR IGNORE INTO pseudonyms VALUES (?, ?, ?, ?)", row)
        except (sqlite3.Error, OSError) as error:
            if not self._told:
                self._told = True
                log.error("%s cannot be written, so some pseudonyms cannot be revealed: %s", self._path, error)

    def rows_of(self, pseudonyms: Sequence[str]) -> list[tuple[str, str, str, str]]:
        """Pseudonym, kind, tenant and id of those that are known. Raises OSError, sqlite3.Error."""
        if not self._path.exists():
            return []
        with closing(self._open()) as file:
            marks = ", ".join("?" * len(pseudonyms))
            return file.execute(f"SELECT * FROM pseudonyms WHERE pseudonym IN ({marks})", pseudonyms).fetchall()  # noqa: S608

    def forget(self, pseudonyms: Sequence[str]) -> int:
        """How many were there. Raises OSError, sqlite3.Error."""
        if not self._path.exists():
            return 0
        with closing(self._open()) as file, file:
            file.execute("PRAGMA secure_delete = ON")
            marks = ", ".join("?" * len(pseudonyms))
            done = file.execute(f"DELETE FROM pseudonyms WHERE pseudonym IN ({marks})", pseudonyms)  # noqa: S608
            return done.rowcount

    def note_reveal(self, pseudonyms: Sequence[str], reason: str) -> None:
        """Write down, durably, that these are about to be revealed. Raises OSError."""
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "uid": os.getuid(),
            "pseudonyms": list(pseudonyms),
            "reason": reason,
        }
        path = self._path.with_name(f"{self._path.name}.reveals.jsonl")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        file = sqlite3.connect(self._path, timeout=_BUSY_S)
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")  # a kill loses nothing; a power cut the last rows
        file.execute(_MADE)
        return file


def pseudonyms_of(settings: PseudonymSettings, *, learning: bool = True) -> Pseudonyms | None:
    """As the settings say; None where ids are stored as they are. learning: new ones go into the table."""
    key = settings.key.get_secret_value()
    if not key:
        return None
    if not (learning and settings.table):
        return Pseudonyms(key)
    return Pseudonyms(key, PseudonymTable(Path(settings.table)).add)
