from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.sampling.decide import Band, Policy, Rate, Upstream, of_span
from mapping.sampling.thresholds import (
    M,
    RateError,
    parse_rate,
    parse_rv,
    parse_th,
    th_text,
    threshold,
    weight,
    weight_split,
)
from mapping.sampling.tracestate import parse

rates = st.fractions(min_value=Fraction(1, 1 << 30), max_value=1, max_denominator=1 << 40)
randomness = st.integers(min_value=0, max_value=M - 1)


@pytest.mark.parametrize(
    ("text", "probability"),
    [
        (10, Fraction(1, 10)),
        ("10", Fraction(1, 10)),
        ("10 %", Fraction(1, 10)),
        (0.1, Fraction(1, 1000)),
        ("33.3", Fraction(333, 1000)),
        ("1/3", Fraction(1, 3)),
        (1e-5, Fraction(1, 10_000_000)),
        (100, Fraction(1)),
        (0, Fraction(0)),
    ],
)
def test_a_rate_is_the_exact_rational_of_its_text(text: object, probability: Fraction) -> None:
    assert parse_rate(text) == probability


@pytest.mark.parametrize(
    "text",
    [True, None, float("nan"), float("inf"), -1, "-1", 100.5, "3/2", "1/0", "", "ten", "1_0", "１０", 1e-8, [10]],
)
def test_an_unusable_rate_is_refused(text: object) -> None:
    with pytest.raises(RateError):
        parse_rate(text)


@pytest.mark.parametrize("text", ["", "C", "0xc", "1_0", "+c", " c", "c ", "c\n", "１", "0" * 15])
def test_a_threshold_that_int_would_accept_is_malformed(text: str) -> None:
    assert parse_th(text) == -1


def test_randomness_has_exactly_fourteen_digits() -> None:
    assert parse_rv("9b8233f7e3a151") == 0x9B8233F7E3A151
    assert [parse_rv(text) for text in ("9b8233f7e3a15", "9b8233f7e3a1511", "9B8233F7E3A151")] == [-1, -1, -1]


@given(rates, st.integers(min_value=1, max_value=14))
def test_a_threshold_is_near_its_rate_and_survives_its_text(p: Fraction, precision: int) -> None:
    t = threshold(p, precision)
    assert 0 <= t < M
    assert parse_th(th_text(t)) == t
    assert abs(Fraction(M - t, M) - p) <= max(p, 1 - p) / 16 ** (precision - 1)


@given(rates)
def test_integer_weights_of_all_randomness_add_up_to_the_population(p: Fraction) -> None:
    """Over all 2^56 values of R, kept ones weigh M together, no more and no less (spec/sampling.md §0 I1)."""
    t = threshold(p)
    q, limit = weight_split(t)
    assert t <= limit <= M
    assert (limit - t) * (q + 1) + (M - limit) * q == M


@given(rates, randomness)
def test_the_weight_of_a_kept_record_is_the_adjusted_count_rounded_down_or_up(p: Fraction, r: int) -> None:
    t = threshold(p)
    if r >= t:
        exact = Fraction(M, M - t)
        assert int(exact) <= weight(t, r) <= int(exact) + 1


@given(rates, rates, randomness)
def test_a_lower_rate_keeps_a_subset(p1: Fraction, p2: Fraction, r: int) -> None:
    low, high = sorted((threshold(p1), threshold(p2)), reverse=True)
    assert not (r >= low and r < high)


@given(rates, st.integers(min_value=0, max_value=M - 1), randomness)
def test_a_threshold_is_never_lowered_and_rate_100_changes_nothing(p: Fraction, t_in: int, r: int) -> None:
    up = Upstream("th", t_in, r, "trace_id")
    assert Band(Rate("r", p), up).t_out >= t_in
    assert Band(Rate("r", Fraction(1)), up).t_out == t_in


@given(st.integers(min_value=0, max_value=1 << 20), rates)
def test_two_stages_are_unbiased_together(eighths: int, p: Fraction) -> None:
    """Upstream keeps R >= T_in and says so; what passes both stages weighs M over all R."""
    t_in = min(eighths << 36, M - 1)
    b = Band(Rate("r", p), Upstream("th", t_in, 0, "trace_id"))
    q, limit = weight_split(b.t_out)
    assert (limit - b.t_out) * (q + 1) + (M - limit) * q == M


@given(st.integers(min_value=1, max_value=(1 << 16) - 1), st.integers(min_value=1, max_value=(1 << 16) - 1))
def test_proportional_rates_multiply(passed: int, kept: int) -> None:
    """What arrives from rate a and is thinned to b of it stands for 1/(a b), to a threshold's precision."""
    t_in = (1 << 16) - passed << 40
    t_rule = Rate("r", Fraction(kept, 1 << 16), "proportional", 14).t_rule(t_in)
    expected = Fraction(passed, 1 << 16) * Fraction(kept, 1 << 16)
    if t_rule is None:
        assert expected < Fraction(1, 1 << 30)
    else:
        assert abs(Fraction(M - t_rule, M) - expected) <= Fraction(1, M)


@given(st.binary(min_size=16, max_size=16), st.text(max_size=40))
def test_any_tracestate_gets_a_decision_with_usable_randomness(trace_id: bytes, text: str) -> None:
    for state in (text, f"ot={text}", f"ot=th:{text}", f"ot=th:c;rv:{text}"):
        up = of_span(trace_id, parse(state), Policy(legacy_pr=True))
        assert 0 <= up.t_in <= up.r < M


@given(st.binary(min_size=16, max_size=16), st.integers(min_value=1, max_value=14))
def test_a_redraw_under_trust_stays_above_the_threshold(trace_id: bytes, digits: int) -> None:
    up = of_span(trace_id, parse("ot=th:" + "e" * digits), Policy(on_inconsistent="trust"))
    assert up.t_in == parse_th("e" * digits)
    assert up.r >= up.t_in
