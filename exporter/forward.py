"""One sink's way for requests as they were received, so that a team keeps the telemetry it has.

    source -> group (of the wanted signals) -> plan, fsynced -> sink.send, several at once -> done

Unsampled, unmapped and *unmasked* on purpose: body, Content-Type and Content-Encoding leave byte for byte as they came.
Guarantees: every record of the source ends in exactly one outcome of `exporter.totals`, or is still pending. Delivery
is at least once: the group on its way when the process dies is sent again. Order: none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from exporter.again import moved_from_dead
from exporter.attempts import Attempts, give_up
from exporter.delivery import Delivery
from exporter.errors import Refused, TooLarge
from exporter.journal import Journal, Plan
from exporter.refused import RefusedRequests
from exporter.settings import BatchSettings, RetrySettings
from exporter.sink import AnySink
from exporter.source import RawRequest, RawSource
from exporter.totals import Totals

log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A destination's yes. It may be a partial success: OTLP forbids to send what it refused again."""

    refused: int = 0  # records
    reason: str = ""


class RequestSink(AnySink, Protocol):
    """A destination of whole requests. Calls of `send` overlap."""

    signals: Collection[str]  # the others are skipped
    at_once: int  # most calls of `send` at a time
    max_refused_bytes: int  # of refused requests that are kept

    async def send(self, request: RawRequest) -> Taken:
        """Return when the destination has taken the request. Raises as `exporter.sink.Sink.write` does."""
        ...


class RawPipeline(Delivery):
    """Delivers every request of a source to one sink, a group at a time: what lies between two lines of the journal."""

    sink: RequestSink

    def __init__(
        self,
        sink: RequestSink,
        source: RawSource,
        journal: Journal,
        refused: RefusedRequests,
        batch: BatchSettings,
        retry: RetrySettings,
        now_unix_ns: Callable[[], int] = time.time_ns,
        before: Attempts | None = None,
    ) -> None:
        super().__init__(sink, journal, retry, before)
        self._source = source
        self._refused = refused
        self._batch = batch
        self._now_unix_ns = now_unix_ns
        self._gate = asyncio.Semaphore(sink.at_once)
        self._oldest_unix_ns = 0
        self._again: list[tuple[list[dict[str, Any]], asyncio.Future[int]]] = []

    async def run(self) -> None:
        await self._attempts.until_done(self.sink.open, faults=0)
        for plan in list(self._journal.open_plans):
            requests = await self._requests_of(plan)
            found = sum(request.records for request in requests)
            await self._deliver(plan, requests, plan.balance(found))
        self._release()
        try:
            await self._go_on()
        finally:
            for _, done in self._again:
                give_up(done)

    async def _go_on(self) -> None:
        while not self._leaving:
            plan, requests = await self._collect(self._journal.cursor)
            if self._leaving:
                return
            while self._again:
                await self._deliver_again(*self._again.pop(0))
            if plan.end > plan.begin:
                await self._attempts.on_disk(lambda plan=plan: self._journal.plan(plan))  # type: ignore[misc]
                self._release()
                await self._deliver(plan, requests)
            elif self._stopping.is_set() and self._source.caught_up(plan.end):
                return

    @property
    def oldest_unix_ns(self) -> int:
        return self._oldest_unix_ns

    async def deliver_again(self, refused: list[dict[str, Any]]) -> int:
        """Send requests that were refused whole once more; returns how many records were taken this time.

        refused: entries of RefusedRequests. Of those taken in part nobody knows which records are missing.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._again.append(([about for about in refused if about["refused"] >= about["records"]], done))
        return await done

    async def _collect(self, begin: int) -> tuple[Plan, list[RawRequest]]:
        """The requests of a group: until it is full, or old enough."""
        limits = self._batch
        totals, requests = Totals(), list[RawRequest]()
        end, records, size, deadline = begin, 0, 0, 0.0
        while records < limits.max_events and size < limits.max_bytes and not self._leaving:
            left = deadline - time.monotonic() if deadline else min(limits.max_age_s, 0.25)
            if deadline and left <= 0:
                break
            request = await self._source.next_request(end, 0 if self._stopping.is_set() else left)
            if request is None:
                if deadline and not self._stopping.is_set() and not self._again:
                    continue
                break
            if begin < self._journal.mark <= request.position:
                if deadline:
                    break
                begin = request.position  # there was nothing before it any more
            deadline = deadline or time.monotonic() + limits.max_age_s
            end = request.next_position
            records += max(1, request.records)
            totals.add(request.tenant, "received", request.records)
            if request.signal in self.sink.signals:
                requests.append(request)
                size += len(request.body)
            else:
                totals.add(request.tenant, "skipped", request.records)
        rows = sum(request.records for request in requests)
        return Plan(self._journal.next_sequence, begin, end, counts=totals.plain(), rows=rows), requests

    async def _requests_of(self, plan: Plan) -> list[RawRequest]:
        """The requests of a group that an earlier process had planned."""
        requests, position = [], plan.begin
        while position < plan.end:
            request = await self._source.next_request(position, 0)
            if request is None or request.position >= plan.end:
                break
            position = request.next_position
            if request.signal in self.sink.signals:
                requests.append(request)
        return requests

    async def _deliver(self, plan: Plan, requests: list[RawRequest], ended: Totals | None = None) -> None:
        ended = ended or Totals()
        self._oldest_unix_ns = requests[0].received_unix_ns if requests else 0
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(self._send(request, ended))
        last = self._source.caught_up(plan.end)
        await self._attempts.on_disk(lambda: self._journal.done(plan.sequence, ended.plain(), sync=last))
        self.counts.batches += 1
        self._oldest_unix_ns = 0
        self._release()

    async def _send(self, request: RawRequest, ended: Totals) -> None:
        """Deliver a request, whatever it takes; one that can never be delivered is kept with the reason."""
        async with self._gate:
            try:
                taken = await self._attempts.until_done(lambda: self.sink.send(request))
            except (TooLarge, Refused) as error:
                taken = Taken(request.records, str(error))
                await self._set_aside(request, taken)
                self._attempts.told.refused(taken.reason, request.records)
            else:
                self.counts.last_delivery_unix_ns = self._now_unix_ns()
                if taken.refused:
                    await self._set_aside(request, taken)
                    self._attempts.told.refused(taken.reason, taken.refused)
        refused = min(taken.refused, request.records)
        ended.add(request.tenant, "delivered", request.records - refused)
        ended.add(request.tenant, "dead_lettered", refused)

    async def _deliver_again(self, refused: list[dict[str, Any]], done: asyncio.Future[int]) -> None:
        taken = 0
        try:
            for about in refused:
                with contextlib.suppress(OSError, TooLarge, Refused):  # gone meanwhile, or refused again: it stays
                    taken += await self._send_again(about)
        except BaseException:
            give_up(done)
            raise
        if not done.done():
            done.set_result(taken)

    async def _send_again(self, about: dict[str, Any]) -> int:
        """Records of one request that were taken this time; it is sent, counted, removed, in this order."""
        token = f"{about['id']} {about['dead_lettered_unix_ns']}"
        taken = 0
        if self._journal.again != token:  # else an earlier process did not come to remove it
            request = await asyncio.to_thread(self._refused.request, about)
            answer = await self._attempts.until_done(lambda: self.sink.send(request))
            if answer.refused:
                return 0
            taken = request.records
            ended = Totals({request.tenant: {"delivered": taken}})
            moved = moved_from_dead(self._journal.totals, ended)
            await self._attempts.on_disk(lambda: self._journal.adjust(moved, token))
        await asyncio.to_thread(self._refused.remove, about)
        return taken

    async def _set_aside(self, request: RawRequest, taken: Taken) -> None:
        def write() -> None:
            self._refused.add(self.sink.name, taken.reason, request, taken.refused, self.sink.max_refused_bytes)

        await self._attempts.on_disk(write)

    def _release(self) -> None:
        self._source.release(self.sink.name, self._journal.released())
