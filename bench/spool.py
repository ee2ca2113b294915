"""What an acknowledged request costs: append with fdatasync, 64 senders, 30 KB and 1 KB bodies; start; replay.

`python -m bench.spool [--directory DIR] [--requests N]`. CPU is the process's, all threads and kernel time included.
"bare" is the same work without the spool in one thread: digest, CRC, pwritev and fdatasync of as many bodies at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import os
import tempfile
import time
from pathlib import Path

from isal import isal_zlib

from receiver.spool import Entry, Spool, SpoolSettings

SENDERS = 64
SPANS = 512  # in a gzip body of 30 KB, 16 attributes each


def bodies(count: int, size: int) -> list[bytes]:
    filler = os.urandom(size)
    return [number.to_bytes(8, "little") + filler[8:] for number in range(count)]


def settings(directory: Path) -> SpoolSettings:
    return SpoolSettings(directory=directory, min_free_bytes=0)


async def accept(directory: Path, sent: list[bytes], senders: int) -> tuple[float, float, list[float], Spool]:
    """Wall and CPU seconds, latencies, and the spool, closed."""
    spool = Spool(settings(directory), lambda *_: None)
    await spool.open()
    waiting = iter(sent)
    latencies: list[float] = []

    async def send() -> None:
        for body in waiting:
            entry = Entry("traces", "shop", "application/x-protobuf", "gzip", time.time_ns(), body)
            started = time.perf_counter()
            await spool.append(entry)
            latencies.append(time.perf_counter() - started)

    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(send() for _ in range(senders)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await spool.close()
    return wall, cpu, sorted(latencies), spool


def bare(directory: Path, sent: list[bytes], at_a_time: int) -> float:
    """CPU seconds of the least that must be done."""
    fd = os.open(directory / "bare", os.O_RDWR | os.O_CREAT)
    offset = 0
    cpu = time.process_time()
    for start in range(0, len(sent), at_a_time):
        group = sent[start : start + at_a_time]
        for body in group:
            hashlib.blake2b(body, digest_size=16).digest()
            isal_zlib.crc32(body)
        offset += os.pwritev(fd, group, offset)
        os.fdatasync(fd)
    cpu = time.process_time() - cpu
    os.close(fd)
    return cpu


async def start_and_replay(directory: Path) -> None:
    spool = Spool(settings(directory), lambda *_: None)
    started = time.perf_counter()
    await spool.open()
    opened = time.perf_counter() - started
    position, count = 0, 0
    cpu, wall = time.process_time(), time.perf_counter()
    while (stored := await spool.read(position)) is not None:
        position = stored.next_position
        count += 1
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"start with {spool.bytes_used / 1e6:.0f} MB: {opened * 1000:.1f} ms; "
        f"replay {count / wall:,.0f} requests/s, {cpu / count * 1e6:.1f} µs CPU each"
    )
    await spool.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, help="on the disk to be measured; default: the temporary folder's")
    arguments.add_argument("--requests", type=int, default=6000)
    options = arguments.parse_args()
    print(
        f"{'body':>7} {'senders':>7} {'requests/s':>10} {'spans/s':>10} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7} "
        f"{'per group':>9} {'CPU µs':>7} {'bare µs':>8} {'ratio':>6}"
    )
    for size, senders, count in (
        (30_000, SENDERS, options.requests),
        (1_000, SENDERS, options.requests * 4),
        (30_000, 1, options.requests // 4),
    ):
        with tempfile.TemporaryDirectory(dir=options.directory) as name:
            sent = bodies(count, size)
            wall, cpu, latencies, spool = asyncio.run(accept(Path(name) / "spool", sent, senders))
            least = bare(Path(name), sent, senders)
            spans = f"{count / wall * SPANS:,.0f}" if size == 30_000 else "-"
            print(
                f"{size:>7} {senders:>7} {count / wall:>10,.0f} {spans:>10} {latencies[count // 2] * 1000:>7.2f} "
                f"{latencies[count * 99 // 100] * 1000:>7.2f} {latencies[-1] * 1000:>7.1f} "
                f"{count / spool.counts.groups:>9.1f} {cpu / count * 1e6:>7.1f} {least / count * 1e6:>8.1f} "
                f"{cpu / least:>6.2f}"
            )
            if senders > 1:
                asyncio.run(start_and_replay(Path(name) / "spool"))


if __name__ == "__main__":
    main()
