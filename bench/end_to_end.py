"""CPU per span from socket to destination, beside rotel in the same run: `python -m bench.end_to_end`.

Each program gets the same requests (512 spans, 16 attributes, gzip) over 4 connections, and is charged for the CPU of
its whole process until everything has arrived at the other end. The machine's noise is shared by all rows, so read the
ratios, not the microseconds. Rounds alternate between the programs; the median round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from bench.process import Program, children, cpu_s, free_port, rss_mib
from bench.sinkhole import Sinkhole
from bench.traffic import SPANS_PER_REQUEST, bodies

CONNECTIONS = 4
HEAD = (
    b"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-protobuf\r\n"
    b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
)


@dataclass
class Row:
    """One program under test and what its rounds cost."""

    name: str
    start: Callable[[Path], tuple[Program, int]]  # directory -> running program, OTLP port
    drained: Callable[[int], None] | None = None  # spans sent so far -> returns when they have arrived
    with_children: bool = False
    us_per_span: list[float] = field(default_factory=list)
    rss: float = 0.0


async def send(port: int, requests: list[bytes]) -> None:
    """Post every body once, over a few connections that each wait for their answer."""
    queue = iter(requests)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in queue:
            while True:
                writer.write(HEAD % len(body) + body)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                await reader.readexactly(length)
                if head.split(b" ", 2)[1] == b"200":
                    break
                await asyncio.sleep(0.5)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


def weighbridge(sink: dict[str, object], lanes: int = 0) -> Callable[[Path], tuple[Program, int]]:
    def start(directory: Path) -> tuple[Program, int]:
        port, admin = free_port(), free_port()
        config = directory / "weighbridge.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "receiver": {"endpoint": f"127.0.0.1:{port}"},
                    "admin": {"endpoint": f"127.0.0.1:{admin}"},
                    "spool": {"directory": str(directory / "spool")},
                    "lanes": lanes,
                    "exporter": {"sinks": [{"name": "bench", **sink}]},
                }
            )
        )
        command = [sys.executable, "-m", "weighbridge", "serve", "--config", str(config)]
        program = Program(command, directory / "log")
        program.wait_for_port(port)
        return program, port

    return start


def rotel(*options: str) -> Callable[[Path], tuple[Program, int]]:
    def start(directory: Path) -> tuple[Program, int]:
        import rotel as package

        port = free_port()
        binary = Path(package.__path__[0]) / "rotel-agent"
        command = [str(binary), "start", "--otlp-http-endpoint", f"127.0.0.1:{port}"]
        command += ["--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", *options]
        program = Program(command, directory / "log")
        program.wait_for_port(port)
        return program, port

    return start


def idle(spent_s: Callable[[], float]) -> None:
    """Wait until a program has used no CPU worth mentioning for two seconds: everything has gone out."""
    before = spent_s()
    while True:
        time.sleep(2.0)
        now = spent_s()
        if now - before < 0.05:
            return
        before = now


def used(row: Row, program: Program) -> float:
    total = cpu_s(program.pid)
    if row.with_children:
        total += sum(cpu_s(child) for child in children(program.pid))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=200, help="requests of 512 spans in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="rows whose name holds this text")
    arguments = parser.parse_args()
    console = Console()
    with Sinkhole() as sinkhole, tempfile.TemporaryDirectory() as folder:
        store = f"http://127.0.0.1:{sinkhole.port}"
        rows = [
            Row("weighbridge → nothing", weighbridge({"type": "blackhole"})),
            Row("weighbridge → ClickHouse HTTP", weighbridge({"type": "clickhouse", "dsn": f"{store}/analytics"})),
            Row(
                "weighbridge + embedded store",
                weighbridge({"type": "clickhouse", "dsn": f"chdb://{folder}/chdb"}),
                with_children=True,
            ),
            Row(
                "weighbridge → ClickHouse HTTP, lanes: 1",
                weighbridge({"type": "clickhouse", "dsn": f"{store}/analytics"}, lanes=1),
                with_children=True,
            ),
            Row("rotel → nothing", rotel("--exporter", "blackhole")),
            Row("rotel → ClickHouse HTTP", rotel("--exporter", "clickhouse", "--clickhouse-exporter-endpoint", store)),
        ]
        rows = [row for row in rows if not arguments.only or arguments.only in row.name]
        for number in range(arguments.rounds + 1):  # the first round warms up and is not counted
            for row in rows:
                console.print(f"round {number}: {row.name}", style="dim")
                measure(row, Path(folder), number, arguments.requests)
        report(console, rows)


def measure(row: Row, folder: Path, number: int, requests: int) -> None:
    directory = Path(tempfile.mkdtemp(dir=folder))
    program, port = row.start(directory)
    with program:
        time.sleep(1.0)  # a sender's clock may be a second ahead of the bridge's
        traffic = bodies(requests, first_seed=number * 1_000_000 + requests)
        idle(lambda: used(row, program))
        before = used(row, program)
        asyncio.run(send(port, traffic))
        idle(lambda: used(row, program))
        cost = (used(row, program) - before) / (requests * SPANS_PER_REQUEST) * 1e6
        row.rss = rss_mib(program.pid)
    if number:
        row.us_per_span.append(cost)


def report(console: Console, rows: list[Row]) -> None:
    yardstick = next((statistics.median(r.us_per_span) for r in rows if r.name == "rotel → ClickHouse HTTP"), None)
    table = Table(title=f"CPU per span, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for heading in ("program", "µs per span (median)", "min – max", "× rotel → ClickHouse", "RSS MiB"):
        table.add_column(heading, justify="left" if heading == "program" else "right")
    for row in rows:
        median = statistics.median(row.us_per_span)
        ratio = f"{median / yardstick:.2f}" if yardstick else ""
        spread = f"{min(row.us_per_span):.1f} – {max(row.us_per_span):.1f}"
        table.add_row(row.name, f"{median:.1f}", spread, ratio, f"{row.rss:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
