"""Client and peer addresses, spec/mapping.md §3.7."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import address


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7:51234 ", "203.0.113.7"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("2001:db8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("unknown", ""),
        ("localhost", ""),
        ("/var/run/app.sock", ""),
        ("300.1.1.1", ""),
        ("_hidden", ""),
        ("", ""),
        ("1" * 5000, ""),
    ],
)
def test_only_valid_addresses_count(text: str, ip: str) -> None:
    assert address.valid_ip(text) == ip


@pytest.mark.parametrize(
    ("headers", "ip"),
    [
        ({"x-forwarded-for": "unknown, 203.0.113.99:51234, 10.0.0.4"}, "203.0.113.99"),
        ({"x-client-ip": "198.51.100.1", "x-forwarded-for": "203.0.113.9"}, "198.51.100.1"),
        ({"x-client-ip": "nonsense", "x-real-ip": "203.0.113.9"}, "203.0.113.9"),
        ({"forwarded": 'for=_x, for="[2001:db8::1]:4711";proto=https'}, "2001:db8::1"),
        ({"Forwarded": "for=203.0.113.9"}, "10.0.0.4"),
        ({"user-agent": "203.0.113.9"}, "10.0.0.4"),
        ({}, "10.0.0.4"),
    ],
)
def test_headers_come_before_attributes(headers: dict[str, str], ip: str) -> None:
    assert address.client_ip(headers, ["shop.test", None, "10.0.0.4"]) == ip


@pytest.mark.parametrize("name", address.CLIENT_HEADERS)
def test_every_listed_header_names_the_caller(name: str) -> None:
    assert address.client_ip({name: "203.0.113.7"}, ()) == "203.0.113.7"


def test_untrusted_headers_are_not_read() -> None:
    assert address.client_ip({"x-real-ip": "203.0.113.9"}, ["10.0.0.4"], trust_forwarded=False) == "10.0.0.4"


def test_nobody_says() -> None:
    assert address.client_ip({"x-real-ip": "unknown"}, [None, 7, "host"]) == ""
    assert address.peer_ip([]) == ""


@given(st.ip_addresses(network="0.0.0.0/0"))
def test_every_ipv4_address_survives_with_and_without_a_port(ip: IPv4Address | IPv6Address) -> None:
    assert address.valid_ip(f"{ip}:80") == address.valid_ip(str(ip)) == str(ip)


@given(st.ip_addresses(network="2001:db8::/32"))
def test_every_ipv6_address_survives_bare_and_in_brackets(ip: IPv4Address | IPv6Address) -> None:
    assert address.valid_ip(f"[{ip.exploded}]:80") == address.valid_ip(str(ip)) == str(ip)
