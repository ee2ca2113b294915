"""The operator's port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from weighbridge.admin.server import Admin, AdminSettings, Metric, exposition


class Health:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def refresh(self) -> None:
        pass

    def not_ready(self) -> list[str]:
        return self.reasons

    def facts(self) -> dict[str, Any]:
        return {"last_sync_age_s": 0.5}

    def metrics(self) -> Iterable[Metric]:
        return [Metric("requests_total", "counter", "Requests.", [({"signal": "traces"}, 3), ({}, 0.5)])]


async def get(port: int, path: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, response.headers["Content-Type"], await response.text()


def test_alive_ready_and_metrics() -> None:
    async def run() -> None:
        health = Health()
        admin = await Admin.start(AdminSettings(endpoint="127.0.0.1:0"), health)
        try:
            assert (await get(admin.port, "/healthz"))[0] == 200
            assert (await get(admin.port, "/readyz"))[0] == 200
            health.reasons = ["the spool is full"]
            status, _, text = await get(admin.port, "/readyz")
            assert status == 503
            assert json.loads(text) == {"status": "not ready", "reasons": ["the spool is full"], "last_sync_age_s": 0.5}
            assert (await get(admin.port, "/healthz"))[0] == 200
            status, content_type, text = await get(admin.port, "/metrics")
            assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
            assert 'requests_total{signal="traces"} 3' in text
            assert (await get(admin.port, "/nowhere"))[0] == 404
        finally:
            await admin.stop()

    asyncio.run(run())


def test_the_assembly_may_add_routes() -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def run() -> None:
        admin = await Admin.start(AdminSettings(endpoint="127.0.0.1:0"), Health(), [web.get("/hello", hello)])
        try:
            assert (await get(admin.port, "/hello"))[2] == "hello"
        finally:
            await admin.stop()

    asyncio.run(run())


def test_a_port_in_use_is_an_os_error() -> None:
    async def run() -> None:
        admin = await Admin.start(AdminSettings(endpoint="127.0.0.1:0"), Health())
        try:
            with pytest.raises(OSError, match=r"(?i)in use"):
                await Admin.start(AdminSettings(endpoint=f"127.0.0.1:{admin.port}"), Health())
        finally:
            await admin.stop()

    asyncio.run(run())


def test_the_text_format_escapes_what_must_not_end_a_line_or_a_label() -> None:
    metric = Metric("x", "gauge", "back\\slash\nnew line", [({"tenant": 'a"b\\c\nd'}, 1e15)])
    assert exposition([metric]) == (
        '# HELP x back\\\\slash\\nnew line\n# TYPE x gauge\nx{tenant="a\\"b\\\\c\\nd"} 1000000000000000\n'
    )
