"""Keeping to a budget without bias: the arithmetic (spec/sampling.md §9).

Rates are fed forward: those of the next epoch are a function of past arrivals alone, never of what was kept.
Then, whatever the controller does, each record is kept with the probability that is written on it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class Shares(NamedTuple, Generic[K]):
    level: float  # what a key with weight 1 may have at most; inf when all demand is met
    share: dict[K, float]


def water_fill(
    demand: Mapping[K, float],
    budget: float,
    weights: Mapping[K, float] | None = None,
    floor: float = 0.0,
) -> Shares[K]:
    """Max-min fair shares: min(demand, weight * level), with the level that spends the budget exactly.

    Who asks for little gets all of it; the rest share what is left. Each key gets at least min(demand,
    floor), unless the floors together exceed the budget: then there are none.
    """
    weight = {key: (weights or {}).get(key, 1.0) for key in demand}
    least = {key: min(d, floor) for key, d in demand.items()}
    if sum(least.values()) > budget:
        least = dict.fromkeys(demand, 0.0)
    if sum(demand.values()) <= budget:
        return Shares(float("inf"), dict(demand))
    # The total is piecewise linear in the level: a key joins at least/weight and stops at demand/weight.
    steps = [(least[key] / weight[key], weight[key]) for key in demand]
    steps += [(demand[key] / weight[key], -weight[key]) for key in demand]
    level, total, slope = 0.0, sum(least.values()), 0.0
    for at, change in sorted(steps):
        if total + slope * (at - level) > budget:
            break
        total += slope * (at - level)
        level, slope = at, slope + change
    if slope > 0 and total < budget:
        level += (budget - total) / slope
    return Shares(level, {key: max(least[key], min(d, weight[key] * level)) for key, d in demand.items()})


Arrivals = Iterable[tuple[int | float | Fraction, int | float | Fraction]]  # (how many, adjusted count of each)


def budget_probability(arrivals: Arrivals, target: int | float | Fraction) -> Fraction:
    """p at which sum(n * min(1, p * a)) of the arrivals is target, exactly; 1 when all may stay.

    Records that upstream thinned to 1/a lose nothing to a rate above 1/a, so dividing target by arrivals
    would keep too few.
    """
    wanted = Fraction(target)
    cells = sorted(((Fraction(a), Fraction(n)) for n, a in arrivals if n), reverse=True)
    thinned = sum((n * a for a, n in cells), Fraction(0))  # of cells not yet kept whole: n * a * p
    whole = Fraction(0)
    for a, n in cells:
        # Between the last corner and p = 1/a every remaining cell is thinned.
        if whole + thinned / a >= wanted:
            break
        whole += n
        thinned -= n * a
    return min(Fraction(1), (wanted - whole) / thinned) if thinned else Fraction(1)
