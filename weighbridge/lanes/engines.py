"""The engines of embedded stores, kept running by the bridge itself where lanes have processes of their own.

So one engine serves all lanes, and a lane that dies takes none with it. A lane finds it as a reader does, by what the
engine publishes beside its data.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from exporter.clickhouse.engine.endpoint import WRITER, Endpoint, password, read_published
from exporter.clickhouse.engine.supervisor import EngineFailed, EngineSupervisor
from exporter.clickhouse.settings import Settings as ClickHouseSettings
from exporter.clickhouse.sink import ClickHouseSink
from exporter.settings import SinkSettings

log = logging.getLogger(__name__)

START_AGAIN_S = 5.0


class Engines:
    """By folder. One that cannot be started is tried again for as long as the settings name it."""

    def __init__(self) -> None:
        self._running: dict[Path, tuple[EngineSupervisor, asyncio.Task[None]]] = {}
        self._paths: dict[str, Path] = {}  # by sink

    async def change(self, sinks: tuple[SinkSettings, ...]) -> None:
        """Run those that these sinks need, and no others. Returns before they answer."""
        wanted = {
            one.engine_path.absolute(): one for one in sinks if isinstance(one, ClickHouseSettings) and one.engine_path
        }
        self._paths = {one.name: path for path, one in wanted.items()}
        for path in [path for path in self._running if path not in wanted]:
            await self._stop(path)
        for path, settings in wanted.items():
            if path not in self._running:
                engine = EngineSupervisor(path, settings.engine, settings.database)
                self._running[path] = engine, asyncio.create_task(_started(engine), name="engine of the lanes")

    @property
    def restarts(self) -> dict[str, int]:
        """By sink, how often the engine ended and was started again."""
        return {name: self._running[path][0].restarts for name, path in self._paths.items() if path in self._running}

    async def stop(self) -> None:
        """All of them, after their lanes."""
        await asyncio.gather(*(self._stop(path) for path in list(self._running)))

    async def _stop(self, path: Path) -> None:
        engine, starting = self._running.pop(path)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await engine.stop()


async def _started(engine: EngineSupervisor) -> None:
    while True:
        try:
            await engine.start()
        except (EngineFailed, OSError) as error:
            log.error("%s; it is tried again in %.0f s", error, START_AGAIN_S)
            await asyncio.sleep(START_AGAIN_S)
        else:
            return


def store_beside(settings: ClickHouseSettings, *, several: bool) -> ClickHouseSink:
    """A sink that asks where the engine is, and does not run it. several: other lanes write to the same table."""
    if several and settings.shared == "auto":
        settings = settings.model_copy(update={"shared": True})
    path = settings.engine_path
    return ClickHouseSink(settings, _where(path.absolute(), settings.database) if path else None)


def _where(path: Path, database: str) -> Callable[[], Endpoint | None]:
    def endpoint() -> Endpoint | None:
        found = read_published(path)
        return Endpoint("127.0.0.1", found.port, WRITER, password(path, WRITER), database) if found else None

    return endpoint
