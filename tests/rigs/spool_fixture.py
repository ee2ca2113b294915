"""What a build leaves on disk, for the tests of later builds: `PYTHONPATH=. python tests/rigs/spool_fixture.py FOLDER`.

Made once per format version and then never again: tests/testdata/spool/version-1 comes from the first build.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from receiver.spool import Entry, Spool, SpoolSettings


def entries() -> list[Entry]:
    """The requests in every fixture."""
    return [
        Entry(
            "logs" if number % 3 == 0 else "traces",
            f"tenant-{number % 4}",
            "application/x-protobuf",
            "gzip" if number % 2 else "",
            1_700_000_000_000_000_000 + number,
            b"request %d " % number * (number % 50),
        )
        for number in range(1, 61)
    ]


async def make(folder: Path) -> None:
    """Two spools: `closed` in order, and `killed` in the middle of a write."""
    directory = folder / "closed"
    spool = Spool(SpoolSettings(directory=directory, segment_bytes=4096, min_free_bytes=0), lambda *_: None)
    await spool.open()
    for entry in entries():
        await spool.append(entry)
    killed = folder / "killed"
    shutil.copytree(directory, killed)
    await spool.close()
    last = max(killed.glob("*.spool"))
    with last.open("ab") as file:
        file.write(last.read_bytes()[64:164])
    for each in (directory, killed):
        (each / "lock").unlink()


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1])))
