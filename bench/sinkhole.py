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


async def serve(folder: str) -> None:
    from exporter.clickhouse.engine.supervisor import EngineSupervisor

    supervisor = EngineSupervisor(Path(folder) / "engine")
    engine = await supervisor.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def answer(request: web.Request) -> web.Response:
            body = await request.read()
            if request.method == "POST" and _is_insert(request, body):
                rows = _rows(body) if request.headers.get("Content-Encoding") == "lz4" else 0
                return web.Response(headers={"X-ClickHouse-Summary": json.dumps({"written_rows": str(rows)})})
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in {"host", "content-length", "authorization", "transfer-encoding"}
            }
            async with session.request(
                request.method,
                f"http://{engine.host}:{engine.port}{request.rel_url}",
                data=body,
                headers={**headers, "Authorization": aiohttp.encode_basic_auth(engine.user, engine.password)},
            ) as reply:
                kept = {
                    name: value
                    for name, value in reply.headers.items()
                    if name.lower().startswith(("x-clickhouse", "content-type", "content-encoding"))
                }
                return web.Response(status=reply.status, body=await reply.read(), headers=kept)

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", answer)
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
