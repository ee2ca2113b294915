"""What a bridge that stops leaves behind, in words."""

from __future__ import annotations

import time
from collections.abc import Iterable

from receiver.spool.watching import Readable

COUNT_S = 0.5  # of a stop, whose other steps leave a second of the ten that containers get


async def left_in_spool(spool: Readable, cursors: Iterable[int]) -> str:
    """How many requests some sink has not finished with, as far as they can be counted in COUNT_S.

    cursors: how far each sink is.
    """
    count, end, deadline = 0, spool.end_position, time.monotonic() + COUNT_S
    position = min(cursors, default=end)
    while position < end and time.monotonic() < deadline:
        stored = await spool.read(position)
        if stored is None:
            break
        count, position = count + 1, stored.next_position
    if position < end and count:
        return f"more than {count} requests"
    return f"{count} request{'' if count == 1 else 's'}"
