"""`weighbridge trace ID`: everything stored of one trace, as a tree."""

from __future__ import annotations

import re

import click
from rich.console import Console

from exporter.clickhouse.queries import trace
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.event_text import seen
from weighbridge.commands.store import open_store
from weighbridge.commands.trace_tree import arrange, tree_lines
from weighbridge.settings_asked import Asked

MOST_EVENTS = 10_000  # of one trace that are shown


def run_trace(settings: Asked, text: str) -> None:
    """text: a trace id of 32 hex digits, also with dashes or inside a traceparent."""
    trace_id = parse_trace_id(text)
    with open_store(settings) as store:
        rows = store.run(trace(trace_id, limit=MOST_EVENTS)).dicts()
    if not rows:
        raise CommandFailed(
            f"nothing is stored of trace {trace_id}: not sent, sampled out, or still pending (see weighbridge ledger)"
        )
    console = Console()
    for line in tree_lines(trace_id, arrange(map(seen, rows))):
        console.print(line, soft_wrap=True)
    if len(rows) == MOST_EVENTS:
        click.echo(f"only the first {MOST_EVENTS} events are shown", err=True)


def parse_trace_id(text: str) -> str:
    """The trace id in lower case. Raises CommandError."""
    found = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", text.strip().lower())
    trace_id = found[1] if found else text.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{32}", trace_id):
        raise CommandError(f"{text!r} is not a trace id: 32 hex digits, or a traceparent")
    return trace_id
