"""`weighbridge move`: the stored events into another store, compared by day; what to do then is said at the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import click
from pydantic import ValidationError

from exporter.clickhouse.copied_counts import counted_days, counts_of, origin
from exporter.clickhouse.copying import FORM, question, stored_columns, unknown
from exporter.clickhouse.days import Day, days, one_day, today
from exporter.clickhouse.keeper import StoreKeeper
from exporter.clickhouse.reader import StoreReader
from exporter.clickhouse.schema import Place
from exporter.clickhouse.settings import Settings as StoreSettings
from weighbridge.commands.backup import add_rows, bring_counts, check_day
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.next_command import next_command
from weighbridge.commands.progress import Steps, steps
from weighbridge.commands.store import keep_store, open_one, store_settings
from weighbridge.settings import Settings, SettingsError, expand_one

_TRIES = 3  # of a day that changes while it is copied


def run_move(settings: Settings, to: str, source: str | None, cluster: str, config: str | None) -> None:
    """Raises CommandError before anything is written, CommandFailed for a day that did not arrive."""
    configured = store_settings(settings)
    old = configured if source is None else _store(configured, source, "--from", configured.cluster)
    new = _store(configured, to, "--to", cluster)
    if _whereabouts(old) == _whereabouts(new):
        raise CommandError("--to is the store that the events are in")
    here, there = Place.of(old), Place.of(new)
    with open_one(settings, old) as reader, keep_store(settings, new, make=True) as keeper:
        columns = stored_columns(reader, here)
        if strange := unknown(columns):
            raise CommandError(f"{here.table} has columns that this weighbridge does not know: {', '.join(strange)}")
        keeper.prepare(there)
        oldest = today() - timedelta(days=there.retention_days)
        wanted = [day for day in days(reader, here) if day.date > oldest]
        present = {day.date: day for day in days(keeper, there)}
        of = origin(reader, here)
        counted = list(counted_days(reader, here)) if of is not None else []
        coming = [day.date for day in wanted if present.get(day.date) != day]
        bring_counts(keeper, new, of, counted, lambda day: _counts(reader, here, day), coming)
        with steps(sum(day.events for day in wanted)) as said:
            for day in wanted:
                if present.get(day.date) == day:
                    said.advance(day.events)
                    continue
                said.begin(str(day.date))
                _move_day(reader, here, keeper, there, columns, day, said)
        left = _differences(days(reader, here), days(keeper, there), oldest)
    if left:
        raise CommandFailed(
            f"not yet the same: {', '.join(left[:5])}; run the command again (events come in all the time?)"
        )
    click.echo(f"{sum(day.events for day in wanted)} events of {len(wanted)} days are in both stores")
    if source is None:
        _say_how_to_switch(configured, old, to, config)


def _move_day(
    reader: StoreReader, here: Place, keeper: StoreKeeper, there: Place, columns: list[str], day: Day, said: Steps
) -> None:
    for _ in range(_TRIES):
        before, expected = one_day(keeper, there, day.date), one_day(reader, here, day.date)
        copied = add_rows(keeper, there, columns, _texts(reader, here, columns, day), said)
        if copied.added + copied.present >= expected.events:  # more, where events came meanwhile
            check_day(keeper, there, day.date, before.events, copied, copied.added + copied.present)
            said.finished(f"{day.date}  {copied.added} events copied, {copied.present} were there")
            return
    raise CommandFailed(f"{day.date}: {copied.added + copied.present} of {expected.events} events came")


def _counts(reader: StoreReader, here: Place, day: date) -> list[bytes]:
    return b"".join(piece.data for piece in reader.pieces(counts_of(here, day), FORM)).splitlines()


def _texts(reader: StoreReader, here: Place, columns: list[str], day: Day) -> Iterator[bytes]:
    for piece in reader.pieces(question(here, columns, day.date), FORM):
        yield piece.data


def _differences(old: list[Day], new: list[Day], oldest: date) -> list[str]:
    """Days of which the new store has fewer events than the old one. It may have more of its own."""
    have = {day.date: day.events for day in new}
    return [
        f"{day.date} ({have.get(day.date, 0)} of {day.events} events)"
        for day in old
        if day.date > oldest and have.get(day.date, 0) < day.events
    ]


def _store(like: StoreSettings, dsn: str, option: str, cluster: str) -> StoreSettings:
    """The settings of a store that keeps as the one of the settings does. Raises CommandError."""
    try:
        kept = {
            "name": like.name,
            "dsn": expand_one(dsn, option),
            "retention_days": like.retention_days,
            "minutes_retention_days": like.minutes_retention_days,
            "cluster": cluster,
        }
        return StoreSettings.model_validate({**kept, "engine": like.engine})
    except ValidationError as error:
        raise CommandError(f"{option}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    except SettingsError as error:
        raise CommandError(str(error)) from error


def _whereabouts(store: StoreSettings) -> object:
    server = store.server
    if server is not None:
        return server.host, server.port, server.database
    return store.engine_path and store.engine_path.absolute(), store.database


def _say_how_to_switch(configured: StoreSettings, old: StoreSettings, to: str, config: str | None) -> None:
    path = old.engine_path
    was = f"chdb://{path.absolute()}" if path is not None else "the old dsn"
    click.echo(
        f"To switch: write `dsn: {_without_password(to)}` for the sink {configured.name} in the settings and send"
    )
    click.echo("the bridge SIGHUP; what it stores from then on is in the new store. Then fetch what came meanwhile:")
    click.echo(f"    {next_command(f'move --from {was} --to ...', config)}")


def _without_password(dsn: str) -> str:
    scheme, mark, rest = dsn.partition("://")
    who, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{who.partition(':')[0]}:…@{host}" if at else dsn
