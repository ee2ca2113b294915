"""Events that a destination will never take: kept on disk with the reason, masked as they were to be sent.

One file of JSON lines, bounded: what comes when it is full is counted and not kept, so that a flood does not wash away
what somebody may be about to look at. A line whose first byte is `#` is an entry that has been delivered after all; its
room is given back when all of a replay is done. Everything here reads the file as a stream.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from exporter.durable import replace_file, sync_folder
from mapping.event import Decision, Event
from mapping.event_json import event_json

log = logging.getLogger(__name__)

MAX_BYTES = 256 << 20
# Of one entry: a larger event is kept without its content. Readers pass over what is longer.
LONGEST_ENTRY = 32 << 20
# Entries are written this many bytes at a time.
CHUNK_BYTES = 4 << 20
_DELIVERED = b"#"


class Letter(NamedTuple):
    """An entry and where in the file it is."""

    offset: int
    entry: dict[str, Any]


class DeadLetters:
    """Safe to call from several threads.

    Only masked content reaches an Event, so nothing secret reaches the file.
    max_bytes: of the file. kept, not_kept: entries by sink; the latter since the start, for want of room.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.kept: Counter[str] = Counter()
        self.not_kept: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self) -> None:
        """Make `kept` right: of what an earlier process left. Reads the whole file."""
        with self._lock:
            self.kept = Counter(letter.entry["sink"] for letter in self.letters())

    @property
    def size(self) -> int:
        """Bytes of the file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def add(
        self,
        sink: str,
        reason: str,
        events: Sequence[Event],
        spool: tuple[int, int] = (0, 0),
        *,
        content: bool = True,
    ) -> None:
        """Durable when this returns. Adding the same event twice (after a restart) leaves two lines with one id.

        spool: between which positions the events were. content: False keeps ids and reason alone. Raises OSError and
        nothing else; then nothing was added.
        """
        about = {"dead_lettered_unix_ns": time.time_ns(), "sink": sink, "reason": _text(reason)[:1000], "spool": spool}
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            before = os.fstat(fd).st_size
            try:
                added = self._append(fd, before, (self._line(about, event, content=content) for event in events))
                os.fdatasync(fd)
            except OSError:
                os.ftruncate(fd, before)  # half of them must not spoil those that come next
                raise
            finally:
                os.close(fd)
            if not before:
                sync_folder(self.path.parent)
            self.kept[sink] += added
        if added < len(events):
            if not self.not_kept[sink]:
                log.error("%s is full: dead letters of sink %s are counted and not kept any more", self.path, sink)
            self.not_kept[sink] += len(events) - added

    def _append(self, fd: int, size: int, lines: Iterable[bytes]) -> int:
        """How many of the lines were written: those before the file is full."""
        chunk = bytearray()
        if size and os.pread(fd, 1, size - 1) != b"\n":  # what a kill tore must not spoil these
            chunk += b"\n"
        added = 0
        for line in lines:
            if size + len(chunk) + len(line) > self.max_bytes:
                continue  # a smaller one may still find room
            chunk += line
            added += 1
            if len(chunk) >= CHUNK_BYTES:
                size += len(chunk)
                _write(fd, chunk)
                chunk = bytearray()
        _write(fd, chunk)
        return added

    def _line(self, about: dict[str, Any], event: Event, *, content: bool) -> bytes:
        """The entry of an event; without its content when that is what cannot be written, whatever it is."""
        why = "there was no room on the disk"
        if content:
            try:
                line = orjson.dumps(
                    {
                        **about,
                        "transaction_id": event.transaction_id,
                        "event": event_json(event),
                        "row": event._asdict(),
                    },
                    option=orjson.OPT_APPEND_NEWLINE,
                    default=_plain,
                )
                if len(line) <= LONGEST_ENTRY:
                    return line
                why = f"it is larger than {LONGEST_ENTRY} bytes"
            except Exception as error:
                why = type(error).__name__
        ids = {name: _text(getattr(event, name))[:200] for name in _IDS}
        return orjson.dumps(
            {
                **about,
                "transaction_id": ids["transaction_id"],
                "event": {**ids, "span": {"id": ids["span_id"]}},
                "without_content": why,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )

    def read(self) -> Iterator[dict[str, Any]]:
        """Every entry, oldest first. A torn last line is passed over; a damaged one is too, and said."""
        for letter in self.letters():
            yield letter.entry

    def letters(self, offset: int = 0) -> Iterator[Letter]:
        """As `read`, from an offset at which an entry begins, as far as the file goes now."""
        for at, line in self._lines(offset):
            if not line.startswith(_DELIVERED) and (entry := self._parse(line)) is not None:
                yield Letter(at, entry)

    def _lines(self, offset: int = 0) -> Iterator[tuple[int, bytes]]:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            end = os.fstat(file.fileno()).st_size
            file.seek(offset)
            while offset < end:
                line = file.readline(LONGEST_ENTRY + 1)
                whole, length = line.endswith(b"\n"), len(line)
                while line and not line.endswith(b"\n"):  # longer than any entry, or torn
                    line = file.readline(LONGEST_ENTRY)
                    length += len(line)
                if whole:
                    yield offset, line
                elif line:
                    log.warning("a line of %s has %d bytes, passed over", self.path, length)
                offset += length

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        try:
            entry: dict[str, Any] = orjson.loads(line)
            entry["sink"], entry["transaction_id"], entry["dead_lettered_unix_ns"], entry["reason"], entry["event"]
        except (ValueError, KeyError, TypeError):
            log.warning("a line of %s is unreadable, passed over", self.path)
            return None
        return entry

    def delivered(self, letters: Iterable[Letter]) -> None:
        """These are dead letters no more; durable when this returns. Those that are not there any more are passed over.

        One byte of each is changed in place: whatever kills the process, an entry is there or is not.
        """
        with self._lock:
            try:
                fd = os.open(self.path, os.O_RDWR)
            except FileNotFoundError:
                return
            try:
                for offset, entry in letters:
                    if self._is_at(fd, offset, entry):
                        os.pwrite(fd, _DELIVERED, offset)
                        self.kept[entry["sink"]] -= 1
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def still_dead(self, letters: Iterable[Letter]) -> list[Letter]:
        """Those of the letters that are in the file, at their places."""
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return []
        try:
            return [letter for letter in letters if self._is_at(fd, *letter)]
        finally:
            os.close(fd)

    def _is_at(self, fd: int, offset: int, entry: dict[str, Any]) -> bool:
        """Whether the line there still is this entry's: somebody may have put another file in its place."""
        first = list(entry)[: list(entry).index("transaction_id") + 1]
        beginning = orjson.dumps({name: entry[name] for name in first})[:-1]
        return os.pread(fd, len(beginning), offset) == beginning

    def compact(self) -> None:
        """Give back the room of what was delivered. Offsets that were read before mean nothing any more."""
        self.remove(lambda entry: False)

    def remove(self, delivered: Callable[[dict[str, Any]], bool]) -> None:
        """Take out the entries for which `delivered` is true, atomically. What is unreadable stays."""
        with self._lock:
            kept: Counter[str] = Counter()

            def left() -> Iterator[bytes]:
                for _, line in self._lines():
                    if line.startswith(_DELIVERED):
                        continue
                    entry = self._parse(line)
                    if entry is None or not delivered(entry):
                        yield line
                        kept[entry["sink"] if entry else ""] += 1

            replace_file(self.path, left())
            del kept[""]
            self.kept = kept


_IDS = ("transaction_id", "event_type", "source", "tenant", "trace_id", "span_id")


def _write(fd: int, content: bytes | bytearray) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _text(value: object) -> str:
    """Text that every encoder takes."""
    return str(value).encode("utf-8", "replace").decode()


def _plain(value: object) -> object:
    """What JSON has no form of its own for: a NamedTuple is a list."""
    return list(value) if isinstance(value, tuple) else str(value)


# Fields that came after the first version, as its events had them.
_ADDED_FIELDS: dict[str, Any] = {"hop": ""}


def event_of(entry: dict[str, Any]) -> Event:
    """The event of an entry, to be sent again. Raises ValueError for an entry without content or of another version."""
    if "without_content" in entry:
        raise ValueError("kept without its content, so it cannot be sent again")
    row = entry.get("row")
    if isinstance(row, dict):
        row = {**_ADDED_FIELDS, **row}
    if not isinstance(row, dict) or set(row) != set(Event._fields):
        raise ValueError("written by another version, so it cannot be sent again")
    try:
        return Event(**{**row, "flags": tuple(row["flags"]), "decision": Decision(*row["decision"])})
    except TypeError as error:
        raise ValueError("written by another version, so it cannot be sent again") from error
