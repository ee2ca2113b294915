from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from typing import Any

import pytest

from bench.estimate import (
    Kept,
    cluster_variance,
    effective_size,
    estimate_mean,
    estimate_quantile,
    estimate_total,
    naive_variance,
    quantile,
    total,
    upper_when_nothing_kept,
)
from project_files import TESTDATA

VECTORS = json.loads((TESTDATA / "sampling-vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["estimators"], ids=lambda v: v["kind"])
def test_vector(vector: Mapping[str, Any]) -> None:
    if vector["kind"] == "total":
        kept = [Kept(trace, a, y) for trace, a, y in vector["kept"]]
        assert total(kept) == vector["total"]
        assert cluster_variance(kept) == pytest.approx(vector["cluster_variance"], rel=1e-12)
        assert naive_variance(kept) == pytest.approx(vector["naive_variance"], rel=1e-12)
    else:
        kept = [Kept(str(i), a, v) for i, (v, a) in enumerate(vector["values"])]
        assert quantile(kept, 0.5) == vector["p50"]
        assert quantile(kept, 0.95) == vector["p95"]
        assert quantile([k._replace(adjusted_count=1) for k in kept], 0.5) == vector["unweighted_p50"]


def test_the_variance_is_the_double_sum_over_pairs_of_a_trace() -> None:
    rng = random.Random(1)
    kept = [Kept(rng.choice("abc"), rng.choice([1.0, 2.0, 4.0, 10.0]), rng.uniform(0, 5)) for _ in range(40)]
    pairs = sum(
        (1 - max(1 / i.adjusted_count, 1 / j.adjusted_count)) * i.adjusted_count * j.adjusted_count * i.value * j.value
        for i in kept
        for j in kept
        if i.cluster == j.cluster
    )
    assert cluster_variance(kept) == pytest.approx(pairs, rel=1e-12)


def test_what_was_kept_whole_is_exact() -> None:
    estimate = estimate_total([Kept(str(i), 1.0) for i in range(7)])
    assert estimate == (7.0, 0.0, 7.0, 7.0, False, False)


def test_few_traces_give_an_interval_marked_as_an_indication() -> None:
    estimate = estimate_total([Kept(str(i), 10.0) for i in range(5)])
    assert estimate.low_confidence
    assert 5.0 <= estimate.low < 50.0 < estimate.high


@pytest.mark.parametrize(("p", "bound"), [(0.1, 28), (0.01, 298), (0.001, 2994), (1.0, 0)])
def test_nothing_kept_bounds_what_there_can_have_been(p: float, bound: int) -> None:
    assert round(upper_when_nothing_kept(p)) == bound


def test_a_mean_weighs_each_record_by_what_it_stands_for() -> None:
    """990 of 9900 calls without error kept at 10 %, and all 100 errors: 1 % errors, not 9.2 %."""
    kept = [Kept(f"ok{i}", 10.0, 0.0) for i in range(990)] + [Kept(f"bad{i}", 1.0, 1.0) for i in range(100)]
    estimate = estimate_mean(kept)
    assert estimate.value == pytest.approx(0.01)
    assert estimate.low < 0.01 < estimate.high


def test_unequal_weights_tell_less_than_their_number() -> None:
    assert effective_size([Kept("a", 3.0)] * 10) == pytest.approx(10)
    assert effective_size([Kept("a", 100.0)] + [Kept("b", 1.0)] * 10) < 2
    assert effective_size([]) == 0


@pytest.mark.parametrize("empty", [lambda: estimate_mean([]), lambda: quantile([], 0.5)])
def test_no_records_have_no_mean_and_no_quantile(empty: Any) -> None:
    with pytest.raises(ValueError, match="at least one"):
        empty()


def sample(rng: random.Random, traces: list[list[float]], p: float) -> list[Kept]:
    """Whole traces kept with probability p."""
    return [Kept(str(n), 1 / p, value) for n, spans in enumerate(traces) if rng.random() < p for value in spans]


def population(rng: random.Random, traces: int = 1500) -> list[list[float]]:
    """1 to 12 spans per trace; durations of one trace resemble each other."""
    made = []
    for _ in range(traces):
        scale = rng.lognormvariate(0, 1)
        made.append([scale * rng.lognormvariate(3, 0.5) for _ in range(rng.randint(1, 12))])
    return made


def test_intervals_hold_as_often_as_they_claim_and_independent_ones_do_not() -> None:
    """300 samples of 10 %: about 95 % of the intervals contain the truth, in totals, means and quantiles."""
    rng = random.Random(2)
    traces = population(rng)
    values = sorted(v for spans in traces for v in spans)
    truth = {
        "count": float(len(values)),
        "mean": sum(values) / len(values),
        "p90": values[math.ceil(0.9 * len(values)) - 1],
    }
    held = dict.fromkeys([*truth, "independent"], 0)
    for _ in range(300):
        kept = sample(rng, traces, 0.1)
        counted = [k._replace(value=1.0) for k in kept]
        for name, estimate in (
            ("count", estimate_total(counted)),
            ("mean", estimate_mean(kept)),
            ("p90", estimate_quantile(kept, 0.9)),
        ):
            held[name] += (estimate.low or 0.0) <= truth[name] <= (estimate.high or math.inf)
        half = 1.96 * math.sqrt(naive_variance(counted))
        held["independent"] += abs(total(counted) - truth["count"]) <= half
    assert all(0.89 <= held[name] / 300 <= 0.995 for name in truth), held
    assert held["independent"] / 300 < 0.7
