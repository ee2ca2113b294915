"""Decoded OTLP -> events: classification, identity with inheritance, sampling, in one pass over each request.

Mapping is a function of the request, the receive time, the tenant and the settings. What a Mapper remembers
between requests are bounded caches and the templates of `RouteBook`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, cast

from mapping.actions import ActionPlan
from mapping.api_call import ApiCallPlan
from mapping.context import Context, Group, Job, Memory, Work
from mapping.event import API_CALL, EMPTY_HEADERS, SKIP, UNSAMPLED, Decision, Event
from mapping.facts import LogFacts, SpanFacts, log_record_bytes
from mapping.groups import GroupFacts
from mapping.identity import NOBODY
from mapping.inheritance import inherit
from mapping.logs import LogMapper, LogWork
from mapping.otlp import Decoded, LogGroup, LogItem, SpanGroup, SpanRecord
from mapping.redaction import RedactionError
from mapping.settings import MappingSettings
from mapping.shape import Shape
from mapping.spans import INTERNAL, classify
from mapping.wire import read_text

STEP: Final = 256  # records between two yields of `steps`
_SHAPES: Final = 1024  # shapes remembered for a kind of span
_new: Final = tuple.__new__

Facts = Callable[[str], object]
Plan = ApiCallPlan | ActionPlan


class Sampler(Protocol):
    """What mapping asks of `mapping.sampling`."""

    early: bool

    def span(self, trace_id: bytes, trace_state: str, facts: Facts) -> Decision: ...

    def log(
        self,
        trace_id: bytes,
        threshold: str | None,
        randomness: str | None,
        record: Callable[[], bytes],
        facts: Facts,
    ) -> Decision: ...


class Failed(NamedTuple):
    """A record that could not be mapped or masked. Nothing of its content is here (mapping.md §7, fail closed)."""

    signal: str  # traces | logs
    trace_id: str
    span_id: str
    reason: str


class Mapped(NamedTuple):
    """len(events) + skipped + sampled_out + len(failed) is the number of records that were decoded."""

    events: list[Event]
    skipped: int
    sampled_out: int
    failed: list[Failed]


class Look:
    """The spans of a request after the first pass."""

    __slots__ = ("decisions", "failed", "sampled_out", "sampler", "works")

    def __init__(self, sampler: Sampler | None) -> None:
        self.sampler = sampler  # decides before attributes are read, None when it cannot
        self.works: list[Work] = []
        self.decisions: list[Decision] = []
        self.failed: list[Failed] = []
        self.sampled_out = 0


class Mapper:
    """Maps requests with one fixed set of rules. Not thread safe: event loop only."""

    def __init__(self, settings: MappingSettings, sampler: Sampler) -> None:
        self._settings = settings
        self._sampler = sampler
        self._context = context = Context(settings)
        self._groups = GroupFacts(context)
        self._logs = LogMapper(context, http_from_attributes=settings.logs.http_from_attributes)
        self._plans: dict[int, Memory[Plan]] = {kind: _plans(kind, context) for kind in range(6)}
        self._plumbing: Memory[Plan] = Memory(partial(_plumbing_plan, context), _SHAPES)

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

        tenant: as authenticated by the receiver. keep_skips: plumbing spans are events too, of type `skip`.
        sample: False keeps every record, with the weight that upstream gave it left aside.
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
    ) -> Generator[None, None, Mapped]:
        """As `map`, pausing every STEP records so that an event loop can breathe."""
        job = Job(received_unix_ns, tenant, keep_skips, sample)
        if decoded.signal == "traces":
            return self._traces(cast("list[SpanGroup]", decoded.groups), job)
        return self._log_records(cast("list[LogGroup]", decoded.groups), job)

    def _traces(self, groups: list[SpanGroup], job: Job) -> Generator[None, None, Mapped]:
        look = Look(self._sampler if job.sample and self._sampler.early else None)
        for group in groups:
            for start in range(0, len(group.records), STEP):
                self._look(group, start, look)
                yield
        works, decisions, failed = look.works, look.decisions, look.failed
        decide = self._sampler if job.sample and look.sampler is None else None
        inherited = inherit(works) if self._settings.inherit else None
        events: list[Event] = []
        skipped, sampled_out = 0, look.sampled_out
        for start in range(0, len(works), STEP):
            for at in range(start, min(start + STEP, len(works))):
                work = works[at]
                plan, who = work.plan, work.who
                if plan.event_type == SKIP and not job.keep_skips:
                    skipped += 1
                    continue
                user, company = inherited[at] if inherited else (who.user_id, who.company_id)
                try:
                    event = plan.event(
                        work, job, user, company or work.group.company_id, decisions[at] if decisions else UNSAMPLED
                    )
                    if decide is not None and plan.event_type != SKIP:
                        state = work.record.span.trace_state
                        decision = decide.span(work.record.trace_id, read_text(state), SpanFacts(event, work))
                        if not decision.keep:
                            sampled_out += 1
                            continue
                        event = with_decision(event, decision)
                except Exception as error:  # one bad record harms nobody else
                    failed.append(_failed("traces", work.record, error))
                else:
                    events.append(event)
            yield
        return Mapped(events, skipped, sampled_out, failed)

    def _look(self, group: SpanGroup, start: int, look: Look) -> None:
        """Adds a step's spans to `look`, each with its plan, its own identity and its decision if that is early."""
        try:
            facts = self._groups.of(group)
        except Exception as error:
            look.failed.extend(_failed("traces", record, error) for record in group.records[start : start + STEP])
            return
        names, plans, unspecified = self._context.names, self._plans, self._plans[0]
        sampler, works, decisions = look.sampler, look.works, look.decisions
        decision = UNSAMPLED
        for record in group.records[start : start + STEP]:
            span = record[0]
            if sampler is not None:
                state = span.trace_state
                decision = sampler.span(record[1], read_text(state) if state else "", facts.early_facts)
                if not decision.keep:
                    look.sampled_out += 1
                    continue
            try:
                keys, values, fragments = zip(*record[4])  # noqa: B905 - entries have three parts; strict costs a third
                name = names[span.name]
                plan = self._plumbing[keys] if name.plumbing else plans.get(span.kind, unspecified)[keys]
                who, request, response = NOBODY, EMPTY_HEADERS, EMPTY_HEADERS
                if plan.slots.present or record[6]:
                    request, response = plan.slots.read(values, record[6])
                if not plan.who.silent:
                    who = plan.who.read(values, request, response)
            except Exception as error:  # one bad record harms nobody else
                look.failed.append(_failed("traces", record, error))
                continue
            works.append(_new(Work, (record, name, plan, values, fragments, who, request, response, facts)))
            decisions.append(decision)

    def _log_records(self, groups: list[LogGroup], job: Job) -> Generator[None, None, Mapped]:
        events: list[Event] = []
        failed: list[Failed] = []
        seen: dict[Any, int] = {}
        sampled_out = 0
        for group in groups:
            for start in range(0, len(group.records), STEP):
                for item in group.records[start : start + STEP]:
                    try:
                        facts = self._groups.of(group)
                        work = self._logs.look(item, facts, job, seen)
                        event = self._logs.event(work, facts, job, UNSAMPLED)
                        if job.sample:
                            decision = self._sample_log(work, event, facts, group)
                            if not decision.keep:
                                sampled_out += 1
                                continue
                            event = with_decision(event, decision)
                    except Exception as error:  # one bad record harms nobody else
                        failed.append(_failed("logs", item, error))
                    else:
                        events.append(event)
                yield
        return Mapped(events, 0, sampled_out, failed)

    def _sample_log(self, work: LogWork, event: Event, facts: Group, group: LogGroup) -> Decision:
        attributes = work.attributes
        threshold, randomness = attributes.get("sampling.threshold"), attributes.get("sampling.randomness")
        return self._sampler.log(
            bytes.fromhex(event.trace_id),
            threshold if isinstance(threshold, str) else None,
            randomness if isinstance(randomness, str) else None,
            lambda: log_record_bytes(work, facts, group),
            LogFacts(event, work, facts),
        )


def _plans(kind: int, context: Context) -> Memory[Plan]:
    return Memory(partial(_plan, kind, context), _SHAPES)


def _plan(kind: int, context: Context, keys: tuple[str, ...]) -> Plan:
    """The plan for a kind and shape of span."""
    shape = Shape(keys)
    what = classify(kind, shape)
    if what.event_type == API_CALL:
        return ApiCallPlan(kind, shape, context)
    return ActionPlan(kind, what.event_type, what.family, what.reason, shape, context)


def _plumbing_plan(context: Context, keys: tuple[str, ...]) -> Plan:
    return ActionPlan(INTERNAL, SKIP, "plumbing", "graphql", Shape(keys), context)


def _failed(signal: str, record: SpanRecord | LogItem, error: Exception) -> Failed:
    # The text of an unexpected error may quote the record; RedactionError promises that its own does not.
    reason = str(error) if isinstance(error, RedactionError) else f"mapping failed: {type(error).__name__}"
    return Failed(signal, record.trace_id.hex(), record.span_id.hex(), reason)


def with_decision(event: Event, decision: Decision) -> Event:
    """The event with another decision; a quarter of the cost of `_replace`."""
    return _new(Event, (*event[:-2], decision, event[-1]))
