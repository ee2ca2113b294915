"""Controllers that choose thresholds by themselves, many times over: their totals must be right on average."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from test_sampling_statistics import Item, count, logs, population, received, size

from mapping.event import Decision
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M
from mapping.sampling.window import Cap, cap_of, decided, place_of

LIMIT = 4.0  # standard errors of the mean
S = 10**9
START = 1_800_000_000 * S


def deviation(errors: Sequence[float]) -> float:
    mean = math.fsum(errors) / len(errors)
    variance = math.fsum((e - mean) ** 2 for e in errors) / (len(errors) - 1)
    return mean / math.sqrt(variance / len(errors))


Capping = Callable[[list[tuple[int, int]], int], Cap]
THRESHOLDS = [0, 0, M // 10 * 4, M // 10 * 7, M // 100 * 85]  # of upstream and rules; errors are not thinned at all


def window_errors(capping: Capping, budget: int, huge: int = 0, replicates: int = 1000) -> list[float]:
    """Relative errors of the count of records, for windows of 60 traces with 1 to 8 records at several thresholds."""
    rng = random.Random(f"{budget} {huge}")
    errors = []
    for _ in range(replicates):
        traces = [[rng.choice(THRESHOLDS) for _ in range(rng.randint(1, 8))] for _ in range(60)]
        if huge:
            traces.append([rng.choice(THRESHOLDS) for _ in range(huge)])
        came = [(r, t) for ts in traces for r in (rng.getrandbits(56),) for t in ts if r >= t]
        cap = capping(came, budget)
        kept = [max(t, cap.of(r, t)) for r, t in came if r >= cap.of(r, t)]
        errors.append(sum(M / (M - t) for t in kept) / sum(map(len, traces)) - 1)
    return errors


@pytest.mark.parametrize(("budget", "huge"), [(8, 0), (20, 0), (60, 0), (60, 100)])
def test_a_hard_cap_on_a_window_leaves_totals_unbiased(budget: int, huge: int) -> None:
    assert abs(deviation(window_errors(cap_of, budget, huge))) < LIMIT


def test_a_window_keeps_about_its_budget_and_never_more() -> None:
    rng = random.Random(4)
    kept = []
    for _ in range(300):
        came = [(r, 0) for _ in range(60) for r in (rng.getrandbits(56),) for _ in range(rng.randint(1, 8))]
        t = cap_of(came, 60).t
        kept.append(sum(r >= t for r, _ in came))
    assert max(kept) <= 60
    assert sum(kept) / len(kept) > 54


def last_included(came: list[tuple[int, int]], budget: int) -> Cap:
    """The defect: the threshold is the R of the last trace that fits."""
    t = cap_of([(r, 0) for r, _ in came], budget).t
    return Cap(min((r for r, _ in came if r >= t), default=0) if t else 0)


def without_size_cap(came: list[tuple[int, int]], budget: int) -> Cap:
    """The defect: a trace larger than the budget never fits, whatever its R."""
    return cap_of(came, budget, size_cap=1 << 30)


def test_a_threshold_that_belongs_to_a_kept_trace_is_found() -> None:
    assert deviation(window_errors(last_included, 20)) > LIMIT


def test_a_trace_that_can_never_be_kept_is_found() -> None:
    assert deviation(window_errors(without_size_cap, 60, huge=100)) < -LIMIT


def unthinned_error(capping: Capping, seed: int) -> float:
    """Error of the count of one record that nothing thins, in a trace whose other three an SDK thins to a half."""
    rng = random.Random(seed)
    total, n = 0.0, 500
    for _ in range(n):
        rs = [rng.getrandbits(56) for _ in range(13)]
        cap = capping([(r, 0) for r in rs] + [(rs[0], M // 2)] * 3 * (rs[0] >= M // 2), 8)
        t = cap.of(rs[0], 0)
        total += M / (M - t) if rs[0] >= t else 0.0
    return total / n - 1


def everything_that_came(came: list[tuple[int, int]], budget: int) -> Cap:
    """The defect: of a record's own trace count also those that are here only for some of its R."""
    return cap_of([(r, 0) for r, _ in came], budget)


def test_a_record_among_others_that_are_thinned_more_counts_as_one() -> None:
    assert abs(deviation([unthinned_error(cap_of, seed) for seed in range(100)])) < LIMIT


def test_counting_everything_of_its_own_trace_is_found() -> None:
    assert deviation([unthinned_error(everything_that_came, seed) for seed in range(100)]) > LIMIT


ERRORS = [{"name": "errors", "rate": 100, "when": [{"path": "status", "op": "gte", "value": 500}]}]
Final = Callable[[Decision, str, Cap], Decision | None]


class Sampled(NamedTuple):
    population: list[Item]
    kept: list[tuple[Item, Decision]]

    def error(self, weight: str = "adjusted_count", worth: Callable[[Item], float] = count) -> float:
        """Relative error of a total."""
        total = math.fsum(getattr(decision, weight) * worth(item) for item, decision in self.kept)
        return total / math.fsum(map(worth, self.population)) - 1


def capped(
    seed: int, rate: str, capping: Capping = cap_of, final: Final = decided, traces: int = 150, budget: int = 40
) -> Sampled:
    """Windows of 150 records: spans and logs, three upstream rates, errors at 100 %."""
    rng = random.Random(f"{seed} {rate}")
    sampler = Sampler(
        SamplingSettings.model_validate(
            {"rules": ERRORS, "rate": rate, "budget": {"events_per_second": budget, "window_s": "1s"}}
        )
    )
    sampler.budget = None  # rates of a budget have tests of their own; all the rest is for the cap
    items = population(rng, traces)
    came, kept = received(items), []
    for start in range(0, len(came), 150):
        survivors = []
        for item in came[start : start + 150]:
            facts = {"status": 500 if item.error else 200}.get
            if item.signal == "span":
                d = sampler.span(item.trace_id, f"ot=th:{item.upstream}" if item.upstream else "", facts)
            else:
                d = sampler.log(item.trace_id, item.upstream or None, None, lambda: b"", facts)
            if d.keep:
                survivors.append((item, d))
        cap = capping([place_of(d, item.trace_id.hex())[:2] for item, d in survivors], budget)
        kept += [(item, after) for item, d in survivors if (after := final(d, item.trace_id.hex(), cap)) is not None]
    return Sampled(items, kept)


@pytest.mark.parametrize("rate", ["15", "30", "60", "100"])
def test_totals_of_capped_windows_are_unbiased_by_both_weights(rate: str) -> None:
    samples = [capped(seed, rate) for seed in range(100)]
    for weight in ("adjusted_count", "weight"):
        for worth in (count, size, logs):
            assert abs(deviation([sample.error(weight, worth) for sample in samples])) < LIMIT


def rounded_down(decision: Decision, trace_id: str, cap: Cap) -> Decision | None:
    """The defect: integer weights of 1/p, cut off."""
    after = decided(decision, trace_id, cap)
    return after and after._replace(weight=int(after.adjusted_count))


def ignoring_what_they_passed(decision: Decision, trace_id: str, cap: Cap) -> Decision | None:
    """The defect: T_cap alone, whatever threshold the record had passed before."""
    return decided(decision._replace(th="", p=1.0, adjusted_count=1.0), trace_id, cap)


def multiplying(decision: Decision, trace_id: str, cap: Cap) -> Decision | None:
    """The defect: both stages used the same R, so their counts must not be multiplied."""
    after = decided(decision, trace_id, cap)
    return after and after._replace(adjusted_count=decision.adjusted_count * M / (M - cap.t))


def test_wrong_weights_of_capped_windows_are_found() -> None:
    def errors(rate: str, weight: str = "adjusted_count", **defect: Any) -> float:
        return deviation([capped(seed, rate, **defect).error(weight) for seed in range(100)])

    assert errors("100", "weight", final=rounded_down, budget=90) < -LIMIT
    assert errors("30", final=ignoring_what_they_passed) < -LIMIT
    assert errors("60", final=multiplying) > LIMIT
    assert errors("60", capping=last_included) > LIMIT


def budget_error(seed: int, excess: float = 0.0) -> float:
    """Relative error of 40 s under a budget, with a load that wanders. excess: a defect, thinned records weigh more."""
    rng = random.Random(seed)
    sampler = Sampler(SamplingSettings.model_validate({"budget": {"events_per_second": 20, "epoch_s": "5s"}}))
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
