"""Which span of a request is above which: found once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import repeat
from operator import add
from typing import Final

from mapping.context import Work
from mapping.spans.classify import SERVER

ROOT: Final = -1  # instead of the index of a parent: the span has none
ABROAD: Final = -2  # its parent is not in this request
_SLICE: Final = 4096  # spans between two pauses: a few milliseconds


def slices(count: int) -> Iterable[range]:
    """Ranges that together go up to `count`: what is done in one of them is done between two pauses."""
    if count <= _SLICE:
        return (range(count),)
    return (range(start, min(start + _SLICE, count)) for start in range(0, count, _SLICE))


class Tree:
    """The spans of one request, those of all resources: a Collector sends the gateway's and the service's together."""

    __slots__ = ("_flat", "_ids", "_parents", "_works")

    def __init__(self, works: Sequence[Work]) -> None:
        """works: its spans may be given other plans later, but stay where they are."""
        self._works = works
        self._ids: set[bytes] = set()
        self._parents: list[int] | None = None
        self._flat: bool | None = None

    def is_flat(self) -> bool:
        """True when no span here is above another, as in most requests of one service. Only for a slice of spans."""
        if self._flat is None:
            works = self._works
            if len(works) < 2:
                self._flat = True
            elif len(works) > _SLICE:
                self._flat = False
            else:
                self._ids = {work[0][2] for work in works}
                self._flat = self._ids.isdisjoint([work[0][3] for work in works])
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
                spans.update([work[0][2] for work in works[part.start : part.stop]])
        index: dict[bytes, int] | None = None
        parents: list[int] = []
        for part in slices(len(works)):
            above = [work[0][3] for work in works[part.start : part.stop]]
            if spans.isdisjoint(above):
                parents += [ABROAD if parent else ROOT for parent in above]
                yield
                continue
            if index is None:
                index = yield from self._index()
            traces = [work[0][1] for work in works[part.start : part.stop]]
            found = map(index.get, map(add, traces, above), repeat(ABROAD))
            parents += [
                (ABROAD if up == at else up) if parent else ROOT
                for at, parent, up in zip(part, above, found)  # noqa: B905 - all have one length
            ]
            yield
        return parents

    def _index(self) -> Generator[None, None, dict[bytes, int]]:
        """Returns where each span is, by trace id and span id."""
        index: dict[bytes, int] = {}
        for part in slices(len(self._works)):
            records = [work[0] for work in self._works[part.start : part.stop]]
            index.update(zip([record[1] + record[2] for record in records], part, strict=True))
            yield
        if len(index) < len(self._works):  # Zipkin's client and server share an id: what is below is the server's
            for part in slices(len(self._works)):
                works = zip(part, self._works[part.start : part.stop], strict=True)
                index.update((work[0][1] + work[0][2], at) for at, work in works if work[0].span.kind == SERVER)
                yield
        return index
