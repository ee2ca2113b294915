"""What sampling is asked about a record, and the weight that its sender states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mapping.context import Group, Work
from mapping.event import Decision
from mapping.facts import log_record_bytes
from mapping.logs.work import LogWork
from mapping.otlp.records import LogGroup
from mapping.otlp.wire import read_text
from mapping.sampling.of_calls import CallConditions
from mapping.sampling.stated import weigh
from mapping.shape import ABSENT

Facts = Callable[[str], object]


class Sampler(Protocol):
    """What mapping asks of `mapping.sampling`."""

    early: bool
    ceiling: int
    calls: CallConditions

    def passed(self, trace_id: bytes, trace_state: str, facts: Facts) -> int | None: ...

    def span(self, trace_id: bytes, trace_state: str, facts: Facts) -> Decision: ...

    def log(
        self,
        trace_id: bytes,
        threshold: str | None,
        randomness: str | None,
        record: Callable[..., bytes],
        facts: Facts,
        *of_record: object,
    ) -> Decision: ...


def of_tenant(facts: Facts, tenant: str) -> Facts:
    """The facts, and the tenant."""
    return (lambda path: tenant if path == "tenant" else facts(path)) if tenant else facts


def decide_span(sampler: Sampler, work: Work, facts: Facts) -> Decision:
    record, weight = work.record, work.plan.weight
    decision = sampler.span(record.trace_id, read_text(record.span.trace_state), facts)
    return decision if weight == ABSENT else weigh(decision, work.values[weight], record.trace_id)


def stated_weight(work: Work | LogWork) -> Any:
    """The weight that the record states, None without one."""
    if isinstance(work, Work):
        return None if work.plan.weight == ABSENT else work.values[work.plan.weight]
    return next((work.attributes[name] for name in work.plan.weights if name in work.attributes), None)


def decide_log(sampler: Sampler, work: LogWork, facts: Facts, of_group: Group, group: LogGroup) -> Decision:
    plan, threshold, randomness = work[1], None, None
    trace_id = work[0][1] or bytes.fromhex(work[5][1])
    if plan.stated:
        attributes = work.attributes
        threshold, randomness = attributes.get("sampling.threshold"), attributes.get("sampling.randomness")
    decision = sampler.log(
        trace_id,
        threshold if isinstance(threshold, str) else None,
        randomness if isinstance(randomness, str) else None,
        log_record_bytes,
        facts,
        work,
        of_group,
        group,
    )
    if not plan.weights or (stated := stated_weight(work)) is None:
        return decision
    return weigh(decision, stated, trace_id or work.item.digest.encode())
