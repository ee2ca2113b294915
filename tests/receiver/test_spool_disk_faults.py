"""A disk that fails or is full: no false acknowledgement, and work goes on by itself when the disk is well again."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from receiver.spool import Appended, Spool, SpoolFailed, SpoolFull
from receiver.spool.files import Buffer, OsFiles
from spool_disk import PowerCutDisk
from spool_tools import entry, fill, on_a_loop, opened, read_all, segments, settings, soon


class FaultyFiles(OsFiles):
    """Real files; each list holds the errors of the next calls, and `broken` fails all of them."""

    def __init__(self) -> None:
        self.broken = False
        self.sync_errors: list[int] = []
        self.directory_errors: list[int] = []
        self.write_errors: list[int] = []
        self.synced: list[int] = []  # inodes, in order

    def _fail(self, errors: list[int]) -> None:
        if errors or self.broken:
            number = errors.pop() if errors else errno.EIO
            raise OSError(number, os.strerror(number))

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        if self.write_errors:
            super().write(fd, [b"".join(buffers)[:100]], offset)  # some of it does arrive
        self._fail(self.write_errors)
        return super().write(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        self.synced.append(os.fstat(fd).st_ino)
        self._fail(self.sync_errors)
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self._fail(self.directory_errors)
        super().sync_directory(path)


@pytest.mark.parametrize("fault", ["sync_errors", "directory_errors", "write_errors"])
@on_a_loop
async def test_one_error_costs_nothing_the_request_goes_to_a_new_segment(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    files = FaultyFiles()
    async with opened(settings(tmp_path), files) as spool:
        if fault != "directory_errors":  # which only counts when a segment is new
            await spool.append(entry(b"before"))
        getattr(files, fault).append(errno.EIO)
        answer = await spool.append(entry(b"during"))
        assert not answer.duplicate
        await spool.append(entry(b"after"))
        assert spool.counts.sync_errors + spool.counts.write_errors == 1
        assert not spool.failed
        expected = [one.body for one in await read_all(spool)]
    async with opened(settings(tmp_path)) as spool:
        assert [one.body for one in await read_all(spool)] == expected
        assert expected[-2:] == [b"during", b"after"]


@on_a_loop
async def test_a_file_whose_sync_failed_is_never_synced_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel marks pages clean after a failed write-back: a second sync would succeed and mean nothing."""
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    files = FaultyFiles()
    async with opened(settings(tmp_path), files) as spool:
        await spool.append(entry(b"before"))
        dead = files.synced[-1]
        files.sync_errors.append(errno.EIO)
        await spool.append(entry(b"during"))
        assert files.synced.count(dead) == 2
        await fill(spool, 5)
        assert files.synced.count(dead) == 2
        assert len(segments(settings(tmp_path))) == 2


@on_a_loop
async def test_errors_for_ever_acknowledge_nothing_and_it_recovers_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    committed: list[Appended] = []
    files = FaultyFiles()
    spool = Spool(settings(tmp_path), lambda appended, _, __: committed.append(appended), files=files)
    await spool.open()
    await spool.append(entry(b"before"))
    files.broken = True
    answers = await asyncio.gather(
        *(spool.append(entry(b"%d" % number)) for number in range(10)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {SpoolFailed}
    assert len(committed) == 1
    assert "Input/output error" in spool.failed
    with pytest.raises(SpoolFailed):
        await spool.append(entry(b"at once"))
    assert [one.body for one in await read_all(spool)] == [b"before"]
    assert len(segments(settings(tmp_path))) <= 2
    files.broken = False
    await soon(lambda: not spool.failed)  # with no append: nobody sends to a bridge that is not ready
    for number in range(10):
        assert not (await spool.append(entry(b"%d" % number))).duplicate
    await spool.close()
    async with opened(settings(tmp_path)) as spool:
        assert [one.body for one in await read_all(spool)] == [b"before", *(b"%d" % number for number in range(10))]


@on_a_loop
async def test_requests_refused_after_a_failed_sync_do_not_come_back_as_duplicates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their bytes may be in a dead segment: neither a restart nor a resend may take them for stored and confirmed."""
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    files = FaultyFiles()
    spool = Spool(settings(tmp_path), lambda *_: None, files=files)
    await spool.open()
    await spool.append(entry(b"before"))
    files.sync_errors += [errno.EIO] * 3  # the request, the index of the segment given up, the request again
    with pytest.raises(SpoolFailed):
        await spool.append(entry(b"refused"))
    await soon(lambda: not spool.failed)
    again = await spool.append(entry(b"refused"))
    assert not again.duplicate
    await spool.close()
    async with opened(settings(tmp_path)) as spool:
        assert [one.body for one in await read_all(spool)] == [b"before", b"refused"]


async def fill_the_disk(spool: Spool) -> list[bytes]:
    """Bodies acknowledged before the disk was full."""
    stored: list[bytes] = []
    for _ in range(10_000):
        body = os.urandom(3000)
        try:
            await spool.append(entry(body))
        except SpoolFull:
            return stored
        stored.append(body)
    raise AssertionError("the disk is never full")


async def full_disk_story(spool: Spool) -> tuple[int, list[bytes]]:
    """Fill, refuse, read, release, accept again; returns a reader's place and what must be there from it on."""
    stored = await fill_the_disk(spool)
    assert len(stored) > 100
    with pytest.raises(SpoolFull):
        await spool.append(entry(b"while full" * 400))
    assert not spool.failed
    assert [one.body for one in await read_all(spool)] == stored
    if spool.counts.segments_created > 1:  # space is given back in whole segments
        keep = await half_way(spool)
        spool.release(keep)
        await soon(lambda: spool.counts.segments_deleted > 0)
        await asyncio.sleep(0.25)  # the pause before a full disk is tried again
        more = await fill_the_disk(spool)
        assert len(more) > 30
        assert [one.body for one in await read_all(spool, keep)] == stored[len(stored) // 2 :] + more
    place = spool.end_position
    spool.release(place)
    await asyncio.sleep(0.25)
    last = await fill_the_disk(spool)
    assert len(last) > 100, "all was released, so all the room is there again"
    return place, last


async def half_way(spool: Spool) -> int:
    """Where the second half of what is stored begins."""
    positions = []
    position = 0
    while (stored := await spool.read(position)) is not None:
        positions.append(stored.position)
        position = stored.next_position
    return positions[len(positions) // 2]


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(
            f"a tmpfs cannot be mounted here ({mounted.stderr.strip()}); the same story runs on a disk in memory"
        )
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("segment_bytes", [1 << 16, 1 << 20])
@on_a_loop
async def test_a_full_file_system_refuses_and_recovers(
    segment_bytes: int, small_tmpfs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when one segment is as large as the disk."""
    caplog.set_level(logging.ERROR, "receiver.spool")
    async with opened(settings(small_tmpfs, segment_bytes=segment_bytes)) as spool:
        place, last = await full_disk_story(spool)
    async with opened(settings(small_tmpfs, segment_bytes=segment_bytes)) as spool:
        assert [one.body for one in await read_all(spool, place)] == last
        assert spool.counts.quarantined_regions == 0


@pytest.mark.parametrize("segment_bytes", [1 << 16, 1 << 20])
@on_a_loop
async def test_a_full_disk_in_memory_refuses_and_recovers(segment_bytes: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    disk = PowerCutDisk(1, capacity=1 << 20)
    chosen = settings(Path("/disk"), segment_bytes=segment_bytes)
    async with opened(chosen, disk) as spool:
        place, last = await full_disk_story(spool)
    disk.lose_power()
    async with opened(chosen, disk) as spool:
        assert [one.body for one in await read_all(spool, place)] == last
        assert spool.counts.quarantined_regions == 0
