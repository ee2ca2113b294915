"""The seam between the pipeline and a destination. A sink is one file in `exporter/sinks/`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from mapping.event import Event


class Batch(NamedTuple):
    """Rows that succeed or fail together. The same batch id always names the same rows, also after a restart."""

    batch_id: int  # unsigned 64 bit, derived from spool positions
    events: Sequence[Event]  # of one UTC day when the sink asks for `day_partitions`
    part: str = ""  # which piece of a batch that had to be split ("0", "01", ...); all pieces keep the batch id

    @property
    def token(self) -> str:
        """The deduplication token: the same for every attempt at the same rows while a process lives."""
        return f"{self.batch_id:016x}{self.part and '.' + self.part}"


class Calls(NamedTuple):
    """The API calls to be counted by minute with one batch. The same batch id always names the same calls."""

    batch_id: int
    events: Sequence[Event]  # rows of the batch, whether the destination took them or not; not only calls
    dropped: Sequence[Event]  # calls that sampling dropped, without their content
    whole: bool  # True: `dropped` has all that were dropped beside `events`; False: nobody looked


class AnySink(Protocol):
    """What every sink has, whether it gets events (`Sink`) or requests (`exporter.forward.RequestSink`).

    Sinks derive from their contract, and so have what it says where they say nothing.
    """

    name: str
    config_etag: str = ""  # of sampling rules that the destination keeps, as it last said; "": it says nothing of them

    @property
    def restarts(self) -> int:
        """How often a process that the sink runs for itself ended and was started again."""
        return 0

    @property
    def folded(self) -> int:
        """Calls that were counted with some of their names left out, because there were too many."""
        return 0

    async def open(self) -> None:
        """Connect and create what is missing. Raises SinkError; the pipeline tries again later."""
        ...

    async def close(self) -> None: ...


class Sink(AnySink, Protocol):
    """A destination of events. One pipeline task calls it; calls never overlap, but for `write` by `at_once`."""

    at_once: int = 1  # pieces of a refused batch that come at a time
    day_partitions: bool = False  # True: the pipeline splits batches by `day_of`
    entry_wait_s: float | None = None  # it gets entries only, and calls wait so long for those above; None: it gets all
    counts_calls: bool = False  # True: it is told of all API calls by `count`, of those too that sampling dropped
    shared: bool = False  # True: others write there too; the pipeline asks about every event, not only about old ones

    def day_of(self, event: Event) -> int:
        """The day, in days since the epoch, under which the destination files an event; asked with `day_partitions`."""
        return 0

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        """Return when the destination has the whole batch, durably: with the events that are not for it.

        Those are left out for good, like a log for a destination that has no logs; they count as skipped. The events
        themselves come back, not their number, because the ledger has a line per tenant.

        in_doubt: an earlier process may have written all, some or none of it; the sink finds out before it writes.
        The pieces of a batch in doubt are in doubt too; they come when the whole was refused, and a sink that has
        started over for the whole need not do it for a piece.
        Raises Retryable, TooLarge, Refused (Unwritable, where it knows the rows) or Unauthorised.
        """
        ...

    async def count(self, calls: Calls, *, in_doubt: bool) -> None:
        """Return when the calls are in the destination's counts, durably and once; only with `counts_calls`.

        Called after `write` of the same batch, or alone where a batch has no rows. in_doubt: as in `write`.
        """
        return

    async def existing(self, events: Sequence[Event], not_in: Collection[int]) -> set[str]:
        """Transaction ids among `events` that the destination already has from batches other than `not_in`.

        None of them for a sink that cannot tell.
        """
        return set()
