"""The questions whose answers say how sure they are: counts, shares and percentiles of what was sampled.

Their SQL is in estimates.sql; what it computes is in Python in bench/estimate.py, and tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from exporter.clickhouse.queries.statement import Condition, Statement, statement

# What `totals` can be grouped by.
GROUPS = (
    "company_id", "plan", "service", "environment", "region", "tenant", "method", "endpoint", "api_version",
    "status_code", "error_type", "user_id", "application_id", "client_id", "subscription_id", "ip_family",
)  # fmt: skip
_TIMES = {"hour": "toStartOfHour(event_time)", "day": "toDate(event_time)", "all": "''"}
_METHOD_TOO = {"endpoint": "concat(method, ' ', endpoint)"}  # GET and POST of one route are two endpoints
_UNITS = {"user": "user_id", "company": "company_id", "session": "session_id"}  # of sampling.sample_unit
# What came back, as opposed to whose call it was and where: rules on it keep failures, and a group by it is one rule's.
_OUTCOMES = ("status_code", "error_type", "duration_ms", "span_status")
FAILED = "(status_code >= 400 OR error_type != '')"
# (estimate, low, high) of the calls on one side of a duration: x that are sure and y that stand for the sampled, with
# variance v by call.
_COUNT = "(y * y / (effect * v) + 0.5)"
_SPREAD = "(sqrt(effect * (v + (heaviest - 1) * heaviest / 2)) / (y + heaviest / 2))"
_HIGH = f"(y + heaviest / 2) * pow(1 - pow({_SPREAD}, 2) / 9 + t * {_SPREAD} / 3, 3)"
_SIDE = (
    f"if(y <= heaviest / 2, (x + y, x, x + greatest({_HIGH}, effect * unseen)), (x + y, x + (y + effect * v / y / 2)"
    f" * pow(greatest(0, 1 - 1 / (9 * {_COUNT}) - t / (3 * sqrt({_COUNT}))), 3), x + {_HIGH}))"
)
TRACES_READ = 1024  # of each group, to learn how much traces vary: good for a tenth of the interval's length
MOST_READ = 300_000  # of all groups together, about: 250 MB of the 600 that a question may use


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
    where = list(where)
    parameters = {"since": since, "until": until, "limit": limit}
    return statement("totals", parameters, where, replace=_grouping(by, sample_unit, where), hops=hops, some=_OUTCOMES)


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
    where = list(where)
    parameters = {"q": q, "since": since, "until": until, "limit": limit}
    return statement(
        "percentile", parameters, where, replace=_grouping(by, sample_unit, where), hops=hops, some=_OUTCOMES
    )


def _grouping(by: str, sample_unit: str, where: Sequence[Condition]) -> dict[str, str]:
    """The marks of estimates.sql."""
    if by not in GROUPS and by not in _TIMES:
        raise ValueError(f"cannot group by {by!r}; known: {', '.join((*_TIMES, *GROUPS))}")
    group = _TIMES.get(by) or _METHOD_TOO.get(by, by)
    asked = (condition.column for condition in where if condition.operator == "=" and condition.column in GROUPS)
    unit = by if by in GROUPS and by not in _OUTCOMES else next((c for c in asked if c not in _OUTCOMES), "company_id")
    return {
        "$by": group,
        "$cluster": cluster_of(sample_unit),
        "$unit": _METHOD_TOO.get(unit, unit),
        "$failed": FAILED,
        "$side": _SIDE,
        "$traces_read": str(TRACES_READ),
        "$most_read": str(MOST_READ),
        "$any_p": "1" if by in ("hour", "day") else "0",
        "$possible": "0" if by in _OUTCOMES else "1",
    }


def cluster_of(sample_unit: str) -> str:
    """A hash of what was kept or dropped as a whole, in SQL: mostly the trace."""
    if sample_unit in _UNITS:
        return f"if(r_source = 'unit', cityHash64({_UNITS[sample_unit]}), trace_hash)"
    return "trace_hash"
