"""API calls as rows of `api_minutes` (api_minutes.sql): what is counted of a batch, as the body of an insert. Pure.

Durations are counted in buckets that grow by GAMMA, as DDSketch has them (Masson, Rim, Lee 2019): bucket i holds what
is in (GAMMA^(i-1), GAMMA^i] milliseconds, so that 2 GAMMA^i / (GAMMA + 1) is within RELATIVE_ERROR of all of them.
Buckets of any rows add up.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate, chain
from math import ceil, log
from operator import itemgetter
from typing import Any, Final

from exporter.clickhouse.native import block, heading, kind, low_cardinality
from exporter.clickhouse.rows import DAY_US, event_time_us
from exporter.sink import Calls
from mapping.event import API_CALL, Decision, Event
from mapping.sampling.counts import NOT_ESTIMABLE, arrived

RELATIVE_ERROR: Final = 0.01
GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_BUCKET: Final = 1 / log(GAMMA)
# What is shorter than a microsecond, or longer than twelve days, counts as that.
SHORTEST_MS, LONGEST_MS = 0.001, 1e9

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

Key = tuple[Any, ...]  # the values of _NAMES, unseen, estimated


class Cell:
    """What is added up of the calls with one key."""

    __slots__ = ("buckets", "calls", "duration_sum_ms", "kept", "records")

    def __init__(self) -> None:
        self.records = self.kept = 0
        self.calls = self.duration_sum_ms = 0.0
        self.buckets: dict[int, float] = {}

    def merge(self, other: Cell) -> None:
        self.records += other.records
        self.kept += other.kept
        self.calls += other.calls
        self.duration_sum_ms += other.duration_sum_ms
        for bucket, calls in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0.0) + calls


Cells = dict[int, dict[Key, Cell]]  # by minute since 1970


def bucket_of(duration_ms: float) -> int:
    """The bucket that counts this duration."""
    return ceil(log(min(max(duration_ms, SHORTEST_MS), LONGEST_MS)) * _PER_BUCKET)


def cells_of(calls: Calls, retention_days: int) -> Cells:
    """The calls by minute and key: a microsecond each. retention_days: of the events, whose times these are too."""
    minutes: Cells = {}
    weights: dict[int, tuple[float, bool, bool]] = {}  # by decision: calls, unseen, estimated
    for event in chain(calls.events, calls.dropped):
        if event[0] != API_CALL:
            continue
        start, received, decision = event.start_unix_ns, event.received_unix_ns, event.decision
        if -_SURE_EARLY_NS < received - start < _SURE_LATE_NS:
            minute = start // _MINUTE_NS
        else:
            minute = event_time_us(event, retention_days) * 1000 // _MINUTE_NS
        weight = weights.get(id(decision))
        if weight is None:
            weight = weights[id(decision)] = _weight(decision, whole=calls.whole)
        stands_for, unseen, estimated = weight
        cells = minutes.get(minute)
        if cells is None:
            cells = minutes[minute] = {}
        key = (*_key_of(event), unseen, estimated)
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell()
        cell.records += 1
        cell.kept += decision.keep
        cell.calls += stands_for
        duration = event.duration_ms
        if duration >= 0:
            cell.duration_sum_ms += stands_for * duration
            bucket = bucket_of(duration)
            cell.buckets[bucket] = cell.buckets.get(bucket, 0.0) + stands_for
    return minutes


def _weight(decision: Decision, *, whole: bool) -> tuple[float, bool, bool]:
    """What a call with this decision counts, whether no event can tell of it, and whether that is an estimate."""
    stood_for = arrived(decision)
    if whole or not decision.keep or decision.adjusted_count <= stood_for * (1 + 1e-9):
        return stood_for, not decision.keep and decision.reason in NOT_ESTIMABLE, False
    return decision.adjusted_count, False, True


class Bounds:
    """Keeps the keys of a minute within MOST_KEYS, over the batches of a process."""

    def __init__(self, most: int = MOST_KEYS, most_folded: int = MOST_FOLDED_KEYS) -> None:
        self._most = most, most_folded
        self._known: OrderedDict[int, tuple[set[int], set[int]]] = OrderedDict()  # hashes of keys by minute and level

    def folded(self, minutes: Cells) -> Cells:
        """The same counts, with `folded` at the end of each key: 0, or the level from which texts of it are OTHER."""
        found: Cells = {}
        for minute, cells in minutes.items():
            known = self._known.get(minute)
            if known is None:
                known = self._known[minute] = (set(), set())
                if len(self._known) > MOST_MINUTES:
                    self._known.popitem(last=False)
            into = found[minute] = {}
            for key, cell in cells.items():
                bounded = self._bounded(known, key)
                if bounded in into:
                    into[bounded].merge(cell)
                else:
                    into[bounded] = cell
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
        return (*key, 0)
    keeps = _KEEPS[level]
    texts = [value if name in keeps or not value else OTHER for name, value in zip(_NAMES, key, strict=False)]
    return (*texts, *key[len(_NAMES) :], level)


# -- as rows -------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    *("minute", *_NAMES, "unseen", "estimated", "folded", "batch_id"),
    *("records", "kept", "calls", "duration_sum_ms", "durations"),
)
_FLAG, _STATUS, _SECONDS = kind("UInt8"), kind("UInt16"), kind("UInt32")
_NUMBER, _FLOAT = kind("UInt64"), kind("Float64")
_LATEST_MINUTE: Final = ((1 << 32) - 1) // 60  # of a DateTime
_MARKER: Final[Key] = (*("" if name != "status_code" else 0 for name in _NAMES), False, False, 0)


def insert_block(minutes: Cells, batch_id: int, marker_minute: int) -> bytes:
    """One block of the Native format: a row a key, and one that says that this batch is counted.

    One block of one month is one part of the table: all of it is there, or nothing. marker_minute: of its day.
    """
    rows = [(minute, key, cell) for minute, cells in minutes.items() for key, cell in cells.items()]
    rows.append((marker_minute, _MARKER, Cell()))
    keys, cells = list(zip(*(key for _, key, _ in rows), strict=True)), [cell for _, _, cell in rows]
    content = [_SECONDS.many([60 * min(max(row[0], 0), _LATEST_MINUTE) for row in rows])]
    content += [_texts(name, values) for name, values in zip(_NAMES, keys, strict=False)]
    content += map(_FLAG.many, keys[len(_NAMES) :])
    content += [
        _NUMBER.many([0] * (len(rows) - 1) + [batch_id]),
        _NUMBER.many([cell.records for cell in cells]),
        _NUMBER.many([cell.kept for cell in cells]),
        _FLOAT.many([cell.calls for cell in cells]),
        _FLOAT.many([cell.duration_sum_ms for cell in cells]),
        _buckets([cell.buckets for cell in cells]),
    ]
    return block(len(rows), list(zip(_HEADINGS, content, strict=True)))


def _texts(name: str, values: Sequence[Any]) -> bytes:
    if name == "status_code":
        return _STATUS.many(values)
    if name == "direction":
        values = [_DIRECTION.get(value, value) for value in values]
    try:
        return low_cardinality(values)
    except UnicodeError:  # a lone surrogate: its event is a dead letter, and counted all the same
        return low_cardinality([value.encode(errors="replace").decode() for value in values])


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
