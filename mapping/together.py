"""What belongs to a call is decided with it: its logs and actions, where a sampling rule asks about calls.

The call of an action is the nearest incoming one above it, in its request or as remembered from an earlier one; that of
a log is the call of the span that it names, else the one of its service in its trace. Only for rules that ask about a
call: others cost nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from mapping.context import Group, Work
from mapping.event import API_CALL, SKIP, Decision, Event
from mapping.facts import LogFacts, SpanFacts
from mapping.logs.work import LogWork
from mapping.otlp.records import LogGroup
from mapping.otlp.wire import read_text
from mapping.sampling.of_calls import CallConditions, KnownCall, OfCall
from mapping.sampling.recent_calls import RecentCalls, service_key, span_key
from mapping.sampling.rules import Facts
from mapping.sampling.thresholds import parse_th
from mapping.shape import ABSENT
from mapping.spans.tree import ROOT, Tree, slices

STEP: Final = 256  # records between two pauses

Lent = Mapping[bytes, KnownCall]  # by the keys of `recent_calls`
DecideSpan = Callable[[Work, Facts], Decision]
DecideLog = Callable[[LogWork, Facts, Group, LogGroup], Decision]
Judge = Callable[[Event, Callable[[], Decision] | None, Work | LogWork], None]


class WaitingLog(NamedTuple):
    """A log record that was mapped, before it is decided."""

    event: Event
    work: LogWork
    facts: Group
    group: LogGroup


class Together:
    """One request after the other; what it learns of calls holds for later ones."""

    def __init__(self, seconds: float) -> None:
        """seconds: how long calls are remembered, 0 for the same request only."""
        self._recent = RecentCalls(seconds)
        self._of: CallConditions | None = None  # whose truths are remembered

    def begin(self, calls: CallConditions, now: int, tenant: str, lent: Lent | None) -> Deciding:
        """lent: what was lent to this request when it was decided before; None: it is decided for the first time."""
        if calls is not self._of:
            self._of = calls
            self._recent.clear()
        return Deciding(self._recent, calls, now, tenant, lent)


class Deciding:
    """One request. `lent` is what it took from earlier ones."""

    def __init__(
        self, recent: RecentCalls, calls: CallConditions, now: int, tenant: str, lent: Lent | None = None
    ) -> None:
        self.lent: dict[bytes, KnownCall] = {}
        self._recent = recent
        self._calls = calls
        self._nothing = calls.nothing
        self._now = now
        self._tenant = tenant
        self._before = lent

    def spans(
        self,
        waiting: Sequence[tuple[Work, Event]],
        works: Sequence[Work],
        tree: Tree,
        passed: Callable[[bytes, str, Facts], int | None],
        decide: DecideSpan,
        judge: Judge,
    ) -> Generator[None, None, None]:
        """Judges the events of a request's spans, in order. works: all its spans. passed: `Sampler.passed`."""
        if tree.is_flat():
            yield from self._flat(waiting, passed, decide, judge)
            return
        own: dict[int, KnownCall | None] = {}  # of incoming calls
        places = {id(work): at for at, work in enumerate(works)}
        for part in _steps(len(waiting)):
            for work, event in waiting[part.start : part.stop]:
                if event.event_type == API_CALL and work.plan.incoming:
                    with suppress(Exception):  # its own turn to be judged tells of it
                        own[places[id(work)]] = self._told(work, SpanFacts(event, work), passed)
            yield
        parents = yield from tree.parents()
        calls = yield from self._spread(own, parents, works)
        if self._recent:
            for work, call in zip(works, calls, strict=True):
                if call is not None and call.holds != self._nothing:
                    self._remember(work, call)
        for part in _steps(len(waiting)):
            for work, event in waiting[part.start : part.stop]:
                call, facts = calls[places[id(work)]], SpanFacts(event, work)
                asked: Facts = facts
                if call is not None and event.event_type != API_CALL:
                    asked = self._of(call, work, facts, passed)
                judge(event, None if event.event_type == SKIP else partial(decide, work, asked), work)
            yield

    def _flat(
        self,
        waiting: Sequence[tuple[Work, Event]],
        passed: Callable[[bytes, str, Facts], int | None],
        decide: DecideSpan,
        judge: Judge,
    ) -> Generator[None, None, None]:
        """As `spans`, where no span of the request is above another: each is decided as it comes."""
        knows = self._before is not None or not self._recent.empty
        for part in _steps(len(waiting)):
            for work, event in waiting[part.start : part.stop]:
                facts = SpanFacts(event, work)
                asked: Facts = facts
                call: KnownCall | None = None
                if event.event_type == API_CALL:
                    if work.plan.incoming:
                        with suppress(Exception):
                            call = self._told(work, facts, passed)
                elif knows and (parent := work.record.parent_id):
                    call = self._find(span_key(work.record.trace_id, parent, self._tenant))
                    if call is not None:
                        asked = self._of(call, work, facts, passed)
                if call is not None and call.holds != self._nothing and self._recent:
                    self._remember(work, call)
                judge(event, None if event.event_type == SKIP else partial(decide, work, asked), work)
            yield

    def _of(
        self, call: KnownCall, work: Work, facts: Facts, passed: Callable[[bytes, str, Facts], int | None]
    ) -> OfCall:
        return OfCall(facts, call, passed(work.record.trace_id, read_text(work.record.span.trace_state), facts) or 0)

    def _remember(self, work: Work, call: KnownCall) -> None:
        record = work.record
        self._recent.learn(span_key(record.trace_id, record.span_id, self._tenant), call, self._now)
        if work.plan.incoming:
            self._recent.learn(service_key(record.trace_id, work.group.service, self._tenant), call, self._now)

    def _told(self, work: Work, facts: Facts, passed: Callable[[bytes, str, Facts], int | None]) -> KnownCall | None:
        if work.plan.weight != ABSENT and work.values[work.plan.weight] is not None:
            return None  # it was thinned, and nobody says by what
        t_in = passed(work.record.trace_id, read_text(work.record.span.trace_state), facts)
        return None if t_in is None else KnownCall(self._calls.holds(facts), t_in)

    def _spread(
        self, own: Mapping[int, KnownCall | None], parents: Sequence[int], works: Sequence[Work]
    ) -> Generator[None, None, list[KnownCall | None]]:
        """Returns the call of every span, None where it is not known. Each span is walked once."""
        found: list[KnownCall | None] = [None] * len(works)
        done = bytearray(len(works))
        for at, call in own.items():
            found[at], done[at] = call, 1
        for part in slices(len(works)):
            for at in part:
                walked = []
                here = at
                while not done[here]:
                    done[here] = 1  # ends a walk that a loop of parents would make endless
                    walked.append(here)
                    parent = parents[here]
                    if parent < 0:
                        record = works[here].record
                        if parent != ROOT:
                            found[here] = self._find(span_key(record.trace_id, record.parent_id, self._tenant))
                        break
                    here = parent
                for step in walked:
                    found[step] = found[here]
            yield
        return found

    def logs(self, waiting: Sequence[WaitingLog], decide: DecideLog, judge: Judge) -> Generator[None, None, None]:
        """Judges the events of a request's log records, in order."""
        here: dict[bytes, KnownCall] = {}  # by access-log lines of the request itself
        for part in _steps(len(waiting)):
            for event, work, facts, _ in waiting[part.start : part.stop]:
                thinned = work.plan.stated or any(name in work.attributes for name in work.plan.weights)
                if event.direction == "Incoming" and event.trace_id and not thinned:
                    with suppress(Exception):
                        call = KnownCall(self._calls.holds(LogFacts(event, work, facts)), 0)
                        here[self._key(event)] = call
                        here[service_key(bytes.fromhex(event.trace_id), event.service, self._tenant)] = call
            yield
        for part in _steps(len(waiting)):
            for event, work, group_facts, group in waiting[part.start : part.stop]:
                own: Facts = LogFacts(event, work, group_facts)
                if event.event_type != API_CALL and event.trace_id:
                    key = self._key(event)
                    known = here.get(key) or self._find(key)
                    if known is not None:
                        own = OfCall(own, known, _threshold(work))
                judge(event, partial(decide, work, own, group_facts, group), work)
            yield
        if self._recent:
            for key, call in here.items():
                if call.holds != self._nothing:
                    self._recent.learn(key, call, self._now)

    def _key(self, event: Event) -> bytes:
        """Under which a log's call is known: that of its span, if it names one, else that of its service."""
        trace_id = bytes.fromhex(event.trace_id)
        if event.span_id:
            return span_key(trace_id, bytes.fromhex(event.span_id), self._tenant)
        return service_key(trace_id, event.service, self._tenant)

    def _find(self, key: bytes) -> KnownCall | None:
        """What an earlier request said, noted as lent."""
        found = self._recent.get(key, self._now) if self._before is None else self._before.get(key)
        if found is not None:
            self.lent[key] = found
        return found


def _threshold(work: LogWork) -> int:
    """That the record says it passed, 0 for none."""
    stated = work.attributes.get("sampling.threshold") if work.plan.stated else None
    return max(parse_th(stated), 0) if isinstance(stated, str) else 0


def _steps(count: int) -> Generator[range, Any, None]:
    return (range(start, min(start + STEP, count)) for start in range(0, count, STEP))
