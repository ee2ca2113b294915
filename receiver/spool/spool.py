"""The spool: `append` returns once a request is on disk, `read` gives it back, `release` lets it go."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import astuple

from receiver.spool.counts import SpoolCounts
from receiver.spool.digests import digest_of, scope_of
from receiver.spool.entry import (
    Appended,
    Entry,
    SpoolFailed,
    SpoolFull,
    Stored,
    position_of,
)
from receiver.spool.events import Broken, Committed, Event, Forgotten, Queued, Refused, Sealed
from receiver.spool.files import FileLayer, OsFiles
from receiver.spool.on_disk import (
    HEADER_SIZE,
    MAX_BODY_BYTES,
    Names,
    encode_names,
)
from receiver.spool.reader import Reader
from receiver.spool.recovery import Recovered, recover
from receiver.spool.room import Room, anew
from receiver.spool.segments import Segment, Segments
from receiver.spool.settings import SpoolSettings
from receiver.spool.sidecar import Sidecars
from receiver.spool.together import Together
from receiver.spool.watching import Snapshot, Watcher
from receiver.spool.writer import Writer

log = logging.getLogger(__name__)

_DIGEST_AT_ONCE = 1 << 20  # bytes, a millisecond; the digest of a longer body is made in a thread
_NAMES_CACHED = 1024
_INT64 = 1 << 63

OnCommit = Callable[[Appended, Entry, object], None]


class Spool:
    """One directory of segments. Event loop only; the disk work is done in two threads of its own.

    `on_commit` is called on the loop, once per new request, in position order, before the appends of that
    group return.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        on_commit: OnCommit,
        *,
        files: FileLayer | None = None,
        together: Together | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        """together: of the partitions of one spool. watcher: is told of every segment, for readers elsewhere."""
        self._settings = settings.model_copy(update={"directory": settings.directory.absolute()})
        self._directory = str(self._settings.directory)
        self._on_commit = on_commit
        self._files: FileLayer = files if files is not None else OsFiles()
        self.counts = SpoolCounts()
        self.last_sync_unix_ns = 0  # wall clock of the last commit, 0 for none yet
        self.last_sync_s = 0.0  # how long its fdatasync took
        self._segments = Segments()
        self._together = together if together is not None else Together(settings)
        self._together.spools.append(self)
        self._memory = self._together.memory
        self._watcher = watcher
        self._in_flight: dict[bytes, Queued] = {}
        self._queued_bytes = 0
        self._bytes = 0  # on disk: segments and their indexes
        self._sidecar_bytes: dict[int, int] = {}
        self._names: dict[tuple[str, str, str, str], Names] = {}
        self._scopes: dict[tuple[str, str], bytes] = {}
        self._kicked = False
        self._room = Room(self._settings, self._directory, self._files, self._together, self.counts)
        self._closed = True
        self._broken: BaseException | None = None
        self._released = 0
        self._end = 0
        self._aged = 0  # number of the active segment once it is older than seal_after_s, 0 for none
        self._ageing: asyncio.TimerHandle | None = None
        self._lock = -1

    async def open(self) -> None:
        """Lock the directory, recover what is in it, start the writer. Raises SpoolFailed."""
        self._loop = asyncio.get_running_loop()
        try:
            recovered = await self._loop.run_in_executor(None, self._recover)
        except OSError as error:
            self._unlock()
            raise SpoolFailed(f"spool.directory: cannot open {self._directory}: {error.strerror or error}") from error
        except BaseException:
            self._unlock()
            raise
        last = self._segments.last
        self._end = position_of(last.number, last.end) if last else position_of(recovered.next_number, 0)
        self._released = self.start_position
        self._key = recovered.key
        self._reader = Reader(self._files, self._settings, self.counts, self._segments, recovered.key)
        sidecars = Sidecars(
            self._files,
            self._directory,
            self._settings.remember_s,
            sync=self._settings.fsync == "group",
            unsaved=recovered.unsaved,
            orphans=recovered.orphans,
        )
        self._writer = Writer(
            self._files,
            self._settings,
            self.counts,
            self._deliver,
            key=recovered.key,
            next_number=recovered.next_number,
            next_sequence=recovered.next_sequence,
            previous=(last.number, last.end, last.proven) if last else (0, 0, 0),
            sidecars=sidecars,
        )
        self._writer.start()
        self._closed = False

    async def append(self, entry: Entry, payload: object = None, *, known: bool = False) -> Appended:
        """Where the entry is, once it is durable.

        Raises SpoolFull, SpoolFailed, ValueError (a name or the body too long).
        An entry whose tenant, signal and body were seen within `remember_s` is not stored again; if the first
        one is still on its way to the disk, this waits for it. A cancelled append may still store its entry.
        known: store it although it was seen before.
        """
        scope = self._scopes.get((entry.tenant, entry.signal)) or self._scope(entry)
        if len(entry.body) > _DIGEST_AT_ONCE:
            digest = await asyncio.to_thread(digest_of, scope, entry.body)
        else:
            digest = digest_of(scope, entry.body)
        if self._closed or self._broken:
            raise self._unusable()
        waiting: asyncio.Future[Appended] = self._loop.create_future()
        first = self._together.waiting(digest)
        if first is not None:
            first.futures.append(waiting)
            appended = await waiting
            self.counts.duplicates += 1
            return appended._replace(duplicate=True)
        if digest in self._memory and not known:
            self.counts.duplicates += 1
            return Appended(self._end, self._end, True)
        names = self._names.get(entry[:4]) or self._encode_names(entry)
        if len(entry.body) > MAX_BODY_BYTES or not -_INT64 <= entry.received_unix_ns < _INT64:
            raise ValueError(f"{len(entry.body)} bytes received at {entry.received_unix_ns} ns cannot be stored")
        request = Queued(entry, payload, names, digest, [waiting])
        self._admit(request.size)
        self._in_flight[digest] = request
        self._queued_bytes += request.size
        self._writer.append(request)
        if not self._kicked:  # once per round of the loop, so that all requests of the round share a group
            self._kicked = True
            self._loop.call_soon(self._kick)
        return await waiting

    async def read(self, position: int) -> Stored | None:
        """The next intact committed request at or after a position, None at the committed end. Raises SpoolFailed.

        Damaged requests are counted, reported and stepped over. A position inside a request reads the one after it.
        """
        if self._closed:
            raise self._unusable()
        return await self._reader.read(position)

    def release(self, position: int) -> None:
        """Everything before a position may be deleted. Whole segments are, soon; going back is ignored."""
        self._released = max(self._released, min(position, self._end))
        if self._aged:
            self._seal_aged(self._aged)
        self._delete_released()

    async def close(self) -> None:
        """Write what is queued, seal, delete what is released, unlock. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._ageing is not None:
            self._ageing.cancel()
        await self._loop.run_in_executor(None, self._writer.stop, self._released)
        await asyncio.sleep(0)  # what the writer delivered last is handled first
        await self._reader.close()
        self._unlock()

    @property
    def start_position(self) -> int:
        """Where the oldest record is, or the end when there is none."""
        return self._segments.start(self._end)

    @property
    def released(self) -> int:
        """Everything before this position may be deleted."""
        return self._released

    @property
    def end_position(self) -> int:
        """After the last committed request."""
        return self._end

    @property
    def failed(self) -> str:
        """Why nothing can be acknowledged now, "" when all is well. For readiness; a full disk is no failure."""
        if self._broken is not None:
            return f"the spool writer has stopped: {self._broken!r}"
        return self._room.failed

    @property
    def full(self) -> SpoolFull | None:
        """Why there is no room, None when there is: for one byte, or for what was refused since the last commit."""
        return self._room.full

    @property
    def bytes_used(self) -> int:
        """Bytes on disk: segments and their indexes."""
        return self._bytes

    def bytes_from(self, position: int) -> int:
        """Bytes of requests at or after a position, as they are on disk."""
        return self._segments.bytes_from(position)

    @property
    def queued_bytes(self) -> int:
        """Bytes of requests that wait for the disk."""
        return self._queued_bytes

    def waiting(self, digest: bytes) -> Queued | None:
        """The request with this digest that is on its way to the disk."""
        return self._in_flight.get(digest)

    def snapshot(self) -> Snapshot:
        """What another process must know to read along (`receiver.spool.follower`)."""
        return Snapshot(self._key, self._end, [astuple(segment) for segment in self._segments])

    @property
    def request_count(self) -> int:
        """Requests committed and not released. Reads one header when the release position has moved."""
        last = self._segments.last
        return last.end_sequence - self._reader.first_kept(self._released)[0] if last else 0

    @property
    def oldest_received_unix_ns(self) -> int:
        """Receive time of the oldest request not released, 0 when there is none or it is damaged."""
        return self._reader.first_kept(self._released)[1]

    def _recover(self) -> Recovered:
        self._files.make_directory(self._directory)
        self._lock, holder = self._files.lock(f"{self._directory}/lock", b"%d\n" % os.getpid())
        if self._lock < 0:
            pid = holder.split(b"\n")[0].decode("ascii", "replace").strip() or "unknown"
            raise SpoolFailed(f"spool.directory: {self._directory} is in use by process {pid}")
        recovered = recover(self._files, self._settings, self.counts, time.time_ns())
        for segment in recovered.segments:
            self._segments.add(segment)
            self._bytes += segment.bytes
        for remembered in recovered.remembered:
            self._memory.load(remembered.digests, remembered.age_s)
        self._sidecar_bytes = recovered.sidecar_bytes
        self._bytes += sum(recovered.sidecar_bytes.values())
        return recovered

    def _unlock(self) -> None:
        if self._lock >= 0:
            self._files.close(self._lock)
            self._lock = -1

    def _unusable(self) -> SpoolFailed:
        if self._broken is not None:
            return SpoolFailed(f"the spool writer has stopped: {self._broken!r}")
        return SpoolFailed("the spool is closed")

    def _scope(self, entry: Entry) -> bytes:
        if len(self._scopes) >= _NAMES_CACHED:
            self._scopes.clear()
        scope = self._scopes[entry.tenant, entry.signal] = scope_of(entry.tenant, entry.signal)
        return scope

    def _encode_names(self, entry: Entry) -> Names:
        if len(self._names) >= _NAMES_CACHED:
            self._names.clear()
        names = self._names[entry[:4]] = encode_names(entry)
        return names

    def _admit(self, size: int) -> None:
        self._room.refuse_while_paused()
        why = self._room.lacking(size)
        if why is not None:
            last = self._segments.last
            if last is not None and not last.sealed and position_of(last.number, last.end) <= self._released:
                self._writer.seal()  # all of it is released: it can make room
            raise why

    def _kick(self) -> None:
        self._kicked = False
        self._writer.wake()

    def _deliver(self, event: Event) -> None:
        """Called in the writer thread."""
        try:
            self._loop.call_soon_threadsafe(self._handle, event)
        except RuntimeError:  # the loop is closed: nobody waits any longer
            log.warning("the event loop ended before the spool was closed")

    def _handle(self, event: Event) -> None:
        match event:
            case Committed():
                self._committed(event)
            case Refused(requests, error):
                self._refused(requests, error)
            case Sealed(number, size):
                segment = self._segments.get(number)
                if segment is not None:
                    segment.sealed = True
                    self._tell(segment)
                if size:
                    self._sidecar_bytes[number] = size
                    self._bytes += size
                self._delete_released()
            case Forgotten(numbers):
                self._bytes -= sum(self._sidecar_bytes.pop(number, 0) for number in numbers)
            case Broken(error):
                self._broken = error
                self._refused(list(self._in_flight.values()), self._unusable())

    def _committed(self, group: Committed) -> None:
        segment = self._segments.get(group.segment)
        if segment is None:
            header = group.new
            assert header is not None, "the first group of a segment brings its header"
            segment = Segment(header.number, header.first_sequence, header.first_sequence, bytes=0)
            segment.previous, segment.previous_end = header.previous, header.previous_end
            self._segments.add(segment)
            self._let_age(segment.number)
        self._bytes += group.end - segment.bytes
        segment.bytes = segment.end = segment.proven = group.end
        segment.end_sequence = group.end_sequence
        self._end = position_of(group.segment, group.end)
        self._tell(segment)
        self.last_sync_unix_ns = group.synced_unix_ns
        self.last_sync_s = group.sync_s
        self._room.committed()
        for request in group.requests:
            del self._in_flight[request.digest]
            self._queued_bytes -= request.size
            self._memory.add(request.digest)
            self.counts.forgotten_early = self._memory.forgotten_early
            appended = Appended(request.position, request.next_position, False)
            try:
                self._on_commit(appended, request.entry, request.payload)
            except Exception as error:
                # The request is durable, so the answer is yes; it is mapped when it is read again after a restart.
                self.counts.commit_errors += 1
                self._loop.call_exception_handler({"message": "on_commit failed", "exception": error})
            for waiting in request.futures:
                if not waiting.done():
                    waiting.set_result(appended)

    def _refused(self, requests: list[Queued], error: SpoolFull | SpoolFailed) -> None:
        pause_s = self._room.pause(error)
        if isinstance(error, SpoolFailed) and self._broken is None:
            # Not ready means that no appends come: find out without them when the disk is well again.
            self._loop.call_later(pause_s, self._probe)
        for request in requests:
            del self._in_flight[request.digest]
            self._queued_bytes -= request.size
            for waiting in request.futures:
                self._room.count_refusal(error)
                if not waiting.done():
                    waiting.set_exception(anew(error))

    def _probe(self) -> None:
        if not self._closed and self.failed:
            self._writer.probe()

    def _tell(self, segment: Segment) -> None:
        if self._watcher is not None:
            self._watcher.segment(segment)

    def _let_age(self, number: int) -> None:
        """A segment was begun: look at it again when it is old enough to be sealed."""
        if self._ageing is not None:
            self._ageing.cancel()
        self._aged = 0
        self._ageing = self._loop.call_later(self._settings.seal_after_s, self._seal_aged, number)

    def _seal_aged(self, number: int) -> None:
        """Seal the active segment, so that it goes when it is released, as soon as something in it is.

        While nothing in it is, sinks are away: then a new file every minute would make nothing go sooner.
        """
        self._aged = number
        if self._released > position_of(number, HEADER_SIZE):
            self._aged = 0
            self._writer.seal()

    def _delete_released(self) -> None:
        if self._closed:
            return
        while (segment := self._segments.first) is not None:
            if not segment.sealed or position_of(segment.number, segment.end) > self._released:
                return
            self._segments.remove(segment.number)
            self._bytes -= segment.bytes
            self._reader.forget(segment.number)
            if self._watcher is not None:
                self._watcher.removed(segment.number)
            if segment.foreign:
                self._writer.set_aside(segment.number)
            else:
                self._writer.delete(segment.number)
