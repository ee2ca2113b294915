"""How much may be taken in at once, and by whom.

Two limits with two answers: a tenant over its own quota gets 429, which others never see; when all of us together are
full everyone gets 503. Both are told to come back in a second: clients give up when told to wait longer. Bodies that
are still arriving are bounded by peer too: without keys all are one tenant, and who sends slowly holds what has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from receiver.counts import ReceiverCounts
from receiver.errors import Overloaded, Throttled
from receiver.settings import ReceiverSettings, TenantSettings

_UNLIMITED = TenantSettings()


class Holder(Protocol):
    """A request: whose it is, and how many of its bytes are counted as in flight."""

    tenant: str
    peer: str
    held: int
    arriving: int  # of these, those of a body that is not complete


class Budgets:
    """Bytes in flight and records a second. Used on the event loop only."""

    def __init__(self, settings: ReceiverSettings, counts: ReceiverCounts, monotonic_s: Callable[[], float]) -> None:
        self._limit = settings.max_in_flight_bytes
        self._tenants = settings.tenants
        self._counts = counts
        self._by_tenant: Counter[str] = Counter()
        self._peer_limit = settings.max_arriving_bytes_per_peer
        self._arriving: Counter[str] = Counter()  # by peer; none is 0
        now = monotonic_s()
        self._buckets = {
            name: _Bucket(tenant.max_records_per_s, tenant.burst_s, now)
            for name, tenant in settings.tenants.items()
            if tenant.max_records_per_s is not None
        }
        self._now = monotonic_s

    def admit(self, tenant: str) -> None:
        """Raises Throttled while the tenant has sent more records than its rate allows."""
        bucket = self._buckets.get(tenant)
        if bucket is not None and bucket.in_debt(self._now()):
            raise Throttled(f"over {bucket.rate:g} records a second; send more slowly", 1)

    def charge(self, tenant: str, records: int) -> None:
        """Records that were taken in. How many a request holds is known late, so its last one may go into debt."""
        bucket = self._buckets.get(tenant)
        if bucket is not None:
            bucket.take(records, self._now())

    def hold(self, holder: Holder, size: int) -> None:
        """Count bytes of a request as in flight until it is released.

        A request that is alone is always taken, however long. Raises Throttled or Overloaded; then holds none of it.
        """
        tenant = holder.tenant
        total, own = self._counts.in_flight_bytes, self._by_tenant[tenant]
        quota = self._tenants.get(tenant, _UNLIMITED).max_in_flight_bytes
        if quota is not None and own > holder.held and own + size > quota:
            raise Throttled(f"more than {quota} bytes in flight; wait for answers", 1)
        if total > holder.held and total + size > self._limit:
            raise Overloaded("too many bytes in flight")
        if total > own and own + size > self._limit // 2:
            raise Overloaded("too many bytes in flight from one tenant")
        self._by_tenant[tenant] = own + size
        self._counts.in_flight_bytes = total + size
        holder.held += size

    def arrive(self, holder: Holder, size: int) -> None:
        """As `hold`, for a part of a body that is not complete. One body of a peer is always taken, however long."""
        own = self._arriving.get(holder.peer, 0)
        if own > holder.arriving and own + size > self._peer_limit:
            raise Overloaded("too many bytes of unfinished requests from one address")
        self.hold(holder, size)
        self._arriving[holder.peer] = own + size
        holder.arriving += size

    def arrived(self, holder: Holder) -> None:
        """The body is complete, or nothing more of it will be read."""
        left = self._arriving.get(holder.peer, 0) - holder.arriving
        holder.arriving = 0
        if left > 0:
            self._arriving[holder.peer] = left
        else:
            self._arriving.pop(holder.peer, None)

    def release(self, holder: Holder) -> None:
        """Nothing of the request is in flight any more."""
        self.arrived(holder)
        self._by_tenant[holder.tenant] -= holder.held
        self._counts.in_flight_bytes -= holder.held
        holder.held = 0


class _Bucket:
    """A token bucket that may be overdrawn by one request."""

    __slots__ = ("_capacity", "_filled_at", "_tokens", "rate")

    def __init__(self, rate: float, burst_s: float, now: float) -> None:
        self.rate = rate
        self._capacity = rate * burst_s
        self._tokens = self._capacity
        self._filled_at = now

    def in_debt(self, now: float) -> bool:
        self._fill(now)
        return self._tokens <= 0

    def take(self, records: int, now: float) -> None:
        self._fill(now)
        self._tokens -= records

    def _fill(self, now: float) -> None:
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
