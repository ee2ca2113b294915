"""A batch while it is being filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from exporter.journal import Plan, Ref
from exporter.totals import Outcome, Totals
from mapping.event import Event


class Chunk(NamedTuple):
    """Rows from one spool record: events, and the place of each in that record."""

    position: int
    indices: Sequence[int]
    events: Sequence[Event]


@dataclass
class Draft:
    """A batch being filled. `end` is the position after the last record taken."""

    begin: int
    end: int
    chunks: list[Chunk] = field(default_factory=list)
    rows: int = 0
    drop: list[Ref] = field(default_factory=list)
    defer: dict[Ref, None] = field(default_factory=dict)
    add: dict[Ref, None] = field(default_factory=dict)
    gone: list[Ref] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    size: int = 0
    opened: float = 0.0  # monotonic seconds when the first record came; 0 = still empty

    @property
    def empty(self) -> bool:
        return self.begin == self.end and not self.add and not self.gone

    def take(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.rows += len(chunk.events)

    def events(self) -> list[Event]:
        """The rows in spool order, which is the order in which a restart makes them again."""
        return list(chain.from_iterable(chunk.events for chunk in sorted(self.chunks, key=_place)))

    def leave_out(self, known: set[str]) -> None:
        """Drop the rows with these transaction ids: the destination has them already."""
        chunks, self.chunks, self.rows = self.chunks, [], 0
        for position, indices, events in chunks:
            kept: list[tuple[int, Event]] = []
            for index, event in zip(indices, events, strict=True):
                if event.transaction_id not in known:
                    kept.append((index, event))
                    continue
                self.totals.add(event.tenant, "deduplicated", 1)
                if (position, index) in self.add:
                    del self.add[position, index]
                    self.gone.append((position, index))
                else:
                    self.drop.append((position, index))
            if kept:
                self.take(Chunk(position, [index for index, _ in kept], [event for _, event in kept]))

    def not_needed(self, ref: Ref, tenant: str, outcome: Outcome = "deduplicated") -> None:
        """A waiting call is a duplicate, or lost: gone if an earlier batch deferred it, dropped if this one did."""
        self.totals.add(tenant, outcome, 1)
        if ref in self.defer:
            del self.defer[ref]
            self.drop.append(ref)
        else:
            self.gone.append(ref)

    def plan(self, sequence: int) -> Plan:
        return Plan(
            sequence,
            self.begin,
            self.end,
            frozenset(self.drop),
            tuple(self.defer),
            tuple(self.add),
            frozenset(self.gone),
            self.totals.plain(),
            self.rows,
        )


def _place(chunk: Chunk) -> tuple[int, int]:
    return chunk.position, chunk.indices[0] if chunk.indices else 0
