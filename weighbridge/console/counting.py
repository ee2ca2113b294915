"""Calls of a time, counted: figures over time and by column, of the counts by minute where they know, else of events.

The counts by minute are exact and quick; which of the two can answer is asked once for all that a page counts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from exporter.clickhouse import looks
from exporter.clickhouse.looks import Scope, Span
from exporter.clickhouse.queries import Condition, Statement
from exporter.clickhouse.queries.minutes import Alternative, choose
from weighbridge.console.answers import Figures, Group, Point
from weighbridge.console.estimates import NOTHING, by_time, figures
from weighbridge.console.gathering import seen
from weighbridge.console.lines import known
from weighbridge.console.store import Unanswered

Rows = list[dict[str, Any]]


class Over(NamedTuple):
    """Calls of a time, of the time before, which is as long, and by time."""

    total: Figures
    before: Figures
    points: list[Point]


class Counting:
    """What is counted of the calls of a time that meet some conditions; each question is asked once."""

    def __init__(
        self,
        ask: Callable[[Statement], Awaitable[Rows]],
        scope: Scope,
        sample_unit: str,
        span: Span,
        step_s: int,
        where: Sequence[Condition] = (),
    ) -> None:
        """sample_unit: of the settings: what sampling keeps or drops as a whole."""
        self._ask = ask
        self._scope = scope
        self._sample_unit = sample_unit
        self._span = span
        self._before = span.before().since
        self._step_s = step_s
        self._where = where
        self._asked: dict[str, asyncio.Task[Rows]] = {}

    async def over_time(self) -> Over:
        """Points without calls are there, too: no false lines."""
        span, step_s = self._span, self._step_s
        counted = await self._counted(looks.counted_series(self._scope, span, step_s, self._where, self._before))
        if counted is None:
            found, halves = await self._over_time_of_events()
        else:
            found = {int(row["time"]): figures(row) for row in counted}
            halves = found.get(0, NOTHING), found.get(1, NOTHING)
        first = int(span.since.timestamp()) // step_s * step_s
        points = [
            Point(time=datetime.fromtimestamp(at, UTC), **_fields(found.get(at, NOTHING)))
            for at in range(first, math.ceil(span.until.timestamp()), step_s)
        ]
        return Over(*halves, points)

    async def _over_time_of_events(self) -> tuple[dict[int, Figures], tuple[Figures, Figures]]:
        span, step_s, where = self._span, self._step_s, self._where
        asked = [looks.overview(self._scope, span, step_s, where, self._before)]
        if self._sample_unit != "trace":
            asked.append(looks.doubt(self._scope, span, step_s, self._sample_unit, where))
        rows, *doubts = await asyncio.gather(*map(self._ask, asked))
        variances = by_time(doubts[0]) if doubts and doubts[0] else {}
        found: dict[int, Figures] = {}
        halves = {"0": NOTHING, "1": NOTHING}
        for row in rows:
            if row["by"] == "time":
                found[int(row["value"])] = figures(row, variances.get(int(row["value"])))
            else:
                halves[row["value"]] = figures(row, variances.get(0) if row["value"] == "1" else None)
        return found, (halves["1"], halves["0"])

    async def groups(self, by: Sequence[str], limit: int) -> dict[str, list[Group]]:
        """By each of some columns, beside the time before: most failed first, so many values."""
        counted = [one for one in by if looks.is_counted(one)]
        if looks.counted_groups(self._scope, self._span, counted, self._where, self._before, limit) is None:
            counted = []
        others = [one for one in by if one not in counted]
        of_counts, of_events = await asyncio.gather(
            self._groups_of_counts(counted, limit) if counted else _nothing(),
            self._groups_of_events(others, limit) if others else _nothing(),
        )
        if of_counts is None:
            of_counts = await self._groups_of_events(counted, limit)
        found: dict[str, list[Group]] = {name: [] for name in by}
        for row in [*of_counts, *(of_events or ())]:
            found[row["by"]].append(_group(row))
        return found

    async def _groups_of_counts(self, by: Sequence[str], limit: int) -> Rows | None:
        scope, span, where = self._scope, self._span, self._where
        rows = await self._counted(looks.counted_groups(scope, span, by, where, self._before, limit))
        if rows and any(row["failed_now"] for row in rows):
            last = await self._ask(looks.last_failed(scope, span, by, where, limit))
            traces = {(row["by"], row["value"]): row["trace"] for row in last}
            rows = [{**row, "last_trace": traces.get((row["by"], row["value"]), "")} for row in rows]
        return rows

    async def _groups_of_events(self, by: Sequence[str], limit: int) -> Rows:
        return await self._ask(looks.groups(self._scope, self._span, by, self._where, self._before, limit))

    async def beside(self, own: Condition) -> Rows:
        """The calls that meet a condition, beside all others."""
        if own.column == "company_id" and own.operator == "=":
            found = await self._counted(looks.counted_beside(self._scope, self._span, own.value))
            if found is not None:
                return found
        return await self._ask(looks.beside_others(self._scope, self._span, [own]))

    async def _counted(self, asked: Alternative | None) -> Rows | None:
        """What the counts by minute answer; None where they cannot. Raises Unanswered."""
        if asked is None:
            return None
        asking = choose(asked)
        try:
            statement = next(asking)
            while True:
                statement = asking.send(await self._once(statement))
        except StopIteration as done:
            return None if isinstance(done.value, str) else await self._ask(done.value.statement)
        except Unanswered as error:
            if error.limit:
                raise  # events would take longer
            return None  # a store that counts nothing by minute

    async def _once(self, statement: Statement) -> Rows:
        """What several of these questions ask is asked once."""
        key = f"{statement.sql} {sorted(statement.parameters.items(), key=repr)}"
        if key not in self._asked:
            self._asked[key] = asyncio.ensure_future(self._ask(statement))
            self._asked[key].add_done_callback(seen)
        return await asyncio.shield(self._asked[key])


async def _nothing() -> Rows:
    return []


def _fields(of: Figures) -> dict[str, Any]:
    return {name: getattr(of, name) for name in Figures.model_fields}


def _group(row: Mapping[str, Any]) -> Group:
    return Group(
        value=row["value"],
        calls=row["calls_now"],
        failed=row["failed_now"],
        calls_before=row["calls_before"],
        failed_before=row["failed_before"],
        last_seen=known(row["last_seen"]),
        last_failed_trace=row["last_trace"],
        estimated=bool(row["sampled_now"]),
    )
