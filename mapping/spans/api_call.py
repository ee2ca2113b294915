"""Spans that are API calls -> Event (spec/mapping.md §3): verb, URI, route, status, headers, bodies, addresses.

An ApiCallPlan is made once for a kind and shape of span. It knows at which index each precedence list ends, so
building an event reads values and looks up what repeats (origins, routes, verbs, addresses), and searches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mapping.bounds import CUT
from mapping.context import (
    LATE_NS,
    SKEW_NS,
    Context,
    Group,
    Job,
    Work,
    last_exception,
    made_whole,
    text_of,
)
from mapping.event import API_CALL, EMPTY_HEADERS, Event
from mapping.masks.redactor import MASK
from mapping.otlp.decode import SpanEvent
from mapping.rules import address, bodies, extras, headers, ids, taxonomy, uri
from mapping.rules.call import (
    ACTION_NAMES,
    ANSWERED_VERSION_HEADERS,
    DIRECTIONS,
    REQUEST_ID_HEADERS,
    VERSION_ATTRIBUTES,
    VERSION_HEADERS,
    flags_in,
    note_uri,
    path_version,
    verb_of,
)
from mapping.rules.call_status import GRPC_STATUSES, SUCCESSES, rpc_status, status_of
from mapping.rules.route import OTHER
from mapping.rules.verbs import STANDARD_VERBS
from mapping.sampling.stated import WEIGHTS
from mapping.shape import ABSENT, REMOTE_FLAG, REMOTE_PARENT, MetadataPlan, Shape
from mapping.spans.captured import HeaderSlots, bring_headers
from mapping.spans.classify import CLIENT, METHODS, SERVER, STATUSES, direction
from mapping.spans.columns import Places, PlainCalls
from mapping.spans.graphql import find_lent
from mapping.spans.models import ModelPlan
from mapping.spans.uri_plan import UriPlan
from mapping.spans.who import WhoPlan

# Micrometer's, OpenTracing's, Envoy's and Cloudflare's for no error
_NO_ERROR: Final = frozenset(("", "none", "null", "false", "-", "ok"))

VERBS: Final = {verb: verb for verb in STANDARD_VERBS}
_new: Final = tuple.__new__


# What Go's instrumentations say of a connection that was taken over (a WebSocket): nothing failed.
_NO_STATUS: Final = "Invalid HTTP status code 0"


class ApiCallPlan:
    """Builds the events of API calls of one kind and shape."""

    event_type: Final = API_CALL
    passed: Final = False

    # More than 30 attributes of an instance are not found at once any more.
    __slots__ = (
        "_action_name",
        "_addresses",
        "_agent",
        "_asked",
        "_asks",
        "_context",
        "_custom",
        "_direction",
        "_error_type",
        "_given_up",
        "_grpc",
        "_has_bodies",
        "_incoming",
        "_is_grpc",
        "_looks",
        "_metadata",
        "_method",
        "_moesif_direction",
        "_original",
        "_readers",
        "_request_body",
        "_request_id",
        "_response_body",
        "_says",
        "_server",
        "_status_events",
        "_tells_id",
        "_tells_ip",
        "_tells_version",
        "_template",
        "_unusual",
        "_versions",
        "has_headers",
        "incoming",
        "model",
        "names_callers",
        "over",
        "plain",
        "route_at",
        "second_look",
        "shares_ids",
        "slots",
        "stated",
        "status_at",
        "uri",
        "weight",
        "who",
    )

    def __init__(self, kind: int, shape: Shape, context: Context) -> None:
        first, at = shape.first, shape.at
        consumed: set[str] = {*METHODS, *STATUSES, *headers.USER_AGENT_ATTRIBUTES, *ACTION_NAMES}
        consumed |= {"http.request.method_original", "request.id", "moesif.direction"}
        consumed |= {*bodies.REQUEST_ATTRIBUTES, *bodies.RESPONSE_ATTRIBUTES}
        self._context = context
        self._custom, self._looks = context.masks.custom, context.masks.looks_inside_text
        self._direction = direction(kind)
        self.incoming = self._direction == "Incoming"
        self._incoming = self._direction != "Outgoing"
        self._server = kind == SERVER
        self._method = first(METHODS)
        self.stated = self._method != ABSENT
        # LiteLLM tells of the model's call on the span of its own.
        # What the settings hide is read into no column; only whose call it was is told, as a hash.
        shown = shape.without(context.masks.hides)
        told = shape.has(*context.models.named["told_by_call"])
        self.model = ModelPlan(shown, context.models) if told else None
        self.second_look = (self._server and not self.stated) or told
        self._original = first(("http.request.method_original",))
        # Where both are there: LiteLLM tells its provider's on the span of the API call, by the new name.
        told_old = not shape.has(METHODS[0]) and shape.has(METHODS[1])
        self.status_at = first(STATUSES[::-1] if told_old else STATUSES)
        self.slots = HeaderSlots(shape, consumed, context.masks)
        first, at = shown.first, shown.at
        self.uri = UriPlan(kind, shown, context, self.slots, consumed)
        self.route_at = first(("http.route",))
        self.second_look |= not (self._server or kind == CLIENT)
        self._template = first(("url.template",))
        self._agent = first(headers.USER_AGENT_ATTRIBUTES)
        names = address.CLIENT_ATTRIBUTES if self._incoming else address.PEER_ATTRIBUTES
        self._addresses = tuple(at[name] for name in names if name in at and at[name] not in shape.many)
        self._versions = first(VERSION_ATTRIBUTES)
        self._request_body = first(bodies.REQUEST_ATTRIBUTES, scalar=False)
        self._response_body = first(bodies.RESPONSE_ATTRIBUTES, scalar=False)
        self._action_name = first(ACTION_NAMES)
        self._request_id = first(("request.id",))
        self._moesif_direction = first(("moesif.direction",))
        self._error_type = first(("error.type",))
        self.shares_ids = kind == CLIENT and shape.reading.shares_ids
        self._status_events = shape.reading.status_events
        self._given_up = shape.reading.given_up
        self._grpc = first(GRPC_STATUSES, scalar=False)
        self._is_grpc = self._grpc != ABSENT
        self._asked = [(name, index) for name, index in at.items() if name in extras.ATTRIBUTES]
        asked_of = self.slots.request_names
        self._readers = extras.parts(self.slots.response_names)
        answered = self.slots.response_names
        self._tells_version = self._versions != ABSENT or any(
            names is None or not names.isdisjoint(VERSION_HEADERS) for names in (asked_of, answered)
        )
        self._tells_ip = asked_of is None or not address.CLIENT_HEADER_SET.isdisjoint(asked_of)
        self._tells_id = asked_of is None or not asked_of.isdisjoint(REQUEST_ID_HEADERS)
        asks = asked_of is None or not extras.REQUEST_HEADERS.isdisjoint(asked_of)
        self._asks = asks or bool(self._asked)
        # Rare things are asked for only where the shape can have them.
        self._has_bodies = self._request_body != ABSENT or self._response_body != ABSENT
        self._says = not self._action_name == self._request_id == self._moesif_direction == ABSENT
        self._unusual = (
            self._asks or bool(self._readers) or told or self._has_bodies or self._says or self._versions != ABSENT
        )
        self.weight = shape.first(WEIGHTS, scalar=False)
        self.over = CUT in shape.at  # an attribute was over a bound
        self.has_headers = self.slots.present
        self.who = WhoPlan(shape, context, self.slots, self.uri.query, consumed)
        self.names_callers = not self.who.silent
        self._metadata = MetadataPlan(shape, consumed, context.masks)
        self.plain = self._plain_calls()

    def _plain_calls(self) -> PlainCalls | None:
        """What builds the events of plain calls by columns; None when no call of this shape is plain."""
        odd = self._unusual or self.slots.present or self.over or self.shares_ids or self._is_grpc
        if odd or not (self.stated and self.route_at != ABSENT and self.uri.is_path_alone and self._metadata.joins):
            return None
        if self._custom or self._context.masks.looks_inside_text:
            return None
        places = Places(self._method, self.status_at, self.route_at, self._agent, self._addresses)
        return PlainCalls(self._context, places, self.uri, self._metadata, self._direction)

    def failed(self, values: tuple[Any, ...]) -> bool:
        """True when the answer itself was an error."""
        return status_of(values[self.status_at]) >= 400

    def event(self, work: Work, job: Job, user_id: str, company_id: str, hop: str) -> Event:
        """The event of one span. user_id, company_id: after inheritance; hop: as `mapping.spans.hops` finds it."""
        record, name, _, values, fragments, who, request, response, group, decision = work
        span, trace_id, span_id, parent_id, _, (code, _), events, links = record
        _, _, session_token, subscription_id, application_id, client_id, plan_id, _, _ = who
        service, environment, region, resource = group[:4]
        context = self._context
        title = name[0]

        method = values[self._method]
        verb = (
            VERBS.get(method) or context.shown_names[verb_of(text_of(method), text_of(values[self._original]), title)]
        )
        status = values[self.status_at]
        if type(status) is not int or not 100 <= status <= 599:
            status = status_of(status) or (self._status_told(events) if self._status_events else 0)

        told = context.masks.open(request, "request") if self._custom else request
        raw_route = values[self.route_at]
        text, path, found = self.uri.resolve(values, told, group, raw_route if type(raw_route) is str else "")
        route = ""
        if type(raw_route) is str:
            if raw_route == path:
                route = context.static_routes[service, path]
                if route == OTHER:  # it may have been called often enough since
                    route = context.routes.template(service, path)
            elif len(raw_route) > 1:
                known = context.known_routes[raw_route]
                if path.startswith(known[1]) and path.endswith(known[4]):
                    route = known[0]
        if not route:
            route = self._other_route(raw_route, values, group, title, "" if found and found.from_route else path)

        trace_hex, span_hex = trace_id.hex(), span_id.hex()
        own = ids.of_client(span_hex) if self.shares_ids else span_hex
        transaction = ids.transaction_id_api(trace_hex, own, verb, status, job.tenant)
        agent = values[self._agent]
        ip = ""
        for index in self._addresses:
            if ip := context.addresses[values[index]]:
                break
        body = encoding = response_body = response_encoding = stated_direction = action_name = version = ""
        extra: dict[str, Any] | None = None
        flags: tuple[str, ...] = ()
        if self._unusual or request or response or events or found:
            (agent, transaction, shown_ip, shown_request, shown_response, version, request_id, stated_direction,
             body, encoding, response_body, response_encoding, action_name, flags, extra) = self._rest(
                work, job, transaction, path, found
            )  # fmt: skip
            ip = shown_ip or ip
        else:
            shown_request, shown_response = context.agents[agent], EMPTY_HEADERS
            agent = shown_request["user-agent"] if shown_request else ""
            if "/v" in path:
                version = path_version(path)
            request_id = transaction

        error_type = taxonomy.BY_STATUS[status]
        if span.flags & REMOTE_FLAG:
            extra = {**extra, **REMOTE_PARENT} if extra else REMOTE_PARENT
        if code == 2 or events or not status or self._is_grpc:
            error_type, extra = self._failure(work, status, error_type, extra)

        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        received = job.received_unix_ns
        if not received - LATE_NS <= start <= end <= received + SKEW_NS:
            start, end, of_time = made_whole(start, end, received)
            flags += of_time
        return _new(
            Event,
            (
                API_CALL,  # event_type
                transaction,  # transaction_id
                "span",  # source
                job.tenant,  # tenant
                trace_hex,  # trace_id
                span_hex,  # span_id
                parent_id.hex(),  # parent_id
                start,  # start_unix_ns
                end,  # end_unix_ns
                (end - start) / 1e6,  # duration_ms
                received,  # received_unix_ns
                user_id,  # user_id
                company_id,  # company_id
                session_token,  # session_token
                subscription_id,  # subscription_id
                application_id,  # application_id
                client_id,  # client_id
                plan_id,  # plan_id
                service,  # service
                environment,  # environment
                region,  # region
                resource,  # resource
                stated_direction or self._direction,  # direction
                hop,  # hop
                verb,  # verb
                context.shown(text) if self._looks else text,  # uri
                route,  # route
                status,  # status
                version,  # api_version
                agent,  # user_agent
                ip if self._incoming else "",  # ip_address
                "" if self._incoming or not status else ip,  # response_ip_address
                shown_request,  # request_headers
                shown_response,  # response_headers
                body,  # request_body
                encoding,  # request_body_encoding
                response_body,  # response_body
                response_encoding,  # response_body_encoding
                request_id,  # request_id
                title,  # name
                code,  # span_status
                context.links(links) if links else "",  # links
                error_type,  # error_type
                action_name,  # action_name
                "http",  # family
                0,  # severity_number
                "",  # severity_text
                "",  # event_name
                "",  # body
                "",  # body_encoding
                self._metadata.text(values, fragments, extra),  # metadata
                flags,  # flags
                decision,  # decision
                "",  # reason
            ),
        )

    def _other_route(self, raw: Any, values: tuple[Any, ...], group: Group, name: str, path: str) -> str:
        """spec/mapping.md §3.3 for spans without a route, and where the route may be the path itself."""
        shown, template = self._context.shown_routes, values[self._template] if self._template != ABSENT else None
        return self._context.routes.route(
            group.service,
            http_route=shown[text_of(raw)] if raw is not None else "",
            url_template=shown[text_of(template)] if template is not None else "",
            span_name=name if self._server else "",
            path=path,
        )

    def _failure(
        self, work: Work, status: int, error_type: str, extra: dict[str, Any] | None
    ) -> tuple[str, dict[str, Any] | None]:
        """(error_type, additions to metadata) of a span that failed or may have."""
        record, context = work.record, self._context
        extra = dict(extra) if extra else {}
        raw = work.values[self._error_type]
        if raw is False or (isinstance(raw, str) and raw.lower() in _NO_ERROR):
            raw = None
        failed = (
            (record.status.code == 2 and not record.status.message.startswith(_NO_STATUS))
            or raw is not None
            or last_exception(record.events) is not None
        )
        if not status and self._given_up and text_of(work.values[self.status_at]) in self._given_up:
            error_type = taxonomy.CANCELLED
        if failed:
            context.describe_error(record, raw is not None, extra)
            if not error_type and not status:
                error_type = context.failure(record, text_of(raw), self._direction)
        if self._is_grpc and not error_type:
            value = work.values[self._grpc]
            name = rpc_status(value[0] if isinstance(value, list) and value else value, grpc=True)
            if name not in SUCCESSES:  # a failure behind HTTP's 200
                error_type = taxonomy.of_failure((name,), direction=self._direction)
                extra["action.status"] = context.shown_names[name]
        if record.events and (lent := find_lent(record.events)) is not None and not error_type:
            error_type = lent.attributes["error_type"]
            context.describe_error(lent.attributes["record"], False, extra)
            extra["action.status"] = context.shown_names[lent.attributes["status"]]
        return error_type, extra

    def _status_told(self, events: tuple[SpanEvent, ...]) -> int:
        """The status that an event of the span tells, 0 for none."""
        told = dict(self._status_events)
        return next((status_of(one.attributes.get(told[one.name])) for one in events if one.name in told), 0)

    def _rest(
        self, work: Work, job: Job, transaction: str, path: str, found: uri.Uri | None
    ) -> tuple[
        str, str, str, Mapping[str, str], Mapping[str, str], str, str, str, str, str, str, str, str, tuple[str, ...],
        dict[str, Any],
    ]:  # fmt: skip
        """What only spans with captured headers, bodies or unusual attributes have.

        (user agent, transaction id, address, request headers, response headers, version, request id, stated direction,
        request body and its encoding, response body and its encoding, action name, flags, members of metadata).
        """
        record, values, request, response = work[0], work[3], work[6], work[7]
        context, events = self._context, record[6]
        brings = bool(events) and bring_headers(events)  # and bodies
        extra: dict[str, Any] = {}
        if found is not None:
            note_uri(found, extra)
        if "user-agent" not in request and (agent := text_of(values[self._agent])):
            request = {**request, "user-agent": agent}
        asking, answering = request, response
        if self._custom:
            asking, answering = context.masks.open(request, "request"), context.masks.open(response, "response")
        ip = ""
        if request and self._incoming and (self._tells_ip or brings):
            ip = context.masks.ip(address.client_ip(asking, (), trust_forwarded=context.trust_forwarded))
        body = encoding = response_body = response_encoding = action_name = stated_direction = ""
        if self._has_bodies or brings:
            body, encoding = context.body(values[self._request_body], events, "request", request, extra, job.room)
            response_body, response_encoding = context.body(
                values[self._response_body], events, "response", response, extra, job.room
            )
        flags = flags_in(extra) if extra else ()
        if self._asks or events:
            asked: Mapping[str, Any] = {}
            if self._asked:
                asked = context.masks.attributes({name: values[index] for name, index in self._asked})
            start = record.span.start_time_unix_nano
            extra |= extras.read_call(asking, answering, asked, events, start, self._readers)
        elif self._readers:
            extras.read_response(answering, self._readers, extra)
        if self.model is not None:
            extra |= self.model.facts(values)
        # What is masked in a header is masked in what is read from it.
        slots = self.slots
        if brings:
            shown = slots.shown_beside_events(request, "request")
            shown_response = slots.shown_beside_events(response, "response")
        else:
            shown = request if slots.keeps_request else slots.shown(request, "request")
            shown_response = response if slots.keeps_response else slots.shown(response, "response")
        version = self._version(values, shown, shown_response) if self._tells_version or brings else ""
        if not version and "/v" in path:
            version = path_version(path)
        request_id = _request_id(shown) if self._tells_id or brings else ""
        if self._says:
            if not request_id and self._request_id != ABSENT:
                request_id = context.shown_name(text_of(values[self._request_id]))  # each is another: not remembered
            if self._moesif_direction != ABSENT:
                stated_direction = DIRECTIONS.get(text_of(values[self._moesif_direction]).lower(), "")
            if self._action_name != ABSENT:
                action_name = context.shown_names[text_of(values[self._action_name])]
        return (
            shown.get("user-agent", ""),
            transaction,
            ip,
            shown,
            shown_response,
            version,
            request_id or transaction,
            stated_direction,
            body,
            encoding,
            response_body,
            response_encoding,
            action_name,
            flags,
            extra,
        )

    def _version(self, values: tuple[Any, ...], request: Mapping[str, str], response: Mapping[str, str]) -> str:
        for name in VERSION_HEADERS:
            if name in request:
                return request[name]
        if found := text_of(values[self._versions]):
            return self._context.shown_names[found]
        for name in ANSWERED_VERSION_HEADERS:
            if name in response:
                return response[name]
        return ""


def _request_id(request: Mapping[str, str]) -> str:
    for name in REQUEST_ID_HEADERS:
        if name in request and request[name] != MASK:
            return request[name]
    return ""
