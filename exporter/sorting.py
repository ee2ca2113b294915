"""What becomes of each event on its way into a batch: it is taken, a copy, told twice, or it waits.

A call that a log tells of waits for the span of the same call. Where a sink is given entries only, a call whose
ancestors may be in later requests waits for them (exporter.ancestry).
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from operator import attrgetter

from exporter.ancestry import Ancestry, is_open
from exporter.draft import Chunk, Draft
from exporter.duplicates import Horizon, RecentIds
from exporter.journal import Ref, event_key
from exporter.replay import SLICE, Replay, is_dropped
from exporter.same_call import STATUS_FROM_LOG, RememberedCalls, call_of, status_to_take, with_status
from exporter.source import Unit
from exporter.span_wait import MOST_WAITING, SpanWait, waits
from mapping.event import API_CALL, Event

# Open calls of one trace that are looked at again when more of it comes; the others when their time is over.
MOST_LOOKED_AT = 32

_transaction_id, _trace_id = attrgetter("transaction_id"), attrgetter("trace_id")


class Sorter:
    """One per pipeline. Calls that sampling dropped go the same way, where the sink counts them: each once."""

    def __init__(
        self, recent: RecentIds, replay: Replay, span_wait_s: float, entry_wait_s: float | None, *, counts: bool = False
    ) -> None:
        """entry_wait_s: how long calls wait for what is above them; None: this sink gets every hop.

        counts: this sink counts what sampling dropped.
        """
        self._counts = counts
        self._recent = recent
        self._replay = replay
        self._lines = SpanWait(span_wait_s)
        self._calls = RememberedCalls(span_wait_s)
        self._told: OrderedDict[str, None] = OrderedDict()  # transaction ids of lines that spans have told of, in order
        self._open = SpanWait(entry_wait_s or 0.0)
        self._ancestry = Ancestry() if entry_wait_s is not None else None

    @property
    def waiting(self) -> int:
        return len(self._lines) + len(self._open)

    def hold(self, ref: Ref, event: Event) -> None:
        """This call waited when the process before ended."""
        if self._ancestry is not None:
            self._ancestry.note((event,))
        (self._lines if event.source == "log" else self._open).hold(ref, event)

    def note_again(self, events: Sequence[Event]) -> None:
        """These came before the process ended: calls that wait may be below them."""
        if self._ancestry is not None:
            self._ancestry.note(events)

    async def take(self, draft: Draft, unit: Unit) -> None:
        """Sort one record's events into the draft."""
        dropped = (unit.dropped or ()) if self._counts else ()
        events = [*unit.events, *dropped] if dropped else unit.events
        came = Horizon()
        came.note(events)
        draft.came.merge(came)
        self._recent.note(came)
        if self._ancestry is not None:
            self._ancestry.note(events)
        transaction_ids = list(map(_transaction_id, events))
        is_log = bool(events) and events[0].source == "log"  # a request is all spans or all logs
        if (
            self._lines.none_of(map(_trace_id, events))
            and not (is_log and any(map(waits, events)))
            and self._ancestry is None
            and self._recent.all_new(transaction_ids)
        ):
            draft.take(Chunk(unit.position, unit.events))
            draft.take_dropped(dropped)
        else:
            await self._pick(draft, unit, events)
        self._calls.note(events, unit.received_unix_ns)
        tenant, totals = unit.tenant, draft.totals
        totals.add(tenant, "received", len(unit.events) + unit.skipped + unit.sampled_out + unit.failed + unit.routed)
        totals.add(tenant, "skipped", unit.skipped)
        totals.add(tenant, "sampled_out", unit.sampled_out - len(dropped))
        totals.add(tenant, "failed", unit.failed)
        totals.add(tenant, "routed", unit.routed)

    async def _pick(self, draft: Draft, unit: Unit, events: Sequence[Event]) -> None:
        """As `take`, one event after the other: some are copies, wait, or are what others wait for."""
        kept: list[Event] = []
        ended: Counter[str] = Counter()
        for place, event in enumerate(events):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if waits(event):
                self._take_line(draft, unit.position, event, ended)
            elif self._recent.seen(event.transaction_id) or event.transaction_id in self._open:
                draft.drop.append((unit.position, event_key(event.transaction_id)))
                ended["deduplicated"] += 1
            else:
                self._take_other(draft, unit.position, event, kept, ended)
        self._take(draft, unit.position, kept)
        draft.totals.add(unit.tenant, "deduplicated", ended["deduplicated"])
        draft.totals.add(unit.tenant, "skipped", ended["skipped"])
        if self._ancestry is not None and not self._open.none_of(map(_trace_id, events)):
            for trace_id in dict.fromkeys(map(_trace_id, events)):
                self._look_again(draft, trace_id, self._ancestry)

    def _take(self, draft: Draft, position: int, events: Sequence[Event]) -> None:
        """Rows of the batch, and calls that are only counted."""
        dropped = [event for event in events if is_dropped(event)]
        if not dropped:
            draft.take(Chunk(position, events))
        else:
            draft.take(Chunk(position, [event for event in events if not is_dropped(event)]))
            draft.take_dropped(dropped)

    def _take_line(self, draft: Draft, position: int, line: Event, ended: Counter[str]) -> None:
        """A call that a log tells of: a span has told of it, or it waits for one."""
        transaction_id = line.transaction_id
        ref = position, event_key(transaction_id)
        if transaction_id in self._recent:
            self._calls.taken(transaction_id)
        elif transaction_id in self._lines or transaction_id in self._told:
            pass
        elif self._calls.take(call_of(line)) is not None:
            self._remember_told(transaction_id)
        else:
            draft.defer[ref] = None
            self._lines.hold(ref, line)
            return
        draft.drop.append(ref)
        ended["deduplicated"] += 1

    def _take_other(self, draft: Draft, position: int, event: Event, kept: list[Event], ended: Counter[str]) -> None:
        """Anything but a line, the first of its id."""
        transaction_id = event.transaction_id
        ref = position, event_key(transaction_id)
        told = transaction_id if transaction_id in self._lines else None
        if told is None and len(self._lines) and event.event_type == API_CALL and event.trace_id:
            told = self._lines.same_call(event)
        if told is not None:
            line = self._lines.pop(told)
            draft.not_needed(line.ref, line.tenant)
            self._calls.taken(transaction_id)
            if told != transaction_id:
                self._remember_told(told)
            if status := status_to_take(line.call.status, event):
                event = with_status(event, status)
                draft.statuses[ref] = status
        if self._ancestry is None or not is_open(event):
            kept.append(event)
        elif self._ancestry.is_inner(event):
            draft.drop.append(ref)
            ended["skipped"] += 1
        else:
            draft.defer[ref] = None
            self._open.hold(ref, event)

    def _look_again(self, draft: Draft, trace_id: str, ancestry: Ancestry) -> None:
        """More of a trace has come: calls that wait may be known to be inner hops now."""
        for transaction_id, (ref, _, tenant, _, call) in self._open.of_trace(trace_id, MOST_LOOKED_AT):
            if ancestry.is_inner(call):
                self._open.pop(transaction_id)
                draft.not_needed(ref, tenant, "skipped")

    async def let_go(self, draft: Draft, watermark_unix_ns: int, room: int) -> None:
        """Calls that waited for their time count for themselves, `room` at most."""
        due = [(waited, True) for waited in self._lines.due(watermark_unix_ns, room)]
        due += [(waited, False) for waited in self._open.due(watermark_unix_ns, room - len(due))]
        for place, ((transaction_id, (ref, held, tenant, _, call)), is_line) in enumerate(due):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            event = held or await self._replay.event_at(ref)
            if event is None:
                draft.not_needed(ref, tenant, "failed")
                continue
            if self._recent.seen(transaction_id) and is_line:  # of others it is remembered since they came
                draft.not_needed(ref, tenant)
                continue
            if self._ancestry is not None and is_open(event) and self._ancestry.is_inner(call, is_due=True):
                draft.not_needed(ref, tenant, "skipped")
                continue
            if self._ancestry is not None:
                self._ancestry.sent(event)
            if ref in draft.defer:  # replayed long after it was received: no need to defer it at all
                del draft.defer[ref]
            else:
                draft.add[ref] = None
            if STATUS_FROM_LOG in event.flags:
                draft.statuses[ref] = event.status
            self._take(draft, ref[0], (event,))

    def _remember_told(self, transaction_id: str) -> None:
        self._told[transaction_id] = None
        if len(self._told) > MOST_WAITING:
            self._told.popitem(last=False)
