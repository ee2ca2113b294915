"""A whole bridge in the test's own process, so that a test can plant faults in it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from bridge import free_port
from weighbridge import service
from weighbridge.admin import CLIENT_HEADER
from weighbridge.settings import Settings


@contextlib.asynccontextmanager
async def running(folder: Path, **sections: Any) -> AsyncIterator[tuple[str, str]]:
    """A whole bridge in this process: where its receiver and its admin port are."""
    receiver, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = Settings.model_validate(
        {
            "receiver": {"endpoint": receiver},
            "admin": {"endpoint": admin},
            "spool": {"directory": str(folder / "spool")},
            "exporter": {"sinks": [{"name": "none", "type": "blackhole"}], "batch": {"max_age_s": 0.01}},
            **sections,
        }
    )
    thresholds, interval, handlers = gc.get_threshold(), sys.getswitchinterval(), logging.getLogger().handlers
    ready = asyncio.Event()
    bridge = asyncio.create_task(service.run(settings, ready.set))
    await asyncio.wait([bridge, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield f"http://{receiver}", f"http://{admin}"
    finally:
        if not bridge.done():
            os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(bridge, 60) == []
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
        logging.getLogger().handlers = handlers


async def asked(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def until(done: Callable[[str], bool], url: str) -> str:
    """What is said there once it is as wished."""
    async with asyncio.timeout(60):
        while not done(text := await asked(url)):
            await asyncio.sleep(0.02)
    return text


async def post(receiver: str, body: bytes, path: str = "/v1/traces") -> None:
    """A request of protobuf that must be acknowledged."""
    headers = {"Content-Type": "application/x-protobuf"}
    async with aiohttp.ClientSession() as session, session.post(receiver + path, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def replay(admin: str) -> dict[str, Any]:
    """Asks for all dead letters to be sent again; the answer."""
    async with (
        aiohttp.ClientSession(headers={CLIENT_HEADER: "test"}) as session,
        session.post(f"{admin}/deadletter/replay") as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found
