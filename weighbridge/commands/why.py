"""`weighbridge why ID`: what is known of an event, a trace or a request, from everything that the bridge keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from exporter.clickhouse.reader import StoreReader
from exporter.clickhouse.settings import Settings as StoreSettings
from exporter.deadletter import DeadLetters
from exporter.refused import RefusedRequests
from mapping.masks.mask import QUERY_MASK
from weighbridge import unmappable
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.plain_text import visible
from weighbridge.commands.store import open_one, store_settings
from weighbridge.commands.why_masks import said_of_masks
from weighbridge.commands.why_spool import Asked, look_in_spool
from weighbridge.partitions import folders
from weighbridge.settings import Settings

MOST_ROWS: Final = 100
NOTHING: Final = (
    "Nothing is known of it. It never came; or it was skipped or sampled out and its request has been delivered since, "
    "of which only counts are kept (weighbridge ledger --minutes 60); or it is older than what is kept."
)
_RANDOM_BITS: Final = 56  # of a trace id, its last 14 digits
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MASKED: Final = "_masked"  # behind the name of a column whose text may hold a mask
# Whole bodies of many rows are not fetched for a word that is not in them.
_MAY_BE_MASKED: Final = ", ".join(
    f"if(position({text} AS {name}_text, '{QUERY_MASK}') > 0, {name}_text, '') AS {name}{_MASKED}"
    for name, text in (
        *(
            (name, name)
            for name in ("uri", "request_body", "response_body", "body", "links", "name", "action", "resource")
        ),
        *((name, f"toJSONString({name})") for name in ("request_headers", "response_headers", "metadata")),
    )
)
_HEX: Final = re.compile(r"[0-9a-f]{32}")


def run_why(settings: Settings, text: str) -> None:
    """Prints what is known. Raises CommandError for what is no id."""
    asked = parse_id(text)
    found = False
    for heading, lines in _sources(settings, asked):
        found |= bool(lines)
        click.echo(f"{heading}:" + ("" if lines else " nothing"))
        for line in lines:
            click.echo(f"  {visible(line)}")
    if asked.trace_id:
        click.echo(_randomness(asked.trace_id))
    if not found:
        click.echo(NOTHING)


def parse_id(text: str) -> Asked:
    """An event id, a trace id (also in a traceparent), or a digest; 32 hex digits may be either of the latter."""
    asked = text.strip().lower()
    if inside := _TRACEPARENT.fullmatch(asked):
        return Asked(trace_id=inside[1])
    if _UUID.fullmatch(asked):
        return Asked(event_id=asked, trace_id=asked.replace("-", ""))
    if _HEX.fullmatch(asked):
        return Asked(trace_id=asked, digest=bytes.fromhex(asked))
    raise CommandError(f"{text!r} is no id: an event id (a UUID), a trace id or a request's digest (32 hex digits)")


def _sources(settings: Settings, asked: Asked) -> Iterator[tuple[str, list[str]]]:
    for sink in settings.exporter.sinks:
        if isinstance(sink, StoreSettings):
            yield f"store {sink.name}", _in_store(settings, sink, asked)
    for folder in folders(Path(settings.spool.directory)):
        where = "spool" if folder == Path(settings.spool.directory) else f"spool, {folder.name}"
        try:
            look = look_in_spool(settings, folder, asked)
        except OSError as error:
            yield where, [f"cannot be read: {error.strerror}"]
            continue
        rest = [] if look.complete else ["there is more in the spool than could be looked at in a minute"]
        yield where, [*look.lines, *rest]
        yield f"{where}: dead letters", list(_dead_letters(folder, asked))
        yield f"{where}: kept requests", list(_kept(folder))


def _in_store(settings: Settings, sink: StoreSettings, asked: Asked) -> list[str]:
    path = sink.engine_path
    where = store_settings(settings) if path is not None and not path.is_absolute() else sink
    try:
        with open_one(settings, where) as reader:
            return [_row(row) for row in _rows(reader, asked)]
    except (CommandError, CommandFailed) as error:
        return [f"cannot be asked: {error.message}"]


def _rows(reader: StoreReader, asked: Asked) -> list[dict[str, Any]]:
    condition = " OR ".join(
        [f"{column} = {{{column}:String}}" for column in ("trace_id", "event_id") if getattr(asked, column)]
    )
    return reader.query(
        "SELECT event_type, event_time, received_at, event_id, tenant, service, batch_id, weight, sampling_rule,"  # noqa: S608
        f" sampling_reason, sampling_p, flags, source, {_MAY_BE_MASKED} FROM api_events"
        f" WHERE {condition} ORDER BY event_time LIMIT {MOST_ROWS}",
        {"trace_id": asked.trace_id, "event_id": asked.event_id},
    ).dicts()


def _row(row: Mapping[str, Any]) -> str:
    of = f" of tenant {row['tenant']}" if row["tenant"] else ""
    flags = f", {', '.join(row['flags'])}" if row["flags"] else ""
    return (
        f"{row['event_type']} {row['event_id']}{of} from {row['service'] or 'a service without a name'} "
        f"(a {row['source']}), at {row['event_time']:%Y-%m-%dT%H:%M:%S.%fZ}, received "
        f"{row['received_at']:%Y-%m-%dT%H:%M:%SZ}, in batch {row['batch_id']}; kept by rule {row['sampling_rule']} "
        f"({row['sampling_reason']}, p = {row['sampling_p']:g}), weight {row['weight']}{flags}"
        f"{said_of_masks(_texts(row))}"
    )


def _texts(row: Mapping[str, Any]) -> dict[str, object]:
    return {name.removesuffix(_MASKED): value for name, value in row.items() if name.endswith(_MASKED)}


def _dead_letters(folder: Path, asked: Asked) -> Iterator[str]:
    for entry in DeadLetters(folder / "deadletter.jsonl").read():
        event = entry["event"]
        if entry["transaction_id"] == asked.event_id or (asked.trace_id and event.get("trace_id") == asked.trace_id):
            kind = event.get("event_type", "?")
            refused = f"was refused by sink {entry['sink']}: {entry['reason']}"
            yield f"{kind} {entry['transaction_id']} {refused}{said_of_masks(event)}"


def _kept(folder: Path) -> Iterator[str]:
    """Requests that wait for a look: what is in them is not told apart here."""
    waiting = sum(1 for _ in unmappable.read(folder / "unmappable")) + sum(
        1 for _ in RefusedRequests(folder / "refused").read()
    )
    if waiting:
        yield f"{waiting} that could not be mapped or were refused; `weighbridge map FILE` shows what is in one"


def _randomness(trace_id: str) -> str:
    """From which rate on a trace of this id is kept, where its id decides."""
    kept_from = 1 - int(trace_id[-14:], 16) / (1 << _RANDOM_BITS)
    return f"sampling: by its id this trace is kept wherever the rate is at least {100 * kept_from:.4g} %"
