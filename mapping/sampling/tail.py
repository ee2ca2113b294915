"""Whole-trace sampling: wait for a trace to be complete, decide once, remember the decision (spec/sampling.md §10).

Pure bookkeeping over any kind of item: no clock, no I/O. Bounded in bytes: when the buffer is full, the
oldest trace is decided with what it has, never thrown away undecided. Late items meet the remembered
decision, whether their trace was kept or dropped; remembering only the kept ones would count late items of
dropped traces twice over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from mapping.sampling.decide import Rate
from mapping.sampling.settings import TailSettings
from mapping.sampling.thresholds import M

Item = TypeVar("Item")


class Released(NamedTuple, Generic[Item]):
    """Items to finish: each is kept if its R is at least max(T_in, T of rate, t_shed)."""

    trace_id: bytes
    items: list[Item]
    rate: Rate
    early: bool  # decided before decision_wait_s was over, on a partial view
    late: bool  # came after the decision
    t_shed: int  # threshold raised under overload while this trace was buffered, 0 normally


class _Verdict(NamedTuple):
    rate: Rate
    early: bool
    t_shed: int


class _Trace(Generic[Item]):
    __slots__ = ("due_s", "items", "size", "t_shed")

    def __init__(self, due_s: float) -> None:
        self.items: list[Item] = []
        self.size = 0
        self.due_s = due_s
        self.t_shed = 0


class TailBuffer(Generic[Item]):
    """decide(items) gives the rate for a trace from all its items so far; it must not look at randomness.

    Times are of one monotonic clock, in seconds. Everything added is released exactly once.
    """

    def __init__(self, settings: TailSettings, decide: Callable[[Sequence[Item]], Rate]) -> None:
        self.bytes = 0
        self.decided_early = 0
        self.shed = Shed(settings.max_bytes / settings.decision_wait_s)
        self._settings = settings
        self._decide = decide
        self._open: dict[bytes, _Trace[Item]] = {}  # in order of first item, hence of due_s
        self._new: dict[int, _Verdict] = {}
        self._old: dict[int, _Verdict] = {}
        self._shared: dict[_Verdict, _Verdict] = {}
        self._turned_s = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def add(
        self, trace_id: bytes, item: Item, size: int, r: int, now_s: float, root: bool = False
    ) -> list[Released[Item]]:
        """Buffer an item; what this made due, early or late comes back.

        trace_id: whatever else tells traces apart may follow its 16 bytes.
        size: bytes it occupies. r: its randomness, only compared with the shed threshold. root: its trace is
        nearly complete.
        """
        self.shed.arrived(size)
        known = self._verdict(trace_id)
        if known is not None:
            return [Released(trace_id, [item], known.rate, known.early, True, known.t_shed)]
        trace = self._open.get(trace_id)
        if trace is None:
            trace = self._open[trace_id] = _Trace(now_s + self._settings.decision_wait_s)
        trace.items.append(item)
        trace.size += size
        trace.t_shed = max(trace.t_shed, self.shed.t)
        self.bytes += size
        if root and self._settings.delay_after_root_s is not None:
            trace.due_s = min(trace.due_s, now_s + self._settings.delay_after_root_s)
        released = []
        # A trace that is shed is shed as a whole, earlier items too, and stays shed: with one T_shed per
        # trace the view that T_dec was made from is the same for every R that can still be kept.
        if r < trace.t_shed or trace.size > self._settings.max_trace_bytes:
            released.append(self._release(trace_id, early=True))
        while self.bytes > self._settings.max_bytes:
            released.append(self._release(next(iter(self._open)), early=True))
        return released

    def tick(self, now_s: float) -> list[Released[Item]]:
        """What is due by now. Call it several times a second."""
        self.shed.tick(now_s)
        if now_s - self._turned_s >= self._settings.remember_s:
            self._turn()
            self._turned_s = now_s
        if self._settings.delay_after_root_s is None:
            due = []
            for trace_id, trace in self._open.items():
                if trace.due_s > now_s:
                    break
                due.append(trace_id)
        else:
            due = [trace_id for trace_id, trace in self._open.items() if trace.due_s <= now_s]
        return [self._release(trace_id, early=False) for trace_id in due]

    def drain(self) -> list[Released[Item]]:
        """Decide everything now, as at SIGTERM."""
        return [self._release(trace_id, early=True) for trace_id in list(self._open)]

    def oldest(self) -> Released[Item] | None:
        """Decide the trace that waits longest now; None when none waits."""
        trace_id = next(iter(self._open), None)
        return None if trace_id is None else self._release(trace_id, early=True)

    def _release(self, trace_id: bytes, *, early: bool) -> Released[Item]:
        trace = self._open.pop(trace_id)
        self.bytes -= trace.size
        self.decided_early += early
        verdict = _Verdict(self._decide(trace.items), early, trace.t_shed)
        verdict = self._shared.setdefault(verdict, verdict)  # a million remembered traces share a few verdicts
        if len(self._new) * 2 >= self._settings.cache:
            self._turn()
        if len(self._shared) > 1000:
            self._shared.clear()
        self._new[_digest(trace_id)] = verdict
        return Released(trace_id, trace.items, verdict.rate, early, False, trace.t_shed)

    def _verdict(self, trace_id: bytes) -> _Verdict | None:
        digest = _digest(trace_id)
        found = self._new.get(digest)
        return self._old.get(digest) if found is None else found

    def _turn(self) -> None:
        self._old, self._new = self._new, {}


class Shed:
    """A threshold that rises when more arrives than can be held for decision_wait_s.

    From arrival bytes per second, not from occupancy: occupancy depends on what was let in, and a rate must
    not depend on its own outcomes. Applies from the next second on.
    """

    def __init__(self, capacity_bytes_per_s: float) -> None:
        self.t = 0
        self._capacity = capacity_bytes_per_s
        self._pace = 0.0
        self._bytes = 0
        self._since_s: float | None = None

    def arrived(self, size: int) -> None:
        self._bytes += size

    def tick(self, now_s: float) -> None:
        if self._since_s is None:
            self._since_s = now_s
        elapsed_s = now_s - self._since_s
        if elapsed_s < 1.0:
            return
        self._pace = 0.5 * self._pace + 0.5 * self._bytes / elapsed_s
        self._bytes, self._since_s = 0, now_s
        # Four hex digits of T: steps of 1/65536 of the traffic.
        kept = min(1.0, self._capacity / self._pace) if self._pace else 1.0
        self.t = (65536 - max(1, int(kept * 65536))) << 40
        assert self.t < M


def _digest(trace_id: bytes) -> int:
    """Of all 16 bytes: by half of them, traces of senders with 64 bit ids would share decisions."""
    return int.from_bytes(hashlib.blake2b(trace_id, digest_size=8).digest(), "big")
