"""`python -m faults.clock FILE serve ...`: the bridge's command by a wall clock that FILE is the error of.

FILE holds nanoseconds, 8 bytes, and may change at any time. libfaketime cannot do it: with it, Python's sleeps fail.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

_ERROR = struct.Struct("=q")


def set_clock(file: Path, error_s: float) -> None:
    """In place, so that whoever has the file mapped sees it."""
    with file.open("r+b" if file.exists() else "w+b") as written:
        written.write(_ERROR.pack(int(error_s * 1e9)))


def follow(file: Path) -> None:
    """From now on this process's time is wrong. Nothing of the bridge may be imported yet."""
    with file.open("rb") as opened:
        error = mmap.mmap(opened.fileno(), _ERROR.size, access=mmap.ACCESS_READ)
    true_time, true_time_ns = time.time, time.time_ns
    time.time_ns = lambda: true_time_ns() + _ERROR.unpack(error)[0]
    time.time = lambda: true_time() + _ERROR.unpack(error)[0] / 1e9


if __name__ == "__main__":
    follow(Path(sys.argv.pop(1)))
    from weighbridge.cli import main

    main()
