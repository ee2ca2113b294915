"""Records that stop a lane, left out of their requests: found once, then known, also to the next process.

    set_aside.jsonl     {"position": p, "records": [n, ...], "times": t}

Of the request at that position these records are left out; it had stopped the process so often when they were found.

What is left out is kept beside the requests that could not be mapped (`weighbridge.unmappable`), as a request of its
own.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from exporter.durable import replace_file, sync_folder
from mapping.otlp.records import Decoded
from receiver.spool import Entry, Stored
from weighbridge.progress import Progress

log = logging.getLogger(__name__)

FILE = "set_aside.jsonl"
# A request that has stopped its lane so often is looked at record by record. Somebody may have killed the lane, too.
TWICE = 2
# So often, and all of it is left out: what stops the lane shows in no record alone, and it must not be tried for ever.
MOST_TIMES = 8

TryAlone = Callable[[Entry, int], Awaitable[dict[int, str]]]


class LeftOut(NamedTuple):
    """Records of a request, by number. why: "" when they were known before. times: it had stopped a process by then."""

    records: frozenset[int] = frozenset()
    why: str = ""
    times: int = 0


class SetAside:
    """Of one lane. suspects: how often each request, by position, has stopped it. begin: where its spool begins."""

    def __init__(
        self,
        directory: Path,
        suspects: Mapping[int, int],
        progress: Progress,
        try_alone: TryAlone,
        begin: int = 0,
    ) -> None:
        self._path = directory / FILE
        self._suspects = suspects
        self._try_alone = try_alone
        self._known: dict[int, LeftOut] = {}
        self.progress = progress
        self._read(begin)

    def _read(self, begin: int) -> None:
        """Learn what earlier processes found. What is about requests that are gone leaves the file."""
        if not self._path.exists():
            return
        lines = self._path.read_bytes().splitlines(keepends=True)
        kept = []
        for line in lines:
            try:
                entry = orjson.loads(line)
                if entry["position"] >= begin:
                    self._known[entry["position"]] = LeftOut(frozenset(entry["records"]), "", entry["times"])
                    kept.append(line)
            except (ValueError, KeyError, TypeError):  # torn by a crash: it is found again
                continue
        if len(kept) < len(lines):
            try:
                replace_file(self._path, kept)
            except OSError as error:
                log.warning("%s cannot be written: %s", self._path, error.strerror)

    async def look(self, stored: Stored, decoded: Decoded) -> LeftOut:
        """What must be left out of a request."""
        position = stored.position
        known = self._known.get(position, LeftOut())
        times = self._suspects.get(position, 0)
        if times < known.times + TWICE:
            return known
        if times >= MOST_TIMES:
            return LeftOut(frozenset(range(decoded.accepted)), "stops the process that maps them", times)
        log.error("a request has stopped this lane %d times: it is mapped record by record", times)
        found = await self._try_alone(stored.entry, decoded.accepted)
        return LeftOut(known.records | found.keys(), next(iter(found.values()), "nothing"), times)

    def remember(self, position: int, left_out: LeftOut) -> None:
        """Durable when this returns. Raises OSError."""
        self._known[position] = left_out._replace(why="")
        with self._path.open("ab") as file:
            line = orjson.dumps({"position": position, "records": sorted(left_out.records), "times": left_out.times})
            file.write(line + b"\n")
            file.flush()
        sync_folder(self._path.parent)
