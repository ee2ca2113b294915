"""Which span of a request is above which: found once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import repeat
from operator import add
from typing import Final

from mapping.context import Work
from mapping.otlp.records import SpanRecord
from mapping.spans.classify import SERVER

ROOT: Final = -1  # instead of the index of a parent: the span has none
ABROAD: Final = -2  # its parent is not in this request
Links = tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]]  # trace ids, span ids, ids of what is above
_NOTHING: Final[Links] = (), (), ()
_NO_RECORDS: Final = ((), (), (), ())
_SLICE: Final = 4096  # spans between two pauses: a few milliseconds


def slices(count: int) -> Iterable[range]:
    """Ranges that together go up to `count`: what is done in one of them is done between two pauses."""
    if count <= _SLICE:
        return (range(count),)
    return (range(start, min(start + _SLICE, count)) for start in range(0, count, _SLICE))


class Tree:
    """The spans of one request, those of all resources: a Collector sends the gateway's and the service's together.

    It is filled span by span, and tells which of them have more to be asked about: few, where asking all takes time.
    """

    # What is found when it is first asked for; nothing is asked of a span that is alone.
    _beyond: dict[bytes, bytes] | None = None  # of the passed: the id of what is above them all
    _parents: list[int] | None = None
    _flat: bool | None = None
    _part: range | None = None
    _links: Links = _NOTHING

    def __init__(self, *, of_one_resource: bool = False, passes: bool = False) -> None:
        """of_one_resource: False where that is not known. passes: spans that are nothing themselves are laid aside."""
        self.of_one_resource = of_one_resource
        self.works: list[Work] = []  # they may be given other plans later, but stay where they are
        # Indices of works.
        self.incoming: list[int] = []  # calls that came in
        self.doubtful: list[int] = []  # of which the plan alone cannot say whether they tell a thing of their own
        self.naming: list[int] = []  # that say themselves whose they are
        self.astray: list[int] = []  # INTERNAL with a parent in another process: LiteLLM's, where a call is beside them
        # By id, spans that are no events and only stand between others, which are below what those are below.
        self.passed: dict[bytes, SpanRecord] | None = {} if passes else None

    def links(self, part: range) -> Links:
        """Trace ids, span ids and ids of what is above, of a slice of spans; mostly one, and remembered."""
        if self._part is None or self._part != part:
            self._part = part
            records = [work[0] for work in self.works[part.start : part.stop]]
            _, traces, spans, above, *_ = zip(*records) if records else _NO_RECORDS  # noqa: B905 - strict costs a third
            if self.passed and not self.passed.keys().isdisjoint(above):
                above = tuple(map(self._pass, traces, above))
            self._links = traces, spans, above
        return self._links

    def above(self, at: int) -> bytes:
        """The id of what is above a span, b"" for nothing."""
        record = self.works[at][0]
        return self._pass(record[1], record[3]) if self.passed else record[3]

    def is_below_passed(self, at: int) -> bool:
        """True where the parent of a span is one of the passed."""
        record = self.works[at][0]
        parent = self.passed.get(record[3]) if self.passed else None
        return parent is not None and parent[1] == record[1]

    def _pass(self, trace: bytes, above: bytes) -> bytes:
        """`above`, or what is above it where it is one of the passed; each of them is walked over once in all."""
        if self._beyond is None:
            self._beyond = {}
        passed, beyond, walked = self.passed or {}, self._beyond, []
        while (record := passed.get(above)) is not None and record[1] == trace:
            if (found := beyond.get(above)) is not None:
                above = found
                break
            beyond[above] = above  # ends a walk that a loop of parents would make endless
            walked.append(above)
            above = record[3]
        for step in walked:
            beyond[step] = above
        return above

    def is_flat(self) -> bool:
        """True when no span here is above another, as in most requests of one service. Only for a slice of spans."""
        if self._flat is None:
            works = self.works
            if len(works) > _SLICE:
                self._flat = False
            elif self.passed:
                _, spans, above = self.links(range(len(works)))
                self._flat = set(spans).isdisjoint(above)
            else:
                ids = set()
                for work in works:  # for the few spans of most requests half of what a comprehension takes
                    ids.add(work[0][2])
                self._flat = ids.isdisjoint([work[0][3] for work in works])
        return self._flat

    def has_calls_of_one_trace(self) -> bool:
        """True when two incoming calls are of one trace, so that one may be below the other or tell the same."""
        works, incoming, traces = self.works, self.incoming, set()
        for at in incoming:
            traces.add(works[at][0][1])
        apart = len(traces) == len(incoming)
        if apart and len(incoming) == len(works) <= _SLICE:
            self._flat = True  # each is of another trace
        return not apart

    def at_once(self) -> list[int] | None:
        """As `parents`, for half the cost; None unless the request is of one slice, as nearly all are."""
        if self._parents is None and len(self.works) <= _SLICE:
            flat = self.is_flat()
            traces, spans, above = links = self.links(range(len(self.works)))
            if flat:
                self._parents = [ABROAD if id_ else ROOT for id_ in above]
            else:
                places = dict(zip(spans, range(len(spans)), strict=True))
                if len(places) == len(spans):
                    self._parents = _look_up(links, places, traces)
        return self._parents

    def parents(self) -> Generator[None, None, list[int]]:
        """Returns for each span the index of its parent, ROOT or ABROAD. Takes time in proportion to the spans."""
        if self._parents is None:
            self._parents = yield from self._find_parents()
        return self._parents

    def _find_parents(self) -> Generator[None, None, list[int]]:
        works = self.works
        index: dict[bytes, int] = {}
        all_traces: list[bytes] = []
        for part in slices(len(works)):
            traces, spans, _ = self.links(part)
            index.update(zip(spans, part, strict=True))
            all_traces += traces
            yield
        parents: list[int] = []
        if len(index) == len(works):  # no two share an id, as nearly always
            for part in slices(len(works)):
                parents += _look_up(self.links(part), index, all_traces)
                yield
            return parents
        index = yield from self._index()
        for part in slices(len(works)):
            traces, _, above = self.links(part)
            found = map(index.get, map(add, traces, above), repeat(ABROAD))
            parents += [
                (up if up != at else ABROAD) if id_ else ROOT for at, up, id_ in zip(part, found, above, strict=True)
            ]
            yield
        return parents

    def _index(self) -> Generator[None, None, dict[bytes, int]]:
        """Returns where each span is, by trace id and span id."""
        index: dict[bytes, int] = {}
        for part in slices(len(self.works)):
            traces, spans, _ = self.links(part)
            index.update(zip(map(add, traces, spans), part, strict=True))
            yield
        if len(index) < len(self.works):  # Zipkin's client and server share an id: what is below is the server's
            for part in slices(len(self.works)):
                works = zip(part, self.works[part.start : part.stop], strict=True)
                index.update((work[0][1] + work[0][2], at) for at, work in works if work[0].span.kind == SERVER)
                yield
        return index


def _look_up(links: Links, places: Mapping[bytes, int], traces: Sequence[bytes]) -> list[int]:
    """The parents of a slice of spans. places: of all spans, each with an id of its own; traces: of all as well."""
    get = places.get
    return [
        (up if (up := get(above, ABROAD)) < 0 or (traces[up] == trace and above != own) else ABROAD) if above else ROOT
        for trace, own, above in zip(*links, strict=True)
    ]
