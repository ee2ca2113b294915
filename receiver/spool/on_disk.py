"""The bytes on disk, format version 1: pure functions, no files.

A segment is a 64-byte header and requests one after the other:

    segment header   magic "WBSPOOL\\n", version, header size, spool key, number, previous segment and its end,
                     sequence of the first request, creation time, CRC of the 60 bytes before it (true of every
                     version)
    request header   magic, CRC of the rest of the header and the names; sequence, receive time, body size, body CRC,
                     committed, sizes of the four names, flags, digest, spool key
    names            tenant, content type, signal, content encoding in UTF-8
    body             raw

All little-endian. Request CRCs start from the segment's number, so that a stale block of another segment is no request.
`committed` is the end of what was durable in this segment when the request was written: it tells, after a
crash, damage (before it) from a write that was never acknowledged (after it). Sequence numbers rise by one,
so that a gap says how many are lost. The spool key is random and never leaves the disk: bytes inside a
sender's body cannot pass for a request when a damaged segment is searched for the next intact one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from isal import isal_zlib

from receiver.spool.entry import Entry
from receiver.spool.files import Buffer

VERSION = 1
SEGMENT_MAGIC = b"WBSPOOL\n"
REQUEST_MAGIC = b"\xf5Wb\n"
HEADER_SIZE = 64  # of a segment and of a request, in version 1
LONGEST_HEADER = HEADER_SIZE + 2 * 65535 + 2 * 255  # of a request, names included
MAX_BODY_BYTES = (1 << 31) - 1

# The same values as zlib.crc32, ten times as fast: 0.7 µs for 30 KB.
crc32: Callable[[Buffer, int], int] = isal_zlib.crc32

_SEGMENT = struct.Struct("<8sHHIQQIIQq4x")
_CRC = struct.Struct("<I")
_START = struct.Struct("<4sI")
_REST = struct.Struct("<QqIIIHHBBH16sI")
_HEADER = struct.Struct("<4sIQqIIIHHBBH16sI")


class SegmentHeader(NamedTuple):
    version: int
    key: int
    number: int
    previous: int  # number of the segment before that holds requests, 0 for none
    previous_end: int  # its committed end: what lies beyond was never acknowledged
    previous_proven: int  # what of it was acknowledged for certain; less than its end when a crash cut it short
    first_sequence: int
    created_unix_ns: int


class RequestHeader(NamedTuple):
    sequence: int
    received_unix_ns: int
    body_size: int
    body_crc: int
    committed: int
    tenant_size: int
    content_type_size: int
    signal_size: int
    content_encoding_size: int
    flags: int
    digest: bytes
    key: int

    @property
    def names_size(self) -> int:
        return self.tenant_size + self.content_type_size + self.signal_size + self.content_encoding_size

    @property
    def size(self) -> int:
        """Bytes of the whole request."""
        return HEADER_SIZE + self.names_size + self.body_size


class Names(NamedTuple):
    """The texts of an entry as they are stored, and their sizes."""

    tenant_size: int
    content_type_size: int
    signal_size: int
    content_encoding_size: int
    encoded: bytes


def encode_segment_header(header: SegmentHeader) -> bytes:
    """64 bytes."""
    packed = _SEGMENT.pack(
        SEGMENT_MAGIC,
        header.version,
        HEADER_SIZE,
        header.key,
        header.number,
        header.previous,
        header.previous_end,
        header.previous_proven,
        header.first_sequence,
        header.created_unix_ns,
    )
    return packed + _CRC.pack(crc32(packed, 0))


def decode_segment_header(data: bytes) -> SegmentHeader | None:
    """The header, of whatever version, or None when it is damaged."""
    if len(data) < HEADER_SIZE or not data.startswith(SEGMENT_MAGIC):
        return None
    if _CRC.unpack_from(data, HEADER_SIZE - 4)[0] != crc32(data[: HEADER_SIZE - 4], 0):
        return None
    _, version, _, *fields = _SEGMENT.unpack_from(data)
    return SegmentHeader(version, *fields)


def encode_names(entry: Entry) -> Names:
    """The names of an entry. Raises ValueError when one is too long."""
    parts = [
        text.encode("utf-8", "surrogatepass")
        for text in (entry.tenant, entry.content_type, entry.signal, entry.content_encoding)
    ]
    for part, limit, what in zip(
        parts, (65535, 65535, 255, 255), ("tenant", "content type", "signal", "content encoding"), strict=True
    ):
        if len(part) > limit:
            raise ValueError(f"{what} has {len(part)} bytes, at most {limit} can be stored")
    return Names(len(parts[0]), len(parts[1]), len(parts[2]), len(parts[3]), b"".join(parts))


def encode_request_header(
    names: Names,
    *,
    sequence: int,
    received_unix_ns: int,
    body: bytes,
    committed: int,
    digest: bytes,
    key: int,
    segment: int,
) -> bytes:
    """Header and names; the body follows as it is."""
    rest = (
        _REST.pack(
            sequence,
            received_unix_ns,
            len(body),
            crc32(body, 0),
            committed,
            names.tenant_size,
            names.content_type_size,
            names.signal_size,
            names.content_encoding_size,
            0,
            digest,
            key,
        )
        + names.encoded
    )
    return _START.pack(REQUEST_MAGIC, crc32(rest, segment & 0xFFFFFFFF)) + rest


def decode_request_header(data: bytes, at: int, segment: int, key: int | None) -> RequestHeader | None:
    """The request header at an index of data, or None when no intact one is there.

    data must reach to the end of the names. key: None accepts any (only for finding the key of a damaged spool).
    """
    if len(data) - at < HEADER_SIZE:
        return None
    magic, crc, *fields = _HEADER.unpack_from(data, at)
    if magic != REQUEST_MAGIC:
        return None
    header = RequestHeader(*fields)
    if key is not None and header.key != key:
        return None
    end = at + HEADER_SIZE + header.names_size
    if len(data) < end or crc32(memoryview(data)[at + 8 : end], segment & 0xFFFFFFFF) != crc:
        return None
    return header


def decode_entry(header: RequestHeader, data: bytes, at: int) -> Entry | None:
    """The entry of a request that starts at an index of data, or None when its body is damaged or cut."""
    tenant = at + HEADER_SIZE
    content_type = tenant + header.tenant_size
    signal = content_type + header.content_type_size
    encoding = signal + header.signal_size
    start = encoding + header.content_encoding_size
    end = start + header.body_size
    if len(data) < end:
        return None
    body = data[start:end]
    if crc32(body, 0) != header.body_crc:
        return None
    return Entry(
        data[signal:encoding].decode("utf-8", "surrogatepass"),
        data[tenant:content_type].decode("utf-8", "surrogatepass"),
        data[content_type:signal].decode("utf-8", "surrogatepass"),
        data[encoding:start].decode("utf-8", "surrogatepass"),
        header.received_unix_ns,
        body,
    )
