"""Controllers that choose thresholds by themselves, many times over: their totals must be right on average."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from mapping.sampling.budget import bottom_k
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M

LIMIT = 4.0  # standard errors of the mean
S = 10**9
START = 1_800_000_000 * S


def deviation(errors: Sequence[float]) -> float:
    mean = math.fsum(errors) / len(errors)
    variance = math.fsum((e - mean) ** 2 for e in errors) / (len(errors) - 1)
    return mean / math.sqrt(variance / len(errors))


Threshold = Callable[[list[tuple[int, int]], int], int]


def window_errors(threshold: Threshold, budget: int, huge: int = 0, replicates: int = 600) -> list[float]:
    """Relative errors of the count of records, for windows of 60 traces with 1 to 8 records each."""
    rng = random.Random(f"{budget} {huge}")
    errors = []
    for _ in range(replicates):
        traces = [(rng.getrandbits(56), rng.randint(1, 8)) for _ in range(60)]
        if huge:
            traces.append((rng.getrandbits(56), huge))
        t = threshold(traces, budget)
        total = sum(n * M / (M - t) for r, n in traces if r >= t)
        errors.append(total / sum(n for _, n in traces) - 1)
    return errors


@pytest.mark.parametrize(("budget", "huge"), [(20, 0), (60, 0), (150, 0), (1000, 0), (60, 100)])
def test_a_hard_cap_on_a_window_leaves_totals_unbiased(budget: int, huge: int) -> None:
    errors = window_errors(bottom_k, budget, huge)
    assert not any(errors) if budget == 1000 else abs(deviation(errors)) < LIMIT


def test_a_window_keeps_about_its_budget_and_never_more() -> None:
    rng = random.Random(4)
    kept = []
    for _ in range(300):
        traces = [(rng.getrandbits(56), rng.randint(1, 8)) for _ in range(60)]
        t = bottom_k(traces, 60)
        kept.append(sum(n for r, n in traces if r >= t))
    assert max(kept) <= 60
    assert sum(kept) / len(kept) > 54


def last_included(traces: list[tuple[int, int]], budget: int) -> int:
    """The defect: the threshold is the R of the last trace that fits."""
    excluded = bottom_k(traces, budget) - 1
    return min((r for r, _ in traces if r > excluded), default=0) if excluded >= 0 else 0


def without_size_cap(traces: list[tuple[int, int]], budget: int) -> int:
    """The defect: a trace larger than the budget never fits, whatever its R."""
    return bottom_k(traces, budget, size_cap=1 << 30)


def test_a_threshold_that_belongs_to_a_kept_trace_is_found() -> None:
    assert deviation(window_errors(last_included, 20)) > LIMIT


def test_a_trace_that_can_never_be_kept_is_found() -> None:
    assert deviation(window_errors(without_size_cap, 60, huge=100)) < -LIMIT


def budget_error(seed: int, excess: float = 0.0) -> float:
    """Relative error of 40 s under a budget, with a load that wanders. excess: a defect, thinned records weigh more."""
    rng = random.Random(seed)
    sampler = Sampler(SamplingSettings.model_validate({"budget": {"events_per_second": 20, "epoch": "5s"}}))
    sampler.tick(START)
    pace, came, total = 60.0, 0, 0.0
    for second in range(40):
        pace = min(120.0, max(20.0, pace * rng.choice([0.7, 1.0, 1.4])))
        for n in range(int(pace)):
            values = {"company": rng.choice("abcc"), "time_unix_nano": START + second * S + n}
            decision = sampler.span(rng.randbytes(16), "", values.get)
            came += 1
            total += decision.adjusted_count * (1 + excess if decision.p < 0.2 else 1)
        sampler.tick(START + (second + 1) * S)
    return total / came - 1


def test_totals_under_a_budget_are_unbiased_while_load_and_rates_wander() -> None:
    assert abs(deviation([budget_error(seed) for seed in range(120)])) < LIMIT


def test_an_error_of_a_tenth_in_the_weights_under_a_budget_is_found() -> None:
    assert deviation([budget_error(seed, excess=0.1) for seed in range(120)]) > LIMIT
