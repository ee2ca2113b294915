"""Failures behind HTTP's 200: what tells that a GraphQL operation failed, and how its call learns of it.

A status of a span says so everywhere. Beside it: Spring's outcome, Node's exceptions on parse and validate spans, and
the event that async-graphql adds to a span without any attribute.
"""

from __future__ import annotations

import re
from typing import Any, Final

from mapping.context import Work, last_exception
from mapping.event import API_CALL
from mapping.otlp.records import SpanEvent, SpanRecord

TYPES: Final = ("graphql.operation.type", "graphql.execute.operationType")
NAMES: Final = ("graphql.operation.name", "graphql.execute.operationName", "graphql.operation")  # Spring
CODES: Final = ("hive.graphql.error.codes",)  # `extensions.code` of its errors
OUTCOME: Final = "graphql.outcome"  # of Spring
BAD_REQUEST: Final = "REQUEST_ERROR"
_FAILED: Final = frozenset((BAD_REQUEST, "INTERNAL_ERROR", "ERROR"))
_ERROR: Final = "graphql.error"  # of an event of async-graphql


# What the reference implementation, and those that follow it, say of a document that they do not take.
_REFUSED: Final = re.compile(
    r"(?:input:(?:\d+:\d+:)? ?)?"
    r"(?:Syntax Error|Expected \w+, found |Cannot query field |Unknown (?:type|argument|fragment|directive|operation) "
    r"|Unexpected <EOF>|Validation error|Variable \"\$|(?:Field|Fragment|Argument) \"[^\"]{0,128}\" )"
).match


class LentFailure(SpanEvent):
    """On the span of a call or operation: what below it failed. attributes: `error_type`, `status`, and its `record`.

    Senders cannot send one: it is told by its class.
    """

    __slots__ = ()


def lent_failure(error_type: str, record: SpanRecord, status: str = "GRAPHQL_ERROR") -> LentFailure:
    return LentFailure("", 0, {"error_type": error_type, "record": record, "status": status})


def find_lent(events: tuple[SpanEvent, ...]) -> LentFailure | None:
    return next((event for event in events if isinstance(event, LentFailure)), None)


def failed(work: Work) -> SpanRecord | None:
    """The record with the failure in its status, None when it tells of none."""
    record = work.record
    if record.status.code == 2:
        return record
    outcome = next((value for key, value, _ in record.entries if key.partition("\0")[0] == OUTCOME), None)
    message = next((_text(event.attributes[_ERROR]) for event in record.events if _ERROR in event.attributes), None)
    told = (isinstance(outcome, str) and outcome in _FAILED) or message is not None
    # Node records what is wrong with a document as an exception, and leaves the status.
    if told or (work.name.plumbing and work.plan.event_type != API_CALL and last_exception(record.events) is not None):
        return record._replace(status=record.status._replace(code=2, message=record.status.message or message or ""))
    return None


def is_refused(record: SpanRecord) -> bool:
    """True for the failure of a document that the server does not take, by its message."""
    exception = last_exception(record.events) or {}
    return any(_REFUSED(text) for text in (record.status.message, _text(exception.get("exception.message"))))


def is_bare(work: Work) -> bool:
    """A span without attributes whose event tells of GraphQL."""
    return any(_ERROR in event.attributes for event in work.record.events)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
