"""An event as one line of `weighbridge map`: the API event model of mapping.md §1 and the keys of design.md §5.2."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from mapping.event import ACTION, API_CALL, LOG, SKIP, Decision, Event
from mapping.metadata import nested

_NS = 1_000_000_000


def event_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object. What it does not have is left out."""
    out: dict[str, Any] = {"event_type": event.event_type}
    if event.event_type != LOG:
        out["request"] = _request(event)
    if event.event_type == API_CALL and event.status:
        out["response"] = _response(event)
    if event.span_id:
        out["span"] = _span(event)
    _put(
        out,
        trace_id=event.trace_id,
        transaction_id=event.transaction_id,
        action_name=event.action_name,
        family=event.family if event.event_type == ACTION else "",
        direction=event.direction,
        user_id=event.user_id,
        company_id=event.company_id,
        session_token=event.session_token,
        subscription_id=event.subscription_id,
        error_type=event.error_type,
    )
    if event.event_type != SKIP:
        out["weight"] = event.decision.weight
    if event.duration_ms >= 0:
        out["duration_ms"] = event.duration_ms
    if event.source == "span" or event.event_type == API_CALL:
        out["start_time_unix_nano"] = event.start_unix_ns
        out["end_time_unix_nano"] = event.end_unix_ns
    if event.source == "log":
        _log(event, out)
    out["metadata"] = _metadata(event)
    _put(out, reason=event.reason)
    return out


def _request(event: Event) -> dict[str, Any]:
    request: dict[str, Any] = {"time": iso(event.start_unix_ns)}
    _put(request, uri=event.uri, verb=event.verb, route=event.route)
    if event.event_type == API_CALL:
        request["headers"] = dict(event.request_headers)
    _body(request, event.request_body, event.request_body_encoding)
    _put(request, ip_address=event.ip_address, api_version=event.api_version, user_agent=event.user_agent)
    return request


def _response(event: Event) -> dict[str, Any]:
    response: dict[str, Any] = {
        "time": iso(event.end_unix_ns),
        "status": event.status,
        "headers": dict(event.response_headers),
    }
    _body(response, event.response_body, event.response_body_encoding)
    _put(response, ip_address=event.response_ip_address)
    return response


def _span(event: Event) -> dict[str, Any]:
    span: dict[str, Any] = {"id": event.span_id}
    _put(span, parent_id=event.parent_id)
    if event.links:
        span["links"] = orjson.loads(event.links)
    if event.source == "span":
        span["status"] = event.span_status
    return span


def _log(event: Event, out: dict[str, Any]) -> None:
    out["time_unix_nano"] = event.end_unix_ns
    if event.severity_number:
        out["severity_number"] = event.severity_number
    _put(out, severity_text=event.severity_text, event_name=event.event_name)
    if event.body:
        out["body"] = orjson.loads(event.body) if event.body_encoding == "json" else event.body


def _metadata(event: Event) -> dict[str, Any]:
    metadata = nested(orjson.loads(event.metadata))
    for name, value in orjson.loads(event.resource).items():
        if value:
            metadata[name] = nested(value)
    if event.event_type != SKIP:
        metadata["sampling"] = sampling_json(event.decision)
    if event.flags:
        metadata["flags"] = list(event.flags)
    return metadata


def sampling_json(decision: Decision) -> dict[str, Any]:
    """metadata.sampling (sampling.md §12)."""
    out: dict[str, Any] = {
        "adjusted_count": decision.adjusted_count,
        "p": decision.p,
        "rule": decision.rule,
        "r_source": decision.r_source,
        "upstream": decision.upstream,
    }
    _put(out, th=decision.th, th_in=decision.th_in, config=decision.config, rv=decision.rv)
    return out


def iso(unix_ns: int) -> str:
    """ISO 8601 in UTC with milliseconds, cut and not rounded; times beyond year 9999 are given as its end."""
    seconds, rest = divmod(min(unix_ns, 253_402_300_799 * _NS + 999_000_000), _NS)
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def _body(into: dict[str, Any], text: str, encoding: str) -> None:
    if text:
        into["body"] = orjson.loads(text) if encoding == "json" else text
        into["transfer_encoding"] = encoding


def _put(into: dict[str, Any], **values: str) -> None:
    into.update({name: value for name, value in values.items() if value})
