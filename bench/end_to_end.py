"""What a record costs from the socket to the destination, beside other receivers in the same run: `make bench`.

Each program gets the same requests over 4 connections, and is charged for the CPU of all its processes until everything
has arrived at the other end. The machine's noise is shared by all rows, so read the ratios, not the microseconds.
Rounds alternate between the programs; the median round counts. `--report` puts the table into docs/performance.md, and
`python -m bench.performance_plot` draws it. A Collector takes part where OTELCOL names its program.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.loads import LARGE, LOADS, Load
from bench.process import Program, children, cpu_s, rss_mib
from bench.programs import COLLECTOR, Start, collector, rotel, weighbridge
from bench.sinkhole import Sinkhole
from faults import report

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
CONNECTIONS = 4
YARDSTICK = "rotel → ClickHouse HTTP"
TICK_S = 0.25  # between two looks at the CPU of a program that works
STILL_S = 2.0  # a program that has used less than IDLE_S in this is done
IDLE_S = 0.05


class Round(NamedTuple):
    """us: CPU microseconds a record. rate: records a second, from the first request until all had arrived."""

    us: float
    rate: float
    ack_ms: list[float]


@dataclass
class Row:
    """One program under one load, and its rounds."""

    name: str
    start: Start
    with_children: bool = False
    load: Load = LARGE
    rounds: list[Round] = field(default_factory=list)
    rss: float = 0.0

    @property
    def us_per_span(self) -> list[float]:
        return [one.us for one in self.rounds]


async def send(port: int, requests: list[bytes]) -> list[float]:
    """Post every request, over a few connections that each wait for their answer; seconds until each had its 200."""
    queue, took = iter(requests), list[float]()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in queue:
            began = time.perf_counter()
            while True:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
                await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
                status = head.split(b" ", 2)[1]
                if status == b"200":
                    break
                if status.startswith(b"4") and status != b"429":
                    raise RuntimeError(head.decode())
                await asyncio.sleep(0.5)
            took.append(time.perf_counter() - began)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return took


def idle(spent_s: Callable[[], float]) -> float:
    """Wait until a program has used no CPU worth mentioning for a while: everything has gone out. When that was."""
    looks = [(time.perf_counter(), spent_s())]
    while True:
        time.sleep(TICK_S)
        looks.append((time.perf_counter(), spent_s()))
        recent = [look for look in looks if look[0] >= looks[-1][0] - STILL_S]
        if looks[-1][0] - looks[0][0] >= STILL_S and looks[-1][1] - recent[0][1] < IDLE_S:
            return recent[0][0]


def used(row: Row, program: Program) -> float:
    total = cpu_s(program.pid)
    if row.with_children:
        total += sum(cpu_s(child) for child in children(program.pid))
    return total


def measure(row: Row, folder: Path, number: int, requests: int) -> None:
    directory = Path(tempfile.mkdtemp(dir=folder))
    program, port = row.start(directory)
    with program:
        time.sleep(1.0)  # a sender's clock may be a second ahead of the bridge's
        traffic = row.load.requests(requests, number * 1_000_000 + requests)
        records = len(traffic) * row.load.records
        idle(lambda: used(row, program))
        before, began = used(row, program), time.perf_counter()
        took = asyncio.run(send(port, traffic))
        ended = idle(lambda: used(row, program))
        cost = (used(row, program) - before) / records * 1e6
        row.rss = rss_mib(program.pid)
        if row.with_children:
            row.rss += sum(rss_mib(child) for child in children(program.pid))
    if number:
        row.rounds.append(Round(cost, records / (ended - began), [one * 1e3 for one in took]))


def rows_of(store: str, folder: Path) -> list[Row]:
    """Every program under the first load, and those that are compared under the others."""
    to_store = {"type": "clickhouse", "dsn": f"{store}/analytics"}
    embedded = {"type": "clickhouse", "dsn": f"chdb://{folder}/chdb"}
    tenth = {"rate": 10, "randomness": "trace_id"}
    rows = [
        Row("weighbridge → nothing", weighbridge({"type": "blackhole"})),
        Row("weighbridge → ClickHouse HTTP, sampled at 10 %", weighbridge(to_store, sampling=tenth)),
        Row(
            "weighbridge → ClickHouse HTTP, whole traces",
            weighbridge(to_store, sampling={**tenth, "tail": {"decision_wait_s": 1}}),
        ),
        Row("weighbridge + embedded store", weighbridge(embedded), with_children=True),
        Row("weighbridge + embedded store, lanes: 1", weighbridge(embedded, 1), with_children=True),
        Row("rotel → nothing", rotel("--exporter", "blackhole")),
    ]
    compared = [
        *(
            Row(f"weighbridge → ClickHouse HTTP, lanes: {lanes}", weighbridge(to_store, lanes), with_children=True)
            for lanes in (0, 1, 2)
        ),
        Row(YARDSTICK, rotel("--exporter", "clickhouse", "--clickhouse-exporter-endpoint", store)),
    ]
    if os.environ.get(COLLECTOR):
        compared.append(Row("Collector → ClickHouse HTTP", collector(store, mapping=False)))
        compared.append(Row("Collector → ClickHouse HTTP, 21 OTTL statements", collector(store, mapping=True)))
    for load in LOADS:
        rows += [Row(row.name, row.start, row.with_children, load) for row in compared]
    return sorted(rows, key=lambda row: LOADS.index(row.load))


HEADINGS = ("load", "program", "µs of CPU a record (from – to)", "× rotel", "records/s", "ack p50 / p99 ms", "MiB")


def table(rows: Iterable[Row]) -> list[str]:
    """In Markdown."""
    rows = list(rows)
    yardsticks = {row.load: statistics.median(row.us_per_span) for row in rows if row.name == YARDSTICK}
    cells = list[tuple[str, ...]]()
    for row in rows:
        median, yardstick = statistics.median(row.us_per_span), yardsticks.get(row.load)
        ack = sorted(one for done in row.rounds for one in done.ack_ms)
        cells.append(
            (
                row.load.name,
                row.name,
                f"{median:.1f} ({min(row.us_per_span):.1f} – {max(row.us_per_span):.1f})",
                f"{median / yardstick:.1f}" if yardstick else "",
                f"{statistics.median(done.rate for done in row.rounds):,.0f}",
                f"{ack[len(ack) // 2]:.1f} / {ack[len(ack) * 99 // 100]:.1f}",
                f"{row.rss:.0f}",
            )
        )
    return report.table(HEADINGS, cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=200, help="large requests of spans in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose program or load holds this text")
    parser.add_argument("--report", action="store_true", help="write the table into docs/performance.md")
    arguments = parser.parse_args()
    environment = report.environment()
    with Sinkhole() as sinkhole, tempfile.TemporaryDirectory() as folder:
        rows = [
            row
            for row in rows_of(f"http://127.0.0.1:{sinkhole.port}", Path(folder))
            if arguments.only in row.name or arguments.only in row.load.name
        ]
        for number in range(arguments.rounds + 1):  # the first round warms up and is not counted
            for row in rows:
                print(f"round {number}: {row.name}, {row.load.name}", file=sys.stderr, flush=True)
                measure(row, Path(folder), number, arguments.requests)
    lines = [
        *environment,
        "",
        f"`python -m bench.end_to_end --requests {arguments.requests} --rounds {arguments.rounds}`; load at the "
        f"end: {os.getloadavg()[0]:.1f}.",
        "",
        *table(rows),
    ]
    print("\n".join(lines))
    if arguments.report:
        report.write(DOCUMENT, "bench", lines)


if __name__ == "__main__":
    main()
