"""What is known of calls seen lately, for logs and spans of later requests (`mapping.sampling.of_calls`)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from mapping.sampling.of_calls import KnownCall

# Spans and services of traces, in both generations, about 250 bytes each. Only calls are remembered for which a
# condition of a rule holds: of a rule on errors, the spans of failing calls.
MOST: Final = 100_000


class RecentCalls:
    """Of spans, and of a trace's service, the call that they belong to. False when it is switched off."""

    def __init__(self, seconds: float, most: int = MOST) -> None:
        """seconds: how long a call is remembered, by receive time."""
        self._ns = int(seconds * 1e9)
        self._most = most
        self._young: dict[bytes, tuple[int, KnownCall]] = {}
        self._old: dict[bytes, tuple[int, KnownCall]] = {}

    def __bool__(self) -> bool:
        return self._ns > 0

    @property
    def empty(self) -> bool:
        """True when nothing is known."""
        return not (self._young or self._old)

    def learn(self, key: bytes, call: KnownCall, now: int) -> None:
        """key: of `span_key` or `service_key`. now: receive time, Unix nanoseconds."""
        if len(self._young) >= self._most // 2:
            self._old, self._young = self._young, {}
        known = self._find(key)
        if known is None or known[0] <= now:  # a request that is read again takes nothing back
            self._young[key] = now, call

    def get(self, key: bytes, now: int) -> KnownCall | None:
        found = self._find(key)
        return None if found is None or now - found[0] > self._ns else found[1]

    def _find(self, key: bytes) -> tuple[int, KnownCall] | None:
        return self._young.get(key) or self._old.get(key)

    def clear(self) -> None:
        self._young, self._old = {}, {}


def span_key(trace_id: bytes, span_id: bytes, tenant: str) -> bytes:
    return trace_id + span_id + tenant.encode()


def service_key(trace_id: bytes, service: str, tenant: str) -> bytes:
    """For logs that name a trace and no span. Of one length whatever the service is called, as 50,000 are kept."""
    named = blake2b(service.encode("utf-8", "replace"), digest_size=16).digest()
    return b"\0".join((trace_id, b"service", named, tenant.encode()))
