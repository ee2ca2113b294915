"""`weighbridge export`: the stored events as files, a folder for each day. Run again, it writes what has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from exporter.clickhouse.days import Day, days, of_day, one_day, today
from exporter.clickhouse.engine.lanes import Piece
from exporter.clickhouse.reader import StoreReader
from exporter.clickhouse.schema import VERSION, Place
from exporter.durable import replace_file, sync_folder
from weighbridge.commands.day_files import PARTS
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.moments import parse_since
from weighbridge.commands.progress import Steps, steps
from weighbridge.commands.store import open_store, store_settings
from weighbridge.settings import Settings

FORMATS: Final = {"parquet": "Parquet", "jsonl": "JSONEachRow", "csv": "CSVWithNames"}
ABOUT: Final = "export.json"
_TRIES: Final = 3  # of a day that changes while it is written


def run_export(settings: Settings, folder: Path, form: str, since: str | None, until: str | None) -> None:
    """Raises CommandError for what cannot be begun, CommandFailed for a day that could not be written."""
    first, end = parse_day(since, "--since"), parse_day(until, "--until")
    about = _about(folder, form)
    store = store_settings(settings)
    place = Place.of(store)
    with open_store(settings) as reader:
        found = days(reader, place, first, end)
        with steps(sum(day.events for day in found)) as said:
            for day in found:
                if _has(folder, about, day):
                    said.advance(day.events)
                    continue
                said.begin(str(day.date))
                written, files = _write_day(reader, place, folder, form, day, said)
                about["days"][str(day.date)] = {**written._asdict(), "date": str(day.date), "files": files}
                replace_file(folder / ABOUT, json.dumps(about, indent=1).encode())
                said.finished(f"{day.date}  {written.events} events")
            total = sum(entry["events"] for entry in about["days"].values())
            said.finished(f"{total} events of {len(about['days'])} days in {folder}")
            if found and found[-1].date >= today():
                said.finished(f"{found[-1].date} is not over: run the same command again for what comes")


def parse_day(text: str | None, option: str) -> date | None:
    """The UTC day of a date or an age. Raises CommandError."""
    if text is None:
        return None
    return datetime.fromtimestamp(parse_since(text, datetime.now(UTC), option) / 1e9, UTC).date()


def _about(folder: Path, form: str) -> dict[str, Any]:
    """What an earlier run wrote here. Raises CommandError for a folder that is something else's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        known = about["weighbridge_export"], about["format"], about["days"]
    except FileNotFoundError:
        if any(folder.iterdir()):
            raise CommandError(f"{folder} is not empty and not the folder of an export") from None
        return {"weighbridge_export": 1, "schema": VERSION, "format": form, "days": {}}
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{folder / ABOUT} cannot be read") from error
    if known[0] != 1 or known[1] != form:
        raise CommandError(f"{folder} holds an export as {known[1]}, of version {known[0]}: name another folder")
    return about


def _has(folder: Path, about: dict[str, Any], day: Day) -> bool:
    """Whether the day is there as it is in the store."""
    entry = about["days"].get(str(day.date))
    if entry is None or (entry["events"], entry["mark"]) != (day.events, day.mark):
        return False
    return all((folder / str(day.date) / name).is_file() for name in entry["files"])


def _write_day(
    reader: StoreReader, place: Place, folder: Path, form: str, day: Day, said: Steps
) -> tuple[Day, list[str]]:
    """The day as it was written, and the names of its files. Raises CommandFailed."""
    fresh = folder / f".{day.date}.new"
    for _ in range(_TRIES):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        before = one_day(reader, place, day.date)
        pieces = reader.pieces(f"SELECT * FROM {place.table} WHERE {of_day(day.date)}", FORMATS[form])  # noqa: S608
        rows = _write(fresh, form, pieces, said)
        after = one_day(reader, place, day.date)
        if before == after and rows in (None, before.events):
            return before, _put_in_place(folder, fresh, day.date)
        if rows is not None and before.events <= rows <= after.events:
            # It grows, as today does all the time: this is what was there at one moment, and the next run takes more.
            return Day(day.date, rows, ""), _put_in_place(folder, fresh, day.date)
    shutil.rmtree(fresh, ignore_errors=True)
    raise CommandFailed(f"{day.date}: {rows} of {before.events} events came, {_TRIES} times")


def _write(fresh: Path, form: str, pieces: Iterator[Piece], said: Steps) -> int | None:
    """The pieces as files, durable; how many rows are in them, None where that cannot be told."""
    files = PARTS[form](fresh)
    rows: int | None = 0
    try:
        for piece in pieces:
            here = files.add(piece)
            rows = None if here is None or rows is None else rows + here
            said.advance(here or 0)
    finally:
        files.close()
    sync_folder(fresh)
    return rows


def _put_in_place(folder: Path, fresh: Path, day: date) -> list[str]:
    """Make the new folder the day's. A kill in between leaves a day that the next run writes again."""
    place, old = folder / str(day), folder / f".{day}.old"
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    sync_folder(folder)
    shutil.rmtree(old, ignore_errors=True)
    return sorted(path.name for path in place.iterdir())
