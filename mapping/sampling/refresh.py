"""When to fetch the remote sampling configuration again (spec/sampling.md §8). The caller waits and has the clock.

Every response to an event names the configuration that is current, by ETag. Collector nodes can lag behind
each other, so an ETag that equals the previous one is no news.
"""

from __future__ import annotations

import math

MIN_INTERVAL_S = 60.0  # between two fetches, whatever happens
JITTER_SHARE = 0.2  # up to this much longer, so that a fleet does not fetch in step


class Refresh:
    """Times are of one monotonic clock, in seconds. jitter: 0 <= number < 1, drawn once per instance."""

    def __init__(self, poll_s: float, jitter: float) -> None:
        self.current = ""
        self.previous = ""
        self._poll_s = poll_s
        self._stretch = 1 + JITTER_SHARE * jitter
        self._fetched_s = -math.inf
        self._failures = 0
        self._news = False

    def resume(self, etag: str) -> None:
        """Start from a configuration kept on disk: still fetch at once, but know its ETag."""
        self.current = etag

    def seen(self, etag: str) -> None:
        """An event response named this ETag."""
        if etag and etag not in (self.current, self.previous):
            self._news = True

    def due_s(self) -> float:
        """When to fetch next; -inf before the first fetch."""
        if self._failures:
            doublings = min(self._failures - 1, 20)
            wait = min(MIN_INTERVAL_S * (1 << doublings), max(self._poll_s, MIN_INTERVAL_S))
        else:
            wait = MIN_INTERVAL_S if self._news else self._poll_s
        return self._fetched_s + wait * self._stretch

    def started(self, now_s: float) -> None:
        """A fetch is under way; there is never a second one."""
        self._fetched_s = now_s

    def succeeded(self, etag: str) -> None:
        """A body was parsed; only now does its ETag count."""
        if etag != self.current:
            self.previous, self.current = self.current, etag
        self._failures = 0
        self._news = False

    def failed(self) -> None:
        self._failures += 1
