"""What the assembly knows of a sink's way from the spool, whatever goes there: events (`exporter.pipeline`) or requests
as they came (`exporter.forward`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from exporter.attempts import Attempts
from exporter.journal import Journal
from exporter.settings import RetrySettings
from exporter.sink import AnySink
from exporter.totals import Totals


class Delivery(ABC):
    """One life: `run`, which `stop` or `leave` asks to end, then `close`; the next one goes on where the journal is."""

    sink: AnySink

    def __init__(self, sink: AnySink, journal: Journal, retry: RetrySettings, before: Attempts | None = None) -> None:
        """journal: open. before: those of the delivery that this sink had before, so that its counters only grow."""
        self.sink = sink
        self.journal = self._journal = journal
        self.attempts = self._attempts = Attempts(sink.name, retry, before)
        self.counts = self._attempts.counts
        self._stopping = asyncio.Event()
        self._leaving = False

    @abstractmethod
    async def run(self) -> None:
        """Deliver until `stop`, then what is committed, and return. Cancelled, it leaves the rest for a restart."""

    @property
    @abstractmethod
    def oldest_unix_ns(self) -> int:
        """Receive time of the oldest request that was taken and is not delivered; 0 when there is none."""

    @property
    def waiting(self) -> int:
        """Calls read from logs that wait for their span: received, not ended yet."""
        return len(self._journal.waiting)

    @property
    def totals(self) -> Totals:
        """Where every record ended, since the sink was new: of the batches that are done."""
        return self._journal.totals

    @property
    def cursor(self) -> int:
        """Spool position before which everything is delivered or waits for its span."""
        return self._journal.cursor

    def stop(self) -> None:
        """Ask `run` to deliver what is committed, and return."""
        self._stopping.set()

    def leave(self) -> None:
        """Ask `run` to return when the sink has what it is being given: another delivery will go on."""
        self._leaving = True

    def close(self) -> None:
        """Let go of the journal. The sink is closed by whoever made it."""
        self._journal.close()
