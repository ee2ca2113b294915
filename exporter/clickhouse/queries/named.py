"""The store's questions by name: each function gives a Statement, SQL with typed parameters, for StoreReader.run.

The SQL of a function is in named.sql or estimates.sql, under its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from exporter.clickhouse.queries.statement import ALWAYS, Condition, Statement, statement

# What `totals` can be grouped by.
GROUPS = (
    "company_id", "plan", "service", "environment", "region", "tenant", "method", "endpoint", "api_version",
    "status_code", "error_type", "user_id", "application_id", "client_id", "subscription_id", "ip_family",
)  # fmt: skip
_TIMES = {"hour": "toStartOfHour(event_time)", "day": "toDate(event_time)", "all": "''"}
_METHOD_TOO = {"endpoint": "concat(method, ' ', endpoint)"}  # GET and POST of one route are two endpoints
_UNITS = {"user": "user_id", "company": "company_id", "session": "session_id"}  # of sampling.sample_unit


def trace(trace_id: str, around: datetime | None = None, limit: int = 10_000) -> Statement:
    """Everything of one trace. `around`, some time of it, makes the question cheaper."""
    since, until = (around - timedelta(days=1), around + timedelta(days=1)) if around else ALWAYS
    return statement("trace", {"trace_id": trace_id.lower(), "since": since, "until": until, "limit": limit})


def tail(after: datetime, where: Iterable[Condition] = (), limit: int = 1000) -> Statement:
    """Events received after a time, oldest first; the last row's received_at is where to go on."""
    return statement("tail", {"after": after, "limit": limit}, where)


def latest(since: datetime, until: datetime, where: Iterable[Condition] = (), limit: int = 20) -> Statement:
    """The newest events, newest first."""
    return statement("latest", {"since": since, "until": until, "limit": limit}, where)


def user_calls(user_id: str, since: datetime, until: datetime, limit: int = 100) -> Statement:
    """A user's last calls and actions, newest first."""
    return statement("user_calls", {"user_id": user_id, "since": since, "until": until, "limit": limit})


def failing_customers(
    since: datetime, until: datetime, status: int = 0, limit: int = 50, hops: str = "entry"
) -> Statement:
    """Who gets this status (0: any failure): company, weighted calls, first and last time, endpoints, a trace."""
    return statement("failing_customers", {"status": status, "since": since, "until": until, "limit": limit}, hops=hops)


def top_erroring_customers(
    since: datetime, until: datetime, least_calls: float = 0, limit: int = 20, hops: str = "entry"
) -> Statement:
    """Customers with the most failed calls, their error rate and the kinds of error."""
    parameters = {"least": least_calls, "since": since, "until": until, "limit": limit}
    return statement("top_erroring_customers", parameters, hops=hops)


def traffic_by_plan(since: datetime, until: datetime, hops: str = "entry") -> Statement:
    """Weighted calls and error rate by plan and day."""
    return statement("traffic_by_plan", {"since": since, "until": until}, hops=hops)


def endpoint_percentiles(
    since: datetime, until: datetime, endpoint: str = "", limit: int = 1000, hops: str = "entry"
) -> Statement:
    """Weighted p50, p95, p99 in ms by endpoint and hour."""
    return statement(
        "endpoint_percentiles", {"endpoint": endpoint, "since": since, "until": until, "limit": limit}, hops=hops
    )


def logs_of_failing_calls(
    since: datetime, until: datetime, company_id: str = "", limit: int = 100, hops: str = "entry"
) -> Statement:
    """The log lines in the traces of the last failed calls."""
    return statement(
        "logs_of_failing_calls", {"company_id": company_id, "since": since, "until": until, "limit": limit}, hops=hops
    )


def retention_cohorts(since: datetime, until: datetime, hops: str = "entry") -> Statement:
    """Users seen again, by week of first sight and weeks since."""
    return statement("retention_cohorts", {"since": since, "until": until}, hops=hops)


def onboarding_funnel(steps: Sequence[str], since: datetime, until: datetime, window: timedelta) -> Statement:
    """How many customers reach each step in order. A step: `POST /v1/orders`, or an action's name. 1 to 32 steps."""
    if not 1 <= len(steps) <= 32:
        raise ValueError("a funnel has 1 to 32 steps")
    matched = ", ".join(
        f"concat(method, ' ', endpoint) = {{step{number}:String}} OR action = {{step{number}:String}}"
        for number in range(len(steps))
    )
    parameters: dict[str, object] = {f"step{number}": step for number, step in enumerate(steps)}
    parameters |= {"steps": list(steps), "since": since, "until": until, "window_s": int(window.total_seconds())}
    return statement("onboarding_funnel", parameters, replace={"$steps": matched})


def endpoint_coverage(since: datetime, until: datetime, limit: int = 100, hops: str = "entry") -> Statement:
    """How many of all endpoints each customer uses."""
    return statement("endpoint_coverage", {"since": since, "until": until, "limit": limit}, hops=hops)


def totals(
    since: datetime,
    until: datetime,
    by: str = "all",
    where: Iterable[Condition] = (),
    limit: int = 1000,
    sample_unit: str = "trace",
    hops: str = "entry",
) -> Statement:
    """Calls, errors and error rate with 95 % intervals, by a column such as company_id, or by hour, day or all.

    Errors are calls with a status from 400, and those that failed without one; server_errors leave out 400 to 499
    and `cancelled`.
    sample_unit: as in the settings of sampling; what is kept or dropped as a whole.
    """
    parameters = {"since": since, "until": until, "limit": limit}
    return statement("totals", parameters, where, replace=_grouping(by, sample_unit), hops=hops)


def percentile(
    since: datetime,
    until: datetime,
    q: float = 0.95,
    by: str = "all",
    where: Iterable[Condition] = (),
    limit: int = 1000,
    sample_unit: str = "trace",
    hops: str = "entry",
) -> Statement:
    """The duration that a share q of calls stays below, with a 95 % interval, by a column, or by hour, day or all."""
    if not 0 < q < 1:
        raise ValueError(f"q is a share between 0 and 1, such as 0.95, not {q}")
    parameters = {"q": q, "since": since, "until": until, "limit": limit}
    return statement("percentile", parameters, where, replace=_grouping(by, sample_unit), hops=hops)


def _grouping(by: str, sample_unit: str) -> dict[str, str]:
    if by not in GROUPS and by not in _TIMES:
        raise ValueError(f"cannot group by {by!r}; known: {', '.join((*_TIMES, *GROUPS))}")
    return {"$by": _TIMES.get(by) or _METHOD_TOO.get(by, by), "$cluster": cluster_of(sample_unit)}


def cluster_of(sample_unit: str) -> str:
    """What was kept or dropped as a whole, in SQL: mostly the trace."""
    cluster = "if(trace_id = '', event_id, trace_id)"
    if sample_unit in _UNITS:
        cluster = f"if(r_source = 'unit', {_UNITS[sample_unit]}, {cluster})"
    return cluster
