"""Addresses as destinations: which spellings mean the same place, and which place is this machine."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from receiver.endpoint import parse_endpoint

LOOPBACK = "loopback"
EVERYWHERE = "everywhere"  # all interfaces of this machine
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})


class Place(NamedTuple):
    """A port of a host, whatever way it was written."""

    host: str
    port: int


def place_of_url(address: str, default_ports: dict[str, int]) -> Place | None:
    """The place of an http(s) address; None when it has none."""
    try:
        parts = urlsplit(address)
        port = parts.port or default_ports.get(parts.scheme, 0)
        return Place(same_host(parts.hostname), port) if parts.hostname else None
    except ValueError:
        return None


def place_of_endpoint(endpoint: str) -> Place:
    """The place of a listening `host:port`; no host is every interface. Raises ValueError."""
    host, port = parse_endpoint(endpoint)
    return Place(same_host(host) if host else EVERYWHERE, port)


def same_host(host: str) -> str:
    """One spelling for a host: small letters, no dot at the end, numbers as numbers, `loopback` for this machine's."""
    host = host.lower().rstrip(".").partition("%")[0]
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        return LOOPBACK
    address = _number(host)
    if address is None:
        return host
    if address.is_loopback:
        return LOOPBACK
    return EVERYWHERE if address.is_unspecified else str(address)


def is_itself(address: str, endpoint: str) -> bool:
    """Whether an http(s) address leads to what listens at an endpoint of this machine. Asks no name server."""
    try:
        there, here = place_of_url(address, {"http": 80, "https": 443}), place_of_endpoint(endpoint)
    except ValueError:
        return False
    if there is None or there.port != here.port or not here.port:
        return False
    own = there.host in (LOOPBACK, EVERYWHERE, *_own_names()) or _is_own_number(there.host)
    if here.host == EVERYWHERE:
        return own
    if here.host == LOOPBACK:
        return there.host in (LOOPBACK, EVERYWHERE, *_own_names())
    return there.host == here.host or (own and here.host in _own_names() and there.host != LOOPBACK)


def overlap(one: str, other: str) -> bool:
    """Whether two listening endpoints want one port."""
    first, second = place_of_endpoint(one), place_of_endpoint(other)
    hosts = {first.host, second.host}
    return first.port == second.port != 0 and (len(hosts) == 1 or EVERYWHERE in hosts)


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        try:  # 127.1 and 0x7f000001, which programs take for numbers too
            return ipaddress.ip_address(socket.inet_aton(host)) if host[:1].isdigit() else None
        except OSError:
            return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _own_names() -> set[str]:
    name = socket.gethostname().lower().rstrip(".")
    return {name, name.partition(".")[0]}


def _is_own_number(host: str) -> bool:
    """Whether the number belongs to an interface of this machine: only those can be bound."""
    address = _number(host)
    if address is None:
        return False
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
