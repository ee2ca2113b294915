"""What runs beside the requests for as long as the bridge does: no task of it ends unseen.

A task that ends by an unexpected exception is told in the log, counted in `weighbridge_task_failures_total`, and begun
again after a pause that doubles from time to time. Meanwhile `down` says so, and /readyz with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_S = 1.0
# Longest: a fault that nobody has mended for this long is there for good, and trying costs something.
LONGEST_PAUSE_S = 300.0
# A task that ran for this long was well: its next pause is the first again.
HEALTHY_S = 60.0
# The stack of the same failure of one task is logged this often; each failure has its line.
STACK_S = 600.0

Make = Callable[[], Awaitable[None]]
Spawn = Callable[[str, Make], "asyncio.Task[None]"]


class Tasks:
    """Of one bridge. failures: unexpected ends by task, since the start. down: what does not run now, in words."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self.failures: Counter[str] = Counter()
        self.down: dict[str, str] = {}
        self._stack_told: dict[tuple[str, type], float] = {}

    def keep(self, name: str, make: Make, first_pause_s: float = FIRST_PAUSE_S) -> asyncio.Task[None]:
        """Run `make()` until it returns or the task is cancelled; after an exception again, and again."""
        return asyncio.create_task(self._keep_running(name, make, first_pause_s), name=name)

    def once(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it once, also when nobody waits for its end any more: an exception is told and counted, and raised."""

        async def watched() -> T:
            try:
                return await work
            except Exception as error:
                self.failed(name, error, "it is not begun again")
                raise

        task = asyncio.create_task(watched(), name=name)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # else it is told a second time
        return task

    async def closed(self, name: str, closing: Awaitable[None]) -> None:
        """Close something whose failure must not keep others from being closed."""
        try:
            await closing
        except Exception as error:
            self.failed(name, error, "the rest is closed all the same")

    def failed(self, name: str, error: Exception, then: str) -> None:
        """Count and tell an exception that nobody expected."""
        self.failures[name] += 1
        now = self._clock_s()
        kind = name, type(error)
        stack = now - self._stack_told.get(kind, float("-inf")) >= STACK_S
        if stack:
            self._stack_told[kind] = now
        log.error("%s ended by %s: %s", name, told(error), then, exc_info=error if stack else None)

    async def _keep_running(self, name: str, make: Make, first_pause_s: float) -> None:
        pause_s = first_pause_s
        try:
            while True:
                began = self._clock_s()
                self.down.pop(name, None)
                try:
                    await make()
                    return
                except Exception as error:
                    if self._clock_s() - began >= HEALTHY_S:
                        pause_s = first_pause_s
                    self.failed(name, error, f"it begins again in {pause_s:.0f} s")
                    self.down[name] = f"{name} ended by {told(error)}, the {_nth(self.failures[name])} time"
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            self.down.pop(name, None)


def told(error: Exception) -> str:
    """An exception for people: its kind, and its text where that is the system's own and not about a record."""
    if isinstance(error, OSError):
        return f"{type(error).__name__} ({error.strerror or error})"
    return type(error).__name__


def _nth(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
