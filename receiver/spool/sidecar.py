"""The index beside a sealed segment: what a start needs to know of it without reading it.

It outlives its segment until the requests in it need no longer be remembered.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from receiver.spool.record import crc32

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
    records: int
    received_min_unix_ns: int
    received_max_unix_ns: int
    sealed_unix_ns: int  # our wall clock
    digests: bytes  # 16 bytes a record, in order


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
