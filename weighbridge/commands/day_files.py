"""The files of an exported day: one of text, or several of Parquet. Written durably, counted by row."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from exporter.clickhouse.engine.lanes import Piece

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover
else:
    from backports import zstd

EVENTS: Final = "events"
COUNTS: Final = "counts"
UNREADABLE: Final = (OSError, EOFError, zstd.ZstdError)
_LEVEL: Final = 3
_READ_BYTES: Final = 8 << 20


class Files(Protocol):
    def add(self, piece: Piece) -> int | None: ...
    def close(self) -> None: ...


class _Text:
    """One file. `rows` of a piece that does not say are counted."""

    def __init__(self, path: Path) -> None:
        self._file = _open(path)

    def add(self, piece: Piece) -> int | None:
        self._file.write(piece.data)
        return piece.rows or piece.data.count(b"\n")

    def close(self) -> None:
        _close(self._file)


class _Csv(_Text):
    """Names once, in the first line; every piece of the embedded engine brings them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._begun = False
        self._quoted = False  # whether what was written ends inside a quoted text, which may hold line ends

    def add(self, piece: Piece) -> int | None:
        names = piece.rows > 0 or not self._begun
        data = piece.data.partition(b"\n")[2] if names else piece.data
        self._file.write(data if self._begun else piece.data)
        self._begun = True
        return piece.rows or self._lines(data)

    def _lines(self, data: bytes) -> int:
        lines = 0
        for number, part in enumerate(data.split(b'"')):
            self._quoted ^= number > 0
            lines += 0 if self._quoted else part.count(b"\n")
        return lines


class _Parquet:
    """A file for each piece of the embedded engine, which is whole; one file of a server's, which are not."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._file: BinaryIO | None = None
        self._number = 0

    def add(self, piece: Piece) -> int | None:
        if self._file is None or piece.rows:
            self.close()
            self._number += 1
            self._file = _open(self._folder / f"{self._name}-{self._number:05}.parquet")
        self._file.write(piece.data)
        return piece.rows or None

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            _close(file)


class _Compressed:
    """A backup's day: one file of lines, compressed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = _open(folder / f"{name}.tsv.zst")
        self._zstd = zstd.ZstdFile(self._file, "wb", level=_LEVEL)

    def add(self, piece: Piece) -> int | None:
        self._zstd.write(piece.data)
        return piece.rows or piece.data.count(b"\n")

    def close(self) -> None:
        self._zstd.close()
        _close(self._file)


def read_rows(folder: Path, name: str = EVENTS) -> Iterator[bytes]:
    """The lines of a backup's day, in texts that end between two of them. Raises OSError, EOFError, ZstdError."""
    rest = b""
    with zstd.ZstdFile(folder / f"{name}.tsv.zst", "rb") as file:
        while data := file.read(_READ_BYTES):
            whole, end, begun = (rest + data).rpartition(b"\n")
            if end:
                yield whole + end
            rest = begun
    if rest:
        raise EOFError("the last line is cut")


def _open(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


# By format: the files of a day in a folder; of what, EVENTS or COUNTS.
PARTS: Final[Mapping[str, Callable[[Path, str], Files]]] = {
    "parquet": _Parquet,
    "jsonl": lambda folder, name: _Text(folder / f"{name}.jsonl"),
    "backup": _Compressed,
    "csv": lambda folder, name: _Csv(folder / f"{name}.csv"),
}
