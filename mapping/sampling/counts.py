"""What sampling did, counted without slowing the hot path: each shared decision carries its own counter.

`Tally.take()` once per request (or per second) collects the counters that moved; the ledger and the metrics
read what it returns. Nothing is counted twice and nothing is lost when it is called rarely.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mapping.event import Decision
from mapping.sampling.stated import STATED
from mapping.sampling.thresholds import M, adjusted_count, parse_th

NOT_ESTIMABLE = frozenset(
    {"rule_zero", "below_minimum", "inconsistent"}
)  # reasons of drops that no weight makes up for


class Slot:
    """One shared Decision and how often it was given since the last take.

    adjusted_in: how many records one such record stands for on arrival.
    """

    __slots__ = ("adjusted_in", "count", "decision")

    def __init__(self, decision: Decision, adjusted_in: float) -> None:
        self.decision = decision
        self.adjusted_in = adjusted_in
        self.count = 0


class CountKey(NamedTuple):
    rule: str
    reason: str  # kept | sampled_out | rule_zero | inconsistent | below_minimum
    upstream: str  # none | th | malformed | inconsistent | implausible | untrusted | legacy | configured
    r_source: str


class Sums(NamedTuple):
    records: int
    adjusted_in: float  # sum of upstream adjusted counts of all these records, kept or not
    adjusted_out: float  # sum of adjusted counts of the kept
    expected: float  # how many of them were expected to be kept
    variance: float  # of adjusted_out, given what arrived, if records were independent


class Tally:
    """Counters of one sampler. `totals` only grow; take() returns what came since the last take."""

    def __init__(self) -> None:
        self.totals: dict[CountKey, Sums] = {}
        self._touched: list[Slot] = []
        self._folded: dict[CountKey, Sums] = {}

    def touch(self, slot: Slot) -> None:
        """Count one.

        The sampler calls it for a slot whose counter is 0 and otherwise increments the slot itself.
        """
        slot.count += 1
        self._touched.append(slot)
        if len(self._touched) >= 10_000:  # nobody takes: stay bounded
            self._fold()

    def take(self) -> dict[CountKey, Sums]:
        self._fold()
        taken, self._folded = self._folded, {}
        for key, sums in taken.items():
            self.totals[key] = add(self.totals.get(key), sums)
        return taken

    def _fold(self) -> None:
        for slot in self._touched:
            n, slot.count = slot.count, 0
            d = slot.decision
            key = CountKey(d.rule, d.reason, d.upstream, d.r_source)
            a = slot.adjusted_in
            p = min(1.0, d.p * a)  # given that it arrived
            variance = n * a * a * (1 / p - 1) if p else 0.0
            sums = Sums(n, n * a, n * d.adjusted_count, n * p, variance)
            self._folded[key] = add(self._folded.get(key), sums)
        self._touched.clear()


def sums_of(decisions: Iterable[Decision]) -> dict[CountKey, Sums]:
    """As Tally.take(), of decisions about whole traces, which are made more than once but count once."""
    tally = Tally()
    slots: dict[tuple[str, ...], Slot] = {}
    for d in decisions:
        reason = "kept" if d.keep else d.reason  # early decisions count like the others
        key = (d.rule, reason, d.upstream, d.r_source, d.th, d.th_in)
        slot = slots.get(key)
        if slot is None:
            slot = slots[key] = Slot(d._replace(reason=reason), adjusted_in(d))
            tally.touch(slot)
        else:
            slot.count += 1
    return tally.take()


def add(a: Sums | None, b: Sums) -> Sums:
    return b if a is None else Sums(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4])


def thresholds_of(decision: Decision) -> tuple[int, int]:
    """(t_in, passed) of the Upstream that a decision was made of."""
    t = int(decision.th_in.ljust(14, "0"), 16) if decision.th_in else 0
    return (0, t) if decision.r_source == "trace_rv" and decision.upstream in ("none", "malformed") else (t, 0)


def adjusted_in(decision: Decision) -> float:
    """How many records one with this decision stood for on arrival, by its threshold."""
    return M / (M - thresholds_of(decision)[0])


def arrived(decision: Decision) -> float:
    """How many calls a record stood for on arrival, by its threshold or the weight that its sender stated."""
    if not decision.keep:  # of a call that is only counted (mapping.sampling.dropped)
        return decision.adjusted_count or adjusted_in(decision)
    if decision.upstream != STATED:
        return adjusted_in(decision)
    return decision.adjusted_count / adjusted_count(parse_th(decision.th) if decision.th else 0)
