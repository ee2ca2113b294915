"""What an API's consumers and operators ask beyond the call itself, under fixed metadata keys (spec/mapping.md §8).

timings.upstream_ms, timings.queue_ms, result.cache.hit, result.cache.status, quota.*, flags.experiment, flags.variant,
network.pop, network.asn: from headers that gateways and CDNs set, and from attributes. Attributes that have exactly
these names are metadata already, and win.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from mapping.rules.metadata import plain_scalar

if TYPE_CHECKING:
    from mapping.otlp.records import SpanEvent

UPSTREAM_MS: Final = ("x-envoy-upstream-service-time", "x-kong-upstream-latency")
QUEUE_START: Final = ("x-request-start", "x-queue-start")
CACHE_STATUS: Final = ("cache-status", "x-cache", "cf-cache-status", "x-proxy-cache")
LIMIT: Final = ("ratelimit-limit", "x-ratelimit-limit", "x-rate-limit-limit")
REMAINING: Final = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
USED: Final = ("x-ratelimit-used",)
POP: Final = ("cf-ray", "x-served-by", "x-amz-cf-pop")
ASN: Final = ("network.asn", "asn", "client.asn", "client.as.number", "source.as.number")
EXPERIMENT: Final = ("feature_flag.key", "feature_flag", "experiment")
VARIANT: Final = ("feature_flag.result.variant", "feature_flag.variant", "variant")
_RESEND: Final = ("http.request.resend_count", "http.resend_count")

REQUEST_HEADERS: Final = frozenset(QUEUE_START)
LOG_FIELDS: Final = frozenset(("upstream_response_time", "upstream_cache_status", "queue_ms"))
ATTRIBUTES: Final = frozenset((*ASN, *EXPERIMENT, *VARIANT, *_RESEND, "queue_ms"))

_NUMBER: Final = re.compile(r"\d{1,16}(?:\.\d{1,9})?", re.ASCII)
_DURATION: Final = re.compile(r";\s*+dur\s*+=\s*+\"?(\d{1,12}(?:\.\d{1,9})?)", re.IGNORECASE | re.ASCII)
_HIT: Final = re.compile(r"\bhit\b", re.IGNORECASE).search
_POLICY: Final = re.compile(r"\s*+\"?([^\";,]*+)\"?((?:\s*+;[^,]*+)?)")
_PARAMETERS: Final = {  # of ratelimit-policy and of ratelimit
    "q": re.compile(r";\s*+q\s*+=\s*+(\d{1,15})").search,
    "r": re.compile(r";\s*+r\s*+=\s*+(\d{1,15})").search,
}
_MAX_TIMING_CHARS: Final = 4096


Part = Callable[[Mapping[str, str], dict[str, Any]], None]  # (response headers, metadata members to add to)


def parts(response_names: Collection[str] | None) -> tuple[Part, ...]:
    """What can be read from responses that have these headers; None: any may be there."""
    return tuple(
        part for names, part in _PARTS if response_names is None or any(name in response_names for name in names)
    )


def read_call(
    request: Mapping[str, str],
    response: Mapping[str, str],
    attributes: Mapping[str, Any],
    events: tuple[SpanEvent, ...],
    start_unix_ns: int,
    readers: tuple[Part, ...],
) -> dict[str, Any]:
    """Metadata members of a call; {} when nothing says anything. Headers as sent, names in lower case.

    readers: parts() of the response's header names. `read_response` is enough where the request, attributes and events
    cannot tell anything.
    """
    out: dict[str, Any] = {}
    read_response(response, readers, out)
    _queue(request, attributes, start_unix_ns, out)
    if attributes or events:
        _flags(attributes, events, out)
        for names, key in ((ASN, "network.asn"), (_RESEND, "retry")):
            value = next((attributes[name] for name in names if name in attributes), None)
            if value is not None:
                out[key] = plain_scalar(value)  # whatever it is: bytes and NaN are no JSON
    return {key: value for key, value in out.items() if key not in attributes} if attributes else out


def read_response(response: Mapping[str, str], readers: tuple[Part, ...], out: dict[str, Any]) -> None:
    """Adds to metadata what the headers of a response say."""
    if response:
        for reader in readers:
            reader(response, out)


def read_log(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The same from fields that proxies write into their access logs."""
    out: dict[str, Any] = {}
    upstream = flat.get("upstream_response_time")
    seconds = (
        [float(found) for found in _NUMBER.findall(str(upstream))] if isinstance(upstream, str | float | int) else []
    )
    if seconds and not isinstance(upstream, bool):
        out["timings.upstream_ms"] = round(sum(seconds) * 1000, 6)  # nginx lists one time per server that it tried
    status = flat.get("upstream_cache_status")
    if isinstance(status, str) and status not in ("", "-"):
        _cache_status(status, out)
    queue = flat.get("queue_ms")
    if isinstance(queue, int | float) and not isinstance(queue, bool):
        out["timings.queue_ms"] = plain_scalar(queue)
    return out


def _timings(response: Mapping[str, str], out: dict[str, Any]) -> None:
    for name in UPSTREAM_MS:
        if name in response and (number := _number(response[name])) is not None:
            out["timings.upstream_ms"] = number
            return
    timing = response.get("server-timing")
    if not timing:
        return
    lower = timing.lower()
    if "upstream" in lower or "origin" in lower:  # instrumentations put the trace there, and nothing else
        found = [
            float(duration[1])
            for entry in timing[:_MAX_TIMING_CHARS].split(",")
            if entry.partition(";")[0].strip().lower() in ("upstream", "origin")
            and (duration := _DURATION.search(entry))
        ]
        if found:
            out["timings.upstream_ms"] = round(sum(found), 6)


def _queue(request: Mapping[str, str], attributes: Mapping[str, Any], start_unix_ns: int, out: dict[str, Any]) -> None:
    for name in QUEUE_START:
        if name in request:
            since = _number(request[name].strip().removeprefix("t="))
            if since:
                # Seconds, milliseconds or microseconds since the epoch, told apart by magnitude (year 2001 to 2286).
                scale = 1e9 if since < 1e10 else 1e6 if since < 1e13 else 1e3
                queued = (start_unix_ns - since * scale) / 1e6
                if 0 <= queued < 3_600_000:  # more than an hour is a clock, not a queue
                    out["timings.queue_ms"] = round(queued, 3)
                    return
    value = attributes.get("queue_ms")
    if isinstance(value, int | float) and not isinstance(value, bool):
        out["timings.queue_ms"] = plain_scalar(value)


def _cache(response: Mapping[str, str], out: dict[str, Any]) -> None:
    for name in CACHE_STATUS:
        if response.get(name):
            _cache_status(response[name], out)
            return
    age = _number(response["age"]) if "age" in response else None
    if age:
        out["result.cache.hit"] = True


def _cache_status(text: str, out: dict[str, Any]) -> None:
    out["result.cache.status"] = text[:200]
    out["result.cache.hit"] = _HIT(text) is not None


def _quota(response: Mapping[str, str], out: dict[str, Any]) -> None:
    limit, remaining, used = (_first_number(response, names) for names in (LIMIT, REMAINING, USED))
    bucket = ""
    for name, parameter in (("ratelimit-policy", "q"), ("ratelimit", "r")):
        policy = _POLICY.match(response[name][:1000]) if name in response else None
        if policy is not None:
            value = _PARAMETERS[parameter](policy[2])
            bucket = bucket or ("" if policy[1].strip().isdigit() else policy[1].strip())
            if value and parameter == "q":
                limit = int(value[1]) if limit is None else limit
            elif value:
                remaining = int(value[1]) if remaining is None else remaining
    if limit is None and remaining is None and used is None and not bucket:
        return
    if bucket:
        out["quota.bucket"] = bucket
    out["quota.consumed"] = 1 if used is None else used
    if limit is not None:
        out["quota.limit"] = limit
    if remaining is not None:
        out["quota.remaining"] = remaining


def _pop(response: Mapping[str, str], out: dict[str, Any]) -> None:
    ray = response.get("cf-ray", "")
    pop = ray.rpartition("-")[2] if "-" in ray else ""
    pop = pop or response.get("x-served-by", "").rpartition("-")[2] or response.get("x-amz-cf-pop", "")
    if pop:
        out["network.pop"] = pop[:100]


def _flags(attributes: Mapping[str, Any], events: tuple[SpanEvent, ...], out: dict[str, Any]) -> None:
    places = [attributes, *(event.attributes for event in events if event.name.startswith("feature_flag"))]
    for place in places:
        experiment = next((place[name] for name in EXPERIMENT if isinstance(place.get(name), str)), None)
        variant = next((place[name] for name in VARIANT if isinstance(place.get(name), str)), None)
        if experiment or variant:
            if experiment:
                out["flags.experiment"] = experiment
            if variant:
                out["flags.variant"] = variant
            return


def _number(text: str) -> float | int | None:
    found = _NUMBER.match(text.strip())
    if found is None:
        return None
    return float(found[0]) if "." in found[0] else int(found[0])


def _first_number(response: Mapping[str, str], names: tuple[str, ...]) -> float | int | None:
    return next(
        (number for name in names if name in response and (number := _number(response[name])) is not None), None
    )


_PARTS: Final[tuple[tuple[tuple[str, ...], Part], ...]] = (
    ((*UPSTREAM_MS, "server-timing"), _timings),
    ((*CACHE_STATUS, "age"), _cache),
    ((*LIMIT, *REMAINING, *USED, "ratelimit", "ratelimit-policy"), _quota),
    (POP, _pop),
)
