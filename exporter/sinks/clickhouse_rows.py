"""Events as columns, in the names and types of clickhouse_schema.sql. Pure: no client, no clock.

A column that would hold nothing but its default is left out of the insert; most batches fill half of the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from mapping.event import Decision, Event

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
    filled["event_time"] = found["event_time"]
    filled["batch_id"] = [batch_id] * len(events)
    # A column that has a default other than zero is left out where it holds nothing else.
    for name in ("weight", "adjusted_count", "sampling_p"):
        if _all_ones(found[name]):
            filled.pop(name, None)
        else:
            filled[name] = found[name]
    if all(text in ("{}", "") for text in found["metadata"]):
        filled.pop("metadata", None)
    # Unlike other types, a Nullable column left out becomes NULL, not zero.
    filled["duration_ms"] = found["duration_ms"]
    return filled


def _all_ones(values: list[Any]) -> bool:
    return values.count(1) == len(values)


def _append(found: dict[str, list[Any]], events: list[Event], retention_days: int) -> None:
    by_field: Event = Event(*zip(*events, strict=True))  # type: ignore[arg-type]  # a tuple of values in every field
    for name, read in _FIELDS.items():
        found[name].extend(read(by_field))
    decisions: Sequence[Decision] = by_field.decision  # type: ignore[assignment]
    first = decisions[0]
    if all(decision is first for decision in decisions):
        for name, place in _DECISION.items():
            found[name].extend([first[place]] * len(events))
    else:
        for name, values in zip(_DECISION_BY_PLACE, zip(*decisions, strict=True), strict=True):
            if name:
                found[name].extend(values)
    times = [event_time_us(event, retention_days) for event in events]
    found["event_time"].extend(times)
    flags: Sequence[tuple[str, ...]] = by_field.flags  # type: ignore[assignment]
    starts: Sequence[int] = by_field.start_unix_ns  # type: ignore[assignment]
    found["flags"].extend(
        flag if time == start // 1000 else (*flag, CLAMPED)
        for flag, time, start in zip(flags, times, starts, strict=True)
    )


_DIRECTION = {"Incoming": "incoming", "Outgoing": "outgoing", "Internal": "internal"}


def _milliseconds(values: Any) -> Iterator[int]:
    return (value // 1_000_000 for value in values)


def _durations(values: Any) -> Iterator[float | None]:
    return (value if value >= 0 else None for value in values)


def _directions(values: Any) -> Iterator[str]:
    return (_DIRECTION.get(value, value) for value in values)


_FIELDS: dict[str, Callable[[Event], Any]] = {
    "event_type": lambda e: e.event_type,
    "received_at": lambda e: _milliseconds(e.received_unix_ns),
    "event_id": lambda e: e.transaction_id,
    "source": lambda e: e.source,
    "tenant": lambda e: e.tenant,
    "start_unix_ns": lambda e: e.start_unix_ns,
    "end_unix_ns": lambda e: e.end_unix_ns,
    "trace_id": lambda e: e.trace_id,
    "span_id": lambda e: e.span_id,
    "parent_span_id": lambda e: e.parent_id,
    "request_id": lambda e: e.request_id,
    "company_id": lambda e: e.company_id,
    "user_id": lambda e: e.user_id,
    "session_id": lambda e: e.session_token,
    "subscription_id": lambda e: e.subscription_id,
    "application_id": lambda e: e.application_id,
    "client_id": lambda e: e.client_id,
    "plan": lambda e: e.plan_id,
    "service": lambda e: e.service,
    "environment": lambda e: e.environment,
    "region": lambda e: e.region,
    "resource": lambda e: e.resource,
    "direction": lambda e: _directions(e.direction),
    "method": lambda e: e.verb,
    "endpoint": lambda e: e.route,
    "uri": lambda e: e.uri,
    "api_version": lambda e: e.api_version,
    "status_code": lambda e: e.status,
    "error_type": lambda e: e.error_type,
    "duration_ms": lambda e: _durations(e.duration_ms),
    "name": lambda e: e.name,
    "span_status": lambda e: e.span_status,
    "links": lambda e: e.links,
    "action": lambda e: e.action_name,
    "family": lambda e: e.family,
    "ip": lambda e: e.ip_address,
    "response_ip": lambda e: e.response_ip_address,
    "user_agent": lambda e: e.user_agent,
    "request_headers": lambda e: e.request_headers,
    "response_headers": lambda e: e.response_headers,
    "request_body": lambda e: e.request_body,
    "request_body_encoding": lambda e: e.request_body_encoding,
    "response_body": lambda e: e.response_body,
    "response_body_encoding": lambda e: e.response_body_encoding,
    "metadata": lambda e: e.metadata,
    "severity_number": lambda e: e.severity_number,
    "severity": lambda e: e.severity_text,
    "event_name": lambda e: e.event_name,
    "body": lambda e: e.body,
    "body_encoding": lambda e: e.body_encoding,
}
# Column of each field of a Decision. `keep` is always true here.
_DECISION_COLUMNS = {
    "weight": "weight",
    "adjusted_count": "adjusted_count",
    "p": "sampling_p",
    "th": "th",
    "th_in": "th_in",
    "rv": "rv",
    "rule": "sampling_rule",
    "reason": "sampling_reason",
    "config": "sampling_config",
    "r_source": "r_source",
    "upstream": "upstream",
}
_DECISION_BY_PLACE = tuple(_DECISION_COLUMNS.get(field, "") for field in Decision._fields)
_DECISION = {name: place for place, name in enumerate(_DECISION_BY_PLACE) if name}
_COLUMNS = (*_FIELDS, *_DECISION, "event_time", "flags")
