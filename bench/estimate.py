"""From kept records back to the population: totals, rates, quantiles, and their errors (spec/sampling.md §11).

In Python what the questions by name ask in SQL (exporter/clickhouse/queries): what tests and pictures compare with.
Knows nothing of events: a record is a value, the number of records it stands for, and the trace it came with.
Records of a trace are kept or dropped together, so the error of a sum follows traces, not records. Treating records as
independent gives error bars that are too short: with 1 to 12 spans per trace, a "95 %" bar holds 46 % of the time.
Sources: Horvitz, Thompson 1952; Särndal, Swensson, Wretman 1992 (clusters); Woodruff 1952 (quantiles).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mapping.sampling.ledger import variance_of_trace

Z95 = 1.96  # half-width of a 95 % interval in standard errors
FEW_TRACES = 30  # below this many kept traces the normal interval is not to be trusted
WIDE = 0.3  # nor above this relative standard error
TOO_FEW_TRACES = 5  # below this many of equal size no number is said, only between what it lies


class Kept(NamedTuple):
    """A kept record."""

    cluster: str  # trace id; a record without a trace is a cluster of its own
    adjusted_count: float  # how many records it stands for, 1/p
    value: float = 1.0  # what is summed; 1 counts records


class Estimate(NamedTuple):
    value: float
    standard_error: float
    low: float  # 95 % interval
    high: float
    low_confidence: bool  # show it as an indication, not as a number
    too_few: bool = False  # too little was kept to say a number: only the interval holds


class Interval(NamedTuple):
    low: float
    high: float
    traces: float  # kept ones of equal size that would tell as much


def total(kept: Iterable[Kept]) -> float:
    """The estimated sum of `value` over everything, kept or not."""
    return math.fsum(k.adjusted_count * k.value for k in kept)


def cluster_variance(kept: Iterable[Kept]) -> float:
    """Estimated variance of total(kept): over traces, sum over pairs (i, j) of (1 - max(p_i, p_j)) A_i A_j y_i y_j.

    All records of a trace are compared with one R, so the pair is kept with the smaller p.
    """
    clusters: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for k in kept:
        clusters[k.cluster].append((k.adjusted_count, k.adjusted_count * k.value))
    return math.fsum(variance_of_trace(members) for members in clusters.values())


def naive_variance(kept: Iterable[Kept]) -> float:
    """The variance if records were independent.

    Too small for traces of several records; kept to show by how much.
    """
    return math.fsum((1 - 1 / k.adjusted_count) * (k.adjusted_count * k.value) ** 2 for k in kept)


def interval(kept: Sequence[Kept], unseen: float = 0.0) -> Interval:
    """The 95 % interval of a sum of values that are not negative.

    The kept traces are a Poisson count seen through their sizes. The sum is scaled to such a count, and its interval
    is Byar's, which has the count's skewness, with half a trace added for what is discrete (mid-P). Where sizes vary,
    their spread is itself an estimate: Student's t with the degrees of freedom that the spread has, and at the upper
    end up to one largest trace more, because the largest are missing from most small samples.
    unseen: at most so much may have been dropped with nothing kept of its kind (`upper_when_nothing_kept`).
    """
    sampled = [k for k in kept if k.adjusted_count > 1]
    sure = math.fsum(k.value for k in kept if k.adjusted_count <= 1)
    sizes: defaultdict[str, float] = defaultdict(float)
    for k in sampled:
        if k.value:
            sizes[k.cluster] += k.adjusted_count * k.value
    if not sizes:
        return Interval(sure, sure + unseen, 0.0)
    n, value = len(sizes), math.fsum(sizes.values())
    variance, squares = cluster_variance(sampled), math.fsum(s * s for s in sizes.values())
    spread = max(0.0, n * squares / value**2 - 1) * n / (n - 1) if n > 1 else 0.0
    share = spread / (1 + spread)
    t = students_t(min(0.5, 2 * share / (n - 1)) if n > 1 else 0.0)
    count = value**2 / variance + 0.5
    low = (value + variance / value / 2) * max(0.0, 1 - 1 / (9 * count) - t / (3 * math.sqrt(count))) ** 3
    more = (0.5 + share) * max(sizes.values())
    value_high, variance_high = value + more, variance + variance / squares * more * max(sizes.values())
    spread_high = math.sqrt(variance_high) / value_high
    high = value_high * (1 - spread_high**2 / 9 + t * spread_high / 3) ** 3
    seen = math.fsum(k.value for k in sampled)
    return Interval(sure + max(low, seen), sure + value + math.sqrt((high - value) ** 2 + unseen**2), n / (1 + spread))


def students_t(doubt: float) -> float:
    """The 97.5 % point of Student's t for 1 / doubt degrees of freedom (Cornish, Fisher)."""
    return Z95 + doubt * (2.3724 + doubt * (2.8225 + doubt * 2.5561))


def estimate_total(kept: Sequence[Kept], unseen: float = 0.0) -> Estimate:
    """The sum over everything with a 95 % interval.

    For values that are not negative, such as counts and durations. unseen: as in `interval`.
    """
    value = total(kept)
    error = math.sqrt(cluster_variance(kept))
    if error == 0 and not unseen:
        return Estimate(value, 0.0, value, value, False)
    found = interval(kept, unseen)
    sampled = len({k.cluster for k in kept if k.adjusted_count > 1})
    unsure = sampled < FEW_TRACES or error > WIDE * value
    few = found.traces < TOO_FEW_TRACES and found.high > 1.5 * max(1.0, found.low)
    return Estimate(value, error, found.low, found.high, unsure, few)


def upper_when_nothing_kept(p: float, miss: float = 0.05) -> float:
    """How many records there can have been, but for a chance of `miss`, when a rate of p kept none of them."""
    return 0.0 if p >= 1 else math.log(miss) / math.log1p(-p)


def estimate_share(kept: Sequence[Kept], unseen: tuple[float, float] = (0.0, 0.0)) -> Estimate:
    """Which share of all records has a value of 1, the others 0, such as the share of errors.

    The intervals of the ones and of the zeros, each as good at small counts as `interval` is, are put together on the
    scale of the logarithm of their ratio (MOVER, Donner and Zou 2012), with their correlation where traces have both.
    unseen: of ones and of zeros, as in `interval`.
    """
    ones = [k for k in kept if k.value]
    zeros = [k._replace(value=1.0) for k in kept if not k.value]
    one, zero = total(ones), total(zeros)
    if not one + zero:
        raise ValueError("a share needs at least one kept record")
    share = one / (one + zero)
    a, b = interval(ones, unseen[0]), interval(zeros, unseen[1])
    counted = [k._replace(value=1.0) for k in kept]
    traces = len({k.cluster for k in kept if k.adjusted_count > 1})
    var_one, var_zero, var_all = (cluster_variance(part) for part in (ones, zeros, counted))
    both = (var_all - var_one - var_zero) / 2
    correlation = (
        both / math.sqrt(var_one * var_zero) * max(0.0, 1 - 4 / traces) if var_one > 0 and var_zero > 0 else 0.0
    )

    def apart(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x + y * y - 2 * correlation * x * y))

    if not one:
        low, high = 0.0, a.high / (a.high + zero)
    elif not zero:
        low, high = one / (one + b.high), 1.0
    else:
        odds = math.log(one / zero)
        low = 1 / (1 + math.exp(apart(math.log(one / a.low), math.log(b.high / zero)) - odds))
        high = 1 / (1 + math.exp(-odds - apart(math.log(a.high / one), math.log(zero / b.low))))
    error = math.sqrt(max(0.0, var_one - 2 * share * (var_one + both) + share**2 * var_all)) / (one + zero)
    few = interval(counted, max(unseen)).traces < TOO_FEW_TRACES and high - low > WIDE
    return Estimate(share, error, low, high, traces < FEW_TRACES and high > low, few)


def estimate_mean(kept: Sequence[Kept]) -> Estimate:
    """The mean of `value` over everything, by linearisation with Student's t; for a share see `estimate_share`."""
    weight = math.fsum(k.adjusted_count for k in kept)
    if not weight:
        raise ValueError("a mean needs at least one kept record")
    mean = total(kept) / weight
    error = math.sqrt(max(0.0, cluster_variance([k._replace(value=(k.value - mean) / weight) for k in kept])))
    sampled = len({k.cluster for k in kept if k.adjusted_count > 1})
    low_confidence = error > 0 and (sampled < FEW_TRACES or error > WIDE * abs(mean))
    half = students_t(min(0.5, 1 / (sampled - 1)) if sampled > 1 else 0.5) * error
    few = error > 0 and sampled < TOO_FEW_TRACES
    return Estimate(mean, error, mean - half, mean + half, low_confidence, few)


def effective_size(kept: Iterable[Kept]) -> float:
    """How many equally weighted records would tell as much: (sum A)^2 / sum A^2."""
    counts = [k.adjusted_count for k in kept]
    return math.fsum(counts) ** 2 / math.fsum(a * a for a in counts) if counts else 0.0


def quantile(kept: Iterable[Kept], q: float) -> float:
    """The smallest value below or at which a share q of everything lies.

    0 <= q <= 1; raises ValueError for no records.
    """
    ordered = sorted((k.value, k.adjusted_count) for k in kept)
    if not ordered:
        raise ValueError("a quantile needs at least one kept record")
    wanted = q * math.fsum(a for _, a in ordered)
    below = 0.0
    for value, adjusted_count in ordered:
        below += adjusted_count
        if below >= wanted * (1 - 1e-12):
            return value
    return ordered[-1][0]


class Reached(NamedTuple):
    """A quantile and its 95 % interval; None where the sample does not reach so far."""

    value: float | None
    low: float | None
    high: float | None
    low_confidence: bool


def estimate_quantile(kept: Sequence[Kept], q: float) -> Reached:
    """A quantile with the values between which it lies: those v for which a share q of all may lie below or at v.

    What lies up to v and what lies above it are two counts with intervals as in `interval`, by record and with their
    variance scaled by what traces do to that of the share below the quantile. A side of which nothing was kept may
    still have been there, so that no interval ends beyond what the sample reaches.
    """
    value = quantile(kept, q)
    ordered = sorted((k.value, k.adjusted_count) for k in kept)
    heaviest = max(a for _, a in ordered)
    if heaviest <= 1:
        return Reached(value, value, value, False)
    effect, factor = _effect_of_traces(kept, value, q)
    everything = _Side(0.0, 0.0, 0.0)
    for _, a in ordered:
        everything = everything.plus(a)
    below, low, high = _Side(0.0, 0.0, 0.0), None, None
    for place, (at, a) in enumerate(ordered):
        below = below.plus(a)
        if place + 1 < len(ordered) and ordered[place + 1][0] == at:
            continue
        least, most = _share(below, everything.minus(below), heaviest, effect, factor)
        if low is None and most >= q:
            low = at
        if high is None and least >= q:
            high = at
    low = None if low == ordered[0][0] else low
    sampled = len({k.cluster for k in kept if k.adjusted_count > 1})
    mass = everything.sure + everything.sampled
    beyond = (high is None and (1 - q) * mass < heaviest) or (low is None and q * mass < heaviest)
    few = beyond or (sampled < TOO_FEW_TRACES and everything.sampled > WIDE * mass)
    return Reached(None if few else value, low, high, sampled < FEW_TRACES or high is None or low is None)


class _Side(NamedTuple):
    """Records on one side of a value: how many are sure, how many the sampled stand for, the variance by record."""

    sure: float
    sampled: float
    variance: float

    def plus(self, a: float) -> _Side:
        return (
            self._replace(sure=self.sure + a)
            if a <= 1
            else self._replace(sampled=self.sampled + a, variance=self.variance + (1 - 1 / a) * a * a)
        )

    def minus(self, other: _Side) -> _Side:
        return _Side(*(max(0.0, mine - theirs) for mine, theirs in zip(self, other, strict=True)))

    def interval(self, heaviest: float, effect: float, t: float) -> tuple[float, float]:
        more = heaviest / 2
        y, v = self.sampled + more, effect * (self.variance + (1 - 1 / heaviest) * more * heaviest)
        spread = math.sqrt(v) / y
        high = y * (1 - spread**2 / 9 + t * spread / 3) ** 3
        if self.sampled <= more:
            return self.sure, self.sure + max(high, effect * upper_when_nothing_kept(1 / heaviest, 0.025))
        variance = effect * self.variance
        count = self.sampled**2 / variance + 0.5
        factor = max(0.0, 1 - 1 / (9 * count) - t / (3 * math.sqrt(count))) ** 3
        return self.sure + (self.sampled + variance / self.sampled / 2) * factor, self.sure + high


def _share(below: _Side, above: _Side, heaviest: float, effect: float, t: float) -> tuple[float, float]:
    """The 95 % interval of the share below, as in `estimate_share`."""
    b, a = below.sure + below.sampled, above.sure + above.sampled
    b_low, b_high = below.interval(heaviest, effect, t)
    a_low, a_high = above.interval(heaviest, effect, t)
    if a <= 1e-9 * b:
        return b / (b + a_high), 1.0
    odds = math.log(b / a)
    low = math.hypot(math.log(b / b_low), math.log(a_high / a)) if b_low > 0 else math.inf
    high = math.hypot(math.log(b_high / b), math.log(a / a_low)) if a_low > 0 else math.inf
    return (
        1 / (1 + math.exp(min(700.0, low - odds))),
        1 / (1 + math.exp(min(700.0, -odds - high))) if high < math.inf else 1.0,
    )


def _effect_of_traces(kept: Iterable[Kept], value: float, q: float) -> tuple[float, float]:
    """By how much the variance of the share up to a value is larger than if records had been drawn one by one, and the
    normal's or Student's factor for it: the fewer traces reach the smaller side of the value, the less it is known."""
    traces: defaultdict[str, float] = defaultdict(float)
    sides: tuple[set[str], set[str]] = set(), set()
    alone = 0.0
    for k in kept:
        if k.adjusted_count > 1:
            part = math.sqrt(1 - 1 / k.adjusted_count) * k.adjusted_count * ((k.value <= value) - q)
            traces[k.cluster] += part
            alone += part * part
            sides[k.value <= value].add(k.cluster)
    effect = max(1.0, math.fsum(part * part for part in traces.values()) / alone) if alone else 1.0
    return effect, students_t(min(0.5, 2 * (1 - 1 / effect) / max(1, min(map(len, sides)) - 1)))
