"""Questions to the running bridge, for the command line: the ledger, sampling, where a store lives, a replay."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from weighbridge.admin.door import parameters, whole_number
from weighbridge.admin.ledger import intake, residue, sinks
from weighbridge.admin.parts import Parts
from weighbridge.admin.report import added_minutes

# A replay is answered by then also when its destination is away; it goes on.
REPLAY_ANSWER_S = 10.0
MOST_MINUTES = 60 * 24 * 366 * 10  # ten years


def routes(parts: Parts) -> list[web.RouteDef]:
    """What the admin port answers beside health and metrics."""

    async def ledger(request: web.Request) -> web.Response:
        await parts.refresh()
        return web.json_response({"intake": intake(parts), "sinks": sinks(parts), "residue": residue(parts)})

    async def sampled(request: web.Request) -> web.Response:
        asked = parameters(request, ("minutes",))
        if "minutes" not in asked:
            await parts.refresh()
            return web.json_response(parts.report().sampled)
        minutes = whole_number("minutes", asked["minutes"], 1, MOST_MINUTES)
        since_s = int(time.time()) // 60 * 60 - 60 * (minutes - 1)
        return web.json_response(added_minutes(await parts.minutes(since_s)))

    async def stores(request: web.Request) -> web.Response:
        paths = (sink.engine_path for sink in parts.settings.exporter.sinks)
        return web.json_response([str(path.absolute()) for path in paths if path])

    async def replay(request: web.Request) -> web.Response:
        asked = parameters(request, ("since_unix_ns", "reason"))
        since = whole_number("since_unix_ns", asked.get("since_unix_ns", "0"))
        reason = asked.get("reason", "").lower()
        passed_over = parts.replaying
        replaying = parts.tasks.once("replay of dead letters", parts.replay(reason, since))
        done, _ = await asyncio.wait([replaying], timeout=REPLAY_ANSWER_S)
        taken = await replaying if done else 0
        return web.json_response({"replayed": taken, "waiting": not done or (passed_over and not taken)})

    return [
        web.get("/ledger", ledger),
        web.get("/stores", stores),
        web.get("/sampling", sampled),
        web.post("/deadletter/replay", replay),
    ]
