"""Opens the shop on loopback, drives its customers through it and closes it again: one coroutine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import ClientSession, web

from weighbridge.demo import payments, storefront
from weighbridge.demo.customers import sample_customers
from weighbridge.demo.telemetry import Telemetry
from weighbridge.demo.traffic import Outcome, Step, perform, script

AT_ONCE = 8  # customers calling at the same time


class Run(NamedTuple):
    name: str  # also the resource attribute demo.run of everything the run sent
    outcomes: list[Outcome]
    lost: int  # spans and log records that the bridge never accepted
    events: int  # what becomes of those that it did: one each, but a request and its access log line are one


async def run_shop(endpoint: str, requests: int, on_call: Callable[[Outcome], None]) -> Run:
    """The calls made, after everything recorded has been sent to `endpoint`. on_call is called after each."""
    name = uuid.uuid4().hex[:8]
    services = [Telemetry(service, "1.4.2", endpoint, name) for service in ("storefront", "payments")]
    front, pay = services
    runners: list[web.AppRunner] = []
    try:
        pay_url = await _serve(runners, payments.create_app(pay))
        front_url = await _serve(runners, storefront.create_app(front, pay_url, free_calls=max(2, requests // 20)))
        outcomes = await _drive(front_url, list(script(sample_customers(), requests)), on_call)
        await asyncio.sleep(payments.SLOW_BANK_S)  # charges that the storefront no longer waits for still end
        await asyncio.gather(*(asyncio.to_thread(service.flush) for service in services))
    finally:
        for runner in reversed(runners):
            await runner.cleanup()
        await asyncio.gather(*(asyncio.to_thread(service.close) for service in services))
    events = sum(service.sent - service.served for service in services)
    return Run(name, outcomes, sum(service.lost for service in services), events)


async def _serve(runners: list[web.AppRunner], app: web.Application) -> str:
    """The base URL of the application, served on an ephemeral loopback port."""
    runner = web.AppRunner(app, access_log=None)
    runners.append(runner)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def _drive(front_url: str, steps: list[Step], on_call: Callable[[Outcome], None]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    waiting = iter(steps)

    async def customer() -> None:
        for step in waiting:
            outcome = await perform(session, front_url, step)
            outcomes.append(outcome)
            on_call(outcome)

    async with ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(customer())
    return outcomes
