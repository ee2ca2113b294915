"""Events written to a real engine as the sink writes them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

from engine_process import EngineProcess
from exporter.sink import Batch
from exporter.sinks.clickhouse import Settings, create, event_day
from mapping.event import Event

RETENTION_DAYS = 3650  # captures keep their dates


def store_events(engine: EngineProcess, rows: Iterable[Event], database: str = "analytics") -> None:
    """Write the events, one batch a day; the batch's id is the day, so that a database takes each day once."""

    async def go() -> None:
        secret = (engine.data / "writer.password").read_text()
        dsn = f"http://writer:{secret}@127.0.0.1:{engine.port}/{database}"
        sink = create(Settings(name="s", dsn=dsn, retention_days=RETENTION_DAYS))
        await sink.open()
        days = itertools.groupby(
            sorted(rows, key=lambda e: e.start_unix_ns), key=lambda e: event_day(e, RETENTION_DAYS)
        )
        for day, of_day in days:
            await sink.write(Batch(day, list(of_day)), in_doubt=False)
        await sink.close()

    asyncio.run(go())
