"""`weighbridge tail`: the event log, one line an event, newest last."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import click
from rich.console import Console
from rich.text import Text

from exporter.clickhouse.queries import ALWAYS, Condition, Statement, latest, tail
from exporter.clickhouse.reader import Result, StoreError, StoreReader
from weighbridge.commands.conditions import parse_where, said_of
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.event_text import MOVED, Seen, failure, moment, seen, weight_text, what_happened, who
from weighbridge.commands.store import bridge_has_store, open_store, store_settings
from weighbridge.settings_asked import Asked

WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))  # looked through before everything is
POLL_S = 1.0
REFUSALS = 10  # in a row, by a store that is there, before following is given up
PAGE = 10_000  # events fetched at once while following
ARRIVES_LATE_S = 10.0  # beyond the wait of log-derived calls for their span


def run_tail(settings: Asked, where: Sequence[str], *, follow: bool, limit: int) -> None:
    """Prints the last `limit` events that match, then, with follow, new ones until Ctrl-C."""
    conditions = [condition for text in where for condition in parse_where(text)]
    for note in said_of(where):
        click.echo(note, err=True)
    if follow and not bridge_has_store(settings):
        raise CommandError("nothing to follow: no bridge is running; start one with `make run` or `weighbridge serve`")
    console = Console()
    try:
        with open_store(settings) as store:
            rows = list(reversed(_latest(store, conditions, limit)))
            _print(console, rows)
        if not rows and not follow:
            click.echo("no event is stored" + (" that matches" if where else ""), err=True)
        if follow:
            _print_each(console, _following(settings, conditions, rows))
    except KeyboardInterrupt:
        sys.exit(0)


def _latest(store: StoreReader, conditions: Iterable[Condition], limit: int) -> list[dict[str, Any]]:
    """The newest events, newest first; the time searched is widened until there are enough."""
    now = datetime.now(UTC)
    for window in WINDOWS:
        rows = store.run(latest(now - window, ALWAYS[1], conditions, limit)).dicts()
        if len(rows) >= limit:
            return rows
    return store.run(latest(*ALWAYS, conditions, limit)).dicts()


def _following(
    settings: Asked, conditions: Sequence[Condition], before: Iterable[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """New events as they are stored, each once, for ever.

    Events are stored a little after they were received, and not in that order: each look goes back as far as that can
    be, and what was shown is remembered as long.
    """
    reach = timedelta(seconds=settings.exporter.batch.span_wait_s + ARRIVES_LATE_S)
    shown: dict[str, datetime] = {row["event_id"]: _received(row) for row in before}
    newest = max(shown.values(), default=datetime.now(UTC))
    after = newest - reach
    first = True
    with _Reconnecting(settings) as store:
        while True:
            rows = store.run(tail(after, conditions, PAGE)).dicts()
            for row in rows:
                if row["event_id"] not in shown:
                    shown[row["event_id"]] = _received(row)
                    if not first or _received(row) > newest:  # older ones were there before, beyond the limit
                        yield row
            if len(rows) == PAGE:
                after = max(after + timedelta(milliseconds=1), _received(rows[-1]) - timedelta(milliseconds=1))
                continue
            first = False
            after = max(shown.values(), default=after + reach) - reach
            shown = {event_id: received for event_id, received in shown.items() if received >= after}
            time.sleep(POLL_S)


class _Reconnecting:
    """A reader that outlives restarts of the bridge, whose engine comes back under another port."""

    def __init__(self, settings: Asked) -> None:
        self._settings = settings
        self._reader: StoreReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def run(self, statement: Statement) -> Result:
        """The answer, waited for while no bridge runs. Raises CommandFailed when one runs and refuses for a while."""
        refused = 0
        while True:
            try:
                if self._reader is None:
                    reader = StoreReader(store_settings(self._settings))
                    reader.open()
                    self._reader = reader
                return self._reader.run(statement)
            except StoreError as error:
                self.__exit__()
                refused += 1
                if refused > REFUSALS:
                    raise CommandFailed(str(error)) from error
            time.sleep(POLL_S)
            while not bridge_has_store(self._settings):  # never hold the store that a bridge wants to open
                refused = 0
                time.sleep(POLL_S)


def _received(row: Mapping[str, Any]) -> datetime:
    received: datetime = row["received_at"]
    return received.replace(tzinfo=UTC) if received.tzinfo is None else received


def _print(console: Console, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        console.print(line(seen(row)), soft_wrap=True)


def _print_each(console: Console, rows: Iterator[Mapping[str, Any]]) -> None:
    for row in rows:
        console.print(line(seen(row)), soft_wrap=True)
        if not console.is_terminal:
            sys.stdout.flush()  # someone may be reading the pipe as we go


def line(event: Seen) -> Text:
    """Time (with the date where it is not today), service, what happened, who, weight and the trace id."""
    text = Text.assemble(
        (moment(event, datetime.now(UTC)), "dim"),
        "  ",
        (f"{event.service:<12} ", "blue"),
        what_happened(event),
        who(event),
    )
    if event.event_type != "log" or event.weight != 1:
        text.append_text(weight_text(event))
    if (failed := failure(event)) and not 400 <= event.status_code < 500:  # those are the caller's, and say why
        text.append(f"  {failed.said}", "red")
    if event.trace_id:
        text.append(f"  {event.trace_id}", "dim")
    if MOVED in event.flags:
        text.append("  (its own time is beyond the retention or ahead of ours)", "yellow")
    return text
