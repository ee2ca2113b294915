"""What the spool's tests share: a loop per test, an open spool, everything that is in it."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec

from receiver.spool import Appended, Entry, Spool, SpoolSettings
from receiver.spool.files import FileLayer

P = ParamSpec("P")
NOW = 1_700_000_000_000_000_000


def on_a_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def body() -> None:
            await test(*args, **kwargs)

        asyncio.run(body())

    return run


def settings(directory: Path, **changes: object) -> SpoolSettings:
    """Small segments in a folder below a directory."""
    return SpoolSettings.model_validate(
        {"directory": directory / "spool", "segment_bytes": 1 << 16, "max_bytes": 1 << 24, "min_free_bytes": 0}
        | changes
    )


def entry(body: bytes, tenant: str = "shop", signal: str = "traces", received: int = NOW) -> Entry:
    return Entry(signal, tenant, "application/x-protobuf", "gzip", received, body)


@asynccontextmanager
async def opened(chosen: SpoolSettings, files: FileLayer | None = None) -> AsyncIterator[Spool]:
    spool = Spool(chosen, lambda *_: None, files=files)
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()


async def fill(spool: Spool, count: int, size: int = 1000) -> list[Appended]:
    """Distinct requests, one group each, so that segments are cut where they should be."""
    return [await spool.append(entry(b"%d " % number + os.urandom(size))) for number in range(count)]


async def read_all(spool: Spool, position: int = 0) -> list[Entry]:
    found = []
    while (stored := await spool.read(position)) is not None:
        found.append(stored.entry)
        position = stored.next_position
    return found


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until it holds: deletions and probes happen in the writer thread."""
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not become true within four seconds")


def segments(chosen: SpoolSettings) -> list[Path]:
    return sorted(chosen.directory.glob("*.spool"))
