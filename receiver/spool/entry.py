"""What goes into the spool, what comes out, and the two ways it refuses.

    SpoolFull      no room now (bytes, disk, or queue): the sender shall come back; nothing was stored
    SpoolFailed    the disk fails, or the directory cannot be used: not ready; nothing was acknowledged

`Spool.append` raises both, `Spool.open` and `Spool.read` raise SpoolFailed. The text is for operators: no payload.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

OFFSET_BITS = 32  # of a position: the low half is the offset in the segment, the high half the segment's number


class Entry(NamedTuple):
    """One request as it came in."""

    signal: str  # "traces" | "logs", at most 255 bytes
    tenant: str  # as authenticated, at most 65,535 bytes
    content_type: str  # at most 65,535 bytes
    content_encoding: str  # at most 255 bytes
    received_unix_ns: int  # wall clock of the receiver
    body: bytes  # raw, as sent


class Stored(NamedTuple):
    """An entry read back. `next_position` is where to read on."""

    position: int
    next_position: int
    entry: Entry


class Appended(NamedTuple):
    """Where an entry is. A duplicate was not stored again: both positions are then the committed end at that moment."""

    position: int
    next_position: int
    duplicate: bool


class SpoolFull(Exception):
    """No room for this entry now. Nothing of it was stored; a later append may succeed.

    cause: "spool" (it holds max_bytes), "disk" (others have filled it, too) or "queue" (the disk does not keep up).
    """

    def __init__(self, text: str, cause: Literal["spool", "disk", "queue"] = "disk") -> None:
        super().__init__(text)
        self.cause = cause


class SpoolFailed(Exception):
    """The spool cannot keep its promise at the moment, or never in this directory. Nothing was acknowledged."""


def position_of(segment: int, offset: int) -> int:
    """The position of an offset in a segment: orders like (segment, offset)."""
    return segment << OFFSET_BITS | offset


def split_position(position: int) -> tuple[int, int]:
    """Segment number and offset of a position."""
    return position >> OFFSET_BITS, position & ((1 << OFFSET_BITS) - 1)
