"""What passes between the event loop and the writer thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from receiver.spool.entry import Appended, Entry, SpoolFailed, SpoolFull
from receiver.spool.on_disk import HEADER_SIZE, Names, SegmentHeader


class Queued:
    """One entry on its way to the disk. The event loop makes it, the writer fills in the positions."""

    __slots__ = ("digest", "entry", "futures", "names", "next_position", "payload", "position", "size")

    def __init__(
        self, entry: Entry, payload: object, names: Names, digest: bytes, futures: list[asyncio.Future[Appended]]
    ) -> None:
        self.entry = entry
        self.payload = payload
        self.names = names
        self.digest = digest
        self.futures = futures  # private to the event loop
        self.size = HEADER_SIZE + len(names.encoded) + len(entry.body)
        self.position = 0
        self.next_position = 0


class Committed(NamedTuple):
    """A group is durable."""

    requests: list[Queued]
    segment: int
    end: int  # of the segment
    end_sequence: int
    new: SegmentHeader | None  # when this group began the segment
    synced_unix_ns: int
    sync_s: float


class Refused(NamedTuple):
    """Nothing of a group was acknowledged, nor will be."""

    requests: list[Queued]
    error: SpoolFull | SpoolFailed


class Sealed(NamedTuple):
    segment: int
    sidecar_bytes: int  # 0 when it could not be written


class Forgotten(NamedTuple):
    """Sidecars that were deleted."""

    segments: Sequence[int]


class Broken(NamedTuple):
    """The writer has ended on an error of its own."""

    error: BaseException


Event = Committed | Refused | Sealed | Forgotten | Broken
