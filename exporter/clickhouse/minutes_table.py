"""The table `api_minutes` of counts (api_minutes.sql): made when missing, brought up to date when older.

Its comment says since when the store counts: `weighbridge minutes <version>, since <Unix seconds>`.
"""

from __future__ import annotations

import logging
import re
import time
from importlib.resources import files
from typing import Final, Protocol

from exporter.clickhouse.schema import COLUMN, DURABLE, PLAIN_WINDOW, REPLICATED_WINDOW, Place, Runner
from exporter.errors import SinkError

log = logging.getLogger(__name__)

VERSION: Final = 1
TABLE: Final = "api_minutes"
COMMENT: Final = re.compile(r"weighbridge minutes (\d+), since (\d+)")
# Rows older than this are added up by hours: questions about last week's minutes are rare, and most rows go.
MINUTES_DAYS: Final = 8
# A row that says that its batch is counted is asked for by the process that repeats the batch: after a kill, so long.
MARKER_DAYS: Final = 31

# Keys by which rows are added up. The hour first, so that rows of an hour can be added up where they are.
_KEYS: Final = (
    *("company_id", "service", "method", "endpoint", "status_code", "error_type", "direction", "hop", "plan"),
    *("application_id", "api_version", "environment", "region", "tenant", "unseen", "estimated", "folded", "batch_id"),
)
_HOURLY: Final = ", ".join(("toStartOfHour(minute)", *_KEYS))
_SUMS: Final = ("records", "kept", "calls", "duration_sum_ms")


class Reads(Protocol):
    def rows(self, sql: str) -> list[tuple[str, ...]]: ...


def minutes_table(place: Place) -> str:
    """The name that is read and inserted into."""
    return f"{place.database}.{TABLE}"


def columns() -> dict[str, str]:
    """Type, default and codec of each column, in the table's order."""
    return dict(COLUMN.findall(files("exporter.clickhouse").joinpath("api_minutes.sql").read_text(encoding="utf-8")))


def create_statements(place: Place, retention_days: int, since_unix_s: int) -> list[str]:
    """The statements that make the table, harmless where it exists. since: from then on what is stored is counted."""
    lines = ",".join(f"\n    {name} {definition}" for name, definition in columns().items())
    engine, window = "AggregatingMergeTree", PLAIN_WINDOW
    if place.cluster:
        engine = "ReplicatedAggregatingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
        window = REPLICATED_WINDOW
    stored = stored_minutes(place)
    statements = [
        f"CREATE TABLE IF NOT EXISTS {stored}{place.on_cluster}\n"
        f"({lines},\n    INDEX idx_batch batch_id TYPE bloom_filter(0.001) GRANULARITY 1\n)\n"
        f"ENGINE = {engine}\n"
        "PARTITION BY toYYYYMM(minute)\n"
        f"PRIMARY KEY ({_HOURLY})\n"
        f"ORDER BY ({_HOURLY}, minute)\n"
        f"TTL {_ttl(retention_days)}\n"
        f"SETTINGS {window}, {DURABLE}\n"
        f"COMMENT 'weighbridge minutes {VERSION}, since {since_unix_s}'"
    ]
    if place.cluster:
        statements.append(
            f"CREATE TABLE IF NOT EXISTS {minutes_table(place)}{place.on_cluster} AS {stored} "
            f"ENGINE = Distributed('{place.cluster}', '{place.database}', '{TABLE}_local', "
            "cityHash64(company_id, service, endpoint))"
        )
    return statements


def prepare_minutes(runner: Runner, place: Place, retention_days: int) -> None:
    """Make the table or bring it up to date; every ALTER is logged before it runs.

    Raises SinkError for a table that is not ours or was made by a newer version.
    """
    stored = stored_minutes(place)
    name = stored.partition(".")[2]
    where = f"database = '{place.database}' AND name = '{name}'"
    question = f"SELECT comment, create_table_query FROM system.tables WHERE {where}"  # noqa: S608 - both are plain names
    since_unix_s = 0 if runner.rows(question) else _counts_since(runner, place)
    for statement in create_statements(place, retention_days, since_unix_s):
        runner.command(statement)
    comment, definition = runner.rows(question)[0]
    found = COMMENT.fullmatch(comment)
    if found is None:
        raise SinkError(f"{stored} exists and was not made by weighbridge (its comment is {comment[:60]!r})")
    if int(found[1]) > VERSION:
        raise SinkError(f"{stored} has version {found[1]}, this program knows up to {VERSION}: it is too old for it")
    kept = re.search(r"TTL minute \+ toIntervalDay\((\d+)\)", definition)
    if kept is None or int(kept[1]) != retention_days:
        statement = f"ALTER TABLE {stored}{place.on_cluster} MODIFY TTL {_ttl(retention_days)}"
        log.warning("changing the table: %s", statement)
        runner.command(statement)


def counted_since(reader: Reads, place: Place) -> int | None:
    """Since when the store counts, in Unix seconds; None where it does not."""
    stored = stored_minutes(place)
    where = f"database = '{place.database}' AND name = '{stored.partition('.')[2]}'"
    for (comment,) in reader.rows(f"SELECT comment FROM system.tables WHERE {where}"):  # noqa: S608 - plain names
        if found := COMMENT.fullmatch(comment):
            return int(found[2])
    return None


def count_since(runner: Runner, place: Place, since_unix_s: int) -> None:
    """Say that the store has the counts of all that came since then."""
    said = f"weighbridge minutes {VERSION}, since {since_unix_s}"
    runner.command(f"ALTER TABLE {stored_minutes(place)}{place.on_cluster} MODIFY COMMENT '{said}'")


def count_anew(runner: Runner, place: Place, newest_unix_s: int) -> None:
    """Where the store counts: from now on, because events of up to then are about to come that it has not counted.

    Of the time before, questions go to the events.
    """
    since = counted_since(runner, place)
    if since is not None and since < newest_unix_s:
        count_since(runner, place, int(time.time()))


def _counts_since(runner: Runner, place: Place) -> int:
    """Since when what is stored is counted by a table that is made now: always, in a store that has nothing yet."""
    ((events,),) = runner.rows(f"SELECT count() FROM {place.table}")  # noqa: S608 - a plain name
    return int(time.time()) if int(events) else 0


def stored_minutes(place: Place) -> str:
    """The name of the table that holds the data."""
    return f"{minutes_table(place)}_local" if place.cluster else minutes_table(place)


def _ttl(retention_days: int) -> str:
    sums = ", ".join(f"{name} = sum({name})" for name in _SUMS)
    return (
        f"minute + toIntervalDay({retention_days}), "
        f"written_at + toIntervalDay({MARKER_DAYS}) DELETE WHERE batch_id != 0, "
        f"minute + toIntervalDay({MINUTES_DAYS}) GROUP BY {_HOURLY} SET minute = min(toStartOfHour(minute)), {sums}, "
        "durations = sumMap(durations), written_at = max(written_at)"
    )
