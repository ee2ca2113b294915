"""Who waits for an answer: a statement whose asker has gone is stopped, and its connection is free for the next.

Ctrl-C on the command line closes a connection; nothing else tells. Closed connections are looked for between two
accepts, and the statement is found among the engine's by a mark in its text.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

_numbers = itertools.count(1)


class Asker(NamedTuple):
    """Somebody who waits. mark: a comment that stands behind the statements run for him."""

    connection: socket.socket
    mark: str

    def gone(self) -> bool:
        """Whether the other end has closed. Nothing that it has sent is read."""
        if isinstance(self.connection, ssl.SSLSocket):  # its bytes can only be read, not looked at
            return False
        looked = select.poll()
        try:
            looked.register(self.connection, select.POLLIN)
            # With a timeout the socket would be waited for, whatever the flags say.
            return bool(looked.poll(0)) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):  # the last: it is closed here
            return True


class Askers:
    """All who wait. stop: ends the running statements that have a mark; it may be called again, and from any thread."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop = stop
        self._waiting: dict[str, Asker] = {}
        self._busy = threading.Lock()

    @contextmanager
    def waits(self, connection: socket.socket) -> Iterator[Asker]:
        asker = Asker(connection, f"/* asker {os.getpid()}.{next(_numbers)} */")
        self._waiting[asker.mark] = asker
        try:
            yield asker
        finally:
            del self._waiting[asker.mark]

    def look(self) -> None:
        """Stop what nobody waits for any more. Returns at once; what was between two statements is stopped later."""
        gone = [asker.mark for asker in list(self._waiting.values()) if asker.gone()]
        if gone and self._busy.acquire(blocking=False):
            threading.Thread(target=self._stop_all, args=(gone,), daemon=True).start()

    def _stop_all(self, marks: list[str]) -> None:
        try:
            for mark in marks:
                self._stop(mark)
        finally:
            self._busy.release()
