"""Exact counts of what sampling received and kept, and a proof that the weights are right (spec/sampling.md §11).

Counts need no estimate: they are taken before anything is dropped. They calibrate charts (scale a rule's
estimate by received_adjusted / kept_adjusted and it is exact), and they are the only trace of what a rate of
0 dropped.

The audit compares the two in units of the standard error. It stays within a few units as long as everything
is right, and leaves them when trace ids are not random, when a sampler upstream hides what it did, or when a
weight is wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mapping.event import Decision
from mapping.sampling.counts import NOT_ESTIMABLE, CountKey, Sums, adjusted_in

ALARM = 5.0  # |z| beyond this comes by chance once in two million
MIN_EXPECTED = 30.0  # records expected to be kept before z means anything
MIN_CLUSTERS = 30  # traces kept before their sizes say how much the traces vary
LARGEST_TRACE = 1000  # records; that one such trace, or all while few are known, was dropped unseen is no alarm
MAX_TRACES = 50_000  # open clusters per audit; beyond, they are folded early

NS_PER_MINUTE = 60 * 10**9


class LedgerKey(NamedTuple):
    minute_unix_s: int  # when received, our clock
    rule: str
    tenant: str


class LedgerRow(NamedTuple):
    received: int = 0
    received_adjusted: float = 0.0  # what they stood for on arrival
    kept: int = 0
    kept_adjusted: float = 0.0  # what the kept stand for; an unbiased estimate of received_adjusted
    dropped_rule_zero: int = 0  # by rules of rate 0 and other drops that no estimate can see
    lost: int = 0  # outside every recorded probability: a crash in tail mode, for one

    def plus(self, other: LedgerRow) -> LedgerRow:
        return LedgerRow(
            self.received + other.received,
            self.received_adjusted + other.received_adjusted,
            self.kept + other.kept,
            self.kept_adjusted + other.kept_adjusted,
            self.dropped_rule_zero + other.dropped_rule_zero,
            self.lost + other.lost,
        )


class Ledger:
    """Rows per minute, rule and tenant, until they are taken; audits since the start."""

    def __init__(self) -> None:
        self.audits: defaultdict[tuple[str, str], Audit] = defaultdict(Audit)  # (rule, tenant)
        self._rows: dict[LedgerKey, LedgerRow] = {}

    def add(self, tenant: str, received_unix_ns: int, taken: Mapping[CountKey, Sums]) -> None:
        """Enter what Tally.take() returned for requests of one tenant."""
        minute_s = received_unix_ns // NS_PER_MINUTE * 60
        for key, sums in taken.items():
            row = LedgerRow(received=sums.records, received_adjusted=sums.adjusted_in)
            if key.reason in NOT_ESTIMABLE:
                row = row._replace(dropped_rule_zero=sums.records)
            else:
                if key.reason == "kept":
                    row = row._replace(kept=sums.records, kept_adjusted=sums.adjusted_out)
                self.audits[key.rule, tenant].counted(sums, alone=key.r_source == "record_hash")
            self._enter(LedgerKey(minute_s, key.rule, tenant), row)

    def lost(self, tenant: str, received_unix_ns: int, rule: str, records: int) -> None:
        self._enter(LedgerKey(received_unix_ns // NS_PER_MINUTE * 60, rule, tenant), LedgerRow(lost=records))

    def kept(self, tenant: str, decisions: Iterable[tuple[str, Decision]]) -> None:
        """Tell the audit which records were kept or dropped together: (trace or unit id, decision) of kept events."""
        for cluster, decision in decisions:
            if decision.p < 1:
                self.audits[decision.rule, tenant].kept(cluster, decision)

    def rows(self) -> dict[LedgerKey, LedgerRow]:
        """Rows not yet taken."""
        return dict(self._rows)

    def take(self) -> dict[LedgerKey, LedgerRow]:
        """What came since the last take; rows of one minute that are taken one after the other add up."""
        taken, self._rows = self._rows, {}
        return taken

    def alarms(self) -> dict[tuple[str, str], float]:
        """(rule, tenant) -> z, where weights do not add up."""
        found = {key: audit.z() for key, audit in self.audits.items()}
        return {key: z for key, z in found.items() if abs(z) > ALARM}

    def _enter(self, key: LedgerKey, row: LedgerRow) -> None:
        self._rows[key] = self._rows.get(key, LedgerRow()).plus(row)


class Audit:
    """z = (sum of adjusted counts kept - sum of adjusted counts received) / standard error, since start.

    The error is estimated from what was kept, which shows a large trace too many. One too few leaves nothing to see:
    for that the error of a missing sum allows for LARGEST_TRACE.
    """

    def __init__(self) -> None:
        self._difference = 0.0
        self._alone = 0.0  # variance of records that share their fate with no other
        self._independent = 0.0  # of the others if they did not either: a lower bound that needs no kept record
        self._largest = 0.0  # variance of one record of the most thinned kind
        self._clusters = 0
        self._clustered = 0.0  # variance of closed clusters
        self._expected = 0.0
        self._open: dict[str, list[tuple[float, float]]] = {}  # cluster -> (1/p given arrival, adjusted count)

    def counted(self, sums: Sums, *, alone: bool = False) -> None:
        self._difference += sums.adjusted_out - sums.adjusted_in
        self._expected += sums.expected
        if alone:
            self._alone += sums.variance
        else:
            self._independent += sums.variance
            self._largest = max(self._largest, sums.variance / sums.records)

    def kept(self, cluster: str, decision: Decision) -> None:
        members = self._open.get(cluster)
        if members is None:
            if len(self._open) >= MAX_TRACES:
                self._clustered += sum(map(variance_of_trace, self._open.values()))
                self._open.clear()
            members = self._open[cluster] = []
            self._clusters += 1
        members.append((decision.adjusted_count / adjusted_in(decision), decision.adjusted_count))

    def z(self) -> float:
        """0.0 while too little was sampled to say anything."""
        if self._expected < MIN_EXPECTED:
            return 0.0
        variance = max(self._independent, self._clustered + sum(map(variance_of_trace, self._open.values())))
        if self._difference < 0:
            unseen = LARGEST_TRACE * self._independent
            if self._clusters >= MIN_CLUSTERS:
                unseen = min(unseen, LARGEST_TRACE**2 * self._largest)
            variance += unseen
        variance += self._alone
        if variance <= 0:
            # Nothing was thinned, so in and out must agree but for the rounding of long sums.
            return 0.0 if abs(self._difference) < 1e-6 * self._expected else math.copysign(math.inf, self._difference)
        return self._difference / math.sqrt(variance)


def variance_of_trace(members: list[tuple[float, float]]) -> float:
    """The part of one trace in the variance of a sum (spec/sampling.md §11), from (A, A y) of its records.

    With p descending, pair (k, l > k) has max p = p_k: sum_k (1 - p_k) s_k (s_k + 2 sum_{l>k} s_l), s = A y.
    """
    rest, variance = 0.0, 0.0
    # p ascending, so `rest` is what comes after in p descending
    for adjusted_count, s in sorted(members, reverse=True):
        variance += (1 - 1 / adjusted_count) * s * (s + 2 * rest)
        rest += s
    return variance
