"""HTTP exchanges that structured logs describe (spec/mapping.md §6 L5): access logs of applications and gateways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from mapping.dialects.reading import Dialects, Header, Reading
from mapping.dialects.table import Unit
from mapping.logs.durations import duration_ms, parts_ms
from mapping.rules import address, taxonomy, uri
from mapping.rules.headers import join
from mapping.rules.null_words import is_absent
from mapping.rules.verbs import VERBS

# In lower case these are methods of HTTP still; `search`, `copy` and `update` are names of functions.
_COMMON_VERBS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_SCHEMES = frozenset(("http", "https", "ws", "wss"))
_OUTGOING = frozenset(("outgoing", "outbound", "egress", "client"))

_REQUEST_LINE = re.compile(r"([A-Za-z-]{3,20}) (\S{1,16384})(?: (?:HTTP/)?[0-9.]{1,4})?").fullmatch
_STATUS_TEXT = re.compile(r"[1-5][0-9]{2}(?: [A-Za-z' -]{1,64})?").fullmatch
_HOST = re.compile(r"[A-Za-z0-9._~%\-\[\]:]{1,512}").fullmatch


class HttpExchange(NamedTuple):
    """One HTTP exchange as a log body tells it; "" for what it does not tell."""

    verb: str  # upper case
    status: int  # 100 to 599; 0 where the caller gave up before there was an answer
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
    origin: uri.Origin  # what captured headers say about the public side

    def uri(self, service: str, route: str = "", mask: uri.Mask = None, mask_path: uri.Mask = None) -> uri.Uri:
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
            origin=self.origin,
            service=service,
            route=route,
            mask=mask,
            mask_path=mask_path,
        )


@dataclass(frozen=True, slots=True)  # read field by field for every record: a quarter of the time of a tuple's
class HttpKeys:
    """The keys of a record that tell of an exchange, each list in the order of precedence."""

    method: tuple[str, ...]
    methods: Mapping[int, str]  # that are written as numbers
    request_line: tuple[str, ...]
    status: tuple[str, ...]
    ended_by: tuple[str, ...]
    url: tuple[str, ...]
    path: tuple[str, ...]
    query: tuple[str, ...]
    route: tuple[str, ...]
    host_header: tuple[str, ...]
    host: tuple[str, ...]
    perhaps_host: tuple[str, ...]
    port: tuple[str, ...]
    scheme: tuple[str, ...]
    tls: tuple[str, ...]
    forwarded_for: tuple[str, ...]
    forwarded_host: tuple[str, ...]
    forwarded_proto: tuple[str, ...]
    ip: tuple[str, ...]
    user_agent: tuple[str, ...]
    durations: tuple[tuple[str, Unit], ...]
    duration_parts: tuple[str, ...]
    direction: tuple[str, ...]
    headers: tuple[Header, ...]


def http_keys(reading: Reading) -> HttpKeys | None:
    """The keys that tell of an exchange; None when they cannot."""
    of = reading.of
    located = of("url") or of("path") or of("route") or of("request_line")
    if not (of("status") and (of("method") or of("request_line")) and located):
        return None
    return HttpKeys(
        method=of("method"),
        methods=reading.methods,
        request_line=of("request_line"),
        status=of("status"),
        ended_by=of("ended_by"),
        url=of("url"),
        path=of("path"),
        query=of("query"),
        route=of("route"),
        host_header=of("host_header"),
        host=of("host"),
        perhaps_host=of("perhaps_host"),
        port=of("port"),
        scheme=of("scheme"),
        tls=of("tls"),
        forwarded_for=of("forwarded_for"),
        forwarded_host=of("forwarded_host"),
        forwarded_proto=of("forwarded_proto"),
        ip=of("ip"),
        user_agent=of("user_agent"),
        durations=reading.durations,
        duration_parts=of("duration_parts"),
        direction=of("direction"),
        headers=reading.headers,
    )


def exchange_in(flat: Mapping[str, object], trust_forwarded: bool = True) -> HttpExchange | None:
    """The exchange in a flattened log body by the dialects that are built in; None without a known method, a status,
    and a URL, path or route.
    """
    names = tuple(flat)
    short = len(names) <= 64 and sum(map(len, names)) <= 2048
    keys = _remembered(names) if short else _keys_of(names)
    return exchange_by(keys, flat, trust_forwarded) if keys is not None else None


@lru_cache(maxsize=1)
def built_in() -> Dialects:
    """The dialects of this release, for records without settings."""
    return Dialects()


def _keys_of(names: tuple[str, ...]) -> HttpKeys | None:
    return http_keys(built_in().reading(names))


_remembered = lru_cache(maxsize=1024)(_keys_of)
_new = tuple.__new__  # an exchange by position, in its field order: a third of the cost of the class


def exchange_by(keys: HttpKeys, flat: Mapping[str, object], trust_forwarded: bool = True) -> HttpExchange | None:
    """As `exchange_in`, for a caller that remembers what the body's keys mean."""
    verb = _verb(flat, keys)
    target = ""
    if not verb and keys.request_line:
        verb, target = _request_line(flat, keys.request_line)
    status = _status(flat, keys.status) if verb else 0
    if not status and not (verb and keys.ended_by and _gave_up(flat, keys.ended_by)):
        return None
    url, path = _text(flat, keys.url), _text(flat, keys.path) if keys.path else ""
    if " " in url and (line := _REQUEST_LINE(url)) is not None:  # as Logback's access events call it
        url = line[2]
    if not url and not path:
        url = target or (_request_line(flat, keys.request_line)[1] if keys.request_line else "")
    route = _route(flat, keys.route) if keys.route else ""
    if path and url[:1] == "/" and ("*" in path or "/:" in path or "{" in path):  # a framework's pattern
        route, path = route or ("" if "*" in path else path), ""
    if not (url or path or route):
        return None
    if not verb.isupper():  # a word that is a method only where a place stands beside it
        verb = verb.upper()
        if (url or path or route)[:1] != "/" and "://" not in url:
            return None
    request, response = _headers(flat, keys.headers) if keys.headers else ({}, {})
    ip = _ip(flat, keys, request, trust_forwarded)
    host, is_header = _host(flat, keys, ip)
    scheme = _text(flat, keys.scheme).lower() if keys.scheme else ""
    if keys.tls and scheme not in _SCHEMES:
        scheme = "https" if any(_says_tls(flat[key]) for key in keys.tls) else ""
    outgoing = keys.direction != () and any(
        isinstance(kind := flat[key], str) and kind.lower() in _OUTGOING for key in keys.direction
    )
    return _new(
        HttpExchange,
        (
            verb,
            status,
            url,
            path,
            _query(flat, keys.query) if keys.query else "",
            route,
            scheme if scheme in _SCHEMES else "",
            host,
            is_header,
            uri.port_number(next((flat[key] for key in keys.port if flat[key]), None)) if keys.port else 0,
            ip,
            request.get("user-agent", "") or _text(flat, keys.user_agent),
            parts_ms(flat, keys.duration_parts) if keys.duration_parts else duration_ms(flat, keys.durations),
            outgoing,
            request,
            response,
            _origin(flat, keys, request, url) if trust_forwarded and not outgoing else uri.NO_ORIGIN,
        ),
    )


def _says_tls(value: object) -> bool:
    """True for a version or cipher of TLS, a number of one, and `on`."""
    if isinstance(value, str):
        return not is_absent(value) and value.lower() not in ("off", "false", "0")
    return bool(value)


def _verb(flat: Mapping[str, object], keys: HttpKeys) -> str:
    """The method: in upper case, or as written where it is a method only if a path stands beside it; "" for none."""
    for key in keys.method:
        value = flat[key]
        if isinstance(value, str):
            if value in VERBS:
                return value
            word = value.strip()
            if (upper := word.upper()) in _COMMON_VERBS or (word == upper and upper in VERBS):
                return word
        elif keys.methods and isinstance(value, int) and value in keys.methods:
            return keys.methods[value]
    return ""


def _request_line(flat: Mapping[str, object], keys: tuple[str, ...]) -> tuple[str, str]:
    """(method, target) of `GET /a HTTP/1.1`; ("", target) where only the target stands there."""
    for key in keys:
        value = flat[key]
        if isinstance(value, str) and len(value) <= 16_500:
            found = _REQUEST_LINE(text := value.strip())
            if found is not None and found[1] in VERBS:
                return found[1], found[2]
            if " " not in text and (text[:1] == "/" or "://" in text[:16]):
                return "", text
    return "", ""


def _status(flat: Mapping[str, object], keys: tuple[str, ...]) -> int:
    for key in keys:
        value = flat[key]
        if isinstance(value, str):
            value = int(value[:3]) if len(value) < 80 and _STATUS_TEXT(value) else 0
        if isinstance(value, (int, float)) and 100 <= value < 600 and value == int(value):
            return int(value)
    return 0


def _gave_up(flat: Mapping[str, object], keys: tuple[str, ...]) -> bool:
    said = (flags for key in keys if isinstance(flags := flat[key], str))
    return any(taxonomy.of_failure((flags,), direction="Incoming") == taxonomy.CANCELLED for flags in said)


def _text(flat: Mapping[str, object], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = flat[key]
        if type(value) is list and value:
            value = value[0]
        if type(value) is str and not is_absent(value):
            return value
    return ""


def _query(flat: Mapping[str, object], keys: tuple[str, ...]) -> str:
    """The query string; texts under the same names that are none (SQL, GraphQL, a search) are passed over."""
    for key in keys:
        value = flat[key]
        if isinstance(value, str) and not is_absent(value) and ("=" in value or value[:1] == "?") and "\n" not in value:
            text = value.strip()
            if " " not in text and text[:1] not in ("{", "["):
                return text
    return ""


def _route(flat: Mapping[str, object], keys: tuple[str, ...]) -> str:
    """The route; names of routes and of functions under the same keys are none."""
    for key in keys:
        value = flat[key]
        if isinstance(value, str) and "/" in value and not is_absent(value):
            return value
    return ""


def _host(flat: Mapping[str, object], keys: HttpKeys, ip: str) -> tuple[str, bool]:
    """(host, whether it names its own port). ip: the caller's address, which some servers log as `host`."""
    for key in keys.host_header:
        if text := _authority(flat, key):
            return text, True
    for key in keys.host:
        if text := _authority(flat, key):
            return text, False
    for key in keys.perhaps_host:
        if (text := _authority(flat, key)) and _public(text, ip):
            return text, False
    return "", False


def _authority(flat: Mapping[str, object], key: str) -> str:
    text = _text(flat, (key,)).strip()
    return text if text and text not in ("_", "*", ".") and _HOST(text) else ""


def _public(host: str, ip: str) -> bool:
    """False for what is more likely the machine that logged, or the caller, than the host that was called."""
    if address.valid_ip(host):
        return bool(ip) and address.valid_ip(host) != ip
    if host == "localhost" or ":" in host:
        return True
    return "." in host and not host.endswith((".internal", ".local", ".localdomain", ".lan", ".svc"))


def _headers(flat: Mapping[str, object], keys: tuple[Header, ...]) -> tuple[dict[str, str], dict[str, str]]:
    request: dict[str, str] = {}
    response: dict[str, str] = {}
    for key, name, of_request in keys:
        if text := join(flat[key]):
            (request if of_request else response)[name] = text
    return request, response


def _ip(flat: Mapping[str, object], keys: HttpKeys, request: Mapping[str, str], trust_forwarded: bool) -> str:
    if trust_forwarded:
        for key in keys.forwarded_for:
            value = join(flat[key])
            if value and (found := address.client_ip({"x-forwarded-for": value}, ())):
                return found
    named = [flat[key] for key in keys.ip]
    if named and isinstance(first := named[0], str) and "," in first:  # the list of a proxy's header
        named[0] = first.partition(",")[0]
    return address.client_ip(request, named, trust_forwarded=trust_forwarded)


def _origin(flat: Mapping[str, object], keys: HttpKeys, request: Mapping[str, str], url: str) -> uri.Origin:
    """What Forwarded, X-Forwarded-* and Host say; Host only where the URL itself names no host."""
    if not (request or keys.forwarded_host or keys.forwarded_proto):
        return uri.NO_ORIGIN
    known = {name: request[name] for name in uri.ORIGIN_HEADERS if name in request}
    if "://" in url[:16]:
        known.pop("host", None)
        known.pop(":authority", None)
    if "x-forwarded-host" not in known and (host := _text(flat, keys.forwarded_host)):
        known["x-forwarded-host"] = host
    if "x-forwarded-proto" not in known and (proto := _text(flat, keys.forwarded_proto)):
        known["x-forwarded-proto"] = proto
    return uri.public_origin(known)
