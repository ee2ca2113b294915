"""The values that sampling rules may ask of an event (spec/sampling.md §7), found only when a rule has conditions."""

from __future__ import annotations

from typing import Any, Final

from mapping.context import Group, Work, text_of
from mapping.event import LOG, Event
from mapping.event_facts import event_fact
from mapping.logs.work import LogWork
from mapping.otlp.records import LogGroup
from mapping.otlp.wire import read_text
from mapping.rules.call_status import status_of
from mapping.sampling.randomness import record_bytes
from mapping.sampling.rules import PATHS, as_text
from mapping.spans.classify import METHODS, STATUSES

_SAID: Final = {
    "route": ("http.route",),
    "url.path": ("url.path", "http.target"),
    "method": METHODS,
    "status": STATUSES,
    "status_class": STATUSES,
}
_OF_EVENTS: Final = frozenset(PATHS) - {"span.kind"}  # that every event answers by itself
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


class SpanFacts:
    """A span's values at rule paths."""

    __slots__ = ("_event", "_work")

    def __init__(self, event: Event, work: Work) -> None:
        self._event = event
        self._work = work

    def __call__(self, path: str) -> object:
        event = self._event
        if path in _OF_EVENTS:
            return event_fact(event, path)
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
    """A log record's values at rule paths. attr.* reads attributes, then the body.

    What a log event says of its call by OpenTelemetry's names is a fact of it too.
    """

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
        found = event_fact(self._event, path)
        if found is None and path in _SAID and self._event.event_type == LOG:
            return self._said(path)
        return found

    def _said(self, path: str) -> object:
        for name in _SAID[path]:
            value = self(f"attr.{name}")
            if value is not None and value != "":
                if path in ("status", "status_class"):
                    status = status_of(value)
                    return (f"{status // 100}xx" if path == "status_class" else status) if status else None
                text = as_text(value)
                return text.partition("?")[0] if text and path == "url.path" else text
        return None


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
