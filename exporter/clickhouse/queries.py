"""The store's questions by name: each function gives a Statement, SQL with typed parameters, for StoreReader.run.

The SQL is in queries.sql. Nothing a caller passes becomes SQL text: values travel as parameters, columns are looked up.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import NamedTuple

from exporter.clickhouse.schema import columns

ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC))

# What `trace`, `tail`, `latest` and `user_calls` return of an event, in this order.
EVENT_COLUMNS = (
    "event_type", "event_time", "received_at", "event_id", "service", "method", "endpoint", "uri", "name", "action",
    "family", "direction", "status_code", "error_type", "duration_ms", "user_id", "company_id", "plan", "weight",
    "adjusted_count", "severity", "body", "trace_id", "span_id", "parent_span_id", "span_status", "source", "tenant",
    "toJSONString(metadata) AS attributes", "flags",
)  # fmt: skip
# What `totals` can be grouped by.
GROUPS = (
    "company_id", "plan", "service", "environment", "region", "tenant", "method", "endpoint", "api_version",
    "status_code", "error_type", "user_id", "application_id", "client_id", "subscription_id", "ip_family",
)  # fmt: skip
_TIMES = {"hour": "toStartOfHour(event_time)", "day": "toDate(event_time)", "all": "''"}
_CALLS = "api_calls(since = {since:DateTime64(6)}, until = {until:DateTime64(6)}) WHERE "
_HOPS = {"entry": _CALLS + "entry", "all": _CALLS + "direction = 'incoming'"}
_METHOD_TOO = {"endpoint": "concat(method, ' ', endpoint)"}  # GET and POST of one route are two endpoints
_UNITS = {"user": "user_id", "company": "company_id", "session": "session_id"}  # of sampling.sample_unit
_OPERATORS = {"=": "=", "==": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<=", "~": "LIKE"}
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(==|!=|>=|<=|=|>|<|~)\s*(.*)", re.DOTALL)


class Statement(NamedTuple):
    """SQL and the values of its {name:Type} parameters."""

    sql: str
    parameters: Mapping[str, object]


class Condition(NamedTuple):
    """One condition on an event: a column of api_events, or `metadata.<key>`."""

    column: str
    operator: str
    value: str


def parse_condition(text: str) -> Condition:
    """`column=value`, with = != > >= < <= or ~ (contains, % and _ are wildcards). Raises ValueError."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a condition: {text!r}; write column=value, with = != > >= < <= or ~")
    condition = Condition(found[1], _OPERATORS[found[2]], found[3].strip())
    _term(condition, 0)
    return condition


def trace(trace_id: str, around: datetime | None = None, limit: int = 10_000) -> Statement:
    """Everything of one trace. `around`, some time of it, makes the question cheaper."""
    since, until = (around - timedelta(days=1), around + timedelta(days=1)) if around else ALWAYS
    return _statement("trace", {"trace_id": trace_id.lower(), "since": since, "until": until, "limit": limit})


def tail(after: datetime, where: Iterable[Condition] = (), limit: int = 1000) -> Statement:
    """Events received after a time, oldest first; the last row's received_at is where to go on."""
    return _statement("tail", {"after": after, "limit": limit}, where)


def latest(since: datetime, until: datetime, where: Iterable[Condition] = (), limit: int = 20) -> Statement:
    """The newest events, newest first."""
    return _statement("latest", {"since": since, "until": until, "limit": limit}, where)


def user_calls(user_id: str, since: datetime, until: datetime, limit: int = 100) -> Statement:
    """A user's last calls and actions, newest first."""
    return _statement("user_calls", {"user_id": user_id, "since": since, "until": until, "limit": limit})


def failing_customers(
    since: datetime, until: datetime, status: int = 0, limit: int = 50, hops: str = "entry"
) -> Statement:
    """Who gets this status (0: any failure): company, weighted calls, first and last time, endpoints, a trace."""
    return _statement(
        "failing_customers", {"status": status, "since": since, "until": until, "limit": limit}, hops=hops
    )


def top_erroring_customers(
    since: datetime, until: datetime, least_calls: float = 0, limit: int = 20, hops: str = "entry"
) -> Statement:
    """Customers with the most failed calls, their error rate and the kinds of error."""
    parameters = {"least": least_calls, "since": since, "until": until, "limit": limit}
    return _statement("top_erroring_customers", parameters, hops=hops)


def traffic_by_plan(since: datetime, until: datetime, hops: str = "entry") -> Statement:
    """Weighted calls and error rate by plan and day."""
    return _statement("traffic_by_plan", {"since": since, "until": until}, hops=hops)


def endpoint_percentiles(
    since: datetime, until: datetime, endpoint: str = "", limit: int = 1000, hops: str = "entry"
) -> Statement:
    """Weighted p50, p95, p99 in ms by endpoint and hour."""
    return _statement(
        "endpoint_percentiles", {"endpoint": endpoint, "since": since, "until": until, "limit": limit}, hops=hops
    )


def logs_of_failing_calls(
    since: datetime, until: datetime, company_id: str = "", limit: int = 100, hops: str = "entry"
) -> Statement:
    """The log lines in the traces of the last failed calls."""
    return _statement(
        "logs_of_failing_calls", {"company_id": company_id, "since": since, "until": until, "limit": limit}, hops=hops
    )


def retention_cohorts(since: datetime, until: datetime, hops: str = "entry") -> Statement:
    """Users seen again, by week of first sight and weeks since."""
    return _statement("retention_cohorts", {"since": since, "until": until}, hops=hops)


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
    return _statement("onboarding_funnel", parameters, replace={"$steps": matched})


def endpoint_coverage(since: datetime, until: datetime, limit: int = 100, hops: str = "entry") -> Statement:
    """How many of all endpoints each customer uses."""
    return _statement("endpoint_coverage", {"since": since, "until": until, "limit": limit}, hops=hops)


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
    return _statement("totals", parameters, where, replace=_grouping(by, sample_unit), hops=hops)


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
    return _statement("percentile", parameters, where, replace=_grouping(by, sample_unit), hops=hops)


def _grouping(by: str, sample_unit: str) -> dict[str, str]:
    if by not in GROUPS and by not in _TIMES:
        raise ValueError(f"cannot group by {by!r}; known: {', '.join((*_TIMES, *GROUPS))}")
    cluster = "if(trace_id = '', event_id, trace_id)"
    if sample_unit in _UNITS:
        cluster = f"if(r_source = 'unit', {_UNITS[sample_unit]}, {cluster})"
    return {"$by": _TIMES.get(by) or _METHOD_TOO.get(by, by), "$cluster": cluster}


def _statement(
    name: str,
    parameters: Mapping[str, object],
    where: Iterable[Condition] = (),
    replace: Mapping[str, str] | None = None,
    hops: str = "entry",
) -> Statement:
    """hops: `entry` counts a call once, where it came in; `all` counts every service that it passed."""
    if hops not in _HOPS:
        raise ValueError(f"hops is {' or '.join(_HOPS)}, not {hops!r}")
    sql = _texts()[name]
    values = dict(parameters)
    terms = []
    for number, condition in enumerate(where):
        term, value = _term(condition, number)
        terms.append(f" AND {term}")
        values[f"where{number}"] = value
    texts = {"$calls": _HOPS[hops], "$where": "".join(terms), "$event": ", ".join(EVENT_COLUMNS), **(replace or {})}
    for mark, text in texts.items():
        sql = sql.replace(mark, text)
    return Statement(sql, values)


def _term(condition: Condition, number: int) -> tuple[str, str | float]:
    """A condition as SQL with one parameter, and the parameter's value. Raises ValueError."""
    column, operator, value = condition
    if operator not in _OPERATORS.values():
        raise ValueError(f"unknown operator {operator!r}")
    known = columns()
    if column.startswith("metadata."):
        path = ".".join(f"`{part}`" for part in column.split(".")[1:])
        left, numeric = f"metadata.{path}::String", False
    elif column in known and not re.match(r"JSON|Map|Array", known[column]):
        kind = known[column]
        left, numeric = column, bool(re.match(r"(?:Nullable\()?(?:U?Int|Float)", kind))
        if kind.startswith("DateTime64"):
            return f"{left} {operator} parseDateTime64BestEffort({{where{number}:String}}, 6, 'UTC')", value
    else:
        raise ValueError(f"no column {column!r}")
    if numeric:
        try:
            return f"{left} {operator} {{where{number}:Float64}}", float(value)
        except ValueError:
            raise ValueError(f"{column} is a number, {value!r} is none") from None
    if operator == "LIKE" and "%" not in value:
        value = f"%{value}%"
    if operator in (">", ">=", "<", "<="):
        return f"toFloat64OrNull(toString({left})) {operator} toFloat64({{where{number}:String}})", value
    return f"{left} {operator} {{where{number}:String}}", value


@functools.cache
def _texts() -> dict[str, str]:
    text = files("exporter.clickhouse").joinpath("queries.sql").read_text(encoding="utf-8")
    found = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: "\n".join(line for line in body.strip().splitlines() if not line.startswith("--"))
        for name, body in zip(found[::2], found[1::2], strict=True)
    }


def names() -> list[str]:
    """The names of all queries."""
    return list(_texts())
