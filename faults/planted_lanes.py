"""A bridge whose lanes stop at records that are named for it: `python faults/planted_lanes.py serve …`.

Sinks of type `blackhole` that are named for it do that with every batch: `segfault` on the event loop, `computes` in a
thread, without end.

Spans named `planted: loop`, `segfault`, `exit` or `memory` do that to the process that maps them; the same file is the
program of the lanes, and of the process that tries records alone (`LANE` or `ALONE` as the first argument).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Sequence
from typing import Any

from exporter.sink import Batch
from exporter.sinks.blackhole import BlackholeSink
from exporter.threads import in_thread
from mapping.event import Event
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.records import Decoded
from weighbridge.lanes import alone, child, process, watch

LANE, ALONE = "LANE", "ALONE"
FAULTS = ("loop", "segfault", "exit", "memory")


def fault(name: str) -> None:
    """Do it."""
    if name == "loop":
        while True:
            pass
    if name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "exit":
        sys.exit(3)
    if name == "memory":
        held = []
        while True:  # in pieces, so that no single one fails first
            held.append(bytes(16 << 20))


def plant() -> None:
    """In this process, before anything is mapped."""
    sound = Mapper.steps

    def steps(self: Mapper, decoded: Decoded, **more: Any) -> Generator[None, None, Mapped]:
        for group in decoded.groups:
            for record in group.records:
                name = getattr(getattr(record, "span", None), "name", b"")
                if name.startswith(b"planted: "):
                    yield
                    fault(name.decode().removeprefix("planted: "))
        mapped = yield from sound(self, decoded, **more)
        return mapped

    Mapper.steps = steps  # type: ignore[method-assign]

    async def write(self: BlackholeSink, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        if self.name == "segfault":
            fault("segfault")
        if self.name == "computes":
            await in_thread(lambda: fault("loop"))
        return ()

    BlackholeSink.write = write  # type: ignore[method-assign]


def main() -> None:
    """As the real programs."""
    watch.STUCK_S, watch.STUCK_CPU_S = 1.5, 0.5
    alone.PROGRAM = ("-P", __file__, ALONE)
    child.PROGRAM = ("-P", __file__, LANE)
    role = sys.argv[1]
    if role in (LANE, ALONE):
        plant()
        del sys.argv[1]
    if role == LANE:
        process.main()
    elif role == ALONE:
        alone.main()
    else:
        from weighbridge import cli

        cli.main()


if __name__ == "__main__":
    main()
