"""A batch while it is being filled."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.journal import Plan, Ref
from exporter.totals import Totals
from mapping.event import Event


@dataclass
class Draft:
    """A batch being filled. `end` is the position after the last record taken."""

    begin: int
    end: int
    rows: list[tuple[Ref, Event]] = field(default_factory=list)
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

    def not_needed(self, ref: Ref, tenant: str) -> None:
        """A waiting call is a duplicate: gone if an earlier batch deferred it, dropped if this one did."""
        self.totals.add(tenant, "deduplicated", 1)
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
        )
