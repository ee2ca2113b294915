"""Committed requests for the pipelines: mapped from memory while the request is there, else from the spool."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.source import RawRequest, Unit
from mapping.mapped import Mapped
from mapping.otlp.records import Decoded
from receiver.spool import Appended, Entry, Stored
from weighbridge.in_memory import Held, InMemory, became
from weighbridge.left_out import LeftOutKeeper, MapSteps
from weighbridge.sampling.lent_calls import LentCalls
from weighbridge.set_aside import SetAside
from weighbridge.unmappable import RETURNED

log = logging.getLogger(__name__)

# So many requests' numbers of records are remembered for sinks that forward requests, about 100 bytes each.
RECORDS_REMEMBERED = 65_536


@dataclass
class FeedCounts:
    """Records, each counted once however many sinks there are and however often a lagging one reads it again."""

    events: int = 0
    skipped: int = 0
    sampled_out: int = 0
    failed: int = 0
    taken: int = 0  # of the requests that were mapped: the sum of the four above, counted before mapping
    set_aside: int = 0  # records that stop the process that maps them: part of `failed`
    mapped_again: int = 0  # requests read back from the spool, since the start


class Feed:
    """Every committed request, in spool order, for any number of sinks that each go at their own pace.

    The newest requests are held in memory, up to `max_bytes`; a sink that lags further behind reads the spool. So
    memory does not depend on how long a destination is away. While all are away, what comes is not held at all: they
    would read the spool first in any case.
    """

    def __init__(
        self,
        read: Callable[[int], Awaitable[Stored | None]],
        decode: Callable[[Entry], Awaitable[Decoded]],
        steps: MapSteps,
        release: Callable[[int], None],
        sinks: list[str],
        max_bytes: int,
        unmappable: Path,
        counted: Callable[[str, int], None] = lambda tenant, received_unix_ns: None,
        aside: SetAside | None = None,
        lent: LentCalls | None = None,
    ) -> None:
        """counted: called with tenant and receive time when a request was mapped for the first time.

        aside: knows which records stop this process; with it every request comes from the spool, and what one sink
        has read is held for the others. lent: remembers what sampling knew of calls when a request was decided.
        """
        self.counts = FeedCounts()
        self._read = read
        self._decode = decode
        self._steps = steps
        self._release = release
        self._passed = dict.fromkeys(sinks, 0)
        self._read_to: dict[str, int] = {}  # by sinks that need a request from memory once, before they release it
        self._forwarding: set[str] = set()  # sinks that take requests as they came: they need nothing in memory
        self._records: OrderedDict[int, int] = OrderedDict()  # of requests by position, for those sinks
        self._first_time = counted
        self._aside = aside
        self._lent = lent
        self.memory = InMemory(max_bytes)
        self.left_out = LeftOutKeeper(unmappable, read, steps, self._mapping_sinks)
        self._end = 0  # position after the newest committed record
        self._skips: dict[int, int] = {}  # positions with no record up to another: ends of segments
        self.stored: Counter[str] = Counter()  # records committed since the start, by tenant
        self._counted = 0  # records before this position are in the counts
        self._news = asyncio.Event()
        # One request is mapped at a time, so that two sinks never map the same one twice; and one is read back at a
        # time, which bounds the memory of what is decoded again however many sinks lag.
        self._mapping = asyncio.Lock()
        self._again = asyncio.Lock()

    def start(self, committed_end: int, counted: int | None = None) -> None:
        """counted: requests before this position are in the books of an earlier process; None: all of them are."""
        self._end = committed_end
        self._counted = committed_end if counted is None else min(counted, committed_end)

    def committed(self, appended: Appended, entry: Entry, payload: object) -> None:
        """Called by the spool for each record, in order, when it is on disk."""
        if appended.position != self._end:  # a new segment was begun
            self._skips[self._end] = appended.position
        self._end = appended.next_position
        if isinstance(payload, Decoded):
            self._note(appended, entry.tenant, payload.accepted)
            self.memory.hold(appended, entry, payload)
        self._news.set()

    def arrived(self, appended: Appended, tenant: str, records: int) -> None:
        """Called for each request, in order, that another process has put on disk: it is read from there."""
        if appended.position != self._end:
            self._skips[self._end] = appended.position
        self._end = appended.next_position
        self._note(appended, tenant, records)
        self._news.set()

    def _note(self, appended: Appended, tenant: str, records: int) -> None:
        self.stored[tenant] += records
        if self._forwarding or self._aside is not None:
            self._records[appended.position] = records
            if len(self._records) > RECORDS_REMEMBERED:
                self._records.popitem(last=False)

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        position = self._skip(position)
        self.memory.left_to_read(self._end - position)
        if self._counted < position:
            await self.count_to(position)
        held = self.memory.at(position)
        if held is None and position >= self._end:
            if timeout_s <= 0 or not await self._arrived(position, timeout_s):
                return None
            held = self.memory.at(position)
        if held is not None:
            return held.unit or await self._map_held(position, held)
        end = self._end
        unit = await self._from_spool(position)
        if unit is None:  # the end of a segment, or damage: there is nothing before the next record to come
            self._skips[position] = end
        return unit

    async def next_request(self, position: int, timeout_s: float) -> RawRequest | None:
        """As `next`, but the request as it was received: always from the spool, because memory has no bodies."""
        position = self._skip(position)
        if position >= self._end and (timeout_s <= 0 or not await self._arrived(position, timeout_s)):
            return None
        end = self._end
        stored = await self._read(position)
        if stored is None:
            self._skips[position] = end
            return None
        entry = stored.entry
        returned = entry.content_type.endswith(RETURNED)  # it has been forwarded the first time
        return RawRequest(
            stored.position,
            stored.next_position,
            "returned" if returned else entry.signal,
            entry.tenant,
            entry.content_type,
            entry.content_encoding,
            entry.body,
            await self._count(stored),
        )

    async def between_requests(self, act: Callable[[], None]) -> None:
        """Call `act` at a moment when no request is being mapped."""
        async with self._mapping:
            act()

    def caught_up(self, position: int) -> bool:
        return self.passed(position, self._end)

    def passed(self, position: int, end: int) -> bool:
        """True when no request lies between the two positions."""
        return self._skip(position) >= end

    def release(self, sink: str, position: int) -> None:
        self._passed[sink] = position
        self._let_go()

    def has_read(self, sink: str, position: int) -> None:
        """Memory need not keep what is before `position` for this sink; the spool keeps it until it is released.

        So memory holds what waits for mapping, not what waits in batches for destinations; `pace` knows by that.
        """
        self._read_to[sink] = position
        self._drop_read()

    def _let_go(self) -> None:
        everyone = min(self._passed.values(), default=0)
        self._drop_read()
        while self._records and next(iter(self._records)) < everyone:
            self._records.popitem(last=False)
        self._skips = {start: end for start, end in self._skips.items() if start >= everyone}
        self._release(everyone)

    def _drop_read(self) -> None:
        mapped = (
            max(passed, self._read_to.get(sink, 0))
            for sink, passed in self._passed.items()
            if sink not in self._forwarding
        )
        self.memory.drop_before(min(mapped, default=self._end))

    @property
    def end(self) -> int:
        """The position after the newest committed request."""
        return self._end

    @property
    def furthest_behind(self) -> str:
        """The sink for which the spool keeps most; "" without sinks."""
        return min(self._passed, key=self._passed.__getitem__, default="")

    @property
    def maps(self) -> bool:
        """Whether there is a sink that takes events, not requests as they came."""
        return len(self._forwarding) < len(self._passed)

    def _mapping_sinks(self) -> list[str]:
        return [name for name in self._passed if name not in self._forwarding]

    @property
    def counted(self) -> int:
        """Requests before this position are in the counts."""
        return self._counted

    def add_sink(self, sink: str, *, forwards: bool = False) -> None:
        """From now on the spool waits for this sink too. forwards: it calls `next_request` and never `next`."""
        self._passed[sink] = 0
        self._read_to.pop(sink, None)
        (self._forwarding.add if forwards else self._forwarding.discard)(sink)

    def drop_sink(self, sink: str) -> None:
        """The spool does not wait for this sink any more."""
        del self._passed[sink]
        self._read_to.pop(sink, None)
        self._forwarding.discard(sink)
        self._let_go()

    # -- inside --------------------------------------------------------------------------------------------

    def _skip(self, position: int) -> int:
        while position in self._skips:
            position = self._skips[position]
        return position

    async def _arrived(self, position: int, timeout_s: float) -> bool:
        self._news.clear()
        try:
            async with asyncio.timeout(timeout_s):
                while position >= self._end:
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            return position < self._end
        return True

    async def _map_held(self, position: int, held: Held) -> Unit:
        async with self._mapping:
            if held.unit is None and held.decoded is not None:
                self.memory.is_mapping = True
                try:
                    held.unit = await self._map(
                        position, held.next_position, held.received_unix_ns, held.tenant, held.decoded
                    )
                finally:
                    self.memory.is_mapping = False
                self.memory.mapped(position, held)
        assert held.unit is not None
        return held.unit

    async def _count(self, stored: Stored) -> int:
        records = self._records.get(stored.position)
        if records is not None:
            return records
        try:
            async with self._again:
                return (await self._decode(stored.entry)).accepted
        except Exception:  # accepted by an earlier version, refused by this one: forwarded all the same
            return 1

    async def count_to(self, position: int) -> None:
        """Count what an earlier process mapped and did not come to count, when no sink reads it again."""
        while self._skip(self._counted) < position:
            at = self._counted
            unit = await self._from_spool(self._skip(at))
            if self._counted == at:  # not by another sink meanwhile
                self._counted = position if unit is None else unit.next_position

    async def _from_spool(self, position: int) -> Unit | None:
        async with self._again:
            held = self.memory.at(position)
            if held is not None and held.unit is not None:  # by another sink, meanwhile
                return held.unit
            if self._aside is None:
                return await self._read_again(position)
            try:
                unit = await self._read_again(position)
            except (Exception, asyncio.CancelledError):  # what ends the process leaves its place to be seen
                self._aside.progress.end()
                raise
            self._aside.progress.end()
            if unit is not None and len(self._mapping_sinks()) > 1:  # the others ask for it next
                self.memory.hold_mapped(unit)
            return unit

    async def _read_again(self, position: int) -> Unit | None:
        stored = await self._read(position)
        if stored is None:
            return None
        if self._aside is not None:
            self._aside.progress.begin(stored.position)
        else:
            self.counts.mapped_again += 1
        entry = stored.entry
        try:
            decoded = await self._decode(entry)
        except Exception as error:  # accepted by an earlier version, refused by this one: keep it, go on
            await self.left_out.keep_all(stored.position, error, 1)
            if stored.position >= self._counted:
                self._counted = stored.next_position
                self.counts.taken += 1
                self.counts.failed += 1
            return Unit(stored.position, stored.next_position, entry.received_unix_ns, (), 0, entry.tenant, failed=1)
        left_out = 0
        if self._aside is not None:
            told = self._records.get(stored.position, 0)  # by who acknowledged it
            decoded, left_out = await self.left_out.without_fatal(self._aside, stored, decoded)
            left_out += max(0, told - decoded.accepted - left_out)
        async with self._mapping:
            return await self._map(
                stored.position, stored.next_position, entry.received_unix_ns, entry.tenant, decoded, left_out
            )

    async def _map(
        self,
        position: int,
        next_position: int,
        received_unix_ns: int,
        tenant: str,
        decoded: Decoded,
        left_out: int = 0,
    ) -> Unit:
        """left_out: records of the request that are not in `decoded`, because they cannot be mapped."""
        if self._lent is not None:
            await self._lent.begin(position, again=position < self._counted)
        try:
            steps = self._steps(decoded, received_unix_ns, tenant)
            while True:
                next(steps)
                if self._aside is not None:
                    self._aside.progress.step()
                await asyncio.sleep(0)  # let requests be answered between slices
        except StopIteration as end:
            mapped: Mapped = end.value
            failed = len(mapped.failed)
            if failed:  # fail closed: what could not be masked goes nowhere, and its content is not kept either
                log.error("%d records could not be masked and were left out; the first: %s", failed, mapped.failed[0])
        except Exception as error:  # a fault of the mapper must not hold up everybody else's requests
            rest, bad = await self.left_out.without_failing(position, decoded, received_unix_ns, tenant, error)
            if rest is not None:
                return await self._map(position, next_position, received_unix_ns, tenant, rest, left_out + bad)
            mapped, failed = Mapped([], 0, 0, []), bad
        failed += left_out
        if self._lent is not None:
            await self._lent.end(position, mapped.lent)
        if position >= self._counted:
            self._counted = next_position
            self._first_time(tenant, received_unix_ns)
            self.counts.taken += decoded.accepted + left_out
            self.counts.set_aside += left_out
            self.counts.events += len(mapped.events)
            self.counts.skipped += mapped.skipped
            self.counts.sampled_out += mapped.sampled_out
            self.counts.failed += failed
        return Unit(
            position,
            next_position,
            received_unix_ns,
            mapped.events,
            became(decoded, mapped),
            tenant,
            mapped.skipped,
            mapped.sampled_out,
            failed,
            mapped.dropped,
        )
