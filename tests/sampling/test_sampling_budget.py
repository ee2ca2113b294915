from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.sampling.budget import Arrivals, budget_probability, water_fill
from mapping.sampling.window import cap_of
from project_files import TESTDATA

VECTORS = json.loads((TESTDATA / "sampling-vectors.json").read_text(encoding="utf-8"))["budget"]


def expected_kept(arrivals: Arrivals, p: Fraction) -> Fraction:
    """How many of these a rate of p (of the original population) keeps.

    Those thinned below p upstream all stay.
    """
    return sum((Fraction(n) * min(Fraction(1), p * Fraction(a)) for n, a in arrivals), Fraction(0))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["kind"])
def test_vector(vector: Mapping[str, Any]) -> None:
    if vector["kind"] == "water_fill":
        shares = water_fill(vector["demand"], vector["budget"])
        assert shares.level == vector["level"]
        assert shares.share == vector["share"]
        p = {k: float(budget_probability([(d, 1)], shares.share[k])) for k, d in vector["demand"].items()}
        assert p == vector["p"]
    elif vector["kind"] == "budget_probability":
        assert budget_probability(vector["arrivals"], vector["target"]) == Fraction(vector["p"])
    else:
        assert vector["kind"] == "bottom_k"
        places = [(int(r, 16), 0) for r, n in vector["traces"] for _ in range(n)]
        assert f"{cap_of(places, vector['budget'], vector['size_cap']).t:014x}" == vector["threshold"]


amounts = st.floats(min_value=0, max_value=1e6)


@given(st.dictionaries(st.text(max_size=3), amounts, max_size=20), st.floats(min_value=1, max_value=1e6))
def test_shares_spend_the_budget_and_nobody_gets_more_than_wanted(demand: dict[str, float], budget: float) -> None:
    share = water_fill(demand, budget).share
    assert sum(share.values()) == pytest.approx(min(budget, sum(demand.values())), rel=1e-9, abs=1e-6)
    assert all(share[key] <= demand[key] * (1 + 1e-12) for key in demand)


def test_weights_divide_what_is_scarce_and_floors_are_kept() -> None:
    assert water_fill({"a": 100, "b": 100}, 90, {"a": 2}).share == pytest.approx({"a": 60, "b": 30})
    assert water_fill({"a": 1000, "b": 1000, "c": 2}, 10, {"a": 8}, floor=3).share == pytest.approx(
        {"a": 5, "b": 3, "c": 2}
    )
    assert water_fill({"a": 9, "b": 9}, 2, floor=3).share == {"a": 1, "b": 1}


cells = st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), min_size=1, max_size=6)


@given(cells, st.fractions(min_value=Fraction(1, 1000), max_value=1))
def test_the_probability_meets_the_target_exactly(arrivals: list[tuple[int, int]], share: Fraction) -> None:
    target = share * sum(n for n, _ in arrivals)
    assert expected_kept(arrivals, budget_probability(arrivals, target)) == target


def test_a_target_above_arrivals_keeps_everything() -> None:
    assert budget_probability([(10, 1), (5, 4)], 100) == 1
    assert budget_probability([], 100) == 1
