"""`weighbridge deadletter`: events, and whole forwarded requests, that a destination refused for good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from exporter.deadletter import DeadLetters
from exporter.refused import RefusedRequests
from weighbridge import unmappable
from weighbridge.commands.admin_client import ask
from weighbridge.commands.errors import CommandError
from weighbridge.commands.moments import parse_since
from weighbridge.commands.plain_text import escaped_json, visible
from weighbridge.partitions import folders
from weighbridge.settings import Settings


def list_dead(settings: Settings, reason: str | None, since: str | None) -> None:
    """One line each, oldest first: when, sink, id, kind of event, reason."""
    found = False
    for entry in _matching(settings, reason, since):
        found = True
        when = f"{datetime.fromtimestamp(entry['dead_lettered_unix_ns'] / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"
        event = str(entry["event"].get("event_type", "?"))
        if "records" in entry:
            event += f" of {entry['records']} records"
        click.echo("  ".join((when, *map(visible, (entry["sink"], entry["transaction_id"], event, entry["reason"])))))
    if not found:
        click.echo("no dead letters" + (" that match" if reason or since else ""), err=True)


def show_dead(settings: Settings, dead_id: str) -> None:
    """The entry as JSON; an id may be cut short as long as it is the only one that starts so."""
    entries: list[dict[str, Any]] = []  # of the first id
    others: set[int] = set()
    for entry in letters(settings):
        if str(entry["transaction_id"]).startswith(dead_id.lower()):
            if entries and entry["transaction_id"] != entries[0]["transaction_id"]:
                others.add(hash(entry["transaction_id"]))
            else:
                entries.append(entry)
    if not entries or others:
        count = len(others) + 1
        what = f"{count} dead letters start with {dead_id}" if entries else f"there is no dead letter {dead_id}"
        raise CommandError(f"{what}; see `weighbridge deadletter list`")
    for entry in entries:
        click.echo(escaped_json(orjson.dumps(entry, option=orjson.OPT_INDENT_2).decode()))


def replay_dead(settings: Settings, reason: str | None, since: str | None) -> None:
    """Asks the running bridge to send those that match again; prints how many it took."""
    parameters = {"reason": reason} if reason else {}
    if since is not None:
        parameters["since_unix_ns"] = str(parse_since(since, datetime.now(UTC)))
    answer = ask(settings, "/deadletter/replay", post=True, **parameters)
    if answer.get("waiting"):
        click.echo("their destination is away or busy: they are sent when it takes them")
    else:
        click.echo(f"{answer['replayed']} events are on their way again")


def _matching(settings: Settings, reason: str | None, since: str | None) -> Iterator[dict[str, Any]]:
    after = parse_since(since, datetime.now(UTC)) if since is not None else 0
    for entry in letters(settings):
        if entry["dead_lettered_unix_ns"] >= after and (reason is None or reason.lower() in entry["reason"].lower()):
            yield entry


def letters(settings: Settings) -> Iterator[dict[str, Any]]:
    """Each event once per sink: one that was added again after a restart keeps its first place. Then the requests.

    So for each partition of the spool.
    """
    for directory in folders(Path(settings.spool.directory)):
        yield from _of_partition(directory)


def _of_partition(directory: Path) -> Iterator[dict[str, Any]]:
    seen: set[int] = set()
    for entry in DeadLetters(directory / "deadletter.jsonl").read():
        key = hash((entry["sink"], entry["transaction_id"]))
        if key not in seen:
            seen.add(key)
            yield entry
    for about in unmappable.read(directory / "unmappable"):
        sinks = ",".join(about["sinks"])
        yield {**about, "sink": sinks, "transaction_id": about["id"], "event": {"event_type": "request"}}
    for about in RefusedRequests(directory / "refused").read():
        yield {**about, "transaction_id": about["id"], "event": {"event_type": "request"}}
