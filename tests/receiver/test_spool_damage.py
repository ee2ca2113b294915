"""Damage stays where it is: every request that was not touched is delivered, and what is lost is counted."""

from __future__ import annotations

import logging
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from project_files import TESTDATA
from receiver.spool import Spool, SpoolFailed, SpoolSettings
from receiver.spool.entry import split_position
from receiver.spool.on_disk import HEADER_SIZE, decode_segment_header, encode_segment_header
from spool_fixture import entries
from spool_tools import entry, fill, on_a_loop, opened, read_all, segments, settings

SEEDS = 100


class Extent(NamedTuple):
    """Where a request lies, as its append said."""

    segment: int
    start: int
    end: int
    body: bytes


class Damaged(NamedTuple):
    """Bytes of a segment that are no longer what was written."""

    segment: int
    start: int
    end: int


class Work(NamedTuple):
    """A spool to be damaged."""

    chosen: random.Random
    directory: Path
    extents: list[Extent]

    def pick(self) -> Path:
        return self.chosen.choice(sorted(self.directory.glob("*.spool")))


async def build(chosen: random.Random, directory: Path, *, clean: bool) -> Work:
    """A spool of several segments; not clean: as a killed process leaves it."""
    spool = Spool(settings(directory, segment_bytes=chosen.choice((4096, 8192)), fsync="none"), lambda *_: None)
    await spool.open()
    extents = []
    for _ in range(chosen.randint(40, 80)):
        body = chosen.randbytes(chosen.choice((0, 10, 500, 3000)) + 8)
        appended = await spool.append(entry(body))
        segment, start = split_position(appended.position)
        extents.append(Extent(segment, start, split_position(appended.next_position)[1], body))
    if clean:
        await spool.close()
        return Work(chosen, directory / "spool", extents)
    copy = directory / "killed" / "spool"
    shutil.copytree(directory / "spool", copy)
    await spool.close()
    return Work(chosen, copy, extents)


def overwrite(work: Work, path: Path, start: int, data: bytes) -> list[Damaged]:
    """Replace bytes and say which differ now."""
    content = bytearray(path.read_bytes())
    data = data[: len(content) - start]
    changed = [start + at for at, byte in enumerate(data) if content[start + at] != byte]
    content[start : start + len(data)] = data
    path.write_bytes(content)
    if path.suffix != ".spool" or not changed:
        return []
    return [Damaged(int(path.stem), at, at + 1) for at in changed]


def bit_flip(work: Work) -> list[Damaged]:
    path = work.pick()
    content = path.read_bytes()
    at = work.chosen.randrange(len(content))
    return overwrite(work, path, at, bytes([content[at] ^ 1 << work.chosen.randrange(8)]))


def zeroed_page(work: Work) -> list[Damaged]:
    path = work.pick()
    page = work.chosen.randrange(path.stat().st_size // 4096 + 1)
    return overwrite(work, path, page * 4096, bytes(4096))


def garbage(work: Work) -> list[Damaged]:
    path = work.pick()
    start = work.chosen.randrange(path.stat().st_size)
    return overwrite(work, path, start, work.chosen.randbytes(work.chosen.choice((1, 64, 700, 5000))))


def cut_tail(work: Work) -> list[Damaged]:
    path = work.pick()
    size = path.stat().st_size
    keep = work.chosen.randrange(size)
    with path.open("r+b") as file:
        file.truncate(keep)
    return [Damaged(int(path.stem), keep, size)]


def missing_middle_segment(work: Work) -> list[Damaged]:
    path = work.chosen.choice(sorted(work.directory.glob("*.spool"))[1:-1])
    size = path.stat().st_size
    path.unlink()
    return [Damaged(int(path.stem), 0, size)]


def future_version_in_the_middle(work: Work) -> list[Damaged]:
    path = work.chosen.choice(sorted(work.directory.glob("*.spool"))[:-1])
    return [Damaged(int(path.stem), 0, set_version(path, 2))]


def garbage_index(work: Work) -> list[Damaged]:
    path = work.chosen.choice(sorted(work.directory.glob("*.index")))
    if work.chosen.random() < 0.3:
        path.unlink()
    elif work.chosen.random() < 0.5:
        path.write_bytes(work.chosen.randbytes(work.chosen.randrange(3000)))
    else:
        overwrite(work, path, work.chosen.randrange(path.stat().st_size), work.chosen.randbytes(3))
    return []


def stray_files(work: Work) -> list[Damaged]:
    (work.directory / "notes.txt").write_text("from an operator")
    (work.directory / "12.spool").write_bytes(b"\0" * 100)
    (work.directory / "0000000007.index").write_bytes(work.chosen.randbytes(50))
    return []


MUTATIONS: list[Callable[[Work], list[Damaged]]] = [
    bit_flip,
    bit_flip,
    zeroed_page,
    garbage,
    cut_tail,
    missing_middle_segment,
    future_version_in_the_middle,
    garbage_index,
    stray_files,
]


def set_version(path: Path, version: int) -> int:
    """Make a segment one of another format version, undamaged; returns its size."""
    content = bytearray(path.read_bytes())
    header = decode_segment_header(bytes(content[:HEADER_SIZE]))
    assert header is not None
    content[:HEADER_SIZE] = encode_segment_header(header._replace(version=version))
    path.write_bytes(content)
    return len(content)


def lost_to(damage: list[Damaged], extents: list[Extent]) -> list[Extent]:
    by_segment: dict[int, list[Damaged]] = {}
    for one in damage:
        by_segment.setdefault(one.segment, []).append(one)
    return [
        extent
        for extent in extents
        if any(one.start < extent.end and one.end > extent.start for one in by_segment.get(extent.segment, []))
    ]


def reopened(work: Work) -> SpoolSettings:
    return settings(work.directory.parent)


@pytest.mark.parametrize("seed", range(SEEDS))
@on_a_loop
async def test_only_damaged_requests_are_lost_and_all_of_them_are_counted(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    chosen = random.Random(seed)
    clean = chosen.random() < 0.7
    work = await build(chosen, tmp_path, clean=clean)
    mutation = MUTATIONS[seed % len(MUTATIONS)]
    lost = lost_to(mutation(work), work.extents)
    expected = [extent.body for extent in work.extents if extent not in lost]
    started = time.monotonic()
    async with opened(reopened(work)) as spool:
        assert time.monotonic() - started < 30
        found = await read_all(spool)
        assert [one.body for one in found] == expected
        counted = spool.counts.quarantined_requests + spool.counts.unconfirmed_requests
        if clean:
            assert counted == len(lost)
            assert spool.counts.unconfirmed_requests == 0
        else:  # whole requests cut off the unsealed end cannot be told from requests never written
            assert counted <= len(lost)
        assert await read_all(spool) == found
        assert spool.counts.quarantined_requests + spool.counts.unconfirmed_requests == counted, "counted twice"
        assert not (await spool.append(entry(b"life goes on"))).duplicate
    async with opened(reopened(work)) as spool:
        assert [one.body for one in await read_all(spool)] == [*expected, b"life goes on"]


@pytest.mark.parametrize("seed", range(10))
@on_a_loop
async def test_several_damages_at_once_cost_only_what_they_hit(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    chosen = random.Random(1000 + seed)
    work = await build(chosen, tmp_path, clean=True)
    damage = [one for _ in range(5) for one in chosen.choice((bit_flip, zeroed_page, garbage))(work)]
    lost = lost_to(damage, work.extents)
    async with opened(reopened(work)) as spool:
        assert [one.body for one in await read_all(spool)] == [
            extent.body for extent in work.extents if extent not in lost
        ]


@on_a_loop
async def test_a_report_names_segment_offset_and_count_and_keeps_the_bytes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = await build(random.Random(1), tmp_path, clean=True)
    victims = work.extents[5:7]
    path = work.directory / f"{victims[0].segment:010d}.spool"
    assert victims[0].segment == victims[1].segment
    size = victims[1].end - victims[0].start
    overwrite(work, path, victims[0].start, bytes(size))
    async with opened(reopened(work)) as spool:
        await read_all(spool)
        assert spool.counts.quarantined_requests == 2
        assert spool.counts.quarantined_regions == 1
        assert spool.counts.quarantined_bytes == size
    said = f"segment {victims[0].segment}, offset {victims[0].start}, {size} bytes, 2 requests"
    assert any(said in record.getMessage() for record in caplog.records)
    kept = work.directory / "quarantine" / f"{victims[0].segment:010d}-{victims[0].start}.bin"
    assert kept.read_bytes() == bytes(size)


@on_a_loop
async def test_a_torn_end_that_was_never_acknowledged_is_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    for keep in (1, 63, 64, 65, 120, 600):
        work = await build(random.Random(keep), tmp_path / str(keep), clean=False)
        whole = segments(reopened(work))[0].read_bytes()
        last = segments(reopened(work))[-1]
        with last.open("ab") as file:
            file.write(whole[HEADER_SIZE : HEADER_SIZE + keep])
        async with opened(reopened(work)) as spool:
            assert [one.body for one in await read_all(spool)] == [extent.body for extent in work.extents]
            assert spool.counts.quarantined_regions == 0


@on_a_loop
async def test_a_body_that_contains_requests_cannot_smuggle_them_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Searching for the next intact request passes through bodies, which are the sender's."""
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    other = await build(random.Random(3), tmp_path / "other", clean=True)
    smuggled = b"".join(path.read_bytes() for path in segments(reopened(other)))
    async with opened(settings(tmp_path)) as spool:
        first = await spool.append(entry(smuggled, tenant="mallory"))
        await spool.append(entry(b"honest"))
    (path,) = [one for one in segments(settings(tmp_path)) if int(one.stem) == first.position >> 32]
    overwrite(other, path, split_position(first.position)[1], b"\0" * 32)
    async with opened(settings(tmp_path)) as spool:
        assert [one.body for one in await read_all(spool)] == [b"honest"]
        assert spool.counts.quarantined_requests == 1


@on_a_loop
async def test_any_position_reads_the_next_intact_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader whose place is garbage gets a request or the end, never an error and never an altered request."""
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    work = await build(random.Random(2), tmp_path, clean=True)
    chosen = random.Random(4)
    async with opened(reopened(work)) as spool:
        for _ in range(100):
            segment = chosen.choice(work.extents).segment + chosen.choice((-1, 0, 0, 1))
            offset = chosen.randrange(10_000)
            following = [one for one in work.extents if (one.segment, one.start) >= (segment, offset)]
            stored = await spool.read(segment << 32 | offset)
            assert (stored.entry.body if stored else None) == (following[0].body if following else None)
        assert await spool.read(-1) is not None
        assert await spool.read(2**62) is None
        assert spool.counts.quarantined_regions == 0


@on_a_loop
async def test_a_spool_that_a_newer_build_wrote_last_is_refused_untouched(tmp_path: Path) -> None:
    work = await build(random.Random(5), tmp_path, clean=True)
    set_version(segments(reopened(work))[-1], 2)
    before = {path.name: path.read_bytes() for path in work.directory.iterdir() if path.name != "lock"}
    with pytest.raises(SpoolFailed, match="has format version 2, this build reads up to 1"):
        await Spool(reopened(work), lambda *_: None).open()
    assert before == {path.name: path.read_bytes() for path in work.directory.iterdir() if path.name != "lock"}


@on_a_loop
async def test_a_segment_of_a_future_version_is_kept_when_it_is_released(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    work = await build(random.Random(6), tmp_path, clean=True)
    middle = segments(reopened(work))[1]
    set_version(middle, 2)
    content = middle.read_bytes()
    async with opened(reopened(work)) as spool:
        await fill(spool, 1)
        spool.release(spool.end_position)
    assert (work.directory / "quarantine" / middle.name).read_bytes() == content


FIXTURES = TESTDATA / "spool"


@pytest.mark.parametrize("version", [1])
@on_a_loop
async def test_a_spool_of_every_released_format_is_read(version: int, tmp_path: Path) -> None:
    """The folders are what a build of that format left: one closed in order, one killed in mid-write."""
    for how in ("closed", "killed"):
        shutil.copytree(FIXTURES / f"version-{version}" / how, tmp_path / how / "spool")
        async with opened(settings(tmp_path / how)) as spool:
            assert await read_all(spool) == entries()
            assert spool.counts.quarantined_regions == 0
