from __future__ import annotations

import os
import random
import struct
from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from mapping.event import UNSAMPLED, Decision
from mapping.sampling.counts import CountKey
from mapping.sampling.plan import MAX_BANDS
from mapping.sampling.rules import Facts
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M, th_text
from mapping.sampling.tracestate import parse
from tracestate_out import rewrite

TRACE = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")  # R = ce929d0e0e4736: kept at 25 %, dropped at 10 %


def sampler(**settings: object) -> Sampler:
    return Sampler(SamplingSettings.model_validate(settings))


def facts(values: Mapping[str, object]) -> Facts:
    return values.get


NO_FACTS = facts({})


def never() -> bytes:
    raise AssertionError("a record with a trace id is not hashed")


RULES = [
    {"name": "health", "when": [{"path": "url.path", "op": "regex", "value": "^/health"}], "rate": 0},
    {"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100},
    {"name": "acme", "when": [{"path": "company", "op": "eq", "value": "acme"}], "rate": 50},
    {"name": "base", "rate": 10},
]


def test_default_settings_keep_everything_and_decide_early() -> None:
    s = sampler()
    assert s.span(TRACE, "", NO_FACTS) is UNSAMPLED
    assert s.log(TRACE, None, None, never, NO_FACTS) == UNSAMPLED
    assert s.early


def test_the_first_rule_that_matches_gives_the_rate() -> None:
    s = sampler(rules=RULES)
    assert not s.early
    assert s.span(TRACE, "", facts({"url.path": "/healthz", "status": 500})).reason == "rule_zero"
    assert s.span(TRACE, "", facts({"status": 503, "company": "acme"})).rule == "errors"
    decision = s.span(TRACE, "", facts({"status": 200, "company": "acme"}))
    assert (decision.rule, decision.keep, decision.weight, decision.th) == ("acme", True, 2, "8")
    decision = s.span(TRACE, "", facts({"status": 200}))
    assert (decision.rule, decision.keep, decision.weight, decision.reason) == ("base", False, 0, "sampled_out")


def test_facts_are_not_asked_for_when_no_rule_has_conditions() -> None:
    def unexpected(path: str) -> object:
        assert path == "service"  # the watch over trace ids names the service; nothing else may be asked
        return "shop"

    s = sampler(rate="12.5")
    for _ in range(2000):
        s.span(os.urandom(16), "", unexpected)
        s.log(os.urandom(16), None, None, never, unexpected)


def test_a_pinned_sampler_asks_for_no_facts_at_all() -> None:
    def unexpected(path: str) -> object:
        raise AssertionError(path)

    s = sampler(rate=10, randomness="trace_id")
    for _ in range(2000):
        s.span(os.urandom(16), "", unexpected)


def test_equal_decisions_are_one_object() -> None:
    s = sampler(rate=10)
    kept = [d for d in (s.span(os.urandom(16), "", NO_FACTS) for _ in range(2000)) if d.keep]
    assert len(kept) > 100
    assert len({id(d) for d in kept}) <= 2  # weights 10 and 9


def test_spans_and_logs_of_a_trace_share_their_fate() -> None:
    s = sampler(rate=30)
    for _ in range(500):
        trace_id = os.urandom(16)
        span = s.span(trace_id, "", NO_FACTS)
        assert s.log(trace_id, None, None, never, NO_FACTS) == span


def test_a_log_follows_the_rv_of_its_trace() -> None:
    s = sampler(rate=50)
    s.span(TRACE, "ot=rv:00000000000001", NO_FACTS)
    decision = s.log(TRACE, None, None, never, NO_FACTS)
    assert (decision.keep, decision.r_source) == (False, "trace_rv")
    s.tick(1000 * 10**9)
    s.tick(2000 * 10**9)
    assert s.log(TRACE, None, None, never, NO_FACTS).r_source == "trace_id"


def test_a_log_learns_nothing_from_an_rv_that_contradicts_its_threshold() -> None:
    """The rv is known to be below the threshold, and the span itself is decided by a redrawn one."""
    s = sampler(rate=50)
    s.span(TRACE, "ot=th:8;rv:7fffffffffffff", NO_FACTS)
    assert s.log(TRACE, None, None, never, NO_FACTS).r_source == "trace_id"


def test_the_smallest_threshold_that_a_span_of_a_trace_passed_is_what_its_rv_is_known_to_have_passed() -> None:
    s = sampler(rate=50)
    s.span(TRACE, "ot=th:c;rv:e0000000000000", NO_FACTS)
    assert s.log(TRACE, None, None, never, NO_FACTS).adjusted_count == 1
    s.span(TRACE, "ot=rv:e0000000000000", NO_FACTS)
    s.span(TRACE, "ot=th:c;rv:e0000000000000", NO_FACTS)
    assert s.log(TRACE, None, None, never, NO_FACTS).adjusted_count == 2


def test_decisions_do_not_depend_on_order_batches_or_instance() -> None:
    rng = random.Random(7)
    items = [(rng.randbytes(16), rng.choice(["", "ot=th:8", "ot=th:c", "ot=th:zz", "a=b"])) for _ in range(2000)]

    def run(order: list[int], instances: int) -> dict[int, Decision]:
        samplers = [sampler(rules=RULES[2:]) for _ in range(instances)]
        return {i: samplers[i % instances].span(*items[i], NO_FACTS) for i in order}

    plain = run(list(range(2000)), 1)
    shuffled = list(range(2000))
    rng.shuffle(shuffled)
    assert run(shuffled, 1) == plain
    assert run(shuffled, 2) == plain


def test_the_remembered_path_agrees_with_the_full_one() -> None:
    rng = random.Random(8)
    remembering = sampler(rate=30)
    for _ in range(3000):
        trace_id = rng.randbytes(16)
        state = rng.choice(["", "ot=th:8", "ot=th:c", "ot=th:e6666666666666", "ot=th:0", "ot=;", "x=y,ot=th:4"])
        assert remembering.span(trace_id, state, NO_FACTS) == sampler(rate=30).span(trace_id, state, NO_FACTS)


@pytest.mark.parametrize("trace_id", [b"", b"\0" * 16, b"12345678"])
def test_a_span_without_a_usable_trace_id_still_gets_a_decision(trace_id: bytes) -> None:
    assert sampler(rate=50).span(trace_id, "", NO_FACTS).rule == "default"


def test_untrusted_tenants_count_as_one_whatever_they_claim() -> None:
    s = sampler(untrusted_tenants=["shady"])
    claim = "ot=th:ffff"
    trace_id = b"\xff" * 16
    assert s.span(trace_id, claim, facts({"tenant": "good"})).weight == 65536
    decision = s.span(trace_id, claim, facts({"tenant": "shady"}))
    assert (decision.weight, decision.upstream, decision.r_source) == (1, "untrusted", "redraw")
    assert rewrite(claim, decision) == ""


def test_trust_upstream_false_ignores_thresholds_and_keeps_traces_whole() -> None:
    s = sampler(trust_upstream=False, rate=50)
    for _ in range(300):
        trace_id = os.urandom(16)
        decisions = {s.span(trace_id, state, NO_FACTS).keep for state in ("", "ot=th:c", "ot=rv:00000000000000")}
        decisions.add(s.log(trace_id, "c", None, never, NO_FACTS).keep)
        assert len(decisions) == 1


def test_sample_unit_keeps_all_of_a_user_or_nothing() -> None:
    s = sampler(sample_unit="user", rate=25)
    fates = {user: {s.span(os.urandom(16), "", facts({"user": user})).keep for _ in range(20)} for user in range(200)}
    assert all(len(fate) == 1 for fate in fates.values())
    assert 25 < sum(fate == {True} for fate in fates.values()) < 80
    assert s.span(TRACE, "", NO_FACTS).r_source == "trace_id"


def test_sample_unit_keeps_upstream_accounted_for() -> None:
    """Spans sampled upstream at 25 % by trace, here at 50 % by user: what is left still stands for 4 each."""
    s = sampler(sample_unit="user", rate=50)
    decisions = [s.span(b"\0" * 9 + b"\xff" * 7, "ot=th:c", facts({"user": f"u{i}"})) for i in range(50)]
    assert {(d.keep, d.weight, d.th) for d in decisions} == {(True, 4, "c")}


def test_head_rate_counts_the_sampler_that_left_no_threshold() -> None:
    s = sampler(head_rate={"checkout": 1})
    assert s.span(TRACE, "", facts({"service": "checkout"})).adjusted_count == pytest.approx(100, rel=1e-3)
    assert s.span(TRACE, "", facts({"service": "cart"})).weight == 1


def test_a_coarse_precision_of_our_thresholds_does_not_round_the_head_samplers_rate() -> None:
    s = sampler(head_rate={"checkout": 10}, precision=1)
    assert s.span(TRACE, "", facts({"service": "checkout"})).adjusted_count == pytest.approx(10, rel=1e-3)


def survivors_of_an_old_ratio_sampler(n: int, ratio: float, seed: int = 1) -> list[bytes]:
    """Trace ids that TraceIdRatioBased of opentelemetry-sdk keeps: small values of the last 8 bytes."""
    rng = random.Random(seed)
    bound = round(ratio * (1 << 64))
    return [rng.randbytes(8) + struct.pack(">Q", rng.randrange(bound)) for _ in range(n)]


def test_an_old_ratio_sampler_is_detected_and_its_service_named() -> None:
    s = sampler(rate=50)
    ids = survivors_of_an_old_ratio_sampler(40_000, 0.001)
    assert not any(s.span(i, "", facts({"service": "checkout"})).keep for i in ids)
    assert list(s.watch.alarms) == ["checkout"]
    assert not s.hashed  # nothing changes within a request
    s.tick(10**9)
    assert s.hashed
    kept = [d for d in (s.span(i, "", facts({"service": "checkout"})) for i in ids) if d.keep]
    assert sum(d.weight for d in kept) == pytest.approx(40_000, rel=0.04)
    assert {d.r_source for d in kept} == {"trace_hash"}


def test_random_trace_ids_raise_no_alarm() -> None:
    rng = random.Random(5)
    s = sampler(rate=50)
    for _ in range(100_000):
        s.span(rng.randbytes(16), "", facts({"service": "shop"}))
    s.tick(10**9)
    assert not s.watch.alarms
    assert not s.hashed


def test_many_spans_of_few_traces_raise_no_alarm() -> None:
    s = sampler(rate=50)
    for _ in range(20_000):
        s.span(b"\0" * 15 + b"\x01", "", facts({"service": "shop"}))
    assert not s.watch.alarms


@pytest.mark.parametrize("pinned", ["trace_id", "hash"])
def test_pinned_randomness_does_not_change(pinned: str) -> None:
    s = sampler(rate=50, randomness=pinned)
    for i in survivors_of_an_old_ratio_sampler(20_000, 0.001):
        s.span(i, "", facts({"service": "checkout"}))
    s.tick(10**9)
    assert s.hashed == (pinned == "hash")


def test_counts_add_up_to_what_was_asked() -> None:
    s = sampler(rules=RULES)
    calls: list[dict[str, object]] = [
        {"status": 500},
        {"status": 200},
        {"url.path": "/health"},
        {"status": 200, "company": "acme"},
    ]
    for n in range(4000):
        s.span(os.urandom(16), "ot=th:8" if n % 2 else "", facts(calls[n % 4]))
        if n % 777 == 0:
            s.tally.take()
    s.tally.take()
    totals = s.tally.totals
    assert sum(t.records for t in totals.values()) == 4000
    assert {k.rule for k in totals} == {"errors", "base", "health", "acme"}
    assert totals[CountKey("health", "rule_zero", "none", "trace_id")].records == 1000
    taken = s.tally.take()
    assert not taken


def test_a_tally_nobody_takes_stays_bounded() -> None:
    s = sampler()
    for i in range(3 * MAX_BANDS):
        s.span(b"\xff" * 16, f"ot=th:{th_text(i << 30)}", NO_FACTS)
    assert len(s._plan.choose(NO_FACTS)._bands) <= MAX_BANDS
    s.tally.take()
    assert sum(t.records for t in s.tally.totals.values()) == 3 * MAX_BANDS


def test_forwarded_state_reads_back_as_what_was_decided() -> None:
    rng = random.Random(3)
    for settings in ({"rate": 30}, {"rate": 30, "randomness": "hash"}, {"rate": 30, "legacy_pr": True}):
        s = sampler(**settings)
        for _ in range(500):
            state = rng.choice(["", "a=b", "ot=th:8", "ot=p:1;r:3", "ot=rv:e0000000000000", "ot=th:q,b=c"])
            trace_id = rng.randbytes(9) + struct.pack(">Q", rng.randrange(1 << 55, M))[1:]
            decision = s.span(trace_id, state, NO_FACTS)
            if decision.keep and decision.upstream != "inconsistent":
                again = sampler(legacy_pr=True).span(trace_id, rewrite(state, decision), NO_FACTS)
                assert (again.weight, again.th) == (decision.weight, decision.th)
                assert again.upstream == "th"


def test_a_tracestate_never_grows_beyond_32_members() -> None:
    text = ",".join(f"v{i}=1" for i in range(32))
    decision = sampler(rate=50).span(b"\xff" * 16, text, NO_FACTS)
    assert len(rewrite(text, decision).split(",")) == 32
    assert parse(rewrite(text, decision)).th_text == "8"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"rate": "110"}, "more than 100"),
        ({"rate": True}, "percentage"),
        ({"rat": 10}, "rat"),
        ({"rules": [{"name": "a", "rate": 1}, {"name": "b", "rate": 2}]}, "never apply"),
        ({"rules": [RULES[0], RULES[0]]}, "two rules"),
        ({"rules": [{"name": "a", "rate": 1, "when": [{"path": "trace_id", "op": "eq", "value": 1}]}]}, "randomness"),
        (
            {"rules": [{"name": "a", "rate": 1, "when": [{"path": "route", "op": "regex", "value": "(["}]}]},
            "bad pattern",
        ),
        ({"head_rate": {"a": 0}}, "rate 0"),
        ({"budget": {"events_per_second": 10, "epoch_s": "ten"}}, "length of time such as"),
        ({"tail": {"max_bytes": "1 parsec"}}, "size such as|number of bytes"),
        ({"tail": {}, "budget": {"events_per_second": 9, "window_s": "1s"}}, "tail and budget.window_s"),
        ({"sample_unit": "user", "budget": {"events_per_second": 9, "window_s": "1s"}}, "all calls of a user"),
        ({"budget": {"events_per_second": 9, "window_s": "100ms"}}, "1 to 100,000 events"),
        ({"budget": {"events_per_second": 9, "window_s": "2m"}}, "less than or equal to 60"),
    ],
)
def test_a_mistake_in_the_settings_is_refused_with_its_reason(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        SamplingSettings.model_validate(settings)


def test_the_settings_of_the_specification_are_accepted() -> None:
    settings = SamplingSettings.model_validate(
        {
            "precision": 4,
            "mode": "equalizing",
            "rules": RULES,
            "budget": {"events_per_second": 1000, "key": "company", "epoch_s": "10s", "floor": 1, "window_s": "1s"},
            "moesif_remote": {"enabled": True, "precedence": "regex-user-company", "place": "before-rules"},
        }
    )
    assert settings.budget is not None
    assert settings.budget.epoch_s == 10.0
    assert settings.budget.window_events == 1000
    tail = SamplingSettings.model_validate(
        {"tail": {"decision_wait_s": "10s", "max_bytes": "512MiB", "max_trace_bytes": "4MiB"}}
    ).tail
    assert tail is not None
    assert (tail.decision_wait_s, tail.max_bytes, tail.max_trace_bytes) == (10.0, 512 << 20, 4 << 20)


def test_a_decision_names_the_rules_it_was_made_under() -> None:
    first, second = sampler(rate=50), sampler(rate=51)
    names = {s.span(b"\xff" * 16, "", NO_FACTS).config for s in (first, second, sampler(rate=50))}
    assert len(names) == 2
    assert "" not in names


@pytest.mark.parametrize("rate", [100, 0])
def test_a_log_without_a_trace_is_hashed_only_when_its_fate_depends_on_it(rate: int) -> None:
    s, by_hash = sampler(rate=rate), sampler(rate=rate)
    # A sampler that has learned the rv of some trace decides everything in full.
    by_hash.learned.learn(TRACE, 1, 0)
    expected = by_hash.log(b"", None, None, lambda: b"record", NO_FACTS)
    assert s.log(b"", None, None, never, NO_FACTS) == expected
    assert expected.r_source == "record_hash"
    with pytest.raises(AssertionError):
        sampler(rate=50).log(b"", None, None, never, NO_FACTS)
