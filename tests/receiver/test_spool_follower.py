"""A spool read by another process than the one that writes it."""

from __future__ import annotations

import random
import time
from dataclasses import astuple
from pathlib import Path

from receiver.spool import Entry, Spool, SpoolSettings
from receiver.spool.follower import Follower
from receiver.spool.segments import Segment
from receiver.spool.together import Together
from spool_tools import on_a_loop


def entry(number: int) -> Entry:
    body = random.Random(number).randbytes(200 + number % 700)
    return Entry("traces", "acme", "application/x-protobuf", "", time.time_ns(), body)


class Wire:
    """Hands everything on to a follower, as messages between processes do."""

    def __init__(self) -> None:
        self.follower: Follower | None = None

    def segment(self, segment: Segment) -> None:
        if self.follower:
            self.follower.segment(astuple(segment))

    def removed(self, number: int) -> None:
        if self.follower:
            self.follower.removed(number)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


async def all_of(follower: Follower, position: int) -> tuple[list[bytes], int]:
    found = []
    while (stored := await follower.read(position)) is not None:
        found.append(stored.entry.body)
        position = stored.next_position
    return found, position


@on_a_loop
async def test_it_reads_what_was_there_and_what_comes_and_lets_it_go(tmp_path: Path) -> None:
    settings = SpoolSettings(directory=tmp_path, segment_bytes=4096, min_free_bytes=0)
    wire = Wire()
    spool = Spool(settings, lambda *_: None, watcher=wire)
    await spool.open()
    sent = [entry(number) for number in range(60)]
    for one in sent[:20]:
        await spool.append(one)
    wire.follower = follower = Follower(settings, spool.snapshot(), spool.release)
    assert follower.start_position == spool.start_position
    found, position = await all_of(follower, follower.start_position)
    assert found == [one.body for one in sent[:20]]
    assert position == follower.end_position == spool.end_position
    assert await follower.read(position) is None
    for one in sent[20:]:
        await spool.append(one)
        more, position = await all_of(follower, position)
        assert more == [one.body]
    assert follower.end_position == spool.end_position
    assert follower.bytes_from(follower.start_position) == spool.bytes_from(spool.start_position) > 0
    assert follower.oldest_received_unix_ns == spool.oldest_received_unix_ns
    before = len(files(tmp_path))
    follower.release(position)
    await spool.close()
    assert len(files(tmp_path)) < before
    assert follower.bytes_from(0) == spool.bytes_from(0)
    await follower.close()


@on_a_loop
async def test_damage_is_stepped_over_as_by_the_writer(tmp_path: Path) -> None:
    settings = SpoolSettings(directory=tmp_path, min_free_bytes=0)
    spool = Spool(settings, lambda *_: None)
    await spool.open()
    places = [(await spool.append(entry(number))).position for number in range(10)]
    (file,) = files(tmp_path)
    with file.open("r+b") as segment:
        segment.seek((places[4] & 0xFFFFFFFF) + 100)
        segment.write(b"\0" * 20)
    follower = Follower(settings, spool.snapshot(), spool.release)
    found, _ = await all_of(follower, follower.start_position)
    assert found == [entry(number).body for number in range(10) if number != 4]
    assert follower.counts.quarantined_requests == 1
    await follower.close()
    await spool.close()


@on_a_loop
async def test_a_request_is_known_again_in_every_partition_also_after_a_restart(tmp_path: Path) -> None:
    async def opened() -> list[Spool]:
        together = Together(SpoolSettings(directory=tmp_path, max_bytes=1 << 20, segment_bytes=4096))
        spools = []
        for name in ("a", "b"):
            settings = SpoolSettings(directory=tmp_path / name, max_bytes=1 << 20, segment_bytes=4096)
            spools.append(Spool(settings, lambda *_: None, together=together))
            await spools[-1].open()
        return spools

    first, second = await opened()
    assert not (await first.append(entry(1))).duplicate
    assert (await second.append(entry(1))).duplicate
    assert not (await second.append(entry(2))).duplicate
    await first.close()
    await second.close()
    first, second = await opened()
    assert (await first.append(entry(2))).duplicate
    assert (await second.append(entry(1))).duplicate
    await first.close()
    await second.close()
