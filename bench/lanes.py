"""What lanes give and cost: `python -m bench.lanes`.

scaling: a spool that waits for its destination, delivered by one lane and by two; records a second, and CPU a record of
all processes. memory: of the door and one lane under a steady load, minute by minute. stuck: how long acknowledgements
take while a lane is in an endless loop, beside a bridge that is well. Machines are noisy: rounds alternate, medians
count; read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

import faults.planted_lanes
from bench.loads import LARGE
from bench.process import Program, children, cpu_s, free_port, rss_mib
from bench.sinkhole import Sinkhole
from bench.traffic import SPANS_PER_REQUEST, bodies, span_named

BRIDGE = ("-m", "weighbridge")
PLANTED = (faults.planted_lanes.__file__,)


class Bridge:
    """One over a folder, again and again."""

    def __init__(self, folder: Path, lanes: int) -> None:
        self.port, self.admin = free_port(), free_port()
        self._folder = folder
        self._lanes = lanes

    def start(self, dsn: str, program: Sequence[str] = BRIDGE) -> Program:
        """Returns when it takes requests."""
        config = self._folder / "weighbridge.yaml"
        settings: dict[str, Any] = {
            "receiver": {"endpoint": f"127.0.0.1:{self.port}"},
            "admin": {"endpoint": f"127.0.0.1:{self.admin}"},
            "spool": {"directory": str(self._folder / "spool")},
            "lanes": self._lanes,
            "mapping": {"inherit_across_requests_s": 0},
            "exporter": {"sinks": [{"name": "bench", "type": "clickhouse", "dsn": dsn}]},
        }
        config.write_text(yaml.safe_dump(settings))
        started = Program([sys.executable, *program, "serve", "--config", str(config)], self._folder / "log")
        started.wait_for_port(self.port)
        return started

    def delivered(self) -> int:
        """Records that the sink has."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ledger", timeout=30) as answer:
            return sum(row["delivered"] for row in json.loads(answer.read())["sinks"])


def used_s(program: Program) -> float:
    """CPU of the bridge and its lanes."""
    return cpu_s(program.pid) + sum(cpu_s(child) for child in children(program.pid))


async def post(port: int, requests: Iterator[bytes], pause_s: float = 0.0) -> list[float]:
    """Seconds until each was acknowledged, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for body in requests:
        began = time.perf_counter()
        writer.write(LARGE.head(len(body)) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        if head.split(b" ", 2)[1] != b"200":
            raise RuntimeError(head.decode())
        lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        await reader.readexactly(int(lengths[0].split(b":")[1]))
        took.append(time.perf_counter() - began)
        await asyncio.sleep(pause_s)
    writer.close()
    return took


def backlog(folder: Path, lanes: int, requests: int, seed: int, sinkhole: Sinkhole) -> tuple[float, float]:
    """Records a second of a spool that is emptied, and CPU microseconds a record."""
    bridge = Bridge(folder, lanes)
    with bridge.start(f"http://127.0.0.1:{free_port()}/analytics") as program:
        asyncio.run(post(bridge.port, iter(bodies(requests, first_seed=seed))))
    records = requests * SPANS_PER_REQUEST
    with bridge.start(f"http://127.0.0.1:{sinkhole.port}/analytics") as program:
        while not bridge.delivered():
            time.sleep(0.02)
        first, began, cpu = bridge.delivered(), time.perf_counter(), used_s(program)
        while (done := bridge.delivered()) < records:
            time.sleep(0.05)
        seconds, cpu = time.perf_counter() - began, used_s(program) - cpu
    return (done - first) / seconds, cpu / (done - first) * 1e6


def scaling(requests: int, rounds: int, counts: Sequence[int]) -> None:
    found: dict[int, list[tuple[float, float]]] = {lanes: [] for lanes in counts}
    with Sinkhole() as sinkhole:
        for number in range(rounds):
            for lanes in counts:
                with tempfile.TemporaryDirectory() as folder:
                    found[lanes].append(backlog(Path(folder), lanes, requests, number * 1_000_000, sinkhole))
    one = statistics.median(rate for rate, _ in found[counts[0]])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {requests} requests of {SPANS_PER_REQUEST} spans")
    for lanes, rows in found.items():
        rate, cpu = (statistics.median(values) for values in zip(*rows, strict=True))
        print(f"lanes {lanes}: {rate:,.0f} records/s ({rate / one:.2f} x), {cpu:.1f} us CPU a record")


def memory(minutes: int, requests_per_s: float) -> None:
    """Resident memory of each process, at the end of each minute."""
    with Sinkhole() as sinkhole, tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(Path(folder), 1)
        with bridge.start(f"http://127.0.0.1:{sinkhole.port}/analytics") as program:
            for minute in range(minutes):
                count = int(60 * requests_per_s)
                new = (bodies(1, first_seed=minute * count + number)[0] for number in range(count))
                ends = time.monotonic() + 60
                asyncio.run(post(bridge.port, new, 0.7 / requests_per_s))
                time.sleep(max(0.0, ends - time.monotonic()))
                lane = max(map(rss_mib, children(program.pid)), default=0.0)
                held = f"door {rss_mib(program.pid):.0f} MiB, lane {lane:.0f} MiB"
                print(f"minute {minute + 1}: {bridge.delivered():,} records delivered; {held}", flush=True)


def stuck(requests: int) -> None:
    with Sinkhole() as sinkhole, tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(Path(folder), 1)
        with bridge.start(f"http://127.0.0.1:{sinkhole.port}/analytics", PLANTED):
            for name, bad in (("well", b""), ("in an endless loop", b"planted: loop")):
                if bad:
                    asyncio.run(post(bridge.port, iter([span_named(bad)])))
                took = sorted(asyncio.run(post(bridge.port, iter(bodies(requests, first_seed=len(bad))), 0.05)))
                p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
                print(
                    f"lane {name}: acknowledged p50 {p50 * 1e3:.1f}, p99 {p99 * 1e3:.1f}, max {took[-1] * 1e3:.1f} ms"
                )


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("what", choices=("scaling", "memory", "stuck"))
    arguments.add_argument("--requests", type=int, default=200)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--minutes", type=int, default=60)
    arguments.add_argument("--requests-per-s", type=float, default=3.0, help="of 512 spans each")
    arguments.add_argument("--lanes", type=int, nargs="+", default=[1, 2])
    options = arguments.parse_args()
    if options.what == "memory":
        memory(options.minutes, options.requests_per_s)
    elif options.what == "scaling":
        scaling(options.requests, options.rounds, options.lanes)
    else:
        stuck(options.requests)


if __name__ == "__main__":
    main()
