"""What a span within a call tells of it and its own span does not: route, path, status and caller's address.

Frameworks that trace themselves know the route; the HTTP server's span around them knows the path only (NestJS on
Fastify, Next.js, otelhttp around a router), and that of a function around a web framework neither: it has the gateway's
`/{proxy+}` for both. SvelteKit's span of a call leaves the status to one within.
"""

from __future__ import annotations

from typing import Final

from mapping.context import Work
from mapping.otlp.records import SpanRecord
from mapping.otlp.wire import NOTHING, Entry, entry
from mapping.rules.address import CLIENT_ATTRIBUTES
from mapping.rules.route_spelling import MAX_ROUTE_CHARS, has_placeholder, normalise
from mapping.shape import ABSENT
from mapping.spans.classify import STATUSES
from mapping.spans.plans import Plans

_ROUTE: Final = "http.route"
_TARGETS: Final = ("url.path", "http.target", "url.full", "http.url")
_PATH: Final = frozenset((*_TARGETS, "url.query"))


def take_told(outer: Work, inner: Work, plans: Plans) -> Work:
    """`outer`, with the route of `inner` if that says more of the path, and what `outer` does not say at all. Both are
    of one call.
    """
    told = [*_route(outer, inner), *_missing(outer, inner)]
    return _retold(outer, told, plans) if told else outer


def with_route(call: Work, told: str, plans: Plans) -> Work:
    """A call with this route, unless its own has as many parts."""
    own = call.values[call.plan.route_at]
    if isinstance(own, str) and own.rstrip("/").count("/") >= told.count("/"):
        return call
    return _retold(call, [entry(_ROUTE, told)], plans)


def _retold(outer: Work, told: list[Entry], plans: Plans) -> Work:
    names = {one[0].partition("\0")[0] for one in told}
    if names & _PATH:
        names |= _PATH
    kept = [one for one in outer.record.entries[:-1] if one[0].partition("\0")[0] not in names]
    record = outer.record._replace(entries=[*kept, *told, NOTHING])
    keys, values, fragments = zip(*record.entries, strict=True)
    plan = plans.of(outer.group.scope)[record.span.kind][keys]
    return outer._replace(record=record, plan=plan, values=values, fragments=fragments)


def _route(outer: Work, inner: Work) -> tuple[Entry, ...]:
    at = inner.plan.route_at
    told = inner.values[at] if at != ABSENT else None
    if not isinstance(told, str) or len(told) > MAX_ROUTE_CHARS or not (text := normalise(told)):
        return ()
    own = outer.values[outer.plan.route_at]
    if isinstance(own, str) and len(own) <= MAX_ROUTE_CHARS and normalise(own).count("/") >= text.count("/"):
        is_path = not has_placeholder(own) and path_of(outer.record) == own.rstrip("/")
        is_catch_all = normalise(own).count("/") == 1 and has_placeholder(own)  # `/{proxy+}` of all that is below
        if not (is_path and has_placeholder(told)) and not is_catch_all:
            return ()
    return (entry(_ROUTE, told),)


def _missing(outer: Work, inner: Work) -> list[Entry]:
    """Entries of the inner span: its path where the outer has a template for one, its status and the caller's address
    where the outer has none.
    """
    found: list[Entry] = []
    if is_template(target_of(outer.record)):
        told = [one for one in inner.record.entries if one[0].partition("\0")[0] in _PATH]
        found += told if not is_template(target_of(inner.record)) else ()
    if outer.plan.status_at == ABSENT:
        found += [one for one in inner.record.entries if one[0] in STATUSES][:1]
    if not any(one[0] in CLIENT_ATTRIBUTES for one in outer.record.entries):
        found += [one for one in inner.record.entries if one[0] in CLIENT_ATTRIBUTES][:1]
    return found


def target_of(record: SpanRecord) -> str:
    """The path or URL as it was sent, "" for none."""
    said = {key: value for marked, value, _ in record.entries if (key := marked.partition("\0")[0]) in _TARGETS}
    return next((text for name in _TARGETS if isinstance(text := said.get(name), str)), "")


def path_of(record: SpanRecord) -> str:
    """The path as it was sent, without a slash at its end; "" for none."""
    target = target_of(record)
    if "://" in target:
        rest = target.partition("://")[2]
        target = rest[rest.find("/") :] if "/" in rest else "/"
    return target.partition("?")[0].rstrip("/")


def is_template(target: str) -> bool:
    """True for `/{proxy+}`, `/orders/{id}`: an API gateway's resource where the path belongs."""
    return len(target) <= MAX_ROUTE_CHARS and "/{" in target and "}" in target
