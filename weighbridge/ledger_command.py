"""`weighbridge ledger`: where every record ended, per sink and tenant."""

from __future__ import annotations

from exporter.queries_reader import Result
from weighbridge.admin_client import ask
from weighbridge.query_command import show
from weighbridge.settings import Settings


def run_ledger(settings: Settings, form: str) -> None:
    """Prints the running bridge's ledger; form as in `query`."""
    rows = ask(settings, "/ledger")
    columns = tuple(rows[0]) if rows else ("sink", "tenant", "received", "pending")
    show(Result(columns, [tuple(row.get(name) for name in columns) for row in rows]), form)
