"""Calls that two frameworks of one process tell of: one becomes an action (spec/mapping.md §4).

- A span with a method, directly or by INTERNAL spans below one of the same resource, where method, path and status
  agree, or it has none: a framework that traces itself under an instrumented server.
- One beside another of the same parent and resource, from another scope and within its time.

Whom the inner span names, the call is of; its route is the call's where it says more, its status where the call has
none. Time is in proportion to the spans: no walk is longer than HIGHEST.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Final

from mapping.context import Work
from mapping.otlp.records import SpanRecord
from mapping.rules.identity import Identity
from mapping.rules.route import known
from mapping.rules.route_spelling import MAX_ROUTE_CHARS
from mapping.spans.classify import CLIENT, CONSUMER, METHODS, PRODUCER, STATUSES
from mapping.spans.plans import Plans
from mapping.spans.told_routes import is_template, path_of, take_told
from mapping.spans.tree import Tree, slices

HIGHEST: Final = 64  # ancestors that are looked at: what tells the same is near, resolvers nest a few levels
PAUSE: Final = 1024  # calls that are settled between two pauses: a few milliseconds
FEW: Final = 64  # of those that are compared with others, whose texts may be long
HOPS: Final = (CLIENT, PRODUCER, CONSUMER)  # a call below one of these is another exchange
_EXCHANGE: Final = frozenset((*METHODS, *STATUSES))


def settle_nested(inner: list[int], tree: Tree, plans: Plans) -> Generator[None, None, None]:
    """Gives spans of calls that others tell of the plan of an action. inner: `below_others` of the tree."""
    works, incoming = tree.works, tree.incoming
    if not tree.is_flat():
        parents = tree.at_once() or (yield from tree.parents())
        for start in range(0, len(inner), FEW):
            for at in inner[start : start + FEW]:
                _settle_nested_call(at, parents, works, plans)
            yield
    yield from _settle_twins(inner, works, plans)
    tree.incoming = [at for at in incoming if works[at][2].incoming]
    naming: list[int] = []
    for part in slices(len(works)):
        of = enumerate(works[part.start : part.stop], part.start)
        naming += [at for at, work in of if work[5][0] or work[5][1]]
        yield
    tree.naming = naming


def above(at: int, parents: Sequence[int]) -> Iterator[int]:
    """The ancestors of a span in its request, nearest first."""
    for _ in range(HIGHEST):
        at = parents[at]
        if at < 0:
            return
        yield at


def below_others(tree: Tree) -> list[int]:
    """The incoming calls below a span, of traces that have several: nearly always none."""
    works, incoming = tree.works, tree.incoming
    traces = [works[at][0][1] for at in incoming]
    count = Counter(traces)
    return [at for at, trace in zip(incoming, traces, strict=True) if count[trace] > 1 and works[at][0][3]]


def _settle_nested_call(at: int, parents: Sequence[int], works: list[Work], plans: Plans) -> None:
    work = works[at]
    for up in above(at, parents):
        outer = works[up]
        if outer.group.resource != work.group.resource or outer.record.span.kind in HOPS:
            return
        if outer.plan.incoming:
            if agrees(work.record, outer.record):
                works[at] = work._replace(plan=plans.same_call(work.record))
                works[up] = take_told(outer._replace(who=named(outer.who, work.who)), work, plans)
            return


def _settle_twins(incoming: list[int], works: list[Work], plans: Plans) -> Generator[None, None, None]:
    """Of two frameworks in one process that both took up the caller's trace, the span within the other is its call."""
    beside: dict[tuple[bytes, bytes, bytes], list[int]] = {}
    for at in incoming:
        work = works[at]
        if work.plan.incoming and work.plan.stated:
            beside.setdefault((work.record.trace_id, work.record.parent_id, work.group.resource), []).append(at)
    yield
    compared = 0
    for twins in beside.values():
        if len(twins) < 2 or len({works[at].group.scope for at in twins}) < 2:
            continue
        twins.sort(
            key=lambda at: (works[at].record.span.start_time_unix_nano, -works[at].record.span.end_time_unix_nano)
        )
        around = twins[0]
        for at in twins[1:]:
            compared += 1
            if compared % PAUSE == 0:
                yield
            work, outer = works[at], works[around]
            (verb, path, status), (its_verb, its_path, its_status) = _exchange(work.record), _exchange(outer.record)
            same = verb and verb == its_verb and path == its_path and status in ("", its_status)
            if same and work.group.scope != outer.group.scope and within(work, outer):
                works[at] = work._replace(plan=plans.same_call(work.record))
                works[around] = take_told(outer._replace(who=named(outer.who, work.who)), work, plans)
            else:
                around = at


def agrees(inner: SpanRecord, outer: SpanRecord) -> bool:
    (verb, path, status), (its_verb, its_path, its_status) = _exchange(inner), _exchange(outer)
    if verb not in ("", its_verb) or (its_status and status not in ("", its_status)):
        return False
    if its_path.endswith(path):
        return True
    return len(path) <= MAX_ROUTE_CHARS and is_template(its_path) and known(its_path).fits(path)


def _exchange(record: SpanRecord) -> tuple[str, str, str]:
    """Method, path and status as they were sent; "" for what was not."""
    said = {key: value for key, value, _ in record.entries if key in _EXCHANGE}
    verb, status = (next((str(said[name]) for name in names if name in said), "") for names in (METHODS, STATUSES))
    return verb.upper(), path_of(record), status


def named(who: Identity, inner: Identity) -> Identity:
    """`who`, and whom the inner span names where that names nobody."""
    if not who.user_id and inner.user_id:
        who = who._replace(user_id=inner.user_id, user_source=inner.user_source)
    if not who.company_id and inner.company_id:
        who = who._replace(company_id=inner.company_id, company_source=inner.company_source)
    return who


def within(inner: Work, outer: Work) -> bool:
    span, other = inner.record.span, outer.record.span
    begins = other.start_time_unix_nano <= span.start_time_unix_nano
    return bool(begins and span.end_time_unix_nano <= other.end_time_unix_nano)
