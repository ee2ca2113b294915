"""Which call is the customer's own (spec/mapping.md §2): an incoming one with no other above it in its trace.

In a chain gateway -> service -> service every hop has a SERVER span. Here is decided what one request tells: a call is
the *entry*, an *inner* hop, or *open*, when its ancestors are in other requests. The store resolves what is open when
it is asked (`exporter/clickhouse/api_calls.sql`), so the answer never depends on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from mapping.context import Work
from mapping.event import ENTRY, INNER, OPEN
from mapping.spans.inheritance import slices

UNKNOWN: Final = ""  # not an incoming call, and none is known to be above it

_ROOT, _ABROAD = -1, -2  # instead of the index of a parent: it has none, or it is in another request


def find_hops(works: Sequence[Work], parents: list[int] | None = None) -> Generator[None, None, Sequence[str]]:
    """Returns for each span ENTRY, INNER, OPEN or UNKNOWN. Takes time in proportion to the spans, in slices.

    Spans of all resources of the request count: a Collector sends the gateway's and the service's together. parents: as
    `parents_of` finds them, where they are known.
    """
    if not any(work[2].incoming for work in works):
        return [UNKNOWN] * len(works)
    if parents is None:
        parents = yield from parents_of(works)
    above: list[str | None] = [None] * len(works)  # what the ancestors of a span are, its own kind aside
    for part in slices(len(works)):
        for at in part:
            if above[at] is not None:
                continue
            parent = parents[at]
            if parent < 0:
                above[at] = ENTRY if parent == _ROOT else OPEN
            elif works[parent].plan.incoming:
                above[at] = INNER
            else:
                _look_up(at, parents, above, works)
        yield
    return [
        hop if hop == INNER or work.plan.incoming else UNKNOWN
        for work, hop in zip(works, above, strict=True)
        if hop is not None
    ]


def parents_of(works: Sequence[Work]) -> Generator[None, None, list[int]]:
    """Returns for each span the index of its parent in this request, below 0 without one."""
    spans: set[bytes] = set()
    for part in slices(len(works)):
        if part.start:
            yield
        spans.update([work[0][2] for work in works[part.start : part.stop]])
    index: dict[bytes, int] | None = None
    parents: list[int] = []
    for part in slices(len(works)):
        above = [work[0][3] for work in works[part.start : part.stop]]
        if spans.isdisjoint(above):  # nothing here is above anything else, as in most requests of one service
            parents += [_ABROAD if parent else _ROOT for parent in above]
            yield
            continue
        if index is None:
            index = yield from _index(works)
        for at, work, parent in zip(part, works[part.start : part.stop], above, strict=True):
            if parent in spans:
                found = index.get(work[0][1] + parent, _ABROAD)
                parents.append(_ABROAD if found == at else found)
            else:
                parents.append(_ABROAD if parent else _ROOT)
        yield
    return parents


def _index(works: Sequence[Work]) -> Generator[None, None, dict[bytes, int]]:
    """Returns where each span is, by trace id and span id."""
    index: dict[bytes, int] = {}
    for part in slices(len(works)):
        records = [work[0] for work in works[part.start : part.stop]]
        index.update(zip([record[1] + record[2] for record in records], part, strict=True))
        yield
    return index


def _look_up(at: int, parents: list[int], above: list[str | None], works: Sequence[Work]) -> None:
    """Fills `above` of a span and of the ancestors passed on the way; each span is passed once in all."""
    walked: list[int] = []
    here = at
    while above[here] is None:
        above[here] = OPEN  # ends a walk that a loop of parents would make endless
        walked.append(here)
        parent = parents[here]
        if parent < 0:
            found = ENTRY if parent == _ROOT else OPEN
            break
        if works[parent].plan.incoming:
            found = INNER
            break
        here = parent
    else:
        found = above[here] or OPEN
    for step in walked:
        above[step] = found
