"""Spans that are API calls -> Event (mapping.md §3): verb, URI, route, status, headers, bodies, addresses.

An ApiCallPlan is made once for a kind and shape of span. It knows at which index each precedence list ends, so
building an event reads values and looks up what repeats (origins, routes, verbs, addresses), and searches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mapping import address, headers, ids, taxonomy, uri
from mapping.captured import REQUEST_BODY, RESPONSE_BODY, HeaderSlots
from mapping.context import Context, Group, Job, Work, text_of, timing
from mapping.event import API_CALL, EMPTY_HEADERS, Decision, Event
from mapping.shape import ABSENT, MetadataPlan, Shape
from mapping.spans import CLIENT, METHODS, SERVER, STATUSES, direction
from mapping.who import WhoPlan

FULL: Final = ("url.full", "http.url")
SCHEMES: Final = ("url.scheme", "http.scheme")
SERVER_HOSTS: Final = ("server.address", "http.host", "net.host.name", "http.server_name", "net.host.ip")
SERVER_PORTS: Final = ("server.port", "net.host.port")
CLIENT_HOSTS: Final = (
    "server.address",
    "http.host",
    "net.peer.name",
    "net.peer.ip",
    "network.peer.address",
    "net.sock.peer.addr",
)
CLIENT_PORTS: Final = ("server.port", "net.peer.port", "network.peer.port", "net.sock.peer.port")
ACTION_NAMES: Final = ("moesif.action_name", "action_name", "action.name")
_VERSION_HEADERS: Final = ("api-version", "x-api-version", "accept-version")
_VERSION_ATTRIBUTES: Final = ("api.version", "api_version")
_REQUEST_ID_HEADERS: Final = ("x-request-id", "x-correlation-id", "request-id")

# What is its own encoded form (uri.encode) and needs no look at queries, users or default ports.
_CLEAN_PATH: Final = re.compile(r"/[A-Za-z0-9/_.~!$&'()*+,;=:@\-]*").fullmatch
_CLEAN_URL: Final = re.compile(
    r"(https?://[A-Za-z0-9.\-]+(?::(?!(?:80|443)/)[0-9]+)?)(/[A-Za-z0-9/_.~!$&'()*+,;=:@\-]*)"
).fullmatch
_PATH_VERSION: Final = re.compile(r"/(v\d+(?:\.\d+)*)(?=/|$)").search

_VERBS: Final = {verb: verb for verb in ids.STANDARD_VERBS}
_DIRECTIONS: Final = {"incoming": "Incoming", "outgoing": "Outgoing", "internal": "Internal"}
_new: Final = tuple.__new__


def verb_of(method: str, original: str, name: str) -> str:
    """The verb of a call (mapping.md §3.1). method: as sent, "" for none; name: the span's."""
    if not method:
        first = name.partition(" ")[0]
        return first if first in ids.STANDARD_VERBS else "_OTHER"
    if method == "_OTHER" and original:
        method = original
    upper = method.upper()
    return upper if upper in ids.STANDARD_VERBS else method


def status_of(value: Any) -> int:
    """An HTTP status in an int, double or digit string; 0 for anything else (mapping.md §3.4)."""
    if isinstance(value, str):
        value = int(value) if len(value) == 3 and value.isascii() and value.isdigit() else 0
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 100 <= value <= 599 and value == int(value) else 0


def path_version(path: str) -> str:
    """The first path segment that looks like an API version, "" without one."""
    found = _PATH_VERSION(path)
    return found[1] if found is not None else ""


class UriPlan:
    """Composes the URI of spans of one shape (mapping.md §3.2)."""

    def __init__(self, kind: int, shape: Shape, context: Context, slots: HeaderSlots, consumed: set[str]) -> None:
        def take(*names: str) -> int:
            """Index of the first of `names`; none of them goes to metadata."""
            consumed.update(names)
            return shape.first(names)

        self._context = context
        self._full = take(*FULL)
        self._target = take("http.target")
        self._path = take("url.path")
        self._query = take("url.query")
        self._scheme = take(*SCHEMES)
        hosts, ports = (CLIENT_HOSTS, CLIENT_PORTS) if kind == CLIENT else (SERVER_HOSTS, SERVER_PORTS)
        self._host = take(*hosts)
        self._host_is_header = self._host != ABSENT and self._host == shape.at.get("http.host")
        self._port = take(*ports)
        # Only servers are reached under a public origin; a client's own headers name the server it calls.
        self._has_origin = kind != CLIENT and context.trust_forwarded and slots.present
        self._plain = (
            self._path != ABSENT and self._host != ABSENT and self._query == self._full == self._target == ABSENT
        )
        self.present = not (self._full == self._target == self._path == ABSENT)

    def resolve(
        self, values: tuple[Any, ...], request: Mapping[str, str], group: Group, route: str
    ) -> tuple[str, str, uri.Uri | None]:
        """(masked URI text, its path, all of the result when it has more to say). route: stands in for a path."""
        origin = uri.public_origin(request) if self._has_origin else uri.NO_ORIGIN
        if self._plain:
            path = values[self._path]
            if type(path) is str and _CLEAN_PATH(path):
                prefix = self._context.origins[
                    values[self._scheme], values[self._host], values[self._port], self._host_is_header, origin
                ]
                return prefix + path, path, None
        elif self._full != ABSENT and origin is uri.NO_ORIGIN:
            full = values[self._full]
            if type(full) is str and (clean := _CLEAN_URL(full)) is not None:
                return full, clean[2], None
        found = uri.resolve(
            full=text_of(values[self._full]),
            target=text_of(values[self._target]),
            scheme=text_of(values[self._scheme]),
            host=text_of(values[self._host]),
            port=values[self._port],
            host_is_header=self._host_is_header,
            path=text_of(values[self._path]),
            query=text_of(values[self._query]),
            origin=origin,
            service=group.service,
            route=route,
            mask=self._context.mask_query,
        )
        return found.text, found.path, found

    def query(self, values: tuple[Any, ...]) -> str:
        """The query as sent, unmasked, for identity only."""
        query = text_of(values[self._query]).removeprefix("?")
        if query:
            return query
        return (text_of(values[self._target]) or text_of(values[self._full])).partition("#")[0].partition("?")[2]


class ApiCallPlan:
    """Builds the events of API calls of one kind and shape."""

    event_type: Final = API_CALL

    def __init__(self, kind: int, shape: Shape, context: Context) -> None:
        first, at = shape.first, shape.at
        consumed: set[str] = {*METHODS, *STATUSES, *headers.USER_AGENT_ATTRIBUTES, *ACTION_NAMES}
        consumed |= {"http.request.method_original", "request.id", "moesif.direction", *REQUEST_BODY, *RESPONSE_BODY}
        self._context = context
        self._direction = direction(kind)
        self._incoming = self._direction != "Outgoing"
        self._server = kind == SERVER
        self._method = first(METHODS)
        self._original = first(("http.request.method_original",))
        self._status = first(STATUSES)
        self.slots = HeaderSlots(shape, consumed)
        self.uri = UriPlan(kind, shape, context, self.slots, consumed)
        self._route = first(("http.route",))
        self._template = first(("url.template",))
        self._agent = first(headers.USER_AGENT_ATTRIBUTES)
        names = address.CLIENT_ATTRIBUTES if self._incoming else address.PEER_ATTRIBUTES
        self._addresses = [at[name] for name in names if name in at]
        self._versions = first(_VERSION_ATTRIBUTES)
        self._bodies = first(REQUEST_BODY) != ABSENT or first(RESPONSE_BODY) != ABSENT
        self._request_body, self._response_body = first(REQUEST_BODY), first(RESPONSE_BODY)
        self._action_name = first(ACTION_NAMES)
        self._request_id = first(("request.id",))
        self._moesif_direction = first(("moesif.direction",))
        self._error_type = first(("error.type",))
        self.who = WhoPlan(shape, context.resolver, context.identity, self.slots, self.uri.query, consumed)
        self._metadata = MetadataPlan(shape, consumed, context.masks)

    def event(self, work: Work, job: Job, user_id: str, company_id: str, decision: Decision) -> Event:
        record, name, _, values, fragments, who, request, response, group = work
        context = self._context
        title = name.text
        extra: dict[str, Any] = {}

        method = values[self._method]
        verb = _VERBS.get(method) or verb_of(text_of(method), text_of(values[self._original]), title)
        status = values[self._status]
        if type(status) is not int or not 100 <= status <= 599:
            status = status_of(status)

        raw_route = values[self._route]
        text, path, found = self.uri.resolve(values, request, group, raw_route or "")
        if found is not None:
            _note(found, extra)
        route = self._route_of(raw_route, values, group, title, "" if found and found.from_route else path)

        agent = values[self._agent]
        ip = version = ""
        if request or response:
            agent = request.get("user-agent") or text_of(agent)
            if agent and "user-agent" not in request:
                request = {**request, "user-agent": agent}
            shown_request = context.masks.headers(request)
            shown_response = context.masks.headers(response) if response else EMPTY_HEADERS
            version = self._version(values, path, request, response)
            if self._incoming:
                ip = address.client_ip(
                    request, [values[i] for i in self._addresses], trust_forwarded=context.trust_forwarded
                )
        else:
            shown_request = context.agents[agent] if type(agent) is str else EMPTY_HEADERS
            shown_response = EMPTY_HEADERS
            agent = agent if type(agent) is str else ""
            if self._versions != ABSENT or "/v" in path:
                version = text_of(values[self._versions]) or path_version(path)
        if not ip:
            for index in self._addresses:
                if ip := context.addresses[values[index]]:
                    break

        transaction = ids.given(request["x-moesif-transaction-id"]) if "x-moesif-transaction-id" in request else ""
        trace_id, span_id = record.trace_id.hex(), record.span_id.hex()
        if not transaction:
            transaction = ids.transaction_id_api(trace_id, span_id, verb, status)
        request_id = transaction
        if request or self._request_id != ABSENT:
            request_id = _request_id(request) or text_of(values[self._request_id]) or transaction

        request_body = request_encoding = response_body = response_encoding = ""
        if self._bodies or record.events:
            request_body, request_encoding = context.body(
                values[self._request_body], record.events, "request", request, extra
            )
            response_body, response_encoding = context.body(
                values[self._response_body], record.events, "response", response, extra
            )

        if status:
            error_type = taxonomy.BY_STATUS[status]
            failed = record.status.code == 2
        else:
            raw = values[self._error_type]
            failed = record.status.code == 2 or raw is not None or bool(record.events)
            error_type = context.failure(record, text_of(raw), self._direction == "Outgoing") if failed else ""
        if failed or record.events:
            context.describe_error(record, extra)

        span = record.span
        if span.flags & 0x200:
            extra["remote_parent"] = True
        start, end, duration, flags = timing(span.start_time_unix_nano, span.end_time_unix_nano, job.received_unix_ns)
        way = values[self._moesif_direction]
        return _new(
            Event,
            (
                API_CALL,
                transaction,
                "span",
                job.tenant,
                trace_id,
                span_id,
                record.parent_id.hex(),
                start,
                end,
                duration,
                job.received_unix_ns,
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
                self._direction if way is None else _DIRECTIONS.get(text_of(way).lower(), self._direction),
                verb,
                text,
                route,
                status,
                version,
                agent,
                ip if self._incoming else "",
                "" if self._incoming or not status else ip,
                shown_request,
                shown_response,
                request_body,
                request_encoding,
                response_body,
                response_encoding,
                request_id,
                title,
                record.status.code,
                context.links(record.links) if record.links else "",
                error_type,
                text_of(values[self._action_name]),
                "http",
                0,
                "",
                "",
                "",
                "",
                self._metadata.text(values, fragments, extra),
                flags,
                decision,
                "",
            ),
        )

    def _route_of(self, raw: Any, values: tuple[Any, ...], group: Group, name: str, path: str) -> str:
        """mapping.md §3.3, the usual case remembered: a route that is neither `/` nor the path itself."""
        if type(raw) is str and raw != path and len(raw) > 1:
            route = self._context.normalised[raw]
            if route:
                return route
        return self._context.routes.route(
            group.service,
            http_route=text_of(raw),
            url_template=text_of(values[self._template]),
            span_name=name if self._server else "",
            path=path,
        )

    def _version(
        self, values: tuple[Any, ...], path: str, request: Mapping[str, str], response: Mapping[str, str]
    ) -> str:
        for name in _VERSION_HEADERS:
            if name in request:
                return request[name]
        if found := text_of(values[self._versions]):
            return found
        for name in _VERSION_HEADERS[:2]:
            if name in response:
                return response[name]
        return path_version(path) if "/v" in path else ""


def _note(found: uri.Uri, extra: dict[str, Any]) -> None:
    if found.host_guessed:
        extra["uri_host_guessed"] = True
    if found.from_route:
        extra["uri_from_route"] = True
    if found.query_params_dropped:
        extra["query_params_dropped"] = found.query_params_dropped


def _request_id(request: Mapping[str, str]) -> str:
    for name in _REQUEST_ID_HEADERS:
        if name in request:
            return request[name]
    return ""
