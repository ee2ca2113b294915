"""Decoded OTLP -> events: classification, identity with inheritance, sampling, in one pass over each request.

Mapping is a function of the request, the receive time, the tenant and the settings. What a Mapper remembers between
requests are bounded caches, the templates of `RouteBook`, and identities of traces where the settings ask for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Final, cast

from mapping.bounds import INFLATED_ROOM, share_of
from mapping.context import Context, Job, Work
from mapping.deciding import Sampler, decide_log, decide_span, of_tenant, stated_weight
from mapping.event import API_CALL, EMPTY_HEADERS, SKIP, UNSAMPLED, Decision, Event
from mapping.facts import LogFacts, SpanFacts
from mapping.finished import finished
from mapping.groups import GroupFacts
from mapping.log_batches import STEP, STEP_S, decided, looked_at
from mapping.logs.events import LogMapper
from mapping.logs.explain import ExplainingLogMapper, Reason
from mapping.logs.work import LogWork
from mapping.mapped import Mapped, Out
from mapping.otlp.records import Decoded, LogGroup, SpanGroup
from mapping.otlp.wire import read_text
from mapping.rules.bodies import Room
from mapping.rules.identity import NOBODY
from mapping.rules.should_skip import compiled
from mapping.sampling.dropped import as_counted
from mapping.sampling.sampler import Sampler as PassThrough
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.stated import weigh
from mapping.settings import MappingSettings
from mapping.shape import ABSENT, REMOTE_FLAG
from mapping.spans.classify import SERVER
from mapping.spans.columns import LEAST, plain_calls
from mapping.spans.counted import counted
from mapping.spans.hops import find_hops, flat_hops
from mapping.spans.inheritance import find_owner, find_owners
from mapping.spans.nested_calls import below_others
from mapping.spans.plans import Plans
from mapping.spans.same_call import settle
from mapping.spans.trace_memory import Owner, TraceMemory
from mapping.spans.tree import Tree
from mapping.together import Deciding, Lent, Together, WaitingLog

_DECISION: Final = Event._fields.index("decision")
_new: Final = tuple.__new__


class Mapper:
    """Maps requests with one fixed set of rules. Not thread safe: event loop only."""

    def __init__(
        self,
        settings: MappingSettings,
        sampler: Sampler,
        clock: Callable[[], float] = time.perf_counter,
        *,
        explain: bool = False,
        count_dropped: bool = False,
    ) -> None:
        """explain: notes for log records and calls of spans which dialect gave each field, in `reasons`; slower.

        count_dropped: maps the API calls that sampling drops as far as counting them needs, into `Mapped.dropped`.
        """
        self.count_dropped = count_dropped  # read once per request
        self._sampler = sampler
        self._clock = clock
        self._pass: Sampler = PassThrough(
            SamplingSettings(), ceiling=sampler.ceiling
        )  # keeps all, with the weight that upstream gave them
        self._inherit = settings.inherit
        across_s = settings.inherit_across_requests_s if settings.inherit else 0
        self._traces_seen = TraceMemory(across_s) if across_s else None  # None when nothing is remembered
        self._together = Together(across_s)
        self._should_skip = compiled(settings.skip_expressions)
        self._context = context = Context(settings)
        self._value_masks = context.masks.redactor.values
        self._groups = GroupFacts(context)
        self.reasons: dict[str, Reason] = {}  # of events, by transaction id
        self._plans = Plans(context, skip_plumbing=settings.skip_plumbing, reasons=self.reasons if explain else None)
        from_attributes = settings.logs.http_from_attributes
        self._logs = (
            ExplainingLogMapper(context, self.reasons, http_from_attributes=from_attributes)
            if explain
            else LogMapper(context, http_from_attributes=from_attributes)
        )

    @property
    def should_skip_errors(self) -> int:
        """Calls for which should_skip failed; they are reported."""
        return self._should_skip.errors if self._should_skip is not None else 0

    def map(
        self,
        decoded: Decoded,
        *,
        received_unix_ns: int,
        tenant: str = "",
        keep_skips: bool = False,
        sample: bool = True,
    ) -> Mapped:
        """The events of a request, in wire order.

        tenant: as authenticated by the receiver. keep_skips: what is skipped comes as events too, of type `skip`.
        sample: False keeps every record, with the weight that upstream sampling gave it.
        """
        steps = self.steps(
            decoded, received_unix_ns=received_unix_ns, tenant=tenant, keep_skips=keep_skips, sample=sample
        )
        while True:
            try:
                next(steps)
            except StopIteration as done:
                mapped: Mapped = done.value
                return mapped

    def steps(
        self,
        decoded: Decoded,
        *,
        received_unix_ns: int,
        tenant: str = "",
        keep_skips: bool = False,
        sample: bool = True,
        lent: Lent | None = None,
    ) -> Generator[None, None, Mapped]:
        """As `map`, pausing every STEP records and STEP_S seconds so that an event loop can breathe.

        lent: `Mapped.lent` of the time before, so that it is decided the same again.
        """
        room = Room(max(INFLATED_ROOM, 2 * decoded.size))
        job: Job = _new(Job, (received_unix_ns, tenant, room, share_of(decoded.accepted)))
        out = Out(keep_skips, room, self.count_dropped)
        sampler = self._sampler if sample else self._pass
        calls = sampler.calls
        together = self._together.begin(calls, received_unix_ns, tenant, lent) if calls else None
        if decoded.signal == "traces":
            return self._spans(cast("list[SpanGroup]", decoded.groups), job, sampler, out, together)
        return self._log_records(cast("list[LogGroup]", decoded.groups), job, sampler, out, together)

    def _spans(
        self, groups: list[SpanGroup], job: Job, sampler: Sampler, out: Out, together: Deciding | None
    ) -> Generator[None, None, Mapped]:
        early = sampler.early
        waiting: list[tuple[Work, Event]] = []
        of_one_resource = len(groups) == 1 or len({id(group.resource) for group in groups}) == 1
        # Only of one resource: a span of another stops what is lent from span to span.
        passes = of_one_resource and together is None and not out.keep_skips
        tree = Tree(of_one_resource=of_one_resource, passes=passes)
        for group in groups:
            start = 0
            while start < len(group.records):
                start = self._look(group, start, job, sampler if early else None, tree, out)
                yield
        works = tree.works
        # What follows is asked only where there is something to be told: most requests have few spans.
        inner = below_others(tree) if len(tree.incoming) > 1 and tree.has_calls_of_one_trace() else []
        if inner or tree.doubtful:
            yield from settle(tree, inner, self._plans)
        owners: Sequence[Owner] | None = None
        if self._inherit:
            memory = self._traces_seen
            if len(works) == 1:
                owners = (find_owner(works[0], memory, job.received_unix_ns, job.tenant),)
            elif tree.naming or (memory is not None and not memory.empty):
                owners = yield from find_owners(tree, memory, job.received_unix_ns, job.tenant)
        hops = flat_hops(tree) or (yield from find_hops(tree))
        judged = not early or self._should_skip is not None
        counting = out.dropped is not None
        events, masks = out.events, self._value_masks
        made: Iterable[Event | None] = repeat(None)
        if len(works) >= LEAST:
            made = yield from plain_calls(works, owners, hops, job, self._clock)
        clock, until, left = self._clock, 0.0, 0
        for work, hop, owner, event in zip(works, hops, owners or repeat(None), made):  # noqa: B905 - all have one length
            if work[2].event_type == SKIP and not out.keep_skips and (work[9].keep or not counting):
                out.skipped += 1
                continue
            if not left or clock() > until:
                if until:
                    yield
                left, until = STEP, clock() + STEP_S
            left -= 1
            if event is not None and not judged:
                events.append(event)
                continue
            _, _, plan, _, _, who, headers, _, facts, _ = work
            user, company = owner or who[:2]
            if counting and not work[9].keep:
                self._count_dropped(work, job, user, company or facts.company_id, hop, out)
                continue
            cuts = masks.cuts
            try:
                if event is None:
                    event = plan.event(work, job, user, company or facts.company_id, hop)
                    if facts.odd or plan.over or masks.cuts != cuts:
                        event = finished(event, facts, text_cut=masks.cuts != cuts, over=plan.over)
                if judged and together is not None:
                    waiting.append((work, event))
                elif judged and plan.event_type != SKIP:
                    decide = None if early else partial(decide_span, sampler, work, SpanFacts(event, work))
                    self._judge(event, headers, decide, out, work)
                else:
                    events.append(event)
            except Exception as error:  # one bad record harms nobody else
                out.fail("traces", work.record, error)
        if together is not None:
            judge = partial(self._judge_waiting, out)
            yield from together.spans(waiting, works, tree, sampler.passed, partial(decide_span, sampler), judge)
            out.lent = together.lent
        return out.mapped()

    def _look(self, group: SpanGroup, start: int, job: Job, sampler: Sampler | None, tree: Tree, out: Out) -> int:
        """Where the next step begins; adds a step's spans to `tree`, each with its plan and its own identity.

        sampler: decides before attributes are read, None when it cannot.
        """
        records = group.records[start : start + STEP]
        try:
            facts = self._groups.of(group, job.share)
        except Exception as error:
            for record in records:
                out.fail("traces", record, error)
            return start + STEP
        early_facts = of_tenant(facts.early_facts, job.tenant)
        names, plans, plumbing = self._context.names, self._plans.of(facts.scope), self._plans.plumbing
        works, naming, incoming, passed = tree.works, tree.naming, tree.incoming, tree.passed
        clock, counting = self._clock, out.dropped is not None
        until = clock() + STEP_S
        for at, record in enumerate(records, start):
            if at > start and clock() > until:
                return at
            span, decision = record[0], UNSAMPLED
            try:
                name, kind = names[span.name], span.kind
                is_plumbing = name[1]
                # Plumbing is skipped, not sampled; only these can be plumbing, and their attributes tell.
                if is_plumbing or kind < SERVER:
                    keys, values, fragments = zip(*record[4])  # noqa: B905 - entries have three parts
                    plan = plumbing[keys] if is_plumbing else plans[kind][keys]
                    if sampler is not None and plan.event_type != SKIP:
                        decision = sampler.span(record[1], read_text(span.trace_state), early_facts)
                        if not decision.keep and not counting:
                            out.sampled_out += 1
                            continue
                    is_astray = span.flags & REMOTE_FLAG
                    if not is_astray and passed is not None and plan.passed and record[2] not in passed:
                        passed[record[2]] = record
                        out.skipped += 1
                        continue
                else:
                    if sampler is not None:
                        state = span.trace_state
                        decision = sampler.span(record[1], read_text(state) if state else "", early_facts)
                        if not decision.keep and not counting:
                            out.sampled_out += 1
                            continue
                    keys, values, fragments = zip(*record[4])  # noqa: B905 - strict costs a third
                    plan, is_astray = plans[kind][keys], 0
                if plan.weight != ABSENT:
                    decision = weigh(decision, values[plan.weight], record[1])
                request = response = EMPTY_HEADERS
                if plan.has_headers or record[6]:
                    request, response = plan.slots.read(values, record[6])
                if plan.names_callers:
                    who = plan.who.read(values, request, response)
                    if who[0] or who[1]:
                        naming.append(len(works))
                else:
                    who = NOBODY
            except Exception as error:  # one bad record harms nobody else
                if decision.keep:
                    out.fail("traces", record, error)
                else:  # it goes nowhere in any case
                    out.sampled_out += 1
                continue
            if plan.incoming:
                incoming.append(len(works))
            if plan.second_look:
                tree.doubtful.append(len(works))
            if is_astray:
                tree.astray.append(len(works))
            works.append(_new(Work, (record, name, plan, values, fragments, who, request, response, facts, decision)))
        return start + STEP

    def _log_records(
        self, groups: list[LogGroup], job: Job, sampler: Sampler, out: Out, together: Deciding | None
    ) -> Generator[None, None, Mapped]:
        waiting: list[WaitingLog] = []
        at_once = sampler.early and self._should_skip is None
        make, masks, clock = self._logs.event, self._value_masks, self._clock
        for runs in looked_at(groups, job, self._groups, self._logs, self._traces_seen, out, clock):
            yield
            until = clock() + STEP_S
            for run in runs:
                facts, _, group, works = run
                decisions: Iterable[Decision] = repeat(UNSAMPLED)
                if at_once:
                    works, decisions = decided(run, sampler, out)
                told = self._logs.transactions(works, job.tenant), self._logs.untouched(works)
                for work, decision, transaction, untouched in zip(works, decisions, *told):  # noqa: B905 - some are endless
                    if clock() > until:
                        yield
                        until = clock() + STEP_S
                    cuts = masks.cuts
                    try:
                        event = make(work, facts, job, decision, transaction, untouched)
                        if facts.odd or work[1].over or masks.cuts != cuts:
                            event = finished(event, facts, text_cut=masks.cuts != cuts, over=work[1].over)
                        if at_once:
                            if decision.keep:
                                out.events.append(event)
                            else:
                                out.drop(event, decision, stated_weight(work))
                        elif together is not None:
                            waiting.append(WaitingLog(event, work, facts, group))
                        else:
                            http = work.read.http
                            headers = http.request_headers if http is not None else EMPTY_HEADERS
                            decide = partial(decide_log, sampler, work, LogFacts(event, work, facts), facts, group)
                            self._judge(event, headers, decide, out, work)
                    except Exception as error:  # one bad record harms nobody else
                        out.fail("logs", work.item, error)
        if together is not None:
            yield from together.logs(waiting, partial(decide_log, sampler), partial(self._judge_waiting, out))
            out.lent = together.lent
        return out.mapped()

    def _count_dropped(self, work: Work, job: Job, user: str, company: str, hop: str, out: Out) -> None:
        """Note a span that sampling has dropped before it was mapped; of a call what is counted."""
        plan, skips = work.plan, self._should_skip
        out.sampled_out += 1
        if plan.event_type != API_CALL or out.dropped is None:
            return
        try:
            if skips is not None:
                alone = job._replace(room=Room(0))  # what is kept has all the room for bodies
                if skips.matches(plan.event(work, alone, user, company, hop), work.request_headers):
                    return
            decision = work[9] if plan.weight == ABSENT else as_counted(work[9], stated_weight(work))
            out.dropped.append(counted(plan, work, job, user, company, hop, decision))
        except Exception:  # it goes nowhere in any case
            return

    def _judge_waiting(
        self, out: Out, event: Event, decide: Callable[[], Decision] | None, work: Work | LogWork
    ) -> None:
        """As `_judge`, of one of the events that are decided together. decide: None for what is skipped."""
        try:
            if decide is None:
                out.events.append(event)
            elif isinstance(work, Work):
                self._judge(event, work.request_headers, decide, out, work)
            else:
                http = work.read.http
                self._judge(event, http.request_headers if http is not None else EMPTY_HEADERS, decide, out, work)
        except Exception as error:  # one bad record harms nobody else
            signal, record = ("traces", work.record) if isinstance(work, Work) else ("logs", work.item)
            out.fail(signal, record, error)

    def _judge(
        self,
        event: Event,
        headers: Mapping[str, str],
        decide: Callable[[], Decision] | None,
        out: Out,
        work: Work | LogWork,
    ) -> None:
        """Emits the event, unless should_skip or sampling drop it. headers: of the request, as captured."""
        skips = self._should_skip
        if skips is not None and event.event_type == API_CALL and skips.matches(event, headers):
            if out.keep_skips:
                out.events.append(event._replace(event_type=SKIP, reason="should_skip"))
            else:
                out.skipped += 1
            return
        if decide is not None:
            decision = decide()
            if not decision.keep:
                out.drop(event, decision, stated_weight(work))
                return
            event = _new(
                Event, (*event[:_DECISION], decision, *event[_DECISION + 1 :])
            )  # a quarter of the cost of _replace
        out.events.append(event)
