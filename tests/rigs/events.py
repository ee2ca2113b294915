"""Builders of events for tests: everything has a plain default, tests name only what they are about."""

from __future__ import annotations

import uuid
from typing import Any

from mapping.event import API_CALL, EMPTY_HEADERS, UNSAMPLED, Event

NOW_NS = 1_795_200_000_000_000_000  # 2026-11-20T18:40:00Z
SECOND_NS = 1_000_000_000


def event(**changes: Any) -> Event:
    """An incoming API call that ended one second ago; any field may be given."""
    fields: dict[str, Any] = dict.fromkeys(Event._fields, "")
    fields.update(
        event_type=API_CALL,
        transaction_id=str(uuid.uuid4()),
        source="span",
        trace_id=uuid.uuid4().hex,
        span_id="00f067aa0ba902b7",
        start_unix_ns=NOW_NS - 2 * SECOND_NS,
        end_unix_ns=NOW_NS - SECOND_NS,
        duration_ms=1000.0,
        received_unix_ns=NOW_NS,
        resource='{"resource":{"service.name":"shop"},"scope":{}}',
        service="shop",
        direction="Incoming",
        verb="GET",
        uri="http://shop.example/items/4711",
        route="/items/{id}",
        status=200,
        request_headers=EMPTY_HEADERS,
        response_headers=EMPTY_HEADERS,
        span_status=0,
        severity_number=0,
        metadata="{}",
        flags=(),
        decision=UNSAMPLED,
    )
    fields.update(changes)
    return Event(**fields)
