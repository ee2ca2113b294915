"""A spool looked at by another process than its own: read only, without its lock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from receiver.spool.entry import Entry, position_of
from receiver.spool.on_disk import HEADER_SIZE, RequestHeader, decode_entry, decode_segment_header
from receiver.spool.scan import BufferedFile, Read, header_at
from receiver.spool.segments import numbers_in, segment_path, sidecar_path
from receiver.spool.sidecar import Sidecar, decode_sidecar

_BUFFER_BYTES = 4096  # bodies are hopped over


class Seen(NamedTuple):
    """A request in a segment; its body is read when it is asked for."""

    position: int
    header: RequestHeader
    read: Read
    offset: int

    def entry(self) -> Entry | None:
        """None when it is damaged, or gone meanwhile."""
        with contextlib.suppress(OSError):
            return decode_entry(self.header, self.read(self.header.size, self.offset), 0)
        return None


def requests_in(directory: Path) -> Iterator[Seen]:
    """All intact requests, oldest first, up to the first damage of each segment. Raises OSError."""
    numbers, _ = numbers_in(os.listdir(directory))
    for number in numbers:
        try:
            descriptor = os.open(segment_path(str(directory), number), os.O_RDONLY)
        except FileNotFoundError:  # delivered meanwhile
            continue
        try:
            yield from _requests_of(descriptor, number)
        finally:
            os.close(descriptor)


def _requests_of(descriptor: int, number: int) -> Iterator[Seen]:
    def read(size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

    segment = decode_segment_header(read(HEADER_SIZE, 0))
    if segment is None:
        return
    file, offset = BufferedFile(read, _BUFFER_BYTES), HEADER_SIZE
    while (header := header_at(file, offset, number, segment.key)) is not None:
        yield Seen(position_of(number, offset), header, read, offset)
        offset += header.size


def remembered(directory: Path, digest: bytes) -> Iterator[Sidecar]:
    """The indexes that have this digest, also of segments that are deleted. Raises OSError."""
    _, indexes = numbers_in(os.listdir(directory))
    for number in sorted(indexes):
        with contextlib.suppress(FileNotFoundError):
            sidecar = decode_sidecar(Path(sidecar_path(str(directory), number)).read_bytes())
            if sidecar is not None and _has(sidecar.digests, digest):
                yield sidecar


def _has(digests: bytes, digest: bytes) -> bool:
    at = digests.find(digest)
    while at >= 0 and at % len(digest):
        at = digests.find(digest, at + 1)
    return at >= 0
