"""Are the weights right? Whole populations through the sampler, many times over, against the truth.

Two kinds of test. One run over a large population, with the error that the estimator itself claims: finds
what is off by a sixth or more. And the mean of 100 replicates: finds what is off by one in a hundred. Seeds
are fixed; a bound of 4 standard errors is exceeded by chance once in 16 000. Each test is also given a
defect, and must find it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pytest

from bench.estimate import Kept, estimate_total
from mapping.sampling.decide import Policy, of_span
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M, parse_th
from mapping.sampling.tracestate import parse

RATES = ["15", "30", "60", "100"]  # three of them no divisors of 100, where rounded weights go wrong
UPSTREAMS = ["", "8", "e"]  # thresholds of three services' own samplers: all, half, an eighth
LIMIT = 4.0


class Item(NamedTuple):
    trace_id: bytes
    upstream: str  # th that its sampler left, "" for none
    signal: str  # span | log
    size: float  # something to add up
    error: bool


class Outcome(NamedTuple):
    keep: bool
    weight: float


Decide = Callable[[Item], Outcome]


def population(rng: random.Random, traces: int) -> list[Item]:
    """Every item there ever was: traces of 1 to 6 spans and 0 to 3 logs, 2 % with an error."""
    items: list[Item] = []
    for _ in range(traces):
        trace_id, upstream = rng.randbytes(16), rng.choice(UPSTREAMS)
        scale = rng.lognormvariate(0, 1)
        failing = rng.random() < 0.02
        items.extend(
            Item(trace_id, upstream, "span", scale * rng.random(), failing and n == 0) for n in range(rng.randint(1, 6))
        )
        items.extend(Item(trace_id, upstream, "log", scale, False) for _ in range(rng.randint(0, 3)))
    return items


def received(items: Iterable[Item]) -> list[Item]:
    """What the services' samplers let through."""
    return [i for i in items if int.from_bytes(i.trace_id[9:], "big") >= max(parse_th(i.upstream), 0)]


def weighing(rate: str, weight: str = "adjusted_count", **settings: Any) -> Decide:
    """The sampler itself. weight: which of the two weights of an event is used."""
    sampler = Sampler(SamplingSettings.model_validate({"rate": rate, **settings}))

    def decide(item: Item) -> Outcome:
        facts = {"status": 500 if item.error else 200}.get
        if item.signal == "span":
            d = sampler.span(item.trace_id, f"ot=th:{item.upstream}" if item.upstream else "", facts)
        else:
            d = sampler.log(item.trace_id, item.upstream or None, None, lambda: b"", facts)
        return Outcome(d.keep, d.adjusted_count if weight == "adjusted_count" else d.weight)

    return decide


def deviation(rng: random.Random, decide: Callable[[], Decide], value: Callable[[Item], float]) -> float:
    """100 replicates: mean of (estimate / truth - 1) in its standard errors."""
    errors = []
    for _ in range(100):
        items, decider = population(rng, 250), decide()
        truth = math.fsum(value(i) for i in items)
        kept = ((o.weight, value(i)) for i in received(items) if (o := decider(i)).keep)
        errors.append(math.fsum(w * v for w, v in kept) / truth - 1)
    mean = math.fsum(errors) / len(errors)
    variance = math.fsum((e - mean) ** 2 for e in errors) / (len(errors) - 1)
    return mean / math.sqrt(variance / len(errors)) if variance else mean * math.inf if mean else 0.0


def count(item: Item) -> float:
    return 1.0


def size(item: Item) -> float:
    return item.size


def logs(item: Item) -> float:
    return float(item.signal == "log")


def heavily_thinned(item: Item) -> float:
    return float(item.upstream == "e")


@pytest.mark.parametrize("rate", RATES)
def test_one_large_population_is_estimated_within_its_own_error(rate: str) -> None:
    rng = random.Random(f"large {rate}")
    items = population(rng, 6000)
    decide = weighing(rate)
    for value in (count, size, logs, heavily_thinned):
        kept = [
            Kept(i.trace_id.hex(), o.weight, value(i)) for i in received(items) if value(i) and (o := decide(i)).keep
        ]
        estimate = estimate_total(kept)
        truth = math.fsum(value(i) for i in items)
        assert abs(estimate.value - truth) <= LIMIT * estimate.standard_error
        assert estimate.standard_error / truth < 0.12


@pytest.mark.parametrize("weight", ["adjusted_count", "integer"])
@pytest.mark.parametrize("rate", RATES)
def test_both_weights_are_unbiased(rate: str, weight: str) -> None:
    rng = random.Random(f"{rate} {weight}")
    assert abs(deviation(rng, lambda: weighing(rate, weight), count)) < LIMIT
    assert abs(deviation(rng, lambda: weighing(rate, weight), size)) < LIMIT


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "proportional"},
        {"randomness": "hash"},
        {"rules": [{"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100}]},
        {"precision": 1},
    ],
    ids=lambda s: next(iter(s)),
)
def test_every_way_to_set_a_rate_is_unbiased(settings: dict[str, Any]) -> None:
    rng = random.Random(9)
    assert abs(deviation(rng, lambda: weighing("30", **settings), count)) < LIMIT
    assert abs(deviation(rng, lambda: weighing("30", **settings), heavily_thinned)) < LIMIT


def test_errors_that_are_always_kept_are_counted_once() -> None:
    rules = [{"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100}]
    items = [i for i in population(random.Random(3), 20_000) if not i.upstream]
    decide = weighing("15", rules=rules)
    assert sum(decide(i).weight for i in items if i.error) == sum(i.error for i in items)


def test_an_unsampled_population_is_counted_exactly() -> None:
    items = [i._replace(upstream="") for i in population(random.Random(4), 5000)]
    decide = weighing("100")
    assert sum(decide(i).weight for i in items) == len(items)


def test_traces_live_or_die_as_a_whole_and_lower_rates_keep_a_subset() -> None:
    items = received(population(random.Random(5), 5000))
    before: set[bytes] | None = None
    for rate in reversed(RATES):
        decide = weighing(rate)
        kept, dropped = _fates(items, decide)
        assert not kept & dropped
        assert before is None or kept <= before
        before = kept


def test_traces_stay_whole_when_their_ids_are_hashed() -> None:
    kept, dropped = _fates(
        [i._replace(upstream="") for i in population(random.Random(6), 2000)], weighing("30", randomness="hash")
    )
    assert kept
    assert not kept & dropped


def _fates(items: Sequence[Item], decide: Decide) -> tuple[set[bytes], set[bytes]]:
    kept: set[bytes] = set()
    dropped: set[bytes] = set()
    for item in items:
        (kept if decide(item).keep else dropped).add(item.trace_id)
    return kept, dropped


def test_order_and_division_of_labour_change_nothing() -> None:
    items = received(population(random.Random(7), 2000))
    alone = list(map(weighing("30"), items))
    assert list(map(weighing("30"), items)) == alone
    workers = [weighing("30"), weighing("30")]
    order = list(range(len(items)))
    random.Random(8).shuffle(order)
    divided = {n: workers[n % 2](items[n]) for n in order}
    assert [divided[n] for n in range(len(items))] == alone


def test_forced_and_stale_thresholds_are_counted_as_received() -> None:
    """A threshold that contradicts its randomness counts for nothing: records count as what arrived."""
    rng = random.Random(10)
    ratios = []
    for _ in range(100):
        sampler = Sampler(SamplingSettings(rate="50"))
        ids = [rng.randbytes(16) for _ in range(300)]
        decisions = [sampler.span(i, "ot=th:c", lambda path: None) for i in ids if i[9] < 0xC0]
        ratios.append(sum(d.weight for d in decisions) / len(decisions) - 1)
    mean = sum(ratios) / 100
    assert abs(mean) < LIMIT * math.sqrt(sum((r - mean) ** 2 for r in ratios) / 99 / 100)


def logs_of_traces_with_rv(seed: int, rate: str, weight: str, mode: str = "equalizing") -> tuple[float, float]:
    """(estimate / truth - 1, traces torn) for unsampled logs whose spans a sampler with an rv of its own thinned.

    Four spans in five arrive before their log, which then learns the rv of a trace that was kept upstream.
    """
    rng = random.Random(f"{seed} {rate} {weight}")
    sampler = Sampler(SamplingSettings.model_validate({"rate": rate, "mode": mode}))
    total, torn, traces = 0.0, 0, 400
    for _ in range(traces):
        trace_id, rv, upstream = rng.randbytes(16), rng.getrandbits(56), rng.choice(["0", "8", "e"])
        span = None
        if rv >= parse_th(upstream) and rng.random() < 0.8:
            span = sampler.span(trace_id, f"ot=th:{upstream};rv:{rv:014x}", lambda path: None)
        log = sampler.log(trace_id, None, None, lambda: b"", lambda path: None)
        total += log.adjusted_count if weight == "adjusted_count" else log.weight
        torn += span is not None and span.keep != log.keep
    return total / traces - 1, torn


@pytest.mark.parametrize("mode", ["equalizing", "proportional"])
@pytest.mark.parametrize("weight", ["adjusted_count", "integer"])
@pytest.mark.parametrize("rate", RATES)
def test_logs_that_follow_the_rv_of_a_sampled_trace_count_as_one_each(rate: str, weight: str, mode: str) -> None:
    """Only traces that upstream kept show their rv; taken for an unconditional one, it counts 1.5 times at 50 %."""
    runs = [logs_of_traces_with_rv(seed, rate, weight, mode) for seed in range(100)]
    errors = [error for error, _ in runs]
    mean = math.fsum(errors) / 100
    assert abs(mean) <= LIMIT * math.sqrt(math.fsum((e - mean) ** 2 for e in errors) / 99 / 100)
    assert sum(torn for _, torn in runs) == 0


# -- the same tests, given a defect, find it
# ------------------------------------------------------------------------


def rounded_down(rate: str) -> Decide:
    """Weights as the Moesif SDKs send them: floor(100 / rate)."""
    decide = weighing(rate)
    return lambda item: (o := decide(item))._replace(weight=math.floor(o.weight))


def ignoring_thresholds(rate: str) -> Decide:
    decide = weighing(rate)
    return lambda item: decide(item._replace(upstream=""))


def multiplying(rate: str) -> Decide:
    """A_in times A_rule, as if the stages were independent."""
    decide, own = weighing(rate), weighing(rate)

    def wrong(item: Item) -> Outcome:
        outcome = decide(item)
        a_in = M / (M - max(parse_th(item.upstream), 0))
        base = own(item._replace(trace_id=b"\xff" * 16, upstream="")).weight
        return outcome._replace(weight=a_in * base)

    return wrong


def base_weight_for_errors(rate: str) -> Decide:
    rules = [{"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100}]
    decide, base = weighing(rate, rules=rules), weighing(rate)
    everything = base(Item(b"\xff" * 16, "", "span", 0.0, False)).weight
    return lambda item: (o := decide(item))._replace(weight=max(o.weight, everything))


@pytest.mark.parametrize("defect", [rounded_down, ignoring_thresholds, multiplying, base_weight_for_errors])
def test_a_wrong_weight_is_found(defect: Callable[[str], Decide]) -> None:
    rng = random.Random(defect.__name__)
    value = (lambda item: float(item.error)) if defect is base_weight_for_errors else count
    assert abs(deviation(rng, lambda: defect("60" if defect is rounded_down else "30"), value)) > LIMIT


def test_one_draw_per_span_is_found() -> None:
    """Totals stay unbiased; what breaks is that traces are whole."""
    rng = random.Random(13)
    rate = weighing("30")

    def draw(item: Item) -> Outcome:
        return rate(item._replace(trace_id=rng.randbytes(16), upstream=""))

    kept, dropped = _fates([i._replace(upstream="") for i in population(rng, 200)], draw)
    assert len(kept & dropped) > 100


def test_reusing_randomness_after_erasing_a_threshold_is_found() -> None:
    """R of an inconsistent record lies below its T_in: thinning by it again loses a third of the count."""
    rng = random.Random(14)
    ids = [i for i in (rng.randbytes(16) for _ in range(8000)) if i[9] < 0xC0]
    assert all(of_span(i, parse("ot=th:c"), Policy()).status == "inconsistent" for i in ids)
    reused = sum(2 for i in ids if i[9] >= 0x80)
    assert reused / len(ids) == pytest.approx(0.67, abs=0.03)


def test_feeding_back_what_was_kept_is_found() -> None:
    """Raising the rate while nothing was kept counts later spans 1.75 times: why budgets see arrivals only."""
    rng = random.Random(15)
    total = 0.0
    for _ in range(4000):
        r = rng.random()
        first_kept = r >= 0.9
        p = 0.1 if first_kept else 0.4
        total += 1 / p if r >= 1 - p else 0.0
    assert total / 4000 == pytest.approx(1.75, abs=0.15)
