"""Spans that are no API calls -> Event: actions of a family, and skipped plumbing (spec/mapping.md §4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mapping.bounds import CUT
from mapping.context import LATE_NS, SKEW_NS, Context, Job, Work, last_exception, made_whole, text_of
from mapping.event import ACTION, EMPTY_HEADERS, SKIP, Event
from mapping.otlp.records import SpanRecord
from mapping.rules import ids, mcp_errors, taxonomy
from mapping.rules.call import ACTION_NAMES, DIRECTIONS
from mapping.rules.call_status import SUCCESSES, rpc_status, status_of
from mapping.rules.identity import identifier, unquote
from mapping.rules.metadata import plain_scalar
from mapping.sampling.stated import WEIGHTS
from mapping.shape import ABSENT, REMOTE_FLAG, REMOTE_PARENT, MetadataPlan, Shape
from mapping.spans import graphql
from mapping.spans.captured import HeaderSlots
from mapping.spans.classify import SERVER, STATUSES, direction, may_tell_route
from mapping.spans.models import ModelPlan, Told
from mapping.spans.uri_plan import UriPlan
from mapping.spans.who import WhoPlan

Values = tuple[Any, ...]
Namer = Callable[[Values, str], str]  # (values, span name) -> action name

_new: Final = tuple.__new__


def _rpc(shape: Shape) -> Namer:
    method, service = shape.first(("rpc.method", "grpc.method.name")), shape.first(("rpc.service",))

    def name(values: Values, title: str) -> str:
        called = text_of(values[method])
        if "/" in called:
            return called.lstrip("/")
        where = text_of(values[service])
        return f"{where}/{called}" if where and called else title.lstrip("/")

    return name


def _two(first: tuple[str, ...], second: tuple[str, ...], both: bool = False) -> Callable[[Shape], Namer | None]:
    """`{first} {second}`; with `both` only when both exist, else either alone, else the span's name."""

    def plan(shape: Shape) -> Namer | None:
        one, other = shape.first(first), shape.first(second)
        if (one == ABSENT or other == ABSENT) if both else one == other:
            return None

        def name(values: Values, title: str) -> str:
            parts = [part for part in (text_of(values[one]), text_of(values[other])) if part]
            return " ".join(parts) if len(parts) == 2 or (parts and not both) else title

        return name

    return plan


def _db(shape: Shape) -> Namer | None:
    summary = shape.first(("db.query.summary",))
    composed = _two(("db.operation.name", "db.operation"), ("db.collection.name", "db.sql.table"), both=True)(shape)
    if summary == ABSENT or composed is None:
        return composed if summary == ABSENT else lambda values, title: text_of(values[summary]) or title
    return lambda values, title: text_of(values[summary]) or composed(values, title)


# family -> what names its actions; None: the span's name does
_NAMERS: Final[dict[str, Callable[[Shape], Namer | None]]] = {
    "rpc": _rpc,
    "graphql": _two(graphql.TYPES, graphql.NAMES),
    "db": _db,
    "mcp": _two(("mcp.method.name",), ("gen_ai.tool.name", "mcp.tool.name", "gen_ai.prompt.name")),
}


# family -> (metadata key, attributes by precedence): what has several names has one here, too (spec/mapping.md §4).
# A model's are named by `mapping.dialects`.
_PROMOTED: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "rpc": (("action.system", ("rpc.system.name", "rpc.system")),),
    "messaging": (
        ("action.system", ("messaging.system",)),
        ("action.destination", ("messaging.destination.name", "messaging.destination")),
        ("action.operation", ("messaging.operation.name", "messaging.operation.type", "messaging.operation")),
        ("action.message_id", ("messaging.message.id", "messaging.message_id")),
        ("action.conversation_id", ("messaging.message.conversation_id", "messaging.conversation_id")),
        ("action.task", ("celery.task_name",)),
    ),
    "db": (
        ("action.system", ("db.system.name", "db.system")),
        ("action.namespace", ("db.namespace", "db.name")),
    ),
    "faas": (
        ("action.trigger", ("faas.trigger",)),
        ("action.invocation_id", ("faas.invocation_id", "faas.execution")),
    ),
}
_RPC_STATUS: Final = (
    "rpc.status_code",
    "rpc.response.status_code",
    "rpc.grpc.status_code",
    "grpc.code",  # Datadog
    "rpc.connect_rpc.error_code",
    "rpc.jsonrpc.error_code",
)


_DOCUMENT: Final = ("graphql.parse", "graphql.val", "GraphQL Pars", "GraphQL Val")


def _mcp_failure(record: SpanRecord, raw: str, status: str) -> str:
    exception = last_exception(record.events) or {}
    names = tuple(filter(None, (status, raw, text_of(exception.get("exception.type")))))
    return mcp_errors.error_type(names, (text_of(exception.get("exception.message")), record.status.message))


class ActionPlan:
    """Builds the events of actions of one kind, family and shape; with event_type SKIP those of plumbing spans."""

    incoming: Final = False  # no action is a customer's call of the API
    plain: Final = None  # nor is any built by columns

    __slots__ = (
        "_codes",
        "_context",
        "_counted",
        "_direction",
        "_error_type",
        "_grpc",
        "_http_status",
        "_metadata",
        "_name",
        "_named",
        "_outcome",
        "_promoted",
        "_reason",
        "_rpc_status",
        "_stated",
        "_step",
        "_streaming",
        "event_type",
        "family",
        "has_headers",
        "is_served_rpc",
        "model",
        "names_callers",
        "operation_at",
        "over",
        "passed",
        "route_at",
        "second_look",
        "slots",
        "uri",
        "weight",
        "who",
    )

    def __init__(
        self,
        kind: int,
        event_type: str,
        family: str,
        reason: str,
        shape: Shape,
        context: Context,
        *,
        counted: bool = True,
        step: bool = False,
    ) -> None:
        """counted: False for a model's call whose tokens another event tells. step: it is one around such calls."""
        consumed: set[str] = {*ACTION_NAMES}
        whole, shape = shape, shape.without(context.masks.hides)  # what is hidden is read into no column
        self.event_type = event_type
        self._context = context
        self._reason = reason
        self._direction = direction(kind)
        self._named = shape.first(ACTION_NAMES)
        self._name = _NAMERS[family](shape) if family in _NAMERS else None
        self._stated = shape.first(("moesif.direction",))
        self._error_type = shape.first(("error.type",))
        self._promoted: list[tuple[str, str, int]] = []  # metadata key, attribute to ask the masks for, its index
        names_of = context.models.named
        self.model = None
        if family == "genai" and event_type == ACTION:
            self.model = ModelPlan(shape, context.models, drops_content=context.masks.drops_content)
        self._counted = counted
        self._step = step
        self.family = family
        # async-graphql's spans of a request have no attribute: an event tells what they are.
        bare = kind == SERVER and family == "other" and not shape.at
        self.is_served_rpc = kind == SERVER and family == "rpc"  # perhaps within an HTTP call
        self.operation_at = shape.first(graphql.TYPES), shape.first(graphql.NAMES)
        # Of an internal span that tells the route of the call above it.
        self.route_at = shape.first(("http.route",)) if may_tell_route(kind, shape) else ABSENT
        told = self.model is not None or self.route_at != ABSENT
        self.second_look = told or "graphql" in (reason, family) or bare or self.is_served_rpc
        self._outcome = shape.first((graphql.OUTCOME,)) if family == "graphql" else ABSENT
        self._codes = shape.first(graphql.CODES, scalar=False) if "graphql" in (reason, family) else ABSENT
        promoted = _PROMOTED.get(family, ())
        if self.model is not None:
            promoted = tuple((f"action.{field}", (name,)) for field, name in context.models.facts(shape))
        for key, names in promoted:
            found = next((name for name in names if shape.first((name,)) != ABSENT), None)
            if found is not None:
                index = shape.at[found]
                plain = context.masks.verdict(found) == "keep" and not context.masks.looks_inside_text
                self._promoted.append((key, "" if plain and index not in shape.look else found, index))
        # Of the answer that carried the action: AWS, Elasticsearch, a model's provider.
        self._http_status = shape.first((*STATUSES, *(names_of["status"] if self.model is not None else ())))
        self._rpc_status = shape.first(_RPC_STATUS) if family in ("rpc", "mcp") else ABSENT
        self._streaming = context.models.first("streaming", shape) if self.model is not None else ABSENT
        self._grpc = self._rpc_status != ABSENT and self._rpc_status == shape.first(_RPC_STATUS[:4])
        self.slots = HeaderSlots(whole, set(), context.masks)
        self.uri = UriPlan(kind, shape, context, self.slots, set())
        self.weight = shape.first(WEIGHTS, scalar=False)
        self.over = CUT in shape.at  # an attribute was over a bound
        self.has_headers = self.slots.present
        self.who = WhoPlan(whole, context, self.slots, self.uri.query, consumed)
        self.names_callers = not self.who.silent
        self._metadata = MetadataPlan(whole, consumed, context.masks)
        # No event, and nothing to lend to others: such a span only stands between them.
        tells = self.second_look or self.names_callers or self.weight != ABSENT
        self.passed = event_type == SKIP and kind < SERVER and not tells

    def event(self, work: Work, job: Job, user_id: str, company_id: str, hop: str) -> Event:
        record, name, _, values, fragments, who, request, _, group, decision = work
        context = self._context
        title = name.text
        model = self.model
        if model is None:
            called = text_of(values[self._named]) if self._named != ABSENT else ""
            called = called or (self._name(values, title) if self._name is not None else title)
        else:
            if record.status.code != 2 and (said := model.failure(values)) is not None:
                record = record._replace(status=said)
                work = work._replace(record=record)
            title = model.title(title, values)
            told = model.told(values, title)
            called = text_of(values[self._named]) or model.name(told, values, title)
            user_id = user_id or identifier(values[model.end_user])
        if called is not title:  # the span's name is masked already
            called = context.shown_names[called]
        if self.uri.present:
            uri = context.shown(self.uri.resolve(values, context.masks.open(request, "request"), group, "")[0])
        else:
            uri = context.action_uris[group.service, self.family, called]
        raw = values[self._error_type]
        status = rpc_status(values[self._rpc_status], grpc=self._grpc) if self._rpc_status != ABSENT else ""
        # Exception events alone do not make an error: gRPC Python records them beside status 0 (spec/mapping.md §4).
        failed = record.status.code == 2 or raw is not None or status not in SUCCESSES
        error_type = self.failure(work, status) if failed else ""
        span, to = record.span, self._direction
        if self._stated != ABSENT:
            to = DIRECTIONS.get(text_of(values[self._stated]).lower(), to)
        extra: dict[str, Any] | None = REMOTE_PARENT if span.flags & REMOTE_FLAG else None
        if failed or record.events or self._promoted or status or model is not None:
            extra = {**extra} if extra else {}
            for key, attribute, index in self._promoted:
                value = context.masks.value(attribute, values[index]) if attribute else values[index]
                if value is not None:
                    extra[key] = plain_scalar(value)  # whatever it is: bytes and NaN are no JSON
            if status:
                extra["action.status"] = context.shown_names[status]
            if model is not None:
                self._tell_model(model, told, values, extra)
            if failed or record.events:
                context.describe_error(record, raw is not None, extra)
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        received = job.received_unix_ns
        flags: tuple[str, ...] = ()
        if not received - LATE_NS <= start <= end <= received + SKEW_NS:
            start, end, flags = made_whole(start, end, received)
        trace_id, span_id = record.trace_id.hex(), record.span_id.hex()
        transaction = ids.transaction_id_action(trace_id, span_id, job.tenant)
        return _new(
            Event,
            (
                self.event_type,  # event_type
                transaction,  # transaction_id
                "span",  # source
                job.tenant,  # tenant
                trace_id,  # trace_id
                span_id,  # span_id
                record.parent_id.hex(),  # parent_id
                start,  # start_unix_ns
                end,  # end_unix_ns
                (end - start) / 1e6,  # duration_ms
                received,  # received_unix_ns
                user_id,  # user_id
                company_id,  # company_id
                who[2],  # session_token
                who[3],  # subscription_id
                who[4],  # application_id
                who[5],  # client_id
                who[6],  # plan_id
                group[0],  # service
                group[1],  # environment
                group[2],  # region
                group[3],  # resource
                to,  # direction
                hop,  # hop
                "",  # verb
                uri,  # uri
                "",  # route
                0,  # status
                "",  # api_version
                "",  # user_agent
                "",  # ip_address
                "",  # response_ip_address
                EMPTY_HEADERS,  # request_headers
                EMPTY_HEADERS,  # response_headers
                "",  # request_body
                "",  # request_body_encoding
                "",  # response_body
                "",  # response_body_encoding
                transaction,  # request_id
                title,  # name
                record.status.code,  # span_status
                context.links(record.links) if record.links else "",  # links
                error_type,  # error_type
                called,  # action_name
                self.family,  # family
                0,  # severity_number
                "",  # severity_text
                "",  # event_name
                "",  # body
                "",  # body_encoding
                self._metadata.text(values, fragments, extra),  # metadata
                flags,  # flags
                decision,  # decision
                self._reason,  # reason
            ),
        )

    def failure(self, work: Work, status: str) -> str:
        """error_type of a span that failed. status: of the RPC, as text."""
        record, name, values = work[0], work[1], work[3]
        error_type = taxonomy.BY_STATUS[status_of(values[self._http_status])]
        if name.plumbing and name.text.startswith(_DOCUMENT):
            error_type = taxonomy.VALIDATION  # a document that no server takes
        if values[self._outcome] == graphql.BAD_REQUEST or (self.family == "graphql" and graphql.is_refused(record)):
            error_type = taxonomy.VALIDATION
        raw = text_of(values[self._error_type])
        if self.family == "mcp":
            error_type = _mcp_failure(record, raw, status) or error_type
        if error_type:
            return error_type
        if isinstance(codes := values[self._codes], list) and codes:
            raw = text_of(codes[0]) or raw
        error_type = self._context.failure(
            record, raw or status, self._direction, of_provider=self.model is not None and not self.model.names_tool
        )
        if error_type in (taxonomy.SERVER, taxonomy.NETWORK) and (lent := graphql.find_lent(record.events)) is not None:
            return str(lent.attributes["error_type"])
        return error_type

    def rpc_failure(self, work: Work) -> tuple[str, str]:
        """(error_type, status by name) of an RPC, "" twice when it did not fail."""
        values = work[3]
        status = rpc_status(values[self._rpc_status], grpc=self._grpc)
        failed = work[0].status.code == 2 or values[self._error_type] is not None or status not in SUCCESSES
        return (self.failure(work, status), status) if failed else ("", "")

    def called(self, work: Work) -> str:
        """The name of the operation, as far as attributes tell it."""
        return self._name(work[3], work[1].text) if self._name is not None else ""

    def _tell_model(self, model: ModelPlan, told: Told, values: Values, extra: dict[str, Any]) -> None:
        """Adds to metadata what a model's, an agent's or a tool's span says in fixed words."""
        for key in ("action.model", "action.system"):
            if isinstance(value := extra.get(key), str):
                extra[key] = unquote(value)
        if "action.model" not in extra and isinstance(value := model.asked(values), str):
            extra["action.model"] = self._context.shown_names[value]
        operation = told.operation
        if told.call and self._step:
            operation = "chain"
        elif told.call and self._counted:
            extra.update(model.counts(values))
        if operation:
            extra["action.operation"] = self._context.shown_names[operation]
        streamed = values[self._streaming]
        if streamed is None:
            streamed = model.streamed(values)
        if streamed is not None:
            extra["action.streaming"] = streamed if isinstance(streamed, bool) else text_of(streamed).lower() == "true"
        if code := status_of(values[self._http_status]):
            extra["action.status"] = code
