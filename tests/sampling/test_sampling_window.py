"""The hard cap on a window: exactly unbiased for every record, and the decisions that it leaves."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from mapping.event import Decision
from mapping.sampling.counts import CountKey
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M, weight
from mapping.sampling.window import Cap, Place, Tallied, Window, cap_of, place_of, under_cap

TOP = 64  # values of R in the exact test, so that every one can be tried
Traces = Sequence[Sequence[int]]  # thresholds that the records of each trace must get past
Capping = Callable[[list[tuple[int, int]], int], Cap]


def arrivals(traces: Traces, rs: Sequence[int]) -> list[tuple[int, int]]:
    return [(r, t) for ts, r in zip(traces, rs, strict=True) for t in ts if r >= t]


def own_threshold(places: list[tuple[int, int]], budget: int) -> Cap:
    return cap_of(places, budget, top=TOP)


def everything_that_came(places: list[tuple[int, int]], budget: int) -> Cap:
    """The defect: records of its own trace that a higher threshold may have dropped count for a record as well."""
    return cap_of([(r, 0) for r, _ in places], budget, top=TOP)


def contradictions(capping: Capping, trials: int = 120) -> tuple[int, int]:
    """(records tried, those kept at some R with a T that differs from the one at another R).

    Had each record any other R, all else as it was, it must be kept exactly where that R is at least its T, and with
    the same T: then it is kept with the probability that is written on it, and all it stands for is right on average.
    """
    rng = random.Random(5)
    tried = wrong = 0
    for _ in range(trials):
        traces = [[rng.choice([0, 0, 16, 32, 48]) for _ in range(rng.randint(1, 5))] for _ in range(8)]
        budget = rng.choice([4, 7, 10, 14])
        rs = rng.sample(range(TOP), len(traces))
        cap = capping(arrivals(traces, rs), budget)
        for at, (ts, r) in enumerate(zip(traces, rs, strict=True)):
            for t in {t for t in ts if r >= t}:
                t_out = max(t, cap.of(r, t))
                if r < t_out:
                    continue
                tried += 1
                for other in set(range(t, TOP)) - set(rs):
                    then = capping(arrivals(traces, [*rs[:at], other, *rs[at + 1 :]]), budget)
                    t_then = max(t, then.of(other, t))
                    if (other >= t_then) != (other >= t_out) or (other >= t_then and t_then != t_out):
                        wrong += 1
                        break
    return tried, wrong


def test_every_record_is_kept_with_the_probability_that_is_written_on_it() -> None:
    tried, wrong = contradictions(own_threshold)
    assert tried > 500
    assert wrong == 0


def test_counting_everything_that_came_is_found() -> None:
    assert contradictions(everything_that_came, 40)[1] > 10


def places(rng: random.Random, traces: int, huge: int = 0) -> list[tuple[int, int]]:
    population = [[rng.choice([0, 0, M // 2, M // 4 * 3]) for _ in range(rng.randint(1, 6))] for _ in range(traces)]
    population.append([0, M // 2] * huge)
    found = arrivals(population, [rng.getrandbits(56) for _ in population])
    rng.shuffle(found)
    return found


@pytest.mark.parametrize("huge", [0, 40])
def test_no_window_keeps_more_than_its_budget_in_whole_traces(huge: int) -> None:
    rng = random.Random(3)
    for budget in (1, 2, 9, 30):
        for _ in range(20):
            came = places(rng, 40, huge)
            cap = cap_of(came, budget)
            kept: dict[int, int] = {}
            for r, t in came:
                if r >= max(t, cap.of(r, t)):
                    kept[r] = kept.get(r, 0) + 1
            assert sum(min(n, max(1, budget // 2)) for n in kept.values()) <= budget


@pytest.mark.parametrize("huge", [0, 40])
def test_what_a_window_forgets_changes_no_cap(huge: int) -> None:
    """And what a cap in the middle of the window excludes stays out, so it need not be held."""
    rng = random.Random(8)
    for budget in (1, 8, 25):
        came = places(rng, 120, huge)
        window, out = Window(budget), []
        for n, (r, t) in enumerate(came):
            window.add(r, t)
            if n % 10 == 9:
                so_far = window.cap()
                out += [(r, t) for r, t in came[: n + 1] if r < so_far.of(r, t)]
                window.forget()
        cap = cap_of(came, budget)
        assert window.cap() == cap
        assert out
        assert all(r < cap.t == cap.of(r, t) for r, t in out)
        window.forget()
        assert len(window._units) <= 2 * budget + 2


def survivor(settings: dict[str, object], trace_id: bytes, trace_state: str = "") -> Decision:
    budget = {"events_per_second": 1000, "window_s": "1s"}
    sampler = Sampler(SamplingSettings.model_validate({"budget": budget, **settings}))
    sampler.tick(1)
    decision = sampler.span(trace_id, trace_state, lambda path: None)
    assert decision.keep
    return decision


HIGH = b"\x01" * 9 + b"\xf0" * 7


@pytest.mark.parametrize(
    ("settings", "trace_state"),
    [
        ({}, ""),
        ({"rate": 50}, ""),
        ({"rate": "1/3"}, "ot=th:8"),
        ({}, "ot=th:8;rv:f1000000000000"),
        ({}, "ot=rv:f1000000000000"),
        ({"randomness": "hash"}, ""),
        ({"trust_upstream": False}, "ot=th:8"),
        ({}, "ot=th:ff"),
    ],
)
def test_a_cap_decides_as_a_rule_with_its_threshold_would(settings: dict[str, object], trace_state: str) -> None:
    """Same threshold, weights, probability, and the same randomness handed on."""
    before = survivor(settings, HIGH, trace_state)
    at = place_of(before, HIGH.hex())
    assert under_cap(before, at, 0)._replace(rv="") == before._replace(rv="")
    for t_cap in (at.t + 1, at.r // 2 + at.t // 2 + 1, at.r):
        after = under_cap(before, at, t_cap)
        assert int(after.th.ljust(14, "0"), 16) == t_cap
        assert after.adjusted_count == M / (M - t_cap) == pytest.approx(1 / after.p)
        assert after.weight == weight(t_cap, at.r)
        assert after.rule == before.rule
        shown = "rv:" in trace_state or settings.get("randomness") == "hash"
        assert after.rv == (f"{at.r:014x}" if shown else "")


def test_a_log_that_follows_the_rv_of_a_span_shares_its_fate_under_a_cap() -> None:
    """Its own threshold is on the scale on which its randomness is uniform; both are compared on the span's."""
    rng = random.Random(6)
    budget = {"events_per_second": 1000, "window_s": "1s"}
    for passed in (0x8 << 52, 0xE666 << 40, 0xC1234 << 36):
        sampler = Sampler(SamplingSettings.model_validate({"budget": budget, "rate": 30}))
        sampler.tick(1)
        kept = 0
        while kept < 40:
            trace_id, rv = rng.randbytes(16), rng.randrange(passed, M)
            span = sampler.span(trace_id, f"ot=th:{f'{passed:014x}'.rstrip('0')};rv:{rv:014x}", lambda path: None)
            log = sampler.log(trace_id, None, None, lambda: b"", lambda path: None)
            assert span.keep == log.keep
            if not span.keep:
                continue
            kept += 1
            assert log.r_source == "trace_rv"
            of_span, of_log = place_of(span, trace_id.hex()), place_of(log, trace_id.hex())
            assert (of_log.r, of_log.t) == (of_span.r, of_span.t) == (rv, max(passed, of_span.t))
            t_cap = rng.randrange(of_span.t + 1, rv + 1) if rv > of_span.t else rv
            after = under_cap(log, of_log, t_cap)
            assert int(after.rv, 16) >= int(after.th.ljust(14, "0"), 16)
            assert after.adjusted_count == pytest.approx((M - passed) / (M - t_cap))


def test_a_stated_weight_still_multiplies_and_is_no_sampling_of_ours() -> None:
    before = survivor({}, HIGH)._replace(upstream="weight_attribute", weight=3, adjusted_count=2.5, p=0.4)
    at = place_of(before, HIGH.hex())
    after = under_cap(before, at, M // 4 * 3)
    assert (after.weight, after.adjusted_count, after.p) == (12, 10.0, 0.1)
    tallied = Tallied()
    tallied.keep(before, at, M // 4 * 3)
    [(key, sums)] = tallied.sums(M // 4 * 3).items()
    assert key == CountKey("default", "kept", "none", "trace_id")
    assert (sums.records, sums.adjusted_in, sums.adjusted_out) == (1, 1.0, 4.0)


def test_what_the_cap_drops_is_counted_with_the_probability_it_had() -> None:
    before = survivor({"rate": 50}, HIGH)
    tallied = Tallied()
    for _ in range(30):
        tallied.drop(before)
    tallied.keep(before, Place(M - 1, M // 2, 0), M // 10 * 9)
    sums = tallied.sums(M // 10 * 9)
    capped = sums[CountKey("default", "capped", "none", "trace_id")]
    assert capped[:3] == (30, 30.0, 0.0)
    assert capped.expected == pytest.approx(3)
    assert capped.variance == pytest.approx(30 * 9)
    assert sums[CountKey("default", "kept", "none", "trace_id")].adjusted_out == pytest.approx(10)
