"""The spool as the bridge sees it: one partition for each lane, and which of them a request goes to.

Partition 0 is `spool.directory` itself, the others are folders in its `lanes/`, each a spool like the first. What is
asked of the whole is put together here: a request that is sent again is known wherever it is, and `spool.max_bytes` is
of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

from mapping.otlp.records import Decoded
from receiver.spool import Appended, Entry, Spool, SpoolCounts, SpoolFull
from receiver.spool.settings import SpoolSettings
from receiver.spool.together import Together
from receiver.spool.watching import Watcher

FOLDER = "lanes"
# Bytes that a lane may have to read more than the one that has least, before requests go there instead. Far more than
# a lane has when it keeps up, and little beside the memory of duplicates that a trace's other lane lacks.
MOST_BEHIND = 8 << 20

OnCommit = Callable[[int, Appended, Entry, object], None]


def folder_of(directory: Path, number: int) -> Path:
    """Where a partition is."""
    return directory / FOLDER / str(number) if number else directory


def folders(directory: Path) -> list[Path]:
    """Of all partitions that there are on disk, whether there is anything in them or not."""
    names = [path.name for path in (directory / FOLDER).glob("*") if path.name.isdecimal()]
    return [folder_of(directory, number) for number in sorted({0, *map(int, names)})]


def root_of(folder: Path) -> Path:
    """The spool's directory, of the folder of one of its partitions."""
    return folder.parent.parent if folder.parent.name == FOLDER else folder


def numbers_on_disk(directory: Path) -> list[int]:
    """Partitions beside the first that there is something in: requests, dead letters, or what could not be mapped."""
    return [int(folder.name) for folder in folders(directory)[1:] if _is_in_use(folder)]


def _is_in_use(folder: Path) -> bool:
    if any(path.stat().st_size > 64 for path in folder.glob("*.spool")):  # more than a header
        return True
    letters = folder / "deadletter.jsonl"
    if letters.exists() and letters.stat().st_size:
        return True
    return any(folder.glob("unmappable/*.bin")) or any(folder.glob("refused/*"))


class Partitions:
    """All partitions. `takers` are the numbers of those that new requests go to; what is in the others is delivered."""

    def __init__(
        self,
        settings: SpoolSettings,
        takers: Sequence[int],
        others: Sequence[int],
        on_commit: OnCommit,
        watcher: Callable[[int], Watcher | None] = lambda number: None,
        is_ready: Callable[[int], bool] = lambda number: True,
    ) -> None:
        """on_commit: as of Spool, with the partition's number. is_ready: whether a partition is being read."""
        self._is_ready = is_ready
        self.takers = tuple(takers)
        together = Together(settings)
        self.spools = {
            number: Spool(
                settings.model_copy(update={"directory": folder_of(settings.directory, number)}),
                _with_number(number, on_commit),
                together=together,
                watcher=watcher(number),
            )
            for number in sorted({*takers, *others})
        }
        self._together = together

    async def open(self) -> None:
        """Lock, recover and start them, the first one first: its lock is that of all. Raises SpoolFailed."""
        try:
            for number in sorted(self.spools):
                await self.spools[number].open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """As `Spool.close`, the first one last."""
        for number in sorted(self.spools, reverse=True):
            await self.spools[number].close()

    def choose(self, decoded: Decoded) -> int:
        """The partition for a request: by the trace of its first record, unless that one is behind or not running."""
        takers = self.takers
        if len(takers) == 1:
            return takers[0]
        wanted = takers[crc32(decoded.first_trace_id) % len(takers)]
        waiting = {number: self.waiting_bytes(number) for number in takers if self._is_ready(number)}
        if not waiting:
            return wanted
        least = min(waiting, key=waiting.__getitem__)
        if wanted not in waiting or waiting[wanted] - waiting[least] > MOST_BEHIND:
            return least
        return wanted

    def waiting_bytes(self, number: int) -> int:
        """Bytes of a partition that are not released."""
        spool = self.spools[number]
        return spool.bytes_from(spool.released)

    # -- of the whole --------------------------------------------------------------------------------------

    @property
    def failed(self) -> str:
        """Why nothing can be acknowledged now, "" when all is well."""
        return next((spool.failed for spool in self.spools.values() if spool.failed), "")

    @property
    def full(self) -> SpoolFull | None:
        """Why there is no room, None when there is."""
        return next((full for number in self.takers if (full := self.spools[number].full)), None)

    @property
    def bytes_used(self) -> int:
        return self._together.bytes_used

    @property
    def request_count(self) -> int:
        return sum(spool.request_count for spool in self.spools.values())

    @property
    def oldest_received_unix_ns(self) -> int:
        """Of the oldest record not released anywhere; 0 when there is none."""
        return min((at for spool in self.spools.values() if (at := spool.oldest_received_unix_ns)), default=0)

    @property
    def last_sync_unix_ns(self) -> int:
        return max(spool.last_sync_unix_ns for spool in self.spools.values())

    @property
    def last_sync_s(self) -> float:
        """How long the last fdatasync took."""
        return max(self.spools.values(), key=lambda spool: spool.last_sync_unix_ns).last_sync_s

    @property
    def counts(self) -> SpoolCounts:
        """Of all together."""
        each = [spool.counts for spool in self.spools.values()]
        return SpoolCounts(
            **{name: sum(getattr(counts, name) for counts in each) for name in SpoolCounts.__dataclass_fields__}
        )


def _with_number(number: int, on_commit: OnCommit) -> Callable[[Appended, Entry, object], None]:
    return lambda appended, entry, payload: on_commit(number, appended, entry, payload)
