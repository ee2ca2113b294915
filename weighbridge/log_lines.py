"""The bridge's own log on standard error: one line a record, the fixed message first, then its fields as key=value."""

from __future__ import annotations

import logging
import time
from typing import Any

OURS = ("receiver", "mapping", "exporter", "weighbridge")  # the packages whose log lines are the bridge's own
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """2026-11-20T18:02:11.532Z warning exporter.pipeline: retrying sink=store wait_s=1.5"""

    def format(self, record: logging.LogRecord) -> str:
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"
        fields = "".join(f" {name}={value!s}" for name, value in fields_of(record).items())
        line = f"{moment} {record.levelname.lower()} {record.name}: {record.getMessage()}{fields}"
        # One record is one line whatever a library or a destination put into the text.
        line = line.replace("\n", "\\n").replace("\r", "\\r")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was logged beside the message, by name."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def log_to_stderr(level: str) -> None:
    """level: debug, info, warning or error; libraries below it are kept at warning."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # They tell of every attempt, the latter with its traceback; we tell of each failure once.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    for package in OURS:
        logging.getLogger(package).setLevel(level.upper())
