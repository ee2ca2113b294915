"""A process that appends to a spool and is killed, for real: `python spool_victim.py FOLDER each|random SEED`.

It imports everything once and forks its victims before it has any thread. A victim says on standard output what was
acknowledged, one line `ack <life> <body>` each, and `open <life>` when it is ready.

each: life after life in new folders FOLDER/<n>, killed at the n-th call that changes the disk (of a write, half is
done), then once more early in the recovery. Ends with the first life that lived.
drained: as `each`, but all that is acknowledged is released, leaves the disk, and is sent again.
random: at least ten lives in FOLDER/all, each killed after 20 to 300 ms, or later where the machine is slow: until
eight were ready and a hundred bodies are acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from ctypes import c_int64
from multiprocessing.sharedctypes import RawValue
from pathlib import Path

from receiver.spool import Spool
from receiver.spool.files import Buffer, OsFiles
from spool_tools import entry, segments, settings


class KillingFiles(OsFiles):
    """Kills its own process at the n-th call that changes something; a write is half done by then."""

    def __init__(self, at: int) -> None:
        self._left = at

    def _step(self) -> bool:
        self._left -= 1
        return self._left == 0

    def _die_if_due(self) -> None:
        if self._step():
            os.kill(os.getpid(), signal.SIGKILL)

    def create(self, path: str) -> int:
        self._die_if_due()
        return super().create(path)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        if self._step():
            data = b"".join(buffers)
            super().write(fd, [data[: len(data) // 2]], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        self._die_if_due()
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self._die_if_due()
        super().sync_directory(path)

    def truncate(self, fd: int, size: int) -> None:
        self._die_if_due()
        super().truncate(fd, size)

    def unlink(self, path: str) -> None:
        self._die_if_due()
        super().unlink(path)


# How many lines of a kind all victims have said, for the process that forks them.
heard = {kind: RawValue(c_int64) for kind in ("ack", "open")}


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # one call below 4,096 bytes: whole lines or nothing
    count = heard.get(line.partition(" ")[0])
    if count is not None:
        count.value += 1


async def append_and_say(spool: Spool, life: int, body: bytes) -> None:
    await spool.append(entry(body))
    say(f"ack {life} {body.decode()}")


async def short_life(folder: Path, life: int, files: OsFiles) -> None:
    """Fill a few segments and let the first of them go."""
    spool = Spool(settings(folder, segment_bytes=4096), lambda *_: None, files=files)
    await spool.open()
    for group in range(6):
        await asyncio.gather(
            *(append_and_say(spool, life, f"{life}-{group}-{number}-".encode() + b"x" * 700) for number in range(3))
        )
    spool.release(spool.start_position + 5000)
    await asyncio.sleep(0.01)
    await spool.close()


async def drained_life(folder: Path, life: int, files: OsFiles) -> None:
    """Append, release, see it go, send it again; say what was released and what was called a duplicate."""
    chosen = settings(folder, segment_bytes=1 << 16).model_copy(update={"seal_after_s": 0.0})
    spool = Spool(chosen, lambda *_: None, files=files)
    await spool.open()
    for group in range(3):
        bodies = [f"{life}-{group}-{number}-".encode() + b"x" * 700 for number in range(3)]
        await asyncio.gather(*(append_and_say(spool, life, body) for body in bodies))
        say(f"release {life} {group}")
        spool.release(spool.end_position)
        if group < 2:  # the last one goes at stop
            while segments(chosen):
                await asyncio.sleep(0.001)
        for body in bodies:
            assert (await spool.append(entry(body))).duplicate
    await spool.close()
    assert not segments(chosen)


async def long_life(folder: Path, life: int, chosen: random.Random) -> None:
    """Append from 16 senders until killed."""
    spool = Spool(settings(folder, segment_bytes=1 << 16, max_bytes=1 << 28), lambda *_: None)
    await spool.open()
    say(f"open {life}")

    async def send(sender: int) -> None:
        number = 0
        while True:
            number += 1
            await append_and_say(spool, life, f"{life}-{sender}-{number}-".encode() + b"x" * chosen.randrange(2000))

    await asyncio.gather(*(send(sender) for sender in range(16)))


def in_a_child(run: object, *, seconds: float = 30.0) -> bool:
    """Whether a forked child ended by itself; it is killed when its time is over."""
    assert callable(run)
    pid = os.fork()
    if pid == 0:
        asyncio.run(run())
        os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
                raise SystemExit("a victim failed by itself")
            return os.WIFEXITED(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def kill_at_each_call(folder: Path, short: Callable[[Path, int, OsFiles], Awaitable[None]]) -> None:
    survived = False
    life = 0
    while not survived:
        life += 1
        own = folder / str(life)
        own.mkdir()
        survived = in_a_child(lambda own=own, life=life: short(own, life, KillingFiles(life)))
        in_a_child(lambda own=own, life=life: short(own, -life, KillingFiles(1 + life % 7)))
    say(f"lives {life}")


def kill_at_random_times(folder: Path, seed: int) -> None:
    chosen = random.Random(seed)
    own = folder / "all"
    own.mkdir()
    for life in range(1, 101):
        slow = max(1.0, life / 10)
        in_a_child(lambda life=life: long_life(own, life, chosen), seconds=slow * chosen.uniform(0.02, 0.3))
        if life >= 10 and heard["open"].value >= 8 and heard["ack"].value > 100:
            return


if __name__ == "__main__":
    if sys.argv[2] == "each":
        kill_at_each_call(Path(sys.argv[1]), short_life)
    elif sys.argv[2] == "drained":
        kill_at_each_call(Path(sys.argv[1]), drained_life)
    else:
        kill_at_random_times(Path(sys.argv[1]), int(sys.argv[3]))
