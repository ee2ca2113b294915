"""A request that has stopped a lane twice, mapped record by record in a process that may be lost.

`tried_alone` starts it, as often as it takes: the record that a life ended at is left out of the next one. The process
itself is `python -m weighbridge.lanes.alone PROGRESS`, with settings and request on its standard input.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import sys
import time

import orjson

from exporter.clickhouse.engine.supervisor import environment
from mapping.mapper import Mapper
from mapping.otlp.cut import cut, singles
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.sampler import CEILING, Sampler
from receiver.decode.request import decode_request
from receiver.spool import Entry
from weighbridge.lanes.lane import NO_LIMITS
from weighbridge.lanes.limits import die_with_parent, limit_memory, usage_of
from weighbridge.lanes.watch import LOOK_S, Watch
from weighbridge.progress import Progress, new_file
from weighbridge.settings import Settings

log = logging.getLogger(__name__)

PROGRAM: tuple[str, ...] = ("-P", "-m", "weighbridge.lanes.alone")
# Lives for one request, each lost to one record: up to STUCK_S of the clock. Beyond it what was not tried is left out,
# too: a request that is made of such records is not worth more.
MOST_LIVES = 16


async def tried_alone(settings: Settings, entry: Entry, count: int) -> dict[int, str]:
    """Which of a request's records cannot be mapped, by number, and why. count: how many it has."""
    bad: dict[int, str] = {}
    first, lives = 0, 0
    while first <= count:
        if lives == MOST_LIVES:
            return bad | dict.fromkeys(range(first, count), "not tried: too many before it")
        lives += 1
        failed, stopped_at, why = await _one_life(settings, entry, first, sorted(bad))
        bad |= failed
        if stopped_at is None:
            return bad
        if stopped_at >= count:  # each for itself is well, and all together are not
            return dict.fromkeys(range(count), why)
        log.error("record %d of %d of a request %s", stopped_at + 1, count, why)
        bad[stopped_at] = why
        first = stopped_at + 1
    return bad


async def _one_life(
    settings: Settings, entry: Entry, first: int, left_out: list[int]
) -> tuple[dict[int, str], int | None, str]:
    """Records that failed by themselves, and at which number it ended before all were tried."""
    descriptor = new_file()
    progress = Progress(descriptor)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *PROGRAM,
            str(descriptor),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(descriptor,),
            env=environment(),
        )
    finally:
        os.close(descriptor)
    talking = asyncio.create_task(process.communicate(pickle.dumps((settings, entry, first, left_out))))
    watch = Watch(progress, settings.lanes.memory_bytes, time.monotonic())
    why = ""
    try:
        while not (await asyncio.wait([talking], timeout=LOOK_S))[0]:
            why = why or watch.look(time.monotonic(), usage_of(process.pid))
            if why and process.returncode is None:
                process.kill()
        said, _ = talking.result()
    finally:
        if process.returncode is None:
            process.kill()
        place = progress.read()[1]
        progress.close()
    failed = {line["record"]: line["why"] for line in map(orjson.loads, said.splitlines())}
    if process.returncode == 0:
        return failed, None, ""
    ended = f"stops the process that maps it: {why or _told(process.returncode or 0)}"
    return failed, max(first, place - 1), ended


def _told(status: int) -> str:
    return f"it ended by signal {-status}" if status < 0 else f"it ended with status {status}"


def decoded_again(entry: Entry) -> Decoded:
    """A request of the spool."""
    return decode_request(Decoder(), entry.signal, entry.content_type, entry.content_encoding, entry.body, NO_LIMITS)


def main() -> None:
    """Map one record after the other, then all that are left; say which failed by an exception."""
    die_with_parent()
    progress = Progress(int(sys.argv[1]))
    settings, entry, first, left_out = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from the lane that began this
    limit_memory(settings.lanes.memory_bytes)
    decoded = decoded_again(entry)
    mapper = Mapper(settings.mapping, Sampler(settings.sampling, ceiling=CEILING))
    bad = set(left_out)

    def try_it(place: int, part: Decoded) -> None:
        progress.begin(place + 1)
        for _ in mapper.steps(part, received_unix_ns=entry.received_unix_ns, tenant=entry.tenant):
            progress.step()

    for number, one in enumerate(singles(decoded)):
        if number < first or number in bad:
            continue
        try:
            try_it(number, one)
        except Exception as error:
            bad.add(number)
            line = {"record": number, "why": f"cannot be mapped: {type(error).__name__}"}
            sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
            sys.stdout.buffer.flush()
    try_it(decoded.accepted, cut(decoded, bad, keep=False))
    os._exit(0)


if __name__ == "__main__":
    main()
