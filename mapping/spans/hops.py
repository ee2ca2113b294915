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
from mapping.spans.tree import ROOT, Tree, slices

UNKNOWN: Final = ""  # not an incoming call, and none is known to be above it


def find_hops(works: Sequence[Work], tree: Tree) -> Generator[None, None, Sequence[str]]:
    """Returns for each span ENTRY, INNER, OPEN or UNKNOWN. Takes time in proportion to the spans, in slices."""
    incoming: list[bool] = [work[2].incoming for work in works]
    if True not in incoming:
        return [UNKNOWN] * len(works)
    if tree.is_flat():
        return [
            UNKNOWN if not is_call else OPEN if work[0][3] else ENTRY
            for is_call, work in zip(incoming, works, strict=True)
        ]
    parents = yield from tree.parents()
    above: list[str | None] = [None] * len(works)  # what the ancestors of a span are, its own kind aside
    for part in slices(len(works)):
        for at in reversed(part):  # a span ends, and so comes, after those below it
            if above[at] is not None:
                continue
            parent = parents[at]
            if parent < 0:
                above[at] = ENTRY if parent == ROOT else OPEN
            elif incoming[parent]:
                above[at] = INNER
            elif above[parent] is not None:
                above[at] = above[parent]
            else:
                _look_up(at, parents, above, incoming)
        if part.stop < len(works):
            yield
    return [
        hop if is_call or hop == INNER else UNKNOWN
        for is_call, hop in zip(incoming, above, strict=True)
        if hop is not None
    ]


def _look_up(at: int, parents: list[int], above: list[str | None], incoming: list[bool]) -> None:
    """Fills `above` of a span and of the ancestors passed on the way; each span is passed once in all."""
    walked: list[int] = []
    here = at
    while above[here] is None:
        above[here] = OPEN  # ends a walk that a loop of parents would make endless
        walked.append(here)
        parent = parents[here]
        if parent < 0:
            found = ENTRY if parent == ROOT else OPEN
            break
        if incoming[parent]:
            found = INNER
            break
        here = parent
    else:
        found = above[here] or OPEN
    for step in walked:
        above[step] = found
