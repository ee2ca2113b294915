"""The one noun everyone shares: an API event, as `mapping` makes it and every sink writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_BODY_BYTES: Final = 450 * 1024  # of a body in an event (spec/mapping.md §1.4); longer ones are cut, and base64 then

API_CALL = "api_call"
ACTION = "action"
LOG = "log"
SKIP = "skip"

# Whether a call is the customer's own, as far as its request told (mapping/spans/hops.py).
ENTRY: Final = "entry"  # nothing of ours is above it
INNER: Final = "inner"  # an incoming call is above it; also of actions and outgoing calls
OPEN: Final = "open"  # an ancestor is not in this request

TEXT_TRUNCATED = "text_truncated"  # flag: a text was longer than masks look at, and was cut

EMPTY_HEADERS: Mapping[str, str] = {}


class Decision(NamedTuple):
    """What sampling decided for one record. Equal decisions are one shared object, so storing them is cheap.

    `weight` is terminal (for charts and Moesif); `th` and `adjusted_count` are the truth (spec/sampling.md §6).
    """

    keep: bool
    weight: int  # integer, E[weight] = adjusted_count exactly; 0 when dropped
    # Nearest float64 of M/(M-T); 0.0 when dropped. Of calls that are only counted (mapping.sampling.dropped) it may be
    # what they stood for on arrival.
    adjusted_count: float
    th: str  # threshold hex without trailing zeros; "" when nothing sampled (p = 1 and no upstream th)
    rule: str  # name of the rule that gave the rate
    p: float  # probability in force, 1/adjusted_count
    r_source: str  # rv | trace_id | trace_hash | record_hash | redraw | ...
    upstream: str  # none | th | malformed | inconsistent | implausible | ...
    th_in: str  # upstream's threshold, "" when none
    config: str  # version of the rules that decided ("" = built-in)
    rv: str  # randomness to hand on when it is not the trace id's, else ""
    reason: str  # kept | sampled_out | rule_zero | ...


# A bridge that samples nothing, and the default of every event.
UNSAMPLED = Decision(True, 1, 1.0, "", "default", 1.0, "trace_id", "none", "", "", "", "kept")


class Event(NamedTuple):
    """One API call, action or log record. Text is "" and numbers 0 where the source has nothing, unless said otherwise.

    JSON texts are UTF-8 encoded objects or values as `str`, already masked; nothing in an Event is a secret.
    """

    event_type: str  # API_CALL | ACTION | LOG | SKIP
    transaction_id: str  # UUIDv5 text, from content only (spec/mapping.md §9)
    source: str  # "span" | "log"
    tenant: str  # as authenticated by the receiver; "" for none
    # correlation, lower-case hex or ""
    trace_id: str
    span_id: str
    parent_id: str
    # clocks: sender's, nanoseconds since the epoch; for logs start = end = the record's time (spec/mapping.md §6 L3)
    start_unix_ns: int
    end_unix_ns: int
    duration_ms: float  # sender's monotonic duration; -1.0 when unknown
    # clock: ours, when the request was received
    received_unix_ns: int
    # who
    user_id: str
    company_id: str
    session_token: str
    subscription_id: str
    application_id: str
    client_id: str
    plan_id: str
    # where
    service: str
    environment: str
    region: str
    resource: str  # JSON object text {"resource": {...}, "scope": {...}}, flat keys; one shared string per group
    # the call
    direction: str  # Incoming | Outgoing | Internal | "" for logs
    hop: str  # of incoming calls entry | inner | open; inner also of what is below one; else "" (mapping/spans/hops.py)
    verb: str
    uri: str
    route: str  # normalised, "" for none
    status: int  # 0 = no response was seen
    api_version: str
    user_agent: str
    ip_address: str  # the caller's (Incoming)
    response_ip_address: str  # the callee's (Outgoing)
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str]
    request_body: str  # JSON text when its encoding is "json", base64 text when "base64", "" when none was captured
    request_body_encoding: str  # json | base64 | ""
    response_body: str
    response_body_encoding: str
    request_id: str
    # span
    name: str
    span_status: int  # 0 unset, 1 ok, 2 error
    links: str  # JSON array text, "" for none
    error_type: str  # taxonomy of spec/mapping.md §8
    # action
    action_name: str
    family: str
    # log
    severity_number: int
    severity_text: str
    event_name: str
    body: str  # log body: JSON object text, plain text or base64
    body_encoding: str  # json | text | base64 | ""
    # everything not consumed above: flat JSON object text, "{}" when empty; no key is a prefix path of another
    metadata: str
    flags: tuple[
        str, ...
    ]  # clock_skew, late, end_before_start, uri_host_guessed, uri_from_route, body_truncated, text_truncated, ...
    decision: Decision
    reason: str  # why a SKIP was skipped, else ""


# Of an event beside its texts, in memory: measured with sys.getsizeof of typical ones, 1,500 to 2,000.
EVENT_BYTES: Final = 2000


def memory_of(event: Event) -> int:
    """Bytes that an event occupies in memory, roughly: its large texts, and a constant for the rest."""
    texts = len(event.request_body) + len(event.response_body) + len(event.body) + len(event.metadata)
    return EVENT_BYTES + texts + 100 * (len(event.request_headers) + len(event.response_headers))
