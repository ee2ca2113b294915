"""Whether another process of ours is stuck, or takes more memory than it may: looked at from outside, by the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from weighbridge.lanes.marks import Working
from weighbridge.progress import Progress

# Nothing has moved for so long: 10 s of the clock, of which it used at least half the CPU time of one core, or it waits
# for something that does not come. A machine that is asleep or has no time for it is no fault of a request.
STUCK_S = 10.0
STUCK_CPU_S = 5.0
DEAD_S = 60.0  # also for a start
LOOK_S = 0.5  # between two looks


class Usage(NamedTuple):
    """Of a process since it was started."""

    cpu_s: float
    rss_bytes: int


class Watch:
    """Of one life of a process."""

    def __init__(
        self,
        progress: Progress,
        memory_bytes: int,
        now_s: float,
        working: Callable[[], Sequence[Working]] = lambda: (),
        thread_cpu_s: Callable[[int], float] = lambda thread: 0.0,
    ) -> None:
        """working: which sinks have work in threads. thread_cpu_s: what a thread has computed so far."""
        self.stuck: Working | None = None  # the sink whose work in a thread is why
        self._working = working
        self._thread_cpu_s = thread_cpu_s
        self._began: dict[str, tuple[Working, float, float]] = {}  # by sink, with clock and CPU of its thread then
        self._progress = progress
        self._memory_bytes = memory_bytes
        self._state = progress.read()
        self._moved_s = now_s
        self._moved_cpu_s = 0.0

    def look(self, now_s: float, usage: Usage) -> str:
        """Why it must be ended; "" while all is well."""
        state = self._progress.read()
        if state != self._state:
            self._state, self._moved_s, self._moved_cpu_s = state, now_s, usage.cpu_s
        if usage.rss_bytes > self._memory_bytes:
            return f"it takes {usage.rss_bytes >> 20} MiB of memory, more than {self._memory_bytes >> 20}"
        still_s, used_s = now_s - self._moved_s, usage.cpu_s - self._moved_cpu_s
        begun = any(state)  # before that it loads our modules, which takes long on a slow machine
        if still_s >= DEAD_S or (begun and still_s >= STUCK_S and used_s >= STUCK_CPU_S):
            return f"nothing has moved for {still_s:.0f} s"
        return self._stuck_in_a_thread(now_s)

    def _stuck_in_a_thread(self, now_s: float) -> str:
        """The event loop turns, and a sink computes on and on beside it."""
        for one in self._working():
            before, since_s, cpu_s = self._began.get(one.sink, (None, 0.0, 0.0))
            if one != before:
                self._began[one.sink] = one, now_s, self._thread_cpu_s(one.thread)
            elif now_s - since_s >= STUCK_S and self._thread_cpu_s(one.thread) - cpu_s >= STUCK_CPU_S:
                self.stuck = one
                return f"has a call of sink {one.sink} that computes for {now_s - since_s:.0f} s by now"
        return ""
