"""The start: what is on disk, in a time that does not depend on how much it is.

Enters: a directory after any crash. Leaves: every committed request readable at its old position, the last
segment sealed. Segments before the last are taken from their sidecars and from the header of the one after;
only the last, unsealed one is read.
"""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from receiver.spool.counts import SpoolCounts
from receiver.spool.entry import SpoolFailed
from receiver.spool.files import FileLayer
from receiver.spool.on_disk import (
    HEADER_SIZE,
    VERSION,
    SegmentHeader,
    decode_segment_header,
)
from receiver.spool.scan import Read, Scan, guess_key, scan
from receiver.spool.segments import Segment, numbers_in, segment_path, sidecar_path
from receiver.spool.settings import SpoolSettings
from receiver.spool.sidecar import Sidecar, decode_sidecar, write_sidecar

log = logging.getLogger(__name__)

# Numbers of an empty directory start at the seconds since 2020: positions keep rising when the directory was
# emptied by hand.
NUMBERING_EPOCH_S = 1_577_836_800
_COPY_BYTES = 1 << 20


class Remembered(NamedTuple):
    """Digests of a segment and how long ago the youngest of them may have come."""

    number: int
    age_s: float
    digests: bytes


class Recovered(NamedTuple):
    segments: list[Segment]
    key: int
    next_number: int
    next_sequence: int
    remembered: list[Remembered]  # oldest first
    orphans: list[tuple[int, float]]  # sidecars without segment: number, age in seconds
    sidecar_bytes: dict[int, int]
    unsaved: list[Sidecar]  # that could not be written


class _Found(NamedTuple):
    """One segment file as it lies there."""

    number: int
    size: int
    header: SegmentHeader | None
    sidecar: Sidecar | None


def recover(files: FileLayer, settings: SpoolSettings, counts: SpoolCounts, now_unix_ns: int) -> Recovered:
    """Everything the spool must know to run. Raises SpoolFailed, OSError."""
    return _Recovery(files, settings, counts, now_unix_ns).run()


class _Recovery:
    def __init__(self, files: FileLayer, settings: SpoolSettings, counts: SpoolCounts, now_unix_ns: int) -> None:
        self._files = files
        self._directory = str(settings.directory)
        self._settings = settings
        self._counts = counts
        self._now_unix_ns = now_unix_ns
        self._key: int | None = None
        self._sidecars: dict[int, Sidecar] = {}
        self._sidecar_bytes: dict[int, int] = {}
        self._unsaved: list[Sidecar] = []

    def run(self) -> Recovered:
        numbers, sidecar_numbers = numbers_in(self._files.names(self._directory))
        for number in sidecar_numbers:
            self._load_sidecar(number)
        found = [self._look(number) for number in numbers]
        self._refuse_newer(found)
        found = self._without_dead(found)
        self._key = self._find_key(found)
        segments: list[Segment] = []
        for index, this in enumerate(found):
            following = found[index + 1] if index + 1 < len(found) else None
            segment = self._segment(this, following, segments[-1] if segments else None)
            if segment is not None:
                segments.append(segment)
        last = max([*numbers, *sidecar_numbers], default=0)
        floor = max(1, self._now_unix_ns // 1_000_000_000 - NUMBERING_EPOCH_S)
        remembered, orphans = self._memory({segment.number for segment in segments})
        return Recovered(
            segments,
            self._key,
            last + 1 if last else floor,
            self._next_sequence(found, segments),
            remembered,
            orphans,
            self._sidecar_bytes,
            self._unsaved,
        )

    def _next_sequence(self, found: list[_Found], segments: list[Segment]) -> int:
        known = [segment.end_sequence for segment in segments]
        known += [sidecar.end_sequence for sidecar in self._sidecars.values()]
        known += [this.header.first_sequence for this in found if this.header is not None]
        return max(known, default=1)

    def _look(self, number: int) -> _Found:
        fd = self._files.open(segment_path(self._directory, number), writable=False)
        try:
            size = self._files.size(fd)
            header = decode_segment_header(self._files.read(fd, HEADER_SIZE, 0))
        finally:
            self._files.close(fd)
        if header is not None and header.number != number:
            header = None  # a file under a wrong name: its requests do not verify either
        return _Found(number, size, header, self._sidecars.get(number))

    def _load_sidecar(self, number: int) -> None:
        fd = self._files.open(sidecar_path(self._directory, number), writable=False)
        try:
            data = self._files.read(fd, self._files.size(fd), 0)
        finally:
            self._files.close(fd)
        self._sidecar_bytes[number] = len(data)
        sidecar = decode_sidecar(data)
        if sidecar is not None and sidecar.number == number:
            self._sidecars[number] = sidecar

    def _refuse_newer(self, found: list[_Found]) -> None:
        """A newer build wrote here last: starting would leave its requests behind."""
        newest = next((this for this in reversed(found) if this.header is not None), None)
        if newest is not None and newest.header is not None and newest.header.version > VERSION:
            raise SpoolFailed(
                f"{segment_path(self._directory, newest.number)} has format version {newest.header.version}, "
                f"this build reads up to {VERSION}: start the newer build, or move the file away "
                "to give its requests up"
            )

    def _without_dead(self, found: list[_Found]) -> list[_Found]:
        """Leave out segments that a later one does not name as its predecessor: nothing in them was acknowledged."""
        alive: list[_Found] = []
        oldest_linked: int | None = None
        for this in reversed(found):
            if oldest_linked is not None and this.number > oldest_linked:
                self._delete(segment_path(self._directory, this.number))
                continue
            alive.append(this)
            known = this.header is not None and this.header.version <= VERSION
            oldest_linked = this.header.previous if known and this.header is not None else None
        return alive[::-1]

    def _find_key(self, found: list[_Found]) -> int:
        for this in reversed(found):
            if this.header is not None and this.header.version <= VERSION:
                return this.header.key
        for sidecar in self._sidecars.values():
            return sidecar.key
        for this in found:
            fd = self._files.open(segment_path(self._directory, this.number), writable=False)
            try:
                key = guess_key(self._reader(fd), this.number, this.size)
            finally:
                self._files.close(fd)
            if key is not None:
                return key
        return int.from_bytes(os.urandom(4), "little")

    def _reader(self, fd: int) -> Read:
        return lambda size, offset: self._files.read(fd, size, offset)

    def _segment(self, this: _Found, following: _Found | None, before: Segment | None) -> Segment | None:
        """The segment as the spool shall see it, or None when nothing in it was ever acknowledged."""
        if following is None and this.sidecar is None:
            return self._tail(this, before)
        header, sidecar = this.header, this.sidecar
        if header is not None and header.version > VERSION:
            return self._foreign(this, following, before)
        segment = Segment(this.number, 0, 0, bytes=this.size, sealed=True)
        if header is not None:
            segment.previous, segment.previous_end = header.previous, header.previous_end
        first = header.first_sequence if header is not None else None
        if sidecar is not None:
            segment.end, segment.end_sequence, segment.proven = (
                sidecar.end,
                sidecar.end_sequence,
                sidecar.proven,
            )
            first = sidecar.first_sequence
        next_header = following.header if following is not None else None
        linked = next_header is not None and next_header.previous == this.number
        if linked and next_header is not None:
            segment.end, segment.end_sequence = next_header.previous_end, next_header.first_sequence
            if sidecar is None:
                segment.proven = next_header.previous_proven
        if sidecar is None and (not linked or first is None or self._recent(next_header)):
            first = self._read_through(segment, first, linked)
        segment.first_sequence = first if first is not None else segment.end_sequence
        return segment

    def _recent(self, next_header: SegmentHeader | None) -> bool:
        """Whether requests before that header must still be remembered."""
        if next_header is None:
            return True
        return self._now_unix_ns - next_header.created_unix_ns < self._settings.remember_s * 1e9

    def _read_through(self, segment: Segment, first: int | None, linked: bool) -> int | None:
        """Fill in what the lost sidecar said, write it again, and return the first sequence."""
        fd = self._files.open(segment_path(self._directory, segment.number), writable=False)
        try:
            end = min(segment.end, segment.bytes) if linked else segment.bytes
            found = self._scan(fd, segment.number, end, first, bodies=not linked)
        finally:
            self._files.close(fd)
        if not linked:
            segment.end = segment.proven = found.end
            segment.end_sequence = found.end_sequence or first or 1
        self._write_sidecar(segment, found)
        return found.first_sequence

    def _scan(self, fd: int, number: int, end: int, first: int | None, *, bodies: bool = True) -> Scan:
        assert self._key is not None, "found before any segment is scanned"
        return scan(
            self._reader(fd),
            number,
            self._key,
            end=end,
            first_sequence=first,
            bodies=bodies,
        )

    def _foreign(self, this: _Found, following: _Found | None, before: Segment | None) -> Segment:
        start = before.end_sequence if before is not None else 0
        next_header = following.header if following is not None else None
        end = next_header.first_sequence if next_header is not None else start
        if this.sidecar is not None:
            start, end = this.sidecar.first_sequence, this.sidecar.end_sequence
        log.error("spool segment %d is of a later format version: it is kept unread", this.number)
        return Segment(this.number, start or end, end, this.size, this.size, this.size, sealed=True, foreign=True)

    def _tail(self, this: _Found, before: Segment | None) -> Segment | None:
        """Read the last segment, make what is intact in it durable, cut the rest off and seal it."""
        path = segment_path(self._directory, this.number)
        fd = self._files.open(path, writable=True)
        try:
            first = before.end_sequence if before is not None else None
            if this.header is not None:  # else its first group was never acknowledged, or it is damaged
                first = this.header.first_sequence
            found = self._scan(fd, this.number, this.size, first)
            self._report_tail(this, found)
            if not found.offsets:  # it stays until there is a later one: its number must not be given out again
                self._files.truncate(fd, min(this.size, HEADER_SIZE))
                return None
            self._make_durable(fd, found.proven, found.end)
            if this.size > found.end:
                self._files.truncate(fd, found.end)
            if self._settings.fsync == "group":
                self._files.sync(fd)
                self._files.sync_directory(self._directory)
        finally:
            self._files.close(fd)
        segment = Segment(
            this.number,
            found.first_sequence or 0,
            found.end_sequence or 0,
            found.end,
            found.end,
            min(found.proven, found.end),
            sealed=True,
        )
        if this.header is not None:
            segment.previous, segment.previous_end = this.header.previous, this.header.previous_end
        self._counts.recovered_requests += len(found.offsets)
        self._write_sidecar(segment, found)
        return segment

    def _report_tail(self, this: _Found, found: Scan) -> None:
        loose = [region for region in found.regions if not region.confirmed]
        if not loose:
            return
        self._counts.unconfirmed_requests += sum(max(1, region.requests) for region in loose)
        self._counts.unconfirmed_bytes += sum(region.end - region.start for region in loose)
        log.warning(
            "spool segment %d, offset %d: incomplete requests after the last certain commit, never acknowledged",
            this.number,
            loose[0].start,
        )

    def _make_durable(self, fd: int, start: int, end: int) -> None:
        """Write bytes onto themselves.

        They may be in the page cache only, and marked clean there when an earlier sync failed: a sync alone
        would then succeed without writing them. The same bytes at the same place do no harm if the power
        fails now.
        """
        offset = min(start, end)
        while offset < end:
            data = self._files.read(fd, min(_COPY_BYTES, end - offset), offset)
            offset += self._files.write(fd, [data], offset)

    def _write_sidecar(self, segment: Segment, found: Scan) -> None:
        assert self._key is not None, "found before any segment is scanned"
        sidecar = Sidecar(
            self._key,
            segment.number,
            segment.end,
            segment.proven,
            found.first_sequence or segment.end_sequence,
            segment.end_sequence,
            len(found.offsets),
            found.received_min,
            found.received_max,
            self._now_unix_ns,
            bytes(found.digests),
        )
        self._sidecars[segment.number] = sidecar
        try:
            self._sidecar_bytes[segment.number] = write_sidecar(
                self._files, self._directory, sidecar, sync=self._settings.fsync == "group"
            )
        except OSError as error:  # a full disk: the segment is read again at the next start
            self._unsaved.append(sidecar)
            log.warning("the index of spool segment %d cannot be written: %s", segment.number, error)

    def _delete(self, path: str) -> None:
        try:
            self._files.unlink(path)
        except OSError as error:
            log.warning("a file of the spool cannot be deleted: %s", error)

    def _memory(self, present: set[int]) -> tuple[list[Remembered], list[tuple[int, float]]]:
        """What is to be remembered, and the sidecars that are kept for that alone. Deletes those too old."""
        remembered, orphans = [], []
        room = self._settings.remember_max_requests
        newest = max(self._sidecar_bytes, default=0)
        for number in sorted(self._sidecar_bytes.keys() | self._sidecars.keys(), reverse=True):
            sidecar = self._sidecars.get(number)
            age_s = (self._now_unix_ns - sidecar.sealed_unix_ns) / 1e9 if sidecar is not None else 0.0
            recent = sidecar is not None and age_s < self._settings.remember_s
            if sidecar is not None and recent and room > 0:
                remembered.append(Remembered(number, age_s, sidecar.digests))
                room -= sidecar.requests
            if number in present:
                continue
            if recent or number == newest:  # the newest keeps the numbering
                orphans.append((number, age_s))
            else:
                self._delete(sidecar_path(self._directory, number))
                del self._sidecar_bytes[number]
        return remembered[::-1], orphans[::-1]
