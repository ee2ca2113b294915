"""What spans of recent traces tell about which calls are above which, for sinks that get entries only.

In doubt a call is no inner hop: what was not seen, or is beyond these bounds, hides none.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mapping.event import API_CALL, INNER, OPEN, Event

# Traces that are remembered, those first that began last: 20 spans of each take 100 MB.
MOST_TRACES = 20_000
# Spans of one trace.
MOST_SPANS = 1_000
# Spans between a call and the one above it.
MOST_STEPS = 256


class Named(Protocol):
    """What a call is found by: an event, or the same fields of it."""

    @property
    def trace_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def span_id(self) -> str: ...


class Span(NamedTuple):
    parent_id: str
    service: str
    incoming: bool
    inner: bool  # its own request showed that an incoming call is above it


class Trace:
    """What is known of one trace."""

    __slots__ = ("calls", "root", "spans")

    def __init__(self) -> None:
        self.root = ""  # the incoming call that it begins with
        self.spans: dict[str, Span] = {}
        self.calls: Counter[str] = Counter()  # incoming ones by service


def is_open(event: Event) -> bool:
    """True for an incoming call whose ancestors may come in other requests."""
    return event.hop == OPEN and event.event_type == API_CALL and event.direction == "Incoming"


class Ancestry:
    """Bounded; the trace known longest is forgotten first."""

    def __init__(self) -> None:
        self._traces: OrderedDict[tuple[str, str], Trace] = OrderedDict()

    def note(self, events: Sequence[Event]) -> None:
        """These came, in one request."""
        traces = self._traces
        for event in events:
            if event.source != "span" or not event.trace_id:
                continue
            key = event.trace_id, event.tenant
            trace = traces.get(key)
            if trace is None:
                trace = traces[key] = Trace()
                if len(traces) > MOST_TRACES:
                    traces.popitem(last=False)
            if event.span_id in trace.spans or len(trace.spans) >= MOST_SPANS:
                continue
            incoming = event.event_type == API_CALL and event.direction == "Incoming"
            trace.spans[event.span_id] = Span(event.parent_id, event.service, incoming, event.hop == INNER)
            if incoming:
                trace.calls[event.service] += 1
                if not event.parent_id:
                    trace.root = event.span_id

    def is_inner(self, call: Named) -> bool:
        """True when an incoming call is known to be above this one, as the view `api_calls` has it.

        It is above when the trace begins with it, when parents lead to it, or when the span above this call belongs to
        a service that another incoming call of the trace reached. Of a call that a log tells of, the trace's first call
        is known, and what is above its span.
        """
        trace = self._traces.get((call.trace_id, call.tenant))
        if trace is None:
            return False
        if trace.root and trace.root != call.span_id:
            return True
        span = here = trace.spans.get(call.span_id)
        for _ in range(MOST_STEPS):
            if here is None:
                return False
            if here.inner:
                return True
            above = trace.spans.get(here.parent_id)
            if above is None:
                return here is not span and span is not None and _reached(trace, span, here)
            if above.incoming:
                return True
            here = above
        return False


def _reached(trace: Trace, call: Span, above: Span) -> bool:
    """Whether another incoming call of the trace reached the service that this span above the call is of."""
    return trace.calls[above.service] > (call.incoming and above.service == call.service)
