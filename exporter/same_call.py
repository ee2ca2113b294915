"""Whether a span and a line of an access log tell of one call, where they do not have one transaction id.

Such a line carries the id of a span below the call (loggers that know of the current span) or the trace id alone
(Envoy, nginx), or another status than the span (a proxy that gives up answers after its span knew of an answer).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import NamedTuple, Protocol

from mapping.event import API_CALL, Event
from mapping.rules.taxonomy import error_type

SECOND_NS = 1_000_000_000
# A line and a span further apart than this are two calls. Lines have whole seconds, or the time at which a collector
# read them; both may be of two hosts.
APART_NS = 5 * SECOND_NS
# Calls of one trace, method and path that are compared with one more of them, the oldest first: beyond it a call may be
# counted by its line and its span.
MOST_COMPARED = 32
# Calls of spans that are remembered for lines that come later: 700 bytes each, so 20 MB a sink.
MOST_REMEMBERED = 30_000

STATUS_FROM_LOG = "status_from_log"  # flag: the line's status was taken, for the span's was another


class Called(Protocol):
    """What has an address: an event, or a Call."""

    @property
    def uri(self) -> str: ...
    @property
    def flags(self) -> tuple[str, ...]: ...


class Call(NamedTuple):
    """What is compared of a call."""

    event_type: str
    transaction_id: str
    span_id: str
    trace_id: str
    tenant: str
    direction: str
    verb: str
    uri: str
    route: str
    service: str
    status: int
    start_unix_ns: int
    end_unix_ns: int
    flags: tuple[str, ...]


_fields = attrgetter(*Call._fields)
_SAME = slice(Call._fields.index("trace_id"), Call._fields.index("verb") + 1)  # equal where two are the same call


def call_of(event: Event) -> Call:
    return Call._make(_fields(event))


def keys_of(call: Call) -> list[int]:
    """Where calls that could be the same are found: by path, by route where one of them has none, by span.

    Hashes of 64 bits: what is found is compared.
    """
    trace, verb = call.trace_id, call.verb
    keys = [hash((trace, verb, path))] if (path := path_of(call)) else []
    if call.route:
        keys.append(hash((trace, verb, call.route, "route")))
    if call.span_id:
        keys.append(hash((trace, call.span_id)))
    return keys


class Buckets:
    """Ids by key, in order. Nearly every key has one: that costs 100 bytes."""

    def __init__(self) -> None:
        self._ids: dict[object, str | OrderedDict[str, None]] = {}

    def add(self, key: object, one: str) -> None:
        there = self._ids.setdefault(key, one)
        if isinstance(there, OrderedDict):
            there[one] = None
        elif there != one:
            self._ids[key] = OrderedDict.fromkeys((there, one))

    def remove(self, key: object, one: str) -> None:
        there = self._ids.get(key)
        if isinstance(there, OrderedDict):
            there.pop(one, None)
            if not there:
                del self._ids[key]
        elif there == one:
            del self._ids[key]

    def some(self, key: object, most: int) -> Iterable[str]:
        """The ids of a key, oldest first."""
        there = self._ids.get(key)
        if there is None:
            return ()
        return tuple(islice(there, most)) if isinstance(there, OrderedDict) else (there,)

    def none_of(self, keys: Iterable[object]) -> bool:
        return self._ids.keys().isdisjoint(keys)


def distance(line: Call, span: Call) -> tuple[int, int] | None:
    """How far the two are from being one call, less is nearer: a rank and nanoseconds. None: they are two."""
    if line[_SAME] != span[_SAME]:
        return None
    apart = max(0, line.start_unix_ns - span.end_unix_ns, span.start_unix_ns - line.end_unix_ns)
    if line.span_id and line.span_id == span.span_id:
        return 0, apart
    paths = path_of(line), path_of(span)
    if all(paths) and paths[0] != paths[1]:
        return None
    one_service = line.service == span.service
    if line.status == span.status or not (line.status and span.status):
        return (1 if one_service else 2, apart) if apart <= APART_NS else None
    # Its own service told of two statuses while it was under way: the line knows the one that was sent.
    return (3, 0) if one_service and all(paths) and not apart else None


def nearest(line_or_span: Call, others: Iterable[Call], *, is_line: bool) -> Call | None:
    """The one of the others that is the same call."""
    best: tuple[tuple[int, int], Call] | None = None
    for other in others:
        far = distance(line_or_span, other) if is_line else distance(other, line_or_span)
        if far is not None and (best is None or far < best[0]):
            best = far, other
    return best[1] if best else None


def with_status(event: Event, status: int) -> Event:
    """The span's call with the status that its line knows."""
    return event._replace(status=status, error_type=error_type(status), flags=(*event.flags, STATUS_FROM_LOG))


def status_to_take(line_status: int, event: Event) -> int:
    """The line's status where the span's call should have it, else 0: what the access log says was sent."""
    return line_status if line_status and line_status != event.status else 0


class RememberedCalls:
    """Calls of spans that have come lately, each to be taken by one line. Looked through only when a line comes."""

    def __init__(self, seconds: float) -> None:
        self._ns = int(seconds * SECOND_NS)
        self._requests: deque[tuple[int, list[Call]]] = deque()  # receive time, calls
        self._count = 0
        self._indexed = 0  # so many of the oldest requests are in the index
        self._index, self._by_id = Buckets(), dict[str, Call]()
        self._taken: OrderedDict[str, None] = OrderedDict()  # transaction ids of those that a line has taken

    def note(self, events: Sequence[Event], received_unix_ns: int) -> None:
        """These came, all of one request. Not hashed and not compared: 0.6 us a call."""
        if not self._ns or not events or events[0].source != "span":
            return
        calls = [Call._make(_fields(event)) for event in events if event.event_type == API_CALL and event.trace_id]
        if calls:
            self._requests.append((received_unix_ns, calls))
            self._count += len(calls)
        while self._requests and (self._count > MOST_REMEMBERED or self._requests[0][0] < received_unix_ns - self._ns):
            self._forget()

    def take(self, line: Call) -> Call | None:
        """The call of a span that this line tells of too; no other line is given it."""
        self._complete()
        found = nearest(line, [call for key in keys_of(line) for call in self._free(key)], is_line=True)
        if found is not None:
            self.taken(found.transaction_id)
        return found

    def taken(self, transaction_id: str) -> None:
        """A line is the same call as this span."""
        self._taken[transaction_id] = None
        if len(self._taken) > 2 * MOST_REMEMBERED:
            self._taken.popitem(last=False)

    def _free(self, key: int) -> list[Call]:
        found = self._index.some(key, MOST_COMPARED)
        for transaction_id in found:
            if transaction_id in self._taken:
                self._index.remove(key, transaction_id)
        return [self._by_id[transaction_id] for transaction_id in found if transaction_id not in self._taken]

    def _complete(self) -> None:
        while self._indexed < len(self._requests):
            for call in self._requests[self._indexed][1]:
                self._by_id[call.transaction_id] = call
                for key in keys_of(call):
                    self._index.add(key, call.transaction_id)
            self._indexed += 1

    def _forget(self) -> None:
        _, calls = self._requests.popleft()
        self._count -= len(calls)
        for call in calls:
            self._taken.pop(call.transaction_id, None)
        if not self._indexed:
            return
        self._indexed -= 1
        for call in calls:
            if self._by_id.pop(call.transaction_id, None) is not None:
                for key in keys_of(call):
                    self._index.remove(key, call.transaction_id)


def path_of(call: Called) -> str:
    """The path of its address, without query and last slash; "" where only a route was known."""
    if "uri_from_route" in call.flags:
        return ""
    address = call.uri.partition("?")[0].partition("#")[0]
    host = address.find("//")
    begin = address.find("/", host + 2 if host >= 0 else 0)
    return (address[begin:].rstrip("/") or "/") if begin >= 0 else "/"
