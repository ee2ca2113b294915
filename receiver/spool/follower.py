"""A spool read by another process than the one that writes it: the same files, known by what the writer tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from receiver.spool.counts import SpoolCounts
from receiver.spool.entry import Stored, position_of
from receiver.spool.files import FileLayer, OsFiles
from receiver.spool.reader import Reader
from receiver.spool.segments import Segment, Segments
from receiver.spool.settings import SpoolSettings
from receiver.spool.watching import Snapshot


class Follower:
    """`receiver.spool.watching.Readable` without a lock and without a writer. Event loop only.

    It reads on the loop: what was committed a moment ago is in the page cache, and nobody's answer waits on this loop.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        snapshot: Snapshot,
        released: Callable[[int], None],
        files: FileLayer | None = None,
    ) -> None:
        """released: tells the writer that everything before a position may be deleted."""
        self.counts = SpoolCounts()
        self._segments = Segments()
        for fields in snapshot.segments:
            self._segments.add(Segment(*fields))
        self._end = snapshot.end
        self._released = self.start_position
        self._tell_released = released
        self._reader = Reader(
            files if files is not None else OsFiles(), settings, self.counts, self._segments, snapshot.key, inline=True
        )

    def segment(self, fields: Sequence[Any]) -> None:
        """A segment as it is now: `dataclasses.astuple` of the writer's."""
        segment = Segment(*fields)
        known = self._segments.get(segment.number)
        if known is None:
            self._segments.add(segment)
        else:
            self._segments.replace(segment)
        self._end = max(self._end, position_of(segment.number, segment.end))

    def removed(self, number: int) -> None:
        """The writer has deleted a segment."""
        if self._segments.get(number) is not None:
            self._segments.remove(number)
            self._reader.forget(number)

    async def read(self, position: int) -> Stored | None:
        """As `Spool.read`."""
        return await self._reader.read(position)

    def release(self, position: int) -> None:
        """As `Spool.release`."""
        if position > self._released:
            self._released = min(position, self._end)
            self._tell_released(self._released)

    async def close(self) -> None:
        """Let go of the files."""
        await self._reader.close()

    @property
    def start_position(self) -> int:
        return self._segments.start(self._end)

    @property
    def end_position(self) -> int:
        return self._end

    def bytes_from(self, position: int) -> int:
        return self._segments.bytes_from(position)

    @property
    def oldest_received_unix_ns(self) -> int:
        return self._reader.first_kept(self._released)[1]
