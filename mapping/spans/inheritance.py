"""Identity inside one request's traces (spec/mapping.md §5.4): spans without an own one take that of their trace.

A span takes the value of its nearest ancestor that has one. Before that, a SERVER span without one takes the single
distinct value that attributes of its INTERNAL descendants, or of calls of models below it, state: web frameworks put
`user.id` on a middleware's span, and agents name whom they work for. Own evidence always wins. Only spans of one
resource lend to each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence

from mapping.context import Work
from mapping.shape import REMOTE_FLAG
from mapping.spans.classify import INTERNAL, SERVER

_UNKNOWN = -2
_ROOT = -1
_MANY = "\0many"  # in the memory: the trace names several
_SLICE = 4096  # spans between two pauses: a few milliseconds

Owners = list[tuple[str, str]]  # (user_id, company_id) of every span
NO_OWNER = ("", "")


def inherit(works: Sequence[Work]) -> Generator[None, None, Owners | None]:
    """Returns who every span belongs to after inheritance, None when nobody has anything to lend or to borrow.

    It pauses often, so that an event loop can breathe however many spans there are.
    """
    users: list[str] = []
    companies: list[str] = []
    for part in slices(len(works)):
        owners = [work.who for work in works[part.start : part.stop]]
        users += [who.user_id for who in owners]
        companies += [who.company_id for who in owners]
        yield
    lend_users, lend_companies = _uneven(users), _uneven(companies)
    if not (lend_users or lend_companies):
        return None
    parents = yield from _parents(works)
    if lend_users:
        yield from _spread(users, "user_source", parents, works)
    if lend_companies:
        yield from _spread(companies, "company_source", parents, works)
    return list(zip(users, companies, strict=True))


class TraceMemory:
    """Users and companies of traces seen lately, for spans and logs of later requests. False when it is switched off.

    A trace that names two users (or companies) lends none. Bounded: 400 bytes a trace, so 20 MB; the one known longest
    is forgotten first.
    """

    def __init__(self, seconds: float, limit: int = 50_000) -> None:
        self._ns = int(seconds * 1e9)
        self._limit = limit
        # Trace id and tenant -> receive time, user, company; _MANY for several.
        self._seen: OrderedDict[bytes, tuple[int, str, str]] = OrderedDict()

    def __bool__(self) -> bool:
        return self._ns > 0

    def inherit(
        self, works: Sequence[Work], inherited: Owners | None, received_unix_ns: int, tenant: str
    ) -> Generator[None, None, Owners | None]:
        """Returns who every span belongs to, gaps filled from earlier requests. Remembers what these spans say."""
        if inherited is None and (not works or (works[0].who[:2] == NO_OWNER and not self._seen)):
            return None  # nobody in this request names anybody, else `inherit` had found what to lend
        whose = tenant.encode()
        own = inherited if inherited is not None else [work.who[:2] for work in works]
        # What this request itself says is not lent here: `inherit` has done that, to spans of one resource only.
        found = (yield from self._filled(works, own, received_unix_ns, whose)) if self._seen else inherited
        known = b"", NO_OWNER  # spans of one trace mostly come one after the other and have one owner
        for part in slices(len(works)):
            for at in part:
                owner = own[at]
                if owner != NO_OWNER and (works[at][0][1], owner) != known:
                    known = works[at][0][1], owner
                    self._learn(known[0] + whose, *owner, received_unix_ns)
            yield
        return found

    def _filled(
        self, works: Sequence[Work], own: Owners, received_unix_ns: int, whose: bytes
    ) -> Generator[None, None, Owners]:
        found = list(own)
        for part in slices(len(works)):
            for at in part:
                owner = own[at]
                if not (owner[0] and owner[1]):
                    trace = works[at][0][1] + whose
                    if trace in self._seen:
                        found[at] = self._of(trace, *owner, received_unix_ns)
            yield
        return found

    @property
    def empty(self) -> bool:
        """True when no trace is known."""
        return not self._seen

    def learn(self, trace_id: bytes, user: str, company: str, now: int, tenant: str) -> None:
        """A log tells of a call of this trace, and who made it."""
        self._learn(trace_id + tenant.encode(), user, company, now)

    def _learn(self, trace: bytes, user: str, company: str, now: int) -> None:
        known = self._seen.get(trace)
        if known is not None and now - known[0] <= self._ns:
            at, known_user, known_company = known
            user = known_user if not user or user == known_user else user if not known_user else _MANY
            company = (
                known_company if not company or company == known_company else company if not known_company else _MANY
            )
            self._seen[trace] = at, user, company
            return
        self._seen.pop(trace, None)
        self._seen[trace] = now, user, company
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)

    def owner(self, trace_id: bytes, user: str, company: str, now: int, tenant: str) -> tuple[str, str]:
        """User and company, gaps filled with what the trace is known for among the tenant's own."""
        return self._of(trace_id + tenant.encode(), user, company, now)

    def _of(self, trace: bytes, user: str, company: str, now: int) -> tuple[str, str]:
        at, known_user, known_company = self._seen.get(trace, (0, "", ""))
        if now - at > self._ns:
            return user, company
        return (
            user or (known_user if known_user != _MANY else ""),
            company or (known_company if known_company != _MANY else ""),
        )


def _uneven(values: list[str]) -> bool:
    return "" in values and any(values)


def slices(count: int) -> Iterator[range]:
    return (range(start, min(start + _SLICE, count)) for start in range(0, count, _SLICE))


def _parents(works: Sequence[Work]) -> Generator[None, None, list[int]]:
    """Returns for each span the index of its parent in this request and resource, _ROOT without one."""
    index: dict[bytes, int] = {}
    for part in slices(len(works)):
        for at in part:
            record = works[at].record
            index[record.trace_id + record.span_id] = at
        yield
    parents: list[int] = []
    beside: dict[bytes, int] | None = None
    for part in slices(len(works)):
        for at in part:
            work = works[at]
            record = work.record
            parent = index.get(record.trace_id + record.parent_id, _ROOT) if record.parent_id else _ROOT
            if parent == _ROOT and record.span.flags & REMOTE_FLAG and record.span.kind == INTERNAL:
                # LiteLLM reads the caller's context again for spans that belong below its SERVER span.
                beside = _servers(works) if beside is None else beside
                parent = beside.get(record.trace_id + record.parent_id, _ROOT)
            if parent == at or (parent != _ROOT and works[parent].group.resource != work.group.resource):
                parent = _ROOT
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
    # Nearest known ancestor of each span, found once: spans of one branch share the walk.
    nearest = [at if value else _UNKNOWN for at, value in enumerate(values)]
    for part in slices(len(values)):
        for at in part:
            if nearest[at] != _UNKNOWN:
                continue
            walked = []
            here = at
            while here != _ROOT and nearest[here] == _UNKNOWN:
                nearest[here] = _ROOT  # ends a walk that a loop of parents would make endless
                walked.append(here)
                here = parents[here]
            found = nearest[here] if here != _ROOT else _ROOT
            if found != _ROOT:
                for step in walked:
                    nearest[step] = found
                    values[step] = values[found]
        yield


def _lend_to_servers(
    values: list[str], source: str, parents: list[int], works: Sequence[Work]
) -> Generator[None, None, None]:
    """SERVER spans without a value take the only one that attributes of their INTERNAL descendants state."""
    below: dict[int, str] = {}  # what the descendants of a span state, _MANY for several values
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
                while here != _ROOT and (known := below.get(here)) != stated and known != _MANY:
                    stated = below[here] = stated if known is None else _MANY
                    here = parents[here]
        yield
    for at, stated in below.items():
        serves = works[at].record.span.kind == SERVER or works[at].plan.incoming
        if stated != _MANY and not values[at] and serves:
            values[at] = stated
