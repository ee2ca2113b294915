"""The mapper's question and its answer: keep this record? and how many does it stand for?

Built once from the settings. span() and log() are pure functions of the record and of what is in force; what
is in force (rules, budget table, hashed randomness) changes only in tick(), which the owner calls between
requests and never while one is being mapped. Not thread safe: event loop only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from typing import Final

from mapping.event import Decision
from mapping.sampling.counts import Slot, Tally
from mapping.sampling.decide import NO_TRACE, Policy, Rate, Upstream, of_log, of_span
from mapping.sampling.detection import WATCHED_BYTE, TraceIdWatch
from mapping.sampling.epochs import Budget
from mapping.sampling.learned import UNKNOWN, LearnedRandomness
from mapping.sampling.moesif import RemoteConfig, remote_plan
from mapping.sampling.of_calls import CallConditions, OfCall
from mapping.sampling.plan import Plan, Ruled, local_plan
from mapping.sampling.randomness import draw, inside
from mapping.sampling.rules import Facts, as_text
from mapping.sampling.settings import BudgetSettings, SamplingSettings
from mapping.sampling.thresholds import DEFAULT_PRECISION, MOST_CALLS, M, parse_rate, threshold
from mapping.sampling.tracestate import parse

_UNTRACED = Upstream("none", 0, 0, "record_hash")  # a log record that nothing but its content identifies

_LONGEST_STATE: Final = 1024  # characters of a tracestate that is remembered; W3C asks for 512 to be handed on
# The bridge's own: SDKs at 0.1 % stay within it, and callers who send thresholds of their own multiply little.
CEILING: Final = 1_000


class Sampler:
    """Sampler(settings): decides every record of every request of one process.

    early: every decision needs only trace id and trace state, so the mapper may decide before it reads
    attributes. It can change in tick(); read it once per request. In early mode `facts` need only know
    "service".
    tally: what was decided, see counts.py. watch: the randomness of trace ids, see detection.py.
    """

    UNDECIDED = "(undecided)"  # rule of a record that waits for the rest of its trace

    def __init__(
        self,
        settings: SamplingSettings,
        *,
        hashed_since: int | None = None,
        ceiling: int = MOST_CALLS,
        budget: Callable[[BudgetSettings], Budget] = Budget,
    ) -> None:
        """hashed_since: when randomness `auto` turned to hash before a restart (that of the earlier sampler).

        ceiling: what a threshold may claim where the settings do not say. budget: makes the one of the settings.
        """
        self.ceiling = settings.max_upstream_adjusted_count or ceiling
        self.settings = settings
        self.tally = Tally()
        self.watch = TraceIdWatch()
        self.learned = LearnedRandomness()
        self._parse = lru_cache(maxsize=4096)(parse)
        self._hash_of = lru_cache(maxsize=16384)(partial(draw, "trace"))  # spans of a trace come together
        self.budget = budget(settings.budget) if settings.budget else None
        # In tail mode records of a trace leave here undecided and uncounted; see whole_traces.py.
        self._undecided = Ruled(Rate(self.UNDECIDED, Fraction(1))) if settings.tail else None
        # With a window its survivors leave here uncounted, with their R in `rv`; see window.py.
        self._windowed = settings.window_s is not None
        self._head = {
            service: threshold(parse_rate(rate), max(settings.precision, DEFAULT_PRECISION))
            for service, rate in settings.head_rate.items()
        }
        self._policy = Policy(
            on_inconsistent=settings.on_inconsistent,
            max_upstream_adjusted_count=self.ceiling,
            trust_upstream=settings.trust_upstream,
            legacy_pr=settings.legacy_pr,
            hashed=settings.randomness == "hash" or (hashed_since is not None and settings.randomness == "auto"),
        )
        # Unix ns: of what was received before, trace ids decide themselves, also when it is read again; None: of all.
        self.hashed_since = (hashed_since or 0) if self._policy.hashed else None
        self._distrust = replace(self._policy, trust_upstream=False)
        self._next_plan: Plan | None = None
        self._turn_to_hash = False
        self._put_in_force(local_plan(settings))

    @property
    def hashed(self) -> bool:
        """Randomness of records without th and rv is a hash of the trace id, from `hashed_since` on. Latches.

        Keep that across restarts.
        """
        return self.hashed_since is not None

    def decide_for(self, received_unix_ns: int) -> None:
        """What is decided next was received then: it is decided as it was the first time, however often it is read."""
        hashed = self.hashed_since is not None and received_unix_ns >= self.hashed_since
        if hashed != self._policy.hashed:
            self._hash(hashed)
            self._put_in_force(self._plan)

    def _hash(self, hashed: bool) -> None:
        self._policy = replace(self._policy, hashed=hashed)
        self._distrust = replace(self._policy, trust_upstream=False)

    @property
    def config(self) -> str:
        return self._plan.config

    def span(self, trace_id: bytes, trace_state: str, facts: Facts) -> Decision:
        """The decision for a span.

        trace_id: 16 raw bytes. facts(path): the value at a rule path, None when absent.
        """
        if self._hash_alone and not trace_state:
            return self._span_by_hash(self._only or self._choose(facts), trace_id)
        if self._in_full:
            return self._span_in_full(self._undecided or self._choose(facts), trace_id, trace_state, facts)
        ruled = self._only
        if ruled is None:
            ruled = self._choose(facts)
        band = ruled.by_text.get(trace_state)
        if band is None:
            return self._span_in_full(ruled, trace_id, trace_state, facts)
        low = trace_id[9:]
        if low >= band.limit_bytes:
            slot = band.light
        elif low >= band.t_out_bytes:
            slot = band.heavy
        elif low >= band.t_in_bytes:
            slot = band.dropped
        else:
            return self._span_in_full(ruled, trace_id, trace_state, facts)
        if trace_id[WATCHED_BYTE] < self._watch_below and not trace_state and trace_id not in self.watch.seen:
            self._observe(trace_id, facts)
        if slot.count:
            slot.count += 1
        else:
            self._touch(slot)
        return slot.decision

    def log(
        self,
        trace_id: bytes,
        threshold: str | None,
        randomness: str | None,
        record: Callable[..., bytes],
        facts: Facts,
        *of_record: object,
    ) -> Decision:
        """The decision for a log record.

        trace_id: 16 raw bytes or b"". threshold, randomness: attributes sampling.threshold and
        sampling.randomness.
        record(*of_record): randomness.record_bytes of it, called only when nothing else identifies the record.
        """
        if threshold is None and randomness is None and not self._in_full and self.learned.empty:
            ruled = self._only or self._choose(facts)
            band = ruled.by_text.get("")
            if band is not None and len(trace_id) == 16 and trace_id != NO_TRACE:
                low = trace_id[9:]
                if low >= band.limit_bytes:
                    slot = band.light
                else:
                    slot = band.heavy if low >= band.t_out_bytes else band.dropped
                if slot.count:
                    slot.count += 1
                else:
                    self._touch(slot)
                return slot.decision
            if not trace_id:
                # A rate that keeps all, or none, needs no R: the record is not serialised and hashed for it.
                band = ruled.band(_UNTRACED)
                if not band.limit or band.t_out == M:
                    slot = band.light if band.t_out < M else band.dropped
                    self._count(slot)
                    return slot.decision
        return self._log_in_full(trace_id, threshold, randomness, partial(record, *of_record), facts)

    def tick(self, now_unix_ns: int) -> None:
        """Put in force what is due: a new configuration, hashed randomness, the next budget table.

        Call it between requests, once a second or once per request, with the wall clock.
        """
        self.learned.tick(now_unix_ns)
        if self.budget:
            self.budget.tick(now_unix_ns)
        if self._turn_to_hash and self.hashed_since is None:
            self.hashed_since = now_unix_ns
            self._hash(True)
            self._put_in_force(self._next_plan or self._plan)
        elif self._next_plan is not None:
            self._put_in_force(self._next_plan)
        self._next_plan = None

    def use_remote(self, remote: RemoteConfig | None, etag: str) -> None:
        """Follow a remote configuration (None: only the local rules) from the next tick() on."""
        settings = self.settings
        self._next_plan = local_plan(settings) if remote is None else remote_plan(settings, remote, etag)

    def rate_of(self, facts: Facts) -> Rate:
        """What the rules say about a whole trace (tail mode)."""
        return self._plan.choose(facts).rate

    def passed(self, trace_id: bytes, trace_state: str, facts: Facts) -> int | None:
        """The threshold that a span passed upstream, 0 for none; None where what it says may hang on its randomness.

        That is so where R is drawn anew because a threshold was not believed, and behind a configured `head_rate`.
        """
        policy = self._policy_for(facts)
        if not trace_state and not self._head:
            return 0
        state = self._parse(trace_state) if len(trace_state) <= _LONGEST_STATE else parse(trace_state)
        head_t = self._head.get(as_text(facts("service")) or "", 0) if self._head else 0
        up = of_span(trace_id, state, policy, head_t)
        return up.t_in if up.status in ("none", "th", "untrusted") else None

    def _choose_in_budget(self, facts: Facts) -> Ruled:
        """A budget's rates are not the rules': what is bound to a call's threshold goes by its own facts."""
        if isinstance(facts, OfCall) and facts.bound:
            facts = facts.own
        return self._plan.choose(facts)

    def decide_again(self, ruled: Ruled, up: Upstream, *, counted: bool = True) -> Decision:
        """The final decision of a record whose trace waited, counted now or (counted: False) by the caller."""
        return self._banded(ruled, up, counted=counted)

    def _put_in_force(self, plan: Plan) -> None:
        settings = self.settings
        self._plan = plan
        self._only = plan.only
        self.calls = plan.calls if self._undecided is None else CallConditions()
        self._choose = plan.choose
        if self.calls:
            self._choose = self._choose_in_budget if self.budget else plan.choose_of_call
        self._touch = self.tally.touch
        by_content = bool(
            self._head or settings.untrusted_tenants or settings.sample_unit != "trace" or settings.budget
        )
        special = by_content or self._undecided is not None or not settings.trust_upstream
        self._hash_alone = self._policy.hashed and not special
        self._in_full = special or self._policy.hashed
        self._watch_below = self.watch.below if settings.randomness == "auto" and not self.hashed else 0
        self.early = plan.only is not None and not by_content

    def _span_by_hash(self, ruled: Ruled, trace_id: bytes) -> Decision:
        return self._banded(ruled, Upstream("none", 0, self._hash_of(trace_id), "trace_hash"))

    def _span_in_full(self, ruled: Ruled, trace_id: bytes, trace_state: str, facts: Facts) -> Decision:
        state = self._parse(trace_state) if len(trace_state) <= _LONGEST_STATE else parse(trace_state)
        policy = self._policy_for(facts)
        head_t = self._head.get(as_text(facts("service")) or "", 0) if self._head else 0
        up = of_span(trace_id, state, policy, head_t)
        if up.r_source == "rv" and not up.refuse:  # not of a redrawn one, whose rv is known to be below its threshold
            self.learned.learn(trace_id + _tenant(facts), up.r, up.t_in)
        if not self._in_full and up.r_source == "trace_id" and up.status in ("none", "th", "malformed"):
            ruled.remember(trace_state, ruled.band(up))
        if (
            self._watch_below
            and state.th < 0
            and state.rv < 0
            and len(trace_id) == 16
            and trace_id[WATCHED_BYTE] < self._watch_below
        ):
            self._observe(trace_id, facts)
        return self._decide(ruled, up, facts)

    def _log_in_full(
        self, trace_id: bytes, threshold: str | None, randomness: str | None, record: Callable[[], bytes], facts: Facts
    ) -> Decision:
        learned = self.learned.get(trace_id + _tenant(facts)) if trace_id and not self.learned.empty else UNKNOWN
        up = of_log(trace_id, threshold, randomness, learned, record, self._policy_for(facts))
        if isinstance(facts, OfCall) and up.r_source == "trace_rv":  # of a trace whose spans passed
            facts = facts.unbound()
        ruled = self._choose(facts)
        if not self._in_full and threshold is None and up.status == "none" and up.r_source == "trace_id":
            ruled.remember("", ruled.band(up))
        return self._decide(ruled, up, facts)

    def _decide(self, ruled: Ruled, up: Upstream, facts: Facts) -> Decision:
        if self.settings.sample_unit != "trace":
            up = self._of_unit(up, facts)
        if self.budget and ruled.rate.probability:
            base = ruled.rate
            key, ruled = self.budget.ruled(ruled, facts)
            self.budget.arrived(key, base, up.adjusted_in)
        if self._undecided and up.r_source != "record_hash" and not up.refuse:
            return _with_r(self._undecided.band(up).slot(up.r).decision, up)
        if self._windowed:
            decision = ruled.band(up).slot(up.r).decision
            if decision.keep:
                return _with_r(decision, up)
        return self._banded(ruled, up)

    def _banded(self, ruled: Ruled, up: Upstream, *, counted: bool = True) -> Decision:
        band = ruled.band(up)
        slot = band.slot(up.r)
        if counted:
            self._count(slot)
        decision = slot.decision
        if decision.keep and band.rv_out:
            return decision._replace(rv=f"{up.r:014x}")
        return decision

    def _of_unit(self, up: Upstream, facts: Facts) -> Upstream:
        """All records of a user (or company, session) share one R.

        Drawn inside T_in, so upstream stays accounted for.
        """
        unit = as_text(facts(self.settings.sample_unit))
        if not unit or up.refuse:
            return up
        h = draw("unit", unit.encode("utf-8", "replace"))
        return up._replace(r=inside(up.t_in, h), r_source="unit", passed=0)

    def _policy_for(self, facts: Facts) -> Policy:
        distrusted = self.settings.untrusted_tenants
        return self._distrust if distrusted and as_text(facts("tenant")) in distrusted else self._policy

    def _count(self, slot: Slot) -> None:
        if slot.count:
            slot.count += 1
        else:
            self._touch(slot)

    def _observe(self, trace_id: bytes, facts: Facts) -> None:
        if self.watch.observe(trace_id, as_text(facts("service")) or ""):
            self._turn_to_hash = True
        self._watch_below = self.watch.below


def _tenant(facts: Facts) -> bytes:
    """The sender: what one tenant's spans say of a trace is nothing to another's logs."""
    return (as_text(facts("tenant")) or "").encode()


def _with_r(decision: Decision, up: Upstream) -> Decision:
    """For what is decided later: with R in `rv` where the trace id does not tell it."""
    return decision if up.r_source == "trace_id" else decision._replace(rv=f"{up.r:014x}")
