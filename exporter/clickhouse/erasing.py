"""Events of one person or company taken out of a store: counted, deleted, and counted again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from exporter.clickhouse.engine.lanes import quote
from exporter.clickhouse.keeper import StoreKeeper
from exporter.clickhouse.reader import StoreError
from exporter.clickhouse.schema import Place

_POLL_S: Final = 0.5
_PATIENCE_S: Final = 3600.0  # for the engine to write its parts anew
_TRIES: Final = 3


class Whose(NamedTuple):
    """The terms of an erasure, as they are asked of a store. The fields are those of `exporter.erasures.Erasure`."""

    users: Sequence[str]
    companies: Sequence[str]
    tenant: str | None
    before_unix_ns: int
    came_before_unix_ns: int

    def where(self) -> str:
        """The condition of SQL on `api_events`."""
        owners = [f"user_id IN ({_list(self.users)})"] if self.users else []
        owners += [f"company_id IN ({_list(self.companies)})"] if self.companies else []
        times = [f"start_unix_ns < {self.before_unix_ns}"]
        if self.came_before_unix_ns:
            times.append(f"received_at < fromUnixTimestamp64Milli({self.came_before_unix_ns // 10**6}, 'UTC')")
        tenant = f" AND tenant = {quote(self.tenant)}" if self.tenant is not None else ""
        return f"({' OR '.join(owners)}) AND ({' OR '.join(times)}){tenant}"

    def where_counted(self) -> str:
        """The condition on `api_minutes`, which knows companies; "" where it has nothing of this."""
        if not self.companies:
            return ""
        tenant = f" AND tenant = {quote(self.tenant)}" if self.tenant is not None else ""
        before = f"minute < fromUnixTimestamp64Nano({self.before_unix_ns}, 'UTC')"
        return f"company_id IN ({_list(self.companies)}) AND {before}{tenant}"


def count(store: StoreKeeper, table: str, where: str) -> int:
    """Rows of a table of ours that are still there, 0 where there is no such table. Raises StoreError."""
    database, _, name = table.partition(".")
    if not store.rows(f"SELECT 1 FROM system.tables WHERE database = '{database}' AND name = '{name}'"):  # noqa: S608
        return 0
    return int(store.rows(f"SELECT count() FROM {table} WHERE {where}")[0][0])  # noqa: S608


def delete(store: StoreKeeper, place: Place, table: str, stored: str, where: str) -> int:
    """How many rows were deleted; the engine lets go of its replaced files minutes later.

    The engine writes parts anew beside its other work; so the statement returns at once and is waited for here.
    Raises StoreError.
    """
    first = left = count(store, table, where)
    for _ in range(_TRIES):
        if not left:
            return first
        store.command(f"ALTER TABLE {stored}{place.on_cluster} DELETE WHERE {where}")
        _wait(store, stored)
        left = count(store, table, where)
    raise StoreError(f"{left} of {first} rows of {table} are still there")


def _wait(store: StoreKeeper, stored: str) -> None:
    database, _, name = stored.partition(".")
    question = (
        "SELECT countIf(NOT is_done), anyIf(latest_fail_reason, latest_fail_reason != '') FROM system.mutations "  # noqa: S608
        f"WHERE database = '{database}' AND table = '{name}' AND NOT is_done"
    )
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        ((running, reason),) = store.rows(question)
        if running == "0":
            return
        if time.monotonic() > deadline:
            raise StoreError(f"the deletion from {stored} is not done: {reason[:200] or 'it still runs'}")
        time.sleep(_POLL_S)


def _list(values: Sequence[str]) -> str:
    return ", ".join(map(quote, values))
