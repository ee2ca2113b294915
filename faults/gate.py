"""An HTTP server that answers as it is told: before a peer that does the work, or as a destination of its own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import aiohttp
from aiohttp import web

# Of one connection, not of the message.
_HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


class Reply(NamedTuple):
    """An answer in place of the peer's."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    after_work: bool = False  # the peer does the work, and its answer is thrown away


Decide = Callable[[bytes], Reply | None]  # of a request's body; None: nothing is wrong with it


def nothing_wrong(body: bytes) -> Reply | None:
    return None


class Gate:
    """`await start()`, then `port`; set `decide` at will. Without a peer, what is not refused is kept in `taken`."""

    def __init__(self, host: str = "", port: int = 0) -> None:
        self._peer = f"http://{host}:{port}" if host else ""
        self.decide: Decide = nothing_wrong
        self.refused_at: list[float] = []  # monotonic seconds
        self.taken: list[tuple[str, bytes]] = []  # paths, and bodies as inflated
        self.port = 0

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60))
        self._runner = web.AppRunner(app, auto_decompress=not self._peer)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        reply = self.decide(body)
        if reply is None or reply.after_work:
            done = await self._done(request, body)
            if reply is None:
                return done
        assert reply is not None
        self.refused_at.append(time.monotonic())
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    async def _done(self, request: web.Request, body: bytes) -> web.Response:
        if not self._peer:
            self.taken.append((request.path, body))
            return web.Response()
        try:
            async with self._session.request(
                request.method, self._peer + request.raw_path, data=io.BytesIO(body), headers=_kept(request.headers)
            ) as answer:
                return web.Response(status=answer.status, headers=_kept(answer.headers), body=await answer.read())
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=502)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
