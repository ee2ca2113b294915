"""Where a process of ours is, in memory that another reads: what stops it cannot keep it from being seen.

Four numbers of eight bytes: a count of beats of its event loop, the place it is at (0: none), a count of steps there,
and how often it came to a place.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

_FIELDS = struct.Struct("<4Q")
_PLACE = struct.Struct("<Q")
SIZE = 4 * mmap.PAGESIZE  # the rest is for `weighbridge.lanes.marks`


class Progress:
    """The same pages in both processes. A number is written in one piece; one of them writes, the other reads."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: of a file of SIZE bytes that both have open; it may be closed afterwards."""
        self.memory = mmap.mmap(descriptor, SIZE)
        self._beats = self._steps = self._begun = 0

    def beat(self) -> None:
        """The event loop turns."""
        self._beats += 1
        _PLACE.pack_into(self.memory, 0, self._beats)

    def begin(self, place: int) -> None:
        """Something begins there that may stop this process."""
        self._begun += 1
        _PLACE.pack_into(self.memory, 24, self._begun)
        _PLACE.pack_into(self.memory, 8, place)

    def step(self) -> None:
        """It goes on there."""
        self._steps += 1
        _PLACE.pack_into(self.memory, 16, self._steps)

    def end(self) -> None:
        """It is done."""
        _PLACE.pack_into(self.memory, 8, 0)

    def read(self) -> tuple[int, int, int, int]:
        """Beats, place, steps, places begun."""
        return _FIELDS.unpack_from(self.memory)

    def close(self) -> None:
        self.memory.close()


def new_file() -> int:
    """A descriptor of pages to share: a file without a name."""
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        return os.dup(file.fileno())
