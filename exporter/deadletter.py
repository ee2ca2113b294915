"""Events that a destination will never take: kept on disk with the reason, masked as they were to be sent."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from exporter.durable import sync_folder
from mapping.event import Decision, Event

log = logging.getLogger(__name__)


class DeadLetters:
    """An append-only file of JSON lines, one event each. Safe to call from several threads.

    encode: how an event is written; only masked content reaches an Event, so nothing secret reaches the file.
    """

    def __init__(self, path: Path, encode: Callable[[Event], dict[str, Any]]) -> None:
        self.path = path
        self._encode = encode
        self._lock = threading.Lock()

    def add(self, sink: str, reason: str, events: Iterable[Event]) -> None:
        """Durable when this returns. Adding the same event twice (after a restart) leaves two lines with one id."""
        lines = b"".join(
            orjson.dumps(
                {
                    "dead_lettered_unix_ns": time.time_ns(),
                    "sink": sink,
                    "reason": reason[:1000],
                    "transaction_id": event.transaction_id,
                    "event": self._encode(event),
                    "row": event._asdict(),
                },
                option=orjson.OPT_APPEND_NEWLINE,
                default=_plain,
            )
            for event in events
        )
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(fd).st_size
                if size and os.pread(fd, 1, size - 1) != b"\n":  # what a kill or a full disk tore must not spoil these
                    lines = b"\n" + lines
                view = memoryview(lines)
                while view:
                    view = view[os.write(fd, view) :]
                os.fdatasync(fd)
            finally:
                os.close(fd)
            if not size:
                sync_folder(self.path.parent)

    def read(self) -> Iterator[dict[str, Any]]:
        """Every entry, oldest first. A torn last line is passed over; a damaged one is too, and said."""
        for line in self._lines():
            entry = self._parse(line)
            if entry is not None:
                yield entry

    def _lines(self) -> Iterator[bytes]:
        if self.path.exists():
            with self.path.open("rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        try:
            entry: dict[str, Any] = orjson.loads(line)
        except ValueError:
            log.warning("a line of %s is unreadable, passed over", self.path)
            return None
        return entry

    def remove(self, delivered: Callable[[dict[str, Any]], bool]) -> None:
        """Take out the entries for which `delivered` is true, atomically. What is unreadable stays."""
        with self._lock:
            kept = [line for line in self._lines() if (entry := self._parse(line)) is None or not delivered(entry)]
            fresh = self.path.with_suffix(".new")
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.writelines(kept)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
            sync_folder(self.path.parent)


def _plain(value: object) -> object:
    """What JSON has no form of its own for: a NamedTuple is a list."""
    return list(value) if isinstance(value, tuple) else str(value)


def event_of(entry: dict[str, Any]) -> Event:
    """The event of an entry, to be sent again. Raises ValueError for an entry of another version's shape."""
    row = entry.get("row")
    if not isinstance(row, dict) or set(row) != set(Event._fields):
        raise ValueError("written by another version, so it cannot be sent again")
    try:
        return Event(**{**row, "flags": tuple(row["flags"]), "decision": Decision(*row["decision"])})
    except TypeError as error:
        raise ValueError("written by another version, so it cannot be sent again") from error
