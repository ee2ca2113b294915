"""The read module: every question of the console, once. Pages, JSON, CSV, the API and through it MCP ask these.

A `Reading` belongs to one asker: whatever it asks is asked within their scope. What a page is made of is asked side by
side (`Gathering`). Raises `Unanswered` when the store says no or a limit was hit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from exporter.clickhouse import looks
from exporter.clickhouse.answers import Answer, answer
from exporter.clickhouse.looks import Scope, Span
from exporter.clickhouse.queries import Condition, Statement
from exporter.clickhouse.reader import StoreReader
from weighbridge.commands.conditions import said_of
from weighbridge.commands.query import plain
from weighbridge.console.answers import (
    Customer,
    Endpoint,
    Events,
    EventWhole,
    Facet,
    Failed,
    Groups,
    Model,
    Now,
    Table,
    Trace,
)
from weighbridge.console.asked import Period
from weighbridge.console.counting import Counting, Over
from weighbridge.console.estimates import NOTHING
from weighbridge.console.findings import (
    Where,
    asked_of,
    beside_of,
    bins_of,
    changes_of,
    conditions_of,
    tells_quota,
)
from weighbridge.console.gathering import Gathering
from weighbridge.console.lines import aware, failed_of, known, line_of, told_by_trace
from weighbridge.console.steps import trace_of
from weighbridge.console.store import SQL_S, Store, Unanswered

FACETS: Final = ("company_id", "user_id", "route", "status_code", "service", "event_type", "family", "severity")
OF_ALL: Final = ("company_id", "endpoint", "status_code")
OF_CUSTOMER: Final = (
    "endpoint", "status_code", "error_type", "user_id", "company_id", "user_agent", "application_id", "client_id",
    "api_version", "plan",
)  # fmt: skip
OF_ENDPOINT: Final = ("company_id", "status_code", "error_type", "api_version", "user_agent", "service")
MOST_STEPS: Final = 2000  # of a trace; a page of more is of no use to anybody
MOST_GROUPS: Final = 200  # customers or endpoints on a page
_FEW_GROUPS: Final = 12  # in one of many lists
_FAILURES: Final = 12
MOST_ROWS: Final = 1000  # of an answer to SQL that are shown; CSV has all of them
_SEEN: Final = timedelta(days=400)  # how far back a customer's first call is looked for
_FIRST_LOOKS: Final = (timedelta(minutes=5), timedelta(hours=1), timedelta(hours=6))
# A question about more is asked in the lanes for long ones: the pages of an hour, which ask about two, are not.
_LONG: Final = timedelta(hours=12, minutes=1)
_NO_CALLS: Final = Over(NOTHING, NOTHING, [])


class Reading:
    def __init__(self, store: Store, scope: Scope, sample_unit: str) -> None:
        """sample_unit: of the settings: what sampling keeps or drops as a whole."""
        self._store = store
        self._scope = scope
        self._sample_unit = sample_unit

    async def _rows(self, statement: Statement, *, quick: bool = False) -> list[dict[str, Any]]:
        """quick: however long the time that it is about."""
        given: Mapping[str, Any] = statement.parameters
        long = not quick and given["until"] - given.get("before", given["since"]) > _LONG
        return (await self._store.ask(statement, long=long)).dicts()

    def _counting(self, period: Period, where: Sequence[Condition] = ()) -> Counting:
        return Counting(self._rows, self._scope, self._sample_unit, period.span, period.step_s, where)

    # -- what pages are about: `found` of each `made` has the parts that are known ---------------------------------

    def now(self, period: Period) -> Gathering[Now]:
        """How it goes: all calls of a time, and what fails."""
        counting = self._counting(period)

        def made(found: Mapping[str, Any]) -> Now:
            over = found.get("figures", _NO_CALLS)
            groups = found.get("groups") or {name: [] for name in OF_ALL}
            return Now(
                asked=asked_of(period),
                total=over.total,
                before=over.before,
                points=over.points,
                companies=[group for group in groups["company_id"] if group.failed][:10],
                endpoints=[group for group in groups["endpoint"] if group.failed][:10],
                failures=found.get("failures", []),
                changes=changes_of(groups) if any(group.calls_before for group in groups["status_code"]) else [],
                newest=found.get("newest"),
            )

        return Gathering(
            made,
            {
                "figures": counting.over_time(),
                "failures": self._failures(period.span, ()),
                "groups": counting.groups(OF_ALL, MOST_GROUPS),
                "newest": self.newest(),
            },
        )

    async def newest(self) -> datetime | None:
        """When the newest event of all was."""
        ahead = datetime.now(UTC) + timedelta(days=1)
        for back in (timedelta(hours=2), timedelta(days=4), _SEEN):
            rows = await self._rows(
                looks.newest(self._scope, Span(ahead - timedelta(days=1) - back, ahead)), quick=True
            )
            if rows and (found := known(rows[0]["newest"])):
                return found
        return None

    def events(self, period: Period, where: Where, text: str, limit: int) -> Gathering[Events]:
        """The newest events of a time that match, what they have in common, and when they were."""
        scope, span, conditions = self._scope, period.span, conditions_of(where)

        def made(found: Mapping[str, Any]) -> Events:
            rows = found.get("rows", [])
            facets: dict[str, list[Facet]] = {name: [] for name in FACETS}
            for row in found.get("facets", ()):
                facets[row["by"]].append(Facet(value=row["value"], events=row["events"]))
            return Events(
                asked=asked_of(period, where, text),
                events=[line_of(row) for row in rows[:limit]],
                more=len(rows) > limit,
                facets=facets,
                histogram=bins_of(found.get("histogram", ())),
                said=list(said_of(written for written, _ in where)),
                newest=found.get("newest"),
            )

        return Gathering(
            made,
            {
                "rows": self._newest_rows(span, conditions, text, limit + 1),
                "newest": self.newest(),
                "histogram": self._rows(looks.histogram(scope, span, period.step_s, conditions, text)),
                "facets": self._rows(looks.facets(scope, span, FACETS, conditions, text)),
            },
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
            rows = await self._rows(looks.trace(self._scope, span, trace_id, MOST_STEPS), quick=True)
            if rows:
                return trace_of(trace_id, rows, MOST_STEPS)
        return None

    def customer(self, period: Period, kind: str, name: str) -> Gathering[Customer]:
        """One company or user: its calls, what they were, and how they compare."""
        scope, span = self._scope, period.span
        column = "company_id" if kind == "company" else "user_id"
        own = [Condition(column, "=", name)]
        ever = Span(datetime.now(UTC) - _SEEN, datetime.now(UTC) + timedelta(days=1))
        counting = self._counting(period, own)

        def made(found: Mapping[str, Any]) -> Customer:
            over, quota, seen = found.get("figures", _NO_CALLS), found.get("quota"), found.get("seen")
            groups = found.get("groups") or {by: [] for by in OF_CUSTOMER}
            compared = {bool(row["own"]): row for row in found.get("beside", ())}
            headers = quota[0]["headers"] if quota else {}
            return Customer(
                asked=asked_of(period),
                kind="company" if kind == "company" else "user",
                id=name,
                total=over.total,
                points=over.points,
                groups={by: of for by, of in groups.items() if by != column},
                failures=found.get("failures", []),
                quota={str(header): str(value) for header, value in headers.items() if tells_quota(str(header))},
                quota_told=aware(quota[0]["event_time"]) if quota else None,
                models=[Model(**row) for row in found.get("models", ())],
                own=beside_of(compared.get(True)),
                others=beside_of(compared.get(False)),
                first_seen=known(seen[0]["first_seen"]) if seen else None,
                last_seen=known(seen[0]["last_seen"]) if seen else None,
                seen_since=ever.since,
            )

        return Gathering(
            made,
            {
                "figures": counting.over_time(),
                "failures": self._failures(span, own),
                "seen": self._rows(looks.seen(scope, ever, own)),
                "groups": counting.groups(OF_CUSTOMER, _FEW_GROUPS),
                "beside": self._counting(period).beside(own[0]),
                "quota": self._rows(looks.quota(scope, span, own)),
                "models": self._rows(looks.models(scope, span, own)),
            },
        )

    def endpoint(self, period: Period, method: str, route: str) -> Gathering[Endpoint]:
        """One endpoint: how long it takes, how it fails, who calls it."""
        own = [Condition("method", "=", method), Condition("endpoint", "=", route)]
        counting = self._counting(period, own)

        def made(found: Mapping[str, Any]) -> Endpoint:
            over = found.get("figures", _NO_CALLS)
            return Endpoint(
                asked=asked_of(period),
                endpoint=f"{method} {route}",
                total=over.total,
                points=over.points,
                groups=found.get("groups") or {by: [] for by in OF_ENDPOINT},
                failures=found.get("failures", []),
            )

        return Gathering(
            made,
            {
                "figures": counting.over_time(),
                "failures": self._failures(period.span, own),
                "groups": counting.groups(OF_ENDPOINT, _FEW_GROUPS),
            },
        )

    def groups(self, period: Period, by: Sequence[str]) -> Gathering[Groups]:
        """Who calls, or what is called: most failed first."""
        counting = self._counting(period)

        def made(found: Mapping[str, Any]) -> Groups:
            return Groups(asked=asked_of(period), groups={name: found.get(name, []) for name in by})

        async def of(column: str) -> Any:
            return (await counting.groups((column,), MOST_GROUPS))[column]

        return Gathering(made, {column: of(column) for column in by})

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
        found = await self._store.ask_all(question, SQL_S, long=True)
        return Table(
            columns=list(found.result.columns),
            rows=[[plain(value) for value in row] for row in found.result.rows[:most]],
            cut=len(found.result.rows) > most,
            said=[*filter(None, (found.said,)), *said],
            took_ms=round((time.monotonic() - began) * 1000, 1),
        )

    async def _failures(self, span: Span, where: Sequence[Condition]) -> list[Failed]:
        """The newest failed calls, each with what was logged in its trace."""
        rows = await self._rows(looks.failures(self._scope, span, where, _FAILURES))
        traces = sorted({row["trace_id"] for row in rows if row["trace_id"]})
        told: Mapping[str, list[Any]] = {}
        if traces:
            times = [aware(row["event_time"]) for row in rows]
            told = told_by_trace(await self._rows(looks.told_in(self._scope, Span(min(times), max(times)), traces)))
        return [failed_of(row, told) for row in rows]
