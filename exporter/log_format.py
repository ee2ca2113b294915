"""One record of the log as one line, as text or as JSON; the bridge and the engine, a process of its own, share it."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What a terminal obeys and what turns the direction of a line: texts of libraries and destinations may hold it.
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")


class LineFormatter(logging.Formatter):
    """2026-11-20T18:02:11.532Z warning exporter.pipeline: retrying sink=store wait_s=1.5"""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value!s}" for name, value in fields_of(record).items())
        line = f"{_moment(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}{fields}"
        # One record is one line whatever a library or a destination put into the text.
        line = _plain(line).replace("\n", "\\n").replace("\r", "\\r")
        return f"{line}\n{_plain(self.formatException(record.exc_info))}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """An object with time, level, logger and message, an exception where there is one, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        own = {name: value for name, value in fields_of(record).items() if name not in line}
        return json.dumps({**line, **own}, default=str)


FORMATS: dict[str, type[logging.Formatter]] = {"text": LineFormatter, "json": JsonFormatter}


def format_in_use() -> str:
    """The name of the format of this process's log: "text" unless it was set up otherwise."""
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    return next((name for name, kind in FORMATS.items() if any(type(one) is kind for one in formatters)), "text")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was logged beside the message, by name."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _moment(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def _plain(text: str) -> str:
    return _STEERING.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
