"""Which dialect and which name gave each field of an event that a log record became: `weighbridge map --explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from mapping.context import Context, Group, Job
from mapping.dialects.reading import Reading
from mapping.event import API_CALL, Decision, Event
from mapping.logs.events import LogMapper
from mapping.logs.http import HttpExchange, HttpKeys, exchange_by
from mapping.logs.work import LogWork

Reason = dict[str, str]

# Fields of an exchange, each with the lists of keys that may have given it.
_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("verb", "request.verb", ("method", "request_line")),
    ("status", "response.status", ("status",)),
    ("url", "request.uri", ("url", "request_line")),
    ("path", "request.uri", ("path",)),
    ("query", "query", ("query",)),
    ("route", "request.route", ("route",)),
    ("scheme", "scheme", ("scheme",)),
    ("host", "host", ("host_header", "host", "perhaps_host")),
    ("ip_address", "request.ip_address", ("forwarded_for", "ip")),
    ("user_agent", "request.user_agent", ("user_agent",)),
    ("duration_ms", "duration_ms", ("durations", "duration_parts")),
)


class ExplainingLogMapper(LogMapper):
    """A LogMapper that notes where the fields of its events came from."""

    def __init__(self, context: Context, reasons: dict[str, Reason], *, http_from_attributes: bool) -> None:
        """reasons: what is noted, by transaction id."""
        super().__init__(context, http_from_attributes=http_from_attributes)
        self._reasons = reasons

    def event(
        self,
        work: LogWork,
        group: Group,
        job: Job,
        decision: Decision,
        transaction: str = "",
        untouched: bool = False,
    ) -> Event:
        event = super().event(work, group, job, decision, transaction, untouched)
        self._reasons[event.transaction_id] = reason_of(event, work)
        return event


def reason_of(event: Event, work: LogWork) -> Reason:
    """Field of the event -> `dialect: key`, or where else it came from."""
    keys, read = work.plan.keys, work.read
    said, beside = keys.reading, keys.attribute_reading
    dialects = [*dict.fromkeys((*said.dialects, *beside.dialects)), "generic"]
    found: Reason = {"dialects": ", ".join(dialects)}
    http = read.http
    if event.event_type == API_CALL and http is not None:
        of_body = keys.http is not None and exchange_by(keys.http, read.body.flat) is not None
        used, values, reading = (
            (keys.http, read.body.flat, said) if of_body else (keys.attribute_http, work.attributes, beside)
        )
        if used is not None:
            found |= dict(_of_exchange(http, used, values, reading))
    for name, source in (("user_id", work.who.user_source), ("company_id", work.who.company_source)):
        if source:
            found[name] = _said(source, said, beside)
    if read.trace_source:
        found["trace_id"] = read.trace_source
    return found


def _of_exchange(
    http: HttpExchange, keys: HttpKeys, values: Mapping[str, object], reading: Reading
) -> Iterator[tuple[str, str]]:
    for field, shown, lists in _FIELDS:
        value = getattr(http, field)
        if value in ("", 0, -1.0):
            continue
        for name in lists:
            key = next((key for key in _names(keys, name) if _gives(http, field, key, keys, values)), "")
            if key:
                words = "duration" if name == "durations" else name
                yield shown, f"{reading.said_by.get((words, key), 'generic')}: {key}"
                break


def _names(keys: HttpKeys, name: str) -> tuple[str, ...]:
    return tuple(key for key, _ in keys.durations) if name == "durations" else getattr(keys, name)


def _gives(http: HttpExchange, field: str, key: str, keys: HttpKeys, values: Mapping[str, object]) -> bool:
    """True when the field is another without this key."""
    left = {name: value for name, value in values.items() if name != key}
    without = exchange_by(_without(keys, key), left)
    return without is None or getattr(without, field) != getattr(http, field)


def _without(keys: HttpKeys, key: str) -> HttpKeys:
    def cut(names: Any) -> Any:
        if not isinstance(names, tuple):
            return names
        return tuple(name for name in names if (name[0] if isinstance(name, tuple) else name) != key)

    return HttpKeys(*(cut(getattr(keys, field.name)) for field in fields(keys)))


def _said(source: str, said: Reading, beside: Reading) -> str:
    """`body:ClientUsername` with the dialect that names the key."""
    kind, _, key = source.partition(":")
    reading = said if kind == "body" else beside
    dialect = reading.said_by.get(("user", key)) or reading.said_by.get(("company", key))
    return f"{dialect}: {key}" if dialect else source
