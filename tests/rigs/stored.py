"""Events written to a real engine as the sink writes them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable

from engine_process import EngineProcess
from exporter.clickhouse.sink import ClickHouseSink
from exporter.sink import Batch, Calls
from exporter.sinks.clickhouse import Settings, create, event_day
from mapping.event import Event

RETENTION_DAYS = 3650  # captures keep their dates


def store_events(engine: EngineProcess, rows: Iterable[Event], database: str = "analytics") -> None:
    """Write the events, one batch a day; the batch's id is the day, so that a database takes each day once."""

    async def write(sink: ClickHouseSink, day: int, of_day: list[Event]) -> None:
        await sink.write(Batch(day, of_day), in_doubt=False)

    _with_days(engine, rows, database, write)


def count_events(engine: EngineProcess, rows: Iterable[Event], batch: int = 0, database: str = "analytics") -> None:
    """Count the events, as the sink does; batch: another number for what comes later."""

    async def count(sink: ClickHouseSink, day: int, of_day: list[Event]) -> None:
        await sink.count(Calls(batch * 10**6 + day, of_day, [], True), in_doubt=False)

    _with_days(engine, rows, database, count)


def _with_days(
    engine: EngineProcess,
    rows: Iterable[Event],
    database: str,
    use: Callable[[ClickHouseSink, int, list[Event]], Awaitable[None]],
) -> None:
    async def go() -> None:
        secret = (engine.data / "writer.password").read_text()
        dsn = f"http://writer:{secret}@127.0.0.1:{engine.port}/{database}"
        kept = {"retention_days": RETENTION_DAYS, "minutes_retention_days": RETENTION_DAYS}
        sink = create(Settings(name="s", dsn=dsn, **kept))
        await sink.open()
        days = itertools.groupby(
            sorted(rows, key=lambda e: e.start_unix_ns), key=lambda e: event_day(e, RETENTION_DAYS)
        )
        for day, of_day in days:
            await use(sink, day, list(of_day))
        await sink.close()

    asyncio.run(go())
