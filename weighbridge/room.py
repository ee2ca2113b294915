"""Why a request is refused when there is no room: which sink holds the spool, or that other things fill the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

from receiver.spool import SpoolFull
from weighbridge.admin.parts import Full


def why_full(parts: Full, full: SpoolFull) -> str:
    """One sentence for the sender, the log and /readyz. No payload."""
    if full.cause == "queue":
        return str(full)
    if full.cause == "spool":
        return f"the spool is full: {full}{_holder(parts)}"
    text = f"the disk is full: {full}; {parts.spool.bytes_used} bytes of it are the spool's"
    stores = [str(path) for path in _stores_on_that_disk(parts)]
    return f"{text}; the store in {', '.join(stores)} is on the same disk" if stores else text


def _holder(parts: Full) -> str:
    """The sink that is furthest behind, since when, and what it says."""
    sinks = parts.report().facts
    name = max(sinks, key=lambda sink: sinks[sink]["backlog_bytes"], default="")
    if not name:
        return ""
    oldest = parts.spool.oldest_received_unix_ns
    waited = f", its oldest request has waited {_age(time.time_ns() - oldest)}" if oldest else ""
    error = sinks[name]["last_error"]  # `backlog_bytes` of that sink would give its oldest up instead
    return f"; sink {name} is furthest behind{waited}{f' ({error[:200]})' if error else ''}"


def _age(ns: int) -> str:
    seconds = max(0, ns // 1_000_000_000)
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def _stores_on_that_disk(parts: Full) -> list[Path]:
    """Folders of embedded stores on the spool's file system."""
    paths = (sink.engine_path for sink in parts.settings.exporter.sinks)
    device = _device(parts.directory)
    return [path.absolute() for path in paths if path and device and _device(path) == device]


def _device(path: Path) -> int:
    """Of the file system that a path is on, or will be when it is made; 0 when nobody knows."""
    for place in (path, *path.absolute().parents):
        try:
            return os.stat(place).st_dev
        except FileNotFoundError:
            continue
        except OSError:
            return 0
    return 0
