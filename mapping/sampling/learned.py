"""The rv of traces whose spans carried one, so that their logs share their fate (sampling.md §3, step 2)."""

from __future__ import annotations

MAX_TRACES = 50_000  # per generation; two generations are kept
GENERATION_NS = 150 * 10**9  # an rv is remembered for at least this long after its last span, at most twice


class LearnedRandomness:
    """Trace id -> rv, bounded in number and age. False when nothing is remembered."""

    def __init__(self) -> None:
        self._new: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._turned_ns = 0

    def __bool__(self) -> bool:
        return bool(self._new or self._old)

    def learn(self, trace_id: bytes, rv: int) -> None:
        if len(self._new) >= MAX_TRACES:
            self._turn()
        self._new[trace_id] = rv

    def get(self, trace_id: bytes) -> int:
        """R, or -1 when the trace is not known to have an rv."""
        rv = self._new.get(trace_id)
        return self._old.get(trace_id, -1) if rv is None else rv

    def tick(self, now_ns: int) -> None:
        if now_ns - self._turned_ns >= GENERATION_NS:
            self._turn()
            self._turned_ns = now_ns

    def _turn(self) -> None:
        self._old, self._new = self._new, {}
