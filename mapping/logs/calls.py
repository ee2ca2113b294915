"""The API call that a log record describes: an event of its own, with the transaction id of the call's span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mapping.context import Context, Group, Job
from mapping.event import API_CALL, EMPTY_HEADERS, ENTRY, OPEN, Decision, Event
from mapping.logs.http import HttpExchange
from mapping.logs.location import of_exchange
from mapping.logs.plans import CONSUMED
from mapping.logs.work import LogWork, error_of, flags_of, is_of_a_model, request_id
from mapping.masks.prompts import without_content
from mapping.masks.redactor import MASK
from mapping.rules import extras, ids, taxonomy
from mapping.rules.call import (
    ANSWERED_VERSION_HEADERS,
    VERSION_ATTRIBUTES,
    VERSION_HEADERS,
    flags_in,
    note_uri,
    path_version,
)
from mapping.rules.metadata import flat_object

_new: Final = tuple.__new__  # an Event by position, in its field order: a third of the cost of keywords


class CallEvents:
    """Builds the events of calls."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def event(
        self, work: LogWork, http: HttpExchange, group: Group, job: Job, decision: Decision, *, untouched: bool
    ) -> Event:
        """untouched: nothing in the body's text is masked, whatever it is."""
        context, plan, who = self._context, work.plan, work.who
        _, trace_id, span_id, _, end, severity_number, severity_text, event_name, _, _, _ = work.read
        service, environment, region, resource, company = group[:5]
        verb, status, outgoing, duration_ms = http.verb, http.status, http.outgoing, http.duration_ms
        found = of_exchange(context, http, service)
        if found is None:
            route = context.normalised[http.route] if http.route else ""
            found = http.uri(service, route, context.masks.query, context.masks.path)
        path = "" if found.from_route else found.path
        extra: dict[str, Any] = {"source": "log"}
        note_uri(found, extra)
        start = end - round(duration_ms * 1e6) if duration_ms > 0 else end
        transaction = (
            ids.transaction_id_api(trace_id, span_id, verb, status, job.tenant)
            if trace_id and span_id
            else ids.transaction_id(work.key, job.tenant)
        )
        return _new(
            Event,
            (
                API_CALL,  # event_type
                transaction,  # transaction_id
                "log",  # source
                job.tenant,  # tenant
                trace_id,  # trace_id
                span_id,  # span_id
                "",  # parent_id
                max(0, start),  # start_unix_ns
                end,  # end_unix_ns
                duration_ms,  # duration_ms
                job.received_unix_ns,  # received_unix_ns
                who.user_id,  # user_id
                who.company_id or company,  # company_id
                who.session_token,  # session_token
                who.subscription_id,  # subscription_id
                who.application_id,  # application_id
                who.client_id,  # client_id
                who.plan_id,  # plan_id
                service,  # service
                environment,  # environment
                region,  # region
                resource,  # resource
                "Outgoing" if outgoing else "Incoming",  # direction
                "" if outgoing else OPEN if trace_id else ENTRY,  # hop
                verb,  # verb
                found.text,  # uri
                context.routes.route(service, http_route=context.shown_routes[http.route], path=path),  # route
                status,  # status
                _version(http, work, path),  # api_version
                http.user_agent,  # user_agent
                "" if outgoing else context.addresses[http.ip_address],  # ip_address
                "",  # response_ip_address
                context.masks.headers(http.request_headers)
                if http.request_headers
                else EMPTY_HEADERS,  # request_headers
                context.masks.headers(http.response_headers, "response")
                if http.response_headers
                else EMPTY_HEADERS,  # response_headers
                "",  # request_body
                "",  # request_body_encoding
                "",  # response_body
                "",  # response_body_encoding
                (request_id(work) if plan.request_ids or http.request_headers else "") or transaction,  # request_id
                "",  # name
                0,  # span_status
                "",  # links
                taxonomy.error_type(status) if status else taxonomy.CANCELLED,  # error_type
                "",  # action_name
                "http",  # family
                severity_number,  # severity_number
                severity_text,  # severity_text
                context.shown_names[event_name] if event_name else "",  # event_name
                "",  # body
                "",  # body_encoding
                self._metadata(work, extra, untouched=untouched),  # metadata
                (flags_in(extra) if len(extra) > 1 else ()) + flags_of(end, job.received_unix_ns),  # flags
                decision,  # decision
                "",  # reason
            ),
        )

    def _metadata(self, work: LogWork, extra: dict[str, Any], *, untouched: bool) -> str:
        """Body and attributes in one object, attributes winning (spec/mapping.md §6 L7), and what mapping adds."""
        plan, attributes, body, masks = work.plan, work.attributes, work.read.body, self._context.masks
        flat = body.flat
        if masks.custom:  # what holds for log bodies alone holds here too
            flat = masks.redactor.members(flat)
        if plan.keys.exception:
            attributes = {key: value for key, value in attributes.items() if key not in CONSUMED}
        of_model = is_of_a_model(work, self._context)
        if of_model:
            flat, attributes = without_content(flat), without_content(attributes)
        if plan.hidden:
            pairs = ({key: value for key, value in of.items() if key not in plan.hidden} for of in (flat, attributes))
            added = _added(work, *pairs)
        else:
            added = _added(work, flat, attributes)
        whole_json = body.text and body.map is not None and not of_model and flat is body.flat
        if whole_json and (untouched or masks.leaves_json_as_it_is(body.text, "attributes")):
            of_attributes = {**attributes, **added} if added else attributes
            shown = of_attributes if plan.plain and not added else masks.attributes(of_attributes)
            masked = {**flat, **shown}
        else:
            masked = {**masks.attributes({**flat, **attributes, **added})}
        if work.read.exception is not None:
            masked.update(error_of(work.read.exception, self._context))
        masked.update(extra)
        return flat_object(masked)


def _added(work: LogWork, flat: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What headers, fields of the body and attributes tell of a call beyond themselves."""
    http = work.read.http
    if http is None or not (work.plan.extras or http.request_headers or http.response_headers):
        return {}
    pairs, added = {**flat, **attributes}, {}
    request, response = http.request_headers, http.response_headers
    if request or response or not extras.ATTRIBUTES.isdisjoint(pairs):
        start = work.read.time_unix_ns - round(max(http.duration_ms, 0.0) * 1e6)
        added = extras.read_call(request, response, pairs, (), start, extras.parts(response))
    if not extras.LOG_FIELDS.isdisjoint(pairs):
        added |= extras.read_log({**pairs, **added})
    return added


def _version(http: HttpExchange, work: LogWork, path: str) -> str:
    if work.plan.version or http.request_headers or http.response_headers:
        for values, names in (
            (http.request_headers, VERSION_HEADERS),
            (work.attributes, VERSION_ATTRIBUTES),
            (http.response_headers, ANSWERED_VERSION_HEADERS),
        ):
            for name in names:
                value = values.get(name)
                if isinstance(value, str) and value and value != MASK and name not in work.plan.hidden:
                    return value
    return path_version(path) if "/v" in path else ""
