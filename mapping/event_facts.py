"""What an event says at a path of a sampling rule (spec/sampling.md §7)."""

from __future__ import annotations

from typing import Any, Final

import orjson

from mapping.event import Event

OF_ACTIONS: Final = "otel://"  # URIs that mapping gives to actions, which have none: they have no path of their own


def event_fact(event: Event, path: str) -> object:
    """The value at a path that every event answers, None when absent."""
    match path:
        case "service":
            return event.service or None
        case "route":
            return event.route or None
        case "url.path":
            if not event.uri or event.uri.startswith(OF_ACTIONS):
                return None
            return event.uri.partition("://")[2].partition("?")[0].partition("/")[2].join(("/", ""))
        case "method":
            return event.verb or None
        case "status":
            return event.status or None
        case "status_class":
            return f"{event.status // 100}xx" if event.status else None
        case "duration_ms":
            return event.duration_ms if event.duration_ms >= 0 else None
        case "user":
            return event.user_id or None
        case "company":
            return event.company_id or None
        case "session":
            return event.session_token or None
        case "name":
            return event.name or event.event_name or None
        case "severity":
            return event.severity_number or None
        case "tenant":
            return event.tenant or None
        case "ip_address":
            return event.ip_address or None
        case "time_unix_nano":  # by which a budget's rates are found again: a clock that is ahead would find later ones
            return min(event.end_unix_ns or event.received_unix_ns, event.received_unix_ns)
    if path.startswith("request.headers."):
        return event.request_headers.get(path[16:].lower())
    if path.startswith("request.body.") and event.request_body_encoding == "json":
        return _in_body(orjson.loads(event.request_body), path[13:])
    return None


def _in_body(body: Any, path: str) -> Any:
    """The value at a dotted path in a JSON body; keys that hold dots themselves come first."""
    while isinstance(body, dict):
        if path in body:
            return body[path]
        head, _, path = path.partition(".")
        body = body.get(head)
    return None
