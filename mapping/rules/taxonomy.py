"""error_type: the bucket of a failure, comparable between services (mapping.md §8). 4xx and 5xx never share one."""

from __future__ import annotations

VALIDATION = "validation"
AUTH = "auth"
AUTHORIZATION = "authorization"
QUOTA = "quota"
NOT_FOUND = "not_found"
TIMEOUT = "timeout"
CONFLICT = "conflict"
RATE_LIMIT = "rate_limit"
UPSTREAM = "upstream"
CLIENT_ERROR = "client_error"
SERVER = "server"
NETWORK = "network"

_NAMED = {
    400: VALIDATION,
    401: AUTH,
    402: QUOTA,
    403: AUTHORIZATION,
    404: NOT_FOUND,
    408: TIMEOUT,
    409: CONFLICT,
    410: NOT_FOUND,
    412: CONFLICT,
    422: VALIDATION,
    429: RATE_LIMIT,
    502: UPSTREAM,
    503: UPSTREAM,
    504: TIMEOUT,
}
BY_STATUS = tuple(
    "" if status < 400 else _NAMED.get(status, CLIENT_ERROR if status < 500 else SERVER) for status in range(600)
)
_TIMEOUT_WORDS = ("timeout", "deadline")
_NETWORK_WORDS = ("connect", "econn", "dns", "enotfound", "socket", "unreachable")


def error_type(status: int, failed: bool = False, raw: str = "", *, outgoing: bool = False) -> str:
    """The bucket of a call, "" when it did not fail.

    status: HTTP status, 0 when no response was seen; only then the rest counts.
    failed: span status 2, an error.type or an exception event. raw: error.type as sent. outgoing: we made the call.
    """
    if status:
        return BY_STATUS[status] if 0 < status < 600 else ""
    if not (failed or raw):
        return ""
    text = raw.lower()
    if any(word in text for word in _TIMEOUT_WORDS):
        return TIMEOUT
    if any(word in text for word in _NETWORK_WORDS):
        return NETWORK
    return NETWORK if outgoing else SERVER
