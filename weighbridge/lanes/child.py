"""A lane's process as the bridge sees it: started, told what is committed, watched, ended when stuck, started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import orjson

from exporter.clickhouse.engine.supervisor import environment
from exporter.durable import replace_file
from receiver.spool import Appended, Entry, Spool
from receiver.spool.segments import Segment
from weighbridge.admin.report import Report
from weighbridge.lanes.lead import BudgetLead
from weighbridge.lanes.limits import thread_cpu_s, usage_of
from weighbridge.lanes.marks import Marks, Working
from weighbridge.lanes.messages import Channel, Gone, packed, unpacked
from weighbridge.lanes.sink_strikes import SinkStrikes
from weighbridge.lanes.watch import LOOK_S, Watch
from weighbridge.progress import Progress, new_file
from weighbridge.set_aside import TWICE
from weighbridge.settings import Settings

log = logging.getLogger(__name__)

PROGRAM: tuple[str, ...] = ("-P", "-m", "weighbridge.lanes.process")
STRIKES = "stopped_at.json"
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0  # a lane that ran for so long starts the pauses afresh
# A lane that is asked to stop drains for as long as `weighbridge.deliveries` lets it, and then has this much more.
END_S = 2.0
# Requests that stopped a lane of which the number of times is remembered; the newest.
MOST_STRIKES = 64
NEVER_UP = 3  # ends in a row before it was ready, from which on /readyz says that the bridge is not

AppendAgain = Callable[[int, Entry, int], Awaitable[None]]


class Child:
    """Of one partition. It is a `receiver.spool.watching.Watcher` of its spool."""

    def __init__(self, number: int, directory: Path, append_again: AppendAgain, *, several: bool) -> None:
        """directory: of the partition. append_again: puts a request into a partition once more."""
        self.number = number
        self.restarts = 0
        self.last: Report | None = None
        self.pid = 0  # 0: none runs
        self.is_ready = False
        self._never_up = 0
        self._why_down = ""
        self._directory = directory
        self._append_again = append_again
        self._several = several
        self._channel: Channel | None = None
        self._segments: dict[int, tuple[Any, ...]] = {}
        self._requests: list[tuple[int, int, str, int]] = []
        self._removed: list[int] = []
        self._telling = False
        self._stopping = False
        self._first: asyncio.Future[str] = asyncio.Future()  # what the first life said: "" when it was ready
        self._strikes: dict[int, int] = {}  # requests by position: how often the process ended there
        self._said = ""  # by the process, before it ended
        self._sinks = SinkStrikes()
        self.lead: BudgetLead | None = None  # of the budget that it shares with other lanes

    # -- from the spool ------------------------------------------------------------------------------------

    def segment(self, segment: Segment) -> None:
        if self._channel is not None:
            self._segments[segment.number] = astuple(segment)
            self._tell_soon()

    def removed(self, number: int) -> None:
        if self._channel is not None:
            self._removed.append(number)
            self._tell_soon()

    def committed(self, appended: Appended, tenant: str, records: int) -> None:
        """A request is on disk."""
        if self._channel is not None:
            self._requests.append((appended.position, appended.next_position, tenant, records))
            self._tell_soon()

    def _tell_soon(self) -> None:
        if not self._telling:  # once a round of the loop: all requests of a group in one message
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        if self._channel is not None:
            self._channel.send(
                "news", segments=list(self._segments.values()), requests=self._requests, removed=self._removed
            )
        self._segments, self._requests, self._removed = {}, [], []

    # -- its life ------------------------------------------------------------------------------------------

    async def started(self) -> None:
        """Returns when its first life is ready, or was killed. Raises OSError with what it says if it cannot begin."""
        if why := await asyncio.shield(self._first):
            raise OSError(why)

    async def run(self, spool: Spool, settings: Callable[[], Settings]) -> None:
        """Keep a process running until `stop`. spool: open. settings: those in force."""
        self._strikes = _read_strikes(self._directory / STRIKES)
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            began = time.monotonic()
            strikes = sum(self._strikes.values()) + self._sinks.total
            why = await self._one_life(spool, settings())
            if strikes != sum(self._strikes.values()) + self._sinks.total:  # the next one will know what did it
                pause_s = FIRST_PAUSE_S
            if not self._first.done():
                self._first.set_result(f"lane {self.number}: {why}" if self._said else "")
            self._said = ""
            if self._stopping:
                if why != _told(0):
                    log.error("lane %d %s while it was to stop", self.number, why)
                return
            self.restarts += 1
            self._never_up += 1
            if time.monotonic() - began > HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            self._why_down = why
            log.error("lane %d %s: it begins again in %.1f s", self.number, why, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    @property
    def down(self) -> str:
        """Why it does not run, where that is not over at once; "" while it does."""
        if self._never_up < NEVER_UP:
            return ""
        return f"lane {self.number} {self._why_down}, {self._never_up} times before it could begin"

    async def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """An answer of the running process. Raises Gone, or ValueError with its words."""
        if self._channel is None:
            raise Gone
        return await self._channel.ask(what, **fields)

    async def reload(self, settings: Settings) -> list[str]:
        """Go on with other settings; what has changed. One that cannot begins again. Sinks that are set aside go on."""
        self._sinks.forget()
        try:
            changes: list[str] = (await self.ask("reload", settings=packed(settings)))["changes"]
        except Gone:
            return []
        except ValueError as error:
            log.error("lane %d cannot go on with the new settings (%s): it begins again with them", self.number, error)
            self._kill()
            return []
        return changes

    def tell_rates(self, table: dict[str, Any]) -> None:
        """Of the budget that all lanes share."""
        if self._channel is not None:
            self._channel.send("rates", table=table)

    async def refresh(self) -> None:
        """Let `last` be of now. Raises Gone."""
        self.last = unpacked((await self.ask("report"))["report"])

    async def stop(self, timeout_s: float) -> dict[str, Any]:
        """Let it deliver what is committed, and end; what it said of the rest."""
        self._stopping = True
        said: dict[str, Any] = {"hanging": [], "left": "an unknown number of requests"}
        try:
            async with asyncio.timeout(timeout_s):
                said = await self.ask("stop")
                self.last = unpacked(said.pop("report"))
        except (Gone, ValueError, TimeoutError) as error:
            log.warning("lane %d is not drained (%s): the rest stays in the spool", self.number, type(error).__name__)
            self._kill()
        return said

    def _kill(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def _one_life(self, spool: Spool, settings: Settings) -> str:
        """Why it ended."""
        ours, theirs = socket.socketpair()
        descriptor = new_file()
        progress = Progress(descriptor)
        marks, watch, began_s = Marks(progress), None, time.monotonic()
        try:
            # On the event loop's own thread: the process ends with the thread that started it.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *PROGRAM,
                str(theirs.fileno()),
                str(descriptor),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), descriptor),
                env=environment(),
                start_new_session=True,  # a Ctrl-C on the terminal is for the bridge
            )
        finally:
            theirs.close()
            os.close(descriptor)
        channel = await Channel.over(ours)
        self.pid = process.pid
        why = ""
        talking = asyncio.create_task(channel.run(lambda message: self._handle(spool, message)))
        ending = asyncio.create_task(process.wait())
        try:
            channel.send(
                "hello",
                settings=packed(settings),
                directory=str(self._directory),
                partition=packed(spool.snapshot()),
                suspects=packed(self._strikes),
                several=self._several,
                set_aside=self._sinks.set_aside(),
            )
            if self.lead is not None and self.lead.newest is not None:
                channel.send("rates", table=self.lead.newest)
            self._channel = channel  # in one go with the snapshot: what is committed from now on is told
            watch = Watch(
                progress,
                settings.lanes.memory_bytes,
                began_s,
                marks.working,
                lambda thread: thread_cpu_s(process.pid, thread),
            )
            while not (await asyncio.wait([ending], timeout=LOOK_S))[0]:
                why = why or watch.look(time.monotonic(), usage_of(process.pid))
                for sink in self._sinks.due():
                    channel.send("resume", sink=sink)
                if why or (self._stopping and talking.done()):
                    process.kill()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self.pid, self._channel, self.is_ready = 0, None, False
            talking.cancel()
            channel.close()
            place, running, working = progress.read()[1], marks.running(), marks.working()
            progress.close()
        why = why or self._said or _told(process.returncode or 0)
        if not self._stopping:
            stuck = watch.stuck if watch else None
            self._blame(place, stuck[:2] if stuck else running, working, time.monotonic() - began_s)
        return why

    def _blame(self, place: int, sink: tuple[str, int] | None, working: list[Working], lived_s: float) -> None:
        """Note what was under way when the process ended, after so long.

        sink: whose code it was for certain. Where that is not known it may be the request; and once that was tried
        alone, or where there was none, the sinks that had work in threads.
        """
        if sink is not None:
            self._sinks.strike(*sink, lived_s)
            return
        if place:
            self._strike(place)
        if not place or self._strikes.get(place, 0) > TWICE:
            for one in working:
                self._sinks.strike(one.sink, one.batch, lived_s)

    async def _handle(self, spool: Spool, message: dict[str, Any]) -> dict[str, Any] | None:
        match message.get("of", message["what"]):
            case "ready":
                self.is_ready, self._never_up, self._why_down = True, 0, ""
                if not self._first.done():
                    self._first.set_result("")
            case "failed":
                self._said = message["why"]
            case "released":
                spool.release(message["at"])
            case "report":
                self.last = unpacked(message["report"])
            case "arrivals" if self.lead is not None:
                self.lead.arrived(unpacked(message["arrivals"]))
            case "append":
                await self._append_again(self.number, unpacked(message["entry"]), message["records"])
        return None

    def _strike(self, place: int) -> None:
        """The process ended while it was at this request."""
        self._strikes[place] = self._strikes.get(place, 0) + 1
        while len(self._strikes) > MOST_STRIKES:
            del self._strikes[min(self._strikes)]
        log.error("lane %d was at the request at position %d, the %d. time", self.number, place, self._strikes[place])
        try:
            replace_file(
                self._directory / STRIKES, orjson.dumps({str(at): times for at, times in self._strikes.items()})
            )
        except OSError as error:
            log.warning("%s cannot be written: %s", self._directory / STRIKES, error.strerror)


def _read_strikes(path: Path) -> dict[int, int]:
    try:
        return {int(at): int(times) for at, times in orjson.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _told(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
