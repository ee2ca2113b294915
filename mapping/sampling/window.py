"""A hard cap on one window of records that other thresholds have thinned before (spec/sampling.md §9).

Records with one R share their fate: they are one unit. Units with the largest R stay until the first that does not
fit, and T_cap is just above that one's R (bottom-k, or priority, sampling). A unit counts as at most half the budget,
or one larger than the budget could never be kept.

A record that got past its own threshold t (of upstream, rule and budget) is here exactly when R >= t, so how many of
its unit are here depends on R where their t differ. For a record, therefore, its own unit counts as those with a
threshold of at most its own: they are here whenever it is. Then its T_cap is the same for every R at which it is kept,
and that is what makes M / (M - T) unbiased; counting everything that came overstates such records, by a sixth in a
simple example. Kept records still fit: a unit before the first that does not fit is kept whole, of that one itself what
fits with a smaller t, and nothing after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from mapping.event import Decision
from mapping.sampling.counts import CountKey, Sums, add, adjusted_in, thresholds_of
from mapping.sampling.decide import hands_on_rv
from mapping.sampling.randomness import stretched, unstretched
from mapping.sampling.stated import STATED, multiplied
from mapping.sampling.thresholds import M, adjusted_count, parse_th, probability_of, th_text, weight, weight_split


class Cap(NamedTuple):
    """T_cap of every record that was in a window, from its place (R, t)."""

    t: int = 0
    own: Mapping[tuple[int, int], int] = {}  # where records of its unit with a larger t leave more room: less than t

    def of(self, r: int, t: int) -> int:
        return self.own.get((r, t), self.t)


class Window:
    """The places of the records that came, as far as they can still matter: some budgets' worth."""

    def __init__(self, budget: int, size_cap: int | None = None, top: int = M) -> None:
        self._budget = budget
        self._most = max(1, budget // 2 if size_cap is None else size_cap)  # that a unit counts
        self._top = top
        self._units: defaultdict[int, list[int]] = defaultdict(list)

    def add(self, r: int, t: int) -> None:
        self._units[r].append(t)

    def cap(self) -> Cap:
        """What has come so far allows no more. What comes later only raises it."""
        order, spent = self._in_order()
        first_out = bisect_right(spent, self._budget)
        if first_out == len(order):
            return Cap()
        t_cap = self._above(order[first_out])
        own = {}
        for i, r in enumerate(order[: first_out + 1]):
            ts = sorted(self._units[r])
            if ts[0] == ts[-1]:
                continue
            for t in set(ts):
                less = min(len(ts), self._most) - min(bisect_right(ts, t), self._most)
                out = bisect_right(spent, self._budget + less, lo=i)
                if out > first_out:
                    own[r, t] = self._above(order[out]) if out < len(order) else 0
        return Cap(t_cap, own)

    def forget(self) -> None:
        """Let go of what can matter to no cap any more, whatever comes."""
        order, spent = self._in_order()
        for r in order[bisect_right(spent, self._budget + self._most) + 1 :]:
            del self._units[r]
        for ts in self._units.values():
            if len(ts) > self._most:
                ts.sort()
                del ts[self._most :]

    def _in_order(self) -> tuple[list[int], list[int]]:
        order = sorted(self._units, reverse=True)
        return order, list(accumulate(min(len(self._units[r]), self._most) for r in order))

    def _above(self, r: int) -> int:
        return min(r + 1, self._top - 1)


class Place(NamedTuple):
    """Where a kept record stands among the others of a window."""

    r: int
    t: int  # threshold that it got past: of upstream, rule and budget
    passed: int  # as in Upstream


def place_of(decision: Decision, trace_id: str) -> Place:
    """Of a record that the sampler kept. It leaves R in `rv` wherever it is not the trace id's."""
    r = int(decision.rv, 16) if decision.rv else int(trace_id[18:], 16)
    t = parse_th(decision.th) if decision.th else 0
    passed = thresholds_of(decision)[1] if decision.r_source == "trace_rv" else 0
    return Place(unstretched(r, passed), unstretched(t, passed), passed) if passed else Place(r, t, 0)


def decided(decision: Decision, trace_id: str, cap: Cap) -> Decision | None:
    """What a cap makes of a record that the sampler kept; None: dropped."""
    at = place_of(decision, trace_id)
    t_cap = cap.of(at.r, at.t)
    return under_cap(decision, at, t_cap) if at.r >= t_cap else None


def under_cap(decision: Decision, at: Place, t_cap: int) -> Decision:
    """The final decision of a record that the cap keeps: at.r >= t_cap. Without a cap (0) too."""
    r = stretched(at.r, at.passed) if at.passed else at.r
    final = decision
    if t_cap > at.t:
        t = _on_own_scale(t_cap, at.passed)
        final = _raised(_plain(decision), t, heavy=r < weight_split(t)[1])
        if decision.upstream == STATED:
            before = _on_own_scale(at.t, at.passed)
            final = multiplied(
                final, decision.adjusted_count / adjusted_count(before), decision.weight // weight(before, r)
            )
    if not decision.rv:
        return final
    distrusted = decision.upstream == STATED and "redraw" in decision.r_source
    shown = hands_on_rv("untrusted" if distrusted else decision.upstream, decision.r_source, final.th)
    return final._replace(rv=decision.rv if shown else "")


@lru_cache(maxsize=4096)
def _raised(decision: Decision, t: int, *, heavy: bool) -> Decision:
    """Shared, as the decisions of a Band are."""
    return decision._replace(
        weight=weight_split(t)[0] + heavy, adjusted_count=adjusted_count(t), th=th_text(t), p=probability_of(t)
    )


def _on_own_scale(t: int, passed: int) -> int:
    if not passed:
        return t
    return stretched(t, passed) if t > passed else 0


class Tallied:
    """What a cap did to records that the sampler had kept, counted once they are decided."""

    def __init__(self) -> None:
        self._dropped: dict[Decision, int] = {}
        self._kept: dict[tuple[Decision, int], int] = {}
        self.dropped = 0

    def drop(self, decision: Decision) -> None:
        """The window's cap drops it: T_cap of what is dropped is the window's own `t`, whatever comes later."""
        plain = _plain(decision)
        self._dropped[plain] = self._dropped.get(plain, 0) + 1
        self.dropped += 1

    def keep(self, decision: Decision, at: Place, t_cap: int) -> None:
        key = _plain(decision), max(at.t, t_cap)
        self._kept[key] = self._kept.get(key, 0) + 1

    def sums(self, t_cap: int) -> dict[CountKey, Sums]:
        found: dict[CountKey, Sums] = {}
        for (decision, t), n in self._kept.items():
            _enter(found, decision, t, n, "kept")
        for decision, n in self._dropped.items():
            _enter(found, decision, t_cap, n, "capped")
        return found


def _plain(decision: Decision) -> Decision:
    """Without what differs between records of one kind; a stated weight is none of our sampling."""
    decision = decision._replace(weight=0, rv="")
    if decision.upstream == STATED:
        t = parse_th(decision.th) if decision.th else 0
        decision = decision._replace(upstream="none", adjusted_count=adjusted_count(t), p=probability_of(t))
    return decision


def _enter(found: dict[CountKey, Sums], decision: Decision, t: int, n: int, reason: str) -> None:
    a = adjusted_in(decision)
    t = _on_own_scale(t, thresholds_of(decision)[1])
    p = min(1.0, probability_of(t) * a)  # given that it arrived
    variance = n * a * a * (1 / p - 1)
    if decision.r_source == "record_hash":
        # Those that the rule has dropped would have met the cap as well: each of these stands for its share of them.
        variance /= min(1.0, decision.p * a)
    kept = reason == "kept"
    key = CountKey(decision.rule, reason, decision.upstream, decision.r_source)
    found[key] = add(found.get(key), Sums(n, n * a, n * adjusted_count(t) if kept else 0.0, n * p, variance))


def passed_by_rule(sums: Mapping[CountKey, Sums]) -> dict[CountKey, Sums]:
    """What the rules dropped of a window, without the variance that `Tallied` enters for it (record_hash only)."""
    return {key: s._replace(variance=0.0) if key.r_source == "record_hash" else s for key, s in sums.items()}


def cap_of(places: Iterable[tuple[int, int]], budget: int, size_cap: int | None = None, top: int = M) -> Cap:
    """The cap of a whole window from (R, t) of each record."""
    window = Window(budget, size_cap, top)
    for r, t in places:
        window.add(r, t)
    return window.cap()
