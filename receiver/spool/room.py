"""Whether a request may go to the disk now: the bounds of the settings, the free space, and what the disk last said."""

from __future__ import annotations

import time

from receiver.spool.counts import SpoolCounts
from receiver.spool.entry import SpoolFailed, SpoolFull
from receiver.spool.files import FileLayer
from receiver.spool.settings import SpoolSettings
from receiver.spool.together import Together

_FREE_SPACE_AGE_S = 0.1  # how long a look at the free space is good for
_FULL_PAUSE_S = 0.2  # after the disk refused a write, until it is tried again
_FAILED_PAUSE_S = 1.0  # after a write or sync failed for good, until it is tried again


class Room:
    """Of one directory. After a refusal by the disk nothing is let in for a moment."""

    def __init__(
        self, settings: SpoolSettings, directory: str, files: FileLayer, together: Together, counts: SpoolCounts
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._files = files
        self._together = together
        self._counts = counts
        self._free_bytes = 0
        self._free_looked_at = float("-inf")
        self._paused_until = float("-inf")
        self._pause_reason: SpoolFull | SpoolFailed | None = None
        self._no_room_for = 1  # bytes of the append refused last, until one succeeds

    def refuse_while_paused(self) -> None:
        """Raises SpoolFull or SpoolFailed for a moment after the disk said so."""
        if self._pause_reason is not None and time.monotonic() < self._paused_until:
            self.count_refusal(self._pause_reason)
            raise anew(self._pause_reason)

    def lacking(self, size: int) -> SpoolFull | None:
        """Why a request of so many bytes cannot come in, counted as refused; None when it can."""
        why = self._why_full(size)
        if why is not None:
            self._no_room_for = size
            self._counts.refused_full += 1
        return why

    def committed(self) -> None:
        """The disk took something: all is well."""
        self._pause_reason = None
        self._no_room_for = 1

    def pause(self, error: SpoolFull | SpoolFailed) -> float:
        """The disk refused something. For how many seconds nothing is tried."""
        pause_s = _FULL_PAUSE_S if isinstance(error, SpoolFull) else _FAILED_PAUSE_S
        self._pause_reason = error
        self._paused_until = time.monotonic() + pause_s
        return pause_s

    def count_refusal(self, error: SpoolFull | SpoolFailed) -> None:
        """Of one append."""
        if isinstance(error, SpoolFull):
            self._counts.refused_full += 1
        else:
            self._counts.refused_failed += 1

    @property
    def failed(self) -> str:
        """Why the disk takes nothing, "" when it does. A full disk is no failure."""
        return str(self._pause_reason) if isinstance(self._pause_reason, SpoolFailed) else ""

    @property
    def full(self) -> SpoolFull | None:
        """Why there is no room, None when there is: for one byte, or for what was refused since the last commit."""
        if isinstance(self._pause_reason, SpoolFull) and time.monotonic() < self._paused_until:
            return self._pause_reason
        return self._why_full(self._no_room_for)

    def _why_full(self, size: int) -> SpoolFull | None:
        settings = self._settings
        queued, held = self._together.queued_bytes, self._together.bytes_used
        if queued and queued + size > settings.max_queued_bytes:
            return SpoolFull("the disk is slower than the intake", "queue")
        wanted = queued + size
        if held + wanted > settings.max_bytes:
            return SpoolFull(f"it holds {held} of {settings.max_bytes} bytes (spool.max_bytes)", "spool")
        now = time.monotonic()
        if now - self._free_looked_at > _FREE_SPACE_AGE_S:
            self._free_looked_at = now
            self._free_bytes = self._files.free_bytes(self._directory)
        if self._free_bytes - wanted < settings.min_free_bytes:
            free = f"the disk of {self._directory} has {self._free_bytes} bytes free"
            return SpoolFull(f"{free}, spool.min_free_bytes is {settings.min_free_bytes}", "disk")
        return None


def anew(error: SpoolFull | SpoolFailed) -> SpoolFull | SpoolFailed:
    """The same for another append: an exception that is raised twice keeps both tracebacks."""
    return SpoolFull(str(error), error.cause) if isinstance(error, SpoolFull) else SpoolFailed(str(error))
