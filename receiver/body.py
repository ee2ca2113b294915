"""The body of a request as sent: counted while it is read, within a time that its size earns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from receiver.budgets import Budgets
from receiver.errors import BadRequest
from receiver.settings import ReceiverSettings

if TYPE_CHECKING:
    from receiver.app import Export

# Seconds that the bytes of a body can earn it: whoever has sent 45 MB fast would have earned half a day at 1 KiB/s.
_LONGEST_EARNED_S = 60.0


async def read_body(export: Export, settings: ReceiverSettings, budgets: Budgets) -> bytes:
    """The whole body, at most max_body_bytes; its bytes are held as in flight in export.held.

    Raises BadRequest: 413 when it is (or says it is) longer, 408 when it comes too slowly, 417 for an expectation other
    than 100-continue. Raises Throttled or Overloaded when no more bytes may be in flight.
    """
    request, content = export.request, export.request.content
    limit = settings.max_body_bytes
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if "Expect" in request.headers:
        await _send_continue(export)
    if content.is_eof():  # the whole body came with the headers, as most do
        body = content.read_nowait()
        if len(body) > limit:
            raise _too_large(limit)
        budgets.hold(export, len(body))
        return body

    chunks = []
    size = 0
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(settings.body_timeout_s) as timer:
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                budgets.arrive(export, len(chunk))
                chunks.append(chunk)
                earned_s = min(size / settings.min_body_bytes_per_s, _LONGEST_EARNED_S)
                timer.reschedule(started + settings.body_timeout_s + earned_s)
    except TimeoutError:
        raise BadRequest(408, f"the body came too slowly: {size} bytes so far") from None
    budgets.arrived(export)
    return b"".join(chunks)


async def _send_continue(export: Export) -> None:
    request = export.request
    if request.headers["Expect"].lower() != "100-continue":
        raise BadRequest(417, "the only expectation known is 100-continue")
    if request.version >= (1, 1) and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp does: this was not the answer yet


def _too_large(limit: int) -> BadRequest:
    return BadRequest(413, f"body is longer than {limit} bytes; send smaller batches")
