"""The route of a call that a span below it tells, where its own tells none or a shorter one.

Frameworks that trace themselves know the route; the HTTP server's span around them knows the path only (NestJS on
Fastify, Next.js, otelhttp around a router, a function around a web framework).
"""

from __future__ import annotations

from typing import Final

from mapping.context import Work
from mapping.otlp.decode import SpanRecord
from mapping.otlp.wire import NOTHING, Entry, entry
from mapping.rules.route_spelling import normalise
from mapping.shape import ABSENT
from mapping.spans.plans import Plans

_ROUTE: Final = "http.route"


def take_route(outer: Work, inner: Work, plans: Plans) -> Work:
    """`outer`, with the route of `inner` if that says more of the path. Both are of one call."""
    at = inner.plan.route_at
    told = inner.values[at] if at != ABSENT else None
    if not isinstance(told, str) or not (text := normalise(told)):
        return outer
    own = outer.values[outer.plan.route_at]
    if isinstance(own, str) and normalise(own).count("/") >= text.count("/"):
        return outer
    record = _routed(outer.record, entry(_ROUTE, told))
    keys, values, fragments = zip(*record.entries, strict=True)
    plan = plans.of(outer.group.scope)[record.span.kind][keys]
    return outer._replace(record=record, plan=plan, values=values, fragments=fragments)


def _routed(record: SpanRecord, route: Entry) -> SpanRecord:
    kept = [one for one in record.entries[:-1] if one[0].partition("\0")[0] != _ROUTE]
    return record._replace(entries=[*kept, route, NOTHING])
