"""Where connections come from: what counts as one sender when there are no keys, and what is said of strangers.

Behind a proxy all senders are one peer, as nothing that a header says of an address is believed: the limits by peer are
settings for that reason.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import time

from receiver.counts import ReceiverCounts

log = logging.getLogger(__name__)

_LOG_INTERVAL_S = 60.0

# Reasons of receiver.counts.REFUSALS for what comes to a port and is not its protocol -> the sentence in the log.
STRANGERS = {
    "http2": "HTTP/2, probably OTLP/gRPC, came to the port of OTLP/HTTP: set "
    "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or put a Collector in between",
    "tls_on_plain": "TLS came to the port of plain HTTP: use http:// there, or configure receiver.tls",
    "plain_on_tls": "plain HTTP came to the port of TLS: use https:// there",
    "tls_handshake": "a TLS handshake failed",
}


@functools.lru_cache(4096)
def peer_of(address: str | None) -> str:
    """One sender: an IPv4 address, or the /64 network of an IPv6 address, of which one machine may use all."""
    try:
        ip = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    mapped = ip.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.IPv6Network((ip, 64), strict=False))


class Strangers:
    """Counts what is not this port's protocol, and logs it at most once a minute and reason."""

    def __init__(self, counts: ReceiverCounts) -> None:
        self._counts = counts
        self._logged: dict[str, float] = {}

    def seen(self, reason: str, detail: str = "") -> None:
        """reason: of STRANGERS. detail: what more is known, readable and short."""
        self._counts.refused("", "", reason)
        now = time.monotonic()
        if now - self._logged.get(reason, -_LOG_INTERVAL_S) >= _LOG_INTERVAL_S:
            self._logged[reason] = now
            log.warning("%s%s; further ones are only counted", STRANGERS[reason], f" ({detail})" if detail else "")
