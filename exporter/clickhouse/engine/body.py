"""The body of a request to the engine: read within a bound, inflated within the same bound.

Nothing of it is read before the sender has shown its password; what a header says is never believed.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any, BinaryIO, Final

_LENGTH: Final = re.compile(r"\d{1,18}")
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")
_MAX_LINE: Final = 1024  # bytes of a chunk's head or a trailer
_MAX_TRAILERS: Final = 100
# Input is given in slices after the first member, because a decompressor copies what it did not use; a client writes
# one for each block of 8,192 rows.
_SLICE: Final = 256 << 10
_MAX_MEMBERS: Final = 100_000
_ZSTD_WINDOW_LOG: Final = 25  # 32 MiB; a frame that claims more is refused before anything is allocated


class TooLarge(Exception):
    """The body is longer than the limit, as sent or inflated."""


class Unreadable(ValueError):
    """No such body: its length, its chunks or its coding are not what they should be."""


def read_length(headers: Message) -> int | None:
    """The length a body has, None for one in chunks. Raises Unreadable for what cannot be told or is told twice."""
    lengths, codings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    if codings:
        if lengths or len(codings) > 1 or codings[0].strip().lower() != "chunked":
            raise Unreadable("Transfer-Encoding is chunked, alone and without Content-Length")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not (lengths[0].isascii() and _LENGTH.fullmatch(lengths[0].strip())):
        raise Unreadable("Content-Length is not one number")
    return int(lengths[0])


def read(stream: BinaryIO, length: int | None, limit: int) -> bytes:
    """The body as sent. length: as `read_length`. Raises TooLarge, Unreadable, OSError."""
    if length is None:
        return _chunks(stream, limit)
    if length > limit:
        raise TooLarge(f"{length} bytes, at most {limit}")
    raw = stream.read(length)
    if len(raw) < length:
        raise Unreadable("the connection ended early")
    return raw


def _chunks(stream: BinaryIO, limit: int) -> bytes:
    parts: list[bytes] = []
    total = 0
    while size := _size(stream.readline(_MAX_LINE)):
        total += size
        if total > limit:
            raise TooLarge(f"more than {limit} bytes")
        part = stream.read(size)
        if len(part) < size or stream.readline(8) != b"\r\n":
            raise Unreadable("a chunk is cut")
        parts.append(part)
    for _ in range(_MAX_TRAILERS):
        if stream.readline(_MAX_LINE) in (b"\r\n", b"\n", b""):
            return b"".join(parts)
    raise Unreadable("too many trailers")


def _size(line: bytes) -> int:
    text = line.split(b";")[0].strip()
    if not _SIZE.fullmatch(text):
        raise Unreadable("the size of a chunk is no hexadecimal number")
    return int(text, 16)


def inflate(raw: bytes, encoding: str, limit: int) -> bytes:
    """The whole body, all its members or frames. Raises Unreadable for a body that is cut or of another coding,
    TooLarge over the limit."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return raw
    start, failures = _decompressor(encoding)
    parts: list[bytes] = []
    room = limit + 1
    position = 0
    rest = memoryview(raw)
    for _ in range(_MAX_MEMBERS):
        if position == len(raw):
            return b"".join(parts)
        member = start()
        while not member.eof:
            data = bytes(rest[position : position + _SLICE])
            if not data:
                raise Unreadable(f"the {encoding} body is cut")
            try:
                part = member.decompress(data, room)
            except failures as error:
                raise Unreadable(f"not {encoding}: {str(error)[:100]}") from None
            room -= len(part)
            if room <= 0:
                raise TooLarge(f"more than {limit} bytes when inflated")
            parts.append(part)
            position += len(data) - len(member.unused_data or b"")
    raise Unreadable(f"the {encoding} body has more than {_MAX_MEMBERS} members")


def _decompressor(encoding: str) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    """What reads one member of this coding, and what it raises on other bytes. Raises Unreadable for another coding."""
    if encoding in ("gzip", "deflate"):
        return lambda: zlib.decompressobj(47), (zlib.error,)  # 32 + 15: zlib or gzip by its header
    if encoding == "lz4":
        import lz4.frame

        return lz4.frame.LZ4FrameDecompressor, (RuntimeError, EOFError)
    if encoding == "zstd":
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        options: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError,)
    raise Unreadable(f"Content-Encoding {encoding[:20]!r} is not supported")
