"""Identity inside one request's traces (spec/mapping.md §5.4): spans without an own one take that of their trace.

A span takes the value of its nearest ancestor that has one. Before that, a SERVER span without one takes the single
distinct value that attributes of its INTERNAL descendants, or of calls of models below it, state: web frameworks put
`user.id` on a middleware's span, and agents name whom they work for. Own evidence always wins. Only spans of one
resource lend to each other.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from mapping.context import Work
from mapping.spans.classify import INTERNAL, SERVER
from mapping.spans.trace_memory import MANY, NO_OWNER, Owner, TraceMemory
from mapping.spans.tree import ABROAD, ROOT, Tree, slices


def find_owners(
    tree: Tree, memory: TraceMemory | None, now: int, tenant: str
) -> Generator[None, None, Sequence[Owner] | None]:
    """Returns who every span belongs to after inheritance: within the request, then from earlier ones of its trace.

    None: each to whom it names itself. memory: of earlier requests, which learns what these spans say. now: receive
    time, Unix nanoseconds. It pauses often, so that an event loop can breathe however many spans there are.
    """
    works = tree.works
    traces: list[bytes] = []  # of the spans that name somebody, and whom they name
    users: list[str] = []
    companies: list[str] = []
    for part in slices(len(tree.naming)) if tree.naming else ():
        for at in tree.naming[part.start : part.stop]:
            work = works[at]
            who = work[5]
            traces.append(work[0][1])
            users.append(who[0])
            companies.append(who[1])
        if part.stop < len(tree.naming):
            yield
    all_name = len(traces) == len(works)
    lack_users, lack_companies = not all_name or "" in users, not all_name or "" in companies
    owners: Sequence[Owner] | None = None
    if traces and (lack_users or lack_companies) and not (tree.is_flat() and not tree.astray):
        lends = lack_users and any(users), lack_companies and any(companies)
        if any(lends):
            owners = yield from _of_request(tree, lends)
    if memory is None:
        return owners
    # What this request itself says is not lent by memory: that is done above, to spans of one resource only.
    if (lack_users or lack_companies) and not memory.empty:
        owners = yield from _fill_gaps(works, traces if all_name else None, owners, memory, now, tenant)
    if traces:
        memory.learn(traces, users, companies, now, tenant)
    return owners


def _fill_gaps(
    works: Sequence[Work],
    traces: Sequence[bytes] | None,
    owners: Sequence[Owner] | None,
    memory: TraceMemory,
    now: int,
    tenant: str,
) -> Generator[None, None, Sequence[Owner] | None]:
    """Returns the owners of spans, gaps filled from earlier requests; as they were where those tell nothing.

    traces: of all the spans, None where they are not at hand.
    """
    filled: list[Owner] = []
    for part in slices(len(works)):
        of = works[part.start : part.stop]
        asked = traces[part.start : part.stop] if traces is not None else [work[0][1] for work in of]
        if len(of) == len(works):  # nearly every request
            full = owners is not None and not any("" in owner for owner in owners)
            if full or not memory.knows(asked, tenant):
                return owners
        own = owners[part.start : part.stop] if owners is not None else [work[5][:2] for work in of]
        filled += memory.fill(asked, own, now, tenant)
        if part.stop < len(works):
            yield
    return filled


def find_owner(work: Work, memory: TraceMemory | None, now: int, tenant: str) -> Owner:
    """As `find_owners`, of a span that is alone in its request."""
    owner: Owner = work[5][:2]
    if memory is None:
        return owner
    if "" in owner:
        return owner if memory.empty and owner == NO_OWNER else memory.of_one(work[0][1], owner, now, tenant)
    memory.learn((work[0][1],), owner[:1], owner[1:], now, tenant)
    return owner


def _of_request(tree: Tree, lends: tuple[bool, bool]) -> Generator[None, None, Sequence[Owner]]:
    """Returns whom every span belongs to by what those of this request say. lends: users, and companies."""
    works = tree.works
    parents: Sequence[int] | None = None if tree.astray or not tree.of_one_resource else tree.at_once()
    if parents is None:
        parents = yield from _find_parents(tree)
    own: dict[int, Owner] = {}
    lends_upwards = False
    for at in tree.naming:
        work = works[at]
        own[at] = work[5][:2]
        lends_upwards = lends_upwards or _lends_upwards(work)
    if lends_upwards:
        for of, source in ((0, "user_source"), (1, "company_source")):
            if lends[of]:
                yield from _lend_to_servers(own, of, source, parents, works)
    return (yield from _spread(own, parents))


def _find_parents(tree: Tree) -> Generator[None, None, Sequence[int]]:
    """Returns for each span the index of its parent in this request and resource, ROOT or ABROAD without one."""
    works = tree.works
    parents = tree.at_once() or (yield from tree.parents())
    if tree.astray and tree.incoming:
        # LiteLLM reads the caller's context again for spans that belong below its SERVER span.
        calls = ((at, works[at][0]) for at in tree.incoming)
        beside, parents = {call[1] + call[3]: at for at, call in calls}, list(parents)
        for at in tree.astray:
            record = works[at][0]
            if parents[at] < 0 and record.span.kind == INTERNAL and not tree.is_below_passed(at):
                up = beside.get(record.trace_id + record.parent_id, ROOT)
                parents[at] = up if up != at else ROOT
    if tree.of_one_resource:
        return parents
    here: list[int] = []
    for part in slices(len(works)):
        pairs = zip(works[part.start : part.stop], parents[part.start : part.stop], strict=True)
        here += [up if up < 0 or works[up][8].resource == work[8].resource else ROOT for work, up in pairs]
        if part.stop < len(works):
            yield
    return here


def _lends_upwards(work: Work) -> bool:
    """True for a span that may state by its attributes for whom the call around it is."""
    return work[0][0].kind == INTERNAL or (work[2].model is not None and not work[2].incoming)


def _spread(own: Mapping[int, Owner], parents: Sequence[int]) -> Generator[None, None, list[Owner]]:
    """Returns what each span names itself, what it does not name taken from the nearest ancestor that does."""
    # Behind them what spans without a parent here find at index ROOT or ABROAD.
    owners: list[Owner | None] = [*([None] * len(parents)), *([NO_OWNER] * -ABROAD)]
    for at, whose in own.items():
        if whose[0] and whose[1]:
            owners[at] = whose
    for part in slices(len(parents)):
        _spread_in(part, owners, own, parents)
        if part.stop < len(parents):
            yield
    return owners[:ABROAD]  # type: ignore[return-value]


def _spread_in(part: range, owners: list[Owner | None], own: Mapping[int, Owner], parents: Sequence[int]) -> None:
    """Fills the gaps of a part of `owners`. Spans of one branch share the walk."""
    for at in reversed(part):  # a span ends, and so comes, after those below it
        if owners[at] is not None:
            continue
        found = owners[parents[at]]
        if found is None:
            owners[at] = NO_OWNER  # ends a walk that a loop of parents would make endless
            here, walked = parents[at], []
            while (found := owners[here]) is None:
                owners[here] = NO_OWNER
                walked.append(here)
                here = parents[here]
            for here in reversed(walked):
                found = owners[here] = _fill(own[here], found) if here in own else found
        owners[at] = _fill(own[at], found) if at in own else found


def _fill(owner: Owner, lends: Owner) -> Owner:
    return owner[0] or lends[0], owner[1] or lends[1]


def _lend_to_servers(
    own: dict[int, Owner], of: int, source: str, parents: Sequence[int], works: Sequence[Work]
) -> Generator[None, None, None]:
    """SERVER spans without a user (of: 0) or company (1) take the only one that attributes of their INTERNAL
    descendants state.
    """
    below: dict[int, str] = {}  # what the descendants of a span state, MANY for several values
    naming = list(own.items())
    for part in slices(len(naming)):
        for at, whose in naming[part.start : part.stop]:
            stated, work = whose[of], works[at]
            if not stated or not getattr(work.who, source).startswith("attr:") or not _lends_upwards(work):
                continue
            here = parents[at]
            # Ancestors know already what this one knows: each changes at most twice, however deep the trace is.
            while here >= 0 and (known := below.get(here)) != stated and known != MANY:
                stated = below[here] = stated if known is None else MANY
                here = parents[here]
        yield
    for at, stated in below.items():
        user, company = own.get(at, NO_OWNER)
        serves = works[at].record.span.kind == SERVER or works[at].plan.incoming
        if stated != MANY and serves and not (user, company)[of]:
            own[at] = (user, stated) if of else (stated, company)
