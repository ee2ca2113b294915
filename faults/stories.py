"""What happens to the system while producers send: one function a story, each leaves the system well again.

A story may check what only it can see, and raises AssertionError. R01 to R31 are the rows of spec/reliability.md §4.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import statistics
import time
from collections import Counter
from typing import NamedTuple

from faults.again import (
    limits_lowered,
    lonely_lines,
    reload_fails,
    sent_again_in_other_requests,
    two_bridges,
)
from faults.answers import (
    Story,
    half_of_them_5xx,
    no_entry,
    not_its_own_200,
    one_of_four_is_away,
    one_row_refused,
    only_small_ones,
    told_to_wait,
    while_the_gate,
)
from faults.clock import set_clock
from faults.erasing import erased
from faults.proxy import NONE, Fault
from faults.refusals import many_refused, planted, replayed
from faults.system import BridgeEnded, System

READY_AFTER_KILL_S = 30.0  # the process's own start included; a loaded machine takes three times the 4 s of a quiet one
STOP_S = 60.0


class Told(NamedTuple):
    """A story, and how its producers send."""

    story: Story
    what: str
    times: int = 1  # each request is sent so often
    prefix: tuple[str, ...] = ()  # before the bridge's command
    spool_mib: int = 0  # of a disk for the spool alone, 0 for none
    gate: bool = False  # the store is reached through HTTP that can be told what to answer
    others: bool = False  # three more sinks, which are judged too
    compression: str = ""  # of inserts, where the story must read them
    spike: float = 0.0  # so many times the load beside it, in the middle third
    impossible_times: bool = False  # of the records
    ahead_s: float = 0.0  # by so much are the producers' clocks ahead
    ids_in_headers: bool = False  # likewise
    segment_bytes: int = 0  # of the spool's files, 0 for the default
    lanes: int = 0  # at least


async def nothing(system: System, dice: random.Random, seconds: float) -> None:
    await asyncio.sleep(seconds)


async def killed(system: System, dice: random.Random, seconds: float) -> None:
    until = time.monotonic() + seconds
    took: list[float] = []
    while time.monotonic() < until:
        await asyncio.sleep(dice.uniform(0.2, 3.0))
        await system.kill_bridge()
        took.append(await system.start_bridge())
        assert took[-1] < READY_AFTER_KILL_S, f"ready after {took[-1]:.1f} s"
    print(f"  {len(took)} kills; ready after {statistics.median(took):.1f} s, at most {max(took):.1f}")


async def lanes_killed(system: System, dice: random.Random, seconds: float) -> None:
    """One lane, all lanes at once, the bridge alone (its lanes end with it), or all together, in turn."""
    until = time.monotonic() + seconds
    for kill in itertools.cycle(("one", "all", "one", "bridge", "one", "everything")):
        await asyncio.sleep(dice.uniform(0.5, 3.0))
        if time.monotonic() >= until:
            return
        if kill != "bridge":
            await system.kill_lanes(dice, most=1 if kill == "one" else 64)
        if kill in ("bridge", "everything"):
            await system.kill_bridge()
            await system.start_bridge()
        assert await system.ready(), "a lane that is killed must not make the bridge refuse"


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


async def syncs_fail_for_ever(system: System, dice: random.Random, seconds: float) -> None:
    """Nothing can be acknowledged any more, and it says so; the next process, on a disk that is well, has it all."""
    until = time.monotonic() + 60.0
    while await system.ready():
        assert time.monotonic() < until, "no sync failed"
        await asyncio.sleep(0.1)
    await asyncio.sleep(seconds / 2)
    assert not await system.ready(), "ready while no sync succeeds"
    await system.kill_bridge()
    system.prefix = ()
    await system.start_bridge()
    await asyncio.sleep(seconds / 2)


async def killed_at_each_call(system: System, dice: random.Random, seconds: float) -> None:
    """Life after life, each killed by its n-th call of a kind that changes the disk; n grows as far as time allows."""
    until = time.monotonic() + seconds
    await system.kill_bridge()
    deaths, lived = Counter[str](), Counter[str]()
    number = 1
    while time.monotonic() < until:
        for call in [call for call in WRITE_PATH if lived[call] < 3]:  # else it comes no more often
            ended = await _killed_by(system, call, number)
            (deaths if ended else lived)[call] += 1
        number += 1
    system.prefix = ()
    await system.start_bridge()
    print(f"  n up to {number - 1}; killed at {dict(deaths)}")
    assert sum(deaths.values()), "no call killed it"


async def _killed_by(system: System, call: str, number: int) -> bool:
    """Whether a bridge came so far that its n-th call of this kind killed it, perhaps before it was ready."""
    system.prefix = (*SLOW_TRACER, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")
    with contextlib.suppress(BridgeEnded):
        await system.start_bridge()
        for _ in range(15):
            if system.ended():
                break
            await asyncio.sleep(0.1)
    ended = system.ended()
    await system.kill_bridge()
    return ended


async def clock_jumps(system: System, dice: random.Random, seconds: float) -> None:
    """Hours, days, half a century back and forth, while everybody else's clock goes on."""
    clock = system.folder / "clock"
    set_clock(clock, 0)
    system.program = ("-m", "faults.clock", str(clock))
    await system.kill_bridge()
    await system.start_bridge()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for hours in (1, -1, 24, -24, -24 * 365 * 50, 0, 24 * 60, 0):
            set_clock(clock, hours * 3600)
            await asyncio.sleep(seconds / 20)
            if dice.random() < 0.3:
                await system.kill_bridge()
                await system.start_bridge()
    set_clock(clock, 0)


async def settings_read_again(system: System, dice: random.Random, seconds: float) -> None:
    """Every second: other batches, other rules, another sink beside it, and a file with a mistake."""
    until = time.monotonic() + seconds
    rounds = itertools.count()
    while time.monotonic() < until:
        round_ = next(rounds)
        if round_ % 4 == 3:
            system.write_settings(dice.choice(("exporter: {sinks: [", "receiver: {endpoint: nowhere}", "colour: red")))
        else:
            system.write_settings(
                exporter={"batch": {"max_age_s": dice.choice((0.1, 0.2, 0.5))}},
                mapping={"identify_user": {"query_string": f"user{round_}"}} if round_ % 2 else {},
            )
        system.hang_up()
        await asyncio.sleep(1.0)
    log = await asyncio.to_thread(system.bridge_log.read_text)
    assert log.count("settings reloaded") >= 2, "no settings were read again"
    assert "settings not reloaded" in log, "a file with a mistake was taken"


# Every 40th sync of the bridge fails. -D: the bridge is the process started, the tracer its child.
SLOW_TRACER = ("strace", "-D", "-f", "-o", "/dev/null")
TRACER = (*SLOW_TRACER, "--seccomp-bpf")  # with it, injected signals do not always arrive
EVERY_40TH = (*TRACER, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=30+40")
FOR_EVER = (*TRACER, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=30+")
WRITE_PATH = ("pwritev,pwritev2", "fdatasync", "fsync", "rename", "unlink", "ftruncate", "write", "openat")

STORIES: dict[str, Told] = {
    "quiet": Told(nothing, "no fault: the tools themselves"),
    "killed": Told(killed, "R01 kill -9 of the bridge at random times"),
    "lanes-killed": Told(lanes_killed, "kill -9 of a lane, of all lanes, of the bridge, of everything", lanes=2),
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
    "sync-fails-for-ever": Told(syncs_fail_for_ever, "R16 from the 30th on every fdatasync fails", prefix=FOR_EVER),
    "killed-at-each-call": Told(
        killed_at_each_call, "R02 kill -9 at the n-th write, sync, rename, unlink, ... of each"
    ),
    "half-5xx": Told(while_the_gate(half_of_them_5xx), "R09 the store answers half of the inserts 5xx", gate=True),
    "not-its-own-200": Told(
        while_the_gate(not_its_own_200), "R09 half of the inserts get a 200 that is not the store's own", gate=True
    ),
    "one-bad-row": Told(one_row_refused, "R11 the store refuses one row for good", gate=True, compression="none"),
    "poison": Told(planted("poison"), "one event of 256 cannot be encoded, with kills"),
    "many-bad-rows": Told(
        many_refused, "R11 the store refuses one row of 256 for good, with a kill", gate=True, compression="none"
    ),
    "replayed": Told(
        replayed, "dead letters sent again, all or some, with kills and 503 between", gate=True, compression="none"
    ),
    "tasks-fail": Told(planted("tasks"), "tasks and pipelines end by exceptions, with kills"),
    "ids-in-headers": Told(
        killed, "R01 kill -9 with four sinks; a header looks like an event's id", others=True, ids_in_headers=True
    ),
    "too-large": Told(
        while_the_gate(only_small_ones), "R12 the store answers 413 above 64 KiB", gate=True, compression="none"
    ),
    "no-entry": Told(no_entry, "R13 the store answers 401, 402, 403", gate=True),
    "told-to-wait": Told(told_to_wait, "R08 Moesif answers 429 with Retry-After of all kinds", others=True),
    "one-of-four": Told(one_of_four_is_away, "R14 one of four sinks is away, then two", others=True),
    "killed-with-four": Told(killed, "R01 kill -9 with four sinks", others=True),
    "clock-jumps": Told(clock_jumps, "R18 the bridge's clock jumps by hours, days, decades"),
    "impossible-times": Told(nothing, "R19 events from 1970 to 2262, ends before starts", impossible_times=True),
    "spike": Told(nothing, "R24 ten times the load for a third of the time", spike=10.0),
    "spike-away": Told(
        while_the_store(Fault(refuse=True)), "R24 the same while the store refuses connections", spike=10.0
    ),
    "reloaded": Told(settings_read_again, "R26 settings read again every second, some of them wrong"),
    "reload-fails": Told(reload_fails, "R26 settings without the store that cannot be taken"),
    "sent-anew": Told(sent_again_in_other_requests, "R27 sent again in other requests after kills"),
    "sent-anew-ahead": Told(
        sent_again_in_other_requests, "R18, R27 the same of senders whose clocks are 90 s ahead", ahead_s=90.0
    ),
    "sent-anew-a-day-ahead": Told(
        sent_again_in_other_requests, "R18, R27 the same of senders whose clocks are a day ahead", ahead_s=86_400.0
    ),
    "erased": Told(erased, "R29 users are erased again and again, with kills; requests are sent twice", times=2),
    "two-bridges": Told(two_bridges, "R27 the same bytes to two bridges on one store"),
    "limits-lowered": Told(limits_lowered, "limits lowered between the answer and the delivery"),
    "lonely-lines": Told(lonely_lines, "24,576 access log lines in a request, whose spans never come"),
    "comes-and-goes": Told(store_comes_and_goes, "R30 all troubles of the store and kills of the bridge, at random"),
}
