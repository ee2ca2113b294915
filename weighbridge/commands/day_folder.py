"""A folder of days, as `weighbridge export` and `weighbridge backup` write it: begun again, it takes what has changed.

DIR/2026-11-20/…      the files of a day, put there in one step
DIR/counts/…          the counts by minute (counts_folder.py)
DIR/export.json       or backup.json: which days are there, with their number of events and files
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, Final

from exporter.clickhouse.days import Day, days, one_day, today
from exporter.clickhouse.reader import StoreReader
from exporter.clickhouse.schema import VERSION, Place
from exporter.durable import replace_file, sync_folder
from weighbridge.commands.day_files import COUNTS, EVENTS, PARTS
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.progress import Steps, steps

_VERSION: Final = 1  # of the folder's layout
_TRIES: Final = 3  # of a day that loses events while it is written


class DayFolder:
    """kind: `export` or `backup`. form: a key of PARTS."""

    def __init__(self, path: Path, kind: str, form: str) -> None:
        self.path = path
        self.named = str(path)  # for people
        self.about_name = f"{kind}.json"
        self.about: dict[str, Any] = {"format": form, "schema": VERSION, "days": {}}
        self._kind = kind
        self._form = form

    @property
    def days(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.about["days"]
        return found

    def read(self) -> None:
        """Learn what is there. Raises CommandError for a folder that is not one of this kind."""
        try:
            about = (self.path / self.about_name).read_bytes()
        except FileNotFoundError:
            raise CommandError(
                f"{self.named} holds no {self._kind} of weighbridge: there is no {self.about_name}"
            ) from None
        except OSError as error:
            raise CommandError(f"{self.path / self.about_name}: {error.strerror}") from error
        self.understand(about)

    def understand(self, content: bytes) -> None:
        """Take up what export.json says. Raises CommandError for what is not of this kind."""
        try:
            about = json.loads(content)
            version, form, schema = about[f"weighbridge_{self._kind}"], about["format"], int(about["schema"])
            known = isinstance(about["days"], dict)
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"{self.named}/{self.about_name} cannot be read") from error
        if version != _VERSION or not known or schema > VERSION:
            raise CommandError(f"{self.named} was written by a later weighbridge than this one")
        if form != self._form:
            raise CommandError(f"{self.named} holds an {self._kind} as {form}: name another folder")
        self.about = about

    def begin(self) -> None:
        """The folder, made where it is missing. Raises CommandError for one that is something else's."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(path.name != COUNTS for path in self.path.iterdir()):
                self.read()
        except OSError as error:
            raise CommandError(f"{self.path}: {error.strerror}") from error

    def write(
        self,
        reader: StoreReader,
        place: Place,
        form: str,
        question: Callable[[date], str],
        since: date | None,
        until: date | None,
    ) -> None:
        """Every day of the store that is not there as it is now. form: ClickHouse's name of the format.

        Raises CommandFailed for a day that cannot be written.
        """
        found = days(reader, place, since, until)
        with steps(sum(day.events for day in found)) as said:
            for day in found:
                if self._has(day):
                    said.advance(day.events)
                    continue
                said.begin(str(day.date))
                written = self._write_day(reader, place, form, question(day.date), day, said)
                said.finished(f"{day.date}  {written.events} events")
            total = sum(entry["events"] for entry in self.days.values())
            said.finished(f"{total} events of {len(self.days)} days in {self.named}")
            if found and found[-1].date >= today():
                said.finished(f"{found[-1].date} is not over: run the same command again for what comes")

    def _has(self, day: Day) -> bool:
        """Whether the day is there as it is in the store."""
        entry = self.days.get(str(day.date))
        if entry is None or (entry["events"], entry["mark"]) != (day.events, day.mark):
            return False
        return self._has_files(day.date, list(entry["files"]))

    def _has_files(self, day: date, names: list[str]) -> bool:
        return all((self.path / str(day) / name).is_file() for name in names)

    def _write_day(self, reader: StoreReader, place: Place, form: str, sql: str, day: Day, said: Steps) -> Day:
        fresh = self.path / f".{day.date}.new"
        try:
            for _ in range(_TRIES):
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir(mode=0o700)
                before = one_day(reader, place, day.date)
                rows = self._write_files(reader, form, sql, fresh, said)
                after = one_day(reader, place, day.date)
                if before == after and rows in (None, before.events):
                    return self._put_in_place(fresh, before)
                if rows is not None and before.events <= rows <= after.events:
                    # It grows, as today does all the time: this is what was there at one moment, and the next run
                    # takes the rest.
                    return self._put_in_place(fresh, Day(day.date, rows, ""))
        except OSError as error:
            raise CommandFailed(f"{fresh}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        raise CommandFailed(f"{day.date}: {rows} of {before.events} events came, {_TRIES} times")

    def _write_files(self, reader: StoreReader, form: str, sql: str, fresh: Path, said: Steps) -> int | None:
        """How many rows were written, durably; None where that cannot be told."""
        rows: int | None = 0
        with closing(PARTS[self._form](fresh, EVENTS)) as files:
            for piece in reader.pieces(sql, form):
                here = files.add(piece)
                rows = None if here is None or rows is None else rows + here
                said.advance(here or 0)
        sync_folder(fresh)
        return rows

    def _put_in_place(self, fresh: Path, day: Day) -> Day:
        """Make the new folder the day's. A kill in between leaves a day that the next run writes again."""
        place, old = self.path / str(day.date), self.path / f".{day.date}.old"
        files = self.digests(fresh)
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        fresh.rename(place)
        sync_folder(self.path)
        shutil.rmtree(old, ignore_errors=True)
        self.note(day, files)
        replace_file(self.path / self.about_name, self.written())
        return day

    @staticmethod
    def digests(fresh: Path) -> dict[str, str]:
        """SHA-256 of each file of a day. Raises OSError."""
        return {path.name: digest(path) for path in sorted(fresh.iterdir())}

    def note(self, day: Day, files: dict[str, str]) -> None:
        self.days[str(day.date)] = {"events": day.events, "mark": day.mark, "files": files}

    def written(self) -> bytes:
        """What `understand` takes up."""
        return json.dumps({f"weighbridge_{self._kind}": _VERSION, **self.about}, indent=1).encode()


def digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
