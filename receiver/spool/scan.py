"""Reading a segment from end to end: where the intact requests are, and what is between them.

Pure over a `read(size, offset)` function. A damaged header is survived by searching for the next intact one;
a damaged body costs its own request only.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from receiver.spool.on_disk import (
    HEADER_SIZE,
    LONGEST_HEADER,
    REQUEST_MAGIC,
    RequestHeader,
    crc32,
    decode_request_header,
)

Read = Callable[[int, int], bytes]  # (size, offset) -> bytes, fewer only at the end of the file


class Region(NamedTuple):
    """Bytes in which no intact request begins."""

    start: int
    end: int
    requests: int  # how many are lost there; 0 when that cannot be known
    confirmed: bool  # False: written after the last commit that is certain, so perhaps never acknowledged


@dataclass(slots=True)
class Scan:
    """What a segment holds."""

    offsets: array[int] = field(default_factory=lambda: array("Q"))  # of intact requests
    digests: bytearray = field(default_factory=bytearray)
    regions: list[Region] = field(default_factory=list)
    end: int = HEADER_SIZE  # of the last intact request
    proven: int = HEADER_SIZE  # acknowledged for certain, as later requests tell
    first_sequence: int | None = None
    end_sequence: int | None = None  # one more than the last request's, None without requests
    received_min: int = 0
    received_max: int = 0

    def intact_at_or_after(self, offset: int) -> int | None:
        index = bisect_left(self.offsets, offset)
        return self.offsets[index] if index < len(self.offsets) else None


class BufferedFile:
    """A file seen through a buffer."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._start = 0
        self._data = b""

    def take(self, offset: int, size: int) -> tuple[bytes, int]:
        """(data, index): the bytes wanted begin at data[index]; fewer than size follow only at the end of the file."""
        at = offset - self._start
        if at < 0 or at + size > len(self._data):
            self._data = self._read(max(size, self._size), offset)
            self._start = offset
            at = 0
        return self._data, at

    def find(self, needle: bytes, offset: int, end: int) -> int | None:
        """The first offset before `end` where the needle begins."""
        while offset < end:
            data, at = self.take(offset, len(needle))
            found = data.find(needle, at)
            if found >= 0:
                offset = self._start + found
                return offset if offset < end else None
            if len(data) - at < len(needle):
                return None
            offset = self._start + len(data) - len(needle) + 1
        return None


def header_at(file: BufferedFile, offset: int, segment: int, key: int | None) -> RequestHeader | None:
    """The intact request header at an offset, or None."""
    data, at = file.take(offset, HEADER_SIZE)
    header = decode_request_header(data, at, segment, key)
    if header is None and data.startswith(REQUEST_MAGIC, at):  # the names may reach beyond the buffer
        data, at = file.take(offset, LONGEST_HEADER)
        header = decode_request_header(data, at, segment, key)
    return header


def scan(
    read: Read,
    segment: int,
    key: int,
    *,
    end: int,
    first_sequence: int | None,
    end_sequence: int | None = None,
    proven: int = 0,
    bodies: bool = True,
) -> Scan:
    """All of a segment up to `end`.

    end: where to stop; bytes missing before it are a lost region when `proven` says that they were acknowledged.
    first_sequence, end_sequence: of the segment where known, so that losses at its two ends can be counted.
    bodies: False trusts bodies unread, which makes it as fast as hopping over headers.
    """
    found = Scan(first_sequence=first_sequence, proven=max(HEADER_SIZE, proven))
    file = BufferedFile(read, 1 << 20 if bodies else 4096)
    holes: list[tuple[int, int, int]] = []
    expected = first_sequence
    offset = hole = HEADER_SIZE  # `hole` is where intact requests ended
    while offset < end:
        header = header_at(file, offset, segment, key)
        if header is None or offset + header.size > end:
            following = file.find(REQUEST_MAGIC, offset + 1, end)
            if following is None:
                break
            offset = following
            continue
        after = offset + header.size
        stale = expected is not None and header.sequence < expected
        if stale or (bodies and not _body_intact(file, offset, header)):
            offset = after  # the header is good, so its length is: the hole ends here or grows on
            continue
        if hole < offset:
            holes.append((hole, offset, header.sequence - expected if expected is not None else 0))
        _note(found, offset, header)
        expected = header.sequence + 1
        offset = hole = after
    if hole < end:
        lost = end_sequence - expected if end_sequence is not None and expected is not None else 0
        holes.append((hole, end, lost))
    found.regions = [Region(start, stop, lost, start < found.proven) for start, stop, lost in holes]
    return found


def _note(found: Scan, offset: int, header: RequestHeader) -> None:
    if not found.offsets:
        found.received_min = found.received_max = header.received_unix_ns
        if found.first_sequence is None:
            found.first_sequence = header.sequence
    found.offsets.append(offset)
    found.digests += header.digest
    found.end = offset + header.size
    found.end_sequence = header.sequence + 1
    found.proven = max(found.proven, header.committed)
    found.received_min = min(found.received_min, header.received_unix_ns)
    found.received_max = max(found.received_max, header.received_unix_ns)


def _body_intact(file: BufferedFile, offset: int, header: RequestHeader) -> bool:
    start = offset + header.size - header.body_size
    data, at = file.take(start, header.body_size)
    body = memoryview(data)[at : at + header.body_size]
    return len(body) == header.body_size and crc32(body, 0) == header.body_crc


def guess_key(read: Read, segment: int, end: int) -> int | None:
    """The spool key as most requests of a segment state it; for a spool that has lost every header."""
    file = BufferedFile(read, 1 << 20)
    votes: Counter[int] = Counter()
    offset: int | None = HEADER_SIZE
    while offset is not None and offset < end:
        offset = file.find(REQUEST_MAGIC, offset, end)
        if offset is None:
            break
        header = header_at(file, offset, segment, None)
        if header is not None:
            votes[header.key] += 1
        offset += header.size if header is not None else 1
    return votes.most_common(1)[0][0] if votes else None
