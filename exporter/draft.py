"""A batch while it is being filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from exporter.duplicates import Horizon
from exporter.journal import Plan, Ref, event_key
from exporter.totals import Outcome, Totals
from mapping.event import Event


class Chunk(NamedTuple):
    """Rows from one spool record."""

    position: int
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
    statuses: dict[Ref, int] = field(default_factory=dict)  # of spans' calls whose lines know better
    dropped: list[Event] = field(default_factory=list)  # calls that sampling dropped: counted, in no row
    whole: bool | None = None  # whether `dropped` has all such calls; None: nothing was taken yet
    totals: Totals = field(default_factory=Totals)
    came: Horizon = field(default_factory=Horizon)  # of all events taken, whatever became of them
    size: int = 0
    oldest_unix_ns: int = 0  # receive time of the first record
    opened: float = 0.0  # monotonic seconds when the first record came; 0 = still empty

    @property
    def empty(self) -> bool:
        return self.begin == self.end and not self.add and not self.gone

    def take(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.rows += len(chunk.events)

    def take_dropped(self, events: Sequence[Event]) -> None:
        """Calls that sampling dropped, each for the first time."""
        self.dropped += events
        self.totals.add_events("sampled_out", events)

    def events(self) -> list[Event]:
        """The rows in spool order, which is the order in which a restart makes them again."""
        return list(chain.from_iterable(chunk.events for chunk in sorted(self.chunks, key=attrgetter("position"))))

    def leave_out(self, known: set[str]) -> None:
        """Drop the rows with these transaction ids: the destination has them already."""
        chunks, self.chunks, self.rows = self.chunks, [], 0
        for position, events in chunks:
            kept: list[Event] = []
            for event in events:
                if event.transaction_id not in known:
                    kept.append(event)
                    continue
                self.totals.add(event.tenant, "deduplicated", 1)
                ref = position, event_key(event.transaction_id)
                if ref in self.add:
                    del self.add[ref]
                    self.gone.append(ref)
                else:
                    self.drop.append(ref)
            if kept:
                self.take(Chunk(position, kept))

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
            tuple(self.drop),
            tuple(self.defer),
            tuple(self.add),
            frozenset(self.gone),
            self.totals.plain(),
            self.rows,
            self.came.plain(),
            tuple((*ref, status) for ref, status in self.statuses.items()),
        )
