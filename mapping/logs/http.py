"""HTTP exchanges described by structured logs (mapping.md §6 L5): access logs of applications, proxies and gateways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mapping.bounds import LONGEST_MS
from mapping.rules import address, uri
from mapping.rules.headers import joined
from mapping.rules.null_words import is_absent

# The registry of HTTP methods (IANA) and PURGE, which caches use.
VERBS = frozenset(
    """
    ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY
    MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT
    QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL
    """.split()  # noqa: SIM905 - a list literal of 39 words takes 39 lines
)

_METHOD = (
    "http.request.method",
    "http.method",
    "request.method",
    "req.method",
    "http_method",
    "request_method",
    "httpMethod",
    "method",
    "verb",
)
_STATUS = (
    "http.response.status_code",
    "http.status_code",
    "response.status_code",
    "response.statusCode",
    "response.status",
    "res.statusCode",
    "res.status",
    "status_code",
    "statusCode",
    "http_status",
    "response_code",
    "status",
)
_URL = (
    "url.full",
    "http.url",
    "request.url",
    "req.url",
    "request.uri",
    "url",
    "request_uri",
    "http.target",
    "target",
    "uri",
)
_PATH = ("url.path", "request.path", "req.path", "http.path", "path", "request_path")
_QUERY = ("url.query",)
_ROUTE = ("http.route", "route", "endpoint")
_HOST_HEADERS = ("http_host", "http.host", "request.headers.host", "request.host")
_HOST = (*_HOST_HEADERS, "server.address", "url.domain", "server_name", "hostname", "host")
_PORT = ("server.port", "url.port")
_SCHEME = ("url.scheme", "http.scheme", "scheme", "request.scheme")
_FORWARDED_FOR = ("x_forwarded_for", "http_x_forwarded_for")
_IP = (
    "client.ip",
    "client.address",
    "http.client_ip",
    "client_ip",
    "clientIp",
    "remote_addr",
    "remote_ip",
    "remoteAddress",
    "req.remoteAddress",
    "request.remoteAddress",
    "request.ip",
    "ip",
    "source.ip",
    "network.client.ip",
)
_USER_AGENT = ("http_user_agent", "user_agent", "user_agent.original", "request.user_agent")
_MILLISECONDS = (
    "duration_ms",
    "latency_ms",
    "responseTime",
    "response_time_ms",
    "elapsed_ms",
    "took_ms",
    "response.duration_ms",
)
_SECONDS = ("request_time", "duration_s")
_NANOSECONDS = ("event.duration",)
_WITH_UNIT = ("duration", "latency", "response.duration")
_DIRECTION = ("direction", "kind")
_OUTGOING = frozenset(("outgoing", "outbound", "egress", "client"))

METHOD_KEYS = frozenset(_METHOD)
_HEADER_PREFIXES = (
    ("request.headers.", True),
    ("req.headers.", True),
    ("response.headers.", False),
    ("res.headers.", False),
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
_DURATIONS = re.compile(rf"\s*(?:{_DURATION.pattern}\s*)+", re.ASCII).fullmatch
_MS_PER_UNIT = {"ns": 1e-6, "us": 1e-3, "\u00b5s": 1e-3, "\u03bcs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}


class HttpExchange(NamedTuple):
    """One HTTP exchange as a log body tells it; "" for what it does not tell."""

    verb: str  # upper case
    status: int  # 100 to 599
    url: str  # absolute, or a request target
    path: str
    query: str
    route: str  # as written
    scheme: str
    host: str
    host_is_header: bool
    port: int
    ip_address: str
    user_agent: str
    duration_ms: float  # -1.0 when unknown
    outgoing: bool
    request_headers: Mapping[str, str]  # names in lower case
    response_headers: Mapping[str, str]

    def uri(self, service: str, route: str = "", mask: uri.Mask = None) -> uri.Uri:
        """The full URI; `service` stands in for a host that nobody named, `route` for a path."""
        return uri.resolve(
            full=self.url,
            target=self.url,
            scheme=self.scheme,
            host=self.host,
            port=self.port,
            host_is_header=self.host_is_header,
            path=self.path,
            query=self.query,
            service=service,
            route=route,
            mask=mask,
        )


def exchange_in(flat: Mapping[str, object], trust_forwarded: bool = True) -> HttpExchange | None:
    """The exchange in a flattened log body; None without a known method, a status, and a URL, path or route."""
    if METHOD_KEYS.isdisjoint(flat):
        return None
    names = tuple(flat)
    short = len(names) <= 64 and sum(map(len, names)) <= 2048
    return exchange_by(_remembered(names) if short else keys_of(names), flat, trust_forwarded)


def exchange_by(keys: HttpKeys, flat: Mapping[str, object], trust_forwarded: bool = True) -> HttpExchange | None:
    """As `exchange_in`, for a caller that remembers what the body's keys are synonyms of."""
    verb = _verb(flat, keys.method)
    status = _status(flat, keys.status) if verb else 0
    if not status:
        return None
    url, path, route = _text(flat, keys.url), _text(flat, keys.path), _text(flat, keys.route)
    if not (url or path or route):
        return None
    request, response = _headers(flat, keys.headers) if keys.headers else ({}, {})
    host_key = next((key for key in keys.host if _text(flat, (key,))), "")
    return HttpExchange(
        verb,
        status,
        url,
        path,
        _text(flat, keys.query),
        route,
        _text(flat, keys.scheme),
        _text(flat, (host_key,)) if host_key else "",
        host_key in _HOST_HEADERS,
        uri.port_number(next((flat[key] for key in keys.port if flat[key]), None)),
        _ip(flat, keys, request, trust_forwarded),
        request.get("user-agent", "") or _text(flat, keys.user_agent),
        _duration_ms(flat, keys),
        any(isinstance(kind := flat[key], str) and kind.lower() in _OUTGOING for key in keys.direction),
        request,
        response,
    )


class HttpKeys(NamedTuple):
    """The synonyms that a set of body keys holds, each list in the order of precedence."""

    method: tuple[str, ...]
    status: tuple[str, ...]
    url: tuple[str, ...]
    path: tuple[str, ...]
    query: tuple[str, ...]
    route: tuple[str, ...]
    host: tuple[str, ...]
    port: tuple[str, ...]
    scheme: tuple[str, ...]
    forwarded_for: tuple[str, ...]
    ip: tuple[str, ...]
    user_agent: tuple[str, ...]
    milliseconds: tuple[str, ...]
    seconds: tuple[str, ...]
    nanoseconds: tuple[str, ...]
    with_unit: tuple[str, ...]
    direction: tuple[str, ...]
    headers: tuple[tuple[str, str, bool], ...]  # body key, header name, of the request?


def keys_of(names: tuple[str, ...]) -> HttpKeys:
    """The synonyms among a body's keys. One application writes its access log with the same keys again and again, so
    this is worth remembering.
    """
    present = set(names)
    headers = []
    for key in names:
        for prefix, of_request in _HEADER_PREFIXES:
            if key.startswith(prefix) and len(key) > len(prefix):
                name = key[len(prefix) :].lower()
                headers.append((key, name if "-" in name else name.replace("_", "-"), of_request))

    def here(synonyms: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(key for key in synonyms if key in present)

    return HttpKeys(
        method=here(_METHOD),
        status=here(_STATUS),
        url=here(_URL),
        path=here(_PATH),
        query=here(_QUERY),
        route=here(_ROUTE),
        host=here(_HOST),
        port=here(_PORT),
        scheme=here(_SCHEME),
        forwarded_for=here(_FORWARDED_FOR),
        ip=here(_IP),
        user_agent=here(_USER_AGENT),
        milliseconds=here(_MILLISECONDS),
        seconds=here(_SECONDS),
        nanoseconds=here(_NANOSECONDS),
        with_unit=here(_WITH_UNIT),
        direction=here(_DIRECTION),
        headers=tuple(headers),
    )


_remembered = lru_cache(maxsize=1024)(keys_of)


def _verb(flat: Mapping[str, object], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = flat[key]
        if isinstance(value, str) and (verb := value.strip().upper()) in VERBS:
            return verb
    return ""


def _status(flat: Mapping[str, object], keys: tuple[str, ...]) -> int:
    for key in keys:
        value = flat[key]
        if isinstance(value, str):
            value = int(value) if len(value) == 3 and value.isascii() and value.isdigit() else 0
        if isinstance(value, (int, float)) and 100 <= value < 600 and value == int(value):
            return int(value)
    return 0


def _text(flat: Mapping[str, object], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = flat[key]
        if isinstance(value, str) and not is_absent(value):
            return value
    return ""


def _headers(
    flat: Mapping[str, object], keys: tuple[tuple[str, str, bool], ...]
) -> tuple[dict[str, str], dict[str, str]]:
    request: dict[str, str] = {}
    response: dict[str, str] = {}
    for key, name, of_request in keys:
        if text := joined(flat[key]):
            (request if of_request else response)[name] = text
    return request, response


def _ip(flat: Mapping[str, object], keys: HttpKeys, request: Mapping[str, str], trust_forwarded: bool) -> str:
    if trust_forwarded:
        for key in keys.forwarded_for:
            value = flat[key]
            if isinstance(value, str) and (found := address.client_ip({"x-forwarded-for": value}, ())):
                return found
    return address.client_ip(request, [flat[key] for key in keys.ip], trust_forwarded=trust_forwarded)


def _duration_ms(flat: Mapping[str, object], keys: HttpKeys) -> float:
    for names, factor in ((keys.milliseconds, 1.0), (keys.seconds, 1e3), (keys.nanoseconds, 1e-6)):
        for key in names:
            value = flat[key]
            if value is not None and 0 <= (found := _number(value) * factor) <= LONGEST_MS:
                return found
    for key in keys.with_unit:
        value = flat[key]
        # Without a unit the number could be anything.
        if isinstance(value, str) and len(value) < 64 and _DURATIONS(value):
            found = sum(float(number) * _MS_PER_UNIT[unit] for number, unit in _DURATION.findall(value))
            if found <= LONGEST_MS:
                return found
    return -1.0


def _number(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return -1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value < 1e18:
        return -1.0
    return float(value)
