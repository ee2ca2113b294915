"""Addresses that settings name: checked when they are read, and told to people without the secrets in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# Up to the last @ before a blank: a password may hold / ? # and @, whatever the standard says of it.
_USERINFO = re.compile(r"(?<=://)([^\s:@/?#]*)(:?)(\S*)@")
_QUERY = re.compile(r"([?&;][^=&;#?\s]*=)[^&;#\s]+")
_SIGNAL_PATH = re.compile(r"/v1/(?:traces|logs|metrics|profiles)/*$", re.IGNORECASE)
HIDDEN = "**********"


def without_secrets(text: str, *, keep_query: frozenset[str] = frozenset()) -> str:
    """A text in which addresses have neither password nor values in their query; a user without a password is hidden
    too, because it is a key then. keep_query: names of parameters that are no secrets.
    """

    def value(match: re.Match[str]) -> str:
        return match[0] if match[1][1:-1] in keep_query else match[1] + HIDDEN

    def userinfo(match: re.Match[str]) -> str:
        user, colon, password = match.groups()
        return f"{user}:{HIDDEN}@" if colon and password else f"{HIDDEN}@"

    if "://" not in text:
        return text
    return _QUERY.sub(value, _USERINFO.sub(userinfo, text))


def refuse_odd_address(address: str) -> None:
    """Raises ValueError for what is no http(s) address of a host. Never repeats it: it may hold a secret."""
    if not address.lower().startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if address != address.strip() or re.search(r"\s", address):
        raise ValueError("there is a blank in the address")
    try:
        parts = urlsplit(address)
        named, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            "no address: behind the host stands what is no port; "
            "in a user or password write @ : / ? # as %40 %3A %2F %3F %23"
        ) from None
    if not named:
        raise ValueError("the address names no host")


def refuse_no_otlp_base(address: str) -> None:
    """Raises ValueError for an address to which `/v1/traces` cannot be added."""
    refuse_odd_address(address)
    parts = urlsplit(address)
    if parts.query or parts.fragment or address.endswith(("?", "#")):
        raise ValueError("the address has a query or a fragment; paths are added to it, so leave them out")
    if found := _SIGNAL_PATH.search(parts.path):
        raise ValueError(f"leave out {found[0]}: the path of each signal is added to the address")
