"""Content-Encoding: what a sender names, and the bytes it stands for.

Enters: the header and the body as sent. Leaves: the plain body, never longer than the limit: every library call here
is bounded in its output, so a bomb costs at most `limit` bytes and the time to write them.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol, cast

from isal import igzip_lib, isal_zlib

from receiver.errors import BadRequest

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover
else:
    from backports import zstd

# 32 MiB: the largest window a Go client asks for (klauspost SpeedBestCompression). A frame that claims more is refused
# before anything is allocated.
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 25}
# Each member or frame costs a decompressor; pigz and bgzip write one per 64 KiB, so 64 MiB needs about a thousand.
_MAX_MEMBERS = 4096
# Input is fed in slices after the first member, because a decompressor copies what it did not use.
_SLICE = 256 * 1024
# Output comes in pieces: making and freeing a longer one holds the interpreter for ten milliseconds and more.
_PIECE = 2 << 20
_MAX_CODINGS = 3
_MAX_NAMES = 8  # with those that stand for nothing; what a header says is stored with its request, in 255 bytes

# What the libraries say of bytes that are not theirs; lz4 raises RuntimeError and EOFError.
_CORRUPT: tuple[type[Exception], ...] = (
    cast("type[Exception]", igzip_lib.IsalError),  # an instance, in isal's own annotations
    zlib.error,
    zstd.ZstdError,
    EOFError,
    RuntimeError,
    ValueError,
)

_BEGIN_PLAIN = (b"{", b"[", b"\n")  # JSON, or protobuf's first field
MAGIC = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda")  # gzip, zstd, deflate
_IDENTITY = frozenset({"", "identity", "none"})
_NAMES = {"x-gzip": "gzip", "zlib": "deflate", "x-snappy-framed": "snappy"}


def parse_codings(header: str) -> tuple[str, ...]:
    """The codings of a Content-Encoding header in the order they must be undone; () for none.

    Raises BadRequest: 415 for a coding we do not know (RFC 9110 §8.4), 400 for more than three stacked ones, or eight
    with those that stand for nothing.
    """
    codings = []
    names = header.lower().split(",", _MAX_NAMES)
    if len(names) > _MAX_NAMES:
        raise BadRequest(400, f"more than {_MAX_NAMES} content codings", field="Content-Encoding")
    for name in names:
        name = name.strip()
        if name in _IDENTITY:
            continue
        name = _NAMES.get(name, name)
        if name not in _DECODERS:
            raise BadRequest(
                415,
                f"unknown Content-Encoding {name[:40]!r}; send one of {ACCEPTED}",
                {"Accept-Encoding": ACCEPTED},
            )
        codings.append(name)
    if len(codings) > _MAX_CODINGS:
        raise BadRequest(400, f"more than {_MAX_CODINGS} stacked content codings", field="Content-Encoding")
    return tuple(reversed(codings))


def plain_header(codings: tuple[str, ...]) -> str:
    """The shortest Content-Encoding header that `parse_codings` reads so."""
    return ", ".join(reversed(codings))


def inflate(raw: bytes, codings: tuple[str, ...], limit: int) -> bytes:
    """The plain body, at most `limit` bytes. No body at all is no body under any coding.

    Raises BadRequest: 413 when the plain body is longer, 400 when it is corrupt, cut or followed by something else.
    """
    for name in codings:
        if not raw:
            return raw
        try:
            raw = _DECODERS[name](raw, limit)
        except BadRequest as error:
            if error.status == 400 and raw[:1] in _BEGIN_PLAIN:
                raise BadRequest(400, f"{error.message}; it looks plain, which needs no Content-Encoding") from error
            raise
    return raw


def without_time(raw: bytes) -> bytes:
    """A gzip body with the time of compression set to zero, any other as it is.

    Python's exporter compresses again, at another time, what it sends again; without the time both are the same bytes,
    by which a resend is recognised. RFC 1952 §2.3.1: bytes 4 to 7, covered by no checksum unless FHCRC is set.
    """
    if raw[:3] == b"\x1f\x8b\x08" and len(raw) > 10 and raw[4:8] != b"\0\0\0\0" and not raw[3] & 2:
        return raw[:4] + b"\0\0\0\0" + raw[8:]
    return raw


def _gzip(raw: bytes, limit: int) -> bytes:
    return _members(raw, limit, "gzip", lambda: _Zlib(31))


def _deflate(raw: bytes, limit: int) -> bytes:
    """RFC 9110 says zlib format; some senders mean raw deflate, told apart by the zlib header's check bits."""
    wrapped = len(raw) >= 2 and raw[0] & 0x0F == 8 and (raw[0] << 8 | raw[1]) % 31 == 0
    return _members(raw, limit, "deflate", lambda: _Zlib(15 if wrapped else -15), single=True)


def _zstd(raw: bytes, limit: int) -> bytes:
    return _members(raw, limit, "zstd", lambda: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS))


def _lz4(raw: bytes, limit: int) -> bytes:
    frame: Any = importlib.import_module("lz4.frame")
    return _members(raw, limit, "lz4", frame.LZ4FrameDecompressor)


class _Decompressor(Protocol):
    """What the bounded decompressors of the standard library, zstd and lz4 have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """isal's zlib object with the interface above: it hands back input that it could not use within max_length, which
    is given to it again when there is no other."""

    __slots__ = ("_inner",)

    def __init__(self, wbits: int) -> None:
        self._inner = isal_zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return bytes(self._inner.decompress(data or self._inner.unconsumed_tail, max_length))


def _members(raw: bytes, limit: int, name: str, start: Callable[[], _Decompressor], single: bool = False) -> bytes:
    """The concatenation of all members (RFC 1952 §2.2) or frames (RFC 8878 §3.1) in raw."""
    decompressor = start()
    parts: list[bytes] = []
    length = _take(decompressor, raw, parts, 0, limit, name)  # the usual body is one member and ends here
    if not decompressor.eof:
        raise BadRequest(400, f"{name} body is cut short")
    rest = decompressor.unused_data
    if not rest:
        return parts[0] if len(parts) == 1 else b"".join(parts)
    if single:
        raise BadRequest(400, f"{name} body is followed by {len(rest)} bytes that do not belong to it")
    return _more_members(memoryview(raw)[len(raw) - len(rest) :], parts, length, limit, name, start)


def _more_members(
    rest: memoryview, parts: list[bytes], length: int, limit: int, name: str, start: Callable[[], _Decompressor]
) -> bytes:
    position = 0
    for _ in range(_MAX_MEMBERS):
        decompressor = start()
        while not decompressor.eof:
            data = bytes(rest[position : position + _SLICE])
            if not data:
                raise BadRequest(400, f"{name} body is cut short")
            length = _take(decompressor, data, parts, length, limit, name)
            position += len(data) - len(decompressor.unused_data or b"")
        if position == len(rest):
            return b"".join(parts)
    raise BadRequest(400, f"{name} body has more than {_MAX_MEMBERS} members")


def _take(decompressor: _Decompressor, data: bytes, parts: list[bytes], length: int, limit: int, name: str) -> int:
    """Add to parts, `length` bytes long so far, all that data becomes; how long they are now. Raises BadRequest 413."""
    while True:
        most = min(_PIECE, limit + 1 - length)
        part = _step(decompressor, data, most, name)
        parts.append(part)
        length += len(part)
        if length > limit:
            del part
            while parts:
                parts.pop()  # one by one: to free 64 MiB at once holds the interpreter for 5 ms
            raise _too_large(limit)
        if len(part) < most or decompressor.eof:
            return length
        data = b""  # the rest of it is in the decompressor


def _step(decompressor: _Decompressor, data: bytes, max_length: int, name: str) -> bytes:
    try:
        return decompressor.decompress(data, max_length)
    except _CORRUPT as error:
        raise BadRequest(400, f"{name} body is corrupt: {str(error)[:120]}") from error


def _snappy(raw: bytes, limit: int) -> bytes:
    """Snappy as one block, or a framed stream when it starts with the stream identifier (framing_format.txt §4.1)."""
    cramjam: Any = importlib.import_module("cramjam")
    snappy = cramjam.snappy
    try:
        if raw.startswith(b"\xff\x06\x00\x00sNaPpY"):
            return _snappy_frames(raw, limit, snappy)
        claimed = int(snappy.decompress_raw_len(raw))
        if claimed > limit:
            raise _too_large(limit)
        # A copy of 64 bytes takes 3 bytes of input: a block that claims more than that ratio lies.
        if claimed > 24 * len(raw):
            raise BadRequest(400, "snappy body claims to be longer than it can be")
        return bytes(snappy.decompress_raw(raw))
    except (cramjam.DecompressionError, OSError) as error:
        raise BadRequest(400, f"snappy body is corrupt: {str(error)[:120]}") from error


def _snappy_frames(raw: bytes, limit: int, snappy: Any) -> bytes:
    """One chunk at a time, so that what comes out is bounded by 64 KiB a chunk."""
    decompressor = snappy.Decompressor()
    header, parts, length, position = b"", [], 0, 0
    while position < len(raw):
        size = int.from_bytes(raw[position + 1 : position + 4], "little")
        chunk = raw[position : position + 4 + size]
        if len(chunk) != 4 + size:
            raise BadRequest(400, "snappy body is cut short")
        position += len(chunk)
        if chunk[0] == 0xFF:
            header = chunk
            continue
        decompressor.decompress(header + chunk)
        parts.append(bytes(decompressor.flush()))
        length += len(parts[-1])
        if length > limit:
            raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> BadRequest:
    return BadRequest(413, f"body is longer than {limit} bytes after decompression")


def _find_installed() -> dict[str, Callable[[bytes, int], bytes]]:
    """The decoders whose libraries are there: gzip, deflate and zstd always, snappy and lz4 when installed."""
    decoders: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "zstd": _zstd, "deflate": _deflate}
    for name, module, decoder in (("snappy", "cramjam", _snappy), ("lz4", "lz4.frame", _lz4)):
        try:
            importlib.import_module(module)
        except ImportError:
            continue
        decoders[name] = decoder
    return decoders


_DECODERS = _find_installed()
ACCEPTED = ", ".join([*_DECODERS, "identity"])
