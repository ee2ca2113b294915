"""Decided windows on disk: where in the spool each began and ended, and its cap.

A window is here before anything of it is handed out. So every sink, a replay after a restart and a sink that is added
later find the same windows with the same caps, whatever the clock said when they were closed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from mapping.sampling.window import Cap
from weighbridge.sampling.decided_file import DecidedFile

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
        self._file = DecidedFile(path, _WINDOWS, "DELETE FROM windows WHERE end <= ?", "windows")

    def last(self) -> DecidedWindow | None:
        found = self._file.do(f"{_COLUMNS} ORDER BY end DESC LIMIT 1")
        return _window(found[0]) if found else None

    def around(self, position: int) -> DecidedWindow | None:
        """The window that a record of the spool was in; None for one that no window has held."""
        found = self._file.do(f"{_COLUMNS} WHERE end > ? ORDER BY end LIMIT 1", position)
        window = _window(found[0]) if found else None
        return window if window is not None and window.begin <= position else None

    def add(self, window: DecidedWindow, needed_from: int) -> None:
        """Returns when it is on disk. Windows before `needed_from` may be forgotten."""
        own = [[r, t, t_cap] for (r, t), t_cap in window.cap.own.items()]
        row = window.begin, window.end, window.next_number, window.cap.t, json.dumps(own, separators=(",", ":"))
        self._file.add("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?)", *row, needed_from=needed_from)

    def clear(self) -> None:
        self._file.do("DELETE FROM windows")

    def close(self) -> None:
        self._file.close()


def _window(row: Any) -> DecidedWindow:
    begin, end, next_number, t, own = row
    return DecidedWindow(begin, end, next_number, Cap(t, {(r, t_of): t_cap for r, t_of, t_cap in json.loads(own)}))
