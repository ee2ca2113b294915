"""`weighbridge backup` and `weighbridge restore`: the stored events as compressed lines by day, and back again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import click

from exporter.clickhouse.copied_counts import Origin, Rows, bring_all
from exporter.clickhouse.copying import FORM, Copied, Erased, Owner, add, question, stored_columns, unknown
from exporter.clickhouse.days import Day, days, one_day, today
from exporter.clickhouse.keeper import StoreKeeper
from exporter.clickhouse.minutes_table import count_anew, count_since, counted_since
from exporter.clickhouse.schema import Place
from exporter.clickhouse.settings import Settings as StoreSettings
from exporter.erasures import Erasures
from weighbridge.commands.counts_folder import CountsFolder
from weighbridge.commands.day_files import UNREADABLE, read_rows
from weighbridge.commands.day_folder import DayFolder, digest
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.export import parse_day
from weighbridge.commands.progress import Steps, steps
from weighbridge.commands.store import keep_store, open_store, store_settings
from weighbridge.settings import Settings


def run_backup(settings: Settings, path: Path) -> None:
    """Raises CommandError for what cannot be begun, CommandFailed for a day that could not be written."""
    place = Place.of(store_settings(settings))
    folder = DayFolder(path, "backup", "backup")
    folder.begin()
    with open_store(settings) as reader:
        columns = stored_columns(reader, place)
        if folder.days and folder.about.get("columns") != columns:
            raise CommandError(f"{path} was made from a table of other columns: begin a new backup in another folder")
        folder.about["columns"] = columns
        folder.write(reader, place, FORM, lambda day: question(place, columns, day), None, None)
        CountsFolder(path, "backup").write(reader, place, FORM, None, None)


def run_restore(settings: Settings, path: Path, since: str | None, until: str | None, *, merge: bool) -> None:
    """merge: also into a store that has events. Raises CommandError before anything is written, else CommandFailed."""
    first, end = parse_day(since, "--since"), parse_day(until, "--until")
    store = store_settings(settings)
    place = Place.of(store)
    folder = DayFolder(path, "backup", "backup")
    folder.read()
    columns = [str(name) for name in folder.about.get("columns", ())]
    if strange := unknown(columns):
        raise CommandError(f"{path} has columns that this weighbridge does not know: {', '.join(strange)[:200]}")
    wanted = _wanted(folder, first, end, place.retention_days)
    is_erased = erased_by(Path(settings.spool.directory))
    with keep_store(settings, make=True) as keeper:
        keeper.prepare(place)
        there = {str(day.date): day for day in days(keeper, place)}
        if there and not merge:
            events = sum(day.events for day in there.values())
            raise CommandError(f"{place.table} has {events} events: --merge adds those of the backup that are missing")
        missing = [name for name, entry in wanted.items() if not _is_there(there.get(name), entry)]
        counts = CountsFolder(path, "backup")
        days_of_counts = [day for day in counts.days() if _within(day, first, end)]
        coming = [date.fromisoformat(name) for name in missing]
        bring_counts(keeper, store, counts.origin, days_of_counts, counts.rows, coming, is_erased)
        with steps(sum(int(entry["events"]) for entry in wanted.values())) as said:
            total = Copied(0, 0)
            for name, entry in wanted.items():
                if name not in missing:
                    copied = Copied(0, int(entry["events"]))
                    said.advance(copied.present)
                else:
                    said.begin(name)
                    copied = _restore_day(keeper, place, columns, folder, name, entry, said, is_erased)
                    said.finished(f"{name}  {copied.added} events restored, {copied.present} were there")
                total = plus(total, copied)
            said.finished(f"{total.added} events restored, {total.present} were there, of {len(wanted)} days")
            if total.erased:
                said.finished(f"{total.erased} events are of people who were erased since: they stay away")


def bring_counts(
    keeper: StoreKeeper,
    store: StoreSettings,
    of: Origin | None,
    counted: Sequence[date],
    rows: Rows,
    coming: Sequence[date],
    is_erased: Erased | None = None,
) -> None:
    """The counts of a store before its events: it says that it has counted them, or that it counts from now on.

    coming: days of which events are about to come. Raises CommandFailed.
    """
    place = Place.of(store)
    if of is not None:
        keeper.prepare_minutes(place, store.minutes_retention_days)
        oldest = today() - timedelta(days=store.minutes_retention_days)
        kept = [day for day in counted if day > oldest]
        brought = set(bring_all(keeper, place, of, kept, rows, is_erased))
        since = counted_since(keeper, place)
        if since is not None and brought.issuperset((*kept, *coming)):
            if brought:
                count_since(keeper, place, max(since, of.since_unix_s))
                click.echo(f"counts by minute of {len(brought)} days are there", err=True)
            return
        if left := len(set(kept) - brought):
            click.echo(f"counts of {left} days are not taken along: the store has others of these days", err=True)
    if coming:
        over = datetime.combine(max(coming) + timedelta(days=1), time.min, UTC)
        count_anew(keeper, place, int(over.timestamp()))


def _within(day: date, since: date | None, end: date | None) -> bool:
    return (since is None or day >= since) and (end is None or day < end)


def _is_there(day: Day | None, entry: dict[str, Any]) -> bool:
    return day is not None and (day.events, day.mark) == (entry["events"], entry["mark"])


def _wanted(folder: DayFolder, since: date | None, end: date | None, retention_days: int) -> dict[str, dict[str, Any]]:
    """The days to restore; without those that the store would delete at once."""
    oldest = today() - timedelta(days=retention_days)
    wanted, old = {}, 0
    for name, entry in sorted(folder.days.items()):
        day = date.fromisoformat(name)
        if _within(day, since, end):
            if day > oldest:
                wanted[name] = entry
            else:
                old += 1
    if old and not wanted:
        raise CommandError(
            f"all {old} days of the backup are older than the {retention_days} days that the store keeps"
        )
    return wanted


def _restore_day(
    keeper: StoreKeeper,
    place: Place,
    columns: list[str],
    folder: DayFolder,
    name: str,
    entry: dict[str, Any],
    said: Steps,
    is_erased: Erased | None,
) -> Copied:
    files = folder.path / name
    try:
        for file, expected in entry["files"].items():
            if digest(files / file) != expected:
                raise CommandFailed(f"{files / file} is damaged: it is not what was backed up")
        before = one_day(keeper, place, date.fromisoformat(name))
        copied = add_rows(keeper, place, columns, read_rows(files), said, is_erased)
    except UNREADABLE as error:
        raise CommandFailed(f"{files}: {error}") from error
    check_day(keeper, place, date.fromisoformat(name), before.events, copied, int(entry["events"]))
    return copied


def add_rows(
    keeper: StoreKeeper,
    place: Place,
    columns: list[str],
    texts: Iterator[bytes],
    said: Steps,
    is_erased: Erased | None = None,
) -> Copied:
    """Insert the rows that are missing. Raises StoreError."""
    total = Copied(0, 0)
    for copied in add(keeper, place, columns, texts, is_erased):
        total = plus(total, copied)
        said.advance(sum(copied))
    return total


def plus(one: Copied, other: Copied) -> Copied:
    return Copied(*(sum(pair) for pair in zip(one, other, strict=True)))


def erased_by(directory: Path) -> Erased | None:
    """Whether a row is of somebody whom the list in the spool's directory names; None when it names nobody."""
    try:
        known = Erasures(directory, directory / "unused").known()
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}; without it the erased would come back") from error
    if known is None:
        return None

    def is_erased(owner: Owner) -> bool:
        return any(
            erasure.covers(owner.tenant, owner.start_unix_ns, owner.received_unix_ns)
            for erasure in known(owner.user, owner.company)
        )

    return is_erased


def check_day(keeper: StoreKeeper, place: Place, day: date, before: int, copied: Copied, expected: int) -> None:
    """Raises CommandFailed when the store has fewer events of this day than it must have now."""
    came = sum(copied)
    if came != expected:
        raise CommandFailed(f"{day}: {came} of {expected} events came")
    after = one_day(keeper, place, day).events
    if after < before + copied.added:
        raise CommandFailed(f"{day}: the store has {after} events and should have {before + copied.added}")
