"""Events that a destination will never take: kept on disk with the reason, masked as they were to be sent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from mapping.event import Event


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
                },
                option=orjson.OPT_APPEND_NEWLINE,
                default=str,
            )
            for event in events
        )
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                view = memoryview(lines)
                while view:
                    view = view[os.write(fd, view) :]
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def read(self) -> Iterator[dict[str, Any]]:
        """Every entry, oldest first; a torn last line is passed over."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield orjson.loads(line)
