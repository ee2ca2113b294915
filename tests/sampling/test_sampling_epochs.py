"""The budget over time: rates follow arrivals, totals stay right, retries repeat themselves."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from mapping.event import Decision
from mapping.sampling.epochs import Budget, LedBudget, Table
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings

S = 10**9
START = 1_800_000_000 * S


def sampler(**budget: object) -> Sampler:
    rules = budget.pop("rules", [])
    s = Sampler(SamplingSettings.model_validate({"budget": {"events_per_second": 100, **budget}, "rules": rules}))
    s.tick(START)
    return s


def call(company: str, at_ns: int, **more: object) -> Callable[[str], object]:
    values: Mapping[str, object] = {"company": company, "service": "shop", "time_unix_nano": at_ns, **more}
    return values.get


def seconds(
    s: Sampler, rng: random.Random, begin_s: int, n: int, pace: Mapping[str, int], state: str = ""
) -> list[list[Decision]]:
    """n seconds of traffic at `pace` records per second and company; the decisions of each second."""
    result = []
    for second in range(begin_s, begin_s + n):
        decisions = []
        for company, count in pace.items():
            for i in range(count):
                at = START + second * S + i * S // count
                trace_id = rng.randbytes(9) + (rng.getrandbits(56) | (3 << 54 if state else 0)).to_bytes(7, "big")
                decisions.append(s.span(trace_id, state, call(company, at)))
        result.append(decisions)
        s.tick(START + (second + 1) * S)
    return result


def kept(per_second: list[list[Decision]]) -> float:
    return sum(d.keep for decisions in per_second for d in decisions) / len(per_second)


def test_a_steady_load_is_brought_to_the_budget_and_small_keys_keep_everything() -> None:
    rng = random.Random(1)
    s = sampler()
    pace = {"big": 500, "mid": 40, "small": 10, "tiny": 2}
    seconds(s, rng, 0, 100, pace)  # the share held back for newcomers, all of them at first, shrinks by half each epoch
    after = seconds(s, rng, 100, 20, pace)
    assert kept(after) == pytest.approx(100, rel=0.08)
    rates = {tenant: float(p) for (tenant, _), p in s.budget.tables[0].rates.items()} if s.budget else {}
    assert rates["mid"] == rates["small"] == rates["tiny"] == 1
    assert rates["big"] == pytest.approx(48 / 500, rel=0.05)


def test_processes_that_share_a_budget_keep_it_together_and_decide_alike() -> None:
    settings = SamplingSettings.model_validate({"budget": {"events_per_second": 100}})
    parts = [Sampler(settings, budget=LedBudget) for _ in range(3)]
    assert settings.budget is not None
    lead = Budget(settings.budget)
    lead.tick(START)
    rng, alone = random.Random(1), sampler()
    after: list[list[Decision]] = []
    for second in range(120):
        decisions = []
        for number in range(552):
            company = "big" if number < 500 else "mid" if number < 540 else f"small{number % 3}"
            facts, trace_id = call(company, START + second * S + number), rng.randbytes(16)
            alone.span(trace_id, "", facts)
            decisions.append(parts[number % 7 % 3].span(trace_id, "", facts))
        after.append(decisions)
        now = START + (second + 1) * S
        alone.tick(now)
        budgets = [part.budget for part in parts if isinstance(part.budget, LedBudget)]
        for budget in budgets:
            lead.told(budget.take())
        if lead.tick(now):
            for budget in budgets:
                budget.put(Table.from_plain(lead.tables[0].plain()))
        for part in parts:
            part.tick(now)
    assert kept(after[100:]) == pytest.approx(100, rel=0.08)
    assert alone.budget is not None
    wanted = [(table.from_unix_ns, table.cold, table.rates) for table in alone.budget.tables]
    assert len(wanted) > 10
    for budget in budgets:
        found = [(table.from_unix_ns, table.cold, table.rates) for table in budget.tables]
        assert found == wanted, "as if one had seen all"
        assert budget.take() == []
        budget.put(budget.tables[0])
    trace_id = rng.randbytes(16)
    for at in (START, START + 60 * S, START + 200 * S):
        assert len({part.span(trace_id, "", call("big", at)).keep for part in parts}) == 1


def test_weights_add_up_while_rates_change() -> None:
    rng = random.Random(2)
    s = sampler()
    received = total = 0.0
    for block in range(12):
        pace = {"a": 50 * (1 + block % 4), "b": 300 - 20 * block, f"new{block}": 30}
        for decisions in seconds(s, rng, block * 5, 5, pace):
            received += len(decisions)
            total += sum(d.adjusted_count for d in decisions)
    assert total == pytest.approx(received, rel=0.04)


def test_a_burst_gets_a_new_table_within_the_epoch() -> None:
    rng = random.Random(3)
    s = sampler()
    seconds(s, rng, 0, 30, {"a": 50})
    assert s.budget is not None
    tables = len(s.budget.tables)
    burst = seconds(s, rng, 30, 4, {"a": 2000})
    assert len(s.budget.tables) > tables
    assert kept(burst[2:]) < 200


def test_unknown_keys_share_the_cold_start_pool() -> None:
    rng = random.Random(4)
    s = sampler()
    seconds(s, rng, 0, 80, {"known": 50})
    fresh = {f"k{i}": 1 for i in range(500)}
    decisions = seconds(s, rng, 80, 9, fresh)
    assert kept(decisions[:1]) == 500  # at first nobody knows that there are so many
    assert kept(decisions[2:]) < 250


def test_upstream_sampling_is_counted_in_so_that_the_budget_is_used() -> None:
    """Records that stand for 4 lose nothing to a rate above 25 %."""
    rng = random.Random(5)
    s = sampler()
    decisions = seconds(s, rng, 0, 120, {"a": 120}, state="ot=th:c")[100:]
    assert kept(decisions) == pytest.approx(100, rel=0.06)
    p = next(iter(s.budget.tables[0].rates.values())) if s.budget else 0
    assert float(p) == pytest.approx(100 / 120 / 4, rel=0.03)


def test_a_retry_is_decided_by_the_table_of_its_own_time() -> None:
    rng = random.Random(6)
    s = sampler()
    seconds(s, rng, 0, 20, {"a": 300})
    facts = call("a", START + 20 * S)
    ids = [rng.randbytes(16) for _ in range(300)]
    first = [s.span(i, "", facts) for i in ids]
    seconds(s, rng, 20, 30, {"a": 3000})
    assert [s.span(i, "", facts) for i in ids] == first
    assert s.span(b"\xff" * 16, "", call("a", START + 49 * S)).weight > s.span(b"\xff" * 16, "", facts).weight


def test_a_rule_of_rate_zero_needs_no_budget_and_a_rules_rate_is_a_ceiling() -> None:
    rng = random.Random(7)
    rules = [
        {"name": "health", "when": [{"path": "url.path", "op": "eq", "value": "/health"}], "rate": 0},
        {"name": "base", "rate": 10},
    ]
    s = sampler(rules=rules)
    decisions = seconds(s, rng, 0, 30, {"a": 200})
    assert kept(decisions) == pytest.approx(20, rel=0.15)
    assert s.span(b"\xff" * 16, "", call("a", START, **{"url.path": "/health"})).reason == "rule_zero"


def test_a_kept_record_names_the_table_that_gave_its_rate() -> None:
    rng = random.Random(8)
    s = sampler()
    seconds(s, rng, 0, 20, {"a": 300})
    assert s.budget is not None
    decision = s.span(b"\xff" * 16, "", call("a", START + 20 * S))
    assert decision.config.endswith(f"@{s.budget.tables[0].from_unix_ns // S}")


def test_memory_is_bounded_by_keys_and_time() -> None:
    rng = random.Random(9)
    s = sampler(max_keys=50, epoch_s="1s", remember_s="60s")
    for second in range(100):
        seconds(s, rng, second, 1, {f"k{second}-{i}": 1 for i in range(100)})
    assert s.budget is not None
    assert len(s.budget.tables) <= 70
    assert len(s.budget.tables[0].rates) <= 52
