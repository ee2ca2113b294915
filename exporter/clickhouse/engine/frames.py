"""A long answer on its way from the engine to a command: frames, so that its end and its faults can be told.

Each frame is two numbers of 8 bytes, big endian, and data: the length of the data and how many rows are in it. After
the last one comes an empty frame with the number of all rows. A frame whose length has all bits set is followed by the
code of an error and the length of its text, again 8 bytes each, and the text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from exporter.clickhouse.engine.lanes import EngineError, Piece

FRAMES_HEADER: Final = "X-Weighbridge-Frames"  # of a request: asks for the answer in frames
_HEAD: Final = struct.Struct(">QQ")
_FAILED: Final = 0xFFFF_FFFF_FFFF_FFFF
_MOST_BYTES: Final = 1 << 30  # of one frame; a reader believes no more
_MOST_TEXT: Final = 1 << 16


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...


class Cut(Exception):
    """The answer ended without its last frame: the engine went away."""


def write_frames(out: Writable, first: Piece | None, rest: Iterator[Piece]) -> None:
    """All pieces, then the end or the error. Raises OSError when the other end is gone."""
    total = 0
    try:
        piece = first
        while piece is not None:
            out.write(_HEAD.pack(len(piece.data), piece.rows))
            out.write(piece.data)
            total += piece.rows
            piece = next(rest, None)
        out.write(_HEAD.pack(0, total))
    except EngineError as error:
        text = str(error).encode(errors="replace")[:_MOST_TEXT]
        out.write(_HEAD.pack(_FAILED, 0) + _HEAD.pack(error.code, len(text)) + text)
    out.flush()


def read_frames(stream: Readable) -> Iterator[Piece]:
    """The pieces. Raises EngineError for the engine's own, Cut when the end is missing or the rows do not add up."""
    total = 0
    while True:
        length, rows = _HEAD.unpack(_exactly(stream, _HEAD.size))
        if length == _FAILED:
            code, size = _HEAD.unpack(_exactly(stream, _HEAD.size))
            raise EngineError(code, _exactly(stream, min(size, _MOST_TEXT)).decode(errors="replace"))
        if length == 0:
            if rows != total:
                raise Cut(f"{total} of {rows} rows came")
            return
        if length > _MOST_BYTES:
            raise Cut("what came is no frame")
        total += rows
        yield Piece(_exactly(stream, length), rows)


def _exactly(stream: Readable, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Cut("the engine went away in the middle of its answer")
    return data
