"""Which events a sink has already been given: a bounded memory of ids, and what came before it.

No clock decides: a copy of an event carries the same end, so an event that ended after everything that came before the
memory cannot be among it, however wrong its sender's clock and ours are. The journal keeps what that needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, gt
from typing import Any

from mapping.event import Event

# Further ahead of our clock than this, an end says nothing about when its copies come: it is noted by its hour, or one
# sender with a clock of 2090 would make every event look old.
AHEAD_NS = 300_000_000_000
HOUR_NS = 3_600_000_000_000
# Hours noted, 100 bytes each; beyond it the latest of them counts for all before it, so that more is asked than needed.
MOST_HOURS = 1024
# A copy of an event that has no time of its own is looked for this far back, as far as the store looks.
UNTIMED_REACH_NS = 2 * 86_400_000_000_000

_end = attrgetter("end_unix_ns")
_start = attrgetter("start_unix_ns")
_received = attrgetter("received_unix_ns")
_RECEIVED = Event._fields.index("received_unix_ns")
_new = tuple.__new__  # a quarter of the cost of _replace


def is_untimed(event: Event) -> bool:
    """Whether its time is our clock's: a copy of it has another."""
    return event.received_unix_ns in (event.end_unix_ns, event.start_unix_ns)


class Horizon:
    """What is known of events whose ids are not in memory: enough to tell of some that they are not among them."""

    def __init__(self) -> None:
        self.newest_end_ns = 0
        self.newest_untimed_ns = 0  # receive time
        self.ahead_hours: dict[int, None] = {}  # of the ends of events that were further ahead than AHEAD_NS

    def note(self, events: Sequence[Event]) -> None:
        """These came. All of one request: 0.1 us an event."""
        if not events:
            return
        received = events[0].received_unix_ns
        newest = max(map(_end, events))
        if newest <= received + AHEAD_NS:
            self.newest_end_ns = max(self.newest_end_ns, newest)
        else:
            for end in map(_end, events):
                if end <= received + AHEAD_NS:
                    self.newest_end_ns = max(self.newest_end_ns, end)
                else:
                    self.ahead_hours[end // HOUR_NS] = None
            self._bound()
        if received > self.newest_untimed_ns and (received in map(_end, events) or received in map(_start, events)):
            self.newest_untimed_ns = received

    def merge(self, other: Horizon) -> None:
        """What the other knows of is beyond memory, too."""
        self.newest_end_ns = max(self.newest_end_ns, other.newest_end_ns)
        self.newest_untimed_ns = max(self.newest_untimed_ns, other.newest_untimed_ns)
        self.ahead_hours |= other.ahead_hours
        self._bound()

    def among(self, events: Sequence[Event]) -> list[Event]:
        """Those that may have come before, of the events of one request."""
        untimed = self.newest_untimed_ns or self.ahead_hours
        if not untimed and min(map(_end, events), default=0) > self.newest_end_ns:  # nearly always
            return []
        return [event for event in events if self.may_have_come(event)]

    def may_have_come(self, event: Event) -> bool:
        """False when a first copy of this event is certainly not among those noted."""
        if event.end_unix_ns <= self.newest_end_ns or event.end_unix_ns // HOUR_NS in self.ahead_hours:
            return True
        return is_untimed(event) and self.newest_untimed_ns > event.received_unix_ns - UNTIMED_REACH_NS

    def as_first_came(self, events: Sequence[Event]) -> list[Event]:
        """How first copies may have come, of those that may have been further ahead of our clock than these are.

        The store files such a copy under its receive time, not under that of the later one.
        """
        if not self.ahead_hours and not any(map(gt, map(_start, events), map(_received, events))):  # nearly always
            return []
        found: list[Event] = []
        for event in events:
            start, received = event.start_unix_ns, event.received_unix_ns
            first = start - AHEAD_NS - 1000
            if first < received and (start > received or event.end_unix_ns // HOUR_NS in self.ahead_hours):
                found.append(_new(Event, (*event[:_RECEIVED], first, *event[_RECEIVED + 1 :])))
        return found

    def plain(self) -> tuple[Any, ...]:
        """For JSON."""
        return self.newest_end_ns, self.newest_untimed_ns, tuple(self.ahead_hours)

    @staticmethod
    def of(plain: Sequence[Any]) -> Horizon:
        """The horizon of `plain`; an empty one for what an earlier version wrote."""
        horizon = Horizon()
        if plain:
            horizon.newest_end_ns, horizon.newest_untimed_ns = int(plain[0]), int(plain[1])
            horizon.ahead_hours = dict.fromkeys(map(int, plain[2]))
        return horizon

    def _bound(self) -> None:
        while len(self.ahead_hours) > MOST_HOURS:
            hour = min(self.ahead_hours)
            del self.ahead_hours[hour]
            self.newest_end_ns = max(self.newest_end_ns, (hour + 1) * HOUR_NS)


class RecentIds:
    """The last `capacity` to 2 x `capacity` transaction ids, as 64-bit hashes in two generations.

    Of events for which `before.may_have_come` is true the destination must be asked. Two different ids share a hash
    with probability 2^-64 per pair (the hash is keyed per process).

    before: of the events that earlier processes took. now: the wall clock; what ended a second after it or earlier is
    asked about, too, because a journal may be new and the destination not.
    """

    # Senders' clocks run ahead of ours by less than this, nearly always: an event may end after it arrived.
    CLOCK_MARGIN_NS = 1_000_000_000

    def __init__(self, capacity: int, now_unix_ns: int, before: Horizon | None = None) -> None:
        self._capacity = capacity
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._young_came = Horizon()
        self._old_came = Horizon()
        self.before = Horizon()
        self.before.newest_end_ns = now_unix_ns + self.CLOCK_MARGIN_NS
        if before is not None:
            self.before.merge(before)

    def note(self, came: Horizon) -> None:
        """Of events whose ids are about to be remembered."""
        self._young_came.merge(came)

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

    def turn(self) -> None:
        """Call between batches: starts a new generation when the young one is full."""
        if len(self._young) >= self._capacity:
            self.before.merge(self._old_came)
            self._old, self._young = self._young, set()
            self._old_came, self._young_came = self._young_came, Horizon()
