"""Reading requests back, stepping over what is damaged.

Reads go through a few buffers of 1 MiB, so that a replay costs one call to the reading thread per MiB and
several readers at different places do not disturb each other. When a request does not verify, its whole
segment is scanned once; every lost region is then counted, reported with its offset, and kept in the
quarantine folder as far as there is room.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from receiver.spool.counts import SpoolCounts
from receiver.spool.entry import Entry, SpoolFailed, Stored, position_of, split_position
from receiver.spool.files import FileLayer
from receiver.spool.on_disk import HEADER_SIZE, LONGEST_HEADER, RequestHeader, decode_entry, decode_request_header
from receiver.spool.scan import Region, Scan, scan
from receiver.spool.segments import Segment, Segments, segment_path
from receiver.spool.settings import SpoolSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

_CHUNK_BYTES = 1 << 20
_CHUNKS = 4
_SCANS = 4
_DESCRIPTORS = 8
_PAGE_BYTES = 4096
_QUARANTINE_PIECE_BYTES = 1 << 20


class _Chunk(NamedTuple):
    segment: int
    start: int
    data: bytes


class Reader:
    """Reads committed requests. Event loop only; the file work is done in one thread."""

    def __init__(
        self,
        files: FileLayer,
        settings: SpoolSettings,
        counts: SpoolCounts,
        segments: Segments,
        key: int,
        *,
        inline: bool = False,
    ) -> None:
        """inline: the file work is done on the loop, where nobody waits for an answer."""
        self._files = files
        self._directory = str(settings.directory)
        self._counts = counts
        self._segments = segments
        self._key = key
        self._executor = None if inline else ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._chunks: list[_Chunk] = []  # last used at the end
        self._scans: OrderedDict[int, Scan] = OrderedDict()
        self._descriptors: OrderedDict[int, int] = OrderedDict()  # used in the reading thread only
        self._reported: dict[int, set[int]] = {}  # segment: offsets of regions counted already
        self._first_known = (-1, 0, 0)  # a position; sequence and receive time of the request there
        self._quarantine_room = settings.quarantine_max_bytes

    async def read(self, position: int) -> Stored | None:
        number, offset = split_position(max(position, 0))
        segment = self._segments.at_or_after(number)
        if segment is not None and segment.number != number:
            self._check_start(segment, number, offset)
            offset = 0
        while segment is not None:
            if not segment.foreign:
                stored = await self._read_in(segment, max(offset, HEADER_SIZE))
                if stored is not None:
                    self._counts.read_requests += 1
                    return stored
            following = self._segments.at_or_after(segment.number + 1)
            if following is not None:
                self._check_gap(segment, following)
            segment, offset = following, 0
        return None

    def first_kept(self, released: int) -> tuple[int, int]:
        """Sequence and receive time of the first request at or after a position; time 0: none, or damaged.

        Reads one header, on the loop, when the position is not the one of the last call.
        """
        known = self._first_known
        if known[0] == released and known[2]:
            return known[1], known[2]
        number, offset = split_position(released)
        segment = self._segments.at_or_after(number)
        if segment is not None and segment.number == number and offset >= segment.end:
            segment, offset = self._segments.at_or_after(number + 1), 0
        elif segment is not None and segment.number > number:
            offset = 0
        if segment is None:
            last = self._segments.last
            return (last.end_sequence if last else 0), 0
        header = self._header(segment, max(offset, HEADER_SIZE))
        if header is None:
            return segment.first_sequence, 0
        self._first_known = (released, header.sequence, header.received_unix_ns)
        return header.sequence, header.received_unix_ns

    def forget(self, segment: int) -> None:
        """Let go of what is known about a segment that is deleted."""
        self._chunks = [chunk for chunk in self._chunks if chunk.segment != segment]
        self._scans.pop(segment, None)
        self._reported.pop(segment, None)
        if self._executor is None:
            self._close_descriptor(segment)
        else:
            self._executor.submit(self._close_descriptor, segment)

    async def close(self) -> None:
        await self._work(self._close_all)
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    async def _read_in(self, segment: Segment, offset: int) -> Stored | None:
        """The next intact request in a segment, or None after its last."""
        while offset < segment.end:
            found = self._in_chunks(segment, offset)
            if found is None:
                found = await self._fetch(segment, offset)
            if found is not None:
                header, entry = found
                return Stored(
                    position_of(segment.number, offset),
                    position_of(segment.number, offset + header.size),
                    entry,
                )
            intact = await self._step_over(segment, offset)
            if intact is None:
                return None
            if intact == offset:
                raise SpoolFailed(f"segment {segment.number} reads differently at {offset} each time")
            offset = intact
        return None

    def _in_chunks(self, segment: Segment, offset: int) -> tuple[RequestHeader, Entry] | None:
        """The request at an offset when it is whole and intact in a buffer."""
        for index in range(len(self._chunks) - 1, -1, -1):
            chunk = self._chunks[index]
            at = offset - chunk.start
            if chunk.segment == segment.number and 0 <= at < len(chunk.data):
                found = self._decode(segment, chunk.data, at)
                if found is not None:
                    self._chunks.append(self._chunks.pop(index))
                    return found
        return None

    def _decode(self, segment: Segment, data: bytes, at: int) -> tuple[RequestHeader, Entry] | None:
        header = decode_request_header(data, at, segment.number, self._key)
        if header is None:
            return None
        entry = decode_entry(header, data, at)
        return (header, entry) if entry is not None else None

    async def _fetch(self, segment: Segment, offset: int) -> tuple[RequestHeader, Entry] | None:
        size = min(_CHUNK_BYTES, segment.end - offset)
        data = await self._in_thread(segment, size, offset)
        header = decode_request_header(data, 0, segment.number, self._key)
        if header is None:
            return None
        if len(data) < header.size <= segment.end - offset:
            data = await self._in_thread(segment, header.size, offset)
        self._chunks = [*self._chunks[-_CHUNKS + 1 :], _Chunk(segment.number, offset, data)]
        return self._decode(segment, data, 0)

    async def _in_thread(self, segment: Segment, size: int, offset: int) -> bytes:
        return await self._work(lambda: self._read_file(segment.number, size, offset))

    async def _work(self, call: Callable[[], T]) -> T:
        """The result of file work."""
        if self._executor is None:
            return call()
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _read_file(self, number: int, size: int, offset: int) -> bytes:
        """Bytes of a segment; unreadable pages are zeros, a file that is gone is empty."""
        try:
            fd = self._descriptor(number)
            return self._files.read(fd, size, offset)
        except FileNotFoundError:
            return b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise SpoolFailed(f"cannot read segment {number}: {error.strerror}") from error
            return self._read_around(number, size, offset)

    def _read_around(self, number: int, size: int, offset: int) -> bytes:
        """Page by page past bad sectors. When the first page cannot be read either, the device is gone: no damage."""
        try:
            fd = self._descriptor(number)
            self._files.read(fd, HEADER_SIZE, 0)
        except OSError as error:
            raise SpoolFailed(f"cannot read segment {number}: {error.strerror}") from error
        pieces = []
        while size > 0:
            step = min(size, _PAGE_BYTES - offset % _PAGE_BYTES)
            try:
                piece = self._files.read(fd, step, offset)
            except OSError:
                piece = bytes(step)
            pieces.append(piece)
            if len(piece) < step:
                break
            size -= step
            offset += step
        return b"".join(pieces)

    def _descriptor(self, number: int) -> int:
        fd = self._descriptors.pop(number, None)
        if fd is None:
            fd = self._files.open(segment_path(self._directory, number), writable=False)
        self._descriptors[number] = fd
        if len(self._descriptors) > _DESCRIPTORS:
            _, oldest = self._descriptors.popitem(last=False)
            self._files.close(oldest)
        return fd

    def _close_descriptor(self, number: int) -> None:
        fd = self._descriptors.pop(number, None)
        if fd is not None:
            self._files.close(fd)

    def _close_all(self) -> None:
        for number in list(self._descriptors):
            self._close_descriptor(number)

    async def _step_over(self, segment: Segment, offset: int) -> int | None:
        """The next intact request at or after an offset where none verifies; accounts for what is between."""
        known = self._scans.get(segment.number) or await self._scan(segment)
        if self._segments.get(segment.number) is None:  # released meanwhile
            return None
        intact = known.intact_at_or_after(offset)
        stop = segment.end if intact is None else intact
        for region in known.regions:
            if region.start < stop and region.end > offset:
                await self._quarantine(segment, region)
        return intact

    async def _scan(self, segment: Segment) -> Scan:
        found = await self._work(
            lambda: scan(
                lambda size, offset: self._read_file(segment.number, size, offset),
                segment.number,
                self._key,
                end=segment.end,
                first_sequence=segment.first_sequence or None,
                end_sequence=segment.end_sequence or None,
                proven=segment.proven,
            ),
        )
        if segment.sealed:  # an active one grows, and what is known of it ages
            self._scans[segment.number] = found
            if len(self._scans) > _SCANS:
                self._scans.popitem(last=False)
        return found

    async def _quarantine(self, segment: Segment, region: Region) -> None:
        reported = self._reported.setdefault(segment.number, set())
        if region.start in reported:
            return
        reported.add(region.start)
        lost = max(1, region.requests)
        size = region.end - region.start
        if not region.confirmed:  # counted when the tail was recovered, if that was in this process
            return
        self._counts.quarantined_requests += lost
        self._counts.quarantined_regions += 1
        self._counts.quarantined_bytes += size
        log.error(
            "damaged requests in the spool: segment %d, offset %d, %d bytes, %d requests",
            segment.number,
            region.start,
            size,
            lost,
        )
        if size <= self._quarantine_room:
            self._quarantine_room -= size
            await self._work(lambda: self._keep(segment.number, region))

    def _keep(self, number: int, region: Region) -> None:
        """Copy a region's bytes aside, for people. Best effort: the segment itself goes when it is released."""
        folder = f"{self._directory}/quarantine"
        try:
            self._files.make_directory(folder)
            fd = self._files.create(f"{folder}/{number:010d}-{region.start}.bin")
            try:
                offset = region.start
                while offset < region.end:
                    data = self._read_file(number, min(_QUARANTINE_PIECE_BYTES, region.end - offset), offset)
                    if not data:
                        break
                    offset += self._files.write(fd, [data], offset - region.start)
            finally:
                self._files.close(fd)
        except (OSError, SpoolFailed) as error:
            log.warning("damaged bytes of spool segment %d cannot be kept: %s", number, error)

    def _check_start(self, segment: Segment, number: int, offset: int) -> None:
        """A position whose own segment is gone: say so when the segment after it names more than was read."""
        lost = number < segment.previous or (number == segment.previous and offset < segment.previous_end)
        before = self._segments.before(segment.number)
        if number and lost and (before is None or before.number < number):
            self._report_missing(segment.previous, offset, 1)

    def _check_gap(self, segment: Segment, following: Segment) -> None:
        lost = following.first_sequence - segment.end_sequence
        if lost > 0 and not segment.foreign:
            self._report_missing(segment.number + 1, 0, lost)
        elif segment.foreign:
            self._report_missing(segment.number, 0, max(1, segment.end_sequence - segment.first_sequence))

    def _report_missing(self, number: int, offset: int, lost: int) -> None:
        reported = self._reported.setdefault(number, set())
        if -1 in reported:
            return
        reported.add(-1)
        self._counts.quarantined_requests += lost
        self._counts.quarantined_regions += 1
        log.error("spool segment missing or unreadable: segment %d, offset %d, %d requests", number, offset, lost)

    def _header(self, segment: Segment, offset: int) -> RequestHeader | None:
        try:
            fd = self._files.open(segment_path(self._directory, segment.number), writable=False)
            try:
                data = self._files.read(fd, LONGEST_HEADER, offset)
            finally:
                self._files.close(fd)
        except OSError:
            return None
        return decode_request_header(data, 0, segment.number, self._key)
