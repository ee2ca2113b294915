"""Where a body is decoded: on the event loop when that is quick, in a thread when others would have to wait."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
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
# What is refused after long work was made to be: its sender waits so many times as long for the answer, and for its
# next turn. A flood of such bodies gets a fifth of a core at most, from however many connections of one sender.
_REST = 4
_MAX_REST_S = 1.0
# Two, so that a body that takes seconds leaves one for the others; each may hold a decoded body of max_body_bytes.
_THREADS = 2
# What a thread still works on when the bridge stops is not waited for: no answer was given yet, it is sent again.
_STOP_S = 0.2


class Decoding:
    """Long bodies are decoded in threads, each by a decoder with caches of its own; one body of a sender at a time.

    So memory is bounded by the number of threads, and no sender waits for more than one body of each other.
    """

    def __init__(self, decoder: Decoder, limits: DecodeLimits) -> None:
        self._decoder = decoder
        self._limits = limits
        self._threads = ThreadPoolExecutor(_THREADS, "decode")
        self._idle = [type(decoder)() for _ in range(_THREADS)]
        self._turns = _Turns(_THREADS)
        self._working: set[asyncio.Future[float]] = set()

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

        def in_thread() -> float:
            """How long the sender must rest, in seconds."""
            started = time.thread_time()
            decoder = self._idle.pop()
            try:
                plain = compression.inflate(body, codings, limits.max_body_bytes)
                box.append(decode_plain(decoder, signal, media, plain, limits))
            except BadRequest as error:
                box.append(error.with_traceback(None))  # which refers to the body
                return min(_MAX_REST_S, _REST * (time.thread_time() - started))
            except Exception as error:
                box.append(error)
            finally:
                self._idle.append(decoder)
            return 0.0

        await self._turns.take(sender)
        rest_s = 0.0
        work = asyncio.get_running_loop().run_in_executor(self._threads, in_thread)
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        try:
            rest_s = await asyncio.shield(work)  # cancelled or not, the thread goes on to the end
        finally:
            self._turns.give(sender, rest_s)
        if rest_s:
            await asyncio.sleep(rest_s)
        return _unbox(box)

    async def close(self) -> bool:
        """Whether all threads have ended; one that is busy ends with its body. No request is answered any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._working:
            await asyncio.wait(self._working, timeout=_STOP_S)
        return not self._working


class _Turns:
    """Whose body is next: each waiting sender gets one turn before any gets a second, and none has two at a time, so
    that however many one of them sends, the others wait for one body of it only."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._busy: set[str] = set()  # senders that have a turn, or rest after one
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # none is empty; the first sender is next

    async def take(self, sender: str) -> None:
        """Returns when it is the sender's turn, which lasts until `give`."""
        if self._free and sender not in self._busy:
            self._begin(sender)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sender, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give(sender)  # it came just before the sender went away
            raise

    def give(self, sender: str, rest_s: float = 0.0) -> None:
        """Let the next one have its turn; this sender not before it has rested."""
        self._free += 1
        if rest_s:
            asyncio.get_running_loop().call_later(rest_s, self._end_rest, sender)
        else:
            self._busy.discard(sender)
        self._go_on()

    def _begin(self, sender: str) -> None:
        self._free -= 1
        self._busy.add(sender)

    def _end_rest(self, sender: str) -> None:
        self._busy.discard(sender)
        self._go_on()

    def _go_on(self) -> None:
        """Begin what can begin, passing over requests that were cancelled."""
        for sender in list(self._waiting):
            if not self._free:
                return
            if sender in self._busy:
                continue
            queue = self._waiting.pop(sender)
            while queue and (turn := queue.popleft()):
                if not turn.done():
                    self._begin(sender)
                    turn.set_result(None)
                    break
            if queue:
                self._waiting[sender] = queue  # behind all others


def _is_slow(media: Media, plain: bytes) -> bool:
    """Whether decoding takes long for the size. Takes 15 us for the usual 512 spans, at most 3 ms."""
    if media is Media.JSON:
        return plain.count(b"{") > _INLINE_OBJECTS
    return prescan.is_crowded(plain) or max(prescan.records_in(plain, _INLINE_RECORDS)) > _INLINE_RECORDS


def _unbox(box: list[Decoded | Exception]) -> Decoded:
    """What is in the box, returned or raised. A frame that goes on holding what it raised would be a cycle as well."""
    outcome = box.pop()
    try:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    finally:
        del outcome
