"""A sink that keeps what it is given, for tests: same contract as the others, with failures on demand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from exporter.sink import Batch, Calls, Sink
from mapping.event import Event

DAY_NS = 86_400 * 10**9


class MemorySink(Sink):
    """Delivery: exact. `fail` is called before each write and may raise what a real destination would.

    wants: False for events that are not for this destination.
    """

    def __init__(
        self,
        name: str = "memory",
        fail: Callable[[Batch, bool], None] | None = None,
        wants: Callable[[Event], bool] = lambda event: True,
        entry_wait_s: float | None = None,
        counts: bool = False,
    ) -> None:
        self.name = name
        self.counts_calls = counts
        self.counted: dict[int, Calls] = {}  # by batch
        self.fail_counts: Callable[[Calls], None] | None = None  # as `fail`, called after they are counted
        self.entry_wait_s = entry_wait_s
        self.batches: dict[str, tuple[int, list[Event]]] = {}  # token -> (batch id, rows)
        self.writes: list[tuple[str, int, bool]] = []  # (token, rows, in_doubt) of every successful write
        self.asked: list[list[str]] = []  # transaction ids that `existing` was asked about
        self.fail = fail
        self.wants = wants
        self.closed = False

    @property
    def events(self) -> list[Event]:
        return [event for _, rows in self.batches.values() for event in rows]

    def day_of(self, event: Event) -> int:
        return event.start_unix_ns // DAY_NS

    async def open(self) -> None:
        self.closed = False

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        if self.fail:
            self.fail(batch, in_doubt)
        if in_doubt and not batch.part:  # an earlier process may have left pieces of it
            self.batches = {token: kept for token, kept in self.batches.items() if kept[0] != batch.batch_id}
        left_out = [event for event in batch.events if not self.wants(event)]
        self.batches[batch.token] = (batch.batch_id, [event for event in batch.events if self.wants(event)])
        self.writes.append((batch.token, len(batch.events) - len(left_out), in_doubt))
        return left_out

    async def count(self, calls: Calls, *, in_doubt: bool) -> None:
        assert in_doubt or calls.batch_id not in self.counted or self.counted[calls.batch_id] == calls
        self.counted.setdefault(calls.batch_id, calls)
        if self.fail_counts:
            self.fail_counts(calls)

    async def existing(self, events: Sequence[Event], not_in: Collection[int]) -> set[str]:
        wanted = {event.transaction_id for event in events}
        self.asked.append(sorted(wanted))
        return {
            event.transaction_id
            for batch_id, rows in self.batches.values()
            if batch_id not in not_in
            for event in rows
            if event.transaction_id in wanted
        }

    async def close(self) -> None:
        self.closed = True
