"""What a span within a call tells of it and its own span does not: the route, and the status.

Frameworks that trace themselves know the route; the HTTP server's span around them knows the path only (NestJS on
Fastify, Next.js, otelhttp around a router, a function around a web framework). SvelteKit's span of a call leaves the
status to one within.
"""

from __future__ import annotations

from typing import Final

from mapping.context import Work
from mapping.otlp.wire import NOTHING, Entry, entry
from mapping.rules.route_spelling import normalise
from mapping.shape import ABSENT
from mapping.spans.classify import STATUSES
from mapping.spans.plans import Plans

_ROUTE: Final = "http.route"


def take_told(outer: Work, inner: Work, plans: Plans) -> Work:
    """`outer`, with the route of `inner` if that says more of the path, and its status if `outer` says none. Both are
    of one call.
    """
    told = [*_route(outer, inner), *_status(outer, inner)]
    if not told:
        return outer
    names = {one[0] for one in told}
    kept = [one for one in outer.record.entries[:-1] if one[0].partition("\0")[0] not in names]
    record = outer.record._replace(entries=[*kept, *told, NOTHING])
    keys, values, fragments = zip(*record.entries, strict=True)
    plan = plans.of(outer.group.scope)[record.span.kind][keys]
    return outer._replace(record=record, plan=plan, values=values, fragments=fragments)


def _route(outer: Work, inner: Work) -> tuple[Entry, ...]:
    at = inner.plan.route_at
    told = inner.values[at] if at != ABSENT else None
    if not isinstance(told, str) or not (text := normalise(told)):
        return ()
    own = outer.values[outer.plan.route_at]
    if isinstance(own, str) and normalise(own).count("/") >= text.count("/"):
        return ()
    return (entry(_ROUTE, told),)


def _status(outer: Work, inner: Work) -> tuple[Entry, ...]:
    if outer.plan.status_at != ABSENT:
        return ()
    return tuple(one for one in inner.record.entries if one[0] in STATUSES)[:1]
