"""Who read what: a line of JSON for every answer of the console, in a file that is bounded and its owner's alone."""

from __future__ import annotations

import logging
import os
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

import orjson

log = logging.getLogger(__name__)

FILE: Final = "console.access"  # in the spool's directory
_MOST_BYTES: Final = 8 << 20  # of each of two files; some 40,000 lines each
_LONGEST: Final = 2000  # characters of an address that are kept


class AccessLog:
    """Appends. A disk that is full costs lines and one warning, never an answer."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._file: _File | None = None
        self._complained = False

    def note(self, who: str, peer: str, method: str, path: str, status: int, took_s: float) -> None:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "who": who,
            "from": peer,
            "method": method,
            "path": path[:_LONGEST],
            "status": status,
            "ms": round(took_s * 1000, 1),
        }
        try:
            if self._file is None:
                self._file = _File(self._path, maxBytes=_MOST_BYTES, backupCount=1, encoding="utf-8", delay=True)
            text = orjson.dumps(line).decode()
            self._file.emit(logging.makeLogRecord({"msg": "%s", "args": (text,)}))
        except (OSError, ValueError) as error:
            if not self._complained:
                log.warning("the console's access log cannot be written: %s", error)
            self._complained = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _File(RotatingFileHandler):
    """For the owner only, and with its errors raised."""

    def _open(self):  # type: ignore[no-untyped-def]
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:
        raise
