"""A whole system to put faults to: engine, proxies on both sides of the bridge, and the bridge as a process.

producer -> intake proxy -> bridge (-> gate) -> store proxy -> engine process

The gate speaks HTTP, and answers in the store's place; the proxies know of bytes only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.process import free_port
from exporter.clickhouse.engine.endpoint import Endpoint
from exporter.clickhouse.engine.supervisor import EngineSupervisor
from exporter.deadletter import DeadLetters
from faults.gate import Gate
from faults.judge import Store
from faults.proxy import Proxy

READY_S = 90.0  # a loaded machine takes ten times what a quiet one does
# What several lanes allow: nothing that must see all requests of a trace.
ACROSS_LANES: dict[str, dict[str, Any]] = {"mapping": {"inherit_across_requests_s": 0}}
LEFT_BYTES = 1 << 19  # of a small disk, to the sinks' journals


class BridgeEnded(Exception):
    """The bridge is not there when it should be."""


class Impossible(Exception):
    """This machine does not allow the fault."""


class System:
    """`async with System(folder) as system`: started, and stopped at the end."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        compression: str = "lz4",
        prefix: Sequence[str] = (),
        spool_mib: int = 0,
        gate: bool = False,
        others: bool = False,
        lanes: int = 0,
        **sections: dict[str, Any],
    ) -> None:
        """What is not as usual.

        compression: of the sink's inserts. prefix: before the bridge's command. spool_mib: of a disk for the spool
        alone, 0 for none. gate: the store is reached through it. others: there are three more sinks: files, Moesif and
        an OTLP endpoint.
        lanes: of the bridge, one where the other sinks are. sections: what to change in its settings, by section.
        """
        self.folder = folder
        self.engine = EngineSupervisor(folder / "engine")
        self.bridge_log = folder / "bridge.log"
        self._sections = sections
        self._lanes = min(lanes, 1) if others else lanes
        self._seed = seed
        self._compression = compression
        self.prefix = tuple(prefix)  # of the next bridge that is started
        self._spool_mib = spool_mib
        self._gated = gate
        self._others = others
        self.lines = folder / "lines"  # of the sink of files
        self.program: tuple[str, ...] = ("-m", "weighbridge")  # of the next bridge that is started
        self.refused_for_good: set[str] = set()  # span ids of records that the story made the store refuse
        self.erased_users: frozenset[str] = frozenset()  # of the plan, whom the story has erased
        self.refuses = ""  # what the span ids of all records begin with that the story makes the store refuse
        self._bridge: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> System:
        async with AsyncExitStack() as stack:
            if self._spool_mib:
                spool = self.folder / "spool"
                await mount(spool, self._spool_mib)
                stack.push_async_callback(run, "umount", str(spool))
            endpoint = await self.engine.start()
            stack.push_async_callback(self.engine.stop)
            self.store = store_at(endpoint)
            self.to_store = Proxy(endpoint.host, endpoint.port, seed=self._seed)
            await self.to_store.start()
            stack.push_async_callback(self.to_store.stop)
            self.gate = Gate("127.0.0.1", self.to_store.port)
            self.moesif, self.copy = Gate(), Gate()
            for gate in (self.gate, self.moesif, self.copy):
                await gate.start()
                stack.push_async_callback(gate.stop)
            self._port, self._admin_port = free_port(), free_port()
            self.to_bridge = Proxy("127.0.0.1", self._port, seed=self._seed)
            await self.to_bridge.start()
            stack.push_async_callback(self.to_bridge.stop)
            self._endpoint = endpoint
            self.write_settings()
            stack.push_async_callback(self._end_bridge)
            await self.start_bridge()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def intake(self) -> str:
        """Where producers send."""
        return f"http://127.0.0.1:{self.to_bridge.port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self._admin_port}"

    async def start_bridge(self) -> float:
        """Seconds until it is ready. Raises BridgeEnded."""
        started = time.monotonic()
        if self.prefix:
            await run(self.prefix[0], "-V")
        with self.bridge_log.open("ab") as log:
            self._bridge = await asyncio.create_subprocess_exec(
                *(
                    *self.prefix,
                    sys.executable,
                    *self.program,
                    "serve",
                    "--config",
                    str(self.folder / "weighbridge.yaml"),
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path])),
                },
            )
        while not await self.ready():
            if self._bridge.returncode is not None:
                raise BridgeEnded(self.bridge_log.read_text()[-2000:])
            if time.monotonic() - started > READY_S:
                raise BridgeEnded(f"not ready within {READY_S:.0f} s: {self.bridge_log.read_text()[-2000:]}")
            await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def start_beside(self, config: Path, **sections: dict[str, Any]) -> asyncio.subprocess.Process:
        """Another bridge on the same store, with these sections changed. It may not be ready yet."""
        self._write(config, yaml.safe_dump(self._settings(sections)))
        with self.bridge_log.with_name(f"{config.stem}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, *self.program, "serve", "--config", str(config),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))},
            )  # fmt: skip

    async def ready(self) -> bool:
        """What /readyz says; False when nobody answers."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def kill_bridge(self) -> None:
        """kill -9, and gone when this returns."""
        assert self._bridge is not None
        with contextlib.suppress(ProcessLookupError):
            self._bridge.kill()
        await self._bridge.wait()

    async def stop_bridge(self, timeout_s: float = 60.0) -> int:
        """SIGTERM; the exit status. Raises TimeoutError (and kills it), BridgeEnded."""
        assert self._bridge is not None
        if self._bridge.returncode is not None:
            raise BridgeEnded(f"ended by itself with status {self._bridge.returncode}")
        self._bridge.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._bridge.wait(), timeout_s)
        except TimeoutError:
            await self.kill_bridge()
            raise

    async def kill_engine(self) -> None:
        """kill -9 to the engine; its supervisor starts another, and the proxy then leads there."""
        pid = self.engine.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL)
        while self.engine.pid in (pid, None):  # noqa: ASYNC110 - its supervisor tells nobody
            await asyncio.sleep(0.05)
        endpoint = await self.engine.ready()
        self.to_store.redirect(endpoint.host, endpoint.port)
        self.store = store_at(endpoint)

    def hang_up(self) -> None:
        """SIGHUP: read the settings again."""
        assert self._bridge is not None
        self._bridge.send_signal(signal.SIGHUP)

    def ended(self) -> bool:
        """Whether the bridge is gone."""
        assert self._bridge is not None
        return self._bridge.returncode is not None

    async def kill_lanes(self, dice: random.Random, most: int) -> None:
        """kill -9 of the processes that map, of so many. Returns at once; the bridge starts others."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/readyz") as answer:
            running = [lane["process"] for lane in (await answer.json())["lanes"] if lane["ready"]]
        dice.shuffle(running)
        for process in running[:most]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def dead_letters(self) -> list[dict[str, Any]]:
        letters = [self.folder / "spool", *(self.folder / "spool" / "lanes").glob("*")]
        return [one for folder in letters for one in DeadLetters(folder / "deadletter.jsonl").read()]

    def rss_bytes(self) -> int:
        """Resident memory of the bridge."""
        assert self._bridge is not None
        for line in Path(f"/proc/{self._bridge.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise BridgeEnded("no such process")

    async def _end_bridge(self) -> None:
        with contextlib.suppress(BridgeEnded, TimeoutError):
            await self.stop_bridge()

    def write_settings(self, text: str = "", **sections: dict[str, Any]) -> None:
        """The bridge's settings as they shall be read next time, these sections changed; or a text in their place."""
        self._write(self.folder / "weighbridge.yaml", text or yaml.safe_dump(self._settings(sections)))

    def _write(self, path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)

    def _settings(self, sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
        endpoint, small = self._endpoint, self._spool_mib > 0
        at = f"127.0.0.1:{self.gate.port if self._gated else self.to_store.port}/{endpoint.database}"
        settings: dict[str, Any] = {
            "receiver": {"endpoint": f"127.0.0.1:{self._port}"},
            "admin": {"endpoint": f"127.0.0.1:{self._admin_port}"},
            "spool": {"directory": str(self.folder / "spool"), **({"min_free_bytes": LEFT_BYTES} if small else {})},
            "exporter": {
                "sinks": [
                    {
                        "name": "store",
                        "type": "clickhouse",
                        "dsn": f"http://{endpoint.user}:{endpoint.password}@{at}",
                        "compression": self._compression,
                        "timeout_s": 5,
                        "connect_timeout_s": 2,
                    },
                    *(self._other_sinks() if self._others else ()),
                ],
                "batch": {"max_age_s": 0.2},
                "retry": {"unauthorised_interval_s": 1.0},
            },
            "lanes": {"count": self._lanes},
        }
        for changes in (ACROSS_LANES if self._lanes else {}, self._sections, sections):
            for section, changed in changes.items():
                settings[section] = {**settings.get(section, {}), **changed}
        return settings

    def _other_sinks(self) -> list[dict[str, Any]]:
        here = "http://127.0.0.1"
        return [
            {"name": "lines", "type": "jsonlines", "path": str(self.lines)},
            {
                "name": "moesif",
                "type": "moesif",
                "application_id": "app",
                "base_url": f"{here}:{self.moesif.port}",
                "hops": "all",  # everything that was sent shall arrive everywhere
            },
            {"name": "copy", "type": "otlphttp", "endpoint": f"{here}:{self.copy.port}"},
        ]


def store_at(endpoint: Endpoint) -> Store:
    url = f"http://{endpoint.host}:{endpoint.port}"
    return Store(url, endpoint.user, endpoint.password, endpoint.database)


async def mount(folder: Path, mib: int) -> None:
    """A file system of so many MiB in memory. Raises Impossible."""
    await asyncio.to_thread(folder.mkdir)
    await run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", str(folder))


async def run(*command: str) -> None:
    """Raises Impossible when it fails."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise Impossible(f"{command[0]} is not installed") from error
    _, said = await process.communicate()
    if process.returncode:
        raise Impossible(f"{command[0]}: {said.decode(errors='replace').strip()}")


def disk_bytes(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    found = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_blocks * 512
    return found
