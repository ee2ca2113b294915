"""What the receiver counts. The assembly renders it; the ledger adds it up (spec/design.md §3 P4).

Every request ends in exactly one of `requests` (answered 200) and `refused_requests`; every record of a request that
was decoded in exactly one of `accepted_records` and `refused_records`. Tenants are those that authenticated, so the
tables are bounded by the settings.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

REFUSALS = {
    "malformed": "400: not OTLP, not what Content-Encoding says, or no usable record",
    "malformed_http": "400: not HTTP/1.1; the connection is closed",
    "wrong_address": "400: spans, log records, metrics or another format, sent where it does not belong",
    "http2": "400: HTTP/2 or gRPC; the connection is closed",
    "tls_on_plain": "400: TLS on the port of plain HTTP; the connection is closed",
    "plain_on_tls": "plain HTTP on the port of TLS; the connection is closed",
    "tls_handshake": "no common version or cipher, or no trusted certificate; the connection is closed",
    "unauthenticated": "401: no key, or a wrong one",
    "forbidden": "403",
    "unknown_path": "404",
    "method": "405: not POST",
    "too_slow": "408: headers or body came too slowly; the connection is closed",
    "too_large": "413: over max_body_bytes, max_records or max_elements",
    "media_type": "415: unknown Content-Type or Content-Encoding",
    "expectation": "417",
    "headers_too_large": "431",
    "quota": "429: over the tenant's own quota",
    "overloaded": "503: the spool or max_in_flight_bytes is full, or we are stopping",
    "connections": "503: over max_connections; the connection is closed",
    "internal": "503: a fault of ours",
    "gone": "the client went away before its request was complete",
}


class Key(NamedTuple):
    """Labels of a count of records or requests."""

    tenant: str
    signal: str
    reason: str = ""


class ReceiverCounts:
    """Plain counters, changed only on the event loop."""

    def __init__(self) -> None:
        self.requests: Counter[Key] = Counter()  # answered 200, reason ""
        self.refused_requests: Counter[Key] = Counter()  # reason of REFUSALS; signal "" when the path names none
        # Answered 200 with a sentence: "misspelled", nothing was in it but keys that OTLP/JSON does not have.
        self.warned_requests: Counter[Key] = Counter()
        self.accepted_records: Counter[Key] = Counter()  # durably taken in, duplicates included
        self.refused_records: Counter[Key] = Counter()  # reason "partial" (refused alone), else of REFUSALS
        self.received_bytes: Counter[Key] = Counter()  # bodies as sent, of requests answered 200
        self.inflated_bytes: Counter[Key] = Counter()
        self.resent_records = 0  # of accepted_records, those already stored by an earlier request with the same bytes
        self.connections = 0  # open now
        self.in_flight_bytes = 0  # now

    def accepted(self, tenant: str, signal: str, records: int, refused: int, sent: int, inflated: int) -> None:
        key = Key(tenant, signal)
        self.requests[key] += 1
        self.accepted_records[key] += records
        self.received_bytes[key] += sent
        self.inflated_bytes[key] += inflated
        if refused:
            self.refused_records[Key(tenant, signal, "partial")] += refused

    def refused(self, tenant: str, signal: str, reason: str, records: int = 0) -> None:
        """records: how many the request held, when it was decoded."""
        key = Key(tenant, signal, reason)
        self.refused_requests[key] += 1
        if records:
            self.refused_records[key] += records
