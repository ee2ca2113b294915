"""`weighbridge export`: the stored events as files, a folder for each day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from exporter.clickhouse.days import of_day
from exporter.clickhouse.schema import Place
from weighbridge.commands.day_folder import DayFolder
from weighbridge.commands.moments import parse_since
from weighbridge.commands.store import open_store, store_settings
from weighbridge.settings_asked import Asked

FORMATS: Final = {"parquet": "Parquet", "jsonl": "JSONEachRow", "csv": "CSVWithNames"}


def run_export(settings: Asked, path: Path, form: str, since: str | None, until: str | None) -> None:
    """Raises CommandError for what cannot be begun, CommandFailed for a day that could not be written."""
    first, end = parse_day(since, "--since"), parse_day(until, "--until")
    place = Place.of(store_settings(settings))
    folder = DayFolder(path, "export", form)
    folder.begin()
    with open_store(settings) as reader:

        def question(day: date) -> str:
            return f"SELECT * FROM {place.table} WHERE {of_day(day)}"  # noqa: S608

        folder.write(reader, place, FORMATS[form], question, first, end)


def parse_day(text: str | None, option: str) -> date | None:
    """The UTC day of a date or an age. Raises CommandError."""
    if text is None:
        return None
    return datetime.fromtimestamp(parse_since(text, datetime.now(UTC), option) / 1e9, UTC).date()
