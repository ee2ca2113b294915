"""What spans of recent traces tell about which calls are above which, for sinks that get entries only.

In doubt a call is no inner hop: what was not seen, or is beyond these bounds, hides none. A call that several
instrumentations tell of (exporter/twins.py) is sent when the first of them has waited for its time: as the one that is
the entry of those that have come. Which come later are none then.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from exporter.twins import Siblings, Told, siblings_of, told_again, told_by
from mapping.event import API_CALL, INNER, OPEN, Event

# Traces that are remembered, those first that began last: 20 spans of each take 100 MB, and
# 400 bytes more each that is a call with a parent.
MOST_TRACES = 20_000
# Spans of one trace.
MOST_SPANS = 1_000
# Spans between a call and the one above it.
MOST_STEPS = 256
# Calls of a trace that are looked at for one that nothing is above: beyond, it is thought to be there.
MOST_LOOKED_AT = 64


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
    verb: str
    incoming: bool
    inner: bool  # its own request showed that an incoming call is above it


class Beside:
    """Calls that may be told of more than once, because they are siblings."""

    __slots__ = ("_again", "_told")

    def __init__(self) -> None:
        self._told: dict[str, Told] = {}
        self._again: set[str] | None = None

    def add(self, told: Told) -> None:
        self._told[told.span_id] = told
        self._again = None

    def sent(self, span_id: str) -> None:
        """This one was sent. Who is told again stays the same, for it was an entry already."""
        if span_id in self._told:
            self._told[span_id] = self._told[span_id]._replace(sure=True)

    def told_again(self) -> set[str]:
        """Span ids of those that are no entries."""
        if self._again is None:
            self._again = told_again(list(self._told.values()))
        return self._again


class Trace:
    """What is known of one trace."""

    __slots__ = ("above", "beside", "calls", "first", "root", "spans")

    def __init__(self) -> None:
        self.root = ""  # the incoming call that it begins with
        self.first = (0, "")  # start and span of the incoming call that began first
        self.spans: dict[str, Span] = {}
        self.calls: Counter[str] = Counter()  # incoming ones by service
        self.above: set[str] = set()  # spans right above inner calls, whether they have come or not
        self.beside: dict[Siblings, Beside] = {}


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
            trace.spans[event.span_id] = Span(event.parent_id, event.service, event.verb, incoming, event.hop == INNER)
            if incoming:
                began = event.start_unix_ns, event.span_id
                trace.first = min(trace.first, began) if trace.calls else began
                trace.calls[event.service] += 1
                if not event.parent_id:
                    trace.root = event.span_id
                elif event.hop == INNER:
                    trace.above.add(event.parent_id)
                elif siblings := siblings_of(event):
                    trace.beside.setdefault(siblings, Beside()).add(told_by(event))

    def sent(self, event: Event) -> None:
        """This open call was sent as an entry: others that tell of it are none any more."""
        trace, siblings = self._traces.get((event.trace_id, event.tenant)), siblings_of(event)
        if trace is not None and siblings in trace.beside:
            trace.beside[siblings].sent(event.span_id)

    def is_inner(self, call: Named, *, is_due: bool = False) -> bool:
        """True when this call is known to be no entry, as the view `api_calls` has it.

        It is none when an incoming call is above it, or when another span tells of it and is the entry. is_due: it has
        waited for its time; what more of its trace may change is not said before.

        It is above when the trace begins with it, when parents lead to it, or when the span above this call belongs to
        a service that another incoming call of the trace reached; when that leaves no call of the trace, the first is
        the entry. Of a call that a log tells of, the trace's first call is known, and what is above its span.
        """
        trace = self._traces.get((call.trace_id, call.tenant))
        if trace is None:
            return False
        if trace.root and trace.root != call.span_id:
            return True
        span = trace.spans.get(call.span_id)
        if span is None:
            return False
        beside = trace.beside.get((span.parent_id, span.service, span.verb))
        if is_due and beside is not None and call.span_id in beside.told_again():
            return True
        if trace.first[1] != call.span_id:
            return _is_below(trace, span)
        if _is_below(trace, span, reached=False):
            return True
        if not is_due or not _is_below(trace, span):
            return False
        calls = islice((one for one in trace.spans.values() if one.incoming), MOST_LOOKED_AT)
        return any(one.inner or not _is_below(trace, one) for one in calls)


def _is_below(trace: Trace, span: Span, *, reached: bool = True) -> bool:
    """Whether an incoming call is known to be above this span; reached: or thought to be, for one reached a service."""
    here = span
    for _ in range(MOST_STEPS):
        if here.inner or here.parent_id in trace.above:
            return True
        above = trace.spans.get(here.parent_id)
        if above is None:
            return reached and here is not span and _reached(trace, span, here)
        if above.incoming:
            return True
        here = above
    return False


def _reached(trace: Trace, call: Span, above: Span) -> bool:
    """Whether another incoming call of the trace reached the service that this span above the call is of."""
    return trace.calls[above.service] > (call.incoming and above.service == call.service)
