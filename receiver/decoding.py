"""Where a body is decoded: on the event loop when that is quick, in a thread when others would have to wait."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from mapping.otlp import Decoded, Decoder
from receiver import compression
from receiver.decode import DecodeLimits, decode_plain
from receiver.errors import BadRequest
from receiver.status import Media

# Bodies up to these sizes (as sent; inflated protobuf; inflated JSON) are decoded on the loop. The usual 512 spans take
# 2 ms there; a body of 1 MiB made to be slow a fifth of a second.
_INLINE_SENT = 256 << 10
_INLINE_PLAIN = {Media.PROTOBUF: 1 << 20, Media.JSON: 64 << 10}


class Decoding:
    """Long bodies are decoded one at a time, which bounds their memory, by a decoder with caches of its own."""

    def __init__(self, decoder: Decoder, limits: DecodeLimits) -> None:
        self._decoder = decoder
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, "receiver-decode")
        self._thread_decoder = Decoder()

    async def decode(self, signal: str, media: Media, codings: tuple[str, ...], body: bytes) -> Decoded:
        """As receiver.decode.decode_request. Raises BadRequest."""
        limits = self._limits
        if len(body) <= _INLINE_SENT:
            longest = min(_INLINE_PLAIN[media], limits.max_body_bytes)
            try:
                plain = compression.inflate(body, codings, longest)
            except BadRequest as error:
                if error.status != 413 or longest == limits.max_body_bytes:
                    raise
            else:
                if len(plain) <= longest:
                    return decode_plain(self._decoder, signal, media, plain, limits)

        # The outcome comes back in a box, not as the future's result: the futures of asyncio and concurrent.futures
        # refer to each other, so what they hold stays until a garbage collection, and the bridge runs those seldom.
        box: list[Decoded | Exception] = []

        def in_thread() -> None:
            try:
                plain = compression.inflate(body, codings, limits.max_body_bytes)
                box.append(decode_plain(self._thread_decoder, signal, media, plain, limits))
            except Exception as error:
                box.append(error)

        await asyncio.get_running_loop().run_in_executor(self._thread, in_thread)
        return _unboxed(box)

    async def close(self) -> None:
        """Wait for the thread. No request may be under way any more."""
        await asyncio.to_thread(self._thread.shutdown)


def _unboxed(box: list[Decoded | Exception]) -> Decoded:
    """What is in the box, returned or raised. A frame that goes on holding what it raised would be a cycle as well."""
    outcome = box.pop()
    try:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    finally:
        del outcome
