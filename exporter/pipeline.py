"""One sink's way from mapped requests to delivered batches.

    source -> draft (duplicates out, log-derived calls wait for their span) -> plan, fsynced -> sink.write -> done

Guarantees: every record of the source ends in exactly one outcome of `exporter.totals`, or is still pending; a batch
that was planned is repeated with the same rows and the same id until the sink has it, also by the next process.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from exporter.again import Again
from exporter.attempts import Attempts, give_up
from exporter.deadletter import DeadLetters, Letter
from exporter.delivery import Delivery
from exporter.draft import Draft
from exporter.duplicates import RecentIds
from exporter.erasures import Erasures
from exporter.errors import Refused, Retryable, TooLarge
from exporter.journal import Journal, Plan
from exporter.replay import SLICE, Replay, Rows
from exporter.settings import BatchSettings, RetrySettings
from exporter.sink import Batch, Calls, Sink
from exporter.sorting import Sorter
from exporter.source import Source, Unit
from exporter.totals import Counts, Totals
from exporter.writer import Writer
from mapping.event import Event

log = logging.getLogger(__name__)


class Pipeline(Delivery):
    """Delivers everything of a source to one sink, in order, one batch at a time, the next one filled meanwhile."""

    sink: Sink

    def __init__(
        self,
        sink: Sink,
        source: Source,
        journal: Journal,
        dead_letters: DeadLetters,
        batch: BatchSettings,
        retry: RetrySettings,
        now_unix_ns: Callable[[], int] = time.time_ns,
        before: Attempts | None = None,
        erasures: Erasures | None = None,
    ) -> None:
        super().__init__(sink, journal, retry, before)
        self._source = source
        self._writer = Writer(sink, self._attempts, dead_letters, retry.max_interval_s, now_unix_ns, erasures)
        self._batch = batch
        self._now_unix_ns = now_unix_ns
        self._recent = RecentIds(batch.remember_events, now_unix_ns(), journal.came)
        self._replay = Replay(source, sink.name, counts=sink.counts_calls)
        self._sorter = Sorter(
            self._recent, self._replay, batch.span_wait_s, sink.entry_wait_s, counts=sink.counts_calls
        )
        self._watermark_unix_ns = 0  # received time of the newest record taken
        # Receive times of the oldest request in the batch under way, and in the one being filled; 0: there is none.
        self._oldest_unix_ns, self._oldest_drafted_unix_ns = 0, 0
        self._changes: list[tuple[Counts, asyncio.Future[int]]] = []  # of the books
        self._again: list[tuple[Sequence[Letter], asyncio.Future[int]]] = []
        self._resend = Again(
            journal.path.with_suffix(".again"),
            journal,
            dead_letters,
            self._writer,
            self._attempts,
            self._existing,
            self._day_or_none,
        )

    async def run(self) -> None:
        await self._open()
        cursor = await self._recover()
        delivery: asyncio.Task[None] | None = None
        try:
            while True:
                draft = await self._collect(cursor, delivery)
                cursor = draft.end
                if delivery:
                    await delivery
                    delivery = None
                if self._leaving:  # the draft is in no plan: the next pipeline reads it again
                    return
                while self._changes:
                    await self._change_books(*self._changes.pop(0))
                while self._again:
                    await self._deliver_again(*self._again.pop(0))
                if not draft.empty:
                    await self._drop_known(draft)
                    plan = await self._plan(draft)
                    self._oldest_unix_ns, self._oldest_drafted_unix_ns = draft.oldest_unix_ns, 0
                    rows = Rows(draft.events(), draft.dropped, bool(draft.whole))
                    delivery = asyncio.create_task(self._deliver(plan, rows))
                elif self._stopping.is_set() and self._source.caught_up(cursor):
                    return
        finally:
            if delivery and not delivery.done():
                delivery.cancel()
                await asyncio.gather(delivery, return_exceptions=True)
            for _, done in (*self._again, *self._changes):
                give_up(done)
            self._attempts.told.tell_refused(now=True)

    def close(self) -> None:
        super().close()
        self._writer.close()

    @property
    def oldest_unix_ns(self) -> int:
        return self._oldest_unix_ns or self._oldest_drafted_unix_ns

    async def deliver_again(self, letters: Sequence[Letter]) -> int:
        """Send dead letters once more, between two batches; returns how many the destination took this time.

        Those that it refuses again become dead letters again. Raises Retryable when the pipeline ends before.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._again.append((letters, done))
        return await done

    async def change_books(self, counts: Counts) -> None:
        """Add to the totals, between two batches: records that had ended come from the spool again."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._changes.append((counts, done))
        await done

    async def _change_books(self, counts: Counts, done: asyncio.Future[int]) -> None:
        try:
            await self._attempts.on_disk(lambda: self._journal.adjust(counts, self._journal.again))
        except BaseException:
            give_up(done)
            raise
        if not done.done():
            done.set_result(0)

    # -- start ---------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        await self._attempts.until_done(self.sink.open, faults=0)

    async def _recover(self) -> int:
        """Finish what an earlier process had planned; returns where to go on."""
        journal = self._journal
        await self._resend.finish()
        for plan in list(journal.open_plans):
            rows = await self._replay.rows_of(plan)
            self._oldest_unix_ns = self._replay.oldest_unix_ns
            ended = plan.balance(len(rows.events))
            rows = rows._replace(events=await self._compare_again(plan, rows.events, ended))
            await self._deliver(plan, rows, in_doubt=True, ended=ended)
        lost = []
        for place, ref in enumerate(list(journal.waiting)):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            event = await self._replay.event_at(ref)
            if event is not None:
                self._sorter.hold(ref, event)
            else:
                lost.append(ref)
        if lost:  # else they would hold the spool for ever
            failed = {self._pending_tenant(): {"failed": len(lost)}}
            cursor = journal.cursor
            plan = Plan(journal.next_sequence, cursor, cursor, gone=frozenset(lost), counts=failed)
            await self._attempts.on_disk(lambda: journal.plan(plan))
            await self._attempts.on_disk(lambda: journal.done(plan.sequence, {}, sync=True))
        if self.sink.entry_wait_s is not None:
            await self._note_again()
        self._release()
        return journal.cursor

    async def _note_again(self) -> None:
        """Look at what came since the oldest waiting call: it may be above calls, and is still in the spool."""
        position, last = self._journal.low_water(), self._journal.cursor
        while position < last and (unit := await self._source.next(position, 0)) is not None:
            if unit.position >= last:
                return
            self._sorter.note_again(unit.events)
            position = unit.next_position
            await asyncio.sleep(0)

    def _pending_tenant(self) -> str:
        """A tenant whose calls wait for their span."""
        totals = self.totals
        return max(
            totals.tenants(), key=lambda tenant: totals.get("received", tenant) - totals.ended(tenant), default=""
        )

    async def _compare_again(self, plan: Plan, events: list[Event], ended: Totals) -> list[Event]:
        """The rows without those that the destination has from other batches.

        Nearly always all of them. But other rates than when the batch was planned, a budget's or new settings', let
        events through that nobody has compared with others yet.
        """
        rows: dict[str, Event] = {}
        for event in events:
            known = rows.get(event.transaction_id)
            if known is None or known.source == "log":
                rows[event.transaction_id] = event
        batches = [calls.batch_id for calls in self._batches(plan, Rows(events, [], False))]
        stored = await self._existing(list(rows.values()), batches)
        kept = [event for transaction_id, event in rows.items() if transaction_id not in stored]
        ended.add_events("deduplicated", events)
        for tenant, count in Counter(event.tenant for event in kept).items():
            ended.add(tenant, "deduplicated", -count)
        return kept

    # -- filling a batch -----------------------------------------------------------------------------------

    async def _collect(self, cursor: int, delivery: asyncio.Task[None] | None) -> Draft:
        """Take records until the batch is full, or old enough and the sink is free."""
        draft = Draft(cursor, cursor)
        limits = self._batch
        while draft.rows < limits.max_events and draft.size < limits.max_bytes and not self._leaving:
            unit = await self._source.next(draft.end, self._patience_s(draft, delivery))
            if unit is not None:
                if self._is_counted_otherwise(draft, unit):
                    break
                if draft.begin < self._journal.mark <= unit.position:
                    if draft.opened:
                        break
                    draft.begin = unit.position  # there was nothing before it any more
                await self._take(draft, unit)
                self._source.has_read(self.sink.name, draft.end)
                if self._is_aged(draft) and (delivery is None or delivery.done()):
                    break
                continue
            self._watermark_unix_ns = max(self._watermark_unix_ns, self._now_unix_ns())
            self._attempts.told.tell_refused()
            await self._let_go(draft)
            if self._stopping.is_set() or self._again or self._changes:
                break
            if (self._is_aged(draft) or draft.add or draft.gone) and (delivery is None or delivery.done()):
                break
        await self._let_go(draft)
        return draft

    def _is_counted_otherwise(self, draft: Draft, unit: Unit) -> bool:
        """Whether the setting of what is counted has changed between the batch so far and this: no batch has both."""
        whole, before = unit.dropped is not None, draft.whole
        draft.whole = whole if before is None else before
        return whole is not draft.whole

    def _is_aged(self, draft: Draft) -> bool:
        return bool(draft.opened) and time.monotonic() - draft.opened >= self._batch.max_age_s

    def _patience_s(self, draft: Draft, delivery: asyncio.Task[None] | None) -> float:
        """How long to wait for the next record before looking at the clock again."""
        if self._stopping.is_set():
            return 0.0
        longest = 0.25 if delivery or self._sorter.waiting else self._batch.max_age_s
        if not draft.opened:
            return min(longest, 0.25)
        return min(longest, max(0.0, draft.opened + self._batch.max_age_s - time.monotonic()) or 0.02)

    async def _take(self, draft: Draft, unit: Unit) -> None:
        """Sort one record's events into the draft."""
        await self._sorter.take(draft, unit)
        draft.end = unit.next_position
        draft.size += unit.size
        if not draft.opened:
            draft.opened, draft.oldest_unix_ns = time.monotonic(), unit.received_unix_ns
            self._oldest_drafted_unix_ns = unit.received_unix_ns
        self._watermark_unix_ns = max(self._watermark_unix_ns, unit.received_unix_ns)

    async def _let_go(self, draft: Draft) -> None:
        await self._sorter.let_go(draft, self._watermark_unix_ns, self._batch.max_events - draft.rows)

    async def _drop_known(self, draft: Draft) -> None:
        """Ask the destination about events that may have come before our memory of ids, or to another bridge."""
        before = self._recent.before
        if self.sink.shared:
            old = draft.events()
        else:
            old = [event for chunk in draft.chunks for event in before.among(chunk.events)]
        old += before.as_first_came(old)
        self._recent.turn()
        if old and (known := await self._existing(old, ())):
            draft.leave_out(known)

    async def _existing(self, events: list[Event], not_in: Collection[int]) -> set[str]:
        """Which of these the destination has. An event that it cannot be asked about is one that it does not have."""
        try:
            return await self._attempts.until_done(lambda: self.sink.existing(events, not_in))
        except (TooLarge, Refused):
            if len(events) < 2:
                return set()
            half = len(events) // 2
            return await self._existing(events[:half], not_in) | await self._existing(events[half:], not_in)

    # -- delivery ------------------------------------------------------------------------------------------

    async def _plan(self, draft: Draft) -> Plan:
        plan = draft.plan(self._journal.next_sequence)
        await self._attempts.on_disk(lambda: self._journal.plan(plan))
        self._release()
        return plan

    async def _deliver(self, plan: Plan, rows: Rows, *, in_doubt: bool = False, ended: Totals | None = None) -> None:
        ended = ended or Totals()
        for calls in self._batches(plan, rows):
            if calls.events:
                batch = Batch(calls.batch_id, calls.events)
                await self._writer.write(batch, ended, (plan.begin, plan.end), in_doubt=in_doubt)
            if self.sink.counts_calls:
                await self._writer.count(calls, in_doubt=in_doubt)
        last = self._source.caught_up(plan.end)
        await self._attempts.on_disk(lambda: self._journal.done(plan.sequence, ended.plain(), sync=last))
        self._oldest_unix_ns = 0
        self._release()

    async def _deliver_again(self, letters: Sequence[Letter], done: asyncio.Future[int]) -> None:
        try:
            taken = await self._resend.send(letters)
        except Retryable as error:  # it did not begin
            if not done.done():
                done.set_exception(error)
            return
        except BaseException:
            give_up(done)
            raise
        if not done.done():
            done.set_result(taken)

    def _batches(self, plan: Plan, rows: Rows) -> list[Calls]:
        """The rows of each batch, and the calls that are counted with it; some have only one of the two."""
        events, dropped, whole = rows
        if not events and not dropped:
            return []
        if not self.sink.day_partitions:
            return [Calls(self._batch_id(plan, 0), events, dropped, whole)]
        days: dict[int, tuple[list[Event], list[Event]]] = {}
        for place, some in enumerate((events, dropped)):
            for event in some:
                days.setdefault(self._day_or_none(event), ([], []))[place].append(event)
        return [Calls(self._batch_id(plan, day), *of_day, whole) for day, of_day in sorted(days.items())]

    def _day_or_none(self, event: Event) -> int:
        """The sink's day of an event; 0 where it has none, or cannot have one: the sink finds that out too."""
        try:
            return self.sink.day_of(event) if self.sink.day_partitions else 0
        except Exception:
            return 0

    def _batch_id(self, plan: Plan, day: int) -> int:
        text = f"{self._journal.journal_id}/{plan.sequence}/{day}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")

    def _release(self) -> None:
        self._source.release(self.sink.name, self._journal.released())
