"""What runs out while a bridge runs: room in the spool, free disk, the time of a certificate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from receiver.certificate import soonest_end
from weighbridge.admin.parts import Full
from weighbridge.settings import Settings


class Disk(NamedTuple):
    """A file system, as users without privileges may fill it."""

    free_bytes: int
    bytes: int


def room_bytes(parts: Full) -> int:
    """Bytes until requests are refused because the spool or its disk is full; never below 0."""
    settings = parts.settings.spool
    room = settings.max_bytes - parts.spool.bytes_used
    disk = _disk(parts.directory)
    if disk is not None:
        room = min(room, disk.free_bytes - settings.min_free_bytes)
    return max(0, room)


def disks(parts: Full) -> dict[str, Disk]:
    """The disk of the spool, under that name, and of each sink that keeps its events on this machine, under the sink's.

    Without those that cannot be looked at.
    """
    places = {"spool": parts.directory} | dict(_kept_here(parts.settings))
    return {place: disk for place, path in places.items() if (disk := _disk(path)) is not None}


def certificate_end(settings: Settings) -> float | None:
    """When the receiver's certificate ends, in Unix time; 0 when its file cannot be read; None without HTTPS."""
    if settings.receiver.tls is None:
        return None
    try:
        return soonest_end(settings.receiver.tls.certificate_file)
    except (OSError, ValueError, LookupError):
        return 0


def _kept_here(settings: Settings) -> Iterator[tuple[str, Path]]:
    for sink in settings.exporter.sinks:
        if sink.engine_path is not None:
            yield sink.name, sink.engine_path
        elif (path := getattr(sink, "path", "-")) != "-":
            yield sink.name, Path(path).parent


def _disk(path: Path) -> Disk | None:
    """Of the file system that a path is on, or will be when it is made."""
    for place in (path, *path.absolute().parents):
        try:
            status = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return Disk(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
    return None
