"""An event as one line of `weighbridge map`: the event model of spec/mapping.md §1, the keys of spec/design.md §5.2."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from mapping.event import ACTION, API_CALL, LOG, SKIP, Decision, Event
from mapping.rules.metadata import nested

_NS = 1_000_000_000
_LONGEST_SHARED = 16_384  # characters of a resource that is kept, parsed, for the next event; with 512, some 100 MB


def event_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object. What it does not have is left out.

    The object and its `request`, `response`, `span` and `metadata` are the caller's to change; what is inside metadata
    is shared between events.
    """
    kind = event.event_type
    out: dict[str, Any] = {"event_type": kind}
    if kind != LOG:
        out["request"] = _request(event)
    if kind == API_CALL and event.status:
        out["response"] = _response(event)
    if event.span_id:
        out["span"] = _span(event)
    if event.trace_id:
        out["trace_id"] = event.trace_id
    out["transaction_id"] = event.transaction_id
    if event.action_name:
        out["action_name"] = event.action_name
    if kind == ACTION:
        out["family"] = event.family
    if event.direction:
        out["direction"] = event.direction
    if event.hop and kind == API_CALL:
        out["hop"] = event.hop
    if event.user_id:
        out["user_id"] = event.user_id
    if event.company_id:
        out["company_id"] = event.company_id
    if event.session_token:
        out["session_token"] = event.session_token
    if event.subscription_id:
        out["subscription_id"] = event.subscription_id
    if event.error_type:
        out["error_type"] = event.error_type
    if kind != SKIP:
        out["weight"] = event.decision.weight
    if event.duration_ms >= 0:
        out["duration_ms"] = event.duration_ms
    if event.source == "span" or kind == API_CALL:
        out["start_time_unix_nano"] = event.start_unix_ns
        out["end_time_unix_nano"] = event.end_unix_ns
    if event.source == "log":
        _log(event, out)
    out["metadata"] = _metadata(event)
    if event.reason:
        out["reason"] = event.reason
    return out


def _request(event: Event) -> dict[str, Any]:
    request: dict[str, Any] = {"time": iso(event.start_unix_ns)}
    if event.uri:
        request["uri"] = event.uri
    if event.verb:
        request["verb"] = event.verb
    if event.route:
        request["route"] = event.route
    if event.event_type == API_CALL:
        request["headers"] = dict(event.request_headers)
    _body(request, event.request_body, event.request_body_encoding)
    if event.ip_address:
        request["ip_address"] = event.ip_address
    if event.api_version:
        request["api_version"] = event.api_version
    if event.user_agent:
        request["user_agent"] = event.user_agent
    return request


def _response(event: Event) -> dict[str, Any]:
    response: dict[str, Any] = {
        "time": iso(event.end_unix_ns),
        "status": event.status,
        "headers": dict(event.response_headers),
    }
    _body(response, event.response_body, event.response_body_encoding)
    if event.response_ip_address:
        response["ip_address"] = event.response_ip_address
    return response


def _span(event: Event) -> dict[str, Any]:
    span: dict[str, Any] = {"id": event.span_id}
    if event.parent_id:
        span["parent_id"] = event.parent_id
    if event.links:
        span["links"] = orjson.loads(event.links)
    if event.source == "span":
        span["status"] = event.span_status
    return span


def _log(event: Event, out: dict[str, Any]) -> None:
    out["time_unix_nano"] = event.end_unix_ns
    if event.severity_number:
        out["severity_number"] = event.severity_number
    if event.severity_text:
        out["severity_text"] = event.severity_text
    if event.event_name:
        out["event_name"] = event.event_name
    if event.body:
        out["body"] = orjson.loads(event.body) if event.body_encoding == "json" else event.body


def _metadata(event: Event) -> dict[str, Any]:
    metadata = nested(orjson.loads(event.metadata))
    shared = len(event.resource) <= _LONGEST_SHARED
    ours = _resource(event.resource) if shared else _resource.__wrapped__(event.resource)
    if event.event_type != SKIP:
        ours = {**ours, "sampling": sampling_json(event.decision)}
    for name, value in ours.items():
        if name in metadata:  # an attribute of the same name: both are kept
            theirs = metadata[name]
            value = {**(theirs if isinstance(theirs, dict) else {"_value": theirs}), **value}
        metadata[name] = value
    if event.ip_address and not event.ip_address.startswith("hmac"):
        network = metadata.get("network", {})
        if not isinstance(network, dict):
            network = {"_value": network}
        metadata["network"] = {"ip_family": "ipv6" if ":" in event.ip_address else "ipv4", **network}
    if event.flags:
        metadata["event_flags"] = list(event.flags)
    return metadata


@lru_cache(maxsize=512)
def _resource(text: str) -> dict[str, Any]:
    """metadata.resource and metadata.scope of an Event.resource; the text is shared by all events of a group."""
    return {name: nested(value) for name, value in orjson.loads(text).items() if value}


@lru_cache(maxsize=512)
def sampling_json(decision: Decision) -> dict[str, Any]:
    """metadata.sampling (spec/sampling.md §12)."""
    out: dict[str, Any] = {
        "adjusted_count": decision.adjusted_count,
        "p": decision.p,
        "rule": decision.rule,
        "r_source": decision.r_source,
        "upstream": decision.upstream,
    }
    if decision.th:
        out["th"] = decision.th
    if decision.th_in:
        out["th_in"] = decision.th_in
    if decision.config:
        out["config"] = decision.config
    if decision.rv:
        out["rv"] = decision.rv
    if decision.reason == "kept_early":
        out["early"] = True
    return out


def iso(unix_ns: int) -> str:
    """ISO 8601 in UTC with milliseconds, cut and not rounded; times beyond year 9999 are given as its end."""
    seconds, rest = divmod(min(unix_ns, 253_402_300_799 * _NS + 999_000_000), _NS)
    return f"{_to_seconds(seconds)}.{rest // 1_000_000:03d}Z"


@lru_cache(maxsize=1024)
def _to_seconds(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"


def _body(into: dict[str, Any], text: str, encoding: str) -> None:
    if text:
        into["body"] = orjson.loads(text) if encoding == "json" else text
        into["transfer_encoding"] = encoding
