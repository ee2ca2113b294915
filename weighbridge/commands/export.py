"""`weighbridge export`: the stored events as files, a folder for each day."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import click

from exporter.clickhouse.days import of_day
from exporter.clickhouse.schema import Place
from weighbridge.commands.bucket import SCHEME, Bucket
from weighbridge.commands.counts_folder import CountsFolder
from weighbridge.commands.day_bucket import DayBucket
from weighbridge.commands.day_files import COUNTS
from weighbridge.commands.day_folder import DayFolder
from weighbridge.commands.moments import parse_since
from weighbridge.commands.store import open_store, store_settings
from weighbridge.settings_asked import Asked
from weighbridge.settings_file import environment_of

FORMATS: Final = {"parquet": "Parquet", "jsonl": "JSONEachRow", "csv": "CSVWithNames"}


def run_export(settings: Asked, to: str, form: str, since: str | None, until: str | None) -> None:
    """to: a folder, or s3://BUCKET/PREFIX.

    Raises CommandError for what cannot be begun, CommandFailed for a day that could not be written.
    """
    first, end = parse_day(since, "--since"), parse_day(until, "--until")
    place = Place.of(store_settings(settings))
    with _folder(to, form) as folder, open_store(settings) as reader:

        def question(day: date) -> str:
            return f"SELECT * FROM {place.table} WHERE {of_day(day)}"  # noqa: S608

        folder.write(reader, place, FORMATS[form], question, first, end)
        if to.startswith(SCHEME):
            return  # counts go to folders alone
        if counted := CountsFolder(Path(to), form).write(reader, place, FORMATS[form], first, end):
            click.echo(f"counts by minute of {counted} days in {Path(to) / COUNTS}", err=True)


@contextmanager
def _folder(to: str, form: str) -> Iterator[DayFolder]:
    if not to.startswith(SCHEME):
        folder = DayFolder(Path(to), "export", form)
        folder.begin()
        yield folder
        return
    bucket = Bucket(to, environment_of(None))
    with tempfile.TemporaryDirectory(prefix="weighbridge-export-") as here:
        there = DayBucket(bucket, Path(here), "export", form)
        there.begin()
        yield there


def parse_day(text: str | None, option: str) -> date | None:
    """The UTC day of a date or an age. Raises CommandError."""
    if text is None:
        return None
    return datetime.fromtimestamp(parse_since(text, datetime.now(UTC), option) / 1e9, UTC).date()
