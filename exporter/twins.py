"""Calls that several instrumentations of one process tell of in different requests, beside each other: which counts.

A Java agent and Micrometer, or any two SDKs of one process, each take up the caller's trace, so both spans have the
caller's as their parent. Two spans may be one call when trace, parent, service and method are the same, the scopes are
not, one is within the other's time, and nothing that both know differs: path, status, environment, namespace, place.

A call has one span of each scope. So that calls at the same time stay apart, spans are matched: in order of their
start, the longer first, each goes to the call that ends soonest of those it is within. The entry is the span that was
sampled least, so that sums stay right where rules keep one more often than the other; else the outer one.

The view `api_calls` does the same (exporter/clickhouse/api_calls.sql). Spans of one request and one resource have been
settled by mapping (mapping/spans/nested_calls.py).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from exporter.same_call import path_of
from mapping.event import API_CALL, ENTRY, INNER, Event

# Spans of one parent, service and method that are compared with each other, 1,000 pairs. Of more (a load tester that
# sends one traceparent) those are the calls which the scope that tells of most has told of.
MOST_TWINS: Final = 32
# By so much an inner span may begin before the outer or end after it: JavaScript's SDK cuts a start to milliseconds and
# adds an exact duration.
CLOCKS_NS: Final = 1_000_000
# Different resources whose places are remembered: 1 KB each.
MOST_RESOURCES: Final = 1_000


class Place(NamedTuple):
    """Where a call was taken; JSON texts, "" for what its resource does not say."""

    namespace: str
    pod_uid: str
    pod_name: str
    container: str
    function: str
    host: str
    process: str
    instance: str


_NAMES: Final = (
    "service.namespace",
    "k8s.pod.uid",
    "k8s.pod.name",
    "container.id",
    "faas.instance",
    "host.name",
    "process.pid",
    "service.instance.id",
)


class Told(NamedTuple):
    """What one span tells of a call."""

    span_id: str
    scope: str
    start_unix_ns: int
    end_unix_ns: int
    path: str  # "" when unknown
    status: int  # 0 when unknown
    environment: str
    place: Place
    sure: bool  # it is an entry already
    adjusted_count: float

    @property
    def order(self) -> tuple[int, int, str, str]:
        """Outer ones first."""
        return self.start_unix_ns, -self.end_unix_ns, self.scope, self.span_id


Siblings = tuple[str, str, str]  # parent, service and method: spans of one call have them in common


def siblings_of(event: Event) -> Siblings | None:
    """Beside which others this span may tell of a call; None: it is no incoming call, or all is known of it."""
    if event.event_type != API_CALL or event.direction != "Incoming" or event.source != "span" or event.hop == INNER:
        return None
    return (event.parent_id, event.service, event.verb) if event.parent_id and event.verb else None


def told_by(event: Event) -> Told:
    scope, place = _scope_and_place(event.resource)
    return Told(
        span_id=event.span_id,
        scope=scope,
        start_unix_ns=event.start_unix_ns,
        end_unix_ns=event.end_unix_ns,
        path=path_of(event) if event.uri else "",
        status=event.status,
        environment=event.environment,
        place=place,
        sure=event.hop == ENTRY,
        adjusted_count=event.decision.adjusted_count,
    )


def told_again(told: Sequence[Told]) -> set[str]:
    """Span ids of those that are no entries, of spans that are siblings; in whatever order they come."""
    counts = Counter(one.scope for one in told)
    if len(counts) < 2:
        return set()
    told = sorted(told, key=lambda one: one.order)
    if len(told) > MOST_TWINS:
        most = _tells_most(told, counts)
        return {one.span_id for one in told if one.scope != most and not one.sure}
    families: dict[int, list[int]] = {}  # by the number of the first span of a call
    scopes: set[tuple[int, str]] = set()
    for number, one in enumerate(told):
        around = [at for at in families if (at, one.scope) not in scopes and may_be_one(told[at], one)]
        first = min(around, key=lambda at: (told[at].end_unix_ns, at), default=number)
        families.setdefault(first, []).append(number)
        scopes.add((first, one.scope))
    again: set[str] = set()
    for numbers in families.values():
        entry = min(numbers, key=lambda at: (not told[at].sure, told[at].adjusted_count, at))
        again.update(told[at].span_id for at in numbers if at != entry and not told[at].sure)
    return again


def may_be_one(one: Told, other: Told) -> bool:
    """Whether two siblings may tell of one call."""
    return (
        one.scope != other.scope
        and _is_within(one, other)
        and _agrees(one.path, other.path)
        and (one.status == other.status or not (one.status and other.status))
        and _agrees(one.environment, other.environment)
        and _is_one_place(one.place, other.place)
    )


def _is_within(one: Told, other: Told) -> bool:
    """Whether one is within the time of the other, as well as their clocks tell."""
    if one.start_unix_ns > other.end_unix_ns or other.start_unix_ns > one.end_unix_ns:
        return False
    begins, ends = one.start_unix_ns - other.start_unix_ns, one.end_unix_ns - other.end_unix_ns
    return (begins >= -CLOCKS_NS and ends <= CLOCKS_NS) or (begins <= CLOCKS_NS and ends >= -CLOCKS_NS)


def _is_one_place(one: Place, other: Place) -> bool:
    """Whether both may be one process. Two SDKs of it know different things: what both know tells, the surest first.

    Each SDK may make an instance id of its own; a host is no proof, for every worker on it has its name.
    """
    if not _agrees(one.namespace, other.namespace):
        return False
    for mine, its in zip(one[1:5], other[1:5], strict=True):
        if mine and its:
            return mine == its
    if not _agrees(one.host, other.host):
        return False
    if one.host and one.host == other.host and one.process and one.process == other.process:
        return True
    return _agrees(one.instance, other.instance)


def _agrees(one: str, other: str) -> bool:
    return one == other or not (one and other)


def _tells_most(told: Sequence[Told], counts: Counter[str]) -> str:
    """The scope with the most spans; of several the one that begins first."""
    return max(dict.fromkeys(one.scope for one in told), key=counts.__getitem__)


@functools.lru_cache(maxsize=MOST_RESOURCES)
def _scope_and_place(resource: str) -> tuple[str, Place]:
    try:
        said = orjson.loads(resource)
    except orjson.JSONDecodeError:  # none was sent, or it was cut
        said = {}
    scope, of = said.get("scope", {}).get("name", ""), said.get("resource", {})
    values = (orjson.dumps(of[name]).decode() if of.get(name, "") != "" else "" for name in _NAMES)
    return scope if isinstance(scope, str) else orjson.dumps(scope).decode(), Place(*values)
