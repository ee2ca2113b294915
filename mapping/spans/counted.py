"""What is counted of an API call that sampling drops: its event without content, for a fraction of the cost.

The same steps as `ApiCallPlan.event`, without metadata, headers, bodies, addresses and what is read from them; what is
there is equal (tests/mapping/test_counted.py holds the two together).
"""

from __future__ import annotations

from typing import Final

from mapping.context import LATE_NS, SKEW_NS, Job, Work, made_whole, text_of
from mapping.event import API_CALL, EMPTY_HEADERS, Decision, Event
from mapping.rules import ids, taxonomy
from mapping.rules.call import path_version, verb_of
from mapping.rules.call_status import status_of
from mapping.rules.route import OTHER
from mapping.spans.api_call import VERBS, ApiCallPlan

_new: Final = tuple.__new__


def counted(
    plan: ApiCallPlan, work: Work, job: Job, user_id: str, company_id: str, hop: str, decision: Decision
) -> Event:
    """The event of a call that is only counted. user_id, company_id, hop: as in `ApiCallPlan.event`."""
    record, name, _, values, _, who, request, response, group, _ = work
    _, _, session_token, subscription_id, application_id, client_id, plan_id, _, _ = who
    span, trace_id, span_id, parent_id, _, (code, _), events, _ = record
    service, environment, region, resource = group[:4]
    context, title = plan._context, name.text

    method = values[plan._method]
    verb = VERBS.get(method) or context.shown_names[verb_of(text_of(method), text_of(values[plan._original]), title)]
    status = values[plan.status_at]
    if type(status) is not int or not 100 <= status <= 599:
        status = status_of(status) or plan.outcome.told_status(events)

    told = context.masks.open(request, "request") if plan._custom else request
    raw_route = values[plan.route_at]
    text, path, found = plan.uri.resolve(values, told, group, raw_route if type(raw_route) is str else "")
    route = ""
    if type(raw_route) is str:
        if raw_route == path:
            route = context.static_routes[service, path]
            if route == OTHER:
                route = context.routes.template(service, path)
        elif len(raw_route) > 1:
            known = context.known_routes[raw_route]
            if path.startswith(known[1]) and path.endswith(known[4]):
                route = known[0]
    if not route:
        route = plan._other_route(raw_route, values, group, title, "" if found and found.from_route else path)

    content, version = plan.content, ""
    stated_direction = content.stated_direction(values)
    if content.tells_version or events:
        show = plan.slots.shown_beside_events if events else plan.slots.shown
        version = content.version(values, show(request, "request"), show(response, "response"))
    if not version and "/v" in path:
        version = path_version(path)
    error_type = taxonomy.BY_STATUS[status]
    if code == 2 or events or not status or plan._is_grpc:
        error_type, _ = plan.outcome.failure(work, status, error_type, None)

    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    received = job.received_unix_ns
    flags: tuple[str, ...] = ("uri_from_route",) if found is not None and found.from_route else ()
    if not received - LATE_NS <= start <= end <= received + SKEW_NS:
        start, end, of_time = made_whole(start, end, received)
        flags += of_time
    trace_hex, span_hex = trace_id.hex(), span_id.hex()
    own = ids.of_client(span_hex) if plan.shares_ids else span_hex
    return _new(
        Event,
        (
            API_CALL,  # event_type
            ids.transaction_id_api(trace_hex, own, verb, status, job.tenant),  # transaction_id
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
            stated_direction or plan._direction,  # direction
            hop,  # hop
            verb,  # verb
            context.shown(text) if context.masks.looks_inside_text else text,  # uri
            route,  # route
            status,  # status
            version,  # api_version
            "",  # user_agent
            "",  # ip_address
            "",  # response_ip_address
            EMPTY_HEADERS,  # request_headers
            EMPTY_HEADERS,  # response_headers
            "",  # request_body
            "",  # request_body_encoding
            "",  # response_body
            "",  # response_body_encoding
            "",  # request_id
            title,  # name
            code,  # span_status
            "",  # links
            error_type,  # error_type
            "",  # action_name
            "http",  # family
            0,  # severity_number
            "",  # severity_text
            "",  # event_name
            "",  # body
            "",  # body_encoding
            "",  # metadata
            flags,  # flags
            decision,  # decision
            "",  # reason
        ),
    )
