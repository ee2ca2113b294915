"""Questions by name about how customers get on: their first calls, what they reached, who stays and who fails.

Their SQL is in milestones.sql. Customers are companies; counts are weighted unless a column says "seen".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from exporter.clickhouse.queries.estimates import FAILED
from exporter.clickhouse.queries.statement import Condition, Statement, statement

_MARKS = {"$failed": FAILED}
# By name: the unit of dateDiff, and how many of it after 1970-01-05, a Monday, a period begins.
_PERIODS = {
    "day": ("'day'", "toIntervalDay(number)"),
    "week": ("'week'", "toIntervalWeek(number)"),
}
_QUARTER = timedelta(days=90)
_MONTH = timedelta(days=28)
_MOST_STEPS = 32


def first_calls(
    since: datetime, until: datetime, before: timedelta = _QUARTER, limit: int = 100, hops: str = "entry"
) -> Statement:
    """Customers that are new in the time: first call, first success, failures before it. New: not seen in `before`."""
    parameters = {"since": since - before, "begin": since, "until": until, "limit": limit}
    return statement("first_calls", parameters, replace=_MARKS, hops=hops)


def milestones(
    since: datetime,
    until: datetime,
    steps: Sequence[str] = ("1", "10", "100", "1000", "10000"),
    limit: int = 100,
    hops: str = "entry",
) -> Statement:
    """When each customer reached its nth call of the time, its first success, and days without a failed call."""
    try:
        numbers = [float(step) for step in steps]
    except ValueError:
        raise ValueError(f"steps are numbers of calls, such as 1,100, not {','.join(steps)!r}") from None
    if not 1 <= len(numbers) <= _MOST_STEPS or not all(number >= 1 for number in numbers):
        raise ValueError(f"steps are 1 to {_MOST_STEPS} numbers of calls from 1 on")
    parameters = {"since": since, "until": until, "steps": numbers, "limit": limit}
    return statement("milestones", parameters, replace=_MARKS, hops=hops)


def adoption(since: datetime, until: datetime, version: str = "", limit: int = 1000, hops: str = "entry") -> Statement:
    """Versions of the API by day: share of customers beside share of calls. `version` '' means all."""
    parameters = {"since": since, "until": until, "version": version, "limit": limit}
    return statement("adoption", parameters, replace=_MARKS, hops=hops)


def returning(since: datetime, until: datetime, period: str = "week", hops: str = "entry") -> Statement:
    """Customers by week or day: new, returning from the period before, back after a pause, lost."""
    marks = {**_MARKS, **period_marks(period)}
    return statement("returning", {"since": since, "until": until}, replace=marks, hops=hops)


def period_marks(period: str) -> dict[str, str]:
    """The marks of a question about periods. Raises ValueError for one that is none."""
    if period not in _PERIODS:
        raise ValueError(f"period is {' or '.join(_PERIODS)}, not {period!r}")
    unit, interval = _PERIODS[period]
    return {"$unit": unit, "$interval": interval}


def health(
    since: datetime, until: datetime, before: timedelta = _MONTH, limit: int = 100, hops: str = "entry"
) -> Statement:
    """Customers against themselves: calls and error rate beside those of an equal time `before`; by size of change."""
    if until <= since or before <= timedelta():
        raise ValueError("since is before until, and `before` is some time")
    parameters = {
        "since": since - before, "begin": since, "until": until, "times": before / (until - since), "limit": limit,
    }  # fmt: skip
    return statement("health", parameters, replace=_MARKS, hops=hops)


def retry_storms(
    since: datetime, until: datetime, least: float = 10, limit: int = 100, hops: str = "entry"
) -> Statement:
    """Who called an endpoint again and again while it failed: minutes with `least` failures of one user or more."""
    parameters = {"since": since, "until": until, "least": least, "limit": limit}
    return statement("retry_storms", parameters, replace=_MARKS, hops=hops)


def tokens(since: datetime, until: datetime, where: Iterable[Condition] = (), limit: int = 1000) -> Statement:
    """Tokens of models by day, customer and model."""
    return statement("tokens", {"since": since, "until": until, "limit": limit}, where)


def monthly(since: datetime, until: datetime, limit: int = 1000, hops: str = "entry") -> Statement:
    """Customers by month, the running one to date: calls, failures, users and days seen."""
    return statement("monthly", {"since": since, "until": until, "limit": limit}, replace=_MARKS, hops=hops)
