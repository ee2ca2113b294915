"""The promise: what `Spool.append` returned for is on disk, and is read again after any crash.

Read `spool.py` first, then `on_disk.py` for the bytes on disk, `writer.py` for the group commit, `recovery.py`
for the start.

By hand, because no library has it: many senders share one fdatasync, several sinks let go at their own pace, and what a
crash tore is told from what it damaged.
"""

from receiver.spool.counts import SpoolCounts
from receiver.spool.entry import Appended, Entry, SpoolFailed, SpoolFull, Stored
from receiver.spool.settings import SpoolSettings
from receiver.spool.spool import Spool

__all__ = [
    "Appended",
    "Entry",
    "Spool",
    "SpoolCounts",
    "SpoolFailed",
    "SpoolFull",
    "SpoolSettings",
    "Stored",
]
