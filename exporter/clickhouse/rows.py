"""Events as the body of an insert, in the names and types of schema.sql. Pure: no client, no clock.

A column that would hold nothing but its default is left out of the insert; most batches fill half of the columns.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from operator import sub
from typing import Any, NamedTuple

from exporter.clickhouse.native import MOST_BY_INDEX, Kind, block, heading, kind, low_cardinality_by, nullable_floats
from exporter.clickhouse.schema import insert_types
from mapping.event import UNSAMPLED, Decision, Event

DAY_US = 86_400_000_000
SKEW_US = 300_000_000  # spec/mapping.md §9: more than 5 minutes ahead of our clock, and the receive time counts
CLAMPED_REACH_US = 2 * DAY_US  # a copy of an event whose time is our clock's is looked for this far back
# A clock that was never set says 1970: before 2024 none is right. A sender's may be, until 2100.
CLOCK_UNSET_US = 1_704_067_200_000_000
_LAST_US = 4_102_444_800_000_000
_DAY_NS = DAY_US * 1000
# Within these, a start is the event time however long the table keeps its rows.
_SURE_EARLY_NS = SKEW_US * 1000 - 1000
_SURE_LATE_NS = _DAY_NS // 2 - 1000
CLAMPED = "event_time_clamped"  # added to `flags` where event_time is not the sender's start time

# Rows in a block. Small, because what is looked at twice is then still in the processor's cache, because memory of this
# size is used again instead of being given back to the system and fetched anew (up to 1 µs a row with 10,000), and
# because the longest call into C, 0.4 µs a row, keeps the event loop waiting.
_BLOCK_ROWS = 1024

Content = tuple[bytes, bytes]  # name and type of a column, its values


def event_time_us(event: Event, retention_days: int) -> int:
    """The time the store files this event under: microseconds since the epoch, a function of the event alone.

    The sender's start time; the receive time when the start is more than 5 minutes later (spec/mapping.md §9), unless
    it is our clock that cannot be right; at the earliest a day after the point where the table's retention would delete
    the row at once (spec/store.md §2.4).
    """
    start = event.start_unix_ns // 1000
    received = event.received_unix_ns // 1000
    if start > received + SKEW_US:
        return start if received < CLOCK_UNSET_US <= start < _LAST_US else received
    return max(start, received - _reach_us(retention_days))


def event_day(event: Event, retention_days: int) -> int:
    """The UTC day of `event_time_us`, in days since the epoch: the partition. One batch holds one day."""
    if -_SURE_EARLY_NS < event.received_unix_ns - event.start_unix_ns < _SURE_LATE_NS:  # nearly always
        return event.start_unix_ns // _DAY_NS
    return event_time_us(event, retention_days) // DAY_US


def have_sure_times(starts: Sequence[int], received: Sequence[int]) -> bool:
    """Whether `event_time_us` of every event of these clocks, at least one, is its start: nearly always, seen in C."""
    waited = list(map(sub, received, starts))
    return bool(min(waited) > -_SURE_EARLY_NS and max(waited) < _SURE_LATE_NS)


def is_clamped(event: Event, time_us: int) -> bool:
    """Whether `time_us`, the event's `event_time_us`, is not the sender's start time."""
    return time_us != event.start_unix_ns // 1000


def _reach_us(retention_days: int) -> int:
    whole = retention_days * DAY_US
    return max(whole - DAY_US, whole // 2)


class Insert(NamedTuple):
    """The columns that are written, and their rows in the Native format, as blocks that follow each other."""

    columns: tuple[str, ...]
    blocks: Iterator[bytes]


def insert(events: Sequence[Event], batch_id: int, retention_days: int) -> Insert:
    """Everything about these events, at least one, that is not a default.

    Raises what `exporter.clickhouse.native` raises for values that do not fit their column.
    """
    size = -(-len(events) // -(-len(events) // _BLOCK_ROWS))
    parts = [events[first : first + size] for first in range(0, len(events), size)]
    contents = []
    for part in parts:
        contents.append(_contents(part, batch_id, retention_days))
        time.sleep(0)  # the event loop gets its turn now, not when the interpreter's 5 ms are over
    filled: set[str] = set().union(*contents)
    names = tuple(name for name in _PLANS if name in filled)
    return Insert(names, map(partial(_block, names), map(len, parts), contents))


def is_text(text: str) -> bool:
    """False for a lone surrogate, which no encoding has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unwritable(events: Sequence[Event], retention_days: int) -> dict[int, str]:
    """Places of the events for which `insert` raises, each with the reason. A look at halves: most are well."""
    wrong: dict[int, str] = {}
    parts = [(0, len(events))]
    while parts:
        first, end = parts.pop()
        try:
            for _ in insert(events[first:end], 0, retention_days).blocks:
                pass
        except MemoryError:
            raise
        except Exception as error:
            if end - first == 1:
                wrong[first] = f"the row cannot be encoded ({type(error).__name__})"
            else:
                half = (first + end) // 2
                parts += [(half, end), (first, half)]
    return wrong


def _block(names: Sequence[str], rows: int, contents: dict[str, Content | None]) -> bytes:
    return block(rows, [contents.pop(name, None) or _PLANS[name].same(rows, _PLANS[name].default) for name in names])


def _contents(events: Sequence[Event], batch_id: int, retention_days: int) -> dict[str, Content]:
    """The columns that hold more than their default."""
    fields: tuple[tuple[Any, ...], ...] = tuple(zip(*events, strict=True))
    of: Any = Event(*fields)  # type: ignore[arg-type]  # of every field the values of all rows
    found = {plan.name: plan.content(fields[place]) for plan, place in _OF_EVENT}
    found["batch_id"] = _PLANS["batch_id"].same(len(events), batch_id)
    found["duration_ms"] = _durations(of.duration_ms)
    found["direction"] = _PLANS["direction"].content(_directions(of.direction))
    times, flags = _times(events, of, retention_days)
    found |= times
    found["flags"] = _PLANS["flags"].content(flags)
    found |= _decided(of.decision)
    request, event = _PLANS["request_id"], found["event_id"]
    if event and of.request_id == of.transaction_id:  # no request had an id of its own; this is seen at a glance
        found["request_id"] = request.heading, event[1]
    else:
        found["request_id"] = request.content(of.request_id)
    return {name: content for name, content in found.items() if content}


def _times(events: Sequence[Event], of: Any, retention_days: int) -> tuple[dict[str, Content], Sequence[Any]]:
    """The columns of the clocks, and the flags with those that a wrong clock adds."""
    starts: Sequence[int] = of.start_unix_ns
    clocks: set[int] = set(of.received_unix_ns)  # a few
    ticks = _TICKS.many(starts)
    found = {
        "start_unix_ns": (_PLANS["start_unix_ns"].heading, ticks),
        "received_at": (_RECEIVED_NS, _TICKS.many(of.received_unix_ns)),
    }
    in_order = max(starts) // 1000 <= min(clocks) // 1000 + SKEW_US
    if in_order and min(starts) // 1000 >= max(clocks) // 1000 - _reach_us(retention_days):
        found["event_time"] = _EVENT_TIME_NS, ticks  # the rule of event_time_us, true of every row at once
        return found, of.flags
    times = [event_time_us(event, retention_days) for event in events]
    found["event_time"] = _PLANS["event_time"].heading, _PLANS["event_time"].kind.many(times)
    return found, [
        (*event.flags, CLAMPED) if is_clamped(event, time) else event.flags
        for event, time in zip(events, times, strict=True)
    ]


def _durations(values: Sequence[float]) -> Content:
    """-1.0, unknown, becomes NULL."""
    return _PLANS["duration_ms"].heading, nullable_floats(values, [value >= 0 for value in values])


def _directions(values: Sequence[str]) -> Sequence[str]:
    """In lower case, as the analytics guide has them."""
    names = {value: _DIRECTION.get(value, value) for value in set(values)}
    return list(map(names.__getitem__, values))


def _decided(decisions: Sequence[Decision]) -> dict[str, Content | None]:
    """The columns of sampling. Equal decisions are mostly one object, so that there are few to look at."""
    rows = len(decisions)
    if _is_same(decisions):
        return {plan.name: plan.repeated(rows, decisions[0][place]) for plan, place in _OF_DECISION}
    numbers: defaultdict[int, int] = defaultdict(count().__next__)
    numbered = list(map(numbers.__getitem__, map(id, decisions)))
    if len(numbers) > MOST_BY_INDEX:
        return {plan.name: plan.content([decision[place] for decision in decisions]) for plan, place in _OF_DECISION}
    index = bytes(numbered)
    different = [decisions[index.index(number)] for number in range(len(numbers))]
    found: dict[str, Content | None] = {}
    for plan, place in _OF_DECISION:
        values: list[Any] = [decision[place] for decision in different]
        if _is_same(values):
            found[plan.name] = plan.repeated(rows, values[0])
        elif plan.type == _LOW_CARDINALITY:
            found[plan.name] = plan.heading, low_cardinality_by(values, index)
        else:
            found[plan.name] = plan.heading, plan.kind.many(list(map(values.__getitem__, index)))
    return found


def _is_same(values: Sequence[Any]) -> bool:
    """Whether all values are equal. Two comparisons tell it of most columns whose values differ."""
    first = values[0]
    return bool(first == values[-1] and first == values[len(values) // 2]) and values.count(first) == len(values)


class _Plan(NamedTuple):
    """How one column is written."""

    name: str
    type: str
    heading: bytes
    kind: Kind
    default: object  # what the server fills in when the column is left out

    def content(self, values: Sequence[Any]) -> Content | None:
        """None when all values are the default."""
        return self.repeated(len(values), values[0]) if _is_same(values) else (self.heading, self.kind.many(values))

    def repeated(self, rows: int, value: object) -> Content | None:
        return None if value == self.default else self.same(rows, value)

    def same(self, rows: int, value: object) -> Content:
        return self.heading, self.kind.same(value, rows)


_DIRECTION = {"Incoming": "incoming", "Outgoing": "outgoing", "Internal": "internal"}
# Where a column comes from, when it is not a field of the same name.
_FROM = {
    "event_id": "transaction_id",
    "parent_span_id": "parent_id",
    "session_id": "session_token",
    "plan": "plan_id",
    "method": "verb",
    "endpoint": "route",
    "status_code": "status",
    "action": "action_name",
    "ip": "ip_address",
    "response_ip": "response_ip_address",
    "severity": "severity_text",
}
_FROM_DECISION = {
    "sampling_p": "p",
    "sampling_rule": "rule",
    "sampling_reason": "reason",
    "sampling_config": "config",
}
_COMPUTED = (
    "batch_id",
    "event_time",
    "start_unix_ns",
    "request_id",
    "received_at",
    "duration_ms",
    "direction",
    "flags",
)
_LOW_CARDINALITY = "LowCardinality(String)"
# The server makes the columns' precision of nanoseconds, for less than we could.
_EVENT_TIME_NS, _RECEIVED_NS = (heading(name, "DateTime64(9, 'UTC')") for name in ("event_time", "received_at"))
_TICKS = kind("UInt64")  # nanoseconds since 1970 are the same bytes as a DateTime64(9)


def _plans() -> dict[str, _Plan]:
    plans = {}
    for name, type_ in insert_types().items():
        written = kind(type_)
        part = _decision_part(name)
        default = UNSAMPLED[Decision._fields.index(part)] if part else written.empty  # as in schema.sql
        plans[name] = _Plan(name, type_, heading(name, type_), written, default)
    return plans


def _decision_part(name: str) -> str:
    """The field of a Decision that the column holds; "" when it holds something else."""
    part = _FROM_DECISION.get(name, name)
    is_event_field = _FROM.get(name, name) in Event._fields
    return part if part in Decision._fields and (name in _FROM_DECISION or not is_event_field) else ""


_PLANS = _plans()  # in the table's order
_OF_DECISION = [(plan, Decision._fields.index(part)) for name, plan in _PLANS.items() if (part := _decision_part(name))]
_OF_EVENT = [
    (plan, Event._fields.index(_FROM.get(name, name)))
    for name, plan in _PLANS.items()
    if name not in _COMPUTED and not _decision_part(name)
]
