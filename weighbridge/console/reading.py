"""The read module: every question of the console, once. Pages, JSON, CSV, the API and through it MCP ask these.

A `Reading` belongs to one asker: whatever it asks is asked within their scope. Questions that do not need each other
are asked side by side. Raises `Unanswered` when the store says no or a limit was hit.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from exporter.clickhouse import looks
from exporter.clickhouse.answers import Answer, answer
from exporter.clickhouse.looks import Scope, Span
from exporter.clickhouse.queries import Condition, Statement
from exporter.clickhouse.queries.minutes import ALL_OF_TIME_S, choose
from exporter.clickhouse.reader import StoreReader
from weighbridge.commands.conditions import said_of
from weighbridge.commands.query import plain
from weighbridge.console.answers import (
    Asked,
    Beside,
    Bin,
    Change,
    Customer,
    Endpoint,
    Events,
    EventWhole,
    Facet,
    Failed,
    Figures,
    Group,
    Groups,
    Model,
    Now,
    Point,
    Table,
    Trace,
)
from weighbridge.console.asked import Period
from weighbridge.console.estimates import NOTHING, by_time, figures
from weighbridge.console.lines import aware, failed_of, known, line_of, told_by_trace
from weighbridge.console.steps import trace_of
from weighbridge.console.store import SQL_S, Store, Unanswered

Where = Sequence[tuple[str, Sequence[Condition]]]  # as written, and what it means

FACETS: Final = ("company_id", "user_id", "route", "status_code", "service", "event_type", "family", "severity")
OF_CUSTOMER: Final = (
    "endpoint", "status_code", "error_type", "user_id", "company_id", "user_agent", "application_id", "client_id",
    "api_version", "plan",
)  # fmt: skip
OF_ENDPOINT: Final = ("company_id", "status_code", "error_type", "api_version", "user_agent", "service")
MOST_STEPS: Final = 2000  # of a trace; a page of more is of no use to anybody
MOST_GROUPS: Final = 200  # customers or endpoints on a page
MOST_ROWS: Final = 1000  # of an answer to SQL that are shown; CSV has all of them
_SEEN: Final = timedelta(days=400)  # how far back a customer's first call is looked for
_FIRST_LOOKS: Final = (timedelta(minutes=5), timedelta(hours=1), timedelta(hours=6))
_CHANGES: Final = 6
_LEAST_CHANGE: Final = 5.0  # failed calls by which something must differ to be told as a change


class Overview(NamedTuple):
    total: Figures
    before: Figures  # of the time before, as long
    points: list[Point]
    groups: dict[str, list[Group]]


class Reading:
    def __init__(self, store: Store, scope: Scope, sample_unit: str) -> None:
        """sample_unit: of the settings: what sampling keeps or drops as a whole."""
        self._store = store
        self._scope = scope
        self._sample_unit = sample_unit

    async def _rows(self, statement: Statement) -> list[dict[str, Any]]:
        return (await self._store.ask(statement)).dicts()

    # -- what pages are about ------------------------------------------------------------------------------

    async def now(self, period: Period) -> Now:
        """How it goes: all calls of a time, and what fails."""
        span = period.span
        overview, failures, newest = await asyncio.gather(
            self._overview(span, period.step_s, ("company_id", "endpoint", "status_code"), limit=200),
            self._failures(span, (), 12),
            self.newest(),
        )
        groups, before = overview.groups, overview.before
        return Now(
            asked=_asked(period),
            total=overview.total,
            before=before,
            points=overview.points,
            companies=[group for group in groups["company_id"] if group.failed][:10],
            endpoints=[group for group in groups["endpoint"] if group.failed][:10],
            failures=failures,
            changes=_changes(groups) if before.rows_seen else [],
            newest=newest,
        )

    async def newest(self) -> datetime | None:
        """When the newest event of all was."""
        ahead = datetime.now(UTC) + timedelta(days=1)
        for back in (timedelta(hours=2), timedelta(days=4), _SEEN):
            rows = await self._rows(looks.newest(self._scope, Span(ahead - timedelta(days=1) - back, ahead)))
            if rows and (found := known(rows[0]["newest"])):
                return found
        return None

    async def events(self, period: Period, where: Where, text: str, limit: int) -> Events:
        """The newest events of a time that match, what they have in common, and when they were."""
        scope, span, conditions = self._scope, period.span, _flat(where)
        rows, facets, bins, newest = await asyncio.gather(
            self._newest_rows(span, conditions, text, limit + 1),
            self._rows(looks.facets(scope, span, FACETS, conditions, text)),
            self._rows(looks.histogram(scope, span, period.step_s, conditions, text)),
            self.newest(),
        )
        found: dict[str, list[Facet]] = {name: [] for name in FACETS}
        for row in facets:
            found[row["by"]].append(Facet(value=row["value"], events=row["events"]))
        return Events(
            asked=_asked(period, where, text),
            events=[line_of(row) for row in rows[:limit]],
            more=len(rows) > limit,
            facets=found,
            histogram=_bins(bins),
            said=list(said_of(text for text, _ in where)),
            newest=newest,
        )

    async def _newest_rows(
        self, span: Span, conditions: Sequence[Condition], text: str, limit: int
    ) -> list[dict[str, Any]]:
        """The time is looked through from its end, in pieces that grow, until there are enough."""
        for back in _FIRST_LOOKS:
            if back >= span.length / 2:
                break
            last = Span(span.until - back, span.until)
            rows = await self._rows(looks.events(self._scope, last, conditions, text, limit))
            if len(rows) >= limit:
                return rows
        return await self._rows(looks.events(self._scope, span, conditions, text, limit))

    async def event(self, event_id: str, at: datetime) -> EventWhole | None:
        """One event whole; None when there is none that the asker may see."""
        rows = await self._rows(looks.event(self._scope, event_id, at))
        if not rows:
            return None
        row = {name: plain(value) for name, value in rows[0].items()}
        line = line_of({**rows[0], "attributes": rows[0]["metadata"], "error_message": ""})
        return EventWhole(line=line, event=row)

    async def trace(self, trace_id: str, at: datetime | None) -> Trace | None:
        """Everything of one trace that the asker may see; None when there is nothing. at: some time of it, if known."""
        now = datetime.now(UTC)
        spans = [Span(now - timedelta(hours=2), now + timedelta(hours=1)), Span(now - _SEEN, now + timedelta(days=1))]
        if at is not None:
            spans = [Span(at - timedelta(hours=6), at + timedelta(hours=6)), *spans[1:]]
        for span in spans:
            rows = await self._rows(looks.trace(self._scope, span, trace_id, MOST_STEPS))
            if rows:
                return trace_of(trace_id, rows, MOST_STEPS)
        return None

    async def customer(self, period: Period, kind: str, name: str) -> Customer:
        """One company or user: its calls, what they were, and how they compare."""
        scope, span = self._scope, period.span
        own = [Condition("company_id" if kind == "company" else "user_id", "=", name)]
        ever = Span(datetime.now(UTC) - _SEEN, datetime.now(UTC) + timedelta(days=1))
        about = asyncio.gather(
            self._rows(looks.quota(scope, span, own)),
            self._rows(looks.models(scope, span, own)),
            self._rows(looks.beside_others(scope, span, own)),
            self._rows(looks.seen(scope, ever, own)),
        )
        overview, failures, (quota, models, beside, seen) = await asyncio.gather(
            self._overview(span, period.step_s, OF_CUSTOMER, own, limit=12),
            self._failures(span, own, 12),
            about,
        )
        compared = {bool(row["own"]): row for row in beside}
        headers = quota[0]["headers"] if quota else {}
        return Customer(
            asked=_asked(period),
            kind="company" if kind == "company" else "user",
            id=name,
            total=overview.total,
            points=overview.points,
            groups={by: found for by, found in overview.groups.items() if by != own[0].column},
            failures=failures,
            quota={str(header): str(value) for header, value in headers.items() if _tells_quota(str(header))},
            quota_told=aware(quota[0]["event_time"]) if quota else None,
            models=[Model(**row) for row in models],
            own=_beside(compared.get(True)),
            others=_beside(compared.get(False)),
            first_seen=known(seen[0]["first_seen"]) if seen else None,
            last_seen=known(seen[0]["last_seen"]) if seen else None,
            seen_since=ever.since,
        )

    async def endpoint(self, period: Period, method: str, route: str) -> Endpoint:
        """One endpoint: how long it takes, how it fails, who calls it."""
        own = [Condition("method", "=", method), Condition("endpoint", "=", route)]
        overview, failures = await asyncio.gather(
            self._overview(period.span, period.step_s, OF_ENDPOINT, own, limit=12),
            self._failures(period.span, own, 12),
        )
        return Endpoint(
            asked=_asked(period),
            endpoint=f"{method} {route}",
            total=overview.total,
            points=overview.points,
            groups=overview.groups,
            failures=failures,
        )

    async def groups(self, period: Period, by: Sequence[str]) -> Groups:
        """Who calls, or what is called: most failed first."""
        overview = await self._overview(period.span, period.step_s, by, limit=MOST_GROUPS)
        return Groups(asked=_asked(period), groups=overview.groups)

    async def table(self, sql: str, most: int = MOST_ROWS) -> Table:
        """The answer to SQL, guarded as that of `weighbridge query`. Raises Unanswered, also for bound askers."""
        return await self._table(lambda store: Answer(store.query(sql, {}), "", False), (), most)

    async def question(
        self, name: str, arguments: Mapping[str, Any], statement: Statement, said: Sequence[str], most: int
    ) -> Table:
        """The answer to a question by name, exact where the store has counted. said: what stands under it, too."""
        return await self._table(lambda store: answer(store, name, arguments, statement), said, most)

    async def _table(self, question: Callable[[StoreReader], Answer], said: Sequence[str], most: int) -> Table:
        if self._scope.bound:
            raise Unanswered("this token is bound to its own events, and SQL could read others", wrong=True)
        began = time.monotonic()
        found = await self._store.ask_all(question, SQL_S)
        return Table(
            columns=list(found.result.columns),
            rows=[[plain(value) for value in row] for row in found.result.rows[:most]],
            cut=len(found.result.rows) > most,
            said=[*filter(None, (found.said,)), *said],
            took_ms=round((time.monotonic() - began) * 1000, 1),
        )

    # -- what several of them need -------------------------------------------------------------------------

    async def _overview(
        self, span: Span, step_s: int, by: Sequence[str], where: Sequence[Condition] = (), *, limit: int
    ) -> Overview:
        """All of a time, all before it, its points and groups. Points without calls are there, too: no false lines."""
        doubted = self._sample_unit != "trace"
        before, scope = span.before().since, self._scope
        rows, counted, doubts = await asyncio.gather(
            self._rows(looks.overview(scope, span, step_s, by, where, before, limit)),
            self._counted_series(span, step_s, where, before),
            self._rows(looks.doubt(scope, span, step_s, self._sample_unit, where)) if doubted else _nothing(),
        )
        variances = by_time(doubts) if doubts else {}
        found: dict[int, Figures] = {}
        halves: dict[str, Figures] = {}
        groups: dict[str, list[Group]] = {name: [] for name in by}
        for row in rows:
            if row["by"] == "time":
                found[int(row["value"])] = figures(row, variances.get(int(row["value"])))
            elif row["by"] == "half":
                halves[row["value"]] = figures(row, variances.get(0) if row["value"] == "1" else None)
            elif len(groups[row["by"]]) < limit:
                groups[row["by"]].append(_group(row))
        if counted:  # exact, whatever sampling dropped
            found = {int(row["time"]): figures(row) for row in counted}
            halves = {"1": found.get(0, NOTHING), "0": found.get(1, NOTHING)}
        first = int(span.since.timestamp()) // step_s * step_s
        points = [
            Point(time=datetime.fromtimestamp(at, UTC), **_fields(found.get(at, NOTHING)))
            for at in range(first, math.ceil(span.until.timestamp()), step_s)
        ]
        return Overview(halves.get("1", NOTHING), halves.get("0", NOTHING), points, groups)

    async def _counted_series(
        self, span: Span, step_s: int, where: Sequence[Condition], before: datetime | None
    ) -> list[dict[str, Any]] | None:
        """The times of `looks.overview` as the counts by minute have them; None where these cannot tell."""
        rows = await self._counted(span, step_s, where)
        if rows is None or before is None:
            return rows
        earlier = await self._counted(Span(before, span.since), ALL_OF_TIME_S, where)
        return None if earlier is None else [*rows, *({**row, "time": 1} for row in earlier if not row["time"])]

    async def _counted(self, span: Span, step_s: int, where: Sequence[Condition]) -> list[dict[str, Any]] | None:
        found = looks.counted_series(self._scope, span, step_s, where)
        if found is None:
            return None
        asking = choose(found)
        try:
            statement = next(asking)
            while True:
                statement = asking.send(await self._rows(statement))
        except StopIteration as done:
            return None if isinstance(done.value, str) else await self._rows(done.value.statement)
        except Unanswered:  # a store that counts nothing by minute
            return None

    async def _failures(self, span: Span, where: Sequence[Condition], limit: int) -> list[Failed]:
        """The newest failed calls, each with what was logged in its trace."""
        rows = await self._rows(looks.failures(self._scope, span, where, limit))
        traces = sorted({row["trace_id"] for row in rows if row["trace_id"]})
        told: Mapping[str, list[Any]] = {}
        if traces:
            times = [aware(row["event_time"]) for row in rows]
            told = told_by_trace(await self._rows(looks.told_in(self._scope, Span(min(times), max(times)), traces)))
        return [failed_of(row, told) for row in rows]


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


async def _nothing() -> list[dict[str, Any]]:
    return []


def _asked(period: Period, where: Where = (), text: str = "") -> Asked:
    return Asked(
        since=period.span.since,
        until=period.span.until,
        step_s=period.step_s,
        where=[written for written, _ in where],
        text=text,
    )


def _flat(where: Where) -> list[Condition]:
    return [condition for _, conditions in where for condition in conditions]


def _fields(of: Figures) -> dict[str, Any]:
    return {name: getattr(of, name) for name in Figures.model_fields}


def _bins(rows: Sequence[Mapping[str, Any]]) -> list[Bin]:
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        found.setdefault(int(row["bucket"]), {})[row["kind"]] = row["events"]
    return [
        Bin(
            time=datetime.fromtimestamp(at, UTC),
            calls=kinds.get("call", 0),
            failed=kinds.get("failed", 0),
            actions=kinds.get("action", 0),
            logs=kinds.get("log", 0),
        )
        for at, kinds in sorted(found.items())
    ]


def _tells_quota(header: str) -> bool:
    return any(word in header.lower() for word in ("ratelimit", "quota", "retry-after"))


def _beside(row: Mapping[str, Any] | None) -> Beside:
    if row is None:
        return Beside(calls=0, failed=0, p50_ms=None, p95_ms=None)
    p50, p95 = (float(value) for value in row["q"])
    return Beside(
        calls=row["calls"],
        failed=row["failed"],
        p50_ms=None if math.isnan(p50) else p50,
        p95_ms=None if math.isnan(p95) else p95,
    )


def _changes(groups: Mapping[str, Sequence[Group]]) -> list[Change]:
    """What differs most from the time before, the worse first."""
    found = []
    for by, kinds in groups.items():
        for group in kinds:
            more = group.failed - group.failed_before
            if abs(more) < max(_LEAST_CHANGE, 0.2 * max(group.failed, group.failed_before)):
                continue
            if by == "status_code" and group.value in ("0", "200"):
                continue
            kind = "better" if more < 0 else "new" if not group.calls_before else "worse"
            found.append(
                Change(
                    kind=kind,
                    by=by,
                    value=group.value,
                    failed=group.failed,
                    failed_before=group.failed_before,
                    said=_said(kind, group),
                )
            )
    found.sort(key=lambda change: (change.kind == "better", -abs(change.failed - change.failed_before)))
    return found[:_CHANGES]


def _said(kind: str, group: Group) -> str:
    failed, before = f"{group.failed:,.0f}", f"{group.failed_before:,.0f}"
    if kind == "new":
        return f"{failed} failed calls; it did not call in the time before" if group.calls else ""
    return f"{failed} failed calls, {before} in the time before"
