"""What an append returned for is still there after the power failed at any step.

A seed fixes what is sent, where the power fails and what the disk forgets; only the threads interleave freely.
"""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path

import pytest

from receiver.spool import Appended, Entry, Spool, SpoolFailed, SpoolFull, SpoolSettings
from spool_disk import PowerCut, PowerCutDisk

SEEDS = 500
LIVES = 3


class History:
    """What senders know: which bodies were sent, and what was answered."""

    def __init__(self) -> None:
        self.sent: set[bytes] = set()
        self.acknowledged: dict[bytes, int] = {}  # body: position
        self.called_duplicate: set[bytes] = set()
        self.cursor = 0  # a reader's place, kept durably elsewhere
        self.passed: set[bytes] = set()  # before the cursor


def entry(body: bytes) -> Entry:
    return Entry("traces", "shop", "application/x-protobuf", "", 1_700_000_000_000_000_000, body)


def settings(chosen: random.Random, fsync: str = "group") -> SpoolSettings:
    small = {"segment_bytes": chosen.choice((4096, 8192, 1 << 20)), "max_bytes": 1 << 24, "min_free_bytes": 0}
    valid = SpoolSettings.model_validate({"directory": Path("/disk"), "fsync": fsync} | small)
    return valid.model_copy(update={"seal_after_s": chosen.choice((0.0, 60.0))})  # 0: as soon as something is released


async def live(disk: PowerCutDisk, chosen: random.Random, history: History, fsync: str) -> None:
    """One life of the process, until the power fails or it has had enough."""
    committed: list[int] = []
    spool = Spool(settings(chosen, fsync), lambda appended, _, __: committed.append(appended.position), files=disk)
    try:
        await spool.open()
    except (PowerCut, SpoolFailed):
        return
    try:
        for _ in range(chosen.randint(1, 12)):
            bodies = [chosen.randbytes(chosen.randint(0, 1500)) for _ in range(chosen.randint(1, 6))]
            if history.sent and chosen.random() < 0.3:
                bodies.append(chosen.choice(sorted(history.sent)))
            history.sent.update(bodies)
            answers = await asyncio.gather(*(spool.append(entry(body)) for body in bodies), return_exceptions=True)
            for body, answer in zip(bodies, answers, strict=True):
                if isinstance(answer, Appended):
                    if answer.duplicate:
                        history.called_duplicate.add(body)
                    else:
                        history.acknowledged[body] = answer.position
                else:
                    assert isinstance(answer, SpoolFailed | SpoolFull), answer
            if disk.off:
                break
            if chosen.random() < 0.2 and not disk.off:
                await advance(spool, chosen, history)
        if chosen.random() < 0.3 and not disk.off:
            while history.cursor < spool.end_position and await advance(spool, chosen, history):
                pass  # all of it: what is drained goes at stop
    except PowerCut:  # while a reader kept damaged bytes aside
        pass
    finally:
        await spool.close()
    assert committed == sorted(committed)


async def advance(spool: Spool, chosen: random.Random, history: History) -> bool:
    """A reader moves on and lets go of what it has. False when there was nothing more."""
    position = max(history.cursor, spool.start_position)
    for _ in range(chosen.randint(1, 20)):
        stored = await spool.read(position)
        if stored is None:
            break
        history.passed.add(stored.entry.body)
        position = stored.next_position
    moved, history.cursor = position > history.cursor, position
    spool.release(position)
    return moved


async def check(disk: PowerCutDisk, chosen: random.Random, history: History, *, remembers: bool) -> None:
    spool = Spool(settings(chosen), lambda *_: None, files=disk)
    await spool.open()
    found: dict[bytes, int] = {}
    position = max(history.cursor, spool.start_position)
    while (stored := await spool.read(position)) is not None:
        assert stored.position >= position
        assert stored.entry.body not in found, "stored twice"
        found[stored.entry.body] = stored.position
        position = stored.next_position
    there = found.keys() | history.passed
    assert history.acknowledged.keys() <= there, "an acknowledged request is lost"
    assert history.called_duplicate <= there, "a request was called a duplicate and is lost"
    assert found.keys() <= history.sent, "a request was invented"
    assert all(found[body] == at for body, at in history.acknowledged.items() if body in found), "a position moved"
    assert spool.counts.quarantined_regions == 0, "a write that was never acknowledged counts as damage"
    if remembers:
        for body in history.acknowledged:
            assert (await spool.append(entry(body))).duplicate, "a resent request is not recognised"
    await spool.close()


def run(seed: int, *, failing_syncs: float = 0.0, fsync: str = "group") -> None:
    chosen = random.Random(seed)
    disk = PowerCutDisk(seed)
    history = History()

    async def story() -> None:
        for _ in range(LIVES):
            disk.cut_at = chosen.randint(1, 60)
            doomed = {step for step in range(100) if chosen.random() < failing_syncs}
            disk.failing_syncs = doomed.__contains__
            await live(disk, chosen, history, fsync)
            disk.lose_power()
        disk.failing_syncs = lambda step: False
        # An index that could not be synced may be lost with the power, and with it the memory of released requests.
        await check(disk, chosen, history, remembers=not failing_syncs)

    asyncio.run(story())


@pytest.mark.parametrize("block", range(10))
def test_nothing_acknowledged_is_lost_when_the_power_fails(block: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")  # a writer that the power cut ended says so
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        try:
            run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


@pytest.mark.parametrize("block", range(4))
def test_nothing_acknowledged_is_lost_when_syncs_fail_and_then_the_power(
    block: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    for seed in range(10_000 + block * 50, 10_000 + block * 50 + 50):
        try:
            run(seed, failing_syncs=0.1)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_the_disk_does_forget_what_was_not_synced(caplog: pytest.LogCaptureFixture) -> None:
    """Without the syncs the same stories lose acknowledged requests: so the tests above can fail."""
    caplog.set_level(logging.CRITICAL, "receiver.spool")
    lost = 0
    for seed in range(30):
        try:
            run(seed, fsync="none")
        except AssertionError:
            lost += 1
    assert lost > 5
