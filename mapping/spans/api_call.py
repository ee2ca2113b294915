"""Spans that are API calls -> Event (spec/mapping.md §3): verb, URI, route, status, addresses and what they carried.

An ApiCallPlan is made once for a kind and shape of span. It knows at which index each precedence list ends, so
building an event reads values and looks up what repeats (origins, routes, verbs, addresses), and searches nothing.
"""

from __future__ import annotations

from typing import Any, Final

from mapping.bounds import CUT
from mapping.context import LATE_NS, SKEW_NS, Context, Group, Job, Work, made_whole, text_of
from mapping.event import API_CALL, EMPTY_HEADERS, Event
from mapping.rules import address, headers, ids, taxonomy
from mapping.rules.call import path_version, verb_of
from mapping.rules.call_status import status_of
from mapping.rules.route import OTHER
from mapping.rules.verbs import STANDARD_VERBS
from mapping.sampling.stated import WEIGHTS
from mapping.shape import ABSENT, REMOTE_FLAG, REMOTE_PARENT, MetadataPlan, Shape
from mapping.spans.call_content import ContentPlan
from mapping.spans.call_outcome import OutcomePlan
from mapping.spans.captured import HeaderSlots
from mapping.spans.classify import CLIENT, METHODS, SERVER, STATUSES, direction
from mapping.spans.columns import Places, PlainCalls
from mapping.spans.models import ModelPlan
from mapping.spans.uri_plan import UriPlan
from mapping.spans.who import WhoPlan

VERBS: Final = {verb: verb for verb in STANDARD_VERBS}
_new: Final = tuple.__new__


class ApiCallPlan:
    """Builds the events of API calls of one kind and shape."""

    event_type: Final = API_CALL
    passed: Final = False

    # More than 30 attributes of an instance are not found at once any more.
    __slots__ = (
        "_addresses",
        "_agent",
        "_context",
        "_custom",
        "_direction",
        "_incoming",
        "_is_grpc",
        "_is_unusual",
        "_looks",
        "_metadata",
        "_method",
        "_original",
        "_server",
        "_template",
        "content",
        "has_headers",
        "incoming",
        "model",
        "names_callers",
        "outcome",
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
        first = shape.first
        consumed: set[str] = {*METHODS, *STATUSES, *headers.USER_AGENT_ATTRIBUTES, "http.request.method_original"}
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
        self.second_look = (self._server and not self.stated) or told or not (self._server or kind == CLIENT)
        self._original = first(("http.request.method_original",))
        # Where both are there: LiteLLM tells its provider's on the span of the API call, by the new name.
        told_old = not shape.has(METHODS[0]) and shape.has(METHODS[1])
        self.status_at = first(STATUSES[::-1] if told_old else STATUSES)
        self.slots = HeaderSlots(shape, consumed, context.masks)
        first, at = shown.first, shown.at
        self.uri = UriPlan(kind, shown, context, self.slots, consumed)
        self.route_at = first(("http.route",))
        self._template = first(("url.template",))
        self._agent = agent = first(headers.USER_AGENT_ATTRIBUTES)
        names = address.CLIENT_ATTRIBUTES if self._incoming else address.PEER_ATTRIBUTES
        self._addresses = tuple(at[name] for name in names if name in at and at[name] not in shape.many)
        self.content = ContentPlan(
            shown, context, self.slots, consumed, agent=agent, incoming=self._incoming, model=self.model
        )
        self._is_unusual = self.content.is_there
        self.outcome = OutcomePlan(shape, shown, context, self.status_at, self._direction)
        self._is_grpc = self.outcome.is_grpc
        self.shares_ids = kind == CLIENT and shape.reading.shares_ids
        self.weight = shape.first(WEIGHTS, scalar=False)
        self.over = CUT in shape.at  # an attribute was over a bound
        self.has_headers = self.slots.present
        self.who = WhoPlan(shape, context, self.slots, self.uri.query, consumed)
        self.names_callers = not self.who.silent
        self._metadata = MetadataPlan(shape, consumed, context.masks)
        self.plain = self._plain_calls()

    def _plain_calls(self) -> PlainCalls | None:
        """What builds the events of plain calls by columns; None when no call of this shape is plain."""
        odd = self._is_unusual or self.slots.present or self.over or self.shares_ids or self._is_grpc
        if odd or not (self.stated and self.route_at != ABSENT and self.uri.is_path_alone and self._metadata.joins):
            return None
        if self._custom or self._context.masks.looks_inside_text:
            return None
        places = Places(self._method, self.status_at, self.route_at, self._agent, self._addresses)
        return PlainCalls(self._context, places, self.uri, self._metadata, self._direction)

    def tell_no_model(self) -> None:
        """Leaves what is told of a model's call to the spans below."""
        self.model = self.content.model = None

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
            status = status_of(status) or self.outcome.told_status(events)

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
        if self._is_unusual or request or response or events or found:
            (agent, shown_ip, shown_request, shown_response, version, request_id, stated_direction, body, encoding,
             response_body, response_encoding, action_name, flags, extra) = self.content.read(
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
            error_type, extra = self.outcome.failure(work, status, error_type, extra)

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
