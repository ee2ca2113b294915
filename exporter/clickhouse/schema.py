"""The store's table and its view of calls: made when missing, brought up to date when older, never touched when newer.

The columns are those of schema.sql. The version is the table's comment, `weighbridge schema <n>`.
"""

from __future__ import annotations

import functools
import logging
import re
from importlib.resources import files
from typing import NamedTuple, Protocol

from exporter.clickhouse.settings import Settings
from exporter.errors import SinkError

log = logging.getLogger(__name__)

VERSION = 1
TABLE = "api_events"
CALLS = "api_calls"
_COMMENT = "weighbridge schema "
COLUMN = re.compile(r"^ {4}(?!--)(\w+)\s+(.+?),(?:\s+--.*)?$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_INDEXES = """
    INDEX idx_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_user  user_id  TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_batch batch_id TYPE bloom_filter(0.001) GRANULARITY 1"""
# Each of the fsync settings was proved necessary by power-cut simulation (spec/store.md §1.6). A store with a damaged
# part must still open: the batch is written again.
DURABLE = (
    "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, "
    "max_suspicious_broken_parts = 1000000, max_suspicious_broken_parts_bytes = 1000000000000"
)
# Parts up to this size are one file instead of two for each of 60 columns: a tenth less CPU per row written. Larger
# ones, which hold nearly all rows, keep a file for each column, from which one column alone is read in half the time.
_FEW_FILES = f"min_bytes_for_wide_part = {64 << 20}"
PLAIN_WINDOW = "non_replicated_deduplication_window = 10000"  # the default, 0, ignores tokens
# The default of an hour would let a retry after a longer outage write twice.
REPLICATED_WINDOW = "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"


class Place(NamedTuple):
    """Where the table lives. `cluster` is "" for the embedded engine and for a single server."""

    database: str
    cluster: str
    retention_days: int

    @classmethod
    def of(cls, settings: Settings) -> Place:
        """Where a sink with these settings has its table."""
        return cls(settings.database, settings.cluster, settings.retention_days)

    @property
    def table(self) -> str:
        """The name that is read and inserted into."""
        return f"{self.database}.{TABLE}"

    @property
    def stored(self) -> str:
        """The name of the table that holds the data."""
        return f"{self.table}_local" if self.cluster else self.table

    @property
    def calls(self) -> str:
        """The name of the view of API calls."""
        return f"{self.database}.{CALLS}"

    @property
    def on_cluster(self) -> str:
        return f" ON CLUSTER '{self.cluster}'" if self.cluster else ""


class Runner(Protocol):
    def command(self, sql: str) -> object: ...
    def rows(self, sql: str) -> list[tuple[str, ...]]: ...


def columns() -> dict[str, str]:
    """Type, default and codec of each column, in the table's order."""
    return dict(COLUMN.findall(files("exporter.clickhouse").joinpath("schema.sql").read_text(encoding="utf-8")))


def insert_types() -> dict[str, str]:
    """ClickHouse type of every column that is stored, in the table's order."""
    stored = {name: text for name, text in columns().items() if not re.search(" (?:ALIAS|MATERIALIZED) ", text)}
    return {name: re.split(r" (?:CODEC|DEFAULT)\b", text)[0] for name, text in stored.items()}


def create_statements(place: Place) -> list[str]:
    """The statements that make the database and the table, harmless where they exist."""
    for name in filter(None, (place.database, place.cluster)):
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a plain name for a database or cluster: {name!r}")
    lines = ",".join(f"\n    {name} {definition}" for name, definition in columns().items())
    engine, window = "MergeTree", PLAIN_WINDOW
    if place.cluster:
        engine = "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')"
        window = REPLICATED_WINDOW
    statements = [
        f"CREATE DATABASE IF NOT EXISTS {place.database}{place.on_cluster} ENGINE = Atomic",
        f"CREATE TABLE IF NOT EXISTS {place.stored}{place.on_cluster}\n({lines},{_INDEXES}\n)\n"
        f"ENGINE = {engine}\n"
        "PARTITION BY toDate(event_time)\n"
        "ORDER BY (event_type, toStartOfHour(event_time), company_id, user_id, event_time)\n"
        f"TTL {_ttl(place.retention_days)}\n"
        f"SETTINGS ttl_only_drop_parts = 1, {window}, {_FEW_FILES}, {DURABLE}\n"
        f"COMMENT '{_COMMENT}{VERSION}'",
    ]
    if place.cluster:
        # Rows of one trace stay together; rows without one must not all land on the shard of ''.
        statements.append(
            f"CREATE TABLE IF NOT EXISTS {place.table}{place.on_cluster} AS {place.stored} "
            f"ENGINE = Distributed('{place.cluster}', '{place.database}', '{TABLE}_local', "
            "cityHash64(if(trace_id = '', event_id, trace_id)))"
        )
    return statements


def view_statement(place: Place) -> str:
    """The statement that makes the view `api_calls` of the table as it is now."""
    return f"CREATE OR REPLACE VIEW {place.calls}{place.on_cluster} AS\n{calls_of(place.table)}"


@functools.cache
def calls_of(table: str, only: str = "") -> str:
    """The SELECT of `api_calls`, with its parameters; only: conditions beginning with AND (api_calls.sql)."""
    text = files("exporter.clickhouse").joinpath("api_calls.sql").read_text(encoding="utf-8")
    owners = {"developer_id": "user_id", "organization_id": "company_id"}
    aliases = [
        f"{owners.get(name, f'api_call.{name}')} AS {name}"
        for name, definition in columns().items()
        if " ALIAS " in definition
    ]
    for mark, value in {"$table": table, "$only": only, "$aliases": ", ".join(aliases)}.items():
        text = text.replace(mark, value)
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


def prepare(runner: Runner, place: Place) -> None:
    """Make the table or bring it up to date; every ALTER is logged before it runs.

    Raises SinkError for a table that is not ours or was made by a newer version.
    """
    for statement in create_statements(place):
        runner.command(statement)
    name = place.stored.partition(".")[2]
    where = f"database = '{place.database}' AND name = '{name}'"
    question = f"SELECT comment, create_table_query FROM system.tables WHERE {where}"  # noqa: S608 - both are plain names
    comment, definition = runner.rows(question)[0]
    if not re.fullmatch(_COMMENT + r"\d+", comment):
        raise SinkError(f"{place.stored} exists and was not made by weighbridge (its comment is {comment[:60]!r})")
    version = int(comment.removeprefix(_COMMENT))
    if version > VERSION:
        raise SinkError(
            f"{place.stored} has schema {version}, this program knows up to {VERSION}: it is too old for it"
        )
    for statement in _alterations(runner, place, name, definition, version):
        log.warning("changing the table: %s", statement)
        runner.command(statement)
    runner.command(view_statement(place))


def _alterations(runner: Runner, place: Place, name: str, definition: str, version: int) -> list[str]:
    here = f"database = '{place.database}' AND table = '{name}'"
    present = {row[0] for row in runner.rows(f"SELECT name FROM system.columns WHERE {here}")}  # noqa: S608
    statements: list[str] = []
    previous = ""
    for column, kind in columns().items():
        if column not in present:
            after = f" AFTER {previous}" if previous else " FIRST"
            tables = (place.stored, place.table) if place.cluster else (place.stored,)
            statements += [
                f"ALTER TABLE {table}{place.on_cluster} ADD COLUMN IF NOT EXISTS {column} {kind}{after}"
                for table in tables
            ]
            if " MATERIALIZED " in kind:  # else it is computed anew for each question that reads it
                statements.append(f"ALTER TABLE {place.stored}{place.on_cluster} MATERIALIZE COLUMN {column}")
        previous = column
    kept = re.search(r"TTL toDateTime\(event_time\) \+ toIntervalDay\((\d+)\)", definition)
    if kept is None or int(kept[1]) != place.retention_days:
        statements.append(f"ALTER TABLE {place.stored}{place.on_cluster} MODIFY TTL {_ttl(place.retention_days)}")
    if version < VERSION:
        statements.append(f"ALTER TABLE {place.stored}{place.on_cluster} MODIFY COMMENT '{_COMMENT}{VERSION}'")
    return statements


def _ttl(days: int) -> str:
    return f"toDateTime(event_time) + toIntervalDay({days})"
