"""Log records on their way to events, many at a time: all are looked at, then decided, then made to events.

One after the other each record would run through all of this code, which is more than a processor's first cache holds:
so a record that tells of a call takes a third less, any other a seventh.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple

from mapping.context import Group, Job
from mapping.deciding import Facts, Sampler, decide_log, of_tenant
from mapping.event import Decision
from mapping.facts import log_record_bytes
from mapping.groups import GroupFacts
from mapping.logs.events import LogMapper
from mapping.logs.work import LogWork
from mapping.mapped import Out
from mapping.otlp.records import LogGroup
from mapping.spans.trace_memory import NO_OWNER, TraceMemory

_new: Final = tuple.__new__
STEP: Final = 256  # most records, spans as well, that go through one stage between two pauses
STEP_S: Final = 0.005  # and about the longest time: a record of 10,000 attributes takes as long as 600 usual ones


class LogRun(NamedTuple):
    """Records of one group that came behind one another."""

    facts: Group
    early_facts: Facts  # of their group and tenant
    group: LogGroup
    works: list[LogWork]


def looked_at(
    groups: Sequence[LogGroup],
    job: Job,
    group_facts: GroupFacts,
    mapper: LogMapper,
    traces_seen: TraceMemory | None,
    out: Out,
    clock: Callable[[], float],
) -> Generator[list[LogRun], None, None]:
    """The records of a request, understood, in their order: of STEP records at most, and STEP_S to look at them.

    traces_seen: whose the traces of earlier requests are, None when that is not remembered.
    """
    look = mapper.look
    seen: dict[str, int] = {}  # how often each record came in this request
    runs: list[LogRun] = []
    left, until = STEP, clock() + STEP_S
    for group in groups:
        if not group.records:
            continue
        try:
            facts = group_facts.of(group, job.share)
        except Exception as error:  # one bad resource harms no other's records
            for item in group.records:
                out.fail("logs", item, error)
            continue
        run: LogRun = _new(LogRun, (facts, of_tenant(facts.early_facts, job.tenant), group, []))
        runs.append(run)
        keep = run.works.append
        for item in group.records:
            if not left or clock() > until:
                yield runs
                run = run._replace(works=[])
                runs, keep = [run], run.works.append
                left, until = STEP, clock() + STEP_S
            left -= 1
            try:
                work = look(item, facts, job, seen)
                read = work[5]
                if traces_seen is not None and read[1] and (read[10] is not None or not traces_seen.empty):
                    work = _owned(work, traces_seen, job)
            except Exception as error:  # one bad record harms nobody else
                out.fail("logs", item, error)
                continue
            keep(work)
    if runs:
        yield runs


def decided(run: LogRun, sampler: Sampler, out: Out) -> tuple[list[LogWork], list[Decision]]:
    """The records of a run of which something is kept, and their decisions, for a sampler that decides early."""
    facts, early_facts, group, works = run
    kept: list[LogWork] = []
    decisions: list[Decision] = []
    for work in works:
        try:
            plan = work[1]
            if plan.stated or plan.weights:
                decision = decide_log(sampler, work, early_facts, facts, group)
            else:  # the same, without a call in between
                trace_id = work[0][1] or bytes.fromhex(work[5][1])
                decision = sampler.log(trace_id, None, None, log_record_bytes, early_facts, work, facts, group)
        except Exception as error:  # one bad record harms nobody else
            out.fail("logs", work.item, error)
            continue
        if decision.keep or (out.dropped is not None and work[5][10] is not None):
            kept.append(work)
            decisions.append(decision)
        else:
            out.sampled_out += 1
    return kept, decisions


def _owned(work: LogWork, seen: TraceMemory, job: Job) -> LogWork:
    """The log record, with the user and company of its trace where it names none itself."""
    who, of_call = work.who, work.read.http is not None
    named = who[:2]
    if (seen.empty and (named == NO_OWNER or not of_call)) or (not of_call and named[0] and named[1]):
        return work
    trace_id = work.item.trace_id or bytes.fromhex(work.read.trace_id)
    owner = seen.of_one(trace_id, named, job.received_unix_ns, job.tenant, learns=of_call)
    return work if owner == named else work._replace(who=who._replace(user_id=owner[0], company_id=owner[1]))
