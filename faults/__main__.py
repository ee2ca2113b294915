"""`python -m faults [STORY ...]`: put faults to a real bridge under load and judge what its store then holds.

Exit status 0 when every story ended with nothing missing, twice, altered, invented or unexplained. A story can be told
again with the seed that is printed; what the machine does between the lines cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from faults.judge import JudgeFailed, Verdict, ledger_residue, settled
from faults.plan import Plan
from faults.producer import Producer, Sent, read_log
from faults.stories import STORIES, Told
from faults.system import BridgeEnded, Impossible, System

SETTLE_S = 90.0


async def tell(
    told: Told, folder: Path, *, seed: int, seconds: float, records_per_s: float, compression: str = "lz4"
) -> list[str]:
    """What went wrong, empty when nothing did. Prints the figures."""
    problems: list[str] = []
    async with System(
        folder, seed=seed, compression=compression, prefix=told.prefix, spool_mib=told.spool_mib
    ) as system:
        producer = Producer(
            system.intake,
            Plan(seed, time.time_ns()),
            folder / "evidence",
            records_per_s=records_per_s,
            times=told.times,
        )
        sending = asyncio.create_task(producer.run(3600.0))
        try:
            await told.story(system, random.Random(seed), seconds)
        except (AssertionError, BridgeEnded, TimeoutError) as error:
            problems.append(f"{type(error).__name__}: {error}")
        finally:
            producer.stop()
            sent = await sending
        print(f"  {sent}")
        problems += await judged(system, folder, sent)
    return problems


async def judged(system: System, folder: Path, sent: Sent) -> list[str]:
    problems = [f"refused for good: request {number}, {why}" for number, why in list(sent.refused.items())[:3]]
    if not sent.acknowledged:
        problems.append("nothing was acknowledged")
    try:
        verdict: Verdict = await settled(system.store, [read_log(folder / "evidence")], SETTLE_S)
    except JudgeFailed as error:
        return [*problems, f"the store cannot be asked: {error}"]
    print(f"  {verdict}")
    if not verdict.ok:
        problems.append("the store does not hold what was acknowledged")
    if verdict.stored != await system.store.count():
        problems.append("a plain count() counts differently")
    residue = await ledger_residue(system.admin)
    if residue:
        problems.append(f"the ledger does not add up: pending {residue}")
    return problems


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("stories", nargs="*", metavar="STORY", help=f"default: all of {', '.join(STORIES)}")
    arguments.add_argument("--seconds", type=float, default=15.0, help="of each story")
    arguments.add_argument("--records-per-s", type=float, default=5000.0)
    arguments.add_argument("--compression", default="lz4", help="of inserts: lz4, zstd or none")
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = arguments.parse_args()
    unknown = [name for name in options.stories if name not in STORIES]
    if unknown:
        arguments.error(f"no such story: {', '.join(unknown)}")
    failed = []
    for name in options.stories or STORIES:
        told = STORIES[name]
        print(f"{name}: {told.what} (seed {options.seed})", flush=True)
        with tempfile.TemporaryDirectory(prefix="weighbridge-faults-") as folder:
            try:
                problems = asyncio.run(
                    tell(
                        told,
                        Path(folder),
                        seed=options.seed,
                        seconds=options.seconds,
                        records_per_s=options.records_per_s,
                        compression=options.compression,
                    )
                )
            except Impossible as error:
                print(f"  skipped, this machine does not allow it: {error}", flush=True)
                continue
        for problem in problems:
            print(f"  FAILED {problem}")
        print("  passed" if not problems else f"  {len(problems)} problems", flush=True)
        failed += [name] if problems else []
    if failed:
        print(f"failed: {', '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
