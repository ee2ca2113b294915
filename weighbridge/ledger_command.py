"""`weighbridge ledger`: where every record ended, per sink and tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.queries_reader import Result
from weighbridge.admin_client import ask
from weighbridge.query_command import show
from weighbridge.settings import Settings

SIDE_BY_SIDE = 5  # rows that fit beside each other on a terminal


def run_ledger(settings: Settings, form: str) -> None:
    """Prints the running bridge's ledger; form as in `query`."""
    rows = ask(settings, "/ledger")
    columns = tuple(rows[0]) if rows else ("sink", "tenant", "received", "pending")
    if form == "table" and 0 < len(rows) <= SIDE_BY_SIDE:
        show(_upright(rows), form)
    else:
        show(Result(columns, [tuple(row.get(name) for name in columns) for row in rows]), form)


def _upright(rows: Sequence[Mapping[str, Any]]) -> Result:
    """A line per outcome, a column per sink and tenant: `received` is the sum of the lines below it."""
    names = [f"{row['sink']} / {row['tenant']}" if row["tenant"] else str(row["sink"]) for row in rows]
    outcomes = [name for name in rows[0] if name not in {"sink", "tenant"}]
    return Result(
        ("records", *names), [(name.replace("_", " "), *(row.get(name) for row in rows)) for name in outcomes]
    )
