"""The questions of people who look: series, groups, events, one trace. Each function gives a Statement, as in queries.

The SQL is in looks.sql. Whatever an asker may not see is left out at the source: `Scope` stands in place of the table
and of the view in every question, so no question can forget it. Every question has a time, from `since` to `until`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from typing import NamedTuple

from exporter.clickhouse.queries import EVENT_COLUMNS, Condition, Statement, cluster_of, minutes, terms_of

# What calls and events can be grouped by, and how each is written.
GROUPS: Mapping[str, str] = {
    "company_id": "company_id", "user_id": "user_id", "endpoint": "concat(method, ' ', endpoint)", "route": "endpoint",
    "status_code": "toString(status_code)", "service": "service", "family": "family", "severity": "severity",
    "event_type": "event_type", "error_type": "error_type", "api_version": "api_version", "plan": "plan",
    "user_agent": "user_agent", "application_id": "application_id", "client_id": "client_id", "method": "method",
    "environment": "environment", "region": "region", "tenant": "tenant", "direction": "direction",
}  # fmt: skip
# Where free text is looked for, each column for itself so that none is read that need not be.
_TEXTS = ("name", "action", "endpoint", "uri", "body", "request_body", "response_body", "user_id", "company_id")
ROW_COLUMNS = (*EVENT_COLUMNS, "error_message")
_CALLS = "(SELECT * FROM api_calls(since = {$from:DateTime64(6)}, until = {until:DateTime64(6)}) WHERE entry $term)"
_AROUND = timedelta(hours=1)  # before and after a call, in which what belongs to its trace is looked for


class Scope(NamedTuple):
    """What an asker may see: everything, or one tenant's or one company's events and nothing else."""

    tenant: str | None = None
    company: str | None = None

    @property
    def bound(self) -> bool:
        return self.tenant is not None or self.company is not None

    def terms(self) -> tuple[str, dict[str, object]]:
        """Conditions for a WHERE, "" when everything may be seen, and their parameters."""
        found: dict[str, object] = {}
        if self.tenant is not None:
            found["scope_tenant"] = self.tenant
        if self.company is not None:
            found["scope_company"] = self.company
        columns = {"scope_tenant": "tenant", "scope_company": "company_id"}
        return " AND ".join(f"{columns[name]} = {{{name}:String}}" for name in found), found


EVERYTHING = Scope()


class Span(NamedTuple):
    """A time that is asked about: since is included, until is not."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.since

    def before(self) -> Span:
        """The time of the same length that ends where this begins."""
        return Span(self.since - self.length, self.since)


def overview(
    scope: Scope, span: Span, step_s: int, where: Iterable[Condition] = (), before: datetime | None = None
) -> Statement:
    """Calls, failed calls and percentiles of the duration: by time, and of all.

    `by` of a row is `time` or `half` (1: the time, 0: the time before). before: from when on the time before is
    counted; not at all without it.
    """
    return _statement("overview", scope, span, {"step": step_s, "before": before or span.since}, where)


def groups(
    scope: Scope,
    span: Span,
    by: Sequence[str],
    where: Iterable[Condition] = (),
    before: datetime | None = None,
    limit: int = 50,
) -> Statement:
    """Calls and failed calls by each of some columns: `by` of a row. limit: of its values, most failed first."""
    _refuse_unknown(by)
    parameters = {"before": before or span.since, "limit": limit}
    return _statement("groups", scope, span, parameters, where, minutes.sets_of({name: GROUPS[name] for name in by}))


def last_failed(
    scope: Scope, span: Span, by: Sequence[str], where: Iterable[Condition] = (), limit: int = 50
) -> Statement:
    """The trace of the last failed call with each value of some columns. limit: values of each, most failed first."""
    return _statement("last_failed", scope, span, {"limit": limit}, where, _grouping(by))


def counted_series(
    scope: Scope, span: Span, step_s: int, where: Iterable[Condition] = (), before: datetime | None = None
) -> minutes.Alternative | None:
    """The times of `overview`, of the counts by minute, which know what sampling dropped; None: they cannot have it.

    `time` of a row is 0 for all of the time, 1 for all before it.
    """
    found = minutes.series(span.since, span.until, step_s, [*where, *_seen_by(scope)], before)
    return None if isinstance(found, str) else found


def counted_groups(
    scope: Scope,
    span: Span,
    by: Sequence[str],
    where: Iterable[Condition] = (),
    before: datetime | None = None,
    limit: int = 50,
) -> minutes.Alternative | None:
    """`groups` of the counts by minute, without the traces; None: they cannot have it."""
    found = minutes.groups(span.since, span.until, _counted_by(by), [*where, *_seen_by(scope)], before, limit)
    return None if isinstance(found, str) else found


def counted_beside(scope: Scope, span: Span, company: str) -> minutes.Alternative | None:
    """`beside_others` for a company, of the counts by minute."""
    found = minutes.beside(span.since, span.until, company, _seen_by(scope))
    return None if isinstance(found, str) else found


def is_counted(column: str) -> bool:
    """Whether the counts by minute know the values of a column of GROUPS."""
    return column in ("endpoint", "route") or column in minutes.KEYS


def _counted_by(by: Sequence[str]) -> Mapping[str, tuple[str, frozenset[str]]]:
    """How the counts have each column, and the columns of theirs that are needed for it."""
    needed = {"endpoint": frozenset({"endpoint", "method"}), "route": frozenset({"endpoint"})}
    return {name: (GROUPS[name], needed.get(name, frozenset({name}))) for name in by}


def _seen_by(scope: Scope) -> list[Condition]:
    bound = (("tenant", scope.tenant), ("company_id", scope.company))
    return [Condition(column, "=", value) for column, value in bound if value is not None]


def doubt(scope: Scope, span: Span, step_s: int, sample_unit: str, where: Iterable[Condition] = ()) -> Statement:
    """The variances of `overview` where more than a call was kept or dropped together."""
    return _statement("doubt", scope, span, {"step": step_s}, where, {"$cluster": cluster_of(sample_unit)})


def facets(
    scope: Scope, span: Span, by: Sequence[str], where: Iterable[Condition] = (), text: str = "", limit: int = 8
) -> Statement:
    """Events by each of some columns, weighted: most first."""
    return _statement("facets", scope, span, {"limit": limit}, where, _grouping(by), text)


def failures(scope: Scope, span: Span, where: Iterable[Condition] = (), limit: int = 20) -> Statement:
    """The newest failed calls."""
    return _statement("failures", scope, span, {"limit": limit, "looked": 10 * limit}, where)


def told_in(scope: Scope, span: Span, trace_ids: Sequence[str], per_trace: int = 2) -> Statement:
    """The log lines of some traces that tell most: the gravest, then the earliest."""
    around = Span(span.since - _AROUND, span.until + _AROUND)
    return _statement("told_in", scope, around, {"traces": list(trace_ids), "per_trace": per_trace})


def events(scope: Scope, span: Span, where: Iterable[Condition] = (), text: str = "", limit: int = 100) -> Statement:
    """The newest events of a time, newest first."""
    return _statement("events", scope, span, {"limit": limit}, where, {}, text)


def histogram(scope: Scope, span: Span, step_s: int, where: Iterable[Condition] = (), text: str = "") -> Statement:
    """Events by time and kind, weighted."""
    return _statement("histogram", scope, span, {"step": step_s}, where, {}, text)


def arrivals(scope: Scope, span: Span, after: datetime, where: Iterable[Condition] = (), text: str = "") -> Statement:
    """How many events were received in each second after a time."""
    return _statement("arrivals", scope, span, {"after": after}, where, {}, text)


def arrived(
    scope: Scope, span: Span, seconds: Sequence[int], where: Iterable[Condition] = (), text: str = "", limit: int = 200
) -> Statement:
    """The events that were received in some seconds, newest first."""
    parameters = {"seconds": list(seconds), "limit": limit}
    return _statement("arrived", scope, span, parameters, where, {}, text)


def event(scope: Scope, event_id: str, at: datetime) -> Statement:
    """One event whole, by its id and its time."""
    near = Span(at - timedelta(milliseconds=1), at + timedelta(milliseconds=1))
    return _statement("event", scope, near, {"event_id": event_id})


def trace(scope: Scope, span: Span, trace_id: str, limit: int) -> Statement:
    """Everything of one trace, in order of time."""
    return _statement("trace", scope, span, {"trace_id": trace_id.lower(), "limit": limit})


def seen(scope: Scope, span: Span, where: Iterable[Condition]) -> Statement:
    """When events that match were first and last, and how many there are."""
    return _statement("seen", scope, span, {}, where)


def newest(scope: Scope, span: Span) -> Statement:
    """The time of the newest event, and how many there are."""
    return _statement("newest", scope, span, {})


def quota(scope: Scope, span: Span, where: Iterable[Condition]) -> Statement:
    """The newest answer whose headers tell of a quota."""
    return _statement("quota", scope, span, {}, where)


def models(scope: Scope, span: Span, where: Iterable[Condition], limit: int = 20) -> Statement:
    """Tokens of model calls, by model."""
    return _statement("models", scope, span, {"limit": limit}, where)


def beside_others(scope: Scope, span: Span, where: Iterable[Condition]) -> Statement:
    """Calls that match, beside all others: how many, how many failed, how long they took."""
    return _statement("beside_others", scope, span, {}, where, own=True)


def _grouping(by: Sequence[str]) -> dict[str, str]:
    _refuse_unknown(by)
    pairs = ", ".join(f"('{name}', {GROUPS[name]})" for name in by)
    return {"$pairs": f"[{pairs}]"}


def _refuse_unknown(by: Sequence[str]) -> None:
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise ValueError(f"cannot group by {unknown[0]!r}; known: {', '.join(GROUPS)}")


def _statement(
    name: str,
    scope: Scope,
    span: Span,
    parameters: Mapping[str, object],
    where: Iterable[Condition] = (),
    replace: Mapping[str, str] | None = None,
    text: str = "",
    *,
    own: bool = False,
) -> Statement:
    """own: the conditions are asked for as a value, $own, and leave nothing out."""
    term, values = scope.terms()
    values |= {"since": span.since, "until": span.until, **parameters}
    condition, of_where = terms_of(where)
    values |= of_where
    if text:
        values["text"] = f"%{_escaped(text)}%"
        condition += " AND (" + " OR ".join(f"{column} ILIKE {{text:String}}" for column in _TEXTS) + ")"
    call_term = f"AND {term}" if term else ""
    marks = {
        "$own": condition.removeprefix(" AND ") or "1",
        "$where": "" if own else condition,
        "$earlier_calls": _CALLS.replace("$from", "before").replace("$term", call_term),
        "$calls": _CALLS.replace("$from", "since").replace("$term", call_term),
        "$events": f"(SELECT * FROM api_events WHERE {term})" if term else "api_events",  # noqa: S608
        "$columns": ", ".join(EVENT_COLUMNS),
        **(replace or {}),
    }
    sql = _texts()[name]
    for mark in sorted(marks, key=len, reverse=True):  # $columns_by before $columns
        sql = sql.replace(mark, marks[mark])
    return Statement(sql, values)


def _escaped(text: str) -> str:
    """A text that LIKE takes letter by letter."""
    return re.sub(r"([\\%_])", r"\\\1", text)


@functools.cache
def _texts() -> dict[str, str]:
    whole = files("exporter.clickhouse").joinpath("looks.sql").read_text(encoding="utf-8")
    found = re.split(r"^-- name: (\w+)$", whole, flags=re.MULTILINE)[1:]
    return {
        name: "\n".join(line for line in body.strip().splitlines() if not line.startswith("--"))
        for name, body in zip(found[::2], found[1::2], strict=True)
    }
