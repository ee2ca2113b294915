"""The values that sampling rules may ask of an event (spec/sampling.md §7), found only when a rule has conditions."""

from __future__ import annotations

from typing import Any

from mapping.context import Group, Work, text_of
from mapping.event import Event
from mapping.event_facts import event_fact
from mapping.logs.events import LogWork
from mapping.otlp.decode import LogGroup
from mapping.otlp.wire import read_text
from mapping.sampling.randomness import record_bytes

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


class SpanFacts:
    """A span's values at rule paths."""

    __slots__ = ("_event", "_work")

    def __init__(self, event: Event, work: Work) -> None:
        self._event = event
        self._work = work

    def __call__(self, path: str) -> object:
        event = self._event
        if path.startswith("attr."):
            return _attribute(self._work, path[5:])
        if path.startswith("resource."):
            return self._work.group.attributes.get(path[9:])
        if path.startswith("request.headers."):
            return self._work.request_headers.get(path[16:].lower()) or event_fact(event, path)
        if path == "span.kind":
            kind = self._work.record.span.kind
            return _KINDS[kind] if 0 <= kind < len(_KINDS) else None
        return event_fact(event, path)


class LogFacts:
    """A log record's values at rule paths. attr.* reads attributes, then the body."""

    __slots__ = ("_event", "_group", "_work")

    def __init__(self, event: Event, work: LogWork, group: Group) -> None:
        self._event = event
        self._work = work
        self._group = group

    def __call__(self, path: str) -> object:
        if path.startswith("attr."):
            found = self._work.attributes.get(path[5:])
            return found if found is not None else self._work.read.body.flat.get(path[5:])
        if path.startswith("resource."):
            return self._group.attributes.get(path[9:])
        return event_fact(self._event, path)


def log_record_bytes(work: LogWork, facts: Group, group: LogGroup) -> bytes:
    """What identifies a log record that has no trace (spec/sampling.md §3 step 4)."""
    record, resource = work.item.record, facts.attributes
    return record_bytes(
        attributes=work.attributes,
        body=work.item.body,
        scope=group.scope.name,
        event_name=read_text(record.event_name),
        occurrence=work.occurrence,
        time_unix_nano=record.time_unix_nano,
        observed_time_unix_nano=record.observed_time_unix_nano,
        span_id=work.item.span_id.hex(),
        service_namespace=text_of(resource.get("service.namespace")),
        service_name=facts.service,
        service_instance_id=text_of(resource.get("service.instance.id")),
        severity_number=record.severity_number,
    )


def _attribute(work: Work, key: str) -> Any:
    found = None
    for entry, value in zip((entry[0] for entry in work.record.entries), work.values, strict=True):
        if entry.partition("\0")[0] == key:
            found = value
    return found
