"""What a process of ours may take, and how its parent's end is its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

from weighbridge.lanes.watch import Usage

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def limit_memory(most_bytes: int) -> None:
    """Let allocations fail beyond it: a record that wants more costs a MemoryError, not the machine."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))


def die_with_parent() -> None:
    """End at once when the parent does, also while this process is stuck (Linux; elsewhere its sockets tell)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def thread_cpu_s(pid: int, thread: int) -> float:
    """CPU seconds of one thread of a process; 0 where /proc does not tell."""
    return _usage(Path(f"/proc/{pid}/task/{thread}/stat")).cpu_s


def usage_of(pid: int) -> Usage:
    """Of a process; nothing where /proc does not tell."""
    return _usage(Path(f"/proc/{pid}/stat"))


def _usage(stat: Path) -> Usage:
    try:
        fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return Usage(0.0, 0)
    ticks = int(fields[11]) + int(fields[12])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
