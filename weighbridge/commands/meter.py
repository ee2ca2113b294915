"""`weighbridge meter`: what customers used, as CloudEvents for a billing system, each counted once.

A line a customer and window: {"specversion": "1.0", "id": ..., "type": METER, "subject": CUSTOMER, "data": {"value":
N}}. The id is the idempotency key: made of the meter, the customer, the window and the number of the revision, and so
the same whenever it is sent. What came late is a revision: a line of its own with the difference as its value and, in
`corrects`, the id of the first. Values of all lines of a window add up to what it is known to be.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from exporter.clickhouse.answers import answer
from exporter.clickhouse.queries import Condition, usage
from exporter.clickhouse.reader import StoreReader
from weighbridge.commands.conditions import parse_where
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.meter_state import MeterState, Told
from weighbridge.commands.moments import parse_length, parse_since
from weighbridge.commands.store import open_store
from weighbridge.settings_asked import Asked

WINDOWS: Final[Mapping[str, timedelta]] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_DAY: Final = timedelta(days=1)
# Customers and windows of a day that are asked for at once: 25 MB of an answer, which may have 64 MiB.
MOST_ROWS: Final = 250_000


class Meter(NamedTuple):
    """What is metered. The same name must always mean the same, or its windows could not be corrected."""

    name: str
    source: str
    window: str  # a key of WINDOWS
    hops: str
    where: Sequence[str]

    @property
    def definition(self) -> str:
        return json.dumps([self.source, self.window, self.hops, sorted(self.where)])


class Used(NamedTuple):
    """What a customer used in a window."""

    begins: datetime
    tenant: str
    company: str
    calls: float


def run_meter(settings: Asked, meter: Meter, state: Path, since: str, until: str | None, settle: str) -> None:
    """Prints what is new since the run before. Raises CommandError before a line is printed."""
    now = datetime.now(UTC)
    first, end = _times(meter, since, until, parse_length(settle, "--settle"), now)
    conditions = [condition for text in meter.where for condition in parse_where(text)]
    with MeterState(state) as told:
        told.define(meter.name, meter.definition)
        if again := list(told.waiting()):
            _print(told, again)  # of a run that ended between deciding and printing: the same lines
        with open_store(settings) as store:
            used = [one for day in _days(first, end) for one in _used(store, meter, conditions, *day)]
        nameless = sum(one.calls for one in used if not one.company)
        lines = [line for one in used if one.company and (line := _line(told, meter, one)) is not None]
        told.decide(meter.name, lines)
        _print(told, list(told.waiting()))
    corrected = sum(one.revision > 0 for _, one in lines)
    click.echo(
        f"{len(lines) - corrected} new and {corrected} corrected, of windows from {first:%Y-%m-%d %H:%M} to "
        f"{end:%Y-%m-%d %H:%M} UTC"
        + (f"; {nameless:.0f} calls name no customer and are not metered" if nameless else ""),
        err=True,
    )


def _times(meter: Meter, since: str, until: str | None, settle: timedelta, now: datetime) -> tuple[datetime, datetime]:
    """Whole windows: from the one that holds `since` to the last that is over, and has been for `settle`."""
    width = WINDOWS[meter.window]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def floor(moment: datetime) -> datetime:
        return moment - (moment - epoch) % width

    def parsed(text: str, what: str) -> datetime:
        return datetime.fromtimestamp(parse_since(text, now, what) / 10**9, UTC)

    first, over = floor(parsed(since, "--since")), floor(now - settle)
    end = min(over, floor(parsed(until, "--until"))) if until is not None else over
    if first >= end:
        raise CommandError(f"no {meter.window} of that time is over yet; a window is metered {settle} after its end")
    return first, end


def _days(first: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while first < end:
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
        yield first, min(midnight, end)
        first = midnight


def _used(
    store: StoreReader, meter: Meter, where: Sequence[Condition], since: datetime, until: datetime
) -> Iterator[Used]:
    """Raises CommandFailed where the answer is an estimate."""
    arguments: dict[str, Any] = {
        "since": since, "until": until, "window": meter.window, "where": where, "hops": meter.hops, "limit": MOST_ROWS,
    }  # fmt: skip
    found = answer(store, "usage", arguments, usage(**arguments))
    if not found.exact:
        raise CommandFailed(
            f"{meter.name} is not metered: on {since:%Y-%m-%d} its calls are an estimate ({found.said}), by which "
            "nobody should be billed; --where on the service that customers reach, --hops all or a later --since may "
            "be exact"
        )
    if len(found.result.rows) >= MOST_ROWS:
        raise CommandFailed(f"more than {MOST_ROWS} customers and windows on {since:%Y-%m-%d}: meter by day, or a part")
    for row in found.result.dicts():
        yield Used(row["begins"].replace(tzinfo=UTC), row["tenant"], row["company_id"], row["calls"])


def _line(told: MeterState, meter: Meter, used: Used) -> tuple[str, Told] | None:
    """The event that makes the window what it is now, and what is told with it; None where it is that already."""
    before = told.told(meter.name, used.begins, used.tenant, used.company)
    value = round(used.calls, 6)
    if before is not None and before.value == value:
        return None
    revision = 0 if before is None else before.revision + 1
    now = Told(used.begins, used.tenant, used.company, value, revision)
    return _event(meter, now, value - (before.value if before else 0)), now


def key(meter: str, told: Told, revision: int) -> str:
    """The idempotency key of a line."""
    parts = (meter, told.tenant, told.company, told.begins.isoformat(), revision)
    return sha256(json.dumps(parts).encode()).hexdigest()[:40]


def _event(meter: Meter, told: Told, value: float) -> str:
    ends = told.begins + WINDOWS[meter.window]
    data: dict[str, Any] = {
        "value": _number(value),
        "window_start": _time(told.begins),
        "window_end": _time(ends),
        "revision": told.revision,
        "total": _number(told.value),
        "events": _question(meter, told, ends),
    }
    if told.tenant:
        data["tenant"] = told.tenant
    if told.revision:
        data["corrects"] = key(meter.name, told, 0)
    return json.dumps(
        {
            "specversion": "1.0",
            "id": key(meter.name, told, told.revision),
            "source": meter.source,
            "type": meter.name,
            "subject": told.company,
            "time": _time(told.begins),
            "datacontenttype": "application/json",
            "data": data,
        }
    )


def _question(meter: Meter, told: Told, ends: datetime) -> str:
    """The command that shows what the value is made of."""
    where = [*meter.where, f"company_id={told.company}", *([f"tenant={told.tenant}"] if told.tenant else [])]
    words = ["totals", "by=endpoint", f"hops={meter.hops}", f"since={_time(told.begins)}", f"until={_time(ends)}"]
    return shlex.join(["weighbridge", "query", *words, *(f"where={one}" for one in where)])


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 6)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _print(told: MeterState, lines: Sequence[tuple[int, str]]) -> None:
    for _, line in lines:
        click.echo(line)
    sys.stdout.flush()
    told.printed(lines)
