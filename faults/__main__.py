"""`python -m faults [STORY ...]`: put faults to a real bridge under load and judge what its store then holds.

Exit status 0 when every story ended with nothing missing, twice, altered, invented or unexplained. A story can be told
again with the seed that is printed; what the machine does between the lines cannot. `python -m faults figures` measures
instead: speed, latency, memory, disk and an outage of the store. Reports go into docs/reliability.md, or where
--report says; a run of chosen stories writes none unless told to.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from faults import report
from faults.answers import wrong_elsewhere
from faults.erasing import erased_of
from faults.judge import JudgeFailed, Verdict, ledger_residue, settled
from faults.plan import Plan
from faults.producer import Log, Producer, Sent, read_log
from faults.refusals import refused_of
from faults.stories import STORIES, Told
from faults.system import BridgeEnded, Impossible, System

SETTLE_S = 90.0


class Ending(NamedTuple):
    """How a story ended."""

    problems: list[str]  # empty when the promises were kept
    sent: Sent
    verdict: Verdict | None = None  # None: the store could not be asked
    unexplained: int = 0  # records


async def tell(
    told: Told,
    folder: Path,
    *,
    seed: int,
    seconds: float,
    records_per_s: float,
    compression: str = "lz4",
    lanes: int = 0,
) -> Ending:
    """Prints the figures, too."""
    problems: list[str] = []
    async with System(
        folder,
        seed=seed,
        compression=told.compression or compression,
        prefix=told.prefix,
        spool_mib=told.spool_mib,
        gate=told.gate,
        others=told.others,
        lanes=max(lanes, told.lanes),
        spool={"segment_bytes": told.segment_bytes} if told.segment_bytes else {},
    ) as system:
        base = time.time_ns() + int(told.ahead_s * 1e9)
        plan = Plan(seed, base, impossible_times=told.impossible_times, ids_in_headers=told.ids_in_headers)
        producers = [
            Producer(system.intake, plan, folder / "evidence", records_per_s=records_per_s, times=told.times),
            *_spike(told, system, plan, folder, records_per_s),
        ]
        sending = [asyncio.create_task(producers[0].run(3600.0))]
        sending += [asyncio.create_task(_later(producer, seconds / 3)) for producer in producers[1:]]
        try:
            await told.story(system, random.Random(seed), seconds)
        except (AssertionError, BridgeEnded, TimeoutError) as error:
            problems.append(f"{type(error).__name__}: {error}")
        finally:
            for producer in producers:
                producer.stop()
            sent, *_ = await asyncio.gather(*sending)
        for producer in producers:
            print(f"  {producer.result}")
            problems += [
                f"refused for good: {number}, {why}" for number, why in list(producer.result.refused.items())[:3]
            ]
        logs = [read_log(producer.log) for producer in producers]
        ending = await judged(system, logs, sent)
        if told.others:
            ending.problems.extend(wrong_elsewhere(system, logs[0]))
    return ending._replace(problems=problems + ending.problems)


def _spike(told: Told, system: System, plan: Plan, folder: Path, records_per_s: float) -> list[Producer]:
    if not told.spike:
        return []
    other = plan._replace(seed=plan.seed + 1)
    return [
        Producer(system.intake, other, folder / "evidence-2", connections=64, records_per_s=told.spike * records_per_s)
    ]


async def _later(producer: Producer, seconds: float) -> Sent:
    """After so long, for so long."""
    await asyncio.sleep(seconds)
    return await producer.run(seconds)


async def judged(system: System, logs: list[Log], sent: Sent) -> Ending:
    """What the store and the ledger say, once nothing is missing or the time is over."""
    problems = [] if sent.acknowledged else ["nothing was acknowledged"]
    must = may = system.refused_for_good
    if system.refuses:
        may, must = refused_of(logs, system.refuses)
        system.refused_for_good |= may
    try:
        absent = system.refused_for_good | erased_of(logs, system.erased_users)
        verdict = await settled(system.store, logs, SETTLE_S, absent)
    except JudgeFailed as error:
        return Ending([*problems, f"the store cannot be asked: {error}"], sent)
    print(f"  {verdict}")
    if not verdict.ok:
        problems.append("the store does not hold what was acknowledged")
    if verdict.stored != await system.store.count():
        problems.append("a plain count() counts differently")
    residue = await ledger_residue(system.admin)
    if residue:
        problems.append(f"the ledger does not add up: pending {residue}")
    dead = {letter["event"]["span"]["id"] for letter in system.dead_letters()}
    if not must <= dead <= may:
        problems.append(f"{len(dead)} dead letters, not {len(must)}")
    return Ending(problems, sent, verdict, sum(abs(count) for count in residue.values()))


HEADINGS = (
    "story", "what", "records acknowledged", "tries, of them unanswered / 503", "lost", "twice", "altered", "invented",
    "unexplained", "ack p50 / p99 / max ms", "verdict",
)  # fmt: skip


def row(name: str, told: Told, ending: Ending | Impossible) -> tuple[str, ...]:
    """A line of the report."""
    if isinstance(ending, Impossible):
        return (name, told.what, *("",) * 8, f"not run, this machine does not allow it: {ending}")
    sent, verdict = ending.sent, ending.verdict
    latency = " / ".join(f"{sent.latency_ms(percent):.0f}" for percent in (50, 99, 100))
    counts = ("?", "?", "?", "?")
    if verdict:
        counts = (
            str(len(verdict.missing)), str(len(verdict.twice)), str(len(verdict.altered)), str(len(verdict.invented))
        )  # fmt: skip
    tries = f"{sent.tries}, {sent.unanswered} / {sum(sent.told_to_wait.values())}"
    outcome = "passed" if not ending.problems else "FAILED: " + "; ".join(ending.problems)
    return (name, told.what, f"{sent.records:,}", tries, *counts, str(ending.unexplained), latency, outcome)


def lines(told: list[tuple[str, ...]], options: argparse.Namespace, environment: list[str]) -> list[str]:
    """The report of a run."""
    return [
        *environment,
        "",
        f"Seed {options.seed}, {options.records_per_s:.0f} records/s (70 % spans, 30 % logs, 50 in a request, a fifth "
        f"JSON, three fifths gzip) over 16 connections, {options.seconds:.0f} s a story; inserts "
        f"{options.compression}; `lanes: {options.lanes}`. Producer, both proxies, bridge and store share the cores.",
        "",
        *report.table(HEADINGS, told),
        "",
        "Rows of the fault matrix that no story tells:",
        "",
        *report.table(("row", "fault", "instead"), list(report.NOT_TOLD)),
    ]


def tell_one(name: str, options: argparse.Namespace) -> Ending | Impossible:
    print(f"{name}: {STORIES[name].what} (seed {options.seed})", flush=True)
    with tempfile.TemporaryDirectory(prefix="weighbridge-faults-") as folder:
        try:
            ending = asyncio.run(
                tell(
                    STORIES[name],
                    Path(folder),
                    seed=options.seed,
                    seconds=options.seconds,
                    records_per_s=options.records_per_s,
                    compression=options.compression,
                    lanes=options.lanes,
                )
            )
        except Impossible as error:
            print(f"  skipped, this machine does not allow it: {error}", flush=True)
            return error
    for problem in ending.problems:
        print(f"  FAILED {problem}")
    print("  passed" if not ending.problems else f"  {len(ending.problems)} problems", flush=True)
    return ending


def main() -> None:
    if sys.argv[1:2] == ["figures"]:
        from faults.figures import main as measure  # needs the bench programs, stories do not

        measure(sys.argv[2:])
        return
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("stories", nargs="*", metavar="STORY", help=f"default: all of {', '.join(STORIES)}")
    arguments.add_argument("--seconds", type=float, default=15.0, help="of each story")
    arguments.add_argument("--records-per-s", type=float, default=5000.0)
    arguments.add_argument("--lanes", type=int, default=0, help="of the bridge; one in stories with more sinks")
    arguments.add_argument("--compression", default="lz4", help="of inserts: lz4, zstd or none")
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments.add_argument("--report", type=Path, help="Markdown file; default for all stories: docs/reliability.md")
    options = arguments.parse_args()
    unknown = [name for name in options.stories if name not in STORIES]
    if unknown:
        arguments.error(f"no such story: {', '.join(unknown)}")
    environment = report.environment()
    endings = {name: tell_one(name, options) for name in options.stories or STORIES}
    file = options.report or (None if options.stories else report.DOCUMENT)
    if file:
        told = [row(name, STORIES[name], ending) for name, ending in endings.items()]
        report.write(file, "stories with lanes" if options.lanes else "stories", lines(told, options, environment))
        print(f"written to {file}")
    failed = [name for name, ending in endings.items() if isinstance(ending, Ending) and ending.problems]
    if failed:
        print(f"failed: {', '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
