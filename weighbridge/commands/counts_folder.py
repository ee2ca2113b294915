"""Counts by minute beside the days of events that `weighbridge export` and `weighbridge backup` write.

DIR/counts/2026-11-20/…   the rows of a day
DIR/counts/counts.json    whose they are, and which days are there
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, Final

from exporter.clickhouse.copied_counts import Origin, counted_days, counts_of, origin
from exporter.clickhouse.reader import StoreReader
from exporter.clickhouse.schema import Place
from exporter.durable import replace_file, sync_folder
from weighbridge.commands.day_files import COUNTS, PARTS, UNREADABLE, read_rows
from weighbridge.commands.day_folder import digest
from weighbridge.commands.errors import CommandFailed

_VERSION: Final = 1


class CountsFolder:
    """form: a key of PARTS."""

    def __init__(self, path: Path, form: str) -> None:
        """Raises CommandFailed for a folder that cannot be read."""
        self._path = path / COUNTS
        self._form = form
        self._about: dict[str, Any] = {"weighbridge_counts": _VERSION, "store": "", "since": 0, "days": {}}
        try:
            self._about |= json.loads((self._path / "counts.json").read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise CommandFailed(f"{self._path}/counts.json cannot be read: {error}") from error

    @property
    def origin(self) -> Origin | None:
        return Origin(self._about["store"], self._about["since"]) if self._about["store"] else None

    def days(self) -> Iterator[date]:
        yield from map(date.fromisoformat, sorted(self._about["days"]))

    def write(self, reader: StoreReader, place: Place, form: str, since: date | None, until: date | None) -> int:
        """Every day whose counts are not there as they are now: how many. form: ClickHouse's name of the format.

        Raises CommandFailed for a day that cannot be written.
        """
        of = origin(reader, place)
        if of is None:
            return 0
        if self._about["store"] != of.store:  # another table's
            self._about["days"] = {}
        self._about |= {"store": of.store, "since": of.since_unix_s}
        written = 0
        for day, counted in counted_days(reader, place).items():
            if (since is not None and day < since) or (until is not None and day >= until):
                continue
            if self._about["days"].get(str(day), {}).get("counted") == list(counted):
                continue
            try:
                self._about["days"][str(day)] = {
                    "counted": list(counted),
                    "files": self._write_day(reader, place, form, day),
                }
                replace_file(self._path / "counts.json", json.dumps(self._about, indent=1).encode())
            except OSError as error:
                raise CommandFailed(f"{self._path}/{day}: {error.strerror or error}") from error
            written += 1
        return written

    def _write_day(self, reader: StoreReader, place: Place, form: str, day: date) -> dict[str, str]:
        """What comes while it is written makes the day one to write again: `counted` is of before."""
        fresh, final = self._path / f".{day}.new", self._path / str(day)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        with closing(PARTS[self._form](fresh, COUNTS)) as files:
            for piece in reader.pieces(counts_of(place, day), form):
                files.add(piece)
        sync_folder(fresh)
        found = {path.name: digest(path) for path in sorted(fresh.iterdir())}
        shutil.rmtree(final, ignore_errors=True)
        fresh.rename(final)
        sync_folder(self._path)
        return found

    def rows(self, day: date) -> Sequence[bytes]:
        """The rows of a backup's day. Raises CommandFailed for one that is damaged."""
        folder = self._path / str(day)
        try:
            for name, expected in self._about["days"][str(day)]["files"].items():
                if digest(folder / name) != expected:
                    raise CommandFailed(f"{folder / name} is damaged: it is not what was backed up")
            return b"".join(read_rows(folder, COUNTS)).splitlines()
        except UNREADABLE as error:
            raise CommandFailed(f"{folder}: {error}") from error
