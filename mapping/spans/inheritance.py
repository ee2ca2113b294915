"""Identity inside one request's traces (spec/mapping.md §5.4): spans without an own one take that of their trace.

A span takes the value of its nearest ancestor that has one. Before that, a SERVER span without one takes the single
distinct value that attributes of its INTERNAL descendants, or of calls of models below it, state: web frameworks put
`user.id` on a middleware's span, and agents name whom they work for. Own evidence always wins. Only spans of one
resource lend to each other.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from mapping.context import Work
from mapping.shape import REMOTE_FLAG
from mapping.spans.classify import INTERNAL, SERVER
from mapping.spans.trace_memory import MANY, NO_OWNER, Owner, TraceMemory
from mapping.spans.tree import ROOT, Tree, slices

_UNKNOWN: Final = -3


def find_owners(
    works: Sequence[Work], tree: Tree, memory: TraceMemory | None, now: int, tenant: str
) -> Generator[None, None, Sequence[Owner]]:
    """Returns who every span belongs to after inheritance: within the request, then from earlier ones of its trace.

    memory: of earlier requests, which learns what these spans say. now: receive time, Unix nanoseconds. It pauses
    often, so that an event loop can breathe however many spans there are.
    """
    if len(works) < 2:  # as many SDKs send them; a third of the time
        return [_find_owner(work, memory, now, tenant) for work in works]
    users: list[str] = []
    companies: list[str] = []
    for part in slices(len(works)):
        whos = [work[5] for work in works[part.start : part.stop]]
        users += [who[0] for who in whos]
        companies += [who[1] for who in whos]
        if part.stop < len(works):
            yield
    anybody = any(users) or any(companies)
    if not anybody and (memory is None or memory.empty):
        return [NO_OWNER] * len(works)
    lend_users, lend_companies = _uneven(users), _uneven(companies)
    if lend_users or lend_companies:
        parents = yield from _parents(works, tree)
        if lend_users:
            yield from _spread(users, "user_source", parents, works)
        if lend_companies:
            yield from _spread(companies, "company_source", parents, works)
    owners: Sequence[Owner] = list(zip(users, companies, strict=True))
    if memory is None:
        return owners
    # What this request itself says is not lent by memory: that is done above, to spans of one resource only.
    found = owners
    if not memory.empty and ("" in users or "" in companies):
        filled: list[Owner] = []
        for part in slices(len(works)):
            filled += memory.fill(tree.links(part)[0], owners[part.start : part.stop], now, tenant)
            if part.stop < len(works):
                yield
        found = filled
    if anybody:
        for part in slices(len(works)):
            at = slice(part.start, part.stop)
            memory.learn(tree.links(part)[0], users[at], companies[at], now, tenant)
            if part.stop < len(works):
                yield
    return found


def _find_owner(work: Work, memory: TraceMemory | None, now: int, tenant: str) -> Owner:
    """As `find_owners`, of a span that is alone in its request."""
    owner = found = work[5][:2]
    if memory is None:
        return owner
    traces = (work[0][1],)
    if not memory.empty and "" in owner:
        (found,) = memory.fill(traces, (owner,), now, tenant)
    if owner != NO_OWNER:
        memory.learn(traces, owner[:1], owner[1:], now, tenant)
    return found


def _uneven(values: list[str]) -> bool:
    return "" in values and any(values)


def _parents(works: Sequence[Work], tree: Tree) -> Generator[None, None, list[int]]:
    """Returns for each span the index of its parent in this request and resource, ROOT without one."""
    parents: list[int] = []
    beside: dict[bytes, int] | None = None
    above = yield from tree.parents()
    for part in slices(len(works)):
        for at in part:
            parent, work = above[at], works[at]
            if parent < 0:
                parent = ROOT
                record = work[0]
                if record.span.flags & REMOTE_FLAG and record.span.kind == INTERNAL:
                    # LiteLLM reads the caller's context again for spans that belong below its SERVER span.
                    beside = _servers(works) if beside is None else beside
                    parent = beside.get(record.trace_id + record.parent_id, ROOT)
            if parent == at or (parent != ROOT and works[parent].group.resource != work.group.resource):
                parent = ROOT
            parents.append(parent)
        yield
    return parents


def _servers(works: Sequence[Work]) -> dict[bytes, int]:
    """The spans of incoming calls by trace and parent."""
    calls = ((at, work.record) for at, work in enumerate(works) if work.plan.incoming)
    return {record.trace_id + record.parent_id: at for at, record in calls}


def _spread(values: list[str], source: str, parents: list[int], works: Sequence[Work]) -> Generator[None, None, None]:
    """Fills the gaps in `values`, in place. source: the field of an identity that says where the value was found."""
    yield from _lend_to_servers(values, source, parents, works)
    # Nearest known ancestor of each span, found once: spans of one branch share the walk. The last ones first: a span
    # ends, and so comes, after those below it.
    nearest = [at if value else _UNKNOWN for at, value in enumerate(values)]
    for part in slices(len(values)):
        for at in reversed(part):
            if nearest[at] != _UNKNOWN:
                continue
            up = parents[at]
            if up == ROOT or (found := nearest[up]) == ROOT:
                nearest[at] = ROOT
                continue
            if found != _UNKNOWN:
                nearest[at], values[at] = found, values[found]
                continue
            walked = []
            here = at
            while here != ROOT and nearest[here] == _UNKNOWN:
                nearest[here] = ROOT  # ends a walk that a loop of parents would make endless
                walked.append(here)
                here = parents[here]
            found = nearest[here] if here != ROOT else ROOT
            if found != ROOT:
                for step in walked:
                    nearest[step] = found
                    values[step] = values[found]
        yield


def _lend_to_servers(
    values: list[str], source: str, parents: list[int], works: Sequence[Work]
) -> Generator[None, None, None]:
    """SERVER spans without a value take the only one that attributes of their INTERNAL descendants state."""
    below: dict[int, str] = {}  # what the descendants of a span state, MANY for several values
    for part in slices(len(works)):
        for at in part:
            stated = values[at]
            if not stated:
                continue
            work = works[at]
            if getattr(work.who, source).startswith("attr:") and (
                work.record.span.kind == INTERNAL or (work.plan.model is not None and not work.plan.incoming)
            ):
                here = parents[at]
                # Ancestors know already what this one knows: each changes at most twice, however deep the trace is.
                while here != ROOT and (known := below.get(here)) != stated and known != MANY:
                    stated = below[here] = stated if known is None else MANY
                    here = parents[here]
        yield
    for at, stated in below.items():
        serves = works[at].record.span.kind == SERVER or works[at].plan.incoming
        if stated != MANY and not values[at] and serves:
            values[at] = stated
