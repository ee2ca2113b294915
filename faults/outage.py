"""The store refuses connections for minutes while records come in, then returns (spec/reliability.md §4 R06).

Memory must stay flat, the spool grow as what is sent, and what waited must leave faster than more comes in.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from faults.judge import JudgeFailed, ledger_residue, settled
from faults.plan import Plan
from faults.producer import Producer, read_log
from faults.proxy import NONE, Fault
from faults.system import System, disk_bytes

WARM_UP_S = 10.0
SAMPLE_S = 1.0
LONGEST_DRAIN = 2.0  # times the outage, and five minutes: at twice the load it takes as long as the outage
CAUGHT_UP_S = 2.0  # of the load, not yet in the store
SETTLE_S = 60.0  # for what is under way when the load ends


Figures = list[tuple[str, str, str, str]]  # what, measured, target, verdict


def met(target: bool) -> str:
    """The verdict."""
    return "met" if target else "short of it"


@dataclass
class Course:
    """What was seen while it went on; memory and disk in bytes, one of each a second."""

    rss_before: int = 0
    rss: list[int] = field(default_factory=list)
    disk: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)  # acknowledged so far
    first_delivery_s: float = 0.0
    drained_s: float = 0.0
    drained: int = 0  # records stored from the return until all but the last seconds' were there


async def through(system: System, producer: Producer, seconds: float, records_per_s: float) -> Course:
    """Warm up, take the store away for so long, bring it back, wait until it has caught up with the load."""
    course = Course()
    await asyncio.sleep(WARM_UP_S)
    course.rss_before = system.rss_bytes()
    await system.to_store.set_fault(Fault(refuse=True))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(SAMPLE_S)
        course.rss.append(system.rss_bytes())
        course.disk.append(disk_bytes(system.folder / "spool"))
        course.records.append(producer.result.records)
    stored = await system.store.count()
    await system.to_store.set_fault(NONE)
    returned = time.monotonic()
    deadline = returned + LONGEST_DRAIN * seconds + 300.0
    while (now := await system.store.count()) == stored:
        assert time.monotonic() < deadline, "nothing was delivered"
        await asyncio.sleep(0.05)
    course.first_delivery_s = time.monotonic() - returned
    while producer.result.records - now > CAUGHT_UP_S * records_per_s:
        assert time.monotonic() < deadline, f"{producer.result.records - now} still wait"
        await asyncio.sleep(0.1)
        now = await system.store.count()
    course.drained_s = time.monotonic() - returned
    course.drained = now - stored
    return course


def outage(options: argparse.Namespace) -> Figures:
    """Runs it; seconds and rate are the options'."""
    rate, seconds = options.outage_records_per_s, options.outage_s

    async def run(folder: Path) -> Figures:
        async with System(folder, seed=options.seed) as system:
            plan = Plan(options.seed, time.time_ns())
            producer = Producer(system.intake, plan, folder / "evidence", records_per_s=rate)
            sending = asyncio.create_task(producer.run(24 * 3600.0))
            try:
                course = await through(system, producer, seconds, rate)
            finally:
                producer.stop()
                sent = await sending
            # First: a look at millions of rows takes longer than what is under way, and would not see it.
            residue = await ledger_residue(system.admin, SETTLE_S)
            try:
                verdict = await settled(system.store, [read_log(folder / "evidence")], 90.0)
            except JudgeFailed as error:
                raise AssertionError(str(error)) from error
        lost = f"lost {len(verdict.missing)}, twice {len(verdict.twice)}, altered {len(verdict.altered)}"
        waits = sum(sent.told_to_wait.values())
        return [
            (
                f"store away for {seconds:.0f} s at {rate:.0f} records/s",
                f"{sent.records:,} acknowledged, {waits} × 503; {verdict.stored:,} stored; {lost}, "
                f"unexplained {sum(map(abs, residue.values()))}",
                "all acknowledged; 0, 0, 0, 0",
                met(verdict.ok and not residue and not waits and not sent.refused),
            ),
            *told(course, rate),
        ]

    with tempfile.TemporaryDirectory(prefix="weighbridge-faults-") as folder:
        return asyncio.run(run(Path(folder)))


def told(course: Course, records_per_s: float) -> Figures:
    """The course in words."""
    before, half = course.rss_before / (1 << 20), len(course.rss) // 2
    early = course.rss[len(course.rss) // 10] / (1 << 20)  # a batch waits in memory now; from here on nothing may grow
    highest, last = max(course.rss) / (1 << 20), course.rss[-1] / (1 << 20)
    grown = [
        (later - earlier) / max(1, records)
        for earlier, later, records in (
            (course.disk[0], course.disk[half], course.records[half] - course.records[0]),
            (course.disk[half], course.disk[-1], course.records[-1] - course.records[half]),
        )
    ]
    steps = [later - earlier for earlier, later in itertools.pairwise(course.disk)]
    drained = course.drained / course.drained_s
    return [
        (
            "RSS during it",
            f"{before:.0f} MiB before, {early:.0f} after a tenth of it, half-way {course.rss[half] / (1 << 20):.0f}, "
            f"at its end {last:.0f}, highest {highest:.0f}",
            "≤ 200 MiB, flat ± 10 % after the first tenth",
            met(highest <= 200 and highest <= 1.1 * early),
        ),
        (
            "spool on disk, mixed records",
            f"{course.disk[-1] / 1e6:.0f} MB at the end; {grown[0]:.0f} B a record in the first half, {grown[1]:.0f} "
            f"in the second; at most {max(steps) / 1e6:.1f} MB in a second; 3M records are "
            f"{grown[1] * 3e6 / 1e9:.2f} GB",
            "linear; 3M records ≤ 1.5 GB",
            met(grown[1] * 3e6 <= 1.5e9 and grown[1] <= 1.1 * grown[0]),
        ),
        (
            "time to the first delivery after the return",
            f"{course.first_delivery_s:.1f} s",
            "≤ 5 s",
            met(course.first_delivery_s <= 5),
        ),
        (
            "drain with ingest on",
            f"{drained:,.0f} records/s, {drained / records_per_s:.1f} × the load; "
            f"caught up after {course.drained_s:.1f} s, the wait "
            "for the first delivery included",
            "≥ 2 ×",
            met(drained >= 2 * records_per_s),
        ),
    ]
