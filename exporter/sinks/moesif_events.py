"""Events in the form of Moesif's Collector API, within its limits (spec/mapping.md §1.1, §1.2, §1.4). Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from exporter.sinks.json_line import dumps, encode_all, event_dict
from mapping.event import ACTION, API_CALL, INNER, MAX_BODY_BYTES, Event

# Moesif's hard limit is 1 MB an event; a batch of events 50 MB, of actions 15 MB, whatever the compression.
MAX_EVENT_BYTES = 1_000_000
DAY_NS = 86_400_000_000_000
OLDEST_DAYS = 30  # older events are refused


class Request(NamedTuple):
    """One POST: the path, and the encoded array."""

    path: str
    body: bytes
    rows: int


def api_call(event: Event) -> bytes:
    """An API call as Moesif's event, at most MAX_EVENT_BYTES.

    What has to go for that goes in this order: bodies, headers, the largest values of metadata.
    """
    full = event_dict(event)
    out = {name: full[name] for name in _EVENT_KEYS if name in full}
    out["weight"] = max(1, event.decision.weight)
    metadata = out.setdefault("metadata", {})
    request = out["request"] = dict(out["request"])
    for name in ("route", "user_agent"):  # no fields of Moesif's request
        if (value := request.pop(name, None)) is not None:
            metadata[name] = value
    for name in ("duration_ms", "error_type", "family"):
        if full.get(name) is not None:
            metadata[name] = full[name]
    if "span" in out and "parent_id" in out["span"]:
        # The API's table says parent_id, its example parent_span_id.
        out["span"] = {**out["span"], "parent_span_id": out["span"]["parent_id"]}
    for side in ("request", "response"):
        if side in out and _cut_body(out[side]):
            metadata["body_truncated"] = True
    return _fitting(out)


def action(event: Event) -> bytes:
    """An action as Moesif's action. It has no fields for spans: they are in its metadata."""
    full = event_dict(event)
    metadata = dict(full.get("metadata", {}))
    fields = {
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "parent_id": event.parent_id,
        "direction": event.direction,
        "family": event.family,
    }
    metadata.update({name: value for name, value in fields.items() if value})
    if event.duration_ms >= 0:
        metadata["duration_ms"] = event.duration_ms
    name = event.action_name or event.name or "action"
    uri = event.uri or f"otel://{event.service or 'unknown'}/{event.family or 'action'}/{quote(name, safe='')}"
    request = {"time": full["request"]["time"], "uri": uri}
    if event.ip_address:
        request["ip_address"] = event.ip_address
    if event.user_agent:
        request["user_agent_string"] = event.user_agent
    out = {"action_name": name, "request": request, "metadata": metadata}
    out.update({key: full[key] for key in _WHO_KEYS if key in full})
    return _fitting(out)


def requests(
    events: Sequence[Event],
    now_unix_ns: int,
    *,
    actions: bool,
    entries_only: bool = False,
    max_bytes: int,
    max_rows: int,
) -> Iterator[Request]:
    """The POSTs that carry these events, each within the limits, but for those that are not sent.

    Raises Unwritable before the first one when some of the events cannot be encoded.
    """
    oldest = now_unix_ns - OLDEST_DAYS * DAY_NS
    encoders = {API_CALL: api_call, ACTION: action}

    def row_of(event: Event) -> bytes:
        sent = event.start_unix_ns >= oldest and is_sent(event, actions, entries_only)
        return encoders[event.event_type](event) if sent else b""

    made = encode_all(events, row_of)
    for kind, path in ((API_CALL, "/v1/events/batch"), (ACTION, "/v1/actions/batch")):
        limit = min(max_bytes, 14_000_000) if kind == ACTION else max_bytes
        rows: list[bytes] = []
        size = 2
        for event, row in zip(events, made, strict=True):
            if event.event_type != kind or not row:
                continue
            if rows and (size + len(row) + 1 > limit or len(rows) >= max_rows):
                yield Request(path, b"[" + b",".join(rows) + b"]", len(rows))
                rows, size = [], 2
            rows.append(row)
            size += len(row) + 1
        if rows:
            yield Request(path, b"[" + b",".join(rows) + b"]", len(rows))


def left_out(
    events: Sequence[Event], now_unix_ns: int, *, actions: bool, entries_only: bool = False
) -> tuple[list[Event], list[Event]]:
    """Those that Moesif does not get: (not its kind, too old)."""
    oldest = now_unix_ns - OLDEST_DAYS * DAY_NS
    sent = [is_sent(event, actions, entries_only) for event in events]
    others = [event for event, its_kind in zip(events, sent, strict=True) if not its_kind]
    late = [event for event, its_kind in zip(events, sent, strict=True) if its_kind and event.start_unix_ns < oldest]
    return others, late


def is_sent(event: Event, actions: bool, entries_only: bool) -> bool:
    """Whether Moesif gets events of this kind: calls, or only customers' own, and actions when asked for."""
    if event.event_type == API_CALL:
        return not entries_only or (event.direction == "Incoming" and event.hop != INNER)
    return event.event_type == ACTION and actions


_WHO_KEYS = ("transaction_id", "session_token", "user_id", "company_id", "subscription_id")
_EVENT_KEYS = ("request", "response", "span", "trace_id", "action_name", "direction", "metadata", *_WHO_KEYS)


def _cut_body(side: dict[str, Any]) -> bool:
    """Cut a body over MAX_BODY_BYTES; what is left is no JSON any more and travels in base64. True when it was cut."""
    if "body" not in side:
        return False
    if side.get("transfer_encoding") == "base64" and isinstance(side["body"], str):
        if len(side["body"]) <= MAX_BODY_BYTES:
            return False
        side["body"] = side["body"][: MAX_BODY_BYTES // 4 * 4]
        return True
    text = dumps(side["body"])
    if len(text) <= MAX_BODY_BYTES:
        return False
    side["body"] = base64.b64encode(text[: MAX_BODY_BYTES // 4 * 3]).decode()
    side["transfer_encoding"] = "base64"
    return True


def _fitting(out: dict[str, Any]) -> bytes:
    data = dumps(out)
    if len(data) <= MAX_EVENT_BYTES:
        return data
    metadata = out["metadata"] = dict(out.get("metadata", {}))
    metadata["event_truncated"] = True
    sides = [out[side] for side in ("request", "response") if side in out]
    for side in sides:
        side.pop("body", None)
        side.pop("transfer_encoding", None)
    data = dumps(out)
    if len(data) > MAX_EVENT_BYTES:
        for side in sides:
            if "headers" in side:
                side["headers"] = {}
        data = dumps(out)
    while len(data) > MAX_EVENT_BYTES and len(metadata) > 1:
        sizes = {name: len(dumps(value)) for name, value in metadata.items() if name != "event_truncated"}
        del metadata[max(sizes, key=sizes.__getitem__)]
        data = dumps(out)
    return data if len(data) <= MAX_EVENT_BYTES else dumps(_cut_texts(out))


def _cut_texts(value: Any) -> Any:
    """The last resort, for addresses, names and links as long as bodies: the first of each."""
    if isinstance(value, dict):
        return {name: _cut_texts(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut_texts(item) for item in value[:32]]
    return value[:8192] if isinstance(value, str) else value
