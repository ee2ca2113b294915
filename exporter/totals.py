"""Where every record of a sink ended, per tenant (spec/design.md §3 P4); in the journal, so it outlives the process.

    received = delivered + deduplicated + dead_lettered + skipped + sampled_out + failed + routed + pending

A dead letter that is sent again leaves `dead_lettered` for where it ends then, and counts as `replayed` beside; so
`dead_lettered` is what lies there, and both together only grow.

`received` counts the records of every request that the sink's pipeline has taken in; what is still in the spool behind
it is not received yet. Each number is counted where it happens, none is derived from the others, so that `residue`
can show a mistake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Literal

from mapping.event import Event

Outcome = Literal[
    "received",
    "delivered",
    "deduplicated",
    "dead_lettered",
    "skipped",
    "sampled_out",
    "failed",
    "dropped",
    "routed",
    "replayed",
]
ENDED: tuple[Outcome, ...] = (
    "delivered",
    "deduplicated",
    "dead_lettered",
    "skipped",
    "sampled_out",
    "failed",
    "dropped",
    "routed",
)
OUTCOMES: tuple[Outcome, ...] = ("received", *ENDED, "replayed")

Counts = dict[str, dict[str, int]]  # tenant -> outcome -> records

_tenant = attrgetter("tenant")


class Totals:
    """Counts by tenant and outcome."""

    def __init__(self, counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self._counts: dict[str, Counter[str]] = {tenant: Counter(c) for tenant, c in (counts or {}).items()}

    def add(self, tenant: str, outcome: Outcome, count: int) -> None:
        if count:
            self._counts.setdefault(tenant, Counter())[outcome] += count

    def add_events(self, outcome: Outcome, events: Iterable[Event]) -> None:
        for tenant, count in Counter(map(_tenant, events)).items():
            self.add(tenant, outcome, count)

    def add_written(self, events: Iterable[Event], left_out: Iterable[Event]) -> None:
        """These events ended: `left_out` of them as skipped, the others as delivered."""
        skipped = Counter(map(_tenant, left_out))
        for tenant, count in Counter(map(_tenant, events)).items():
            self.add(tenant, "delivered", count - skipped[tenant])
            self.add(tenant, "skipped", skipped[tenant])

    def merge(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        for tenant, outcomes in counts.items():
            self._counts.setdefault(tenant, Counter()).update(outcomes)

    def plus(self, counts: Mapping[str, Mapping[str, int]]) -> Totals:
        """These and more, as new totals."""
        total = Totals(self._counts)
        total.merge(counts)
        return total

    def get(self, outcome: Outcome, tenant: str | None = None) -> int:
        """Records with this outcome; of all tenants when none is named."""
        if tenant is not None:
            return self._counts.get(tenant, Counter())[outcome]
        return sum(counts[outcome] for counts in self._counts.values())

    def ended(self, tenant: str | None = None) -> int:
        return sum(self.get(outcome, tenant) for outcome in ENDED)

    def tenants(self) -> list[str]:
        return sorted(self._counts)

    def plain(self) -> Counts:
        return {tenant: dict(counts) for tenant, counts in self._counts.items()}
