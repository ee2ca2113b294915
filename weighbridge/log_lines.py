"""The bridge's own log on standard error: one line a record, as text or as JSON."""

from __future__ import annotations

import logging

from exporter.log_format import FORMATS
from exporter.log_format import JsonFormatter as JsonFormatter
from exporter.log_format import LineFormatter as LineFormatter
from exporter.log_format import fields_of as fields_of

OURS = ("receiver", "mapping", "exporter", "weighbridge")  # the packages whose log lines are the bridge's own


def log_to_stderr(level: str, form: str = "text") -> None:
    """level: debug, info, warning or error; libraries below it are kept at warning. form: text or json."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS[form]())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # They tell of every attempt, the latter with its traceback; we tell of each failure once.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    for package in OURS:
        logging.getLogger(package).setLevel(level.upper())
