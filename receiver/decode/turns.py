"""Where a body is decoded: on the event loop when that is quick, in a thread when others would have to wait."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from mapping.otlp.decode import Decoded, Decoder
from receiver.answers import Media
from receiver.decode import compression, prescan
from receiver.decode.request import DecodeLimits, decode_plain
from receiver.errors import BadRequest

# Bodies up to these sizes (as sent; inflated protobuf; inflated JSON) are decoded on the loop unless they hold many
# small things (`_is_slow`). The usual 512 spans take 2 ms there.
_INLINE_SENT = 256 << 10
_INLINE_PLAIN = {Media.PROTOBUF: 1 << 20, Media.JSON: 64 << 10}
# More than this on the loop holds up others for some 10 ms: empty log records, resources, JSON objects, attributes of
# 7 bytes.
_INLINE_RECORDS = 5000
_INLINE_OBJECTS = 5000
# What is refused after long work was made to be: the thread rests so many times as long, and its sender waits. A flood
# of such bodies gets a fifth of a core at most, from however many connections it comes.
_REST = 4
_MAX_REST_S = 1.0


class Decoding:
    """Long bodies are decoded one at a time, which bounds their memory, by a decoder with caches of its own."""

    def __init__(self, decoder: Decoder, limits: DecodeLimits) -> None:
        self._decoder = decoder
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, "receiver-decode")
        self._thread_decoder = Decoder()
        self._turns = _Turns()

    async def decode(
        self, signal: str, media: Media, codings: tuple[str, ...], body: bytes, sender: str = ""
    ) -> Decoded:
        """As receiver.decode.request.decode_request. Senders take turns with long bodies. Raises BadRequest."""
        limits = self._limits
        if len(body) <= _INLINE_SENT:
            longest = min(_INLINE_PLAIN[media], limits.max_body_bytes)
            try:
                plain = compression.inflate(body, codings, longest)
            except BadRequest as error:
                if error.status != 413 or longest == limits.max_body_bytes:
                    raise
            else:
                if len(plain) <= longest and not _is_slow(media, plain):
                    return decode_plain(self._decoder, signal, media, plain, limits)

        # The outcome comes back in a box, not as the future's result: the futures of asyncio and concurrent.futures
        # refer to each other, so what they hold stays until a garbage collection, and the bridge runs those seldom.
        box: list[Decoded | Exception] = []

        def in_thread() -> None:
            started = time.thread_time()
            try:
                plain = compression.inflate(body, codings, limits.max_body_bytes)
                box.append(decode_plain(self._thread_decoder, signal, media, plain, limits))
            except BadRequest as error:
                box.append(error.with_traceback(None))  # which refers to the body
                time.sleep(min(_MAX_REST_S, _REST * (time.thread_time() - started)))
            except Exception as error:
                box.append(error)

        await self._turns.take(sender)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, in_thread)
        finally:
            self._turns.give()
        return _unboxed(box)

    async def close(self) -> None:
        """Wait for the thread. No request may be under way any more."""
        await asyncio.to_thread(self._thread.shutdown)


class _Turns:
    """Whose body is next in the thread: each waiting sender gets one turn before any gets a second, so that however
    many one of them sends, the others wait for one body of it only."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # none is empty; the first sender is next

    async def take(self, sender: str) -> None:
        """Returns when it is the sender's turn, which lasts until `give`."""
        if not self._taken:
            self._taken = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sender, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give()  # it came just before the sender went away
            raise

    def give(self) -> None:
        """Let the next sender have its turn, passing over requests that were cancelled."""
        while self._waiting:
            sender = next(iter(self._waiting))
            queue = self._waiting.pop(sender)
            turn = queue.popleft()
            if queue:
                self._waiting[sender] = queue  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


def _is_slow(media: Media, plain: bytes) -> bool:
    """Whether decoding takes long for the size. Takes 15 us for the usual 512 spans, at most 3 ms."""
    if media is Media.JSON:
        return plain.count(b"{") > _INLINE_OBJECTS
    return prescan.is_crowded(plain) or max(prescan.records_in(plain, _INLINE_RECORDS)) > _INLINE_RECORDS


def _unboxed(box: list[Decoded | Exception]) -> Decoded:
    """What is in the box, returned or raised. A frame that goes on holding what it raised would be a cycle as well."""
    outcome = box.pop()
    try:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    finally:
        del outcome
