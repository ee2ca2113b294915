"""Sends records and logs, synced to disk, only what was acknowledged: `python -m faults.producer --help`.

The log is the judge's evidence: its first line is the plan, then `s NUMBER` before a request is first sent and
`a NUMBER` once a 2xx has come for it. A request without an answer, or told to come back, is sent again byte for byte,
as the SDKs do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import aiohttp

from faults.plan import Plan, request

LONGEST_PAUSE_S = 1.0


class Log(NamedTuple):
    """What a producer left behind."""

    plan: Plan
    sent: set[int]
    acknowledged: set[int]


@dataclass
class Sent:
    """How it went."""

    acknowledged: int = 0  # requests
    records: int = 0  # in them
    tries: int = 0
    unanswered: int = 0  # tries that ended without an answer
    told_to_wait: dict[int, int] = field(default_factory=dict)  # status: tries
    refused: dict[int, str] = field(default_factory=dict)  # request number: status and text of a final refusal
    latencies_s: list[float] = field(default_factory=list)  # of acknowledged tries

    def latency_ms(self, percent: float) -> float:
        ordered = sorted(self.latencies_s) or [0.0]
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} requests, {self.records} records acknowledged in {self.tries} tries; "
            f"{self.unanswered} without answer, told to wait {self.told_to_wait or 'never'}, "
            f"refused {len(self.refused)}; "
            f"acknowledged in p50 {self.latency_ms(50):.1f}, p99 {self.latency_ms(99):.1f}, "
            f"max {self.latency_ms(100):.1f} ms"
        )


class Evidence:
    """The log file. Acknowledgements that come together share a sync."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._file = path.open("xb", buffering=0)
        self._file.write(json.dumps(plan._asdict()).encode() + b"\n")
        self._unsynced: list[tuple[int, asyncio.Future[None]]] = []
        self._syncing: asyncio.Task[None] | None = None

    def sent(self, number: int) -> None:
        self._file.write(b"s %d\n" % number)

    async def acknowledged(self, number: int) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsynced.append((number, done))
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync())
        await done

    async def _sync(self) -> None:
        while self._unsynced:
            group, self._unsynced = self._unsynced, []
            self._file.write(b"".join(b"a %d\n" % number for number, _ in group))
            await asyncio.to_thread(os.fsync, self._file.fileno())
            for _, done in group:
                if not done.done():
                    done.set_result(None)

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> Log:
    """What the log says; a last line cut short counts as not written."""
    lines = path.read_bytes().split(b"\n")[:-1]
    plan = Plan(**json.loads(lines[0]))
    numbers: dict[bytes, set[int]] = {b"s": set(), b"a": set()}
    for line in lines[1:]:
        word, _, number = line.partition(b" ")
        numbers[word].add(int(number))
    return Log(plan, numbers[b"s"], numbers[b"a"])


class Producer:
    """Several connections that send numbered requests at a total rate, until stopped."""

    def __init__(
        self,
        endpoint: str,
        plan: Plan,
        log: Path,
        *,
        connections: int = 16,
        records_per_s: float = 5000.0,
        times: int = 1,
        timeout_s: float = 10.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        """times: how often each request is sent even when it was acknowledged."""
        self._endpoint = endpoint.rstrip("/")
        self._plan = plan
        self.log = log
        self._evidence = Evidence(log, plan)
        self._connections = connections
        self._interval_s = plan.records / records_per_s
        self._times = times
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._headers = headers or {}
        self._dice = random.Random(plan.seed)
        self._next = 0
        self._begun = 0.0
        self._stopping = asyncio.Event()
        self.result = Sent()

    async def run(self, seconds: float) -> Sent:
        """Send for so long, then wait for the answers that are still due."""
        asyncio.get_running_loop().call_later(seconds, self.stop)
        self._begun = time.monotonic()
        connector = aiohttp.TCPConnector(limit=self._connections)
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout, auto_decompress=True) as session:
            await asyncio.gather(*(self._work(session) for _ in range(self._connections)))
        self._evidence.close()
        return self.result

    def stop(self) -> None:
        self._stopping.set()

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while not self._stopping.is_set():
            number = self._next
            self._next += 1
            due = self._begun + number * self._interval_s
            if not await self._pause(due - time.monotonic()):
                return
            await self._deliver(session, number)

    async def _pause(self, seconds: float) -> bool:
        """Whether there is still to be sent after so long."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                return True
        return not self._stopping.is_set()

    async def _deliver(self, session: aiohttp.ClientSession, number: int) -> None:
        self._evidence.sent(number)
        left = self._times
        tries = 0
        while left:
            tries += 1
            wait_s = await self._try(session, number)
            if wait_s is None:
                return
            if wait_s == 0.0:
                left -= 1
                continue
            if not await self._pause(wait_s * self._dice.uniform(0.5, 1.0)):
                return

    async def _try(self, session: aiohttp.ClientSession, number: int) -> float | None:
        """Seconds to wait before another try, 0 when it was acknowledged, None when it was refused for good."""
        sent = request(self._plan, number)
        self.result.tries += 1
        started = time.monotonic()
        try:
            async with session.post(
                self._endpoint + sent.path, data=sent.body, headers=sent.headers | self._headers
            ) as answer:
                status, text = answer.status, await answer.read()
                retry_after = answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.result.unanswered += 1
            return 0.2
        if 200 <= status < 300 and text in (b"", b"{}", b'{"partialSuccess":{}}'):
            self.result.latencies_s.append(time.monotonic() - started)
            await self._acknowledge(number)
            return 0.0
        if status in (429, 502, 503, 504):
            self.result.told_to_wait[status] = self.result.told_to_wait.get(status, 0) + 1
            return min(float(retry_after) if retry_after.isdigit() else 0.2, LONGEST_PAUSE_S) or 0.2
        self.result.refused[number] = f"{status} {text[:200]!r}"
        return None

    async def _acknowledge(self, number: int) -> None:
        await self._evidence.acknowledged(number)
        self.result.acknowledged += 1
        self.result.records += self._plan.records


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--endpoint", required=True, help="http://host:4318")
    arguments.add_argument("--log", type=Path, required=True, help="a file that does not exist yet")
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--records-per-s", type=float, default=5000.0)
    arguments.add_argument("--connections", type=int, default=16)
    arguments.add_argument("--records", type=int, default=50, help="in a request")
    arguments.add_argument("--times", type=int, default=1, help="how often each request is sent")
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = arguments.parse_args()
    print(f"seed {options.seed}", flush=True)
    plan = Plan(options.seed, time.time_ns(), options.records)

    async def run() -> None:
        producer = Producer(
            options.endpoint,
            plan,
            options.log,
            connections=options.connections,
            records_per_s=options.records_per_s,
            times=options.times,
        )
        print(await producer.run(options.seconds))

    asyncio.run(run())


if __name__ == "__main__":
    main()
