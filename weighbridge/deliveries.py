"""The sinks of a running bridge: each has a journal, a pipeline and a task, begun, changed and ended on its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from exporter.attempts import Attempts
from exporter.deadletter import DeadLetters
from exporter.delivery import Delivery
from exporter.erasures import Erasures
from exporter.forward import RawPipeline
from exporter.journal import Journal, JournalError
from exporter.pipeline import Pipeline
from exporter.refused import RefusedRequests
from exporter.routed import RoutedSource
from exporter.settings import BatchSettings, RetrySettings, SinkSettings
from exporter.sinks import module_of
from exporter.source import HoldingSource, Source
from receiver.spool.watching import Readable
from weighbridge.feed import Feed
from weighbridge.giving_up import LEFT, give_up_oldest
from weighbridge.partitions import root_of
from weighbridge.routing import Route, compile_route, route_of
from weighbridge.settings import ExporterSettings
from weighbridge.tasks import Tasks

log = logging.getLogger(__name__)

# SIGTERM is answered within the sum of these whatever the sinks do; container runtimes kill after 10.
DRAIN_S = 8.0
CLOSE_S = 1.0
# A sink whose settings change may finish the batch under way for so long; then the batch is in doubt, as after a kill.
LEAVE_S = 2.0
# First pause before a pipeline that failed unexpectedly begins again.
RESTART_S = 5.0

SET_ASIDE_LOOK_S = 0.2  # whether a sink that is set aside may go on


class Wanted(NamedTuple):
    """All settings that one sink depends on."""

    sink: SinkSettings
    batch: BatchSettings
    retry: RetrySettings
    route: Route  # which events are for it


class Deliveries:
    """One task per sink. `pipelines` has what each is doing, by the sink's name."""

    def __init__(
        self,
        directory: Path,
        feed: Feed,
        spool: Readable,
        dead_letters: DeadLetters,
        holding: Callable[[str, Path], HoldingSource] | None = None,
        tasks: Tasks | None = None,
        make: Callable[[SinkSettings], Any] | None = None,
        set_aside: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """holding: makes what holds a sink's events until they are decided, from its name and a file; None: nothing.

        make: makes a sink of its settings; raises ValueError. set_aside: sinks that stand still until they are taken
        out of it, and why.
        """
        self.set_aside = dict(set_aside)
        self._make = make or make_sink
        self.pipelines: dict[str, Delivery] = {}
        self.refused_requests = RefusedRequests(directory / "refused")
        self._journals = directory / "sinks"
        self._feed = feed
        self._spool = spool
        self._dead_letters = dead_letters
        self._holding = holding
        self._deciding: dict[str, HoldingSource] = {}
        self._wanted: dict[str, Wanted] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._since: dict[str, tuple[int, Counter[str]]] = {}  # spool position and feed.stored when the sink came
        self._beside = tasks or Tasks()
        self._attempts: dict[str, Attempts] = {}  # of every sink that there was, so that its counters only grow
        self._changing = asyncio.Lock()
        self._stopping = False

    async def start(self, settings: ExporterSettings) -> None:
        """Begin with every sink. Raises JournalError or OSError when one's journal cannot be used."""
        await self.change(settings)
        for path in sorted(self._journals.glob("*.journal")):
            if path.stem not in self._wanted:
                self._tell_of_removed(path.stem)

    async def check(self, settings: ExporterSettings) -> None:
        """Whether `change` could do it now. Raises as that; nothing is changed in either case."""
        async with self._changing:
            made, opened = await self._opened(_wanted(settings))
            for journal, is_begun in opened.values():
                _undone(journal, is_begun)
            await _close_unused(made.values())

    async def change(self, settings: ExporterSettings) -> list[str]:
        """Make the sinks those of the settings; one that stays as it was notices nothing. Returns what was done.

        Raises ValueError when a sink cannot be made, JournalError or OSError when the journal of a new one cannot be
        used; then nothing has been changed. All that is new is open before anything old is let go.
        """
        async with self._changing:
            return await self._change(settings)

    async def _change(self, settings: ExporterSettings) -> list[str]:
        wanted = _wanted(settings)
        made, opened = await self._opened(wanted)
        for name, (_, is_begun) in opened.items():
            if is_begun:
                log.info("sink %s is new: it begins with the oldest request in the spool", name)
        for name in opened:  # from here on the spool waits for these, too
            self._since[name] = (self._feed.end, self._feed.stored.copy())
            self._feed.add_sink(name, forwards=wanted[name].sink.forwards_requests)
        done = []
        for name in [name for name in self._wanted if name not in wanted]:
            await self._end(name)
            del self._wanted[name], self._since[name], self.pipelines[name]
            self._feed.drop_sink(name)
            self._tell_of_removed(name)
            done.append(f"sink {name} removed")
        for name, sink in made.items():
            known = name in self._wanted
            if known:
                await self._end(name)
            self._wanted[name] = wanted[name]
            if known:
                self._feed.add_sink(name, forwards=wanted[name].sink.forwards_requests)
            self._begin(name, sink, opened[name][0] if name in opened else None)
            done.append(f"sink {name} {'changed' if known else 'added'}")
        return done

    async def stop(self) -> list[str]:
        """Deliver what is committed within DRAIN_S; the spool keeps the rest. Returns the sinks that hang.

        A thread of theirs waits for a destination that says nothing, perhaps for minutes. The process shall end without
        them: what they were sending is then in doubt, as after a kill.
        """
        deadline = time.monotonic() + DRAIN_S + CLOSE_S
        self._stopping = True
        for source in self._deciding.values():
            source.drain()
        for pipeline in self.pipelines.values():
            pipeline.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=DRAIN_S)
            for task in late:
                log.warning("%s is not drained: the rest stays in the spool", task.get_name())
                task.cancel()
        ends = {name: asyncio.create_task(self._close(name)) for name in self.pipelines}
        if ends:
            await asyncio.wait(ends.values(), timeout=max(CLOSE_S, deadline - time.monotonic()))
        hanging = [name for name, end in ends.items() if not end.done()]
        for name in hanging:
            log.warning("sink %s hangs in a call: what it was sending is in doubt, as after a kill", name)
        return hanging

    async def _close(self, name: str) -> None:
        """End a sink that is not fed any more."""
        if task := self._tasks.get(name):
            await asyncio.gather(task, return_exceptions=True)
        pipeline = self.pipelines[name]
        # Its connection goes with the process; the other sinks are to end, and to change, all the same.
        await self._beside.closed(f"closing of sink {name}", pipeline.sink.close())
        pipeline.close()

    async def keep_bounds(self) -> None:
        """Give up what waits beyond a sink's `backlog_bytes`. Raises JournalError."""
        for name in list(self._wanted):
            bound = self._wanted[name].sink.backlog_bytes
            if bound is None or self._spool.bytes_from(self.pipelines[name].cursor) <= bound:
                continue
            async with self._changing:
                if name in self._wanted and not self._stopping:
                    await self._give_up_oldest(name, int(bound * LEFT))

    async def _give_up_oldest(self, name: str, left: int) -> None:
        before = self.pipelines[name]
        await self._end(name)
        journal = Journal(self._journals / f"{name}.journal", self._since[name][0])
        dropped = 0
        try:
            journal.open(self._spool.start_position)
            journal.at_mark = before.journal.at_mark
            dropped = await give_up_oldest(
                journal, self._feed, lambda position: self._spool.bytes_from(position) <= left
            )
            await self._feed.count_to(journal.cursor)
            self._feed.release(name, journal.released())
        finally:
            journal.close()
            before.journal.at_mark = journal.at_mark
            log.error("sink %s: %d records waited beyond its backlog_bytes and are given up for it", name, dropped)
            if not self._stopping:
                self._begin(name, self._make(self._wanted[name].sink), None)

    def stored_before(self, name: str, tenant: str) -> int:
        """Records that this process had stored before the sink came."""
        return self._since[name][1][tenant]

    # -- one sink ------------------------------------------------------------------------------------------

    async def _opened(self, wanted: dict[str, Wanted]) -> tuple[dict[str, Any], dict[str, tuple[Journal, bool]]]:
        """Sinks that are new or change, and the journals of those that are new, with whether they were begun now.

        Raises ValueError, JournalError or OSError; then none is open, and none has been begun.
        """
        made: dict[str, Any] = {}
        opened: dict[str, tuple[Journal, bool]] = {}
        try:
            for name, one in wanted.items():
                if one != self._wanted.get(name):
                    made[name] = self._make(one.sink)
            for name in made:
                if name not in self._wanted:
                    journal = Journal(self._journals / f"{name}.journal", self._feed.end)
                    opened[name] = journal, not journal.path.exists()
                    journal.open(self._spool.start_position)
        except (ValueError, JournalError, OSError):
            for journal, is_begun in opened.values():
                _undone(journal, is_begun)
            await _close_unused(made.values())
            raise
        return made, opened

    def _begin(self, name: str, sink: Any, journal: Journal | None) -> None:
        """journal: open already; None: of a sink that was there before."""
        pipeline: Delivery | None
        try:
            pipeline = self._open(name, sink, journal)
        except (JournalError, OSError) as error:
            log.error("sink %s cannot go on yet: %s", name, error)
            pipeline = None
        self._tasks[name] = self._run(name, pipeline)

    async def _end(self, name: str) -> None:
        """Stop after the batch under way; what is left stays in the spool."""
        task = self._tasks[name]
        self.pipelines[name].leave()
        if deciding := self._deciding.pop(name, None):
            deciding.leave()
        await asyncio.wait([task], timeout=LEAVE_S)
        task.cancel()
        end = asyncio.create_task(self._close(name))
        if not (await asyncio.wait([end], timeout=LEAVE_S))[0]:
            # Two connections must not write the same batch.
            log.warning("sink %s waits for an answer: it changes when that has come, or its timeout is over", name)
        await end
        del self._tasks[name]

    def _open(self, name: str, sink: Any, journal: Journal | None = None) -> Delivery:
        """A pipeline that goes on where the journal says."""
        wanted = self._wanted[name]
        if journal is None:
            journal = Journal(self._journals / f"{name}.journal", self._since[name][0])
            journal.open(self._spool.start_position)
        if before := self.pipelines.get(name):
            journal.at_mark = before.journal.at_mark
        attempts = self._attempts.get(name)
        pipeline: Delivery
        if wanted.sink.forwards_requests:
            pipeline = RawPipeline(
                sink, self._feed, journal, self.refused_requests, wanted.batch, wanted.retry, before=attempts
            )
            self._feed.release(name, journal.released())
        else:
            source: Source = self._feed
            if self._holding is not None:
                source = deciding = self._deciding[name] = self._holding(name, self._journals / f"{name}.place")
                if self._stopping:
                    deciding.drain()
            if takes := compile_route(wanted.route):
                source = RoutedSource(source, takes)
            pipeline = Pipeline(
                sink,
                source,
                journal,
                self._dead_letters,
                wanted.batch,
                wanted.retry,
                before=attempts,
                erasures=Erasures(root_of(self._journals.parent), self._journals / f"{name}.writing"),
            )
            source.release(name, journal.released())  # what it has need not stay until it is there again
        self.pipelines[name], self._attempts[name] = pipeline, pipeline.attempts
        return pipeline

    def _run(self, name: str, pipeline: Delivery | None) -> asyncio.Task[None]:
        """Run a sink's pipeline; after a fault of ours begin again from its journal, as a restart would."""
        first = [pipeline]

        async def life() -> None:
            running = first.pop() if first else None
            if running is None:
                running = self._open(name, self._make(self._wanted[name].sink))
                if self._stopping:
                    running.stop()
            try:
                await self._given_leave(name)
                if not (self._stopping and name in self.set_aside):
                    await running.run()
            except Exception:
                await self._beside.closed(f"closing of sink {name}", running.sink.close())
                running.close()
                raise

        return self._beside.keep(f"sink {name}", life, RESTART_S)

    async def _given_leave(self, name: str) -> None:
        """Return when a sink is not set aside, or all is to end."""
        while (why := self.set_aside.get(name)) and not self._stopping:
            self._beside.down[f"sink {name}"] = why
            await asyncio.sleep(SET_ASIDE_LOOK_S)
        self._beside.down.pop(f"sink {name}", None)

    def _tell_of_removed(self, name: str) -> None:
        log.warning(
            "sink %s is not in the settings any more: the spool does not wait for it; its place is kept in %s",
            name,
            self._journals / f"{name}.journal",
        )


def _wanted(settings: ExporterSettings) -> dict[str, Wanted]:
    return {
        sink.name: Wanted(
            sink,
            sink.batch or settings.batch,
            sink.retry or settings.retry,
            route_of(settings.sinks, sink),
        )
        for sink in settings.sinks
    }


def _undone(journal: Journal, is_begun: bool) -> None:
    """Close it, and let go of one that was begun: else the next try would go on where this one stood."""
    journal.close()
    if is_begun:
        with contextlib.suppress(OSError):
            journal.path.unlink(missing_ok=True)


async def _close_unused(sinks: Iterable[Any]) -> None:
    """Let go of sinks that were made and never opened."""
    for sink in sinks:
        with contextlib.suppress(Exception):
            await sink.close()


def make_sink(settings: SinkSettings) -> Any:
    """A sink that does all by itself. Raises ValueError."""
    return module_of(settings.type).create(settings)
