"""What happens to the system while producers send: one function a story, each leaves the system well again.

A story may check what only it can see, and raises AssertionError.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from faults.proxy import NONE, Fault
from faults.system import System

READY_AFTER_KILL_S = 10.0  # the process's own start included, on a loaded machine
STOP_S = 60.0

Story = Callable[[System, random.Random, float], Awaitable[None]]


class Told(NamedTuple):
    """A story, and how its producers send."""

    story: Story
    what: str
    times: int = 1  # each request is sent so often
    prefix: tuple[str, ...] = ()  # before the bridge's command
    spool_mib: int = 0  # of a disk for the spool alone, 0 for none


async def nothing(system: System, dice: random.Random, seconds: float) -> None:
    await asyncio.sleep(seconds)


async def killed(system: System, dice: random.Random, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(dice.uniform(0.2, 3.0))
        await system.kill_bridge()
        took = await system.start_bridge()
        assert took < READY_AFTER_KILL_S, f"ready after {took:.1f} s"


async def stopped(system: System, dice: random.Random, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(dice.uniform(0.5, 3.0))
        status = await system.stop_bridge(STOP_S)
        assert status == 0, f"exit status {status}"
        await system.start_bridge()


async def stopped_while_the_store_is_away(system: System, dice: random.Random, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await system.to_store.set_fault(Fault(refuse=True))
        await asyncio.sleep(dice.uniform(0.5, 2.0))
        status = await system.stop_bridge(STOP_S)
        assert status == 0, f"exit status {status}"
        await system.start_bridge()
        await system.to_store.set_fault(NONE)
        await asyncio.sleep(dice.uniform(0.5, 2.0))


def while_the_store(fault: Fault) -> Story:
    """A fault between bridge and store from a sixth of the time to five sixths."""

    async def story(system: System, dice: random.Random, seconds: float) -> None:
        await asyncio.sleep(seconds / 6)
        await system.to_store.set_fault(fault)
        await asyncio.sleep(seconds * 4 / 6)
        assert await system.ready(), "a store that is away must not make the bridge refuse"
        assert system.to_store.counts.swallowed or not fault.close_after_commit, "no answer was swallowed"
        await system.to_store.set_fault(NONE)
        await asyncio.sleep(seconds / 6)

    return story


def while_the_intake(fault: Fault) -> Story:
    """A fault between producers and bridge, likewise."""

    async def story(system: System, dice: random.Random, seconds: float) -> None:
        await asyncio.sleep(seconds / 6)
        await system.to_bridge.set_fault(fault)
        await asyncio.sleep(seconds * 4 / 6)
        assert system.to_bridge.counts.swallowed or not fault.close_after_commit, "no answer was swallowed"
        await system.to_bridge.set_fault(NONE)
        await asyncio.sleep(seconds / 6)

    return story


async def store_comes_and_goes(system: System, dice: random.Random, seconds: float) -> None:
    """Every kind of trouble on the store's side, in turn, with kills of the bridge between them."""
    faults = (
        Fault(refuse=True),
        Fault(half_open=True),
        Fault(close_after_commit=0.5, matching=b"INSERT"),
        Fault(bytes_per_s=20_000),
        Fault(delay_s=0.3),
        NONE,
    )
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await system.to_store.set_fault(dice.choice(faults))
        await asyncio.sleep(dice.uniform(0.3, 2.0))
        if dice.random() < 0.3:
            await system.kill_bridge()
            await system.start_bridge()
    await system.to_store.set_fault(NONE)


async def engine_killed(system: System, dice: random.Random, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(dice.uniform(1.0, 4.0))
        await system.kill_engine()


async def disk_full(system: System, dice: random.Random, seconds: float) -> None:
    """The store is away until the spool's disk is full, and longer; then all is well without a restart."""
    await system.to_store.set_fault(Fault(refuse=True))
    until = time.monotonic() + max(seconds, 60.0)
    while await system.ready():
        assert time.monotonic() < until, "the disk was never full"
        await asyncio.sleep(0.1)
    await asyncio.sleep(seconds / 3)
    await system.to_store.set_fault(NONE)
    until = time.monotonic() + 60.0
    while not await system.ready():
        assert time.monotonic() < until, "the bridge did not become ready again"
        await asyncio.sleep(0.1)
    await asyncio.sleep(seconds / 3)


async def syncs_fail(system: System, dice: random.Random, seconds: float) -> None:
    await asyncio.sleep(seconds)
    log = await asyncio.to_thread(system.bridge_log.read_text)
    assert "sync failed" in log, "no sync failed"


# Every 40th sync of the bridge fails. -D: the bridge is the process started, the tracer its child.
SYNC_FAILS = ("strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync")
EVERY_40TH = (*SYNC_FAILS, "-e", "inject=fdatasync:error=EIO:when=30+40")

STORIES: dict[str, Told] = {
    "quiet": Told(nothing, "no fault: the tools themselves"),
    "killed": Told(killed, "R01 kill -9 of the bridge at random times"),
    "stopped": Told(stopped, "R04 SIGTERM under load"),
    "stopped-away": Told(stopped_while_the_store_is_away, "R05 SIGTERM while the store is down"),
    "away": Told(while_the_store(Fault(refuse=True)), "R06 the store refuses connections"),
    "slow": Told(while_the_store(Fault(bytes_per_s=1000)), "R07 the store takes 1,000 B/s"),
    "late": Told(while_the_store(Fault(delay_s=2.0)), "R07 the store answers after 2 s"),
    "half-open": Told(while_the_store(Fault(half_open=True)), "R10 connections to the store hang"),
    "commits-then-closes": Told(
        while_the_store(Fault(close_after_commit=0.5, matching=b"INSERT")), "R10 the store commits and says nothing"
    ),
    "lost-answers": Told(while_the_intake(Fault(close_after_commit=0.3)), "a third of the answers to senders is lost"),
    "resent": Told(nothing, "R27 each request is sent three times", times=3),
    "engine-killed": Told(engine_killed, "kill -9 of the store's engine at random times"),
    "disk-full": Told(disk_full, "R15 the spool's disk of 4 MiB is full", spool_mib=4),
    "sync-fails": Told(syncs_fail, "R16 every 40th fdatasync fails with EIO", prefix=EVERY_40TH),
    "comes-and-goes": Told(store_comes_and_goes, "R30 all troubles of the store and kills of the bridge, at random"),
}
