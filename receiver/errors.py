"""What the receiver answers instead of 200. Only `receiver` raises these; only `receiver.app` answers with them.

BadRequest     the sender's fault: 4xx, never retried by a client that follows OTLP
  Throttled    one tenant's own quota: 429 with Retry-After
Overloaded     ours: 503 with Retry-After; also raised by the Intake behind the receiver
"""

from __future__ import annotations

from collections.abc import Mapping

# Statuses and what they are called in the counters (receiver/counts.py REFUSALS).
REASON_OF_STATUS = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "unknown_path",
    405: "method",
    408: "too_slow",
    413: "too_large",
    415: "media_type",
    417: "expectation",
    429: "quota",
    431: "headers_too_large",
    503: "overloaded",
}


class BadRequest(Exception):
    """A request that fails whenever it is sent. `message` is for the sender: readable, bounded, no large echo."""

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        field: str = "body",
        reason: str = "",
    ) -> None:
        """field: the part of the request that is wrong, told in the details of a 400. reason: as it is counted, where
        the status does not say it."""
        super().__init__(message)
        self.reason = reason or REASON_OF_STATUS.get(status, "malformed")
        self.status = status
        self.field = field
        self.message = message
        self.headers: dict[str, str] = dict(headers or {})


class Throttled(BadRequest):
    """One tenant is over its own quota. Other tenants never see it."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(429, message, {"Retry-After": str(retry_after_s)})


class Overloaded(Exception):
    """We cannot take the request now. Clients give up when told to wait long, so retry_after_s is 1 or 2."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
