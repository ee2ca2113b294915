"""The ledger counts exactly, and its audit finds what is wrong with weights."""

from __future__ import annotations

import os
import random
import struct
from functools import partial

import pytest

from mapping.event import Decision
from mapping.sampling.ledger import Ledger, LedgerKey, LedgerRow
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M
from mapping.sampling.window import Tallied, cap_of, passed_by_rule, place_of, under_cap

MINUTE_NS = 60 * 10**9
START_NS = 1_795_200_000 * 10**9
RULES = [
    {"name": "health", "when": [{"path": "url.path", "op": "eq", "value": "/health"}], "rate": 0},
    {"name": "base", "rate": 10},
]


def sampler(**settings: object) -> Sampler:
    return Sampler(SamplingSettings.model_validate(settings))


def no_facts(path: str) -> object:
    return None


def send(s: Sampler, ledger: Ledger, ids: list[bytes], state: str = "", spans: int = 1, wrong: float = 1.0) -> None:
    """Spans of these traces through sampler and ledger; wrong: a factor on their adjusted counts."""
    kept = []
    for trace_id in ids:
        for _ in range(spans):
            decision = s.span(trace_id, state, no_facts)
            if decision.keep:
                kept.append((trace_id.hex(), decision))
    taken = s.tally.take()
    ledger.add("t1", START_NS, {k: v._replace(adjusted_out=v.adjusted_out * wrong) for k, v in taken.items()})
    ledger.kept("t1", kept)


def test_a_row_counts_what_came_what_stayed_and_what_no_estimate_can_see() -> None:
    s, ledger = sampler(rules=RULES), Ledger()
    for _ in range(50):
        s.span(os.urandom(16), "", {"url.path": "/health"}.get)
    for _ in range(20):
        s.span(b"\xff" * 16, "ot=th:8", {"url.path": "/a"}.get)
        s.span(b"\0" * 9 + b"\x90" * 7, "ot=th:8", {"url.path": "/a"}.get)
    ledger.add("t1", START_NS + 1, s.tally.take())
    ledger.lost("t1", START_NS + 1, "base", 3)
    minute = START_NS // 10**9 // 60 * 60
    rows = ledger.rows()
    assert rows[LedgerKey(minute, "health", "t1")] == LedgerRow(
        received=50, received_adjusted=50.0, dropped_rule_zero=50
    )
    base = rows[LedgerKey(minute, "base", "t1")]
    assert base[:3] == (40, 80.0, 20)
    assert base.kept_adjusted == pytest.approx(20 * 9.99939)
    assert base.lost == 3


def test_rows_are_taken_once() -> None:
    s, ledger = sampler(), Ledger()
    for minute in range(3):
        s.span(os.urandom(16), "", no_facts)
        ledger.add("t1", START_NS + minute * MINUTE_NS, s.tally.take())
    assert [key.minute_unix_s - START_NS // 10**9 for key in ledger.take()] == [0, 60, 120]
    assert ledger.take() == {}


@pytest.mark.parametrize("state", ["", "ot=th:8"])
def test_the_audit_is_quiet_when_weights_are_right(state: str) -> None:
    rng = random.Random(1)
    for _ in range(20):
        s, ledger = sampler(rate=10), Ledger()
        passed = [i for i in (rng.randbytes(16) for _ in range(2000)) if not state or i[9] >= 0x80]
        send(s, ledger, passed, state, spans=4)
        assert not ledger.alarms()


def test_the_audit_counts_traces_not_records() -> None:
    """60 spans per trace: the number kept varies by far more than independent records would."""
    rng = random.Random(2)
    worst = 0.0
    for _ in range(30):
        s, ledger = sampler(rate=10), Ledger()
        send(s, ledger, [rng.randbytes(16) for _ in range(400)], spans=60)
        worst = max(worst, abs(ledger.audits["default", "t1"].z()))
    assert worst < 5
    assert worst > 0.5


@pytest.mark.parametrize("ordinary", [0, 3000])
def test_a_large_trace_that_is_dropped_is_no_alarm(ordinary: int) -> None:
    """Nothing of it is kept, so nothing kept tells that its thousand records shared one fate."""
    rng = random.Random(6)
    s, ledger = sampler(rate=10), Ledger()
    send(s, ledger, [rng.randbytes(16) for _ in range(ordinary)])
    send(s, ledger, [b"\0" * 15 + b"\1"], spans=1000)
    assert not ledger.alarms()


def test_a_few_dropped_traces_of_many_records_are_no_alarm() -> None:
    s, ledger = sampler(rate=10), Ledger()
    send(s, ledger, [bytes(8) + n.to_bytes(8, "big") for n in range(20)], spans=100)
    assert not ledger.alarms()


def test_records_without_a_trace_need_no_allowance_for_large_ones() -> None:
    rng = random.Random(7)
    s, ledger = sampler(rate=10), Ledger()
    for _ in range(3000):
        s.log(b"", None, None, partial(bytes, rng.randbytes(16)), no_facts)
    taken = s.tally.take()
    ledger.add("t1", START_NS, taken)
    assert not ledger.alarms()
    ledger.add("t1", START_NS, {k: v._replace(adjusted_out=v.adjusted_out * 0.4) for k, v in taken.items()})
    assert ledger.alarms()["default", "t1"] < -5


def test_the_audit_finds_a_wrong_weight() -> None:
    rng = random.Random(3)
    s, ledger = sampler(rate=60), Ledger()
    send(s, ledger, [rng.randbytes(16) for _ in range(15_000)], wrong=1 / 1.66665)  # floor(100/60), as the SDKs send
    assert ledger.alarms()["default", "t1"] < -5


def test_the_audit_finds_trace_ids_that_are_not_random() -> None:
    rng = random.Random(4)
    s, ledger = sampler(rate=50, randomness="trace_id"), Ledger()
    small = round(0.001 * (1 << 64))
    send(s, ledger, [rng.randbytes(8) + struct.pack(">Q", rng.randrange(small)) for _ in range(30_000)])
    assert ledger.alarms()["default", "t1"] < -5


def test_the_audit_finds_a_consistent_sampler_that_hides_its_threshold() -> None:
    """Spans thinned to R >= T upstream, but without th: our 10 % rule keeps far too many of them."""
    rng = random.Random(5)
    s, ledger = sampler(rate=10), Ledger()
    ids = [rng.randbytes(9) + rng.randrange(M // 4 * 3, M).to_bytes(7, "big") for _ in range(5000)]
    send(s, ledger, ids)
    assert ledger.alarms()["default", "t1"] > 5


def test_the_audit_is_silent_about_a_handful_of_records_and_exact_where_nothing_is_thinned() -> None:
    s, ledger = sampler(rate=10), Ledger()
    send(s, ledger, [b"\0" * 16] * 10)
    assert ledger.audits["default", "t1"].z() == 0.0
    s, ledger = sampler(), Ledger()
    send(s, ledger, [os.urandom(16) for _ in range(1000)])
    assert ledger.audits["default", "t1"].z() == 0.0
    send(s, ledger, [os.urandom(16) for _ in range(1000)], wrong=1.01)
    assert ledger.alarms()


def test_open_clusters_are_bounded() -> None:
    s, ledger = sampler(rate=50), Ledger()
    send(s, ledger, [n.to_bytes(9, "big") + b"\xff" * 7 for n in range(120_000)])
    assert len(ledger.audits["default", "t1"]._open) <= 50_000


def windowed(seed: int, spans: int, signal: str, wrong: float = 1.0, windows: int = 15) -> float:
    """z after so many windows under a cap that keeps about a third of what a rule of 30 % leaves."""
    rng = random.Random(seed)
    s = sampler(rate=30, budget={"events_per_second": 30, "window_s": "1s", "cold_start_share": 1})
    s.budget = None
    ledger = Ledger()
    for _ in range(windows):
        kept: list[tuple[str, Decision]] = []
        for _ in range(300 // spans):
            trace_id = rng.randbytes(16) if signal == "span" else b""
            for _ in range(spans):
                content = rng.randbytes(12)
                if signal == "span":
                    decision = s.span(trace_id, "", no_facts)
                else:
                    decision = s.log(b"", None, None, lambda content=content: content, no_facts)
                if decision.keep:
                    kept.append((trace_id.hex(), decision))
        ledger.add("t1", START_NS, passed_by_rule(s.tally.take()))
        places = [place_of(decision, of) for of, decision in kept]
        cap = cap_of([place[:2] for place in places], 30)
        tallied, final = Tallied(), []
        for (of, decision), place in zip(kept, places, strict=True):
            t_cap = cap.of(place.r, place.t)
            if place.r < t_cap:
                tallied.drop(decision)
            else:
                tallied.keep(decision, place, t_cap)
                final.append((of, under_cap(decision, place, t_cap)))
        sums = tallied.sums(cap.t)
        ledger.add("t1", START_NS, {k: v._replace(adjusted_out=v.adjusted_out * wrong) for k, v in sums.items()})
        ledger.kept("t1", [(of, decision) for of, decision in final if of])
    return ledger.audits["default", "t1"].z()


@pytest.mark.parametrize(("signal", "spans"), [("span", 1), ("span", 6), ("log", 1)])
def test_the_audit_knows_the_error_of_capped_windows(signal: str, spans: int) -> None:
    zs = [windowed(seed, spans, signal) for seed in range(30)]
    assert max(map(abs, zs)) < 4
    if signal == "log":  # z of traces allows for a large one that nobody has seen
        assert 0.5 < sum(z * z for z in zs) / len(zs) < 1.7


def test_the_audit_finds_a_wrong_weight_of_capped_windows() -> None:
    assert windowed(1, 1, "log", wrong=1.5) > 5
    assert windowed(1, 1, "span", wrong=1.5) > 5
