"""The files of an exported day: one of text, or several of Parquet. Written durably, counted by row."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from exporter.clickhouse.engine.lanes import Piece


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

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._number = 0

    def add(self, piece: Piece) -> int | None:
        if self._file is None or piece.rows:
            self.close()
            self._number += 1
            self._file = _open(self._folder / f"events-{self._number:05}.parquet")
        self._file.write(piece.data)
        return piece.rows or None

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            _close(file)


def _open(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


PARTS: Final[Mapping[str, Callable[[Path], Files]]] = {
    "parquet": _Parquet,
    "jsonl": lambda folder: _Text(folder / "events.jsonl"),
    "csv": lambda folder: _Csv(folder / "events.csv"),
}
