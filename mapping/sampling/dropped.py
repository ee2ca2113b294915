"""API calls that sampling dropped, without content: to be counted, and known again when they are told twice."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from mapping.event import API_CALL, EMPTY_HEADERS, Decision, Event
from mapping.sampling.counts import arrived
from mapping.sampling.stated import stated_factor

BYTES: Final = 1000  # of such an event in memory, by measurement with sys.getsizeof of a typical one

# What neither counts nor comparisons with other calls ask for.
_CONTENT: Final = {
    Event._fields.index(name): EMPTY_HEADERS if name.endswith("headers") else ""
    for name in (
        *("request_headers", "response_headers", "request_body", "request_body_encoding", "response_body"),
        *("response_body_encoding", "links", "metadata", "user_agent", "body", "body_encoding"),
    )
}
_DECISION: Final = Event._fields.index("decision")


def counted_only(event: Event, decision: Decision, stated: Any = None, reason: str = "sampled_out") -> Event | None:
    """A call without its content, in whose decision `adjusted_count` is what it stood for; None for other events.

    decision: that drops it, or the one before, which kept it; then reason says why it is dropped all the same. stated:
    the weight that its sender states, if any, unless the decision has it.
    """
    if event.event_type != API_CALL:
        return None
    fields: list[Any] = list(event)
    for place, nothing in _CONTENT.items():
        fields[place] = nothing
    fields[_DECISION] = as_counted(decision, stated, reason)
    return Event._make(fields)


def as_counted(decision: Decision, stated: Any = None, reason: str = "sampled_out") -> Decision:
    """The decision of a call that is only counted; arguments as in `counted_only`."""
    factor = 1.0 if stated is None or decision.th_in else stated_factor(stated)
    if decision.keep:
        return _dropped(decision, arrived(decision) * factor, reason)
    if factor != 1.0:
        return _dropped(decision, arrived(decision) * factor, decision.reason)
    return decision


@lru_cache(maxsize=4096)
def _dropped(decision: Decision, stood_for: float, reason: str) -> Decision:
    """Shared, as the decisions of a Band are."""
    return decision._replace(keep=False, weight=0, adjusted_count=stood_for, reason=reason)
