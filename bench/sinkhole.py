"""A ClickHouse HTTP endpoint that reads inserts and forgets them, in a process of its own.

It answers the few questions that clickhouse-connect asks through the real engine, so that the client under test does
all its real work; only the rows are dropped.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import aiohttp
import lz4.frame
from aiohttp import web
from pydantic import SecretStr

from bench.process import free_port
from exporter.clickhouse.engine.endpoint import Endpoint
from exporter.clickhouse.engine.settings import EngineSettings

# Other people's drivers get answers as they read them from accounts of tools alone.
DRIVER = "driver", "a-password-of-the-benchmark"
DATABASE = "collected"  # for programs that want one to be there
# In place of DESCRIBE, of which the engine makes no blocks for drivers.
COLUMNS = (
    b"SELECT name, type, '' AS default_type, '' AS default_expression, '' AS comment, '' AS codec_expression, "
    b"'' AS ttl_expression FROM system.columns WHERE table = '%s' ORDER BY position"
)
STRIPPED = {"host", "content-length", "transfer-encoding", "authorization", "x-clickhouse-user", "x-clickhouse-key"}


class Sinkhole:
    """`with Sinkhole() as s:` then s.port."""

    port: int

    def __enter__(self) -> Sinkhole:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sinkhole", self._folder.name], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.port = json.loads(self._process.stdout.readline())["port"]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._folder.cleanup()


class Front:
    """Takes inserts, and asks the engine all else."""

    def __init__(self, session: aiohttp.ClientSession, engine: Endpoint, tools: int) -> None:
        """tools: the port on which the engine answers drivers."""
        self._session = session
        self._engine = engine
        self._tools = tools

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.method == "POST" and _is_insert(request, body):
            rows = _rows(body) if request.headers.get("Content-Encoding") == "lz4" else 0
            return web.Response(headers={"X-ClickHouse-Summary": json.dumps({"written_rows": str(rows)})})
        headers = {name: value for name, value in request.headers.items() if name.lower() not in STRIPPED}
        asks = body.lstrip()[:4].upper() in (b"SELE", b"DESC")
        as_driver = asks and "client_protocol_version" in request.query
        if as_driver and body.startswith(b"DESCRIBE"):
            body = COLUMNS % body.split(b'"')[-2]
        path = str(request.rel_url).replace("database=default&", f"database={DATABASE}&")
        return await self.ask(request.method, path, body, headers, as_driver=as_driver)

    async def ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str], *, as_driver: bool
    ) -> web.Response:
        """The engine's answer."""
        engine = self._engine
        port, account = (self._tools, DRIVER) if as_driver else (engine.port, (engine.user, engine.password))
        headers = {**headers, "Authorization": aiohttp.encode_basic_auth(*account)}
        url = f"http://{engine.host}:{port}{path}"
        async with self._session.request(method, url, data=body, headers=headers) as reply:
            kept = {
                name: value
                for name, value in reply.headers.items()
                if name.lower().startswith(("x-clickhouse", "content-type", "content-encoding"))
            }
            return web.Response(status=reply.status, body=await reply.read(), headers=kept)


async def serve(folder: str) -> None:
    from exporter.clickhouse.engine.supervisor import EngineSupervisor

    tools = free_port()
    supervisor = EngineSupervisor(
        Path(folder) / "engine", EngineSettings(endpoint=f"127.0.0.1:{tools}", users={DRIVER[0]: SecretStr(DRIVER[1])})
    )
    engine = await supervisor.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        front = Front(session, engine, tools)
        await front.ask("POST", "/", f"CREATE DATABASE IF NOT EXISTS {DATABASE}".encode(), {}, as_driver=False)

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", front.answer)
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await runner.cleanup()
    await supervisor.stop()


def _is_insert(request: web.Request, body: bytes) -> bool:
    query = request.query.get("query", "")
    return query.lstrip()[:6].upper() == "INSERT" or body[:6] == b"INSERT" or "Content-Encoding" in request.headers


def _rows(body: bytes) -> int:
    """Rows of an insert in Native format: one lz4 frame for the statement, one for each block."""
    rows, first = 0, True
    while body:
        frame = lz4.frame.LZ4FrameDecompressor()
        block = frame.decompress(body)
        body = frame.unused_data or b""
        if not first and block:
            _, position = _varint(block, 0)  # columns
            rows += _varint(block, position)[0]
        elif not block.startswith(b"INSERT") or b"FORMAT Native" not in block[:8192]:
            return 0  # somebody else's client: it does not ask
        first = False
    return rows


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
