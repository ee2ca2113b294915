"""error_type: the bucket of a failure, comparable between services (spec/mapping.md §8). 4xx and 5xx share none.

A status decides when there is one. Without it the error's name does: the class of an SDK, a code of an operating
system, of gRPC or of a driver, in any spelling. Only names that tell of the network are `network`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

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
CANCELLED = "cancelled"  # the caller gave up: nobody's fault

_NAMED = {
    400: VALIDATION,
    401: AUTH,
    402: QUOTA,
    403: AUTHORIZATION,
    404: NOT_FOUND,
    407: AUTH,
    408: TIMEOUT,
    409: CONFLICT,
    410: NOT_FOUND,
    412: CONFLICT,
    422: VALIDATION,
    429: RATE_LIMIT,
    460: CANCELLED,  # Amazon's load balancers: the client closed the connection
    499: CANCELLED,  # nginx, and all who took it over
    502: UPSTREAM,
    503: UPSTREAM,
    504: TIMEOUT,
    520: UPSTREAM,  # Cloudflare's: the origin answered nothing it understood, 521 is down, 522 and 524 too slow
    521: UPSTREAM,
    522: TIMEOUT,
    523: UPSTREAM,
    524: TIMEOUT,
    525: UPSTREAM,
    526: UPSTREAM,
    529: UPSTREAM,  # overloaded, of model providers
    530: UPSTREAM,
}
BY_STATUS = tuple(
    "" if status < 400 else _NAMED.get(status, CLIENT_ERROR if status < 500 else SERVER) for status in range(600)
)

# The whole name, in small letters without separators: codes of gRPC, Connect and JSON-RPC, words that are too short or
# too common to be looked for within others.
_EXACT: Final = {
    "cancelled": CANCELLED,
    "canceled": CANCELLED,
    "invalidargument": VALIDATION,
    "deadlineexceeded": TIMEOUT,
    "notfound": NOT_FOUND,
    "alreadyexists": CONFLICT,
    "permissiondenied": AUTHORIZATION,
    "resourceexhausted": RATE_LIMIT,
    "failedprecondition": VALIDATION,
    "aborted": CONFLICT,
    "outofrange": VALIDATION,
    "unimplemented": SERVER,
    "internal": SERVER,
    "unavailable": UPSTREAM,
    "dataloss": SERVER,
    "unauthenticated": AUTH,
    "32700": VALIDATION,
    "32600": VALIDATION,
    "32601": NOT_FOUND,
    "32602": VALIDATION,
    "32603": SERVER,
    "57014": TIMEOUT,  # PostgreSQL: query_canceled, by its statement timeout
    "23505": CONFLICT,  # PostgreSQL: unique_violation
    "urlerror": NETWORK,
    "httprequestexception": NETWORK,  # .NET: no response came
}

# Envoy's response flags, several joined by commas: why a request ended as it did.
_FLAGS: Final = {
    "DC": CANCELLED,
    "DR": CANCELLED,
    "UT": TIMEOUT,
    "DT": TIMEOUT,
    "SI": TIMEOUT,
    "UMSDR": TIMEOUT,
    "RL": RATE_LIMIT,
    "UAEX": AUTHORIZATION,
    "NR": NOT_FOUND,
    "DPE": VALIDATION,
    "IH": VALIDATION,
    **dict.fromkeys(("UH", "UF", "UC", "UR", "UO", "URX", "LH", "NC", "UPE", "DF"), UPSTREAM),
}
# In words of small letters, the first that is found. What only sounds like another stands before it.
_NAMES: Final[tuple[tuple[str, str], ...]] = (
    (
        TIMEOUT,
        r"time(?:d)? ?out|deadline|time limit|query cancell?ed"
        r"|c ?url (?:error|errno) 28\b|nsurl error (?:domain )?1001\b",
    ),
    (
        CONFLICT,
        r"transaction (?:is )?abort|deadlock|\bconflict|already exists|duplicate|unique (?:constraint )?violation",
    ),
    (
        CANCELLED,
        r"cancell?(?:ed|ation|ing)\b|cancel error|client (?:has )?(?:abort|disconnect|closed|gone|hung up)|\babort"
        r"|disconnected client|request not usable|closed by (?:the )?client|nsurl error (?:domain )?999\b",
    ),
    (
        RATE_LIMIT,
        r"rate ?limit|too ?many ?requests|throttl|throughput exceeded|resource exhausted|request limit|slow ?down",
    ),
    (
        QUOTA,
        r"quota|insufficient (?:funds|credits?|balance)|limit exceeded|budget|billing|payment required|credit balance",
    ),
    (
        AUTHORIZATION,
        r"permission|forbidden|access ?denied|authorization|unauthori[sz]ed (?:access|operation)"
        r"|insufficient (?:scope|privilege)",
    ),
    (
        AUTH,
        r"unauthenticated|unauthori[sz]ed|not authori[sz]ed|authentication|bad credentials|expired ?token|token expired"
        r"|(?:invalid|incorrect) (?:api )?(?:key|token|credentials?|signature|client|grant)|signature does not match"
        r"|auth error|unrecognized client|credentials",
    ),
    (
        NETWORK,
        r"connect|\beconn|\be(?:not ?found|ai)\b|eai again|host not found|no such host|unknown host|\bdns\b"
        r"|name resolution|not resolved|resolve (?:host|proxy|name|address)|c ?url (?:error|errno)\b|nsurl error"
        r"|gai error|gaierror|socket|unreach|no route"
        r"|(?:host|net|network) ?down\b|hang ?up|\b(?:tls|ssl|x509|cert\b)|certificate|handshake|network"
        r"|fetch failed|broken pipe|\bepipe\b|remote protocol|disconnect|incomplete read|unexpected eof|refused"
        r"|reset by peer|stream (?:was )?(?:reset|closed|error)|max retr|\bop error|\beof\b"
        r"|closed (?:session|stream|(?:write |byte |read )?channel)|(?:session|channel|peer|http) closed|channel write"
        r"|no http response|premature|\brst\b|incomplete message|(?:broken|closed) resource|gone away",
    ),
    (
        SERVER,
        r"internal (?:server|service)"
        r"|(?:module|class|file|template|method|element|field|bean|driver|symbol|attribute) not found"
        r"|no such (?:method|element|field|bean|file|attribute)",
    ),
    (NOT_FOUND, r"not ?found|no such|does not exist"),
    (
        CONFLICT,
        r"integrity|optimistic lock|precondition|serialization failure|concurrent modification|version mismatch",
    ),
    (
        VALIDATION,
        r"validation|bad ?(?:http ?)?request|unprocessable|malformed"
        r"|invalid (?:argument|request|param|input|query|message|syntax)"
        r"|context (?:length|window)|content (?:policy|filter)",
    ),
    (UPSTREAM, r"unavailable|overloaded|bad ?gateway|no healthy upstream|circuit ?breaker|call not permitted"),
)
# The connection of a caller that is gone, told by the server.
_CALLER_GONE: Final = re.compile(
    r"broken pipe|\bepipe\b|econn(?:reset|aborted)|connection (?:was )?(?:reset|abort|closed)|disconnect"
    r"|stream (?:was )?(?:closed|reset|error)|\brst\b|\beof\b|reset by peer|premature"
    r"|closed (?:session|stream|(?:write |byte |read )?channel)|(?:session|channel|peer|http) closed|channel write"
    r"|(?:broken|closed) resource"
).search
# How .NET's HttpClient and reactive clients tell their own time limit; a caller's end has other names there.
_OWN_LIMIT: Final = re.compile(
    r"(?:cancell?ed|task canceled exception|system threading tasks task canceled exception)"
).fullmatch
_SEARCHES: Final = tuple((bucket, re.compile(pattern).search) for bucket, pattern in _NAMES)
# What a message may decide: words of other buckets stand in too many texts.
_IN_MESSAGES: Final = frozenset((TIMEOUT, CANCELLED, NETWORK, RATE_LIMIT))
_STATUS: Final = re.compile(
    r"(?:status|code|http|error)\W{1,3}([45][0-9]{2})\b|\b([45][0-9]{2}) (?:client|server) error"
).search
# How the SDKs of model providers begin: `401 UNAUTHENTICATED. {…`, `429 Rate limit reached for …`.
_STATUS_FIRST: Final = re.compile(r"\W{0,2}([45][0-9]{2})[ :]{1,2}[a-z{]").match

# The status within a name that says nothing else: `HTTP 429`, `Http404`, `http_error_503`.
_STATUS_IN_NAME: Final = re.compile(r"\b(?:http|status|code|error|response) ?([45][0-9]{2})\b").search

_BEFORE_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN: Final = re.compile(r"[^a-z0-9]+")
_LONGEST: Final = 256  # characters of a name or message that are looked at: bounds its time


def error_type(status: int, failed: bool = False, raw: str = "", *, outgoing: bool = False) -> str:
    """The bucket of a call, "" when it did not fail.

    status: HTTP status, 0 when no response was seen; only then the rest counts.
    failed: span status 2, an error.type or an exception event. raw: error.type as sent. outgoing: we made the call.
    """
    if status:
        return BY_STATUS[status] if 0 < status < 600 else ""
    if not (failed or raw):
        return ""
    return of_failure((raw,), direction="Outgoing" if outgoing else "Incoming")


def of_failure(names: Iterable[str], messages: Iterable[str] = (), *, direction: str, of_provider: bool = False) -> str:
    """The bucket of what failed without a status.

    of_provider: the messages are those of a model's provider, which say its status.
    names: error.type, class of the exception; messages: what is said in words; the first that tells something counts.
    direction: as in Event. An outgoing call without any name had no answer: that is the network's. What failed with an
    error of no known kind is the server's.
    """
    named = False
    for name in names:
        if name and name != "_OTHER":
            named = True
            if found := _by_name(name[:_LONGEST], direction):
                return found
    for message in messages:
        if message and (found := _by_message(message[:_LONGEST], direction, of_provider)):
            return found
    return NETWORK if direction == "Outgoing" and not (named or of_provider) else SERVER


@lru_cache(maxsize=4096)
def _by_name(name: str, direction: str) -> str:
    """The bucket that a name tells, "" for none."""
    name = name.strip()
    if name.isascii() and name.isdigit() and len(name) == 3:
        return BY_STATUS[int(name)] if int(name) < len(BY_STATUS) else ""
    if name.isupper() and (flag := next(filter(None, map(_FLAGS.get, name.split(",")[:8])), "")):
        return flag
    words = _words(name)
    if direction == "Outgoing" and not name.isupper() and _OWN_LIMIT(words):  # in capitals it is gRPC's code
        return TIMEOUT
    found = _EXACT.get(words.replace(" ", "")) or _search(words, direction)
    status = None if found else _STATUS_IN_NAME(words)
    return BY_STATUS[int(status[1])] if status is not None else found


@lru_cache(maxsize=2048)
def _by_message(message: str, direction: str, of_provider: bool) -> str:
    found = _search(_words(message), direction)
    if found in _IN_MESSAGES or (of_provider and found in (AUTH, QUOTA)):
        return found
    text = message.lower()
    if of_provider and (first := _STATUS_FIRST(text)) is not None:
        return BY_STATUS[int(first[1])]
    status = _STATUS(text) if of_provider or direction == "Outgoing" else None
    return BY_STATUS[int(status[1] or status[2])] if status is not None else ""


def _search(words: str, direction: str) -> str:
    for bucket, search in _SEARCHES:
        if search(words):
            if bucket == NETWORK and direction == "Incoming" and _CALLER_GONE(words):
                return CANCELLED
            return bucket
    return ""


def _words(name: str) -> str:
    """`openai.RateLimitError` as `openai rate limit error`."""
    return _BETWEEN.sub(" ", _BEFORE_CAPITAL.sub(" ", name).lower()).strip()
