"""What earlier requests told of the calls of a request's records, where sampling asked for it: on disk, by position.

Whether a failing call was known when its log came depends on what the process had seen by then. So what was known is
here before anything of the request is handed out, and a mark says how far an earlier process may have come: every sink,
also one that is slow or new, and a process after a kill decide the same. What is before the mark and not here took
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import orjson

from mapping.sampling.of_calls import KnownCall
from mapping.sampling.sampler import Sampler
from mapping.together import Lent
from receiver.spool.watching import Readable
from weighbridge.sampling.decided_file import DecidedFile

log = logging.getLogger(__name__)

RETRY_S = 1.0  # pause after the disk refused one
WARN_S = 10.0  # at most one line in so long
# Bytes of the spool that the mark is ahead of what is decided: one disk write for so much. After a kill what of it was
# not decided yet takes nothing from earlier requests.
AHEAD_BYTES = 4 << 20

_CALLS = """CREATE TABLE IF NOT EXISTS lent (position INTEGER PRIMARY KEY, config TEXT NOT NULL, calls BLOB NOT NULL)"""
_PUT = "INSERT OR REPLACE INTO lent VALUES (?, ?, ?)"
_FORGET = "DELETE FROM lent WHERE position >= 0 AND position < ?"
_MARK = -1  # instead of a position: the row's text is the mark


class LentCalls:
    """One per partition of the spool. `begin` and `end` go around the mapping of each request, one at a time."""

    def __init__(self, path: Path, sampler: Callable[[], Sampler], spool: Readable) -> None:
        """sampler: in force."""
        self.now: Lent | None = None  # of the request that is mapped; None: it is decided for the first time
        self._sampler = sampler
        self._spool = spool
        self._path = path
        self._file = DecidedFile(path, _CALLS, _FORGET, "logs")
        self._unsure_to: int | None = None  # an earlier process may have decided what is before; None: not looked up
        self._mark = 0
        self._next = 0  # what is before is decided
        self._warned_s = -WARN_S

    async def begin(self, position: int, *, again: bool) -> None:
        """again: an earlier process or a faster sink had the request mapped."""
        self.now = None
        if not self._sampler().calls:
            return
        if self._unsure_to is None:
            self._unsure_to = self._mark = await asyncio.to_thread(self._find_mark)
        if again or position < self._unsure_to:
            self.now = await asyncio.to_thread(self._read, position)
        elif position >= self._mark:
            mark = position + AHEAD_BYTES
            await self._on_disk(_MARK, str(mark), b"")
            self._mark = mark

    async def end(self, position: int, lent: Lent | None) -> None:
        """Returns when what was lent is on disk."""
        if self._unsure_to is None or self.now is not None:
            return
        if lent:
            await self._on_disk(position, self._sampler().config, packed(lent))
        self._next = position + 1

    async def close(self) -> None:
        """Nothing is mapped any more."""
        if self._unsure_to is not None:
            with contextlib.suppress(OSError):  # then the next process is less sure
                await asyncio.to_thread(self._put, _MARK, str(max(self._next, self._unsure_to)), b"")
        await asyncio.to_thread(self._file.close)

    async def _on_disk(self, position: int, text: str, calls: bytes) -> None:
        while True:
            try:
                await asyncio.to_thread(self._put, position, text, calls)
                return
            except OSError as error:
                if time.monotonic() - self._warned_s >= WARN_S:
                    self._warned_s = time.monotonic()
                    log.warning("what is known of calls waits to be written: %s", error)
                await asyncio.sleep(RETRY_S)

    def _put(self, position: int, text: str, calls: bytes) -> None:
        self._file.add(_PUT, position, text, calls, needed_from=self._spool.start_position)

    def _find_mark(self) -> int:
        if not self._path.exists():
            return 0
        try:
            found = self._file.do("SELECT max(position) FROM lent")
            if found[0][0] is not None and found[0][0] >= self._spool.end_position:
                self._file.do("DELETE FROM lent")  # it is of another spool
            found = self._file.do("SELECT config FROM lent WHERE position = ?", _MARK)
            return int(found[0][0]) if found else 0
        except OSError as error:
            log.warning("what was known of calls cannot be read: %s", error)
        return self._spool.end_position

    def _read(self, position: int) -> Lent:
        try:
            found = self._file.do("SELECT config, calls FROM lent WHERE position = ?", position)
        except OSError as error:
            log.warning("what was known of calls cannot be read: %s", error)
            return {}
        if not found or found[0][0] != self._sampler().config:  # under other rules its truths mean nothing
            return {}
        return unpacked(found[0][1])


def packed(lent: Lent) -> bytes:
    """JSON of the keys by what is known, compressed: calls of one kind say the same."""
    by_call: dict[str, list[str]] = {}
    for key, call in lent.items():
        by_call.setdefault(f"{call.holds:x} {call.t_in:x}", []).append(key.hex())
    return zlib.compress(orjson.dumps(by_call), 1)


def unpacked(raw: bytes) -> dict[bytes, KnownCall]:
    by_call = orjson.loads(zlib.decompress(raw))
    found = {}
    for text, keys in by_call.items():
        holds, t_in = text.split()
        found.update(dict.fromkeys(map(bytes.fromhex, keys), KnownCall(int(holds, 16), int(t_in, 16))))
    return found
