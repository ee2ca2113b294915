"""Rows of `looks.overview` -> figures with 95 % intervals where sampling left doubt (spec/sampling.md §11)."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from weighbridge.console.answers import Estimate, Figures

_Z: Final = 1.96  # standard errors of a 95 % interval
# The percentiles that `looks.overview` returns, between which others are read off.
LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.9, 0.925, 0.95, 0.975, 0.99, 0.999)
NOTHING: Final = Figures(
    calls=Estimate(value=0), failed=Estimate(value=0), server_failed=0, error_rate=None, rows_seen=0
)


class Variances(NamedTuple):
    """Of the estimates of calls and failed calls, and their covariance."""

    calls: float
    failed: float
    both: float


def figures(row: Mapping[str, Any], variances: Variances | None = None) -> Figures:
    """variances: where more than a call was kept or dropped together; else those of the row."""
    calls, failed = float(row["calls"]), float(row["failed"])
    v = variances or Variances(row["vnn"], row["vee"], row["ven"])
    quantiles = {name: _percentile(row, q) for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))}
    return Figures(
        calls=counted(calls, v.calls, int(row["rows_seen"])),
        failed=counted(failed, v.failed, 0),
        server_failed=float(row["server_failed"]),
        error_rate=_rate(failed, calls, v),
        rows_seen=int(row["rows_seen"]),
        **quantiles,
    )


def counted(value: float, variance: float, least: float) -> Estimate:
    """A count; on the scale of logarithms where it is small beside its error. least: as many were seen."""
    if variance <= 0 or value <= 0:
        return Estimate(value=value)
    error = math.sqrt(variance)
    if error / value > 0.3:
        low, high = value * math.exp(-_Z * error / value), value * math.exp(_Z * error / value)
    else:
        low, high = value - _Z * error, value + _Z * error
    return Estimate(value=value, low=max(low, min(least, value)), high=high)


def _rate(failed: float, calls: float, v: Variances) -> Estimate | None:
    """By linearisation, as `totals` does it."""
    if calls <= 0:
        return None
    rate = failed / calls
    if v.calls <= 0:
        return Estimate(value=rate)
    error = math.sqrt(max(0.0, v.failed - 2 * rate * v.both + rate * rate * v.calls)) / calls
    return Estimate(value=rate, low=max(0.0, rate - _Z * error), high=min(1.0, rate + _Z * error))


def _percentile(row: Mapping[str, Any], q: float) -> Estimate | None:
    """With Woodruff's interval: the percentiles at q -+ 1.96 standard errors of the share below it."""
    values = [float(value) for value in row["q"]]
    if not values or not row["timed"] or math.isnan(values[0]):
        return None
    value = values[LEVELS.index(q)]
    if row["timed_doubt"] <= 0:
        return Estimate(value=value)
    error = math.sqrt(q * (1 - q) * row["timed_doubt"]) / row["timed"]
    low, high = q - _Z * error, q + _Z * error
    return Estimate(value=value, low=_at(values, low), high=_at(values, high))


def _at(values: list[float], q: float) -> float:
    """The percentile at a level between those that are known; the nearest known one beyond them."""
    if q <= LEVELS[0]:
        return values[0]
    if q >= LEVELS[-1]:
        return values[-1]
    above = bisect_left(LEVELS, q)
    below = above - 1
    part = (q - LEVELS[below]) / (LEVELS[above] - LEVELS[below])
    return values[below] + part * (values[above] - values[below])


def by_time(rows: Iterable[Mapping[str, Any]]) -> dict[int, Variances]:
    """Rows of `looks.doubt` by their time; 0 is the sum."""
    found = {int(row["time"]): Variances(row["vnn"], row["vee"], row["ven"]) for row in rows}
    found[0] = Variances(*(sum(part) for part in zip(*found.values(), strict=True))) if found else Variances(0, 0, 0)
    return found
