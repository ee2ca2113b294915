"""A connection that may change the store: for commands that copy into it, erase from it, let go of days.

The embedded store is changed through the running bridge's engine, one statement between its inserts, or through an
engine of our own when no bridge runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from urllib3 import Timeout

from exporter.clickhouse.engine.endpoint import WRITER, Endpoint
from exporter.clickhouse.engine.lanes import quote
from exporter.clickhouse.errors import CLIENT_ERRORS
from exporter.clickhouse.minutes_table import prepare_minutes
from exporter.clickhouse.reader import StoreError, StoreReader, connected
from exporter.clickhouse.schema import Place, prepare
from exporter.clickhouse.sink import CLUSTER_SETTINGS, INSERT_SETTINGS
from exporter.errors import SinkError

_WORK_S: Final = 3600  # for one statement: a deletion reads a whole day or more
_LONG: Final = {"max_query_size": 1 << 25}  # bytes; questions that name ids exceed the default of 256 KiB
_TEXT_SETTINGS: Final = {"date_time_input_format": "best_effort"}  # times as ISO 8601
# One part, however many rows there are.
_ONE_BLOCK: Final = {
    "input_format_parallel_parsing": 0,
    "max_insert_block_size": 1 << 40,
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 1 << 40,
}


class StoreKeeper(StoreReader):
    """As a StoreReader, and statements that change something."""

    user = WRITER

    def prepare(self, place: Place) -> None:
        """Make the table where it is missing, bring it up to date where it is older. Raises StoreError."""
        try:
            prepare(self, place)
        except SinkError as error:
            raise StoreError(str(error)) from error

    def prepare_minutes(self, place: Place, retention_days: int) -> None:
        """As `prepare`, the table of counts."""
        try:
            prepare_minutes(self, place, retention_days)
        except SinkError as error:
            raise StoreError(str(error)) from error

    def command(self, sql: str) -> object:
        """Run a statement that has no rows. Raises StoreError."""
        try:
            return self._connected.command(sql, settings=dict(_LONG))
        except CLIENT_ERRORS as error:
            raise StoreError(self._said(error)) from error

    def insert_text(self, place: Place, columns: Sequence[str], rows: bytes, token: str) -> None:
        """Insert rows of TabSeparated; repeated with the same token, it does nothing more. Raises StoreError."""
        settings: dict[str, Any] = {
            **INSERT_SETTINGS,
            **(CLUSTER_SETTINGS if place.cluster else {}),
            **_TEXT_SETTINGS,
            "insert_deduplication_token": token,
        }
        try:
            self._connected.raw_insert(place.table, columns, rows, settings=settings, fmt="TabSeparated")
        except CLIENT_ERRORS as error:
            raise StoreError(self._said(error)) from error

    def insert_whole(self, table: str, columns: Sequence[str], rows: bytes, token: str) -> None:
        """Insert rows of TabSeparated into one partition of a table: all of them, or none. Raises StoreError."""
        settings = {**INSERT_SETTINGS, **_TEXT_SETTINGS, **_ONE_BLOCK, "insert_deduplication_token": token}
        try:
            self._connected.raw_insert(table, columns, rows, settings=settings, fmt="TabSeparated")
        except CLIENT_ERRORS as error:
            raise StoreError(self._said(error)) from error

    def present(self, place: Place, ids: Sequence[str], within: str) -> set[str]:
        """Those of these event ids that are stored, where `within` (SQL) holds. Raises StoreError."""
        # As a subquery the ids become a set once, and not anew for each block that is read.
        named = f"(SELECT arrayJoin([{', '.join(map(quote, ids))}]))"
        sql = f"SELECT DISTINCT event_id FROM {place.table} WHERE {within} AND event_id IN {named}"  # noqa: S608
        try:
            return {str(row[0]) for row in self._connected.query(sql, settings=dict(_LONG)).result_rows}
        except CLIENT_ERRORS as error:
            raise StoreError(self._said(error)) from error

    def _connect(self, endpoint: Endpoint) -> Client:
        client: Any = connected(endpoint)  # of no database: there may be none yet
        client.timeout = Timeout(connect=client.timeout.connect_timeout, read=_WORK_S)
        return client  # type: ignore[no-any-return]
