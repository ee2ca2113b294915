"""The group commit: one thread that writes, syncs and deletes.

Enters: requests, in order, through a deque. Leaves: one `Committed` or `Refused` per group, in order, handed
to `deliver`. A group is everything that waited while the group before it was synced. After a failed sync the
segment is dead: what is not acknowledged is written again to a new one, because a second fdatasync on the
same file may succeed without writing anything (https://wiki.postgresql.org/wiki/Fsync_Errors).
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from receiver.spool.counts import SpoolCounts
from receiver.spool.entry import SpoolFailed, SpoolFull, position_of
from receiver.spool.events import Broken, Committed, Event, Forgotten, Queued, Refused, Sealed
from receiver.spool.files import Buffer, FileLayer
from receiver.spool.on_disk import (
    HEADER_SIZE,
    VERSION,
    SegmentHeader,
    encode_request_header,
    encode_segment_header,
)
from receiver.spool.segments import segment_path
from receiver.spool.settings import SpoolSettings
from receiver.spool.sidecar import Sidecar, Sidecars

log = logging.getLogger(__name__)

_GROUP_BYTES = 8 << 20  # written in one go: bounds how long the first of a group waits for the last
_GROUP_REQUESTS = 4096
_IOV_MAX = 1024  # Linux
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ATTEMPTS = 2  # the second in a new segment


@dataclass(slots=True)
class _Active:
    header: SegmentHeader
    fd: int
    end: int = 0  # committed; 0 until the first group is
    digests: bytearray = field(default_factory=bytearray)
    received_min: int = 0
    received_max: int = 0


class Writer:
    """Owns the active segment. `append`, `delete`, `seal` and `stop` may be called from one other thread."""

    def __init__(
        self,
        files: FileLayer,
        settings: SpoolSettings,
        counts: SpoolCounts,
        deliver: Callable[[Event], None],
        *,
        key: int,
        next_number: int,
        next_sequence: int,
        previous: tuple[int, int, int],
        sidecars: Sidecars,
    ) -> None:
        self._files = files
        self._settings = settings
        self._directory = str(settings.directory)
        self._sync = settings.fsync == "group"
        self._counts = counts
        self._deliver = deliver
        self._key = key
        self._next_number = next_number
        self._sequence = next_sequence
        self._previous = previous
        self._active: _Active | None = None
        self._sidecars = sidecars
        self._stub: int | None = None  # an emptied segment that stays only because it is the newest
        self._queue: deque[Queued] = deque()
        self._chores: deque[tuple[str, int]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._released_at_stop = 0
        self._last_sealed = 0  # by this process, and not deleted
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def append(self, request: Queued) -> None:
        """Queue a request. `wake` makes the writer look."""
        self._queue.append(request)

    def wake(self) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def delete(self, segment: int) -> None:
        self._do("delete", segment)

    def set_aside(self, segment: int) -> None:
        """Move a segment that this build cannot read into the quarantine folder."""
        self._do("set aside", segment)

    def seal(self) -> None:
        """End the active segment, so that it can be deleted once released."""
        self._do("seal", 0)

    def probe(self) -> None:
        """Try the disk without a request; says `Committed` or `Refused` of no requests."""
        self._do("probe", 0)

    def stop(self, released: int = 0) -> None:
        """Write what is queued, seal, delete the segment when all of it is before `released`, and return. Blocks."""
        self._released_at_stop = released
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _do(self, chore: str, segment: int) -> None:
        self._chores.append((chore, segment))
        self.wake()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            log.exception("the spool writer has stopped")
            self._deliver(Broken(error))

    def _work(self) -> None:
        while True:
            self._wake.wait()
            if self._settings.max_wait_ms and not self._stopping:
                time.sleep(self._settings.max_wait_ms / 1000)
            self._wake.clear()
            while self._queue or self._chores:
                if self._queue:
                    self._commit(self._take_group())
                if self._chores:
                    self._do_chores()
            if self._stopping and not self._queue:
                self._seal()
                number, end, _ = self._previous
                if number and position_of(number, end) <= self._released_at_stop and number == self._last_sealed:
                    self._chores.append(("delete", number))
                    self._do_chores()
                return

    def _take_group(self) -> list[Queued]:
        group: list[Queued] = []
        size = 0
        limit = min(_GROUP_BYTES, self._settings.segment_bytes)
        while self._queue and len(group) < _GROUP_REQUESTS:
            size += self._queue[0].size
            if group and size > limit:
                break
            group.append(self._queue.popleft())
        return group

    def _commit(self, group: list[Queued]) -> None:
        try:
            committed = self._write_durably(group)
        except (SpoolFull, SpoolFailed) as error:
            self._deliver(Refused(group, error))
            return
        self._counts.groups += bool(group)
        self._deliver(committed)
        if self._stub is not None:
            self._try(self._files.unlink, segment_path(self._directory, self._stub))
            self._stub = None
        if committed.end >= self._settings.segment_bytes:
            self._seal()

    def _write_durably(self, group: list[Queued]) -> Committed:
        failure: OSError | None = None
        for _ in range(_ATTEMPTS):
            active = self._active or self._begin_segment()
            new = active.header if not active.end else None
            end, buffers = self._encode(active, group)
            try:
                self._write_all(active.fd, buffers, active.end)
            except OSError as error:
                self._counts.write_errors += 1
                self._abandon(active)
                if error.errno in _FULL:
                    raise SpoolFull(f"the disk of {self._directory} is full") from error
                failure = error
                continue
            started = time.perf_counter()
            try:
                if self._sync:
                    self._files.sync(active.fd)
                    if new is not None:
                        self._files.sync_directory(self._directory)
            except OSError as error:
                self._counts.sync_errors += 1
                log.error("spool segment %d is written no more, its sync failed: %s", active.header.number, error)
                self._abandon(active)
                if error.errno in _FULL:  # delayed allocation, or a quota on a network file system
                    raise SpoolFull(f"the disk of {self._directory} is full") from error
                failure = error
                continue
            sync_s = time.perf_counter() - started
            self._note(active, group, end)
            return Committed(group, active.header.number, end, self._sequence, new, time.time_ns(), sync_s)
        raise SpoolFailed(f"cannot write to {self._directory}: {failure}") from failure

    def _begin_segment(self) -> _Active:
        number = self._next_number
        try:
            fd = self._files.create(segment_path(self._directory, number))
        except OSError as error:
            self._counts.write_errors += 1
            if isinstance(error, FileExistsError):
                self._next_number += 1
            kind = SpoolFull if error.errno in _FULL else SpoolFailed
            raise kind(f"cannot create a segment in {self._directory}: {error.strerror}") from error
        self._next_number += 1
        self._counts.segments_created += 1
        header = SegmentHeader(VERSION, self._key, number, *self._previous, self._sequence, time.time_ns())
        self._active = _Active(header, fd)
        return self._active

    def _encode(self, active: _Active, group: list[Queued]) -> tuple[int, list[Buffer]]:
        """Where the group will end, and its bytes. Sets the requests' positions."""
        buffers: list[Buffer] = []
        offset = active.end
        number = active.header.number
        if not offset:
            buffers.append(encode_segment_header(active.header))
            offset = HEADER_SIZE
        committed = offset
        sequence = self._sequence
        for request in group:
            entry = request.entry
            buffers.append(
                encode_request_header(
                    request.names,
                    sequence=sequence,
                    received_unix_ns=entry.received_unix_ns,
                    body=entry.body,
                    committed=committed,
                    digest=request.digest,
                    key=self._key,
                    segment=number,
                )
            )
            buffers.append(entry.body)
            request.position = position_of(number, offset)
            offset += request.size
            request.next_position = position_of(number, offset)
            sequence += 1
        return offset, buffers

    def _write_all(self, fd: int, buffers: list[Buffer], offset: int) -> None:
        start = 0
        while start < len(buffers):
            part = buffers[start : start + _IOV_MAX]
            wanted = sum(map(len, part))
            written = self._files.write(fd, part, offset)
            if written == wanted:
                start += len(part)
                offset += written
                continue
            if written == 0:
                raise OSError(errno.EIO, "a write wrote nothing")
            offset += written
            while written:  # a short write: go on where it ended; a full disk then says so
                head = len(buffers[start])
                if written >= head:
                    written -= head
                    start += 1
                else:
                    buffers[start] = memoryview(buffers[start])[written:]
                    written = 0

    def _note(self, active: _Active, group: list[Queued], end: int) -> None:
        if group:
            times = [request.entry.received_unix_ns for request in group]
            first = not active.digests
            active.received_min = min(times) if first else min(active.received_min, *times)
            active.received_max = max(times) if first else max(active.received_max, *times)
            active.digests += b"".join([request.digest for request in group])
        self._counts.appended_requests += len(group)
        self._counts.appended_bytes += end - active.end
        active.end = end
        self._sequence += len(group)

    def _abandon(self, active: _Active) -> None:
        """After a failed write or sync: cut off what is not acknowledged, and never touch this file's content again."""
        if not active.end:
            self._active = None
            self._try(self._files.close, active.fd)
            self._try(self._files.unlink, segment_path(self._directory, active.header.number))
            return
        # A help only: the next segment's header says where this one ends.
        self._try(self._files.truncate, active.fd, active.end)
        self._seal()

    def _seal(self) -> None:
        active, self._active = self._active, None
        if active is None:
            return
        self._try(self._files.close, active.fd)
        header = active.header
        if not active.digests:
            self._try(self._files.unlink, segment_path(self._directory, header.number))
            self._deliver(Sealed(header.number, 0))
            return
        self._previous = (header.number, active.end, active.end)
        self._last_sealed = header.number
        sidecar = Sidecar(
            self._key,
            header.number,
            active.end,
            active.end,
            header.first_sequence,
            self._sequence,
            len(active.digests) // 16,
            active.received_min,
            active.received_max,
            time.time_ns(),
            bytes(active.digests),
        )
        self._sidecars.add(sidecar)
        self._deliver(Sealed(header.number, 0))
        self._save_sidecars()

    def _save_sidecars(self) -> None:
        for number, size in self._sidecars.save():
            self._deliver(Sealed(number, size))
        forgotten = self._sidecars.forget()
        if forgotten:
            self._deliver(Forgotten(forgotten))

    def _do_chores(self) -> None:
        deleted = 0
        while self._chores:
            chore, number = self._chores.popleft()
            if chore == "seal":
                self._seal()
            elif chore == "probe":
                if self._active is None:
                    self._commit([])
            elif self._remove(number, keep=chore == "set aside"):
                deleted += 1
                self._sidecars.orphan(number)
            else:
                self._counts.delete_errors += 1
        if deleted:
            self._counts.segments_deleted += deleted
            self._save_sidecars()  # there may be room again

    def _remove(self, number: int, *, keep: bool) -> bool:
        path = segment_path(self._directory, number)
        if number == self._last_sealed:
            self._last_sealed = 0
        self._save_sidecars()
        if self._keeps_numbering(number):
            self._stub = number
            return self._try(self._empty, path)
        if not keep:
            return self._try(self._files.unlink, path)
        folder = f"{self._directory}/quarantine"
        return self._try(self._files.make_directory, folder) and self._try(
            self._files.rename, path, segment_path(folder, number)
        )

    def _keeps_numbering(self, number: int) -> bool:
        """Whether this file alone tells, after a crash, which positions have been given out."""
        if self._previous[0] != number or (self._active is not None and self._active.end):
            return False
        return self._sidecars.unsaved(number)

    def _empty(self, path: str) -> None:
        """Give back the space of a segment but for its header: needs no room, unlike a new file."""
        fd = self._files.open(path, writable=True)
        try:
            self._files.truncate(fd, HEADER_SIZE)
        finally:
            self._files.close(fd)

    def _try(self, call: Callable[..., None], *arguments: object) -> bool:
        """Whether a call that nothing depends on succeeded."""
        try:
            call(*arguments)
        except FileNotFoundError:
            return True
        except OSError as error:
            log.warning("a file of the spool: %s", error)
            return False
        return True
