"""The store's sink on a real engine, for tests: events of today, and a sink that writes to an engine's table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import events
from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import Endpoint, password
from exporter.clickhouse.sink import ClickHouseSink
from exporter.sinks.clickhouse import Settings, create
from mapping.event import Event

NOW_NS = time.time_ns()


def event(**changes: Any) -> Event:
    """An event of today: the table's retention is measured by the real clock."""
    started = NOW_NS - 2_000_000_000
    return events.event(**{"start_unix_ns": started, "end_unix_ns": NOW_NS, "received_unix_ns": NOW_NS} | changes)


def some(count: int) -> list[Event]:
    return [event() for _ in range(count)]


def endpoint(engine: EngineProcess, **changes: Any) -> Endpoint:
    plain = Endpoint("127.0.0.1", engine.port, "writer", password(engine.data, "writer"), "analytics")
    return plain._replace(**changes)


def with_sink(
    engine: EngineProcess, use: Callable[[ClickHouseSink], Awaitable[None]], *, open_: bool = True, **settings: Any
) -> None:
    """Run `use` with a sink that writes to this engine."""

    async def go() -> None:
        chosen = Settings(name="store", **{"dsn": f"chdb://{engine.data}", **settings})
        sink = create(chosen, lambda: endpoint(engine))
        try:
            if open_:
                await sink.open()
            await use(sink)
        finally:
            await sink.close()

    asyncio.run(go())


def count(engine: EngineProcess, what: str = "count()") -> int:
    return int(engine.ask(f"SELECT {what} FROM api_events")[1])
