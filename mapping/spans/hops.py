"""Which call is the customer's own (spec/mapping.md §2): an incoming one with no other above it in its trace.

In a chain gateway -> service -> service every hop has a SERVER span. Here is decided what one request tells: a call is
the *entry*, an *inner* hop, or *open*, when its ancestors are in other requests. The store resolves what is open when
it is asked (`exporter/clickhouse/api_calls.sql`), so the answer never depends on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from mapping.event import ENTRY, INNER, OPEN
from mapping.spans.tree import Tree, slices

UNKNOWN: Final = ""  # not an incoming call, and none is known to be above it


def flat_hops(tree: Tree) -> Sequence[str] | None:
    """As `find_hops`, where no span is above another or no call came in; None for every other request."""
    works, incoming = tree.works, tree.incoming
    if len(works) > 1 and incoming:
        if not tree.is_flat():
            return None
        if len(incoming) == len(works) and not tree.passed:
            return [OPEN if work[0][3] else ENTRY for work in works]
    hops = [UNKNOWN] * len(works)
    for at in incoming:
        hops[at] = OPEN if tree.above(at) else ENTRY
    return hops


def find_hops(tree: Tree) -> Generator[None, None, Sequence[str]]:
    """Returns for each span ENTRY, INNER, OPEN or UNKNOWN. Takes time in proportion to the spans, in slices."""
    works, incoming = tree.works, tree.incoming
    parents = tree.at_once() or (yield from tree.parents())
    # What the spans below each see above them; behind them what those without a parent here find at ABROAD and ROOT.
    below: list[str | None] = [None] * len(works)
    below += (OPEN, ENTRY)
    for at in incoming:
        below[at] = INNER
    for part in slices(len(works)):
        for at in reversed(part):  # a span ends, and so comes, after those below it
            if below[at] is None:
                found = below[parents[at]]
                below[at] = found if found is not None else _look_up(at, parents, below)
        if part.stop < len(works):
            yield
    hops: list[str] = [UNKNOWN] * len(works)
    for part in slices(len(works)):
        of = slice(part.start, part.stop)
        hops[of] = [INNER if below[up] == INNER else UNKNOWN for up in parents[of]]
        if part.stop < len(works):
            yield
    for at in incoming:
        hops[at] = below[parents[at]] or OPEN
    return hops


def _look_up(at: int, parents: Sequence[int], below: list[str | None]) -> str:
    """Fills `below` of a span and of the ancestors passed on the way; each span is passed once in all."""
    walked: list[int] = []
    while (found := below[at]) is None:
        below[at] = OPEN  # ends a walk that a loop of parents would make endless
        walked.append(at)
        at = parents[at]
    for step in walked:
        below[step] = found
    return found
