"""Rates, thresholds and weights, in exact integers.

A record is kept when its 56 random bits R are at least the rejection threshold T, so it is kept with
probability p = (M - T) / M and stands for 1/p = M / (M - T) records. Source: OpenTelemetry "TraceState:
Probability Sampling" and spec/sampling.md §1, §6.
"""

from __future__ import annotations

import re
from fractions import Fraction

M = 1 << 56
MIN_PROBABILITY = Fraction(1, 1 << 30)  # smallest rate a rule may ask for; keeps every weight inside int32
DEFAULT_PRECISION = 4  # significant hex digits: OpenTelemetry's recommendation and the Collector's default
MOST_CALLS = 1_000_000  # that a sender may say one record stands for (spec/sampling.md §2.8): it must not drown a chart
DIGITS = 14  # hex digits of a 56 bit threshold

_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?) ?%?", re.ASCII)
_RATIO = re.compile(r"([0-9]{1,40})/([0-9]{1,40})", re.ASCII)
_TH = re.compile(r"[0-9a-f]{1,14}", re.ASCII)
_RV = re.compile(r"[0-9a-f]{14}", re.ASCII)


class RateError(ValueError):
    """A rate in the settings that cannot be used. Raised by parse_rate, shown to the operator."""


def parse_rate(value: object) -> Fraction:
    """The exact probability that a rate in the settings stands for: percent (`10`, "12.5"), or a ratio ("1/3").

    A float is read through its shortest decimal text, so 0.1 means one in a thousand exactly. Raises
    RateError.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction):
        raise RateError(f"rate must be a percentage or a ratio such as '1/3', not {value!r}")
    text = str(value) if not isinstance(value, Fraction) else f"{value.numerator}/{value.denominator}"
    if ratio := _RATIO.fullmatch(text.strip()):
        if int(ratio[2]) == 0:
            raise RateError(f"rate {text!r} divides by zero")
        probability = Fraction(int(ratio[1]), int(ratio[2]))
    elif percent := _PERCENT.fullmatch(text.strip()):
        probability = Fraction(percent[1]) / 100
    else:
        raise RateError(f"rate {text!r} is neither a percentage nor a ratio such as '1/3'")
    if probability > 1:
        raise RateError(f"rate {text!r} is more than 100 %")
    if 0 < probability < MIN_PROBABILITY:
        raise RateError(f"rate {text!r} is below the smallest usable rate, 1/{1 << 30}; use 0 to keep nothing")
    return probability


def threshold(probability: Fraction, precision: int = DEFAULT_PRECISION) -> int:
    """T for 0 < probability <= 1, rounded half up to `precision` significant hex digits.

    Leading f digits (small rates) and leading 0 digits (rates near 100 %) do not count as significant, as in
    the Collector and the Go SDK.
    """
    if probability >= 1:
        return 0
    exact = M - (2 * probability.numerator * M + probability.denominator) // (2 * probability.denominator)
    extra = max(-_exponent(probability) // 4, -_exponent(1 - probability) // 4)
    digits = min(DIGITS, precision + extra)
    unit = 1 << 4 * (DIGITS - digits)
    return (exact + unit // 2) // unit * unit


def _exponent(x: Fraction) -> int:
    """e with 2^(e-1) <= x < 2^e."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e + 1 if x >= Fraction(2) ** e else e


def th_text(t: int) -> str:
    """T as OpenTelemetry writes it: hex without trailing zeros, "0" for T = 0."""
    return f"{t:014x}".rstrip("0") or "0"


def parse_th(text: str) -> int:
    """T of a `th` value, or -1 when it is malformed.

    Strict, because int(text, 16) would also take "0xc", "1_0" and "+c".
    """
    return int(text.ljust(DIGITS, "0"), 16) if _TH.fullmatch(text) else -1


def parse_rv(text: str) -> int:
    """R of an `rv` value, or -1 when it is malformed."""
    return int(text, 16) if _RV.fullmatch(text) else -1


def adjusted_count(t: int) -> float:
    """M/(M-T), the nearest float64 (division of two ints is correctly rounded)."""
    return M / (M - t)


def probability_of(t: int) -> float:
    return (M - t) / M


def weight_split(t: int) -> tuple[int, int]:
    """(q, limit): a kept record weighs q + 1 when R < limit, else q.

    Given that it is kept, R is uniform on [T, M), so the weights of all 2^56 values of R add up to M exactly:
    the integer weight is unbiased to the last bit, and equal for all records of a trace (spec/sampling.md §6).
    """
    q, remainder = divmod(M, M - t)
    return q, t + remainder


def weight(t: int, r: int) -> int:
    """The integer weight of a record kept at T with randomness R >= T."""
    q, limit = weight_split(t)
    return q + (r < limit)
