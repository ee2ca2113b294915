"""API calls as rows of `api_minutes` (api_minutes.sql): what is counted of a batch, as the body of an insert. Pure."""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from itertools import accumulate, chain, count
from operator import itemgetter
from typing import Any, Final, NamedTuple

from exporter.clickhouse.durations import bucket_of
from exporter.clickhouse.native import block, heading, kind, low_cardinality
from exporter.clickhouse.rows import DAY_US, event_time_us
from exporter.sink import Calls
from mapping.event import API_CALL, UNSAMPLED, Decision, Event
from mapping.sampling.counts import NOT_ESTIMABLE, arrived

OTHER: Final = "(other)"
# Different keys of one minute, over all of its batches: beyond, company, service, plan and status are kept and the
# other texts are OTHER, for so many keys more; then all but tenant, status and direction. A row takes about 25 bytes,
# so that callers who make names up fill at most 2 GB a day; api_events grows faster by that.
MOST_KEYS: Final = 50_000
MOST_FOLDED_KEYS: Final = 10_000
# Minutes of which the keys are known: 5 MB each when they are full. Of one that is older the count begins anew.
MOST_MINUTES: Final = 32

# The keys in the order of the table, from the minute on: where each is in an event.
_KEY = ("company_id", "service", "verb", "route", "status", "error_type", "direction", "hop", "plan_id",
        "application_id", "api_version", "environment", "region", "tenant")  # fmt: skip
_NAMES = ("company_id", "service", "method", "endpoint", "status_code", "error_type", "direction", "hop", "plan",
          "application_id", "api_version", "environment", "region", "tenant")  # fmt: skip
_key_of = itemgetter(*map(Event._fields.index, _KEY))
_KEEPS = (  # by level of folding, the names that stay
    frozenset(_NAMES),
    frozenset({"company_id", "service", "status_code", "direction", "hop", "plan", "tenant"}),
    frozenset({"status_code", "direction", "hop", "tenant"}),
)
_DIRECTION = {"Incoming": "incoming", "Outgoing": "outgoing", "Internal": "internal"}
_MINUTE_NS = 60_000_000_000
# Within these, the start of a call is its time whatever the retention: see exporter.clickhouse.rows.
_SURE_EARLY_NS, _SURE_LATE_NS = 300_000_000_000 - 1000, DAY_US * 500 - 1000

Key = tuple[Any, ...]  # the values of _NAMES, unseen, estimated, folded


class Row(NamedTuple):
    """What is counted of the calls with one key."""

    minute: int  # since 1970
    key: Key
    records: int
    kept: int
    calls: float
    duration_sum_ms: float
    buckets: dict[int, float]


class Weight(NamedTuple):
    """What a call with some decision counts."""

    calls: float
    kept: bool
    unseen: bool
    estimated: bool


def count_calls(calls: Calls, retention_days: int) -> list[Row]:
    """The calls by minute and key: some 2 µs each, most of it in the interpreter's C code.

    retention_days: of the events, whose times these are too.
    """
    counted = [event for event in chain(calls.events, calls.dropped) if event[0] == API_CALL]
    weights: dict[int, Weight] = {}  # by decision
    for event in counted:
        if id(event.decision) not in weights:
            weights[id(event.decision)] = _weight(event.decision, whole=calls.whole)
    numbers: defaultdict[tuple[int, Weight, Key], int] = defaultdict(count().__next__)
    places = [
        numbers[_minute_of(event, retention_days), weights[id(event.decision)], _key_of(event)] for event in counted
    ]
    durations = [event.duration_ms for event in counted]
    in_buckets = Counter(
        (place, bucket_of(duration)) for place, duration in zip(places, durations, strict=True) if duration >= 0
    )
    sums, buckets = [0.0] * len(numbers), [dict[int, float]() for _ in numbers]
    for place, duration in zip(places, durations, strict=True):
        if duration >= 0:
            sums[place] += duration
    found = list(numbers)
    for (place, bucket), records in in_buckets.items():
        buckets[place][bucket] = records * found[place][1].calls
    records_of = Counter(places)
    return [
        Row(
            minute,
            (*key, weight.unseen, weight.estimated, 0),
            records_of[place],
            records_of[place] if weight.kept else 0,
            records_of[place] * weight.calls,
            sums[place] * weight.calls,
            buckets[place],
        )
        for place, (minute, weight, key) in enumerate(found)
    ]


def without_wrong_values(calls: Calls) -> Calls:
    """The calls; of what is counted, values of a wrong kind are none.

    An event that no row can be made of, which a dead letter may be, must not cost the counts of its neighbours.
    """
    return calls._replace(events=list(map(_sound, calls.events)), dropped=list(map(_sound, calls.dropped)))


def _sound(event: Event) -> Event:
    """The event; of what is counted, values of a wrong kind are none."""
    texts: dict[str, Any] = {
        name: "" for name in _KEY if name != "status" and not isinstance(getattr(event, name), str)
    }
    numbers: dict[str, Any] = {
        name: event.received_unix_ns if name == "start_unix_ns" else 0
        for name, least, bound in (
            ("status", 0, 1 << 16),
            ("start_unix_ns", 0, 1 << 64),
            ("duration_ms", -1, float("inf")),
        )
        if not isinstance(getattr(event, name), (int, float)) or not least <= getattr(event, name) < bound
    }
    decision = event.decision if isinstance(event.decision, Decision) else UNSAMPLED
    return event._replace(**texts, **numbers, decision=decision)


def _minute_of(event: Event, retention_days: int) -> int:
    start = event.start_unix_ns
    if -_SURE_EARLY_NS < event.received_unix_ns - start < _SURE_LATE_NS:  # nearly always
        return start // _MINUTE_NS
    return event_time_us(event, retention_days) * 1000 // _MINUTE_NS


def _weight(decision: Decision, *, whole: bool) -> Weight:
    stood_for = arrived(decision)
    if whole or not decision.keep or decision.adjusted_count <= stood_for * (1 + 1e-9):
        return Weight(stood_for, decision.keep, not decision.keep and decision.reason in NOT_ESTIMABLE, False)
    return Weight(decision.adjusted_count, True, False, True)


class Bounds:
    """Keeps the keys of a minute within MOST_KEYS, over the batches of a process."""

    def __init__(self, most: int = MOST_KEYS, most_folded: int = MOST_FOLDED_KEYS) -> None:
        self._most = most, most_folded
        self.folded = 0  # records so far whose texts are not all told apart
        self._known: OrderedDict[int, tuple[set[int], set[int]]] = OrderedDict()  # hashes of keys by minute and level

    def fold(self, rows: Sequence[Row]) -> list[Row]:
        """The same counts; where there are too many keys, with texts that are OTHER and `folded` at the key's end."""
        of_minutes: defaultdict[int, list[Row]] = defaultdict(list)
        for row in rows:
            of_minutes[row.minute].append(row)
        found: list[Row] = []
        for minute, of_minute in of_minutes.items():
            known = self._known.get(minute)
            if known is None:
                known = self._known[minute] = (set(), set())
                if len(self._known) > MOST_MINUTES:
                    self._known.popitem(last=False)
            hashes = {hash(row.key) for row in of_minute}
            if len(known[0] | hashes) <= self._most[0]:
                known[0].update(hashes)
                found += of_minute
            else:
                bounded = [row._replace(key=self._bounded(known, row.key)) for row in of_minute]
                self.folded += sum(row.records for row in bounded if row.key[-1])
                found += bounded
        return found

    def _bounded(self, known: tuple[set[int], set[int]], key: Key) -> Key:
        for level, (hashes, most) in enumerate(zip(known, self._most, strict=True)):
            folded = _folded(key, level)
            hashed = hash(folded)
            if hashed in hashes:
                return folded
            if len(hashes) < most:
                hashes.add(hashed)
                return folded
        return _folded(key, len(known))


def _folded(key: Key, level: int) -> Key:
    if not level:
        return key
    keeps = _KEEPS[level]
    texts = [value if name in keeps or not value else OTHER for name, value in zip(_NAMES, key, strict=False)]
    return (*texts, *key[len(_NAMES) : -1], level)


# -- as rows -------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    *("minute", *_NAMES, "unseen", "estimated", "folded", "batch_id"),
    *("records", "kept", "calls", "duration_sum_ms", "durations"),
)
_FLAG, _STATUS, _SECONDS = kind("UInt8"), kind("UInt16"), kind("UInt32")
_NUMBER, _FLOAT = kind("UInt64"), kind("Float64")
_LATEST_MINUTE: Final = ((1 << 32) - 1) // 60  # of a DateTime
_MARKER: Final[Key] = (*("" if name != "status_code" else 0 for name in _NAMES), False, False, 0)


def insert_block(rows: Sequence[Row], batch_id: int) -> bytes:
    """One block of the Native format: a row a key, and one that says that this batch is counted. rows: of one day.

    One block of one month is one part of the table: all of it is there, or nothing.
    """
    all_rows = [*rows, Row(rows[0].minute, _MARKER, 0, 0, 0.0, 0.0, {})]
    minutes, keys, records, kept, calls, duration_sums, buckets = zip(*all_rows, strict=True)
    values = list(zip(*keys, strict=True))
    content = [_SECONDS.many([60 * min(max(minute, 0), _LATEST_MINUTE) for minute in minutes])]
    content += [_texts(name, column) for name, column in zip(_NAMES, values, strict=False)]
    content += map(_FLAG.many, values[len(_NAMES) :])
    content += [
        _NUMBER.many([0] * len(rows) + [batch_id]),
        *map(_NUMBER.many, (records, kept)),
        *map(_FLOAT.many, (calls, duration_sums)),
        _buckets(buckets),
    ]
    return block(len(all_rows), list(zip(_HEADINGS, content, strict=True)))


def _texts(name: str, values: Sequence[Any]) -> bytes:
    if name == "status_code":
        return _STATUS.many(values)
    if name == "direction":
        values = [_DIRECTION.get(value, value) for value in values]
    try:
        return low_cardinality(values)
    except (
        UnicodeError,
        TypeError,
    ):  # a lone surrogate, or no text: its event is a dead letter, and counted all the same
        texts = [value if isinstance(value, str) else "" for value in values]
        return low_cardinality([text.encode(errors="replace").decode() for text in texts])


def _buckets(values: Sequence[dict[int, float]]) -> bytes:
    """The rows' maps: where each ends in the columns of all keys and of all values."""
    ends = struct.pack(f"<{len(values)}Q", *accumulate(map(len, values)))
    keys = [bucket for row in values for bucket in row]
    return (
        ends + struct.pack(f"<{len(keys)}h", *keys) + _FLOAT.many([calls for row in values for calls in row.values()])
    )


_TYPES: Final = {
    **{"minute": "DateTime('UTC')", "status_code": "UInt16", "unseen": "UInt8", "estimated": "UInt8"},
    **{"folded": "UInt8", "batch_id": "UInt64", "records": "UInt64", "kept": "UInt64", "calls": "Float64"},
    **{"duration_sum_ms": "Float64", "durations": "Map(Int16, Float64)"},
}
_HEADINGS: Final = [heading(name, _TYPES.get(name, "LowCardinality(String)")) for name in COLUMNS]
