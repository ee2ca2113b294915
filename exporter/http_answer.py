"""What an HTTP destination's answer means to the pipeline; for the sinks that send over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from exporter.errors import Retryable, SinkError, TooLarge, Unauthorised

LONGEST_RETRY_AFTER_S = 300.0  # a destination that asks for more is asked again sooner: its clock may be wrong

_UNAUTHORISED = frozenset({401, 402, 403, 407})
# About the rows as sent: halving the batch finds the one that is to blame.
_ROWS = frozenset({400, 413, 414, 415, 422, 431})


def error_of(status: int, headers: Mapping[str, str], now: datetime | None = None) -> SinkError | None:
    """The pipeline's exception for an answer, None for 2xx. headers: names in any case must be found.

    A web page is nobody's yes: a proxy's login form comes with 200. Everything that is not about the rows or our
    credentials may pass: also a redirect and a 404, which mean a wrong address, and must never empty a backlog into the
    dead letters.
    """
    if 200 <= status < 300:
        if headers.get("Content-Type", "").startswith("text/html"):
            return Retryable(f"the destination answered {status} and a web page: is its address right?")
        return None
    if status in _UNAUTHORISED:
        return Unauthorised(f"the destination answered {status}")
    if status in _ROWS:
        return TooLarge(f"the destination answered {status}")
    return Retryable(f"the destination answered {status}", retry_after_s(headers, now))


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that Retry-After asks for, at most LONGEST_RETRY_AFTER_S; None when it is absent or cannot be read.

    Source: RFC 9110 section 10.2.3, seconds or a date.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for absurdly long numbers
        return None
    wait = (when.replace(tzinfo=when.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds()
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER_S)
