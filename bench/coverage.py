"""How often a "95 %" interval holds the truth: known populations, sampled again and again.

    python -m bench.coverage [--replicates 1000] [--seed 1]

Prints, for kinds of traffic and numbers of kept traces, the share of samples whose interval holds the true number of
calls, of errors, the error rate, the sum of durations, and two percentiles; `-` where too little was kept to say more.
The intervals are those of bench/estimate.py, which the questions by name compute in SQL.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.estimate import (
    Kept,
    Reached,
    estimate_quantile,
    estimate_share,
    estimate_total,
    upper_when_nothing_kept,
)

TRACES = (5, 10, 30, 100, 1000)  # kept ones, expected
COLUMNS = ("calls", "errors", "rate", "sum", "p50", "p95")
Q = {"p50": 0.5, "p95": 0.95}


class Kind(NamedTuple):
    """Traffic, and how it is sampled."""

    name: str
    p: float
    most_calls: int  # of one trace; from 1 on, all alike
    errors: float  # share of calls
    keep_errors: bool  # all of them, whatever becomes of the rest of their trace


KINDS = (
    Kind("one call a trace, 10 %", 0.1, 1, 0.1, keep_errors=False),
    Kind("one call a trace, 50 %", 0.5, 1, 0.1, keep_errors=False),
    Kind("1 to 12 calls a trace, 10 %", 0.1, 12, 0.1, keep_errors=False),
    Kind("one call a trace, 5 %, errors kept", 0.05, 1, 0.05, keep_errors=True),
    Kind("1 to 6 calls a trace, 10 %, errors kept", 0.1, 6, 0.05, keep_errors=True),
)


class Call(NamedTuple):
    failed: bool
    duration: float


def population(dice: random.Random, kind: Kind, traces: int) -> list[list[Call]]:
    return [
        [
            Call(dice.random() < kind.errors, dice.lognormvariate(3, 0.7))
            for _ in range(1 if kind.most_calls == 1 else dice.randint(1, kind.most_calls))
        ]
        for _ in range(traces)
    ]


def kept_of(dice: random.Random, kind: Kind, traces: Sequence[Sequence[Call]]) -> Iterator[tuple[str, float, Call]]:
    """Trace, what the call stands for, and the call, of those that are kept."""
    for number, calls in enumerate(traces):
        keep = dice.random() < kind.p
        for call in calls:
            if kind.keep_errors and call.failed:
                yield str(number), 1.0, call
            elif keep:
                yield str(number), 1 / kind.p, call


def held(dice: random.Random, kind: Kind, traces: Sequence[Sequence[Call]]) -> dict[str, bool]:
    """Which intervals of one sample hold the truth. What is not said is not wrong."""
    calls = [call for trace in traces for call in trace]
    kept = list(kept_of(dice, kind, traces))
    count = [Kept(trace, a) for trace, a, _ in kept]
    failed = [Kept(trace, a) for trace, a, call in kept if call.failed]
    unseen = upper_when_nothing_kept(kind.p, 0.025) * (1 + kind.most_calls) / 2
    dropped = [a for _, a, _ in kept if a > 1]
    errors_unseen = 0.0 if kind.keep_errors or any(k.adjusted_count > 1 for k in failed) else unseen
    good_unseen = 0.0 if any(a > 1 and not call.failed for _, a, call in kept) else unseen
    found = {
        "calls": within(estimate_total(count, 0 if dropped else unseen), len(calls)),
        "errors": within(estimate_total(failed, errors_unseen), sum(call.failed for call in calls)),
    }
    if not kept:
        return found
    rate = estimate_share([Kept(t, a, float(c.failed)) for t, a, c in kept], (errors_unseen, good_unseen))
    found["rate"] = within(rate, sum(call.failed for call in calls) / len(calls))
    if dropped:
        spent = estimate_total([Kept(t, a, c.duration) for t, a, c in kept])
        found["sum"] = spent.too_few or within(spent, math.fsum(call.duration for call in calls))
        ordered = sorted(call.duration for call in calls)
        for name, q in Q.items():
            reached = estimate_quantile([Kept(t, a, c.duration) for t, a, c in kept], q)
            found[name] = reaches(reached, ordered[math.ceil(q * len(ordered)) - 1])
    return found


def within(estimate: object, truth: float) -> bool:
    low, high = estimate.low, estimate.high  # type: ignore[attr-defined]
    return bool(low <= truth * (1 + 1e-9) and truth <= high * (1 + 1e-9))


def reaches(found: Reached, truth: float) -> bool:
    return (found.low is None or found.low <= truth) and (found.high is None or truth <= found.high)


def coverage(kind: Kind, traces: int, replicates: int, seed: int) -> dict[str, float]:
    """Share of samples that hold each truth, by column; the populations differ, too."""
    dice = random.Random(f"{seed} {kind.name} {traces}")
    hits, asked = Counter[str](), Counter[str]()
    for _ in range(replicates):
        for name, holds in held(dice, kind, population(dice, kind, round(traces / kind.p))).items():
            hits[name] += holds
            asked[name] += 1
    return {name: hits[name] / asked[name] for name in COLUMNS if asked[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{'':42}{'traces':>7}" + "".join(f"{name:>8}" for name in COLUMNS))
    for kind in KINDS:
        for traces in TRACES:
            # A thousand kept traces are a large population: fewer of them tell as much.
            replicates = max(100, arguments.replicates // max(1, traces // 100))
            shares = coverage(kind, traces, replicates, arguments.seed)
            print(
                f"{kind.name:42}{traces:7}" + "".join(f"{100 * shares.get(name, 0):8.1f}" for name in COLUMNS),
                flush=True,
            )


if __name__ == "__main__":
    main()
