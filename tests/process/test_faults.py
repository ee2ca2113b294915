"""The fault tools do what they say, and the judge finds what is planted."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from faults import report
from faults.__main__ import row, tell
from faults.clock import set_clock
from faults.gate import Gate, Reply
from faults.judge import Verdict, judge, ledger_residue, settled
from faults.plan import Plan, request, rows
from faults.producer import Log, Producer, read_log
from faults.proxy import NONE, Fault, Proxy
from faults.stories import STORIES
from faults.system import System
from spool_tools import on_a_loop

TABLE = "analytics.api_events"
PLAN = Plan(seed=7, base_unix_ns=1_790_000_000_000_000_000, records=5)


class Peer:
    """An HTTP server that remembers the requests it has answered."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status: Callable[[], int] = lambda: 200

    async def answer(self, asked: web.Request) -> web.Response:
        body = await asked.read()
        status = self.status()
        if status == 200:
            self.bodies.append(body)
        return web.Response(status=status, headers={"Retry-After": "1"} if status == 503 else {})


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Peer, Proxy]]:
    """A peer and a proxy before it."""
    peer = Peer()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/{path:.*}", peer.answer)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy = Proxy("127.0.0.1", runner.addresses[0][1])
    await proxy.start()
    try:
        yield peer, proxy
    finally:
        await proxy.stop()
        await runner.cleanup()


async def post(proxy: Proxy | Gate, body: bytes = b"x", timeout_s: float = 5.0) -> int:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"http://127.0.0.1:{proxy.port}/", data=body) as answer,
    ):
        await answer.read()
        return answer.status


@on_a_loop
async def test_a_proxy_without_fault_forwards() -> None:
    async with served() as (peer, proxy):
        assert await post(proxy, b"a" * 900_000) == 200
        assert peer.bodies == [b"a" * 900_000]


@on_a_loop
async def test_a_refusing_proxy_has_no_port_and_comes_back_on_the_same() -> None:
    async with served() as (_, proxy):
        await proxy.set_fault(Fault(refuse=True))
        with pytest.raises(aiohttp.ClientConnectorError):
            await post(proxy)
        await proxy.set_fault(NONE)
        assert await post(proxy) == 200


@on_a_loop
async def test_a_swallowed_answer_means_work_done_and_nobody_told() -> None:
    async with served() as (peer, proxy):
        await proxy.set_fault(Fault(close_after_commit=1.0, matching=b"secret"))
        assert await post(proxy, b"other") == 200
        with pytest.raises(aiohttp.ClientError):
            await post(proxy, b"the secret word")
        assert peer.bodies == [b"other", b"the secret word"]
        assert proxy.counts.swallowed == 1


@on_a_loop
async def test_a_delayed_throttled_or_hanging_connection_does_as_told() -> None:
    async with served() as (_, proxy):
        await proxy.set_fault(Fault(delay_s=0.3))
        started = time.monotonic()
        await post(proxy)
        assert time.monotonic() - started >= 0.3
        await proxy.set_fault(Fault(bytes_per_s=20_000))
        started = time.monotonic()
        await post(proxy, b"a" * 10_000)
        assert 0.4 < time.monotonic() - started < 30
        await proxy.set_fault(Fault(half_open=True))
        with pytest.raises(TimeoutError):
            await post(proxy, timeout_s=0.3)
        waiting = asyncio.create_task(post(proxy))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await proxy.set_fault(NONE)
        assert await waiting == 200


def test_a_request_is_a_pure_function_of_its_number() -> None:
    assert request(PLAN, 3) == request(PLAN, 3)
    assert len({request(PLAN, number).body for number in range(50)}) == 50
    assert {request(PLAN, number).path for number in range(50)} == {"/v1/traces", "/v1/logs"}
    assert len({row.span_id for number in range(50) for row in rows(PLAN, number)}) == 50 * PLAN.records


@on_a_loop
async def test_only_what_was_acknowledged_is_logged_as_such(tmp_path: Path) -> None:
    async with served() as (peer, proxy):
        dice = random.Random(1)
        peer.status = lambda: dice.choice((200, 200, 503))
        await proxy.set_fault(Fault(close_after_commit=0.2))
        producer = Producer(f"http://127.0.0.1:{proxy.port}", PLAN, tmp_path / "log", records_per_s=1000)
        sent = await producer.run(1.0)
        log = read_log(tmp_path / "log")
        arrived = set(peer.bodies)
        assert sent.unanswered
        assert sent.told_to_wait
        assert sent.acknowledged == len(log.acknowledged) > 20
        assert all(request(PLAN, number).body in arrived for number in log.acknowledged)
        assert log.acknowledged <= log.sent
        assert log.plan == PLAN


@on_a_loop
async def test_the_judge_passes_a_true_store_and_finds_every_planted_defect(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        plan = Plan(seed=8, base_unix_ns=time.time_ns(), records=20)
        producer = Producer(system.intake, plan, tmp_path / "evidence", records_per_s=2000)
        await producer.run(1.0)
        log = read_log(tmp_path / "evidence")
        verdict = await settled(system.store, [log], 30)
        assert verdict.ok, str(verdict)
        assert verdict.stored == await system.store.count() == len(log.acknowledged) * 20 > 1000
        assert await ledger_residue(system.admin) == {}

        unsent = Log(plan, log.sent - {0}, log.acknowledged - {0})
        assert offences(await judge(system.store, [unsent])) == (0, 0, 0, 20)
        more = Log(plan, log.sent, log.acknowledged | {10**6})
        assert offences(await judge(system.store, [more])) == (20, 0, 0, 0)
        other = Log(plan._replace(base_unix_ns=plan.base_unix_ns + 1), log.sent, log.acknowledged)
        assert offences(await judge(system.store, [other])) == (0, 0, verdict.stored, 0)

        span_id = next(iter(rows(plan, 0))).span_id
        await system.store.execute(f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE span_id = '{span_id}'")
        assert (await judge(system.store, [log])).twice == [span_id]


def offences(verdict: Verdict) -> tuple[int, int, int, int]:
    return len(verdict.missing), len(verdict.twice), len(verdict.altered), len(verdict.invented)


@pytest.mark.parametrize(
    "name", ["comes-and-goes", "lost-answers", "stopped-away", "one-of-four", "poison", "replayed"]
)
@on_a_loop
async def test_a_short_story_ends_well(name: str, tmp_path: Path) -> None:
    """`python -m faults` tells them all, and longer."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    ending = await tell(STORIES[name], tmp_path, seed=seed, seconds=4.0, records_per_s=1000)
    assert ending.problems == []
    assert "passed" in row(name, STORIES[name], ending)


@on_a_loop
async def test_a_gate_answers_in_the_place_of_its_peer_or_after_it() -> None:
    async with served() as (peer, proxy):
        gate = Gate("127.0.0.1", proxy.port)
        await gate.start()
        gate.decide = lambda body: Reply(503, after_work=body == b"done") if body != b"well" else None
        assert [await post(gate, body) for body in (b"well", b"done", b"not done")] == [200, 503, 503]
        assert peer.bodies == [b"well", b"done"]
        assert len(gate.refused_at) == 2
        await gate.stop()


def test_a_wrong_clock_can_be_set_while_it_runs(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    program = f"""
import time
from pathlib import Path
from faults.clock import follow, set_clock
clock = Path({str(clock)!r})
began = time.time(), time.monotonic()
follow(clock)
for error in (-86400, 3600):
    set_clock(clock, error)
    for now in (time.time(), time.time_ns() / 1e9):
        assert 0 <= now - began[0] - error < 60, now
assert time.monotonic() - began[1] < 60
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_report_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("# Title\n\n<!-- stories: begin -->\nold\n<!-- stories: end -->\n\nThe end.\n")
    report.write(document, "stories", report.table(("a", "b"), [("1", "2|3")]))
    report.write(document, "figures", ["new"])
    told = document.read_text()
    assert "old" not in told
    assert told.startswith("# Title\n\n<!-- stories: begin -->\n\n| a | b |\n| --- | --- |\n| 1 | 2\\|3 |\n")
    assert "<!-- stories: end -->\n\nThe end.\n\n<!-- figures: begin -->\n\nnew\n\n<!-- figures: end -->\n" in told
