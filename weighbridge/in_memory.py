"""The newest committed requests, held in memory for sinks that keep up: how many, and who waits when there are many."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from operator import attrgetter

from exporter.source import Unit
from mapping.mapped import Mapped
from mapping.otlp.records import Decoded
from receiver.spool import Appended, Entry

# Measured with 16-attribute spans: memory of a request in inflated bytes, decoded (4.1) and mapped (2.3).
DECODED_FACTOR = 4.5
MAPPED_FACTOR = 2.5
# An answer waits at most this long for mapping to catch up.
LONGEST_PACE_S = 0.2
# Sinks that have finished nothing for this long are slow or away: the spool takes their place, and nobody waits.
SINKS_GET_ON_S = 1.0
# Then a quarter of the memory is enough, until they have read the spool to its last bytes: so many for one in memory.
AWAY_SHARE = 4
NEAR_SHARE = 32

# Bytes of resource and scope in events for a byte in a batch: with less, as is usual, what was received tells the size.
RESOURCE_FACTOR = 4


def became(decoded: Decoded, mapped: Mapped) -> int:
    """What a request counts for in batches and in memory: its bytes, or more where its events hold far more.

    A resource is repeated in each event that is written, and bodies that came compressed are not any more.
    """
    repeated = sum(map(len, map(_resource, mapped.events)))
    return max(decoded.size + mapped.inflated, repeated // RESOURCE_FACTOR)


_resource = attrgetter("resource")


@dataclass
class Held:
    """A committed request in memory: decoded until a sink first asks for it, mapped from then on."""

    next_position: int
    received_unix_ns: int
    tenant: str
    size: int
    decoded: Decoded | None
    unit: Unit | None = None


class InMemory:
    """Requests by position, the oldest first, of `max_bytes` at most: beyond that the oldest are let go of.

    While all sinks are away, what comes is not held at all: they would read the spool first in any case.
    """

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self.is_mapping = False  # one of these requests is being mapped
        self._max_bytes = max_bytes
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._away = False  # no sink gets on; none of them needs what comes now for a long time
        self._progress = asyncio.Event()  # a request was mapped, or let go of
        self._progress_at = 0.0  # monotonic seconds
        self._waiting_since = 0.0  # as before: since when there is anything

    def hold(self, appended: Appended, entry: Entry, decoded: Decoded) -> None:
        """One that was just committed, unless the sinks are away."""
        now = time.monotonic()
        if not self._held:
            self._waiting_since = now  # nobody had anything to do before
        elif self.bytes > self._max_bytes // AWAY_SHARE:
            since = max(self._progress_at, self._waiting_since)
            if now - since >= SINKS_GET_ON_S:
                self._away = True
        if self._away:
            return
        size = int(decoded.size * DECODED_FACTOR)
        self._add(appended.position, Held(appended.next_position, entry.received_unix_ns, entry.tenant, size, decoded))

    def hold_mapped(self, unit: Unit) -> None:
        """One that was read from the spool, if it is newer than all that are here."""
        if unit.position > next(reversed(self._held), -1):
            size = int(unit.size * MAPPED_FACTOR)
            self._add(unit.position, Held(unit.next_position, unit.received_unix_ns, unit.tenant, size, None, unit))

    def _add(self, position: int, held: Held) -> None:
        self._held[position] = held
        self.bytes += held.size
        while self.bytes > self._max_bytes:
            self._drop_oldest()

    def at(self, position: int) -> Held | None:
        """The request at a position."""
        return self._held.get(position)

    def mapped(self, position: int, held: Held) -> None:
        """Its unit is there: what it was made of is not needed any more."""
        assert held.unit is not None
        held.decoded = None
        if position in self._held:
            mapped_size = int(held.unit.size * MAPPED_FACTOR)
            self.bytes += mapped_size - held.size
            held.size = mapped_size
        self.progressed()

    def drop_before(self, position: int) -> None:
        """No sink needs these any more."""
        while self._held and next(iter(self._held)) < position:
            self._drop_oldest()
        self.progressed()

    def left_to_read(self, spool_bytes: int) -> None:
        """A sink that reads the spool has so much before it: when that is little, what comes is held again."""
        if self._away and spool_bytes <= self._max_bytes // NEAR_SHARE:
            self._away = False

    @property
    def is_behind(self) -> bool:
        """Memory is half full, and the sinks are getting on: mapping now, or done with something a moment ago."""
        if self.bytes <= self._max_bytes // 2:
            return False
        return self.is_mapping or time.monotonic() - self._progress_at < SINKS_GET_ON_S

    async def pace(self) -> None:
        """Return at once, or a little later while mapping falls behind intake for want of CPU.

        Otherwise a burst would be acknowledged faster than it is mapped, leave memory, and be read back and decoded
        a second time. A sink that is slow or away is another matter: then nothing is being mapped, and nobody waits.
        """
        if not self.is_behind:
            return
        try:
            async with asyncio.timeout(LONGEST_PACE_S):
                while self.is_behind:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            pass

    def progressed(self) -> None:
        """A sink gets on."""
        self._progress_at = time.monotonic()
        self._progress.set()

    def _drop_oldest(self) -> None:
        _, held = self._held.popitem(last=False)
        self.bytes -= held.size
