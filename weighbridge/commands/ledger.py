"""`weighbridge ledger`: every record from the socket to where it ended, per tenant and sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from exporter.clickhouse.reader import Result
from mapping.sampling.ledger import LedgerRow
from weighbridge.commands.admin_client import ask
from weighbridge.commands.plain_text import escaped_json
from weighbridge.commands.query import show
from weighbridge.settings_asked import Asked

SIDE_BY_SIDE = 5  # rows that fit beside each other on a terminal
_LABELS = {"sink", "rule", "tenant", "catching_up"}


def run_ledger(settings: Asked, form: str, *, raw: bool = False) -> None:
    """Prints the running bridge's ledger. json: all of it; csv: the sinks' rows."""
    ledger = ask(settings, "/ledger")
    if form == "json":
        click.echo(escaped_json(orjson.dumps(ledger, option=orjson.OPT_INDENT_2).decode()))
        return
    sinks = ledger["sinks"]
    if form == "csv":
        columns = tuple(sinks[0]) if sinks else ("sink", "tenant", "received")
        show(Result(columns, [tuple(row.get(name) for name in columns) for row in sinks]), form, raw=raw)
        return
    if ledger["intake"]:
        click.echo("At the socket, since the bridge was started:")
        show(_side_by_side([_flat(row) for row in ledger["intake"]]), form)
    click.echo("At the sinks, since each sink was new (received is the sum of what follows it):")
    show(_side_by_side(sinks), form)
    behind = sorted({row["sink"] for row in sinks if row["catching_up"]})
    if behind:
        click.echo(
            f"Still reading requests from before the start, which count when they are read: {', '.join(behind)}."
        )
    if sampled := ask(settings, "/sampling"):
        click.echo("Sampling, by rule and tenant, since the bridge was started:")
        show(_side_by_side(sampled), form)
    wrong = {step: count for step, count in ledger["residue"].items() if count}
    said = ", ".join(f"{step} {count}" for step, count in wrong.items())
    click.echo(f"UNEXPLAINED, a fault of the bridge: {said}" if wrong else "Nothing is unexplained.")


def run_minutes(settings: Asked, minutes: int, form: str, *, raw: bool = False) -> None:
    """Prints what sampling received and kept in each of the last minutes, per rule and tenant."""
    rows = ask(settings, "/sampling", minutes=str(minutes))
    columns = ("minute", "rule", "tenant", *LedgerRow._fields)
    show(Result(columns, [_of_minute(row) for row in rows]), form, raw=raw)


def _of_minute(row: Mapping[str, Any]) -> tuple[Any, ...]:
    minute_unix_s, *others = row.values()
    return datetime.fromtimestamp(minute_unix_s, UTC), *others


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The socket's row with a line per reason of refusal."""
    flat = {name: value for name, value in row.items() if not isinstance(value, Mapping)}
    flat |= {f"refused: {reason}": count for reason, count in row["refused"].items()}
    return flat | {f"requests refused: {reason}": count for reason, count in row["refused_requests"].items()}


def _side_by_side(rows: Sequence[Mapping[str, Any]]) -> Result:
    """A line per outcome and a column per row while they fit, else a line per row."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "catching_up"))
    if 0 < len(rows) <= SIDE_BY_SIDE:
        heads = [
            " / ".join(row[label] for label in ("sink", "rule", "tenant") if row.get(label)) or "no tenant"
            for row in rows
        ]
        lines = [name for name in names if name not in _LABELS]
        return Result(
            ("records", *heads), [(name.replace("_", " "), *(row.get(name, 0) for row in rows)) for name in lines]
        )
    return Result(tuple(names) or ("records",), [tuple(row.get(name, 0) for name in names) for row in rows])
