"""A log record understood, on its way to an event, and what its log event or its call read of it in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mapping.context import LATE_NS, SKEW_NS, Context
from mapping.logs.plans import LogPlan
from mapping.logs.record import ExceptionInfo, LogRecord
from mapping.masks.redactor import MASK
from mapping.otlp.records import LogItem
from mapping.rules.call import REQUEST_ID_HEADERS
from mapping.rules.identity import Identity


class LogWork(NamedTuple):
    """One log record understood, on its way to an event."""

    item: LogItem
    plan: LogPlan
    values: tuple[Any, ...]
    fragments: tuple[str | None, ...]
    looked_up: Mapping[str, Any] | None  # attributes by key; None for a record that nobody asked for any
    read: LogRecord
    who: Identity
    occurrence: int  # identical records earlier in the same request
    key: str  # what makes the record one event: a retry has the same

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The record's attributes, those without a value left out."""
        return self.looked_up if self.looked_up is not None else self.plan.attributes(self.values)


def is_of_a_model(work: LogWork, context: Context) -> bool:
    """True when prompts and answers of the record are left out, by its keys or by its event name."""
    name = work.read.event_name
    return work.plan.of_model or (name != "" and context.masks.drops_content_of[name])


def error_of(found: ExceptionInfo, context: Context) -> dict[str, Any]:
    """Members of metadata that tell of the record's exception, masked."""
    if context.hidden_errors:
        names = ("exception.type", "exception.message", "exception.stacktrace")
        shown = context.shown_exception(dict(zip(names, found, strict=True)))
        found = ExceptionInfo(*(shown[name] for name in names))
    texts = context.texts
    error = {"error.type": found.type, "error.message": found.message, "error.stacktrace": found.stacktrace}
    return {key: texts[text] for key, text in error.items() if text}


def flags_of(time_unix_ns: int, received_unix_ns: int) -> tuple[str, ...]:
    """Event.flags of a record's time; few are far from when it was received."""
    if time_unix_ns > received_unix_ns + SKEW_NS:
        return ("clock_skew",)
    return ("late",) if time_unix_ns < received_unix_ns - LATE_NS else ()


def request_id(work: LogWork) -> str:
    """The request's id as a header, the body or an attribute has it, "" for none."""
    http = work.read.http
    if http is not None and http.request_headers:
        for name in REQUEST_ID_HEADERS:
            if http.request_headers.get(name, MASK) != MASK:
                return http.request_headers[name]
    for of_body, name in work.plan.request_ids:
        if name in work.plan.hidden:
            continue
        value = (work.read.body.flat if of_body else work.attributes).get(name)
        if isinstance(value, str) and value:
            return value
    return ""
