"""Which events a sink has already been given: a bounded memory of ids, and the horizon behind which it cannot know."""

from __future__ import annotations

from collections.abc import Sequence


class RecentIds:
    """The last `capacity` to 2 x `capacity` transaction ids, as 64-bit hashes in two generations.

    Answers are certain for events that ended after `horizon_unix_ns`: an event cannot have been received before it
    ended, so a first copy would be remembered. For older ones the destination must be asked. Two different ids share
    a hash with probability 2^-64 per pair (the hash is keyed per process).
    """

    # Senders' clocks run ahead of ours by less than this, nearly always: an event may end after it arrived.
    CLOCK_MARGIN_NS = 1_000_000_000

    def __init__(self, capacity: int, now_unix_ns: int) -> None:
        self._capacity = capacity
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._young_since = now_unix_ns
        self.horizon_unix_ns = now_unix_ns + self.CLOCK_MARGIN_NS

    def seen(self, transaction_id: str) -> bool:
        """True when this id was seen before; remembers it."""
        key = hash(transaction_id)
        young = self._young
        if key in young:
            return True
        young.add(key)
        return key in self._old

    def all_new(self, transaction_ids: Sequence[str]) -> bool:
        """True when none of these was seen before and none is twice among them; then all are remembered, else none.

        Most requests hold nothing but new events: this is one pass in C, a tenth of asking for each.
        """
        keys = set(map(hash, transaction_ids))
        if len(keys) < len(transaction_ids) or not keys.isdisjoint(self._young) or not keys.isdisjoint(self._old):
            return False
        self._young |= keys
        return True

    def __contains__(self, transaction_id: str) -> bool:
        key = hash(transaction_id)
        return key in self._young or key in self._old

    def forget(self, transaction_id: str) -> None:
        key = hash(transaction_id)
        self._young.discard(key)
        self._old.discard(key)

    def turn(self, now_unix_ns: int) -> None:
        """Call between batches: starts a new generation when the young one is full."""
        if len(self._young) >= self._capacity:
            self.horizon_unix_ns = self._young_since + self.CLOCK_MARGIN_NS
            self._old, self._young = self._young, set()
            self._young_since = now_unix_ns
