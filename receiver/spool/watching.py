"""How a process that reads a spool is told what is in it by the one that writes it, and what both have in common."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from receiver.spool.entry import Stored
from receiver.spool.segments import Segment


class Snapshot(NamedTuple):
    """All that a reader must know to begin: the key of the files, the end, and the fields of every segment."""

    key: int
    end: int
    segments: list[tuple[Any, ...]]


class Watcher(Protocol):
    """Is told of every change that a reader must know of. Called on the event loop."""

    def segment(self, segment: Segment) -> None:
        """It is new, has grown or is sealed."""
        ...

    def removed(self, number: int) -> None:
        """A segment is deleted."""
        ...


class Readable(Protocol):
    """A spool for those who read it: `receiver.spool.spool.Spool` itself, or a `Follower` in another process."""

    async def read(self, position: int) -> Stored | None:
        """The next intact committed record at or after a position, None at the committed end. Raises SpoolFailed."""
        ...

    def release(self, position: int) -> None:
        """Everything before a position may be deleted."""
        ...

    @property
    def start_position(self) -> int: ...

    @property
    def end_position(self) -> int: ...

    def bytes_from(self, position: int) -> int:
        """Bytes of requests at or after a position, as they are on disk."""
        ...

    @property
    def oldest_received_unix_ns(self) -> int:
        """Receive time of the oldest record not released, 0 when there is none or it is damaged."""
        ...
