"""The store's questions by name: each function gives a Statement, SQL with typed parameters, for StoreReader.run.

The SQL of a function is in named.sql, under its name; estimates.py has those that say how sure they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from exporter.clickhouse.queries.statement import ALWAYS, Condition, Statement, statement

# A call with the status that is asked for; 0: any failure.
FAILING = (
    "({status:UInt16} = 0 AND ($ofstatus_code >= 400 OR ($ofstatus_code = 0 AND $oferror_type != ''))"
    " OR {status:UInt16} != 0 AND $ofstatus_code = {status:UInt16})"
)
FAILING_MARK = {"$failing": FAILING.replace("$of", "")}
_FAILED = "(api_call.status_code >= 400 OR api_call.error_type != '')"


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
    parameters = {"status": status, "since": since, "until": until, "limit": limit}
    only = FAILING.replace("$of", "api_call.")
    return statement("failing_customers", parameters, replace=FAILING_MARK, hops=hops, only=only)


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
    parameters = {"endpoint": endpoint, "since": since, "until": until, "limit": limit}
    only = "({endpoint:String} = '' OR api_call.endpoint = {endpoint:String})"
    return statement("endpoint_percentiles", parameters, hops=hops, only=only)


def logs_of_failing_calls(
    since: datetime, until: datetime, company_id: str = "", limit: int = 100, hops: str = "entry"
) -> Statement:
    """The log lines in the traces of the last failed calls."""
    parameters = {"company_id": company_id, "since": since, "until": until, "limit": limit}
    of_customer = "({company_id:String} = '' OR api_call.company_id IN ('', {company_id:String}))"
    return statement("logs_of_failing_calls", parameters, hops=hops, only=f"{_FAILED} AND {of_customer}")


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


def usage(
    since: datetime,
    until: datetime,
    window: str = "hour",
    where: Iterable[Condition] = (),
    limit: int = 10_000,
    hops: str = "entry",
) -> Statement:
    """Calls of each customer by hour or day, as `weighbridge meter` tells a billing system; '' names no customer."""
    windows = {"hour": "toStartOfHour(event_time)", "day": "toDate(event_time)"}
    if window not in windows:
        raise ValueError(f"window is {' or '.join(windows)}, not {window!r}")
    parameters = {"since": since, "until": until, "limit": limit}
    return statement("usage", parameters, where, replace={"$by": windows[window]}, hops=hops)
