"""Spans that are no API calls -> Event: actions of a family, and skipped plumbing (mapping.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mapping import ids
from mapping.api_call import ACTION_NAMES
from mapping.captured import HeaderSlots
from mapping.context import LATE_NS, SKEW_NS, Context, Job, Work, made_whole, text_of
from mapping.event import EMPTY_HEADERS, Event
from mapping.shape import REMOTE_FLAG, REMOTE_PARENT, MetadataPlan, Shape
from mapping.spans import direction
from mapping.uri_plan import UriPlan
from mapping.weights import WEIGHTS
from mapping.who import WhoPlan

Values = tuple[Any, ...]
Namer = Callable[[Values, str], str]  # (values, span name) -> action name

_new: Final = tuple.__new__


def _rpc(shape: Shape) -> Namer:
    method, service = shape.first(("rpc.method",)), shape.first(("rpc.service",))

    def name(values: Values, title: str) -> str:
        called = text_of(values[method])
        if "/" in called:
            return called.lstrip("/")
        where = text_of(values[service])
        return f"{where}/{called}" if where and called else title.lstrip("/")

    return name


def _two(first: tuple[str, ...], second: tuple[str, ...], both: bool = False) -> Callable[[Shape], Namer]:
    """`{first} {second}`; with `both` only when both exist, else either alone, else the span's name."""

    def plan(shape: Shape) -> Namer:
        one, other = shape.first(first), shape.first(second)

        def name(values: Values, title: str) -> str:
            parts = [part for part in (text_of(values[one]), text_of(values[other])) if part]
            return " ".join(parts) if len(parts) == 2 or (parts and not both) else title

        return name

    return plan


def _db(shape: Shape) -> Namer:
    summary = shape.first(("db.query.summary",))
    composed = _two(("db.operation.name", "db.operation"), ("db.collection.name", "db.sql.table"), both=True)(shape)
    return lambda values, title: text_of(values[summary]) or composed(values, title)


_TOOLS: Final = ("execute_tool", "invoke_agent", "create_agent")


def _genai(shape: Shape) -> Namer:
    operation = shape.first(("gen_ai.operation.name",))
    model = shape.first(("gen_ai.request.model",))
    thing = shape.first(("gen_ai.tool.name", "gen_ai.agent.name"))

    def name(values: Values, title: str) -> str:
        what = text_of(values[operation])
        which = text_of(values[thing if what in _TOOLS else model])
        return f"{what} {which}" if what and which else title

    return name


def _span_name(shape: Shape) -> Namer:
    return lambda values, title: title


_NAMERS: Final[dict[str, Callable[[Shape], Namer]]] = {
    "rpc": _rpc,
    "graphql": _two(("graphql.operation.type",), ("graphql.operation.name",)),
    "db": _db,
    "genai": _genai,
    "mcp": _two(("mcp.method.name",), ("gen_ai.tool.name", "mcp.tool.name", "gen_ai.prompt.name")),
}


class ActionPlan:
    """Builds the events of actions of one kind, family and shape; with event_type SKIP those of plumbing spans."""

    def __init__(self, kind: int, event_type: str, family: str, reason: str, shape: Shape, context: Context) -> None:
        consumed: set[str] = {*ACTION_NAMES}
        self.event_type = event_type
        self._context = context
        self._family = family
        self._reason = reason
        self._direction = direction(kind)
        self._named = shape.first(ACTION_NAMES)
        self._name = _NAMERS.get(family, _span_name)(shape)
        self._error_type = shape.first(("error.type",))
        self.slots = HeaderSlots(shape, set(), context.masks)
        self.uri = UriPlan(kind, shape, context, self.slots, set())
        self.weight = shape.first(WEIGHTS)
        self.who = WhoPlan(shape, context, self.slots, self.uri.query, consumed)
        self._metadata = MetadataPlan(shape, consumed, context.masks)

    def event(self, work: Work, job: Job, user_id: str, company_id: str) -> Event:
        record, name, _, values, fragments, who, request, _, group, decision = work
        context = self._context
        title = name.text
        called = text_of(values[self._named]) or self._name(values, title)
        if self.uri.present:
            uri = self.uri.resolve(values, request, group, "")[0]
        else:
            uri = context.action_uris[group.service, self._family, called]
        raw = values[self._error_type]
        failed = record.status.code == 2 or raw is not None
        error_type = context.failure(record, text_of(raw), self._direction == "Outgoing") if failed else ""
        span = record.span
        extra: dict[str, Any] | None = REMOTE_PARENT if span.flags & REMOTE_FLAG else None
        if failed or record.events:
            extra = {**extra} if extra else {}
            context.describe_error(record, extra)
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        received = job.received_unix_ns
        flags: tuple[str, ...] = ()
        if not received - LATE_NS <= start <= end or start > received + SKEW_NS:
            start, end, flags = made_whole(start, end, received)
        trace_id, span_id = record.trace_id.hex(), record.span_id.hex()
        transaction = ids.transaction_id_action(trace_id, span_id)
        return _new(
            Event,
            (
                self.event_type,
                transaction,
                "span",
                job.tenant,
                trace_id,
                span_id,
                record.parent_id.hex(),
                start,
                end,
                (end - start) / 1e6,
                received,
                user_id,
                company_id,
                who.session_token,
                who.subscription_id,
                who.application_id,
                who.client_id,
                who.plan_id,
                group.service,
                group.environment,
                group.region,
                group.text,
                self._direction,
                "",
                uri,
                "",
                0,
                "",
                "",
                "",
                "",
                EMPTY_HEADERS,
                EMPTY_HEADERS,
                "",
                "",
                "",
                "",
                transaction,
                title,
                record.status.code,
                context.links(record.links) if record.links else "",
                error_type,
                called,
                self._family,
                0,
                "",
                "",
                "",
                "",
                self._metadata.text(values, fragments, extra),
                flags,
                decision,
                self._reason,
            ),
        )
