"""Stories of what comes a second time, and of a bridge whose settings or neighbours are not what they were."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from typing import Any

import aiohttp

from bench.process import free_port
from faults.plan import Plan, Request, request
from faults.producer import Log, read_log
from faults.proxy import NONE, Fault
from faults.system import System

AT_ONCE = 40  # requests sent again in a round
CAUGHT_UP_S = 60.0
# Access log lines of one request whose spans never come, and how long an answer may take while they are let go.
LONELY = 24_576
LONGEST_ANSWER_S = 5.0


async def sent_again_in_other_requests(system: System, dice: random.Random, seconds: float) -> None:
    """After each kill, what was acknowledged before it, in other bytes: the events are the same."""
    until = time.monotonic() + seconds
    again = 0
    while time.monotonic() < until:
        await asyncio.sleep(dice.uniform(0.5, 1.5))
        log = _evidence(system)
        await system.kill_bridge()
        await system.start_bridge()
        if dice.random() < 0.3:  # and twice in a row
            await system.kill_bridge()
            await system.start_bridge()
        again += await _send(system.intake, log, dice, anew=True)
    print(f"  {again} requests sent again")
    assert again, "nothing was sent again"


async def two_bridges(system: System, dice: random.Random, seconds: float) -> None:
    """The same bytes to the second one, when the store has them from the first; and kills of the second."""
    second = await Second.begun(system)
    try:
        until = time.monotonic() + seconds
        again = 0
        while time.monotonic() < until:
            await asyncio.sleep(dice.uniform(0.3, 1.0))
            log = _evidence(system)
            await _stored(system, log)
            again += await _send(second.intake, log, dice, anew=dice.random() < 0.3)
            if dice.random() < 0.4:
                await second.kill()
                await second.start()
        print(f"  {again} requests sent to both")
        assert again, "nothing was sent again"
    finally:
        await second.stop()


async def reload_fails(system: System, dice: random.Random, seconds: float) -> None:
    """Every second settings without the store, and with a sink that cannot be opened: the old ones go on."""
    broken = system.folder / "spool" / "sinks" / "broken.journal"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await system.to_store.set_fault(dice.choice((NONE, Fault(refuse=True))))
        broken.mkdir(parents=True, exist_ok=True)
        sinks = [{"name": name, "type": "jsonlines", "path": str(system.folder / name)} for name in ("new", "broken")]
        dice.shuffle(sinks)
        system.write_settings(exporter={"sinks": sinks})
        await _reloaded(system, "settings not reloaded")
        broken.rmdir()
        await asyncio.sleep(dice.uniform(0.1, 0.8))
        system.write_settings(exporter={"batch": {"max_age_s": dice.choice((0.1, 0.2, 0.5))}})
        await _reloaded(system, "settings reloaded")
    await system.to_store.set_fault(NONE)


async def limits_lowered(system: System, dice: random.Random, seconds: float) -> None:
    """What was acknowledged while the store was away is read by a bridge that would refuse it now."""
    for _ in range(max(1, int(seconds / 6))):
        await system.to_store.set_fault(Fault(refuse=True))
        await asyncio.sleep(dice.uniform(1.0, 3.0))
        await system.to_bridge.set_fault(Fault(refuse=True))  # else senders would be refused for good
        await asyncio.sleep(0.3)
        await system.kill_bridge()
        limits = dice.choice(({"max_records": 1}, {"max_elements": 10}, {"max_body_bytes": 1024}))
        system.write_settings(receiver=limits)
        await system.start_bridge()
        await system.to_store.set_fault(NONE)
        await _caught_up(system)
        await system.kill_bridge()
        system.write_settings()
        await system.start_bridge()
        await system.to_bridge.set_fault(NONE)
    folder = system.folder / "spool" / "unmappable"
    assert not await asyncio.to_thread(folder.exists), "requests were set aside"


async def lonely_lines(system: System, dice: random.Random, seconds: float) -> None:
    """Access logs whose spans were sampled away: when their wait is over, and after a kill, others are answered."""
    system.write_settings(exporter={"batch": {"max_age_s": 0.2, "span_wait_s": seconds / 3}})
    await system.kill_bridge()
    await system.start_bridge()
    body = gzip.compress(json.dumps(_access_log(dice, LONELY)).encode(), 1)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    await _post(system.intake, Request("/v1/logs", headers, body))
    await asyncio.sleep(seconds / 3)
    await system.kill_bridge()
    await system.start_bridge()
    longest, until = 0.0, time.monotonic() + CAUGHT_UP_S + seconds
    while await _lonely(system) < LONELY:
        assert time.monotonic() < until, "the lines are not stored"
        began = time.monotonic()
        assert await system.ready(), "not ready"
        longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(0.05)
    assert await _lonely(system) == LONELY, "lines are stored twice"
    assert longest < LONGEST_ANSWER_S, f"an answer took {longest:.1f} s"
    print(f"  an answer took {longest:.2f} s at most")
    await system.store.execute(  # the judge knows of the producers' records alone
        "ALTER TABLE analytics.api_events DELETE WHERE service = 'lonely' SETTINGS mutations_sync = 2"
    )


class Second:
    """Another bridge on the same store, with a spool of its own."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._port, self._admin = free_port(), free_port()
        self.intake = f"http://127.0.0.1:{self._port}"
        self._config = system.folder / "second.yaml"

    @staticmethod
    async def begun(system: System) -> Second:
        second = Second(system)
        await second.start()
        return second

    async def start(self) -> None:
        system = self._system
        self._process = await system.start_beside(
            self._config,
            receiver={"endpoint": f"127.0.0.1:{self._port}"},
            admin={"endpoint": f"127.0.0.1:{self._admin}"},
            spool={"directory": str(system.folder / "second")},
        )
        until = time.monotonic() + CAUGHT_UP_S
        while not await _answers(f"http://127.0.0.1:{self._admin}/readyz"):
            assert time.monotonic() < until, "the second bridge is not ready"
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


def _evidence(system: System) -> Log:
    """What the first producer was told so far."""
    return read_log(system.folder / "evidence")


async def _send(endpoint: str, log: Log, dice: random.Random, *, anew: bool) -> int:
    """Some acknowledged requests once more; anew: compressed otherwise, so that no digest knows them. How many."""
    known = sorted(log.acknowledged)
    chosen = dice.sample(known, min(AT_ONCE, len(known)))
    for number in chosen:
        await _post(endpoint, _anew(log.plan, number, dice) if anew else request(log.plan, number))
    return len(chosen)


def _anew(plan: Plan, number: int, dice: random.Random) -> Request:
    sent = request(plan, number)
    plain = gzip.decompress(sent.body) if sent.headers.get("Content-Encoding") == "gzip" else sent.body
    return Request(
        sent.path,
        {**sent.headers, "Content-Encoding": "gzip"},
        gzip.compress(plain, dice.randrange(1, 10), mtime=dice.randrange(1, 1 << 30)),
    )


async def _post(endpoint: str, sent: Request) -> None:
    """Until it is acknowledged."""
    until = time.monotonic() + CAUGHT_UP_S
    async with aiohttp.ClientSession() as session:
        while True:
            assert time.monotonic() < until, "not acknowledged"
            try:
                async with session.post(endpoint + sent.path, data=sent.body, headers=sent.headers) as answer:
                    if answer.status == 200:
                        return
                    assert answer.status == 503, await answer.text()
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.1)


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _stored(system: System, log: Log) -> None:
    """Returns when the store has as many rows as there were acknowledged."""
    until = time.monotonic() + CAUGHT_UP_S
    while await system.store.count() < len(log.acknowledged) * log.plan.records:
        assert time.monotonic() < until, "the store is behind"
        await asyncio.sleep(0.1)
    await asyncio.sleep(2.0)  # rows of requests under way count, too: those of the log are there a batch later


async def _caught_up(system: System) -> None:
    until = time.monotonic() + CAUGHT_UP_S
    while await system.metric("weighbridge_spool_requests"):
        assert time.monotonic() < until, "the backlog is not delivered"
        await asyncio.sleep(0.1)


async def _reloaded(system: System, says: str) -> None:
    before = (await asyncio.to_thread(system.bridge_log.read_text)).count(says)
    system.hang_up()
    until = time.monotonic() + CAUGHT_UP_S
    while (await asyncio.to_thread(system.bridge_log.read_text)).count(says) == before:
        assert time.monotonic() < until, f"the log does not say: {says}"
        await asyncio.sleep(0.05)


async def _lonely(system: System) -> int:
    asked = "SELECT count() FROM analytics.api_events WHERE service = 'lonely' FORMAT JSONCompactEachRow"
    async for (count,) in system.store.ask(asked):
        return int(count)
    return 0


def _access_log(dice: random.Random, lines: int) -> dict[str, Any]:
    now = time.time_ns()
    records = [
        {
            "traceId": dice.randbytes(16).hex(),
            "spanId": dice.randbytes(8).hex(),
            "timeUnixNano": str(now - line * 1000),
            "body": {"stringValue": json.dumps({"method": "GET", "path": f"/items/{line}", "status": 200})},
        }
        for line in range(lines)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "lonely"}}]}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
