"""`weighbridge query`: one question, in SQL or by name, answered as a table, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from exporter.clickhouse.answers import answer
from exporter.clickhouse.reader import Result
from weighbridge.commands.errors import CommandError
from weighbridge.commands.named_query import asked, is_name, said_under
from weighbridge.commands.plain_text import data_text, defuse, escaped_json, visible
from weighbridge.commands.store import open_store
from weighbridge.settings_asked import Asked


def run_query(settings: Asked, question: str, parameters: Sequence[str], form: str, *, raw: bool = False) -> None:
    """Prints the answer to SQL, or to a query by its name; form: table, json or csv; raw: as in `show`."""
    said: list[str] = []
    if is_name(question):
        arguments, statement = asked(question, parameters, settings.sampling.sample_unit, datetime.now(UTC))
        said = list(said_under(question, statement, parameters))
        with open_store(settings) as store:
            found = answer(store, question, arguments, statement)
        result, said = found.result, [*filter(None, (found.said,)), *said]
    elif parameters:
        raise CommandError(f"{parameters[0]!r}: only queries by name take parameters; is the SQL in quotes?")
    else:
        with open_store(settings) as store:
            result = store.query(question, {})
    show(result, form, raw=raw)
    for line in said:
        click.echo(line, err=True)


def show(result: Result, form: str, *, raw: bool = False) -> None:
    """table: with lines on a terminal, aligned text in a pipe. json: an array, an object a line. csv: with a header.

    raw: texts in csv and json exactly as they are stored, whatever terminals and spreadsheets make of them.
    """
    if form == "json":
        text = json_text(result)
        click.echo(text if raw else escaped_json(text))
    elif form == "csv":
        click.echo(csv_text(result, raw=raw, safe=visible if sys.stdout.isatty() else data_text), nl=False)
    elif sys.stdout.isatty():
        from weighbridge.commands.tables import print_on_terminal

        print_on_terminal(result)
    else:
        for line in align(result):
            click.echo(line)


def json_text(result: Result) -> str:
    rows = (json.dumps({name: plain(v) for name, v in row.items()}, ensure_ascii=False) for row in result.dicts())
    return "[" + ",\n ".join(rows) + "]"


def csv_text(result: Result, *, raw: bool = False, safe: Callable[[str], str] = data_text) -> str:
    """raw: texts as they are stored; else none that a spreadsheet would run, each made printable by `safe`."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")

    def text(cell: str, *, is_text: bool) -> str:
        return cell if raw else defuse(safe(cell)) if is_text else safe(cell)

    writer.writerow([text(name, is_text=True) for name in result.columns])
    for row in result.rows:
        writer.writerow([text(cell_text(value, ""), is_text=not _is_number(value)) for value in row])
    return output.getvalue()


def align(result: Result) -> Iterator[str]:
    """The header and the rows in columns of equal width, numbers to the right."""
    table = [
        list(map(visible, result.columns)),
        *([visible(cell_text(value, "-")) for value in row] for row in result.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numeric = numeric_columns(result)
    for row in table:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        yield "  ".join(cells).rstrip()


def plain(value: Any) -> Any:
    """A value as JSON knows it: times as ISO 8601 in UTC, what is not a number as null, anything else as text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return moment.isoformat().replace("+00:00", "Z")
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case bytes():
            return value.decode(errors="replace")
        case Iterable():
            return [plain(item) for item in value]
        case _:
            return str(value)


def cell_text(value: Any, nothing: str) -> str:
    simple = plain(value)
    if simple is None:
        return nothing
    if isinstance(simple, Mapping | list):
        return json.dumps(simple, ensure_ascii=False)
    if isinstance(simple, float):
        return f"{simple:.6g}" if abs(simple) < 1e6 else f"{simple:.1f}"
    return str(simple)


def numeric_columns(result: Result) -> Sequence[bool]:
    return [
        bool(result.rows) and all(_is_number(row[place]) or row[place] is None for row in result.rows)
        for place in range(len(result.columns))
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
