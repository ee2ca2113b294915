"""The story of people who are erased while the bridge is killed and everything of theirs is sent again."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterable

from faults.plan import rows
from faults.producer import Log
from faults.system import Impossible, System, run

USERS = [f"user-{number}" for number in range(0, 997, 20)]  # of those that a plan names
COMMAND_S = 120.0


async def erased(system: System, dice: random.Random, seconds: float) -> None:
    """Erased again and again, with a kill of the bridge in most of the times; the last one comes through.

    Records begin when the plan does, so that all of theirs are from before the first erasure, those of later requests
    and every one that is sent again, too: none may be there in the end.
    """
    system.erased_users = frozenset(USERS)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(dice.uniform(0.2, 1.0))
        erasing = asyncio.create_task(_erase(system))
        await asyncio.sleep(dice.uniform(0.0, 2.0))
        await system.kill_bridge()
        await system.start_bridge()
        await erasing
    assert await _erase(system), "an erasure failed with nothing in its way"


async def _erase(system: System) -> bool:
    """Whether the command came through."""
    whose = [part for user in USERS for part in ("--user", user)]
    command = (sys.executable, "-P", "-m", "weighbridge", "erase", *whose)
    try:
        async with asyncio.timeout(COMMAND_S):
            await run(*command, "--config", str(system.folder / "weighbridge.yaml"))
    except Impossible:
        return False
    return True


def erased_of(logs: Iterable[Log], users: frozenset[str]) -> set[str]:
    """Span ids of the records of these users: none may be stored."""
    if not users:
        return set()
    return {
        row.span_id
        for log in logs
        for number in log.sent | log.acknowledged
        for row in rows(log.plan, number)
        if row.user_id in users
    }
