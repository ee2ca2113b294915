"""Keeps one engine process running beside the bridge: start, wait until it answers, start again after a crash, stop.

The engine is started with a fresh interpreter (never forked) and lives as long as the pipe to its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import exporter
from exporter.clickhouse.engine.endpoint import DEFAULT_DATABASE, WRITER, Endpoint, Published, password
from exporter.clickhouse.engine.settings import USERS_VARIABLE, EngineSettings
from exporter.log_format import format_in_use

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 30.0
_HEALTHY_S = 60.0  # an engine that ran this long starts the pauses afresh
_START_S = 60.0  # opening a killed store takes up to a second (spec/store.md §1.1), the lock up to lock_wait_s


class EngineFailed(Exception):
    """The engine did not come up. The text is for operators."""


def command(data: Path, settings: EngineSettings) -> list[str]:
    """The command line of an engine. -P: a folder named `exporter` in the working directory must not win."""
    engine = [sys.executable, "-P", "-m", "exporter.clickhouse.engine", str(data)]
    limits = settings.model_dump_json(exclude={"users"})  # every user of the machine can read a command line
    return [*engine, "--limits", limits, "--log-format", format_in_use()]


def environment(settings: EngineSettings | None = None) -> Mapping[str, str]:
    """This process's environment, in UTC and able to import this package also from a bare checkout.

    With the passwords of the settings' users: nobody but our own user can read them there.
    """
    root = str(Path(exporter.__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    users = {name: secret.get_secret_value() for name, secret in settings.users.items()} if settings else {}
    named = {USERS_VARIABLE: json.dumps(users)} if users else {}
    return {**os.environ, **named, "TZ": "UTC", "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


class EngineSupervisor:
    """One engine on one folder. `start` once, `stop` once; `endpoint` in between, from any task."""

    def __init__(self, data: Path, settings: EngineSettings | None = None, database: str = DEFAULT_DATABASE) -> None:
        self._data = data.absolute()
        self._settings = settings or EngineSettings()
        self._database = database
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._endpoint: Endpoint | None = None
        self._up = asyncio.Event()
        self._stopping = asyncio.Event()
        self.restarts = 0

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the engine answers, None while it is down. The port changes with every start."""
        return self._endpoint

    @property
    def started(self) -> bool:
        """Whether `start` succeeded: from then on the engine is kept running."""
        return self._watching is not None

    @property
    def pid(self) -> int | None:
        """The engine's process id, None while it is down."""
        return self._process.pid if self._process is not None and self._endpoint is not None else None

    async def start(self) -> Endpoint:
        """Start the engine and return when it answers. Raises EngineFailed; call again or give up."""
        endpoint = await self._launch()
        self._watching = asyncio.create_task(self._watch(), name="engine-supervisor")
        return endpoint

    async def ready(self) -> Endpoint:
        """The endpoint, waiting for a restart when it is down."""
        while True:
            await self._up.wait()
            if self._endpoint is not None:
                return self._endpoint

    async def stop(self) -> None:
        """Let running statements finish, then end the engine; killed when it takes longer than its own deadline."""
        self._stopping.set()
        self._down()
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), self._settings.drain_s + 10)
        except TimeoutError:
            log.error("the engine did not stop in time: killing it")
            process.kill()
            await process.wait()

    def _down(self) -> None:
        self._endpoint = None
        self._up.clear()

    async def _launch(self) -> Endpoint:
        # Called on the event loop's own thread: the engine asks to be told when the *thread* that started it ends.
        process = await asyncio.create_subprocess_exec(
            *command(self._data, self._settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(self._settings),
            start_new_session=True,  # a Ctrl-C on the terminal is for the one who asked, not for the engine
        )
        self._process = process
        if process.stdout is None:
            raise EngineFailed("no pipe to the engine")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_S + self._settings.lock_wait_s)
            said = json.loads(line) if line.strip() else {"error": f"it ended with status {await process.wait()}"}
        except (TimeoutError, ValueError):
            said = {"error": "it did not become ready in time"}
        except asyncio.CancelledError:
            await self._end()
            raise
        if "error" in said:
            await self._end()
            raise EngineFailed(f"the embedded store in {self._data} did not start: {said['error']}")
        published = Published(**said)
        secret = await asyncio.to_thread(password, self._data, WRITER)
        self._endpoint = Endpoint("127.0.0.1", published.port, WRITER, secret, self._database)
        self._up.set()
        log.info("engine %s runs as process %d on port %d", published.version, published.pid, published.port)
        return self._endpoint

    async def _watch(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            if self._process is not None:
                status = await self._process.wait()
                self._down()
                if time.monotonic() - started > _HEALTHY_S:
                    pause_s = _FIRST_PAUSE_S
                log.error("the engine ended with status %d: starting it again in %.1f s", status, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self.restarts += 1
            try:
                await self._launch()
            except (EngineFailed, OSError) as error:
                log.error("%s", error)
            except Exception:  # the engine said what nobody expected: without this it would never be started again
                log.exception("the engine could not be started; it is tried again")
                await self._end()
