"""Which span of a request is above which: found once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import repeat
from operator import add, eq
from typing import Final

from mapping.context import Work
from mapping.spans.classify import SERVER

ROOT: Final = -1  # instead of the index of a parent: the span has none
ABROAD: Final = -2  # its parent is not in this request
_NOTHING: Final[tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]]] = (), (), ()
_SLICE: Final = 4096  # spans between two pauses: a few milliseconds


def slices(count: int) -> Iterable[range]:
    """Ranges that together go up to `count`: what is done in one of them is done between two pauses."""
    if count <= _SLICE:
        return (range(count),)
    return (range(start, min(start + _SLICE, count)) for start in range(0, count, _SLICE))


class Tree:
    """The spans of one request, those of all resources: a Collector sends the gateway's and the service's together."""

    __slots__ = ("_flat", "_ids", "_links", "_parents", "_part", "_works")

    def __init__(self, works: Sequence[Work]) -> None:
        """works: its spans may be given other plans later, but stay where they are."""
        self._works = works
        self._ids: set[bytes] = set()
        self._parents: list[int] | None = None
        self._flat: bool | None = None
        self._part, self._links = range(0), _NOTHING

    def links(self, part: range) -> tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]]:
        """Trace ids, span ids and parents' ids of a slice of spans; there is mostly one, which is remembered."""
        if self._part != part:
            records = [work[0] for work in self._works[part.start : part.stop]]
            self._part = part
            self._links = [of[1] for of in records], [of[2] for of in records], [of[3] for of in records]
        return self._links

    def is_flat(self) -> bool:
        """True when no span here is above another, as in most requests of one service. Only for a slice of spans."""
        if self._flat is None:
            works = self._works
            if len(works) < 2:
                self._flat = True
            elif len(works) > _SLICE:
                self._flat = False
            else:
                _, spans, above = self.links(range(len(works)))
                self._ids = set(spans)
                self._flat = self._ids.isdisjoint(above)
        return self._flat

    def parents(self) -> Generator[None, None, list[int]]:
        """Returns for each span the index of its parent, ROOT or ABROAD. Takes time in proportion to the spans."""
        if self._parents is None:
            self._parents = yield from self._find_parents()
        return self._parents

    def _find_parents(self) -> Generator[None, None, list[int]]:
        works, spans = self._works, self._ids
        if not spans:
            for part in slices(len(works)):
                if part.start:
                    yield
                spans.update(self.links(part)[1])
        index: dict[bytes, int] | None = None
        parents: list[int] = []
        for part in slices(len(works)):
            if spans.isdisjoint(self.links(part)[2]):
                parents += [ABROAD if parent else ROOT for parent in self.links(part)[2]]
                yield
                continue
            if index is None:
                index = yield from self._index()
            traces, own, above = self.links(part)
            found = list(map(index.get, map(add, traces, above), repeat(ABROAD)))  # nobody has an id without a span's
            if any(map(eq, own, above)):  # a span above itself has none
                found = [ABROAD if up == at else up for at, up in zip(part, found, strict=True)]
            parents += found if all(above) else [up if id_ else ROOT for up, id_ in zip(found, above, strict=True)]
            yield
        return parents

    def _index(self) -> Generator[None, None, dict[bytes, int]]:
        """Returns where each span is, by trace id and span id."""
        index: dict[bytes, int] = {}
        for part in slices(len(self._works)):
            traces, spans, _ = self.links(part)
            index.update(zip(map(add, traces, spans), part, strict=True))
            yield
        if len(index) < len(self._works):  # Zipkin's client and server share an id: what is below is the server's
            for part in slices(len(self._works)):
                works = zip(part, self._works[part.start : part.stop], strict=True)
                index.update((work[0][1] + work[0][2], at) for at, work in works if work[0].span.kind == SERVER)
                yield
        return index
