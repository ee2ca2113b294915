"""Compares what producers were told with what the store holds, by SQL: `python -m faults.judge --help`.

Missing: acknowledged and not stored. Twice: stored more than once. Altered: a column is not what the record's number
says. Invented: never sent by these producers. A record that was sent and not acknowledged may be there or not.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from faults.plan import Row, rows
from faults.producer import Log, read_log

SHOWN = 5
ROWS_AT_ONCE = 500_000
COLUMNS = ", ".join(Row._fields)


class JudgeFailed(Exception):
    """The store could not be asked."""


@dataclass
class Verdict:
    """Span ids of the first offenders, and how many there are."""

    acknowledged: int = 0
    stored: int = 0
    missing: list[str] = field(default_factory=list)
    missing_between: tuple[int, int] | None = None  # first and last of their start times, unix ns
    twice: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)  # "span id: column is X, not Y"
    invented: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.missing or self.twice or self.altered or self.invented)

    def __str__(self) -> str:
        lines = [
            f"{self.acknowledged} records acknowledged, {self.stored} stored; missing {len(self.missing)}, "
            f"twice {len(self.twice)}, altered {len(self.altered)}, invented {len(self.invented)}"
        ]
        for what in ("missing", "twice", "altered", "invented"):
            lines += [f"  {what}: {offender}" for offender in getattr(self, what)[:SHOWN]]
        if self.missing_between:
            first, last = (datetime.fromtimestamp(ns / 1e9, UTC).isoformat() for ns in self.missing_between)
            lines.append(f"  missing ones began between {first} and {last}")
        return "\n".join(lines)


class Store:
    """A ClickHouse HTTP endpoint."""

    def __init__(
        self, url: str, user: str = "default", password: str = "", database: str = "", table: str = "api_events"
    ) -> None:
        self._url = url
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}"}
        self._table = f"{database}.{table}" if database else table

    async def rows(self) -> AsyncIterator[Row]:
        """Every row of the table, streamed. Raises JudgeFailed.

        Of millions in parts: the embedded engine makes an answer whole, in memory.
        """
        parts = await self.count() // ROWS_AT_ONCE + 1
        for part in range(parts):
            where = f"cityHash64(span_id) % {parts} = {part}"
            asked = f"SELECT {COLUMNS} FROM {self._table} WHERE {where} FORMAT JSONCompactEachRow"  # noqa: S608
            async for values in self.ask(asked):
                named = dict(zip(Row._fields, values, strict=True))
                for column in ("start_unix_ns", "end_unix_ns", "status_code", "weight"):
                    named[column] = int(named[column])  # 64-bit integers may come as text
                yield Row(**named)

    async def count(self) -> int:
        """Rows of the table as a plain count() sees them."""
        async for (number,) in self.ask(f"SELECT count() FROM {self._table} FORMAT JSONCompactEachRow"):  # noqa: S608
            return int(number)
        raise JudgeFailed("count() gave no row")

    async def execute(self, sql: str) -> None:
        """Run a statement that gives no rows. Raises JudgeFailed."""
        async for _ in self.ask(sql):
            pass

    async def ask(self, sql: str) -> AsyncIterator[list[Any]]:
        """Rows of a statement that says FORMAT JSONCompactEachRow. Raises JudgeFailed."""
        timeout = aiohttp.ClientTimeout(total=600)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout, read_bufsize=1 << 20) as session,
                session.post(self._url, data=sql.encode()) as answer,
            ):
                if answer.status != 200:
                    raise JudgeFailed(f"{answer.status}: {(await answer.text())[:500]}")
                async for line in answer.content:
                    yield json.loads(line)
        except aiohttp.ClientError as error:
            raise JudgeFailed(f"{self._url}: {error}") from error


async def judge(store: Store, logs: Iterable[Log], refused: Collection[str] = ()) -> Verdict:
    """What is wrong in the store, if these producers were the only ones. refused: span ids that must not be there."""
    expected: dict[str, tuple[Row, bool]] = {}
    timeless: set[str] = set()
    for log in logs:
        for number in log.sent | log.acknowledged:
            for row in rows(log.plan, number):
                expected[row.span_id] = (row, number in log.acknowledged)
                if log.plan.impossible_times:
                    timeless.add(row.span_id)
    verdict = Verdict(acknowledged=sum(acknowledged for _, acknowledged in expected.values()))
    seen: set[str] = set()
    async for found in store.rows():
        verdict.stored += 1
        if found.span_id not in expected or found.span_id in refused:
            verdict.invented.append(found.span_id)
            continue
        if found.span_id in seen:
            verdict.twice.append(found.span_id)
        seen.add(found.span_id)
        row = expected[found.span_id][0]
        if row.span_id in timeless:
            found = found._replace(start_unix_ns=row.start_unix_ns, end_unix_ns=row.end_unix_ns)
        if found != row:
            verdict.altered.append(f"{found.span_id}: {_difference(found, row)}")
    verdict.missing = [
        span_id
        for span_id, (_, acknowledged) in expected.items()
        if acknowledged and span_id not in seen and span_id not in refused
    ]
    if verdict.missing:
        began = [expected[span_id][0].start_unix_ns for span_id in verdict.missing]
        verdict.missing_between = min(began), max(began)
    return verdict


def _difference(found: Row, row: Row) -> str:
    return ", ".join(
        f"{name} is {is_!r}, not {should!r}"
        for name, is_, should in zip(Row._fields, found, row, strict=True)
        if is_ != should
    )


async def settled(store: Store, logs: Iterable[Log], timeout_s: float, refused: Collection[str] = ()) -> Verdict:
    """The verdict once nothing is missing, or when for so long nothing more has come. The store may be away meanwhile.

    What is missing is looked for twice at least: of millions of rows one look takes longer than the time.
    """
    kept = list(logs)
    deadline = time.monotonic() + timeout_s
    least: int | None = None
    while True:
        try:
            verdict = await judge(store, kept, refused)
            missing = len(verdict.missing)
            if not missing or (least is not None and missing >= least and time.monotonic() > deadline):
                return verdict
            if least is None or missing < least:  # it gets on, however slow the machine is
                least, deadline = missing, time.monotonic() + timeout_s
        except JudgeFailed:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.5)


async def ledger_residue(admin: str, timeout_s: float = 15.0) -> dict[str, int]:
    """Records that the bridge's own ledger does not account for, by sink, tenant or step; empty when it adds up.

    admin: http://host:13133. The bridge says itself what it cannot explain; in the end nothing may be under way either.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        async with aiohttp.ClientSession() as session, session.get(f"{admin.rstrip('/')}/ledger") as answer:
            answer.raise_for_status()
            found = _unaccounted(await answer.json())
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


def _unaccounted(ledger: dict[str, Any]) -> dict[str, int]:
    under_way = {f"{row['sink']} {row['tenant']}": row["waiting_for_span"] + row["in_spool"] for row in ledger["sinks"]}
    return {place: count for place, count in {**under_way, **ledger["residue"]}.items() if count}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--store", required=True, help="http://host:8123, a ClickHouse HTTP endpoint")
    arguments.add_argument("--user", default="default")
    arguments.add_argument("--password", default="")
    arguments.add_argument("--database", default="")
    arguments.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for what is missing")
    arguments.add_argument("logs", type=Path, nargs="+", help="written by faults.producer")
    options = arguments.parse_args()
    store = Store(options.store, options.user, options.password, options.database)
    verdict = asyncio.run(settled(store, [read_log(path) for path in options.logs], options.timeout))
    print(verdict)
    sys.exit(0 if verdict.ok else 1)


if __name__ == "__main__":
    main()
