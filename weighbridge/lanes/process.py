"""The process of a lane: `python -m weighbridge.lanes.process SOCKET PROGRESS`, two descriptors that it inherits.

It reads its partition's files, maps and delivers, and tells the bridge how far it is. It lives as long as the bridge
does, and ends at once without it: what it was doing is in the journals, as after a kill.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from exporter.clickhouse.settings import Settings as ClickHouseSettings
from exporter.journal import JournalError
from exporter.settings import SinkSettings
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.epochs import Budget, LedBudget, Table
from receiver.spool import Appended, Entry
from receiver.spool.follower import Follower
from weighbridge.admin.report import report
from weighbridge.allocator import keep_freed_memory
from weighbridge.deliveries import make_sink
from weighbridge.event_loop import collect_seldom, loop_factory
from weighbridge.lanes.alone import tried_alone
from weighbridge.lanes.engines import store_beside
from weighbridge.lanes.lane import Lane
from weighbridge.lanes.lead import TICK_S
from weighbridge.lanes.limits import die_with_parent, limit_memory
from weighbridge.lanes.marks import Marks
from weighbridge.lanes.messages import Channel, Gone, packed, unpacked
from weighbridge.left_in_spool import left_in_spool
from weighbridge.log_lines import log_to_stderr
from weighbridge.progress import Progress
from weighbridge.set_aside import SetAside
from weighbridge.settings import Settings
from weighbridge.tasks import Tasks

log = logging.getLogger(__name__)

BEAT_S = 0.2
REPORT_S = 1.0
LOCK_WAIT_S = 15.0  # for the lane before this one, which may be in its last moments
LOCK = "lane.lock"


class LaneProcess:
    """One life."""

    def __init__(self, channel: Channel, progress: Progress) -> None:
        self._channel = channel
        self._progress = progress
        self._marks = Marks(progress)
        self._tasks = Tasks()
        self._stopped = asyncio.Event()

    async def run(self) -> int:
        """Returns the exit status once the bridge has asked to stop, or is gone."""
        try:
            hello = await self._channel.receive()
        except Gone:
            return 1
        settings: Settings = unpacked(hello["settings"])
        log_to_stderr(settings.telemetry.log_level, settings.telemetry.log_format)
        limit_memory(settings.lanes.memory_bytes)
        beating = self._tasks.keep("heartbeat", self._beat)
        try:
            lane = await self._made(settings, hello)
            await lane.start()
        except (JournalError, OSError, ValueError) as error:
            self._channel.send("failed", why=str(error))
            await asyncio.sleep(BEAT_S)  # until it is sent
            return 1
        collect_seldom()
        self._channel.send("report", report=packed(report(lane)))
        self._channel.send("ready")
        # What has been committed meanwhile waits in the sockets: the feed must have begun before it hears of it.
        running = asyncio.create_task(self._channel.run(lambda message: self._handle(lane, message)))
        reporting = self._tasks.keep("report", lambda: self._report(lane))
        telling = self._tasks.keep("arrivals", lambda: self._tell_arrivals(lane))
        await asyncio.wait([running, asyncio.create_task(self._stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
        for task in (beating, reporting, telling):
            task.cancel()
        return 0 if self._stopped.is_set() else 1

    async def _made(self, settings: Settings, hello: dict[str, Any]) -> Lane:
        directory = Path(hello["directory"])
        await asyncio.to_thread(hold, directory / LOCK)
        self._follower = Follower(
            settings.spool.model_copy(update={"directory": directory}),
            unpacked(hello["partition"]),
            lambda position: self._channel.send("released", at=position),
        )
        suspects: dict[int, int] = unpacked(hello["suspects"])
        several: bool = hello["several"]
        return Lane(
            settings,
            self._follower,
            directory,
            Decoder(),
            self._tasks,
            self._append_again,
            lambda sink: self._marks.watch(made(sink, several=several)),
            SetAside(
                directory,
                suspects,
                self._progress,
                lambda entry, count: tried_alone(settings, entry, count),
                self._follower.start_position,
            ),
            hello["set_aside"],
            LedBudget if several else Budget,
        )

    async def _beat(self) -> None:
        while True:
            self._progress.beat()
            await asyncio.sleep(BEAT_S)

    async def _report(self, lane: Lane) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            self._channel.send("report", report=packed(report(lane)))

    async def _tell_arrivals(self, lane: Lane) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if (budget := lane.led_budget) and (arrivals := budget.take()):
                self._channel.send("arrivals", arrivals=packed(arrivals))

    async def _handle(self, lane: Lane, message: dict[str, Any]) -> dict[str, Any] | None:
        match message.get("of", message["what"]):
            case "news":
                for fields in message["segments"]:
                    self._follower.segment(fields)
                for position, next_position, tenant, records in message["requests"]:
                    lane.feed.arrived(Appended(position, next_position, False), tenant, records)
                for number in message["removed"]:
                    self._follower.removed(number)
            case "rates":
                if budget := lane.led_budget:
                    budget.put(Table.from_plain(message["table"]))
            case "resume":
                lane.deliveries.set_aside.pop(message["sink"], None)
            case "report":
                return {"report": packed(report(lane))}
            case "check":
                await lane.check(unpacked(message["settings"]))
            case "reload":
                return {"changes": await lane.reload(unpacked(message["settings"]))}
            case "minutes":
                return {"rows": await lane.minutes(message["since_s"])}
            case "replay":
                busy = lane.replays.busy
                return {
                    "replayed": await lane.replays.replay(message["reason"], message["since_unix_ns"]),
                    "busy": busy,
                }
            case "stop":
                hanging = await lane.stop()
                cursors = [pipeline.cursor for pipeline in lane.pipelines.values()]
                left = await left_in_spool(self._follower, cursors)
                asyncio.get_running_loop().call_later(BEAT_S, self._stopped.set)  # when the answer is on its way
                return {"hanging": hanging, "left": left, "report": packed(report(lane))}
        return None

    async def _append_again(self, entry: Entry, decoded: Decoded) -> None:
        await self._channel.ask("append", entry=packed(entry), records=decoded.accepted)


def made(settings: SinkSettings, *, several: bool) -> Any:
    """A sink of a lane. The engine of an embedded store is the bridge's; with several lanes others write there."""
    if isinstance(settings, ClickHouseSettings):
        return store_beside(settings, several=several)
    return make_sink(settings)


def hold(path: Path) -> None:
    """Take a lock file for as long as this process lives. Raises OSError when another has it for LOCK_WAIT_S."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise OSError(f"{path} is held by a lane of another bridge") from None
            time.sleep(0.05)
        else:
            return


def main() -> None:
    """Never returns."""
    die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # are for the bridge, which says what to do
        signal.signal(number, signal.SIG_IGN)
    end, descriptor = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    progress = Progress(descriptor)
    os.close(descriptor)
    keep_freed_memory()

    async def live() -> int:
        return await LaneProcess(await Channel.over(end), progress).run()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        status = runner.run(live())
        logging.shutdown()
        os._exit(status)  # threads may still wait for destinations


if __name__ == "__main__":
    main()
