"""Whole traces: one decision for each, bounded memory, late items, and weights that still add up."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest

from events import SECOND_NS, event
from mapping.event import LOG, Event
from mapping.event_json import sampling_json
from mapping.sampling.decide import Rate
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings, TailSettings
from mapping.sampling.stated import weigh
from mapping.sampling.tail import Released, Shed, TailBuffer, _digest
from mapping.sampling.thresholds import M, threshold
from mapping.sampling.whole_traces import Finished, TraceFacts, WholeTraces

START_NS = 1_795_200_000_000_000_000
BASE, ALL = Rate("base", Fraction(1, 10)), Rate("errors", Fraction(1))


def no_facts(path: str) -> object:
    return None


def errors_first(items: Sequence[str]) -> Rate:
    return ALL if "error" in items else BASE


def buffer(**settings: Any) -> TailBuffer[str]:
    return TailBuffer(TailSettings.model_validate(settings), errors_first)


def trace(n: int) -> bytes:
    return n.to_bytes(9, "big") + M.to_bytes(8, "big")[1:]


def test_a_trace_is_decided_once_after_the_wait_with_all_it_has() -> None:
    b = buffer(decision_wait_s="10s")
    assert b.add(trace(1), "call", 100, 0, now_s=0.0) == []
    assert b.add(trace(1), "error", 100, 0, now_s=5.0) == []
    assert b.tick(9.9) == []
    assert b.tick(10.0) == [Released(trace(1), ["call", "error"], ALL, False, False, 0)]
    assert (len(b), b.bytes) == (0, 0)


def test_the_root_can_shorten_the_wait() -> None:
    b = buffer(decision_wait_s="10s", delay_after_root_s="2s")
    b.add(trace(1), "call", 1, 0, now_s=0.0)
    b.add(trace(2), "call", 1, 0, now_s=0.0)
    b.add(trace(2), "root", 1, 0, now_s=1.0, root=True)
    assert [r.trace_id for r in b.tick(3.0)] == [trace(2)]
    assert [r.trace_id for r in b.tick(10.0)] == [trace(1)]


def test_a_full_buffer_decides_the_oldest_early_and_loses_nothing() -> None:
    b = buffer(max_bytes=1000)
    released = [r for n in range(30) for r in b.add(trace(n), f"item{n}", 100, 0, now_s=float(n) / 10)]
    assert b.bytes <= 1000
    assert [r.items[0] for r in released] == [f"item{n}" for n in range(20)]
    assert all(r.early for r in released)
    assert b.decided_early == 20
    assert len(b.drain()) == 10


def test_a_huge_trace_is_decided_early_and_the_rest_streams_under_the_same_decision() -> None:
    b = buffer(max_trace_bytes=250)
    assert b.add(trace(1), "call", 200, 0, 0.0) == []
    (first,) = b.add(trace(1), "call", 200, 0, 0.0)
    (rest,) = b.add(trace(1), "error", 200, 0, 0.0)
    assert (first.rate, first.early, first.late) == (BASE, True, False)
    assert (rest.rate, rest.late) == (BASE, True)
    assert b.bytes == 0


def test_late_items_meet_the_decision_of_their_trace_whatever_it_was() -> None:
    b = buffer(decision_wait_s="1s")
    b.add(trace(1), "call", 1, 0, 0.0)
    b.add(trace(2), "error", 1, 0, 0.0)
    b.tick(1.0)
    assert [r.rate for r in b.add(trace(1), "error", 1, 0, 60.0)] == [BASE]
    assert [r.rate for r in b.add(trace(2), "call", 1, 0, 60.0)] == [ALL]


def test_remembered_decisions_are_bounded_in_age_and_number() -> None:
    b = buffer(decision_wait_s="1s", remember_s="100s", cache=1000)
    for n in range(5000):
        b.add(trace(n), "call", 1, 0, float(n))
        b.tick(float(n))
    assert len(b._new) + len(b._old) <= 1000
    b.tick(5200.0)
    b.tick(5400.0)
    assert b.add(trace(4990), "call", 1, 0, 5400.0) == []  # forgotten: a trace of its own


def test_traces_that_share_half_of_their_id_share_no_decision() -> None:
    b = buffer(decision_wait_s="1s")
    b.add(b"\0" * 8 + b"\1" * 8, "error", 1, 0, 0.0)
    b.tick(1.0)
    assert b.add(b"\1" * 16, "call", 1, 0, 2.0) == []


def test_shedding_follows_the_arrival_rate_and_ends_with_it() -> None:
    shed = Shed(capacity_bytes_per_s=1000)
    for second in range(20):
        shed.tick(float(second))
        shed.arrived(4000)
    assert 1 - shed.t / M == pytest.approx(0.25, rel=0.01)
    for second in range(20, 40):
        shed.tick(float(second))
    assert shed.t == 0


# -- over events ---------------------------------------------------------------------------------------------

RULES = [
    {"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100},
    {"name": "base", "rate": 10},
]


def whole(tail: dict[str, Any] | None = None, **settings: Any) -> tuple[Sampler, WholeTraces[int]]:
    given: dict[str, Any] = {"tail": {"decision_wait_s": "10s", **(tail or {})}, "rules": RULES, **settings}
    sampler = Sampler(SamplingSettings.model_validate(given))
    return sampler, WholeTraces(sampler)


@pytest.mark.parametrize("rate", [100, 50])
def test_a_weight_that_the_sender_states_multiplies_that_of_the_whole_trace(rate: int) -> None:
    sampler, traces = whole(rules=[], rate=rate)
    trace_id = b"\xf0" * 16
    undecided = weigh(sampler.span(trace_id, "", no_facts), 3, trace_id)
    [done] = [*traces.add([(event(trace_id=trace_id.hex(), decision=undecided), 1)], 0.0), *traces.drain()]
    assert done.event is not None
    final = done.event.decision
    assert (final.weight, final.adjusted_count, final.p) == (300 / rate, 300 / rate, rate / 300)
    assert final.upstream == "weight_attribute"
    assert done.decision is not None
    assert (done.decision.adjusted_count, done.decision.upstream) == (100 / rate, "none"), "it is none of our sampling"


def spans(sampler: Sampler, trace_id: bytes, statuses: Sequence[int], state: str = "") -> list[tuple[Event, int]]:
    made = []
    for n, status in enumerate(statuses):
        decision = sampler.span(trace_id, state, no_facts)
        parent = "" if n == 0 else f"{1:016x}"
        made.append(
            (
                event(
                    trace_id=trace_id.hex(), span_id=f"{n + 1:016x}", parent_id=parent, status=status, decision=decision
                ),
                n,
            )
        )
    return made


def weights(finished: Sequence[Finished[int]]) -> list[int]:
    return [f.event.decision.weight if f.event else 0 for f in finished]


def test_one_error_keeps_the_whole_trace() -> None:
    sampler, tail = whole()
    low = b"\0" * 16
    assert tail.add(spans(sampler, low, [200, 503, 200]), 0.0) == []
    assert tail.add(spans(sampler, b"\1" * 9 + b"\0" * 7, [200, 200]), 0.0) == []
    finished = tail.tick(10.0)
    assert weights(finished) == [1, 1, 1, 0, 0]
    assert {f.event.decision.rule for f in finished if f.event} == {"errors"}
    assert [f.token for f in finished] == [0, 1, 2, 0, 1]


def test_upstreams_threshold_stays_accounted_for() -> None:
    sampler, tail = whole()
    tail.add(spans(sampler, b"\xff" * 16, [500], "ot=th:c"), 0.0)
    (finished,) = tail.tick(10.0)
    assert finished.event is not None
    assert finished.event.decision[:4] == (True, 4, 4.0, "c")


@pytest.mark.parametrize(
    "state", ["ot=th:c", "ot=rv:f0000000000000", "ot=th:8;rv:f0000000000000", "ot=th:zz", "ot=p:2;r:5"]
)
@pytest.mark.parametrize("randomness", ["trace_id", "hash"])
def test_a_trace_of_one_span_is_decided_as_without_waiting(state: str, randomness: str) -> None:
    rng = random.Random(1)
    settings: dict[str, Any] = {"randomness": randomness, "legacy_pr": True}
    sampler, tail = whole(**settings)
    at_once = Sampler(SamplingSettings.model_validate({"rules": RULES, **settings}))
    for _ in range(100):
        trace_id = rng.randbytes(16)
        tail.add(spans(sampler, trace_id, [200], state), 0.0)
        (finished,) = tail.tick(100.0)
        expected = at_once.span(trace_id, state, {"status": 200}.get)
        if expected.keep:
            assert finished.event is not None
            assert finished.event.decision._replace(config="") == expected._replace(config="")
        else:
            assert finished.event is None


def test_logs_wait_with_their_trace_and_logs_without_one_are_decided_at_once() -> None:
    sampler, tail = whole()
    trace_id = b"\0" * 15 + b"\1"
    decision = sampler.log(trace_id, None, None, lambda: b"", no_facts)
    log = event(event_type=LOG, source="log", trace_id=trace_id.hex(), status=0, decision=decision)
    assert tail.add([(log, 7)], 0.0) == []
    tail.add(spans(sampler, trace_id, [500]), 1.0)
    assert weights(tail.tick(10.0)) == [1, 1]
    alone = sampler.log(b"", None, None, lambda: b"line", no_facts)
    assert alone.rule == "base"
    kept = event(event_type=LOG, source="log", trace_id="", decision=alone)
    assert tail.add([(kept, 8)], 11.0) == [Finished(kept, 8)]


def test_a_log_that_follows_a_sampled_rv_counts_as_without_waiting() -> None:
    sampler, tail = whole(rules=[{"name": "half", "rate": 50}])
    trace_id = b"\0" * 15 + b"\1"
    tail.add(spans(sampler, trace_id, [200], "ot=th:8;rv:c0000000000000"), 0.0)
    decision = sampler.log(trace_id, None, None, lambda: b"", no_facts)
    log = event(event_type=LOG, source="log", trace_id=trace_id.hex(), status=0, decision=decision)
    tail.add([(log, 1)], 1.0)
    finished = tail.tick(10.0)
    assert [f.event.decision.adjusted_count for f in finished if f.event] == [2, 1]
    taken = sampler.tally.take().values()
    assert sum(sums.adjusted_in for sums in taken) == 3


def test_what_was_shed_is_in_the_weight_of_what_is_kept() -> None:
    sampler, tail = whole()
    tail.buffer.shed.t = M // 4 * 3
    finished = tail.add(spans(sampler, b"\0" * 9 + b"\x80" * 7, [500]), 0.0)
    assert weights(finished) == [0]
    tail.add(spans(sampler, b"\xff" * 16, [500, 200]), 0.0)
    tail.buffer.shed.t = 0
    finished = tail.tick(10.0)
    assert [(f.event.decision.adjusted_count, f.event.decision.th) for f in finished if f.event] == [(4, "c"), (4, "c")]


def test_events_of_an_early_decision_say_so() -> None:
    sampler, tail = whole()
    tail.add(spans(sampler, b"\xff" * 16, [200]), 0.0)
    (finished,) = tail.drain()
    assert finished.event is not None
    assert finished.event.decision.reason == "kept_early"
    assert sampling_json(finished.event.decision)["early"] is True


def test_records_are_counted_when_decided_and_not_before() -> None:
    sampler, tail = whole()
    tail.add(spans(sampler, b"\xff" * 16, [200, 500]), 0.0)
    assert not sampler.tally.take()
    tail.tick(10.0)
    assert sum(s.records for s in sampler.tally.take().values()) == 2


def test_a_trace_is_seen_with_its_worst_status_its_whole_duration_and_its_entrys_route() -> None:
    entry = event(span_id="01" * 8, parent_id="", route="/buy", user_id="", company_id="acme", status=200)
    inner = event(
        span_id="02" * 8,
        parent_id="01" * 8,
        route="/stock",
        user_id="u1",
        status=503,
        end_unix_ns=entry.end_unix_ns + 3 * SECOND_NS,
        metadata='{"queue":"q1"}',
    )
    facts = TraceFacts([inner, entry])
    assert [facts(p) for p in ("route", "status", "status_class", "user", "company")] == [
        "/buy",
        503,
        "5xx",
        "u1",
        "acme",
    ]
    assert facts("duration_ms") == 4000.0
    assert facts("attr.queue") == "q1"
    assert facts("resource.service.name") == "shop"
    assert facts("session") is None


# -- unbiased, in replicates --------------------------------------------------------------------------------------

Traffic = Callable[[random.Random], list[tuple[float, bytes, str, int]]]  # (time, trace id, item, bytes)


def estimate(b: TailBuffer[str], traffic: list[tuple[float, bytes, str, int]]) -> tuple[float, int, bool, bool]:
    """(weighted count of what is kept, number of items that came, any decided early, any shed)."""
    total, came, early, shed = 0.0, 0, False, False

    def finish(released: list[Released[str]]) -> None:
        nonlocal total, came, early, shed
        for one in released:
            t = max(threshold(one.rate.probability), one.t_shed)
            came += len(one.items)
            early, shed = early or one.early, shed or one.t_shed > 0
            if int.from_bytes(one.trace_id[9:], "big") >= t:
                total += len(one.items) * M / (M - t)

    for now_s, trace_id, item, size in traffic:
        finish(b.tick(now_s))
        finish(b.add(trace_id, item, size, int.from_bytes(trace_id[9:], "big"), now_s))
    seen = early, shed
    finish(b.drain())
    return total, came, *seen


def ordinary(rng: random.Random) -> list[tuple[float, bytes, str, int]]:
    """200 traces over a minute, a few items each, one in five with an error, some of it late."""
    items = []
    for _ in range(200):
        trace_id, begin_s = rng.randbytes(16), rng.uniform(0, 60)
        failing = rng.random() < 0.2
        for n in range(rng.randint(1, 5)):
            late_s = rng.choice([0.1, 1.0, 5.0, 30.0])
            items.append((begin_s + n * late_s, trace_id, "error" if failing and n else "call", 100))
    return sorted(items)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (False, False)),
        ({"max_bytes": 3000}, (True, False)),
        ({"max_trace_bytes": 150}, (True, False)),
        ({"max_bytes": 3000}, (True, True)),
    ],
    ids=["roomy", "full", "large traces", "shedding"],
)
def test_totals_are_unbiased_also_with_late_items_early_decisions_and_shedding(
    settings: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    """200 replicates; the mean ratio must lie within 4 standard errors of 1."""
    rng = random.Random(11)
    ratios = []
    for _ in range(200):
        traffic = ordinary(rng)
        b = buffer(**{"decision_wait_s": "10s", **settings})
        if not expected[1]:
            b.shed = Shed(1e12)  # early decisions alone
        total, came, early, shed = estimate(b, traffic)
        assert came == len(traffic)
        assert (early, shed) == expected
        ratios.append(total / came)
    mean = sum(ratios) / len(ratios)
    error = (sum((r - mean) ** 2 for r in ratios) / (len(ratios) - 1) / len(ratios)) ** 0.5
    assert abs(mean - 1) < 4 * error
    assert error < 0.03


def test_remembering_only_kept_traces_would_be_found_out() -> None:
    """The planted defect: forget decisions of dropped traces, so that their late items start afresh."""
    rng = random.Random(12)
    ratios = []
    for _ in range(100):
        b = buffer(decision_wait_s="10s")
        calls = [(rng.uniform(0, 60), rng.randbytes(16)) for _ in range(200)]
        traffic = sorted([(t, i, "call", 1) for t, i in calls] + [(t + 30, i, "error", 1) for t, i in calls])
        total = 0.0

        def finish(released: list[Released[str]], b: TailBuffer[str] = b) -> float:
            gained = 0.0
            for one in released:
                t = threshold(one.rate.probability)
                if int.from_bytes(one.trace_id[9:], "big") >= t:
                    gained += len(one.items) * M / (M - t)
                elif not one.late:
                    b._new.pop(_digest(one.trace_id), None)
            return gained

        for now_s, trace_id, item, size in traffic:
            total += finish(b.tick(now_s)) + finish(b.add(trace_id, item, size, M, now_s))
        ratios.append((total + finish(b.drain())) / len(traffic))
    mean = sum(ratios) / len(ratios)
    error = (sum((r - mean) ** 2 for r in ratios) / (len(ratios) - 1) / len(ratios)) ** 0.5
    assert mean - 1 > 4 * error
