"""What passes between the bridge and a lane's process: JSON objects, each after its length, over a pair of sockets.

to the lane      hello    settings, the partition as it is, requests and sinks that stopped it before: the first message
                 news     what has been committed: segments, requests with their tenant and number of records
                 ask      check, reload, replay, minutes, stop: answered by a message with the same number
                 rates    of a budget that all lanes share, from a moment on
                 resume   a sink that was set aside is to be tried again
to the bridge    ready, failed    after hello
                 released         everything before a position may be deleted
                 report           what the admin port tells, once a second
                 arrivals         for that budget, some times a second
                 ask              append: a request that could not be mapped goes into the spool again
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

_LENGTH = struct.Struct("<I")
# Of a message to come: a request that goes into the spool again may be of max_body_bytes, and base64 makes 4/3 of it.
_MOST_BYTES = 1 << 30

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]


class Gone(Exception):
    """The other end is not there any more."""


class Channel:
    """One end. `handle` gets every message that is no answer, in order; what it returns for an `ask` is the answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer)

    def send(self, what: str, **fields: Any) -> None:
        """A message that nobody answers; lost without a word when the other end is gone."""
        body = orjson.dumps({"what": what, **fields}, option=orjson.OPT_NON_STR_KEYS)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(body)) + body)

    async def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """The answer. Raises Gone, or ValueError with the other end's words when it could not."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            if self._writer.is_closing():
                raise Gone
            self.send("ask", of=what, number=number, **fields)
            found = await answer
        finally:
            self._asked.pop(number, None)
        if "error" in found:
            raise ValueError(found["error"])
        return found

    async def receive(self) -> dict[str, Any]:
        """The next message. Raises Gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > _MOST_BYTES:
                raise Gone
            message: dict[str, Any] = orjson.loads(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Gone from error
        return message

    async def run(self, handle: Handler) -> None:
        """Hand over messages until the other end is gone."""
        try:
            while True:
                message = await self.receive()
                if message["what"] == "answer":
                    waiting = self._asked.get(message["number"])
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message)
                elif message["what"] == "ask":
                    task = asyncio.create_task(self._answer(message, handle))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                else:
                    await handle(message)
        except Gone:
            return
        finally:
            self.close()

    async def _answer(self, message: dict[str, Any], handle: Handler) -> None:
        try:
            answer = await handle(message) or {}
        except Exception as error:
            answer = {"error": str(error) or type(error).__name__, "kind": type(error).__name__}
        self.send("answer", number=message["number"], **answer)

    def close(self) -> None:
        """Let go; who waits for an answer gets Gone."""
        self._writer.close()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(Gone())


def packed(thing: object) -> str:
    """An object of ours for a message: settings, which hold secrets, never travel by a command line."""
    return base64.b64encode(pickle.dumps(thing)).decode()


def unpacked(text: str) -> Any:
    """What `packed` was given, by the process that started this one."""
    return pickle.loads(base64.b64decode(text))  # noqa: S301 - from our own parent, over a private pair of sockets
