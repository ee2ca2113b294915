"""What is erased of files while the bridge uses them: lines are overwritten in place, kept requests are removed.

A line keeps its length, so that a program that appends to the file, or follows it, notices nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from exporter.deadletter import LONGEST_ENTRY
from exporter.request_file import read_requests, remove_request
from receiver.decode.compression import inflate, parse_codings
from receiver.errors import BadRequest

ERASED: Final = b'{"event_type":"erased"}'
_DELIVERED: Final = b"#"  # as exporter.deadletter marks a line that is an entry no more

_MOST_BYTES: Final = 512 << 20  # of an inflated request; the receiver takes less

Matches = Callable[[dict[str, Any]], bool]


def erase_lines(path: Path, matches: Matches, put: bytes, *, dry: bool) -> int:
    """How many lines of JSON match. Unless `dry` they become `put` and blanks, durably. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY if dry else os.O_RDWR)
    except FileNotFoundError:
        return 0
    found = 0
    try:
        for offset, line in _lines(descriptor):
            if not _is_ours(line, matches):
                continue
            found += 1
            if not dry:
                os.pwrite(descriptor, put.ljust(len(line) - 1) + b"\n", offset)
        if found and not dry:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return found


def _lines(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines and where they are; of what is appended meanwhile none."""
    end = os.fstat(descriptor).st_size
    offset = 0
    with open(os.dup(descriptor), "rb") as file:
        file.seek(0)
        while offset < end:
            line = file.readline(LONGEST_ENTRY)
            if not line:
                return
            if line.endswith(b"\n") and len(line) > len(ERASED):
                yield offset, line
            offset += len(line)


def _is_ours(line: bytes, matches: Matches) -> bool:
    if line.startswith(_DELIVERED):
        line = b"{" + line[1:]  # delivered, and still there until the file is written anew
    try:
        value = orjson.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and matches(value)


def erase_requests(folder: Path, ids: Sequence[str], tenant: str | None, *, dry: bool) -> tuple[int, int]:
    """Requests that hold one of the ids as text, and their records: removed as a whole. Raises OSError.

    tenant: only that one's. A request that cannot be inflated is looked through as it is.
    """
    wanted = [identity.encode("utf-8", "surrogatepass") for identity in ids]
    requests = records = 0
    for _, about in list(read_requests(folder)):
        if tenant is not None and about.get("tenant", "") != tenant:
            continue
        body_file = Path(about["file"])
        headers = dict(about.get("headers", ()))
        try:
            body = body_file.read_bytes()
        except FileNotFoundError:
            continue
        with suppress(BadRequest):
            body = inflate(body, parse_codings(str(headers.get("Content-Encoding", ""))), _MOST_BYTES)
        if any(identity in body for identity in wanted):
            requests += 1
            records += int(about.get("records", 0))
            if not dry:
                remove_request(body_file)
    return requests, records
