"""What the bridge does on this machine, beside what it should: `python -m faults figures [--only NAME]`.

Each function starts its own bridge and stops it. Senders, bridge and store share the machine, as the targets assume.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.end_to_end import Row, measure, send
from bench.loads import LARGE
from bench.process import Program, children, free_port, rss_mib
from bench.programs import rotel
from bench.sinkhole import Sinkhole
from bench.traffic import SPANS_PER_REQUEST, bodies
from exporter.clickhouse.engine.endpoint import DEFAULT_DATABASE, READER, password, read_published
from faults import report
from faults.judge import JudgeFailed, Store
from faults.outage import Figures, met, outage
from faults.plan import Plan, Request, request
from faults.system import disk_bytes
from receiver.spool import Entry, Spool, SpoolSettings

MIB = 1 << 20


def bridge(directory: Path, sink: dict[str, Any]) -> tuple[Program, int]:
    """A running bridge with the default settings and this sink, and its OTLP port; returns when it accepts."""
    port = free_port()
    config = directory / "weighbridge.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "receiver": {"endpoint": f"127.0.0.1:{port}"},
                "admin": {"endpoint": f"127.0.0.1:{free_port()}"},
                "spool": {"directory": str(directory / "spool")},
                "exporter": {"sinks": [{"name": "measured", **sink}]},
            }
        )
    )
    program = Program([sys.executable, "-m", "weighbridge", "serve", "--config", str(config)], directory / "log")
    program.wait_for_port(port)
    return program, port


def embedded(directory: Path) -> dict[str, Any]:
    return {"type": "clickhouse", "dsn": f"chdb://{directory}/store"}


def absent() -> dict[str, Any]:
    """A store that refuses connections."""
    return {"type": "clickhouse", "dsn": f"http://127.0.0.1:{free_port()}/analytics"}


async def store_in(directory: Path) -> Store:
    """The embedded store of a running bridge, for reading. The bridge accepts before its engine is up."""
    data = directory / "store"
    async with asyncio.timeout(30):
        while (engine := read_published(data)) is None:  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.05)
        store = Store(f"http://127.0.0.1:{engine.port}", READER, password(data, READER), DEFAULT_DATABASE)
        while not await _answers(store):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return store


async def _answers(store: Store) -> bool:
    try:
        return await store.count() >= 0
    except JudgeFailed:
        return False


async def scalar(store: Store, sql: str) -> int:
    async for (number,) in store.ask(sql):
        return int(number)
    raise AssertionError("no row")


def rss(program: Program) -> str:
    engine = [rss_mib(child) for child in children(program.pid)]
    return f"{rss_mib(program.pid):.0f} MiB" + (f" (its engine: {max(engine):.0f})" if engine else "")


# -- what is measured ------------------------------------------------------------------------------------------


def sustained(options: argparse.Namespace) -> Figures:
    """As fast as four connections can, until the last record can be asked for."""
    total = options.requests * SPANS_PER_REQUEST
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, port = bridge(folder, embedded(folder))
        with program:
            store = asyncio.run(store_in(folder))
            traffic = LARGE.requests(options.requests, 0)

            async def run() -> tuple[float, float]:
                started = time.monotonic()
                await send(port, traffic)
                accepted = time.monotonic() - started
                async with asyncio.timeout(180):
                    while await store.count() < total:  # noqa: ASYNC110 - a store tells nobody
                        await asyncio.sleep(0.1)
                return accepted, time.monotonic() - started

            accepted, visible = asyncio.run(run())
            disk = asyncio.run(
                scalar(store, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active FORMAT JSONCompactEachRow")
            )
            memory = rss(program)
    return [
        (
            "sustained into the embedded store, synced, mapped, visible",
            f"{total / visible / 1000:.1f}k records/s ({total:,} spans of 16 attributes, all acknowledged after "
            f"{accepted:.1f} s, all visible after {visible:.1f} s)",
            "≥ 25k",
            met(total / visible >= 25_000),
        ),
        ("RSS after that", memory, "", ""),
        ("embedded store on disk", f"{disk / total:.0f} MB for 1M of these records", "", ""),
    ]  # fmt: skip


def burst(options: argparse.Namespace) -> Figures:
    """Accepting alone: the store is away, nothing leaves the spool."""
    traffic = LARGE.requests(options.requests, 0)
    total = options.requests * SPANS_PER_REQUEST
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, port = bridge(folder, absent())
        with program:
            started = time.monotonic()
            asyncio.run(send(port, traffic))
            took = time.monotonic() - started
            memory = rss_mib(program.pid)
        disk = disk_bytes(folder / "spool")
    return [
        (
            "accept-only burst, synced and decoded before the answer",
            f"{total / took / 1000:.1f}k records/s",
            "≥ 100k",
            met(total / took >= 100_000),
        ),
        ("RSS after the burst, store away", f"{memory:.0f} MiB", "≤ 200 MiB", met(memory <= 200)),
        (
            "spool on disk, 16 attributes a span, gzip",
            f"{disk / total:.0f} MB for 1M records",
            "≤ 500 MB",
            met(disk / total <= 500),
        ),
    ]


@asynccontextmanager
async def paced(port: int, requests: list[Request], per_s: float) -> AsyncIterator[tuple[list[float], list[float]]]:
    """Sends while the block runs; latencies in s, and when each request was acknowledged (monotonic, 0: not yet)."""
    latencies: list[float] = []
    acknowledged = [0.0] * len(requests)
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(number: int, sent: Request) -> None:
            started = time.monotonic()
            address = f"http://127.0.0.1:{port}{sent.path}"
            async with session.post(address, data=sent.body, headers=sent.headers) as answer:
                await answer.read()
                assert answer.status == 200, answer.status
            acknowledged[number] = time.monotonic()
            latencies.append(acknowledged[number] - started)

        async def all_of_them() -> None:
            begun = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number, sent in enumerate(requests):
                    await asyncio.sleep(max(0.0, begun + number / per_s - time.monotonic()))
                    group.create_task(post(number, sent))

        sending = asyncio.create_task(all_of_them())
        yield latencies, acknowledged
        await sending


def steady(options: argparse.Namespace) -> Figures:
    """5,000 mixed records/s for some seconds, and when each request can be asked for."""
    plan = Plan(options.seed, time.time_ns())
    count = int(options.seconds * 100)
    requests = [request(plan, number) for number in range(count)]  # made before: the sender must not be what is slow
    seen: dict[int, float] = {}
    memory: list[float] = []

    async def run(port: int, store: Store, pid: int) -> tuple[list[float], list[float]]:
        numbers = f"SELECT DISTINCT intDiv(start_unix_ns - {plan.base_unix_ns}, 1000000) FROM api_events"  # noqa: S608
        async with paced(port, requests, 5000 / plan.records) as (latencies, acknowledged), asyncio.timeout(120):
            while len(seen) < count:
                async for (number,) in store.ask(f"{numbers} FORMAT JSONCompactEachRow"):
                    seen.setdefault(int(number), time.monotonic())
                memory.append(rss_mib(pid))
                await asyncio.sleep(0.1)
        return latencies, acknowledged

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, port = bridge(folder, embedded(folder))
        with program:
            latencies, acknowledged = asyncio.run(run(port, asyncio.run(store_in(folder)), program.pid))
            now = rss(program)
    visible = sorted(seen[number] - acknowledged[number] for number in range(count))
    answered = sorted(latencies)

    def at(values: list[float], share: float) -> float:
        return values[min(len(values) - 1, int(len(values) * share))]

    p50, p99, slowest = at(answered, 0.5) * 1e3, at(answered, 0.99) * 1e3, answered[-1] * 1e3
    return [
        (
            "acknowledged at 5,000 records/s, p50 / p99 / max",
            f"{p50:.1f} / {p99:.1f} / {slowest:.1f} ms",
            "≤ 10 / 50 / 500 ms",
            met(p50 <= 10 and p99 <= 50 and slowest <= 500),
        ),
        (
            "acknowledged → visible, p50 / p99",
            f"{at(visible, 0.5):.2f} / {at(visible, 0.99):.2f} s (asked every 0.1 s)",
            "p99 ≤ 3 s",
            met(at(visible, 0.99) <= 3),
        ),
        (
            "RSS at 5,000 records/s, highest",
            f"{max(memory):.0f} MiB; then {now}",
            "≤ 200 MiB",
            met(max(memory) <= 200),
        ),
    ]


def backlog(options: argparse.Namespace) -> Figures:
    """Started with a full spool and no store: until a request would be accepted."""
    distinct = bodies(20)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        async def fill() -> None:
            spool = Spool(SpoolSettings(directory=folder / "spool"), lambda *_: None)
            await spool.open()
            numbers = iter(range(int(options.backlog_gb * 1e9 / len(distinct[0]))))

            async def some() -> None:
                for number in numbers:
                    body = distinct[number % 20]
                    body = body[:4] + number.to_bytes(4, "little") + body[8:]  # gzip's time: another digest
                    entry = Entry("traces", "", "application/x-protobuf", "gzip", time.time_ns(), body)
                    await spool.append(entry)

            await asyncio.gather(*(some() for _ in range(64)))
            await spool.close()

        asyncio.run(fill())
        held = disk_bytes(folder / "spool")
        times = []
        for _ in range(3):
            started = time.monotonic()
            program, _ = bridge(folder, absent())
            with program:
                times.append(time.monotonic() - started)
    return [
        (
            f"start of the process to ready, {held / 1e9:.1f} GB of backlog",
            f"{statistics.median(times):.2f} s (median of {len(times)}; slowest {max(times):.2f} s)",
            "≤ 2 s with 10 GB",
            met(statistics.median(times) <= 2),
        )
    ]


def cpu(options: argparse.Namespace) -> Figures:
    """As bench.end_to_end: CPU of the whole process until everything has arrived."""
    with Sinkhole() as sinkhole, tempfile.TemporaryDirectory() as name:
        store = f"http://127.0.0.1:{sinkhole.port}"
        http = {"type": "clickhouse", "dsn": f"{store}/analytics"}

        def with_store(folder: Path) -> tuple[Program, int]:
            return bridge(folder, embedded(folder))

        rows = [
            Row("bridge to a ClickHouse HTTP endpoint", lambda folder: bridge(folder, http)),
            Row("bridge and embedded store", with_store, with_children=True),
            Row(
                "rotel to a ClickHouse HTTP endpoint, no mapping",
                rotel("--exporter", "clickhouse", "--clickhouse-exporter-endpoint", store),
            ),
        ]
        for number in range(options.rounds + 1):  # the first warms up
            for row in rows:
                measure(row, Path(name), number, options.requests)
    targets = (14, 40, 0)
    figures = []
    for row, target in zip(rows, targets, strict=True):
        used = statistics.median(row.us_per_span)
        said = f"{used:.1f} ({min(row.us_per_span):.1f} – {max(row.us_per_span):.1f})"
        verdict = (f"≤ {target}", met(used <= target)) if target else ("", "")
        figures.append((f"CPU seconds for 1M records: {row.name}", said, *verdict))
    return figures


MEASURED: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "sustained": sustained,
    "burst": burst,
    "steady": steady,
    "backlog": backlog,
    "outage": outage,
    "cpu": cpu,
}


def main(words: list[str]) -> None:
    arguments = argparse.ArgumentParser(prog="python -m faults figures", description=__doc__)
    arguments.add_argument("--only", action="append", choices=MEASURED, help="may be given more than once")
    arguments.add_argument("--requests", type=int, default=300, help="of 512 spans, for sustained, burst and cpu")
    arguments.add_argument("--rounds", type=int, default=3, help="of cpu")
    arguments.add_argument("--seconds", type=float, default=15.0, help="of steady")
    arguments.add_argument("--backlog-gb", type=float, default=9.0)
    arguments.add_argument("--outage-s", type=float, default=600.0, help="how long the store is away")
    arguments.add_argument("--outage-records-per-s", type=float, default=5000.0)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments.add_argument("--report", type=Path, help="Markdown file; default for all figures: docs/reliability.md")
    options = arguments.parse_args(words)
    environment = report.environment()
    rows: list[tuple[str, ...]] = []
    for name in options.only or MEASURED:
        load = f"{os.getloadavg()[0]:.1f}"
        for figure in MEASURED[name](options):
            print(" | ".join((*figure, load)), flush=True)
            rows.append((name, *figure, load))
    file = options.report or (None if options.only else report.DOCUMENT)
    if file:
        table = report.table(("of", "figure", "measured", "target", "verdict", "load before"), rows)
        report.write(file, "figures", [*environment, "", f"Seed {options.seed}.", "", *table])
