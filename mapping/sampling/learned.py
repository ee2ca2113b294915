"""The rv of traces whose spans carried one, so that their logs share their fate (spec/sampling.md §3, step 2).

An rv is learned from a span that upstream let through, so it is known to be at least that span's threshold: traces with
a smaller one left no span to learn from. The threshold is remembered with it, or logs of such traces would count too
much (at 50 % upstream and here, 1.5 times).
"""

from __future__ import annotations

MAX_TRACES = 50_000  # per generation; two generations are kept
GENERATION_NS = 150 * 10**9  # an rv is remembered for at least this long after its last span, at most twice
UNKNOWN = (-1, 0)


class LearnedRandomness:
    """Trace id, and the tenant behind it, -> rv and the smallest threshold it is known to have passed.

    Bounded in number and age. `empty`: nothing is remembered.
    """

    def __init__(self) -> None:
        self._new: dict[bytes, tuple[int, int]] = {}
        self._old: dict[bytes, tuple[int, int]] = {}
        self._turned_ns = 0
        self.empty = True

    def learn(self, trace_id: bytes, rv: int, passed: int) -> None:
        known = self.get(trace_id)
        if known[0] == rv:
            passed = min(passed, known[1])
        if len(self._new) >= MAX_TRACES:
            self._turn()
        self._new[trace_id] = rv, passed
        self.empty = False

    def get(self, trace_id: bytes) -> tuple[int, int]:
        """(R, threshold); R is -1 when the trace is not known to have an rv."""
        found = self._new.get(trace_id)
        return self._old.get(trace_id, UNKNOWN) if found is None else found

    def tick(self, now_ns: int) -> None:
        if now_ns - self._turned_ns >= GENERATION_NS:
            self._turn()
            self._turned_ns = now_ns

    def _turn(self) -> None:
        self._old, self._new = self._new, {}
        self.empty = not self._old
