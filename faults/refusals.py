"""Stories of records that a destination never takes, of their replay, and of faults of the bridge itself."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterable

import aiohttp

from faults.answers import Story, inserts
from faults.gate import Reply, nothing_wrong
from faults.plan import rows
from faults.planted import POISON
from faults.producer import Log
from faults.system import System
from weighbridge.admin import CLIENT_HEADER

# A span id that begins so, in ClickHouse's Native format, uncompressed.
_BAD = re.compile(rb"\x10" + POISON.encode() + rb"[0-9a-f]{14}")
_REFUSED = Reply(400, {"X-ClickHouse-Exception-Code": "27"}, b"Code: 27. DB::Exception: Cannot parse input.")
SETTLE_S = 60.0


def planted(kind: str) -> Story:
    """The bridge runs with such faults from now on, and is killed from time to time."""

    async def story(system: System, dice: random.Random, seconds: float) -> None:
        system.program = ("-m", "faults.planted", kind)
        system.refuses = POISON if kind == "poison" else ""
        until = time.monotonic() + seconds
        while True:
            await system.kill_bridge()
            await system.start_bridge()
            await asyncio.sleep(seconds / 3)
            if time.monotonic() >= until:
                break
        if kind == "tasks":
            assert await system.metric("weighbridge_task_failures_total"), "no task failed"
            await _ready_again(system)
        else:
            await _some_dead_letters(system, seconds)
            assert await system.ready(), "an event that cannot be encoded stopped something"

    return story


async def _some_dead_letters(system: System, seconds: float) -> None:
    """Returns when there are: a busy machine may not have come so far yet."""
    deadline = time.monotonic() + SETTLE_S
    while not await system.metric("weighbridge_dead_letters"):
        assert time.monotonic() < deadline, "nothing was refused"
        await asyncio.sleep(seconds / 10)


async def many_refused(system: System, dice: random.Random, seconds: float) -> None:
    """The store refuses one row of 256 for good, again after a kill."""
    system.refuses = POISON
    system.gate.decide = inserts(lambda body: _REFUSED if _BAD.search(body) else None)
    await system.kill_bridge()  # what it has delivered before is no row of this story
    await system.start_bridge()
    await asyncio.sleep(seconds / 2)
    await system.kill_bridge()
    await system.start_bridge()
    await asyncio.sleep(seconds / 2)
    deadline = time.monotonic() + SETTLE_S
    while not system.gate.refused_at:
        assert time.monotonic() < deadline, "nothing was refused"
        await asyncio.sleep(seconds / 10)


async def replayed(system: System, dice: random.Random, seconds: float) -> None:
    """What was refused is asked for again and again, all of it or some, while the bridge is killed."""
    system.gate.decide = inserts(lambda body: _REFUSED if _BAD.search(body) else None)
    await _some_dead_letters(system, seconds)
    until, kills = time.monotonic() + seconds / 2, 0
    while time.monotonic() < until:
        if dice.random() < 0.5:
            system.gate.decide = nothing_wrong if dice.random() < 0.7 else inserts(lambda _: Reply(503))
        asking = asyncio.create_task(_replay(system, dice.choice(("", "Cannot", "code 27"))))
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        if dice.random() < 0.6:
            kills += 1
            await system.kill_bridge()
            await system.start_bridge()
        await asking
    system.gate.decide = nothing_wrong
    deadline = time.monotonic() + SETTLE_S
    while await system.metric("weighbridge_dead_letters") or system.dead_letters():
        assert time.monotonic() < deadline, f"{len(system.dead_letters())} dead letters are left"
        await _replay(system, "")
        await asyncio.sleep(0.2)
    async with aiohttp.ClientSession() as session, session.get(f"{system.admin}/ledger") as answer:
        below = [row for row in (await answer.json())["sinks"] if row["dead_lettered"] != 0]
    assert not below, f"the ledger says {below}"
    print(f"  {kills} kills between replays")


async def _replay(system: System, reason: str) -> None:
    """Asks for it; killed meanwhile, there is no answer."""
    try:
        async with (
            aiohttp.ClientSession(headers={CLIENT_HEADER: "faults"}) as session,
            session.post(f"{system.admin}/deadletter/replay", params={"reason": reason} if reason else {}) as answer,
        ):
            await answer.read()
    except aiohttp.ClientError:
        pass


async def _ready_again(system: System) -> None:
    deadline = time.monotonic() + SETTLE_S
    while not await system.ready():
        assert time.monotonic() < deadline, "not ready again"
        await asyncio.sleep(0.1)


def refused_of(logs: Iterable[Log], prefix: str) -> tuple[set[str], set[str]]:
    """Span ids with the prefix: of everything sent, and of what was acknowledged."""
    sent, acknowledged = set[str](), set[str]()
    for log in logs:
        for number in log.sent | log.acknowledged:
            found = {row.span_id for row in rows(log.plan, number) if row.span_id.startswith(prefix)}
            sent |= found
            if number in log.acknowledged:
                acknowledged |= found
    return sent, acknowledged
