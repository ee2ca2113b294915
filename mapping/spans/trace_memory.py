"""Users and companies of traces seen lately, for spans and logs of later requests (spec/mapping.md §5.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Final

NO_OWNER: Final = ("", "")
MANY: Final = "\0many"  # in place of an id where several are named

Owner = tuple[str, str]  # (user_id, company_id)
_Known = tuple[int, str, str]  # (receive time, user_id, company_id)


class TraceMemory:
    """Whom each trace names. One that names two users (or companies) lends none. False when it is switched off.

    What a request says is laid aside as it is, and sorted by trace when something is looked up: where all spans name
    their user, nobody ever asks (0.4 µs a span). There are two generations, as in `mapping.otlp.wire.AttributeCache`: a
    full one becomes the old one, and so does one older than a trace is remembered for.
    """

    def __init__(self, seconds: float, limit: int = 50_000, most_characters: int = 8 << 20) -> None:
        """limit: spans laid aside, and traces in both generations; 500 bytes each, so 50 MB at most.

        most_characters: of the ids of the one and of the other, which may be long.
        """
        self._ns = int(seconds * 1e9)
        self._limit = limit
        self._most_characters = most_characters
        # (receive time, traces, users, companies, characters of both) of requests that are not sorted yet, the oldest
        # first
        self._aside: deque[tuple[int, Sequence[bytes], Sequence[str], Sequence[str], int]] = deque()
        self._spans_aside = 0
        self._characters_aside = 0
        # Trace id and tenant -> (receive time, user, company), MANY for several. Tuples of texts and numbers leave the
        # garbage collector's lists the first time that it looks at them.
        self._young: dict[bytes, _Known] = {}
        self._old: dict[bytes, _Known] = {}
        self._since = 0
        self._characters = 0  # of the ids that came into the young generation
        self.empty = True  # no trace is known

    def __bool__(self) -> bool:
        return self._ns > 0

    def knows(self, traces: Sequence[bytes], tenant: str) -> bool:
        """True when some of the tenant's traces was told of."""
        if self._aside:
            self._sort()
        asked = set(_keys(traces, tenant))
        return not (self._young.keys().isdisjoint(asked) and self._old.keys().isdisjoint(asked))

    def fill(self, traces: Sequence[bytes], owners: Sequence[Owner], now: int, tenant: str) -> Sequence[Owner]:
        """The owners of spans, gaps filled with what their traces are known for among the tenant's own."""
        if self._aside:
            self._sort()
        keys = _keys(traces, tenant)
        asked = set(keys)  # spans of a trace come together
        found = ((key, self._lends(key, now)) for key in asked if key in self._young or key in self._old)
        lent = {key: owner for key, owner in found if owner is not NO_OWNER}
        if not lent:
            return owners
        return [
            owner
            if (owner[0] and owner[1]) or (lends := lent.get(key)) is None
            else (owner[0] or lends[0], owner[1] or lends[1])
            for key, owner in zip(keys, owners, strict=True)
        ]

    def learn(
        self, traces: Sequence[bytes], users: Sequence[str], companies: Sequence[str], now: int, tenant: str
    ) -> None:
        """Spans of these traces tell whose they are; "" says nothing."""
        characters = len("".join(users)) + len("".join(companies))
        self._aside.append((now, _keys(traces, tenant) if tenant else traces, users, companies, characters))
        self._spans_aside += len(traces)
        self._characters_aside += characters
        while len(self._aside) > 1 and (
            self._spans_aside > self._limit or self._characters_aside > self._most_characters
        ):
            _, keys, _, _, characters = self._aside.popleft()
            self._spans_aside -= len(keys)
            self._characters_aside -= characters
        self.empty = False

    def of_one(self, trace: bytes, owner: Owner, now: int, tenant: str, *, learns: bool = True) -> Owner:
        """The owner of one record, as `fill` has it. learns: what it names is learned as well, and at once."""
        key = trace + tenant.encode() if tenant else trace
        if self._aside:
            self._sort()
        learns = learns and owner != NO_OWNER
        if learns:
            self._make_room(now)
            self.empty = False
        if key not in self._young and key not in self._old:  # nobody has told of it yet, as of most
            if learns:
                self._young[key] = (now, *owner)
                self._characters += len(owner[0]) + len(owner[1])
            return owner
        if learns:
            self._learn(key, *owner, now)
        if owner[0] and owner[1]:
            return owner
        lends = self._lends(key, now)
        return owner[0] or lends[0], owner[1] or lends[1]

    def _sort(self) -> None:
        """Puts what was laid aside where it is found."""
        for now, keys, users, companies, characters in self._aside:
            self._make_room(now)
            self._characters += characters
            told = dict(zip(keys, zip(repeat(now), users, companies), strict=True))
            new = len(told) == len(keys) and self._young.keys().isdisjoint(told) and self._old.keys().isdisjoint(told)
            if new and not ("" in users and "" in companies):
                self._young.update(told)
            else:
                for key, user, company in zip(keys, users, companies, strict=True):
                    if user or company:
                        self._learn(key, user, company, now)
        self._aside.clear()
        self._spans_aside = self._characters_aside = 0
        self.empty = not (self._young or self._old)

    def _make_room(self, now: int) -> None:
        full = len(self._young) >= self._limit // 2 or self._characters >= self._most_characters // 2
        if full or now - self._since > self._ns:
            self._old, self._young, self._since, self._characters = self._young, {}, now, 0

    def _learn(self, key: bytes, user: str, company: str, now: int) -> None:
        known = self._young.get(key) or self._old.get(key)
        if known is not None and now - known[0] <= self._ns:
            when, its_user, its_company = known
            if (not user or user == its_user) and (not company or company == its_company):
                return
            self._young[key] = when, _merge(its_user, user), _merge(its_company, company)
        else:
            self._young[key] = now, user, company

    def _lends(self, key: bytes, now: int) -> Owner:
        """What a trace is known for, NO_OWNER for nothing."""
        known = self._young.get(key) or self._old.get(key)
        if known is None or now - known[0] > self._ns:
            return NO_OWNER
        _, user, company = known
        return user if user != MANY else "", company if company != MANY else ""


def _keys(traces: Sequence[bytes], tenant: str) -> Sequence[bytes]:
    if not tenant:
        return traces
    whose = tenant.encode()
    return [trace + whose for trace in traces]


def _merge(known: str, told: str) -> str:
    return known if not told or told == known else told if not known else MANY
