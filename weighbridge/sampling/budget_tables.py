"""A budget's rate tables on disk, so that a replay after a restart decides as before.

One JSON line per table, oldest first; a line that cannot be read is the torn end of a killed process, whose table was
never used.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from exporter.durable import replace_file
from mapping.sampling.epochs import Budget, Table

log = logging.getLogger(__name__)

# Tables that the budget has forgotten are dropped from the file when they are this many more than those it knows.
SLACK = 64


class BudgetTables:
    """One per budget, which begins with the tables that are there."""

    def __init__(self, path: Path, budget: Budget) -> None:
        self._path = path
        self._budget = budget
        self._lines = 0  # 0: this process has not written the file yet
        budget.restore(_read(path))
        self._newest = budget.tables[0]

    def keep(self) -> None:
        """Call it between two requests after every tick: returns when a new table is on disk."""
        tables = self._budget.tables
        if tables[0] is self._newest:
            return
        self._newest = tables[0]
        try:
            if 0 < self._lines < len(tables) + SLACK:
                self._append(tables[0])
            else:
                self._write(tables)
        except OSError as error:
            self._lines = 0
            log.warning("%s cannot be written: %s", self._path, error.strerror)

    def _append(self, table: Table) -> None:
        with self._path.open("ab") as file:
            file.write(_line(table))
            file.flush()
            os.fdatasync(file.fileno())
        self._lines += 1

    def _write(self, tables: list[Table]) -> None:
        replace_file(self._path, map(_line, reversed(tables)))
        self._lines = len(tables)


def _line(table: Table) -> bytes:
    return json.dumps(table.plain(), separators=(",", ":")).encode() + b"\n"


def _read(path: Path) -> list[Table]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error.strerror)
        return []
    tables = []
    for line in lines:
        try:
            tables.append(Table.from_plain(json.loads(line)))
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            log.warning("a table of %s is unreadable and ignored", path)
    return tables
