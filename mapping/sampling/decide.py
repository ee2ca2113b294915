"""One decision: what upstream did, which randomness to use, and the threshold that results (spec/sampling.md §2 to §6).

Upstream says with T_in how much it has already dropped; a rule says with T_rule how much should be left. Both
were or are compared with the same R, so the larger threshold is the whole story: T_out = max(T_in, T_rule), and the
record stands for M / (M - T_out). Never for A_in * A_rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from mapping.event import UNSAMPLED, Decision
from mapping.sampling.counts import Slot
from mapping.sampling.randomness import draw, inside, stretched
from mapping.sampling.thresholds import (
    MIN_PROBABILITY,
    MOST_CALLS,
    M,
    adjusted_count,
    parse_rv,
    parse_th,
    probability_of,
    th_text,
    threshold,
    weight_split,
)
from mapping.sampling.tracestate import State

_NEVER = b"\xff" * 8  # above every 7 byte R
NO_TRACE = b"\0" * 16


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How far upstream is believed. Part of the settings, in the form that deciding needs."""

    on_inconsistent: str = "erase"  # erase | trust | drop
    max_upstream_adjusted_count: int = MOST_CALLS
    trust_upstream: bool = True
    legacy_pr: bool = False
    hashed: bool = False  # randomness of items without th and rv is a hash of the trace id (spec/sampling.md §2.7)


class Upstream(NamedTuple):
    """What is known before our own rule: R, and the threshold the record has already passed."""

    status: str  # none | th | malformed | inconsistent | implausible | untrusted | legacy | configured
    t_in: int
    r: int
    r_source: str
    refuse: bool = False  # settings say drop (on_inconsistent: drop)
    passed: int = 0  # R is only known because a span of the trace passed this threshold; the record did not have to

    @property
    def adjusted_in(self) -> float:
        """How many records this one stands for on arrival."""
        return M / (M - self.t_in)


def of_span(trace_id: bytes, state: State, policy: Policy, head_t: int = 0) -> Upstream:
    """Upstream of a span. head_t: the threshold of a configured head_rate of its service, 0 for none."""
    if not policy.trust_upstream:
        return Upstream("untrusted", 0, draw("redraw", trace_id), "redraw")
    if state.rv >= 0:
        r, source = state.rv, "rv"
    elif policy.hashed and state.th < 0:
        r, source = draw("trace", trace_id), "trace_hash"
    else:
        r, source = _of_trace(trace_id)
    if state.th >= 0:
        return _checked("th", state.th, r, source, trace_id, policy)
    if state.malformed:
        return Upstream("malformed", 0, r, source)
    if policy.legacy_pr and (state.p >= 0 or state.r >= 0):
        return _legacy(state, trace_id, r, source, policy)
    if head_t and state.rv < 0:
        return Upstream("configured", head_t, inside(head_t, draw("redraw", trace_id)), "redraw")
    return Upstream("none", 0, r, source)


def of_log(
    trace_id: bytes,
    threshold_text: str | None,
    randomness_text: str | None,
    learned: tuple[int, int],
    record: Callable[[], bytes],
    policy: Policy,
) -> Upstream:
    """Upstream of a log record.

    learned: rv of a span of its trace, -1 when unknown, and the threshold which that span passed.
    record() gives randomness.record_bytes and is called only when nothing else identifies the record.
    """
    th = parse_th(threshold_text) if threshold_text is not None else -1
    malformed = threshold_text is not None and th < 0
    traced = bool(trace_id) and trace_id != NO_TRACE
    if not policy.trust_upstream:
        return Upstream("untrusted", 0, draw("redraw", trace_id if traced else record()), "redraw")
    rv = parse_rv(randomness_text) if randomness_text is not None else -1
    if rv >= 0:
        r, source = rv, "attr_rv"
    elif learned[0] >= 0:
        r, source = learned[0], "trace_rv"
    elif traced and policy.hashed and th < 0:
        r, source = draw("trace", trace_id), "trace_hash"
    elif traced:
        r, source = _of_trace(trace_id)
    else:
        # Thinned upstream by a hash of something we do not know: only a draw inside [T_in, M) continues it
        # unbiased.
        h = draw("record", record())
        if th >= 0 and _implausible(th, policy):
            return Upstream("implausible", 0, h, "record_hash")
        t_in = max(th, 0)
        status = "th" if th >= 0 else "malformed" if malformed else "none"
        return Upstream(status, t_in, inside(t_in, h), "record_hash")
    if th >= 0:
        return _checked("th", th, r, source, trace_id if traced else record(), policy)
    status = "malformed" if malformed else "none"
    if source == "trace_rv":
        rv, passed = learned
        return Upstream(status, 0, stretched(rv, passed), source, passed=passed)
    return Upstream(status, 0, r, source)


def _of_trace(trace_id: bytes) -> tuple[int, str]:
    if len(trace_id) == 16:
        return int.from_bytes(trace_id[9:], "big"), "trace_id"
    return draw("trace", trace_id), "trace_hash"  # not a W3C id: no 56 bits to read, but still one fate per trace


def _checked(status: str, t_in: int, r: int, source: str, identity: bytes, policy: Policy) -> Upstream:
    """Believe a threshold only if it is plausible and R agrees with it.

    Otherwise R must not be used again: it is known to lie in [0, T_in), so thinning by it would be biased. A
    new, independent R is drawn from the same identity (OTEP 250's "new independent randomness", made
    deterministic; spec/sampling.md §2.5).
    """
    if _implausible(t_in, policy):
        return Upstream("implausible", 0, draw("redraw", identity), f"{source}+redraw")
    if r >= t_in:
        return Upstream(status, t_in, r, source)
    if policy.on_inconsistent == "drop":
        return Upstream("inconsistent", t_in, r, source, refuse=True)
    h = draw("redraw", identity)
    if policy.on_inconsistent == "trust":
        return Upstream("inconsistent", t_in, inside(t_in, h), f"{source}+redraw")
    return Upstream("inconsistent", 0, h, f"{source}+redraw")


def _implausible(t_in: int, policy: Policy) -> bool:
    return policy.max_upstream_adjusted_count * (M - t_in) < M


def _legacy(state: State, trace_id: bytes, r: int, source: str, policy: Policy) -> Upstream:
    """p and r of the retired scheme: kept with probability 2^-p if p <= r.

    R below gives R >= T exactly when p <= r.
    """
    t_in = min(M - (1 << max(56 - state.p, 0)), M - 1) if state.p >= 0 else 0
    if _implausible(t_in, policy):
        return Upstream("implausible", 0, draw("redraw", trace_id), f"{source}+redraw")
    if state.r < 0:
        return Upstream("legacy", t_in, inside(t_in, draw("redraw", trace_id)), "redraw")
    ones = min(state.r, 56)
    low = max(55 - ones, 0)
    r = (M - (1 << 56 - ones)) | (int.from_bytes(trace_id[9:], "big") & ((1 << low) - 1))
    if state.p < 0:
        return Upstream("none", 0, r, "legacy_r")
    return _checked("legacy", t_in, r, "legacy_r", trace_id, policy)


class Rate(NamedTuple):
    """A rule's answer. Probability 0 is none: what it drops cannot be estimated."""

    rule: str
    probability: Fraction
    mode: str = "equalizing"  # of the original population; "proportional": of what arrives
    precision: int = 4
    config: str = ""
    t_floor: int = 0  # never below this threshold: what an overloaded tail buffer has already shed

    def t_rule(self, t_in: int) -> int | None:
        """T_rule, or None when nothing can be kept."""
        p = self.probability
        if self.mode == "proportional":
            p = p * (M - t_in) / M
        return max(threshold(p, self.precision), self.t_floor) if p >= MIN_PROBABILITY else None


def hands_on_rv(status: str, r_source: str, th: str) -> bool:
    """An rv goes with every th of ours that does not follow from the trace id, unless the th is not handed on."""
    own = r_source in ("trace_hash", "record_hash", "redraw", "legacy_r", "trace_rv", "unit") and bool(th)
    return status not in ("inconsistent", "implausible", "untrusted") and (own or r_source in ("rv", "attr_rv"))


class Band:
    """Everything one rate decides for records with the same upstream state: three shared decisions and their borders.

    light: R >= limit, heavy: T_out <= R < limit, dropped: R < T_out. The *_bytes are the same borders as the
    last seven bytes of a trace id, so that the hot path compares bytes and never makes an int.
    """

    __slots__ = (
        "dropped", "heavy", "light", "limit", "limit_bytes", "rv_out", "t_in", "t_in_bytes", "t_out", "t_out_bytes",
    )  # fmt: skip

    def __init__(self, rate: Rate, up: Upstream) -> None:
        status, t_in, r_source, refuse, passed = up.status, up.t_in, up.r_source, up.refuse, up.passed
        had_th = status in ("th", "legacy", "configured")
        t_rule = None if refuse else rate.t_rule(max(t_in, passed))
        t_out = M if t_rule is None else max(t_in, t_rule)
        if passed and t_out < M:  # the spans' threshold, on the scale of the stretched R
            t_out = stretched(max(passed, t_out), passed)
        q, limit = weight_split(t_out) if t_out < M else (0, M)
        self.t_in, self.t_out, self.limit = t_in, t_out, limit
        self.t_in_bytes = t_in.to_bytes(7, "big")
        self.t_out_bytes = t_out.to_bytes(7, "big") if t_out < M else _NEVER
        self.limit_bytes = limit.to_bytes(7, "big") if limit < M else _NEVER
        th = th_text(t_out) if t_out < M and (t_out or had_th) else ""
        self.rv_out = hands_on_rv(status, r_source, th)
        th_in = th_text(t_in or passed) if passed or (status != "malformed" and (t_in or had_th)) else ""
        p = probability_of(t_out) if t_out < M else 0.0

        def slot(keep: bool, weight: int, reason: str) -> Slot:
            count = adjusted_count(t_out) if keep else 0.0
            shared = Decision(keep, weight, count, th, rate.rule, p, r_source, status, th_in, rate.config, "", reason)
            return Slot(UNSAMPLED if shared == UNSAMPLED else shared, up.adjusted_in)

        if refuse:
            reason = "inconsistent"
        elif not rate.probability:
            reason = "rule_zero"
        else:
            reason = "below_minimum" if t_rule is None else "sampled_out"
        self.dropped = slot(False, 0, reason)
        self.heavy = slot(True, q + 1, "kept") if t_out < M else self.dropped
        self.light = slot(True, q, "kept") if t_out < M else self.dropped

    def slot(self, r: int) -> Slot:
        if r >= self.limit:
            return self.light
        return self.heavy if r >= self.t_out else self.dropped
