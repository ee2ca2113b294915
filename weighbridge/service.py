"""The bridge: the one place where the parts are put together, started and stopped.

    receiver (HTTP) -> spool (disk) -> lane: feed (memory) -> mapper -> one pipeline per sink -> sink

Started from the far end, so that nothing arrives before it can go on; stopped from the near end, so that what was
acknowledged is delivered or stays in the spool.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from exporter.journal import JournalError
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.otlp.validate import Validator
from receiver import app
from receiver.counts import ReceiverCounts
from receiver.intake import Overloaded, Received
from receiver.spool import Appended, Entry, SpoolFailed, SpoolFull
from weighbridge.admin.health import Health
from weighbridge.admin.ledger import audit
from weighbridge.admin.report import Report, merged, of_tasks, report
from weighbridge.admin.routes import routes
from weighbridge.admin.server import Admin
from weighbridge.allocator import keep_freed_memory
from weighbridge.commands.errors import CommandError
from weighbridge.console.assembly import Console
from weighbridge.event_loop import collect_seldom
from weighbridge.lanes.child import Child
from weighbridge.lanes.children import Children
from weighbridge.lanes.crossing import lanes_of
from weighbridge.lanes.lane import Lane
from weighbridge.left_in_spool import left_in_spool
from weighbridge.partitions import Partitions, folder_of, numbers_on_disk
from weighbridge.room import why_full
from weighbridge.settings import Settings, SettingsError
from weighbridge.tasks import Tasks

log = logging.getLogger(__name__)

# Sections of the settings that are read once: the socket, the processes, the spool's files and the log.
NEED_RESTART = ("receiver", "lanes", "spool", "admin", "telemetry")


class Bridge:
    """Everything between the socket and the sinks: what takes requests in, and the lane that delivers them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counts = ReceiverCounts()
        count, self._why_one = lanes_of(settings)
        # Where nothing is mapped in this process, it is enough to know which records are sound.
        self.decoder = Decoder() if count == 0 else Validator()
        self.directory = Path(settings.spool.directory)
        self.tasks = Tasks()
        takers = range(max(1, count))
        others = [number for number in numbers_on_disk(self.directory) if number not in takers]
        own = {*takers, *others} - ({0} if count == 0 else set())  # partitions whose lanes have processes of their own
        self._children = Children(
            {
                number: Child(number, folder_of(self.directory, number), self._append_for, several=len(own) > 1)
                for number in sorted(own)
            },
            engines=count > 0,
        )
        self.spool = Partitions(
            settings.spool, takers, others, self._committed, self._children.watcher, self._children.is_ready
        )
        self._lane = (
            Lane(settings, self.spool.spools[0], self.directory, self.decoder, self.tasks, self._append_again)
            if count == 0
            else None
        )
        self.returned: Counter[str] = Counter()  # records since the start that went into the spool a second time
        self.health = Health(self)
        self.accepting = False
        # Records since the start, by tenant: answered 200, and of these those of requests that were there already.
        self.acknowledged: Counter[str] = Counter()
        self.resent: Counter[str] = Counter()
        self._handed_over: Counter[str] = Counter()  # records committed for lanes in processes of their own
        self._replaying = 0  # replays under way
        self._receiver: app.Running | None = None
        self._admin: Admin | None = None
        self._console: Console | None = None

    async def start(self) -> None:
        """Returns when requests are accepted. Raises OSError or a part's own error when it cannot be."""
        await self.spool.open()
        if self._why_one:
            log.info("lanes.count is auto: there is one lane, because %s", self._why_one)
        if self._lane is not None:
            await self._lane.start()
        await self._children.start(self.spool.spools, lambda: self.settings)
        with _starting("admin", self.settings.admin.endpoint):
            self._console = console = Console(self)
            everything = [*routes(self), *console.routes()]
            self._admin = await Admin.start(self.settings.admin, self.health, everything, console.middleware)
        with _starting("receiver", self.settings.receiver.endpoint):
            self._receiver = await app.start(self.settings.receiver, self.decoder, self, self.counts)
        self.accepting = True

    async def lanes_begun(self) -> None:
        """Returns when every lane is ready for the first time. Raises OSError with the words of one that cannot be."""
        await self._children.begun()

    @property
    def lane(self) -> Lane:
        """The lane in this process. Only with `lanes.count: 0`."""
        assert self._lane is not None, "the lanes have processes of their own"
        return self._lane

    @property
    def keys_complaint(self) -> str:
        """Why the receiver's keys file, as it is now, is not in use; "" when it is, or there is none."""
        return self._receiver.keys_complaint if self._receiver else ""

    @property
    def stored(self) -> Counter[str]:
        """Records committed since the start, by tenant."""
        return self._handed_over + self._lane.feed.stored if self._lane else self._handed_over

    def report(self) -> Report:
        """What the lanes say, put together."""
        own = [report(self._lane)] if self._lane else [of_tasks(self.tasks)]
        return merged([*own, *self._children.reports()])

    async def refresh(self) -> None:
        """Let `report` be of now, as far as lanes answer at once."""
        await self._children.refresh()

    def lane_facts(self) -> list[dict[str, Any]]:
        """Of each lane that has a process of its own."""
        return self._children.facts()

    async def minutes(self, since_s: int) -> list[list[dict[str, Any]]]:
        """Of each lane, what sampling decided since a minute of the Unix time."""
        own = [await self._lane.minutes(since_s)] if self._lane else []
        return own + await self._children.minutes(since_s)

    async def replay(self, reason: str, since_unix_ns: int) -> int:
        """Send matching dead letters again; how many records were taken."""
        self._replaying += 1
        try:
            own = await self._lane.replays.replay(reason, since_unix_ns) if self._lane else 0
            return own + await self._children.replay(reason, since_unix_ns)
        finally:
            self._replaying -= 1

    @property
    def replaying(self) -> bool:
        """Whether an earlier replay still waits for a sink."""
        return self._replaying > 0

    async def stop(self) -> list[str]:
        """Refuse new requests, answer open ones, deliver what is committed; the spool keeps the rest.

        Returns what hangs in a call: sinks, or the decoding of a long request; the process must not wait for them.
        """
        self.accepting = False
        decoded = True
        if self._receiver:
            decoded = await self._receiver.stop()
        ending = asyncio.create_task(self._children.stop())
        hanging = await self._lane.stop() if self._lane else []
        elsewhere, left = await ending
        hanging += elsewhere
        if not decoded and "decoding" not in hanging:
            hanging.append("decoding")
        if lane := self._lane:
            cursors = [pipeline.cursor for pipeline in lane.pipelines.values()]
            left.insert(0, await left_in_spool(lane.spool, cursors))
        await self.spool.close()
        if self._console:
            self._console.close()
        if self._admin:
            await self._admin.stop()
        log.info("stopped, %s left in the spool", " and ".join(left))
        return hanging

    async def reload(self, settings: Settings) -> None:
        """Go on with other settings of mapping, sampling and sinks; what cannot be changed while running is said.

        Raises as `Lane.check`; then nothing has been changed.
        """
        now = self.settings
        needing = [name for name in NEED_RESTART if getattr(settings, name) != getattr(now, name)]
        if settings.exporter.memory_bytes != now.exporter.memory_bytes:
            needing.append("exporter.memory_bytes")
        kept = {name: getattr(now, name) for name in NEED_RESTART}
        settings = settings.model_copy(update=kept)
        if self._lane:
            await self._lane.check(settings)
        await self._children.check(settings)
        changes = await self._lane.reload(settings) if self._lane else []
        self.settings = settings  # also of lanes that begin while others are told
        changes += [change for change in await self._children.reload(settings) if change not in changes]
        log.info("settings reloaded: %s", ", ".join(changes) or "nothing has changed")
        if needing:
            log.warning("changed settings that need a restart: %s", ", ".join(needing))

    # -- the steps between the parts -----------------------------------------------------------------------

    async def accept(self, received: Received) -> None:
        """`receiver.intake.Intake`: returns when the request is on disk."""
        entry = Entry(
            received.signal,
            received.tenant,
            received.content_type,
            received.content_encoding,
            received.received_unix_ns,
            received.body,
        )
        try:
            number = self.spool.choose(received.decoded)
            # A lane elsewhere reads the request from the disk: nothing of it need stay here.
            payload = received.decoded.accepted if number in self._children.by_number else received.decoded
            appended = await self.spool.spools[number].append(entry, payload)
        except SpoolFull as error:
            raise Overloaded(why_full(self, error)) from error
        except SpoolFailed as error:
            raise Overloaded(f"the spool cannot be written: {error}") from error
        self.acknowledged[received.tenant] += received.decoded.accepted
        if appended.duplicate:
            self.resent[received.tenant] += received.decoded.accepted
        else:
            if self._lane is not None:
                await self._lane.feed.memory.pace()

    async def _append_again(self, entry: Entry, decoded: Decoded) -> None:
        await self._append_known(0, entry, decoded.accepted, decoded)

    async def _append_for(self, number: int, entry: Entry, records: int) -> None:
        await self._append_known(number, entry, records, records)

    async def _append_known(self, number: int, entry: Entry, records: int, payload: object) -> None:
        self.returned[entry.tenant] += records
        try:
            await self.spool.spools[number].append(entry, payload, known=True)
        except BaseException:
            self.returned[entry.tenant] -= records
            raise

    def _committed(self, number: int, appended: Appended, entry: Entry, payload: object) -> None:
        child = self._children.by_number.get(number)
        if child is None:
            self.lane.feed.committed(appended, entry, payload)
        elif isinstance(payload, int):
            self._handed_over[entry.tenant] += payload
            child.committed(appended, entry.tenant, payload)


@contextlib.contextmanager
def _starting(part: str, endpoint: str) -> Iterator[None]:
    """Raises OSError that names the setting: the address, a file, or a line of a file, that cannot be used."""
    try:
        yield
    except ValueError as error:
        raise OSError(f"{part}: {error}") from error
    except OSError as error:
        if error.filename:
            raise OSError(f"{part}: {error.filename}: {error.strerror}") from error
        if not error.errno:
            raise OSError(f"{part}: {error}") from error
        # Of the socket. asyncio words it anew around the system's text; a name that is not found has a number below 0.
        text = os.strerror(error.errno) if error.errno > 0 else error.strerror
        hint = "; is a bridge running here already?" if error.errno == errno.EADDRINUSE else ""
        raise OSError(f"{part}.endpoint {endpoint}: {text}{hint}") from error


async def run(
    settings: Settings, ready: Callable[[], None] = lambda: None, read_again: Callable[[], Settings] | None = None
) -> list[str]:
    """Run until SIGTERM or SIGINT, then drain; returns what hangs in a thread. ready: called once requests are
    accepted. read_again: the settings as they are now, for SIGHUP; raises SettingsError.
    """
    started = time.monotonic()
    try:
        bridge = Bridge(settings)
    except SettingsError as error:
        raise CommandError(str(error)) from error
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    keep_freed_memory()
    beside = [
        bridge.tasks.keep(
            "reload on SIGHUP", lambda: _reload_on_hangup(bridge, read_again or (lambda: settings), stopping)
        ),
        bridge.tasks.keep("audit of the ledger", lambda: audit(bridge)),
    ]
    telling = _telling(bridge)
    try:
        await bridge.start()
        collect_seldom()
        log.info("ready after %.2f s", time.monotonic() - started)
        ready()
        await _until(stopping, bridge.lanes_begun())
        log.info("stopping")
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        hanging = await bridge.stop()
        if telling:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
    return hanging


async def _until(stopping: asyncio.Event, begun: Coroutine[Any, Any, None]) -> None:
    """Return when it is to stop. begun: raises when the bridge cannot go on."""
    beginning = asyncio.create_task(begun)
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([beginning, waiting], return_when=asyncio.FIRST_COMPLETED)
        if beginning.done():
            beginning.result()
        await waiting
    finally:
        for task in (beginning, waiting):
            task.cancel()
        await asyncio.gather(beginning, waiting, return_exceptions=True)


def _telling(bridge: Bridge) -> asyncio.Task[None] | None:
    """The task that tells an operator's own OTLP endpoint how the bridge is, where there is one."""
    if not bridge.settings.telemetry.otlp_endpoint:
        return None
    from weighbridge.telemetry import tell  # the SDK's exporters, which nothing else here needs

    return bridge.tasks.keep(
        "telemetry",
        lambda: tell(bridge.settings.telemetry, lambda: bridge.health.metrics() if bridge.accepting else ()),
    )


async def _reload_on_hangup(bridge: Bridge, read_again: Callable[[], Settings], stopping: asyncio.Event) -> None:
    """Read the settings again for every SIGHUP; bad ones cost one line, and the old ones go on.

    The same signal tells that the terminal is gone that the bridge was started on: then it stops.
    """
    asked = asyncio.Event()
    on_terminal = os.isatty(0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    while True:
        await asked.wait()
        asked.clear()
        if on_terminal and not _terminal_is_there():
            stopping.set()
        elif bridge.accepting:
            try:
                await bridge.reload(await asyncio.to_thread(read_again))
            except (SettingsError, ValueError, OSError, JournalError) as error:
                log.error("settings not reloaded, the old ones go on: %s", error)
            except Exception:
                log.exception("settings not reloaded, a fault of the bridge")


def _terminal_is_there() -> bool:
    try:
        os.tcgetpgrp(0)
    except OSError:
        return False
    return True
