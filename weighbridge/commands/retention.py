"""`weighbridge retention`: every stored day with its size, and when it or a part of it goes."""

from __future__ import annotations

from datetime import date, timedelta

import click

from exporter.clickhouse.days import today
from exporter.clickhouse.reader import Result
from exporter.clickhouse.retention import Keep, StoredDay, stored_days
from exporter.clickhouse.schema import Place
from weighbridge.commands.query import show
from weighbridge.commands.store import open_store, store_settings
from weighbridge.settings_asked import Asked

_COLUMNS = ("day", "events", "bytes", "goes", "emptied")


def run_retention(settings: Asked, form: str) -> None:
    """Prints a row a day, oldest first. Nothing is deleted: the running bridge does that."""
    store = store_settings(settings)
    place = Place.of(store)
    keep = Keep(store.retention_days, store.retention_bytes, store.class_days)
    with open_store(settings) as reader:
        now = today()
        found = stored_days(reader, place, keep, now)
    rows: list[tuple[object, ...]] = [
        (str(day.date), day.events, day.size, _goes(day, keep, now), _emptied(day, keep, now)) for day in found
    ]
    show(Result(_COLUMNS, rows), form)
    size = sum(day.size for day in found)
    bound = f" of {keep.most_bytes}" if keep.most_bytes else ""
    click.echo(f"{sum(day.events for day in found)} events, {size} bytes{bound}; kept for {keep.days} days", err=True)


def _goes(day: StoredDay, keep: Keep, now: date) -> str:
    if day.goes:
        return "now, for its size"
    last = day.date + timedelta(days=keep.days + 1)  # when the last event of the day is so many days old
    return "now, for its age" if last <= now else str(last)


def _emptied(day: StoredDay, keep: Keep, now: date) -> str:
    """Which parts of events are gone, and which go when."""
    said = []
    for name, days in keep.class_days.items():
        when = day.date + timedelta(days=days + 1)
        if name not in day.classes:
            said.append(f"{name} gone")
        else:
            said.append(f"{name} now" if name in day.clears or when <= now else f"{name} {when}")
    return ", ".join(said)
