"""The index beside a sealed segment: what a start needs to know of it without reading it.

It outlives its segment until the requests in it need no longer be remembered.
"""

from __future__ import annotations

import contextlib
import logging
import struct
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from receiver.spool.files import FileLayer
from receiver.spool.on_disk import crc32
from receiver.spool.segments import sidecar_path

log = logging.getLogger(__name__)

_MAGIC = b"WBINDEX\n"
_VERSION = 1
_FIXED = struct.Struct("<8sHHIQQQQQQqqq")
_CRC = struct.Struct("<I")


class Sidecar(NamedTuple):
    key: int
    number: int
    end: int  # committed bytes of the segment
    proven: int  # bytes that were acknowledged for certain; less than end when a crash cut the segment short
    first_sequence: int
    end_sequence: int
    requests: int
    received_min_unix_ns: int
    received_max_unix_ns: int
    sealed_unix_ns: int  # our wall clock
    digests: bytes  # 16 bytes a request, in order


def encode_sidecar(sidecar: Sidecar) -> bytes:
    data = _FIXED.pack(_MAGIC, _VERSION, 0, sidecar.key, *sidecar[1:10]) + sidecar.digests
    return data + _CRC.pack(crc32(data, 0))


def decode_sidecar(data: bytes) -> Sidecar | None:
    """The index, or None when it is damaged, cut or of another version: the segment is then read instead."""
    if len(data) < _FIXED.size + 4 or _CRC.unpack_from(data, len(data) - 4)[0] != crc32(data[:-4], 0):
        return None
    magic, version, _, key, *fields = _FIXED.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        return None
    return Sidecar._make((key, *fields, data[_FIXED.size : -4]))


def write_sidecar(files: FileLayer, directory: str, sidecar: Sidecar, *, sync: bool) -> int:
    """Write a sidecar anew and return its size. It carries its own CRC: a torn one is no worse than none."""
    path = sidecar_path(directory, sidecar.number)
    data = encode_sidecar(sidecar)
    with contextlib.suppress(FileNotFoundError):
        files.unlink(path)
    fd = files.create(path)
    try:
        offset = 0
        while offset < len(data):
            offset += files.write(fd, [memoryview(data)[offset:]], offset)
        if sync:
            files.sync(fd)
    except OSError:
        files.unlink(path)
        raise
    finally:
        files.close(fd)
    if sync:
        files.sync_directory(directory)
    return len(data)


class Sidecars:
    """The writer's sidecars: those still to be written, and those that are kept for the memory of requests alone."""

    def __init__(
        self,
        files: FileLayer,
        directory: str,
        remember_s: float,
        *,
        sync: bool,
        unsaved: Sequence[Sidecar],
        orphans: Sequence[tuple[int, float]],
    ) -> None:
        self._files = files
        self._directory = directory
        self._remember_s = remember_s
        self._sync = sync
        self._unsaved = list(unsaved)
        self._orphans = deque((number, time.monotonic() - age_s) for number, age_s in orphans)

    def add(self, sidecar: Sidecar) -> None:
        self._unsaved.append(sidecar)

    def unsaved(self, number: int) -> bool:
        return any(sidecar.number == number for sidecar in self._unsaved)

    def orphan(self, number: int) -> None:
        """Its segment is deleted."""
        self._orphans.append((number, time.monotonic()))

    def save(self) -> list[tuple[int, int]]:
        """Number and size of each that could be written now. Nothing depends on it but the time of the next start."""
        saved = []
        while self._unsaved:
            sidecar = self._unsaved[0]
            try:
                size = write_sidecar(self._files, self._directory, sidecar, sync=self._sync)
            except OSError as error:
                log.warning("the index of spool segment %d cannot be written: %s", sidecar.number, error)
                break
            del self._unsaved[0]
            saved.append((sidecar.number, size))
        return saved

    def forget(self) -> list[int]:
        """Delete those whose requests need not be remembered any longer, but never the last: it keeps the numbering."""
        forgotten = []
        while len(self._orphans) > 1 and time.monotonic() - self._orphans[0][1] > self._remember_s:
            number, _ = self._orphans.popleft()
            with contextlib.suppress(OSError):  # the next start tries again
                self._files.unlink(sidecar_path(self._directory, number))
            forgotten.append(number)
        return forgotten
