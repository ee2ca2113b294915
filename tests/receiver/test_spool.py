"""The spool as its users see it: real files, real syncs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from project_files import ROOT
from receiver.spool import Appended, Entry, Spool, SpoolFailed, SpoolFull, SpoolSettings
from receiver.spool.digests import RequestMemory, digest_of, scope_of
from receiver.spool.files import OsFiles
from spool_tools import NOW, entry, fill, on_a_loop, opened, read_all, segments, settings, soon


@on_a_loop
async def test_what_was_appended_is_read_back_in_order_after_a_restart(tmp_path: Path) -> None:
    entries = [
        Entry(signal, tenant, content_type, encoding, received, body)
        for signal, tenant, content_type, encoding, received, body in (
            ("traces", "", "application/x-protobuf", "", 0, b""),
            ("logs", "käse \udcff", "application/json; charset=utf-8", "gzip", NOW, b"\0" * 70_000),
            ("traces", "t" * 65535, "c" * 65535, "e" * 255, -1, os.urandom(3 << 20)),
            ("s" * 255, "b", "", "zstd", 2**63 - 1, b"last"),
        )
    ]
    async with opened(settings(tmp_path)) as spool:
        appended = [await spool.append(each) for each in entries]
        assert [one.next_position for one in appended[:1]] == [appended[0].next_position]
        end = spool.end_position
    async with opened(settings(tmp_path)) as spool:
        assert await read_all(spool) == entries
        for one, each in zip(appended, entries, strict=True):
            stored = await spool.read(one.position)
            assert stored is not None
            assert (stored.position, stored.next_position, stored.entry) == (one.position, one.next_position, each)
        assert spool.end_position == end
        assert await spool.read(end) is None


@on_a_loop
async def test_positions_rise_across_segments_and_restarts(tmp_path: Path) -> None:
    positions = []
    for _ in range(3):
        async with opened(settings(tmp_path, segment_bytes=4096)) as spool:
            positions += [one.position for one in await fill(spool, 10)]
    assert positions == sorted(set(positions))
    assert len(segments(settings(tmp_path))) >= 6


@on_a_loop
async def test_positions_rise_even_when_the_directory_was_emptied(tmp_path: Path) -> None:
    """A reader's place that is kept elsewhere must not point past everything that comes."""
    async with opened(settings(tmp_path)) as spool:
        before = await spool.append(entry(b"one"))
    for path in (tmp_path / "spool").iterdir():
        path.unlink()
    await asyncio.sleep(1.1)  # numbers start from the clock, in seconds
    async with opened(settings(tmp_path)) as spool:
        after = await spool.append(entry(b"two"))
    assert after.position >= before.next_position


@on_a_loop
async def test_on_commit_is_called_in_position_order_before_the_appends_return(tmp_path: Path) -> None:
    seen: list[tuple[int, object]] = []
    returned: list[int] = []

    def note(appended: Appended, stored: Entry, payload: object) -> None:
        assert appended.position not in returned
        assert stored.body == payload
        seen.append((appended.position, payload))

    spool = Spool(settings(tmp_path), note)
    await spool.open()

    async def send(number: int) -> None:
        body = b"%d" % number
        appended = await spool.append(entry(body), body)
        assert any(position == appended.position for position, _ in seen)
        returned.append(appended.position)

    await asyncio.gather(*(send(number) for number in range(300)))
    await spool.close()
    assert len(seen) == 300
    assert seen == sorted(seen, key=lambda item: item[0])


@on_a_loop
async def test_concurrent_appends_share_a_sync(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        await asyncio.gather(*(spool.append(entry(b"%d" % number)) for number in range(64)))
        assert spool.counts.appended_requests == 64
        assert spool.counts.groups <= 3


@on_a_loop
async def test_a_group_is_committed_as_soon_as_the_one_before_is_synced(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        started = time.monotonic()
        for number in range(20):
            await spool.append(entry(b"%d" % number))
        assert time.monotonic() - started < 15  # a group that waited for company would take a second each
        assert spool.counts.groups == 20
        assert spool.last_sync_s > 0
        assert abs(spool.last_sync_unix_ns - time.time_ns()) < 5e9


@on_a_loop
async def test_an_identical_request_is_stored_once(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        first = await spool.append(entry(b"same"))
        again = await spool.append(entry(b"same", received=NOW + 5))
        assert (first.duplicate, again.duplicate) == (False, True)
        assert not (await spool.append(entry(b"same", tenant="other"))).duplicate
        assert not (await spool.append(entry(b"same", signal="logs"))).duplicate
        assert len(await read_all(spool)) == 3
        assert spool.counts.duplicates == 1


@on_a_loop
async def test_a_duplicate_in_flight_waits_for_the_first_one(tmp_path: Path) -> None:
    committed: list[Appended] = []
    spool = Spool(settings(tmp_path), lambda appended, _, __: committed.append(appended))
    await spool.open()
    answers = await asyncio.gather(*(spool.append(entry(b"same")) for _ in range(5)))
    await spool.close()
    assert sorted(answer.duplicate for answer in answers) == [False, True, True, True, True]
    assert {answer.position for answer in answers} == {committed[0].position}
    assert len(committed) == 1


@on_a_loop
async def test_an_identical_request_is_recognised_after_a_restart_and_after_release(tmp_path: Path) -> None:
    chosen = settings(tmp_path, segment_bytes=4096)
    async with opened(chosen) as spool:
        bodies = [b"%d" % number + bytes(2000) for number in range(10)]
        for body in bodies:
            await spool.append(entry(body))
        spool.release(spool.end_position)
        await soon(lambda: len(segments(chosen)) <= 1)
    async with opened(chosen) as spool:
        assert all([(await spool.append(entry(body))).duplicate for body in bodies])


@on_a_loop
async def test_a_request_is_forgotten_after_remember_s(tmp_path: Path) -> None:
    async with opened(settings(tmp_path, remember_s=0.2)) as spool:
        now = time.monotonic()
        spool._memory._clock = lambda: now  # the disk may take its time
        await spool.append(entry(b"same"))
        assert (await spool.append(entry(b"same"))).duplicate
        now += 0.5
        assert not (await spool.append(entry(b"same"))).duplicate
        await asyncio.sleep(0.5)
    async with opened(settings(tmp_path, remember_s=0.2)) as spool:
        await asyncio.sleep(0.3)
        assert not (await spool.append(entry(b"same"))).duplicate


def test_memory_of_requests_is_bounded_and_forgets_the_oldest() -> None:
    memory = RequestMemory(3600, 4000, lambda: 0.0)
    digests = [digest_of(scope_of("a", "logs"), b"%d" % number) for number in range(20_000)]
    for digest in digests:
        memory.add(digest)
        assert digest in memory
    assert len(memory) <= 5000
    assert memory.forgotten_early == 20_000 - len(memory)
    assert digests[0] not in memory
    assert all(digest in memory for digest in digests[-3000:])


def test_a_request_is_remembered_for_at_least_the_time_promised() -> None:
    now = 0.0
    memory = RequestMemory(3600, 10**6, lambda: now)
    added: dict[bytes, float] = {}
    for step in range(500):
        now = step * 100.0
        digest = digest_of(b"", b"%d" % step)
        assert digest not in memory
        memory.add(digest)
        added[digest] = now
        for old, at in added.items():
            if now - at <= 3600:
                assert old in memory
            elif now - at > 3600 * 1.3:
                assert old not in memory


def test_digests_loaded_at_start_age_from_when_they_were_sealed() -> None:
    now = 10_000.0
    memory = RequestMemory(3600, 10**6, lambda: now)
    digests = [digest_of(b"", b"%d" % number) for number in range(4)]
    for digest, age in zip(digests, (5000.0, 3000.0, 100.0, -50.0), strict=True):
        memory.load(digest, age)
    assert [digest in memory for digest in digests] == [False, True, True, True]
    now += 700
    assert digests[2] in memory
    now += 1000
    assert [digest in memory for digest in digests] == [False, False, True, True]


def test_memory_of_requests_loaded_at_start_is_as_small_as_promised() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.001
        return now

    blobs = [b"".join(digest_of(b"", b"%d %d" % (blob, number)) for number in range(1000)) for blob in range(400)]
    tracemalloc.start()
    try:
        memory = RequestMemory(3600, 10**6, clock)
        for number, blob in enumerate(blobs):
            memory.load(blob, 400.0 - number)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(memory) == 400_000
    assert used < 400_000 * 17 + 7_000_000  # and what each generation's buckets take


@on_a_loop
async def test_released_segments_are_deleted_and_the_rest_stays(tmp_path: Path) -> None:
    chosen = settings(tmp_path, segment_bytes=4096)
    async with opened(chosen) as spool:
        appended = await fill(spool, 20, 2000)
        used = spool.bytes_used
        spool.release(appended[10].position)
        await soon(lambda: spool.counts.segments_deleted > 0)
        assert spool.bytes_used < used - 15_000
        assert spool.request_count == 10
        stored = await spool.read(appended[10].position)
        assert stored is not None
        assert stored.position == appended[10].position
        spool.release(appended[3].position)  # going back changes nothing
        assert spool.request_count == 10
        spool.release(spool.end_position)
        assert spool.request_count == 0
    async with opened(chosen) as spool:
        assert spool.start_position >= appended[9].position - 5000


MARKED = b"password=swordfish-4711"


def holding(directory: Path, secret: bytes) -> list[str]:
    """Names of the files below a folder in which the secret is."""
    return [path.name for path in directory.rglob("*") if path.is_file() and secret in path.read_bytes()]


@on_a_loop
async def test_what_is_released_goes_from_the_disk_without_more_traffic(tmp_path: Path) -> None:
    chosen = settings(tmp_path, segment_bytes=1 << 20, seal_after_s=0.2)
    async with opened(chosen) as spool:
        for life in range(3):
            await spool.append(entry(MARKED + b"%d" % life))
            assert holding(chosen.directory, MARKED)
            spool.release(spool.end_position)
            await soon(lambda: not holding(chosen.directory, MARKED))
        await soon(lambda: spool.bytes_used == sum(path.stat().st_size for path in chosen.directory.glob("0*")))
        later = await spool.append(entry(b"later"))
        assert (await spool.append(entry(MARKED + b"0"))).duplicate
    async with opened(chosen) as spool:  # and the memory of requests is there, too
        assert all([(await spool.append(entry(MARKED + b"%d" % life))).duplicate for life in range(3)])
        stored = await spool.read(0)
        assert stored is not None
        assert (stored.position, stored.entry.body) == (later.position, b"later")


@on_a_loop
async def test_what_is_released_goes_at_stop_and_at_start(tmp_path: Path) -> None:
    chosen = settings(tmp_path, segment_bytes=1 << 20)
    async with opened(chosen) as spool:
        first = await spool.append(entry(MARKED))
        spool.release(spool.end_position)
    assert not holding(chosen.directory, MARKED)
    async with opened(chosen) as spool:  # an ended process that had not been told yet
        assert (await spool.append(entry(MARKED))).duplicate
        second = await spool.append(entry(MARKED + b"2"))
        assert second.position > first.position
    assert holding(chosen.directory, MARKED)
    async with opened(chosen) as spool:
        spool.release(second.next_position)
        await soon(lambda: not holding(chosen.directory, MARKED))
        third = await spool.append(entry(b"3"))
        assert third.position > second.position


@on_a_loop
async def test_with_steady_traffic_a_released_request_does_not_stay_either(tmp_path: Path) -> None:
    """The newest request is never released: the segment is never empty, and yet the old ones go."""
    chosen = settings(tmp_path, segment_bytes=1 << 20, seal_after_s=0.1)
    async with opened(chosen) as spool:
        await spool.append(entry(MARKED))
        until = asyncio.get_running_loop().time() + 60.0
        number = 0
        while holding(chosen.directory, MARKED):
            assert asyncio.get_running_loop().time() < until
            appended = await spool.append(entry(b"%d" % (number := number + 1)))
            spool.release(appended.position)
            await asyncio.sleep(0.01)
        assert [one.body for one in await read_all(spool, appended.position)] == [b"%d" % number]


@on_a_loop
async def test_while_nothing_is_released_no_files_are_begun(tmp_path: Path) -> None:
    chosen = settings(tmp_path, seal_after_s=0.1)
    async with opened(chosen) as spool:
        appended = [await spool.append(entry(b"0"))]
        for number in range(1, 8):
            await asyncio.sleep(0.05)
            appended.append(await spool.append(entry(b"%d" % number)))
        assert spool.counts.segments_created == 1
        spool.release(appended[3].position)
        await spool.append(entry(b"next"))
        assert spool.counts.segments_created <= 2
        assert len(await read_all(spool, appended[3].position)) == 6


@on_a_loop
async def test_count_and_age_of_the_backlog(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        assert (spool.request_count, spool.oldest_received_unix_ns) == (0, 0)
        appended = [await spool.append(entry(b"%d" % number, received=NOW + number)) for number in range(5)]
        assert (spool.request_count, spool.oldest_received_unix_ns) == (5, NOW)
        spool.release(appended[2].position)
        assert (spool.request_count, spool.oldest_received_unix_ns) == (3, NOW + 2)
        files = sum(path.stat().st_size for path in (tmp_path / "spool").glob("0*"))
        assert spool.bytes_used == files
    async with opened(settings(tmp_path)) as spool:
        assert (spool.request_count, spool.oldest_received_unix_ns) == (5, NOW)


@on_a_loop
async def test_no_room_refuses_and_room_again_accepts_without_a_restart(tmp_path: Path) -> None:
    chosen = settings(tmp_path, segment_bytes=1 << 18, max_bytes=1 << 20)
    async with opened(chosen) as spool:
        appended = await fill(spool, 20, 50_000)
        with pytest.raises(SpoolFull, match="it holds"):
            await spool.append(entry(os.urandom(50_000)))
        assert spool.full is not None  # though there is room for a byte
        assert spool.full.cause == "spool"
        assert (await spool.append(entry((await read_all(spool))[0].body))).duplicate
        spool.release(appended[8].position)
        await soon(lambda: spool.counts.segments_deleted == 1)
        assert not spool.full
        assert not (await spool.append(entry(os.urandom(50_000)))).duplicate
        assert spool.counts.refused_full == 1
        assert not spool.failed


@on_a_loop
async def test_free_space_is_left_to_others(tmp_path: Path) -> None:
    free = OsFiles().free_bytes(str(tmp_path))
    async with opened(settings(tmp_path, min_free_bytes=free * 2)) as spool:
        with pytest.raises(SpoolFull, match="bytes free"):
            await spool.append(entry(b"x"))


@on_a_loop
async def test_a_slow_disk_refuses_rather_than_queue_without_bound(tmp_path: Path) -> None:
    class SlowDisk(OsFiles):
        def sync(self, fd: int) -> None:
            time.sleep(0.2)
            super().sync(fd)

    async with opened(settings(tmp_path, max_queued_bytes=1 << 20), files=SlowDisk()) as spool:
        answers = await asyncio.gather(
            *(spool.append(entry(os.urandom(300_000))) for _ in range(8)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [Appended] * 3 + [SpoolFull] * 5


@on_a_loop
async def test_a_body_larger_than_a_segment_and_the_queue_is_stored(tmp_path: Path) -> None:
    body = os.urandom(5 << 20)
    async with opened(settings(tmp_path, max_queued_bytes=1 << 20)) as spool:
        await spool.append(entry(body))
        assert [one.body for one in await read_all(spool)] == [body]


@on_a_loop
async def test_names_too_long_are_refused_and_harm_nobody_else(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        with pytest.raises(ValueError, match="tenant has 65536 bytes"):
            await spool.append(entry(b"x", tenant="t" * 65536))
        with pytest.raises(ValueError, match="cannot be stored"):
            await spool.append(entry(b"x", received=2**63))
        await spool.append(entry(b"y"))


@on_a_loop
async def test_a_cancelled_append_disturbs_no_other(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        first = asyncio.create_task(spool.append(entry(b"same")))
        second = asyncio.create_task(spool.append(entry(b"same")))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).duplicate
        assert len(await read_all(spool)) == 1


@on_a_loop
async def test_an_error_in_on_commit_loses_no_acknowledgement(tmp_path: Path) -> None:
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["message"]))

    def fail(*_: object) -> None:
        raise RuntimeError("mapping is broken")

    spool = Spool(settings(tmp_path), fail)
    await spool.open()
    await spool.append(entry(b"x"))
    assert (spool.counts.commit_errors, problems) == (1, ["on_commit failed"])
    await spool.close()


@on_a_loop
async def test_one_process_at_a_time_and_the_error_names_the_other(tmp_path: Path) -> None:
    holder = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on this loop
        [
            sys.executable,
            "-c",
            "import asyncio, pathlib, sys\n"
            "from receiver.spool import Spool, SpoolSettings\n"
            "async def main():\n"
            "    await Spool(SpoolSettings(directory=pathlib.Path(sys.argv[1])), print).open()\n"
            "    print('open', flush=True)\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(main())\n",
            str(tmp_path / "spool"),
        ],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(SpoolFailed, match=f"in use by process {holder.pid}"):
            await Spool(settings(tmp_path), lambda *_: None).open()
    finally:
        holder.kill()
        holder.wait()
        holder.communicate()
    async with opened(settings(tmp_path)):  # the lock went with the process
        pass


@on_a_loop
async def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolFailed, match=r"spool\.directory: cannot open"):
        await Spool(settings(tmp_path), lambda *_: None).open()


@on_a_loop
async def test_a_closed_spool_refuses(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        await spool.append(entry(b"x"))
    await spool.close()
    with pytest.raises(SpoolFailed, match="closed"):
        await spool.append(entry(b"y"))


@on_a_loop
async def test_close_writes_what_is_queued(tmp_path: Path) -> None:
    spool = Spool(settings(tmp_path), lambda *_: None)
    await spool.open()
    waiting = [asyncio.create_task(spool.append(entry(b"%d" % number))) for number in range(50)]
    await asyncio.sleep(0)
    await spool.close()
    assert not any(answer.duplicate for answer in await asyncio.gather(*waiting))
    async with opened(settings(tmp_path)) as spool:
        assert len(await read_all(spool)) == 50


@on_a_loop
async def test_a_start_does_not_read_the_backlog(tmp_path: Path) -> None:
    """Sealed segments are known by their indexes: a hundredth of the bytes is read at most."""

    class CountingDisk(OsFiles):
        def __init__(self) -> None:
            self.bytes = 0

        def read(self, fd: int, size: int, offset: int) -> bytes:
            data = super().read(fd, size, offset)
            self.bytes += len(data)
            return data

    read = []
    for count in (20, 200):
        chosen = settings(tmp_path / str(count), segment_bytes=1 << 16)
        async with opened(chosen) as spool:
            await fill(spool, count, 20_000)
        disk = CountingDisk()
        async with opened(chosen, files=disk):
            pass
        read.append(disk.bytes)
    assert read[1] < 0.01 * 200 * 20_000


@on_a_loop
async def test_files_are_private(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as spool:
        await spool.append(entry(b"x"))
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()} == {0o600}


def test_impossible_settings_name_value_and_bound() -> None:
    with pytest.raises(ValueError, match="segment_bytes is 33554432, must be at most a quarter of max_bytes"):
        SpoolSettings(max_bytes=64 << 20)
    with pytest.raises(ValueError, match="fsync"):
        SpoolSettings.model_validate({"fsync": "sometimes"})


@on_a_loop
async def test_fast_mode_is_asked_for_by_name_and_does_not_sync(tmp_path: Path) -> None:
    class NoSync(OsFiles):
        def sync(self, fd: int) -> None:
            raise AssertionError("synced")

    async with opened(settings(tmp_path, fsync="none"), files=NoSync()) as spool:
        await spool.append(entry(b"x"))
    assert SpoolSettings().fsync == "group"
