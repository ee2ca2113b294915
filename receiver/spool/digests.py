"""Which requests were seen lately, in about 17 bytes each.

Time is cut in generations of a quarter of `remember_s`; a whole generation is forgotten at once, so a request
is remembered for at least `remember_s` and at most a quarter longer. A generation keeps
16-byte digests in 65,536 buckets, each one bytes object of 14-byte rests: adding and finding are single C
calls (measured: 0.2 and 0.3 µs), and there is no object per request.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from hashlib import blake2b

DIGEST_SIZE = 16
_REST_SIZE = DIGEST_SIZE - 2
_GENERATIONS = 4
_PAIRS = struct.Struct("<H14s")


def scope_of(tenant: str, signal: str) -> bytes:
    """What makes digests of one tenant and signal differ from all others'."""
    return blake2b(f"{signal}\0{tenant}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def digest_of(scope: bytes, body: bytes) -> bytes:
    """16 bytes that stand for (tenant, signal, body)."""
    return blake2b(body, digest_size=DIGEST_SIZE, person=scope).digest()


class _Generation:
    __slots__ = ("buckets", "closed", "count", "opened")

    def __init__(self, opened: float) -> None:
        self.buckets = [b""] * 65536
        self.count = 0
        self.opened = opened
        self.closed = opened  # when the last digest came

    def __contains__(self, digest: bytes) -> bool:
        bucket = self.buckets[digest[0] | digest[1] << 8]
        if not bucket:
            return False
        rest = digest[2:]
        at = bucket.find(rest)
        while at >= 0 and at % _REST_SIZE:
            at = bucket.find(rest, at + 1)
        return at >= 0

    def add(self, digest: bytes) -> None:
        self.buckets[digest[0] | digest[1] << 8] += digest[2:]
        self.count += 1

    def add_all(self, digests: bytes) -> None:
        buckets = self.buckets
        for index, rest in _PAIRS.iter_unpack(digests):
            buckets[index] += rest
        self.count += len(digests) // DIGEST_SIZE


class RequestMemory:
    """Digests of the last `remember_s` seconds by a clock that never jumps. One thread."""

    def __init__(self, remember_s: float, max_requests: int, clock: Callable[[], float]) -> None:
        self._remember_s = remember_s
        self._span_s = remember_s / _GENERATIONS
        self._max = max_requests
        self._clock = clock
        self._started = clock()
        self._current = _Generation(self._started)
        self._older: deque[_Generation] = deque()  # oldest first
        self.forgotten_early = 0

    def __len__(self) -> int:
        return self._current.count + sum(generation.count for generation in self._older)

    def __contains__(self, digest: bytes) -> bool:
        if self._clock() - self._current.opened >= self._span_s:
            self._turn()
        if digest in self._current:
            return True
        return any(digest in generation for generation in self._older)

    def add(self, digest: bytes) -> None:
        self._current.add(digest)
        self._current.closed = self._clock()
        if self._current.count * _GENERATIONS >= self._max:
            self._turn()

    def load(self, digests: bytes, age_s: float) -> None:
        """Take digests that were last certain to be new `age_s` ago: once, at start, oldest first."""
        age_s = max(age_s, 0.0)
        if age_s >= self._remember_s or not digests:
            return
        closed = self._started - int(age_s / self._span_s) * self._span_s
        if not self._older or self._older[-1].closed < closed or self._older[-1].count * _GENERATIONS >= self._max:
            self._older.append(_Generation(closed - self._span_s))
            self._older[-1].closed = closed
        self._older[-1].add_all(digests)
        self._forget(self._clock())

    def _turn(self) -> None:
        now = self._clock()
        if self._current.count:
            self._older.append(self._current)
            self._current = _Generation(now)
        else:
            self._current.opened = now
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._older and now - self._older[0].closed >= self._remember_s:
            self._older.popleft()
        while len(self._older) > 1 and len(self) > self._max:
            self.forgotten_early += self._older.popleft().count
