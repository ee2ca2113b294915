"""The full URI of a call: scheme, public host, encoded path, masked query (spec/mapping.md §3.2 U1 to U6).

Enters: attribute values and captured headers as the sender wrote them. Leaves: a Uri whose text is ASCII,
holds no user name, password or fragment, and has at most 500 query parameters. No text makes this raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple
from urllib.parse import quote

MAX_QUERY_PARAMS = 500  # the analytics API refuses more (spec/mapping.md §1.4)
SHORT_QUERY = MAX_QUERY_PARAMS  # characters; a shorter text cannot hold too many parameters
# A path that is its own encoded form (`encode`).
is_clean_path = re.compile(r"/[A-Za-z0-9/_.~!$&'()*+,:\-]*").fullmatch

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_PUBLIC_SCHEMES = frozenset(_DEFAULT_PORTS)
# Longer hosts (no DNS name is) are computed, not remembered: the caches below stay under a few MiB.
_MAX_CACHED_CHARS = 256

_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch
_AUTHORITY = re.compile(r"[A-Za-z0-9._~%\-\[\]:]+").fullmatch
# The target of CONNECT (RFC 9112 §3.2.3); no path looks so.
_AUTHORITY_FORM = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|localhost|(?=[A-Za-z0-9_\-]{1,63}\.)[A-Za-z0-9._\-]{1,253}):[0-9]{1,5}"
).fullmatch
_LATE_PORT = re.compile(r"(.{2,41}):([1-9][0-9]{3,4})").fullmatch  # behind an IPv6 address without brackets
_OWN_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})").fullmatch
# A percent sign that starts no %XX, and all that may not stand in a URI; `{}` and `|` are left alone: spec/mapping.md
# §3.2 U5.
_UNCLEAN = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!#-;=?-\[\]_a-z{|}~]").search
_UNCLEAN_RUNS = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!#-;=?-\[\]_a-z{|}~]+")


Mask = Callable[[str], str] | None  # hides secret values in a query string


class Uri(NamedTuple):
    """A resolved URI. `query` is encoded but not masked: identity is read from it, it is never stored."""

    text: str
    path: str  # encoded, starts with "/"
    query: str  # without "?", "" for none
    host_guessed: bool = False  # the host is the service name (metadata.uri_host_guessed)
    from_route: bool = False  # no path was sent: it is the route, or / without one (metadata.uri_from_route)
    query_params_dropped: int = 0


class Origin(NamedTuple):
    """What captured headers say about the public side of a server; "" where they say nothing."""

    scheme: str
    authority: str


NO_ORIGIN = Origin("", "")
ORIGIN_HEADERS = (
    "forwarded",
    "x-forwarded-proto",
    "x-forwarded-host",
    "host",
    ":authority",
)  # that public_origin reads


def resolve(
    *,
    full: str = "",
    target: str = "",
    scheme: str = "",
    host: str = "",
    port: object = None,
    host_is_header: bool = False,
    path: str = "",
    query: str = "",
    origin: Origin = NO_ORIGIN,
    service: str = "",
    route: str = "",
    mask: Mask = None,
    mask_path: Mask = None,
) -> Uri:
    """The URI of a call from what its record carries; every argument may be missing.

    full: url.full or http.url; `//host/a` is one only where nothing else names a host. target: http.target.
    host, port: the first that exists for the kind of span.
    host_is_header: the host came from http.host, which names its own port or means the default one.
    origin: from public_origin(), for everything but CLIENT spans.
    route: normalised, used only when there is no path at all; / where there is neither.
    mask: hides secret values in a query string. mask_path: in the parameters of a path, `;token=x`.
    """
    guessed = from_route = False
    if full[:2] == "//" and (target or host or origin.authority):
        # A target that begins with two slashes is a path: the caller must not choose the host (RFC 9112 §3.2.1).
        full, target = "", target or full
    if path[:1] != "/" and path[:8].lower().startswith(("http://", "https:/")):  # the target in absolute form
        full, path = full or path, ""
        full += f"?{query}" if query and "?" not in full else ""
    tunnel = next((text for text in (target, full, path) if text[:1] != "/" and _AUTHORITY_FORM(text)), "")
    if tunnel:
        full, target, path, host, port, host_is_header, origin = "", "", "/", tunnel, None, False, NO_ORIGIN
    absolute = (_absolute(full, scheme) if full else None) or (
        _absolute(target, scheme) if target and target[:2] != "//" else None
    )
    if absolute is not None:
        scheme, named, path, query = absolute
    else:
        if not target and full[:1] == "/":
            target = full
        if target:
            target_path, target_query = split_target(target)
            path = path or target_path
            query = query or target_query
        if scheme not in _DEFAULT_PORTS:
            scheme = scheme.lower() if _SCHEME(scheme) else ""
        number = 0 if host_is_header else port_number(port)
        if not host:
            guessed = not origin.authority
            host = quote(service, safe="", errors="replace") or "unknown"
        if len(host) <= _MAX_CACHED_CHARS:
            scheme, named = authority(scheme, host, number)
        else:
            scheme, named = authority.__wrapped__(scheme, host, number)
        if not path and not target:
            path, from_route = route or "/", True
    if origin.scheme or origin.authority:
        scheme, named = _public(origin, scheme, named)
    if mask_path is not None and (";" in path or "=" in path or "@" in path or ": " in path or ":%20" in path):
        path = mask_path(path)
    return _assemble(scheme, named, path, query, mask, guessed, from_route)


def told_of_origin(headers: Mapping[str, str]) -> tuple[str, str, str, str, str]:
    """What ORIGIN_HEADERS of a request say, for `read_origin`. Header names: in lower case."""
    get = headers.get
    return (
        get("forwarded", ""),
        get("x-forwarded-proto", ""),
        get("x-forwarded-host", ""),
        get("host", ""),
        get(":authority", ""),
    )


def public_origin(headers: Mapping[str, str]) -> Origin:
    """What Forwarded, X-Forwarded-*, Host of a request say (spec/mapping.md §3.2 U3). Header names: in lower case."""
    if not headers:
        return NO_ORIGIN
    values = told_of_origin(headers)
    if sum(map(len, values)) <= _MAX_CACHED_CHARS:
        return _origin(values)
    return read_origin(values)


@lru_cache(maxsize=4096)
def authority(scheme: str, host: str, port: int) -> tuple[str, str]:
    """(scheme, host and port) with IPv6 in brackets and the scheme's default port left out
    (spec/mapping.md §3.2 U2).

    A host that ends in `:digits` names its own port, whatever `port` says.
    scheme "" becomes https on 443, else http.
    """
    host = _without_userinfo(re.split(r"[/?#]", host, maxsplit=1)[0].strip())
    own = _OWN_PORT(host)
    if own is not None:
        host, port = own[1], int(own[2])
    elif host.count(":") > 1 and host[:1] != "[":
        host = f"[{host}]"
    elif host[:1] == "[" and host[-1:] != "]":  # an IPv6 address cut at its first colon
        host = ""
    scheme = scheme or ("https" if port == 443 else "http")
    host = encode(host) or "unknown"
    if port and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    return scheme, host


def port_number(value: object) -> int:
    """The port in a number or digit string (gRPC Python sends strings), 0 for none or nonsense."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0
    if isinstance(value, (int, float)) and 0 < value < 65536:
        return int(value)
    return 0


def split_target(target: str) -> tuple[str, str]:
    """(path, query) of a request target such as http.target."""
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def encode(text: str) -> str:
    """Percent-encoded UTF-8 for what may not stand in a URI; a stray % is %25 (spec/mapping.md §3.2 U5)."""
    if _UNCLEAN(text) is None:
        return text
    return _UNCLEAN_RUNS.sub(lambda run: quote(run[0], safe="", errors="replace"), text)


def _assemble(
    scheme: str,
    named: str,
    path: str,
    query: str,
    mask: Mask,
    guessed: bool,
    from_route: bool,
) -> Uri:
    path = encode(path)
    if "#" in path or "?" in path:
        # A decoded path may hold a question mark, and some senders put the query there: masks must see it.
        path, extra = split_target(path)
        query = query or extra
    if path[:1] != "/":
        path = "/" + path
    if not query:
        return Uri(f"{scheme}://{named}{path}", path, "", guessed, from_route)
    query = encode(query.partition("#")[0].removeprefix("?"))
    dropped = query.count("&") + 1 - MAX_QUERY_PARAMS
    if dropped > 0:
        query = "&".join(query.split("&", MAX_QUERY_PARAMS)[:MAX_QUERY_PARAMS])
    shown = mask(query) if mask is not None else query
    text = f"{scheme}://{named}{path}?{shown}" if shown else f"{scheme}://{named}{path}"
    return Uri(text, path, query, guessed, from_route, max(dropped, 0))


def _absolute(text: str, scheme: str) -> tuple[str, str, str, str] | None:
    """(scheme, authority, path, query) of a text that names its host, else None (spec/mapping.md §3.2 U1)."""
    if text[:2] == "//":
        text = f"{scheme.lower() if _SCHEME(scheme) else 'http'}:{text}"
    found = _ABSOLUTE.match(text)
    if found is None or not found[2]:
        return None
    host = _bracketed(found[2]) if found[2].count(":") > 1 else found[2]
    if len(host) <= _MAX_CACHED_CHARS:
        scheme, named = authority(found[1].lower(), host, 0)
    else:
        scheme, named = authority.__wrapped__(found[1].lower(), host, 0)
    return scheme, named, found[3], found[4] or ""


def _bracketed(host: str) -> str:
    """A URL's host with the brackets of an IPv6 address that were lost on the way, before its port if it has one."""
    bare = host.rpartition("@")[2]
    late = _LATE_PORT(bare) if bare[:1] != "[" and len(bare) < 48 else None
    if late is not None:
        try:
            IPv6Address(late[1])
        except AddressValueError:
            return host
        return f"[{late[1]}]:{late[2]}"
    return host


def _public(origin: Origin, scheme: str, named: str) -> tuple[str, str]:
    """The public scheme and authority where headers gave them (spec/mapping.md §3.2 U3)."""
    if origin.authority:
        return authority(origin.scheme or scheme, origin.authority, 0)
    if origin.scheme != scheme:
        # Only the scheme changed: the port belongs to the hop behind the proxy.
        own = _OWN_PORT(named)
        named = own[1] if own is not None else named
    return origin.scheme, named


def read_origin(values: tuple[str, str, str, str, str]) -> Origin:
    """The origin that `told_of_origin` tells of."""
    forwarded, proto, forwarded_host, host, pseudo_host = values
    scheme = ""
    for item in (_forwarded(forwarded, "proto"), _first(proto)):
        if item.lower() in _PUBLIC_SCHEMES:
            scheme = item.lower()
            break
    for item in (_forwarded(forwarded, "host"), _first(forwarded_host), host.strip(), pseudo_host.strip()):
        if len(item) <= _MAX_CACHED_CHARS and _AUTHORITY(item):
            return Origin(scheme, item)
    return Origin(scheme, "")


_origin = lru_cache(maxsize=4096)(read_origin)


def _forwarded(header: str, name: str) -> str:
    """The first `name=` of a Forwarded header (RFC 7239), unquoted."""
    for element in re.split(r"[,;]", header):
        key, _, value = element.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""


def _first(header: str) -> str:
    return header.partition(",")[0].strip()


def _without_userinfo(host: str) -> str:
    return host.rpartition("@")[2]
