"""When a certificate ends: read from its file, since the standard library tells it of a peer's certificate only.

A certificate is DER: a sequence of the signed part, an algorithm and a signature. The signed part is a sequence of
version (optional), serial number, algorithm, issuer, validity and more; validity is two times.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_VERSION = 0xA0  # tag of the one optional part before the serial number
_BEFORE_VALIDITY = 3  # serial number, algorithm, issuer
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_LONGEST_FILE = 1 << 20  # bytes; a chain is a few thousand


def soonest_end(file: Path) -> float:
    """The Unix time at which the first of the file's certificates ends. Raises OSError, or ValueError for no PEM."""
    with file.open("rb") as opened:
        text = opened.read(_LONGEST_FILE).decode("ascii", errors="replace")
    found = [_end(ssl.PEM_cert_to_DER_cert(pem)) for pem in _PEM.findall(text)]
    if not found:
        raise ValueError(f"{file} holds no PEM certificate")
    return min(found)


def _end(der: bytes) -> float:
    (_, certificate), *_ = _parts(der)
    (_, signed), *_ = _parts(certificate)
    parts = [part for part in _parts(signed) if part[0] != _VERSION]
    _, validity = parts[_BEFORE_VALIDITY]
    _, (tag, text) = _parts(validity)
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}[tag]
    # X.509 counts two digits from 1950 to 2049, Python from 1969 to 2068: the same for what has not ended long ago.
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each part of a sequence. Raises ValueError where it ends too soon."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1] if at + 1 < len(der) else 0, at + 2
        if length & 0x80:
            digits = length & 0x7F
            length, at = int.from_bytes(der[at : at + digits], "big"), at + digits
        if at + length > len(der):
            raise ValueError("a certificate ends in the middle")
        yield tag, der[at : at + length]
        at += length
