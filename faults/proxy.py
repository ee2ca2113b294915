"""A TCP proxy that misbehaves on demand: `python -m faults.proxy --help`.

Stands between two parts of the system, or between a sender and the bridge, where `tc netem` is not to be had. What is
wrong can be changed at any time; connections that are open obey at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from dataclasses import dataclass

CHUNK_BYTES = 64 * 1024
SLICES_PER_S = 20  # of a throttled stream


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong. The default is nothing."""

    refuse: bool = False  # the port is closed, and open connections are reset
    half_open: bool = False  # connections are accepted, nothing moves on them any more
    close_after_commit: float = (
        0.0  # share of answers that are swallowed: the peer did the work, its client learns nothing
    )
    matching: bytes = b""  # only answers to requests that contain this are swallowed
    delay_s: float = 0.0  # before each piece of an answer
    bytes_per_s: int | None = None  # per connection, each way


NONE = Fault()


@dataclass
class ProxyCounts:
    connections: int = 0
    unreachable: int = 0  # the peer did not accept
    swallowed: int = 0  # answers not handed on
    bytes_up: int = 0
    bytes_down: int = 0


class _Connection:
    """One client and its peer."""

    def __init__(self, client: asyncio.StreamWriter, peer: asyncio.StreamWriter) -> None:
        self.client = client
        self.peer = peer
        self.asked = bytearray()  # since the last answer, while a fault wants to know

    def abort(self) -> None:
        self.client.transport.abort()
        self.peer.transport.abort()


class Proxy:
    """Forwards to host:port. `await start()`, then `port`; set `fault` at will through `set_fault`."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._host = host
        self._peer_port = port
        self._dice = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.fault = NONE
        self.port = 0
        self.counts = ProxyCounts()

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one."""
        self.port = port
        await self._listen()

    def redirect(self, host: str, port: int) -> None:
        """Where new connections go: the peer has moved."""
        self._host, self._peer_port = host, port

    async def set_fault(self, fault: Fault) -> None:
        """From now on; returns when the port is closed or open as the fault says."""
        self.fault = fault
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.refuse:
            await self._close_port()
            for connection in list(self._connections):
                connection.abort()
        elif self._server is None:
            await self._listen()

    async def stop(self) -> None:
        await self._close_port()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close_port(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        try:
            peer_reader, peer_writer = await asyncio.open_connection(self._host, self._peer_port)
        except OSError:
            self.counts.unreachable += 1
            writer.transport.abort()
            return
        connection = _Connection(writer, peer_writer)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(connection, reader))
                group.create_task(self._down(connection, peer_reader))
        except* OSError:
            pass
        finally:
            self._connections.discard(connection)
            connection.abort()
            await asyncio.gather(writer.wait_closed(), peer_writer.wait_closed(), return_exceptions=True)

    async def _up(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._while_half_open()
            if self.fault.matching:
                connection.asked += data
            self.counts.bytes_up += len(data)
            await self._send(connection.peer, data)
        _end(connection.peer)

    async def _down(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._while_half_open()
            if self._swallow(connection):
                self.counts.swallowed += 1
                connection.abort()
                return
            connection.asked.clear()
            if self.fault.delay_s:
                await asyncio.sleep(self.fault.delay_s)
            self.counts.bytes_down += len(data)
            await self._send(connection.client, data)
        _end(connection.client)

    def _swallow(self, connection: _Connection) -> bool:
        fault = self.fault
        if not fault.close_after_commit or fault.matching not in connection.asked:
            return False
        return self._dice.random() < fault.close_after_commit

    async def _while_half_open(self) -> None:
        while self.fault.half_open:
            await self._changed.wait()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """All at once, or in slices as the rate of the moment allows."""
        sent = 0
        while sent < len(data):
            rate = self.fault.bytes_per_s
            if rate is None:
                writer.write(data[sent:])
                await writer.drain()
                return
            step = max(1, rate // SLICES_PER_S)
            writer.write(data[sent : sent + step])
            sent += step
            await writer.drain()
            await asyncio.sleep(step / rate)


def _end(writer: asyncio.StreamWriter) -> None:
    """Hand the end of a stream on; the other direction may still be open."""
    with contextlib.suppress(OSError, RuntimeError):
        if not writer.is_closing() and writer.can_write_eof():
            writer.write_eof()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--listen", type=int, default=0, help="port on 127.0.0.1; default: a free one")
    arguments.add_argument("--to", required=True, help="host:port")
    arguments.add_argument("--refuse", action="store_true")
    arguments.add_argument("--half-open", action="store_true")
    arguments.add_argument("--close-after-commit", type=float, default=0.0, metavar="SHARE")
    arguments.add_argument("--matching", default="", help="only answers to requests that contain this")
    arguments.add_argument("--delay", type=float, default=0.0, metavar="SECONDS")
    arguments.add_argument("--bytes-per-s", type=int)
    options = arguments.parse_args()
    host, _, port = options.to.rpartition(":")

    async def run() -> None:
        proxy = Proxy(host, int(port))
        await proxy.start(options.listen)
        await proxy.set_fault(
            Fault(
                refuse=options.refuse,
                half_open=options.half_open,
                close_after_commit=options.close_after_commit,
                matching=options.matching.encode(),
                delay_s=options.delay,
                bytes_per_s=options.bytes_per_s,
            )
        )
        print(f"listening on 127.0.0.1:{proxy.port}", flush=True)
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


if __name__ == "__main__":
    main()
