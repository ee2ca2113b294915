"""Events as columns, in the names and types of clickhouse_schema.sql. Pure: no client, no clock.

A column that would hold nothing but its default is left out of the insert; most batches fill half of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from exporter.sinks.clickhouse_schema import insert_types
from mapping.event import UNSAMPLED, Decision, Event

DAY_US = 86_400_000_000
SKEW_US = 300_000_000  # mapping.md §9: more than 5 minutes ahead of our clock, and the receive time counts
CLAMPED_REACH_US = 2 * DAY_US  # a copy of an event whose time is our clock's is looked for this far back
CLAMPED = "event_time_clamped"  # added to `flags` where event_time is not the sender's start time

_SLICE = 1024  # rows turned into columns in one go: bounds how long the interpreter is held (about 2 ms)

Column = Sequence[Any]


def event_time_us(event: Event, retention_days: int) -> int:
    """The time the store files this event under: microseconds since the epoch, a function of the event alone.

    The sender's start time; the receive time when the start is more than 5 minutes later (mapping.md §9); at the
    earliest a day after the point where the table's retention would delete the row at once (store.md §2.4).
    """
    start = event.start_unix_ns // 1000
    received = event.received_unix_ns // 1000
    if start > received + SKEW_US:
        return received
    return max(start, received - _reach_us(retention_days))


def event_day(event: Event, retention_days: int) -> int:
    """The UTC day of `event_time_us`, in days since the epoch: the partition. One batch holds one day."""
    return event_time_us(event, retention_days) // DAY_US


def is_clamped(event: Event, time_us: int) -> bool:
    """Whether `time_us`, the event's `event_time_us`, is not the sender's start time."""
    return time_us != event.start_unix_ns // 1000


def _reach_us(retention_days: int) -> int:
    whole = retention_days * DAY_US
    return max(whole - DAY_US, whole // 2)


def columns(events: Sequence[Event], batch_id: int, retention_days: int) -> dict[str, Column]:
    """The columns of these events by name, all of the same length, without those that hold only defaults."""
    found: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    rows = iter(events)
    while part := list(islice(rows, _SLICE)):
        _append(found, part, retention_days)
    filled: dict[str, Column] = {name: values for name, values in found.items() if any(values)}
    filled["batch_id"] = [batch_id] * len(events)
    for name in _ALWAYS:
        filled[name] = found[name]
    for name, default in _DEFAULTS.items():
        values = found[name]
        if values.count(default) == len(values):
            filled.pop(name, None)
        else:
            filled[name] = values
    return filled


def _append(found: dict[str, list[Any]], events: list[Event], retention_days: int) -> None:
    values: tuple[tuple[Any, ...], ...] = tuple(zip(*events, strict=True))  # of every field
    by_field = Event(*values)  # type: ignore[arg-type]  # the same by name
    for name, place in _PLAIN.items():
        found[name] += values[place]
    for name, (place, convert) in _CONVERTED.items():
        found[name] += map(convert, values[place])
    decisions: Sequence[Decision] = by_field.decision  # type: ignore[assignment]
    first = decisions[0]
    if all(decision is first for decision in decisions):
        for name, place in _DECISION.items():
            found[name] += [first[place]] * len(events)
    else:
        by_part = list(zip(*decisions, strict=True))
        for name, place in _DECISION.items():
            found[name] += by_part[place]
    starts: Sequence[int] = by_field.start_unix_ns  # type: ignore[assignment]
    received: Sequence[int] = by_field.received_unix_ns  # type: ignore[assignment]
    if max(starts) // 1000 <= min(received) // 1000 + SKEW_US and min(starts) // 1000 >= max(
        received
    ) // 1000 - _reach_us(retention_days):  # the rule of event_time_us, true of every row at once
        found["event_time"] += [start // 1000 for start in starts]
        found["flags"] += by_field.flags
        return
    times = [event_time_us(event, retention_days) for event in events]
    found["event_time"] += times
    found["flags"] += [
        (*event.flags, CLAMPED) if is_clamped(event, time) else event.flags
        for event, time in zip(events, times, strict=True)
    ]


_DIRECTION = {"Incoming": "incoming", "Outgoing": "outgoing", "Internal": "internal"}


def _duration(milliseconds: float) -> float | None:
    return milliseconds if milliseconds >= 0 else None


def _direction(text: str) -> str:
    return _DIRECTION.get(text, text)


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
_CONVERT: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "received_at": ("received_unix_ns", (1_000_000).__rfloordiv__),  # milliseconds
    "duration_ms": ("duration_ms", _duration),
    "direction": ("direction", _direction),
}
_FROM_DECISION = {
    "sampling_p": "p",
    "sampling_rule": "rule",
    "sampling_reason": "reason",
    "sampling_config": "config",
}
_COMPUTED = ("event_time", "flags")


def _plans() -> tuple[dict[str, int], dict[str, tuple[int, Callable[[Any], Any]]], dict[str, int]]:
    """For every stored column its place in an Event, or in the Event's Decision."""
    plain: dict[str, int] = {}
    decided: dict[str, int] = {}
    for name in insert_types():
        field, part = _FROM.get(name, name), _FROM_DECISION.get(name, name)
        if name in _CONVERT or name in _COMPUTED or name == "batch_id":
            continue
        if part in Decision._fields and (name in _FROM_DECISION or field not in Event._fields):
            decided[name] = Decision._fields.index(part)
        else:
            plain[name] = Event._fields.index(field)
    converted = {name: (Event._fields.index(field), convert) for name, (field, convert) in _CONVERT.items()}
    return plain, converted, decided


_PLAIN, _CONVERTED, _DECISION = _plans()
_COLUMNS = (*_PLAIN, *_CONVERTED, *_DECISION, *_COMPUTED)
# Left out, a Nullable column becomes NULL and these would become 1970.
_ALWAYS = ("event_time", "received_at", "duration_ms")
# Columns whose default (clickhouse_schema.sql) is not zero or empty.
_DEFAULTS: dict[str, object] = {
    "metadata": "{}",
    **{name: UNSAMPLED[place] for name, place in _DECISION.items() if UNSAMPLED[place]},
}
