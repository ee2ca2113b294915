"""`python -m faults.planted KIND serve ...`: the bridge's command with faults of its own.

poison: records whose span id begins with POISON leave the mapping as events that no encoder takes.
tasks: what runs beside the requests raises, one call in so many, and sinks' pipelines do.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

POISON = "00"  # of span ids: one record of 256
ONE_IN = 4  # calls of a task's step that raise


def poisoned(event: Any) -> Any:
    """The event, or one that cannot be encoded, in one of several ways."""
    if not event.span_id.startswith(POISON):
        return event
    ways: tuple[dict[str, Any], ...] = (
        {"user_id": "\ud800"},
        {"service": None},
        {"end_unix_ns": 1 << 80},
        {"metadata": '{"a":' * 2000 + "1" + "}" * 2000},  # the store's server finds that out, and not its sink
    )
    return event._replace(**ways[int(event.span_id[-1], 16) % len(ways)])


def plant_poison() -> None:
    from mapping.mapper import Mapper

    real = Mapper.steps

    def steps(self: Mapper, *args: Any, **named: Any) -> Any:
        mapped = yield from real(self, *args, **named)
        return mapped._replace(events=[poisoned(event) for event in mapped.events])

    Mapper.steps = steps  # type: ignore[method-assign]


class Planted(Exception):
    """A fault that nobody expects."""


def plant_faults_of_tasks() -> None:
    from exporter.pipeline import Pipeline
    from weighbridge import deliveries, tasks
    from weighbridge.admin import ledger
    from weighbridge.sampling.running import Sampling

    deliveries.RESTART_S = 0.1
    tasks.LONGEST_PAUSE_S = 0.5
    ledger.AUDIT_INTERVAL_S = 0.1
    _fails_sometimes(Sampling, "tick", only_with="_tick")
    _fails_sometimes(ledger, "residue", only_with="audit")
    _fails_sometimes(Pipeline, "_plan")
    _fails_sometimes(Pipeline, "_collect")


def _fails_sometimes(owner: Any, name: str, only_with: str = "") -> None:
    real: Callable[..., Any] = getattr(owner, name)
    dice = random.Random(name)

    def failing(*args: Any, **named: Any) -> Any:
        if dice.randrange(ONE_IN) == 0 and (not only_with or only_with in _callers()):
            raise Planted
        return real(*args, **named)

    setattr(owner, name, failing)


def _callers() -> set[str]:
    """Names of the functions that led here."""
    names, frame = set(), sys._getframe(1)
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return names


KINDS = {"poison": plant_poison, "tasks": plant_faults_of_tasks}

LANE = "lane"  # the argument after the kind, in the process of a lane


def main() -> None:
    from weighbridge import cli
    from weighbridge.lanes import child, process

    kind = sys.argv.pop(1)
    KINDS[kind]()
    child.PROGRAM = ("-m", "faults.planted", kind, LANE)
    if sys.argv[1] == LANE:
        del sys.argv[1]
        process.main()
    cli.main()


if __name__ == "__main__":
    main()
