"""`weighbridge demo`: the shop of weighbridge/demo, its traffic sent to a running bridge, and what to try with it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from exporter.clickhouse.reader import StoreReader
from weighbridge.commands.admin_client import base_url
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.next_command import next_command
from weighbridge.commands.store import open_store
from weighbridge.settings import Settings

if TYPE_CHECKING:
    from weighbridge.demo.shop import Run
    from weighbridge.demo.traffic import Outcome

PATIENCE_S = 10.0  # while nothing more comes
LOOK_EVERY_S = 0.3


def run_demo(settings: Settings, requests: int, endpoint: str | None, config: str | None) -> None:
    """Raises CommandError when nobody listens, CommandFailed when the bridge refused part of what was sent."""
    shop = _shop()
    base = endpoint or base_url(settings)
    _check_listening(base)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"A shop opens: storefront and payments, instrumented with the OpenTelemetry SDK, sending to {base}")
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what was refused is counted and said once, below
    run = _open(shop, console, base, requests)
    statuses = Counter(outcome.status for outcome in run.outcomes)
    console.print(f"{len(run.outcomes)} calls by customers: {_in_words(statuses)}")
    if run.lost:
        raise CommandFailed(
            f"{run.lost} spans and log records were not accepted by {base}; "
            "when it asks for a key, set OTEL_EXPORTER_OTLP_HEADERS=X-Moesif-Application-Id=KEY"
        )
    console.print(f"Sent: {run.events} events")
    if endpoint is not None and endpoint.rstrip("/") != base_url(settings):
        return  # another bridge, whose store we do not know
    try:
        with open_store(settings) as store:
            _wait_until_stored(console, store, run)
    except CommandError as error:  # what was to be shown has been sent, to destinations that cannot be asked
        console.print(f"No store to look at: {error.message}")
        return
    _say_what_next(console, config, run)


def _check_listening(base: str) -> None:
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CommandError(f"{base}: not an address such as http://127.0.0.1:4318")
    try:
        socket.create_connection((parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), 5).close()
    except OSError as error:
        raise CommandError(
            f"no bridge answers on {base} ({error.strerror or error}); start one with `make run` or `weighbridge serve`"
        ) from error


def _shop() -> Callable[..., Coroutine[Any, Any, Run]]:
    """The shop, which needs a library that the bridge does not."""
    try:
        from weighbridge.demo.shop import run_shop
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the demo needs the Python package `{error.name}`, which is not installed: "
            "`make install`, or install weighbridge with its extra, `weighbridge[demo]`"
        ) from error
    return run_shop


def _open(run_shop: Callable[..., Coroutine[Any, Any, Run]], console: Console, base: str, requests: int) -> Run:
    if not console.is_terminal:
        return asyncio.run(run_shop(base, requests, lambda outcome: None))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("customers call", total=requests)
        return asyncio.run(run_shop(base, requests, lambda outcome: progress.advance(task)))


def _in_words(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))


def _wait_until_stored(console: Console, store: StoreReader, run: Run) -> None:
    """Until every event of the run is stored; sampling or a destination that lags may keep some out for longer."""
    sql = (
        "SELECT countIf(event_type = 'api_call'), countIf(event_type = 'action'), countIf(event_type = 'log') "
        "FROM api_events WHERE position(resource, {run:String}) > 0 AND event_time > now() - INTERVAL 1 HOUR"
    )
    stored, patience_s = 0, PATIENCE_S
    while stored < run.events and patience_s > 0:
        time.sleep(LOOK_EVERY_S)
        ((calls, actions, logs),) = store.query(sql, {"run": run.name}).rows
        came = calls + actions + logs - stored
        stored += came
        patience_s = PATIENCE_S if came else patience_s - LOOK_EVERY_S
    console.print(f"In the store: {calls} API calls, {actions} actions, {logs} log events")
    if stored < run.events:
        console.print(f"{run.events - stored} of {run.events} events are not there; `weighbridge ledger` says why")


def _say_what_next(console: Console, config: str | None, run: Run) -> None:
    declined = _first(run, 402) or run.outcomes[0]
    failed = _first(run, 500) or declined
    user = failed.step.customer.user if failed.step.customer else ""
    sql = (
        "SELECT company_id, sum(weight) AS calls, sumIf(weight, status_code >= 400) AS failed "
        "FROM api_calls(since = now() - INTERVAL 1 HOUR, until = now()) WHERE entry "
        "GROUP BY company_id ORDER BY calls DESC"
    )
    console.print("\nTry next:")
    for comment, command in (
        ("an order whose payment was declined, across both services", f"trace {declined.trace_id}"),
        (f"what went wrong for user {user}", f"tail --where user={user} --where status=5xx"),
        ("who calls how much, and how much of it fails", f'query "{sql}"'),
    ):
        console.print(f"  [dim]# {comment}[/dim]")
        console.print(f"  {next_command(command, config)}", markup=False)


def _first(run: Run, status: int) -> Outcome | None:
    return next((outcome for outcome in run.outcomes if outcome.status == status and outcome.trace_id), None)
