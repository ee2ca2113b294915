"""Answers on a terminal: a table where it fits, else each row by itself."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.clickhouse.reader import Result
from weighbridge.commands.plain_text import visible
from weighbridge.commands.query import cell_text, numeric_columns

LEGIBLE = 16  # characters of a value below which folding it helps nobody


def print_on_terminal(result: Result) -> None:
    print_table(Console(), result)


def print_table(console: Console, result: Result) -> None:
    """A table where it fits, else each row as a list of its columns."""
    if _least_width(result) <= console.width:
        console.print(_rich_table(result))
        return
    for number, table in enumerate(_row_tables(result), 1):
        console.rule(f"row {number}", style="dim", align="left")
        console.print(table)


def _least_width(result: Result) -> int:
    """Columns of a terminal that a table needs to be legible: names of columns are not cut, long values may fold."""
    values = ([cell_text(row[place], "-") for row in result.rows] for place in range(len(result.columns)))
    longest = (max(map(len, column), default=0) for column in values)
    needed = (max(len(name), min(width, LEGIBLE)) for name, width in zip(result.columns, longest, strict=True))
    return sum(width + 3 for width in needed) + 1


def _row_tables(result: Result) -> Iterator[Table]:
    for row in result.rows:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in zip(result.columns, row, strict=True):
            table.add_row(Text(visible(name)), Text(visible(cell_text(value, "-"))))
        yield table


def _rich_table(result: Result) -> Table:
    table = Table(header_style="bold", row_styles=["", "dim"] if len(result.columns) > 6 else None)
    for name, right in zip(result.columns, numeric_columns(result), strict=True):
        table.add_column(Text(visible(name)), justify="right" if right else "left", overflow="fold")
    for row in result.rows:
        table.add_row(*(Text(visible(cell_text(value, "-"))) for value in row))
    return table
