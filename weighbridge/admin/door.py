"""Who may ask the operator's port what, and what odd questions are answered.

Who may look is the console's entrance to tell (weighbridge/console/entrance.py); health and metrics are for everybody
who reaches the port. A page on the web reaches it too, through the browser of somebody who can: by a name of its own
that resolves to this machine (DNS rebinding), or by posting a form without reading the answer. So a request must call
the port by an address or a name that is known to be its own, and what changes something needs a header that no page of
another origin can send.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from weighbridge.admin import CLIENT_HEADER

log = logging.getLogger(__name__)

_READING: Final = frozenset({"GET", "HEAD"})
_LONGEST_TEXT: Final = 1000  # characters of a parameter
_MOST: Final = (1 << 63) - 1  # of a whole number, as SQLite and ClickHouse hold it
_LOG_INTERVAL_S: Final = 10.0
# What proxies say about the one they ask for.
_OF_PROXIES: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",  # JSON that quotes a sender is never taken for a page
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # a form's Origin would be null with no-referrer
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Door:
    """Checks every request before its handler, and answers whatever goes wrong with a sentence in JSON."""

    def __init__(self, hosts: Collection[str] = ()) -> None:
        """hosts: names of this port beside localhost; addresses need not be named."""
        self._hosts = {host.lower().rstrip(".") for host in hosts if host}
        self._logged = -_LOG_INTERVAL_S

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The handler's answer, or why there is none."""
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = _sentence(error.status, error.text or error.reason)
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        except Exception:
            now = time.monotonic()
            if now - self._logged >= _LOG_INTERVAL_S:
                self._logged = now
                log.exception("a question to the admin port could not be answered")
            response = _sentence(500, "internal error; the log says more")
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    def _check(self, request: web.Request) -> None:
        host = request.headers.get(hdrs.HOST, "")
        if host and not self._is_ours(host):
            raise web.HTTPMisdirectedRequest(
                text=f"this port is not called {host[:100]!r}; use its address, or name it in admin.allowed_hosts"
            )
        if request.method in _READING:
            return
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and _address_in(origin) != host.lower():
            raise web.HTTPForbidden(text="a page of another origin may not change anything here")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(text="a page of another site may not change anything here")
        if origin is None and CLIENT_HEADER not in request.headers:
            raise web.HTTPForbidden(text=f"what changes something needs a header {CLIENT_HEADER}, with any value")

    def _is_ours(self, host: str) -> bool:
        name = _name_in(host)
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # no name that somebody else can let point here


def _name_in(host: str) -> str:
    """The name or address in a Host header, in lower case, without port and brackets; "" when it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".").partition("%")[0]
    except ValueError:
        return ""


def _address_in(origin: str) -> str:
    """Host and port of an Origin header, as in a Host header; "" for `null` and what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def same_machine(request: web.Request) -> bool:
    """Whether a request comes from this machine itself, and not through a proxy on it."""
    if any(name in request.headers for name in _OF_PROXIES):
        return False
    peer, own = (_address(request, name) for name in ("peername", "sockname"))
    return peer is not None and (peer.is_loopback or peer == own)


def _address(request: web.Request, name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An end of the request's connection, as an address; None when it has none."""
    found = request.transport.get_extra_info(name) if request.transport else None
    try:
        address = ipaddress.ip_address(str(found[0]).partition("%")[0]) if found else None
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parameters(request: web.Request, known: Collection[str]) -> Mapping[str, str]:
    """The parameters of a question. Raises HTTPBadRequest for one that is not known, given twice, or absurdly long."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            raise web.HTTPBadRequest(text=f"unknown parameter {name[:60]!r}; there are {', '.join(sorted(known))}")
        if name in found:
            raise web.HTTPBadRequest(text=f"{name} is given twice")
        if len(value) > _LONGEST_TEXT or not value.isprintable():
            raise web.HTTPBadRequest(text=f"{name} is not a readable text of at most {_LONGEST_TEXT} characters")
        found[name] = value
    return found


def whole_number(name: str, text: str, least: int = 0, most: int = _MOST) -> int:
    """The number that a parameter is. Raises HTTPBadRequest."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise web.HTTPBadRequest(text=f"{name} is not a whole number from {least} to {most}")
    return int(text)


def _sentence(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
