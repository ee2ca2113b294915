"""IP addresses of callers and callees (spec/mapping.md §3.7). Only valid ones count: host names and sockets do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

# The order of the Kong plugin for Moesif (client_ip.lua): first header that holds a valid address wins.
CLIENT_HEADERS = (
    "x-client-ip",
    "x-forwarded-for",
    "cf-connecting-ip",
    "fastly-client-ip",
    "true-client-ip",
    "x-real-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "forwarded-for",
    "forwarded",
)
CLIENT_ATTRIBUTES = (
    "client.address",
    "http.client_ip",
    "network.peer.address",
    "net.sock.peer.addr",
    "net.peer.ip",
    "metadata.requester_ip_address",  # LiteLLM
)
PEER_ATTRIBUTES = ("network.peer.address", "net.sock.peer.addr", "net.peer.ip")

CLIENT_HEADER_SET = frozenset(CLIENT_HEADERS)
# "[" + 45 characters of IPv6 + zone + "]:65535" and quotes; anything longer is no address.
_MAX_CHARS = 80


def client_ip(headers: Mapping[str, str], attributes: Iterable[object], *, trust_forwarded: bool = True) -> str:
    """The caller of an incoming request, "" when nobody says.

    headers: captured request headers, names in lower case. attributes: the values of CLIENT_ATTRIBUTES, in
    that order. Headers come first because client.address often is the nearest proxy. trust_forwarded False:
    attributes only.
    """
    if trust_forwarded and headers and not CLIENT_HEADER_SET.isdisjoint(headers):
        for name in CLIENT_HEADERS:
            text = headers.get(name)
            if text and (found := _leftmost(text, forwarded=name in ("forwarded", "x-forwarded"))):
                return found
    return peer_ip(attributes)


def peer_ip(attributes: Iterable[object]) -> str:
    """The first valid address among attribute values, such as those of PEER_ATTRIBUTES for an outgoing
    call.
    """
    for value in attributes:
        if isinstance(value, str) and value and (found := valid_ip(value)):
            return found
    return ""


def valid_ip(text: str) -> str:
    """The address in `text`, without port, brackets, quotes and zone, or "" when it holds none.

    IPv6 is written in its short form; an IPv4 address mapped into IPv6 (as Node reports sockets) is written
    as IPv4.
    """
    return _valid_ip(text) if len(text) <= _MAX_CHARS else ""


@lru_cache(maxsize=8192)
def _valid_ip(text: str) -> str:
    text = text.strip().strip("\"'").strip()
    if text[:1] == "[":
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _leftmost(text: str, *, forwarded: bool) -> str:
    """The first valid address of a comma list, taking `for=` out of Forwarded elements."""
    for item in text[:4096].split(","):
        if forwarded and "=" in item:
            item = next((value for key, value in _parameters(item) if key == "for"), "")
        if found := valid_ip(item):
            return found
    return ""


def _parameters(element: str) -> Iterable[tuple[str, str]]:
    for parameter in element.split(";"):
        key, _, value = parameter.partition("=")
        yield key.strip().lower(), value
