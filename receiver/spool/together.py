"""What the partitions of one spool share: which requests were seen, and how much room there is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from receiver.spool.digests import RequestMemory
from receiver.spool.events import Queued
from receiver.spool.settings import SpoolSettings

if TYPE_CHECKING:
    from receiver.spool.spool import Spool


class Together:
    """A request that is sent again is known whichever partition has it, and `max_bytes` is of all of them."""

    def __init__(self, settings: SpoolSettings) -> None:
        self.memory = RequestMemory(settings.remember_s, settings.remember_max_requests, time.monotonic)
        self.spools: list[Spool] = []

    def waiting(self, digest: bytes) -> Queued | None:
        """The request with this digest that is on its way to the disk."""
        for spool in self.spools:
            if (found := spool.waiting(digest)) is not None:
                return found
        return None

    @property
    def queued_bytes(self) -> int:
        """Bytes of requests that wait for the disk."""
        return sum(spool.queued_bytes for spool in self.spools)

    @property
    def bytes_used(self) -> int:
        """Bytes on disk."""
        return sum(spool.bytes_used for spool in self.spools)
