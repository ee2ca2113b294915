"""Log records -> events (spec/mapping.md §6): a log event, or an API call when the body tells a whole HTTP exchange.

`mapping.logs.record` understands a record; here it becomes an event: identity, masks, metadata, transaction id. The
call that a log describes gets the transaction id of its span, so that both count once (spec/mapping.md §6 L8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from mapping.bounds import LAST_NS, MOST_SEVERE
from mapping.context import LATE_NS, SKEW_NS, Context, Group, Job
from mapping.event import API_CALL, EMPTY_HEADERS, ENTRY, LOG, OPEN, Decision, Event
from mapping.logs.http import HttpExchange
from mapping.logs.location import of_exchange
from mapping.logs.plans import CONSUMED, LogPlan, LogPlans
from mapping.logs.record import Body, ExceptionInfo, LogKeys, LogRecord, flatten, read_body, understand
from mapping.masks.prompts import without_content
from mapping.masks.redactor import MASK
from mapping.otlp.decode import LogItem
from mapping.rules import extras, ids, taxonomy
from mapping.rules.call import (
    ANSWERED_VERSION_HEADERS,
    REQUEST_ID_HEADERS,
    VERSION_ATTRIBUTES,
    VERSION_HEADERS,
    flags_in,
    note_uri,
    path_version,
)
from mapping.rules.identity import NOBODY, Identity, Resolver
from mapping.rules.metadata import flat_object

_new: Final = tuple.__new__  # an Event by position, in its field order: a third of the cost of keywords

# A resource with it writes through an SDK of OpenTelemetry: its spans tell its calls, not the text lines of its server.
_NOTHING: Final[Mapping[str, Any]] = {}
_OF_SDKS: Final = "telemetry.sdk.name"
_VERSION_ATTRIBUTES: Final = frozenset(VERSION_ATTRIBUTES)


class LogWork(NamedTuple):
    """One log record understood, on its way to an event."""

    item: LogItem
    plan: LogPlan
    values: tuple[Any, ...]
    fragments: tuple[str | None, ...]
    looked_up: Mapping[str, Any] | None  # attributes by key; None for a record that nobody asked for any
    read: LogRecord
    who: Identity
    occurrence: int  # identical records earlier in the same request
    key: str  # what makes the record one event: a retry has the same

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The record's attributes, those without a value left out."""
        return self.looked_up if self.looked_up is not None else self.plan.attributes(self.values)


class LogMapper:
    """Reads log records and builds their events."""

    def __init__(self, context: Context, *, http_from_attributes: bool) -> None:
        self._context = context
        self._http_from_attributes = http_from_attributes
        self._drops_bodies = bool(context.masks.dropped_bodies)
        self._plans = LogPlans(context, http_from_attributes=http_from_attributes)

    def look(self, item: LogItem, group: Group, job: Job, seen: dict[str, int]) -> LogWork:
        """seen: how often each record came in this request."""
        record, trace_id, span_id, entries, sent, digest = item
        context, words = self._context, self._context.words
        keys, values, fragments = zip(*entries)  # noqa: B905 - entries have three parts; strict costs a third
        body = read_body(sent)
        if body.map is None:
            if body[0] == "text" and not body[3] and _OF_SDKS not in group.attributes:
                fields = self._plans.lines.read(body[1])
                body = body._replace(flat=fields) if fields is not None else body
        elif self._drops_bodies:
            body = self._without_bodies(body)
        plan = self._plans.of[keys, tuple(body[3]), group.scope]
        if (plan.line or plan.inside) and (fields := self._beside(body, plan, values, group)) is not None:
            # What they tell is as if it were the body.
            body = body._replace(flat={**body[3], **fields})
            plan = self._plans.of[keys, tuple(body[3]), group.scope]
        looked_up: Mapping[str, Any] | None = None
        if plan.reads_attributes:
            looked_up = dict(zip(plan.names, values))  # noqa: B905 - as `LogPlan.attributes`, without a call in between
            if plan.nulls:
                looked_up = {key: value for key, value in looked_up.items() if value is not None}
            if self._drops_bodies:
                looked_up = context.masks.without_bodies(looked_up)
        attributes = looked_up if looked_up is not None else _NOTHING
        time, observed, number = record.time_unix_nano, record.observed_time_unix_nano, record.severity_number
        if (
            plan.told_by_fields
            and 0 < time <= LAST_NS
            and 0 < number <= MOST_SEVERE
            and (not plan.ids or (trace_id and span_id))
        ):
            told = understood = _new(  # what `understand` gives where keys tell nothing
                LogRecord,
                (
                    body,
                    trace_id.hex(),
                    span_id.hex(),
                    "record" if trace_id else "",
                    time,
                    number,
                    words[record.severity_text],
                    words[record.event_name],
                    "",
                    None,
                    None,
                ),
            )
        else:
            told = understood = understand(  # as `_understand` does, without a call in between
                body,
                attributes,
                plan.keys,
                trace_id.hex(),
                span_id.hex(),
                time,
                observed,
                job[0],  # received_unix_ns
                number,
                words[record.severity_text],
                words[record.event_name],
                self._http_from_attributes,
                context.trust_forwarded,
            )
        if plan.hidden:
            told = self._open(understood, attributes, plan, partial(self._understand, item, job))
        key = f"log|{understood[1]}|{understood[2]}|{time}|{observed}|{digest}"
        occurrence = seen[key] = seen.get(key, -1) + 1
        if occurrence:  # lines that repeat within one request are different events; a retry repeats their order
            key = f"{key}|{occurrence}"
        who = NOBODY if plan.resolver.silent else _who(plan.resolver, attributes, understood)
        return _new(LogWork, (item, plan, values, fragments, looked_up, told, who, occurrence, key))

    def _beside(self, body: Body, plan: LogPlan, values: tuple[Any, ...], group: Group) -> Mapping[str, object] | None:
        """What else than the body itself tells of a call: a line in plain text, which a shipper or a logger has wrapped
        into an object, or attributes that hold objects.
        """
        if plan.inside:
            return flatten(plan.attributes(values))
        text = body[3][plan.line]
        if type(text) is not str or not (plan.shipped or ('" ' in text and " HTTP/" in text)):
            return None
        return self._plans.lines.read(text) if _OF_SDKS not in group.attributes else None

    def _understand(
        self, item: LogItem, job: Job, body: Body, attributes: Mapping[str, Any], keys: LogKeys
    ) -> LogRecord:
        record, words = item[0], self._context.words
        return understand(
            body,
            attributes,
            keys,
            trace_id=item[1].hex(),
            span_id=item[2].hex(),
            time_unix_nano=record.time_unix_nano,
            observed_unix_nano=record.observed_time_unix_nano,
            received_unix_ns=job.received_unix_ns,
            severity_number=record.severity_number,
            severity_text=words[record.severity_text],
            event_name=words[record.event_name],
            http_from_attributes=self._http_from_attributes,
            trust_forwarded=self._context.trust_forwarded,
        )

    def _open(
        self,
        understood: LogRecord,
        attributes: Mapping[str, Any],
        plan: LogPlan,
        understand_it: Callable[[Body, Mapping[str, Any], LogKeys], LogRecord],
    ) -> LogRecord:
        """The record as columns may show it: without what the settings hide, but with the whole body, which is masked
        when it is shown.
        """
        hidden, body = plan.hidden, understood.body
        told = understand_it(
            body._replace(flat={key: value for key, value in body.flat.items() if key not in hidden}),
            {key: value for key, value in attributes.items() if key not in hidden},
            plan.open_keys,
        )
        http, whole = told.http, understood.http
        if http is not None and whole is not None:
            http = http._replace(
                request_headers={**dict.fromkeys(whole.request_headers, MASK), **http.request_headers},
                response_headers={**dict.fromkeys(whole.response_headers, MASK), **http.response_headers},
            )
        return told._replace(body=body, http=http, exception=understood.exception)

    def _without_bodies(self, body: Body) -> Body:
        shown = self._context.masks.without_bodies(body.map)
        if shown == body.map:
            return body
        return body._replace(text="", map=shown, flat=flatten(shown))

    def event(self, work: LogWork, group: Group, job: Job, decision: Decision) -> Event:
        item, plan, values, fragments, _, understood, who, _, key = work
        _, trace_id, span_id, _, time, severity_number, severity_text, event_name, _, exception, http = understood
        if http is not None:
            return self._call(work, http, group, job, decision)
        context = self._context
        extra = (self._error(understood) or {}) if exception is not None else {}
        of_model = plan.of_model or (event_name != "" and self._is_event_of_a_model(event_name))
        (encoding, sent, _, _) = understood[0]
        if encoding == "text" and not event_name:  # as `log_body` does
            body = context.masks.text(sent) if sent else ""
        else:
            body, encoding = context.log_body(understood, extra, job.room, of_model=of_model)
        metadata = self._plans.of_models[tuple([key for key, _, _ in item[3]])] if of_model else plan.metadata
        transaction = ids.transaction_id(key, job[1])
        received, tenant, _, _ = job
        service, environment, region, resource, company = group[:5]
        user_id, company_id, session_token, subscription_id, application_id, client_id, plan_id, _, _ = who
        flags = flags_in(extra) if extra else ()
        if not received - LATE_NS <= time <= received + SKEW_NS:
            flags += _flags(time, received)
        return _new(
            Event,
            (
                LOG,  # event_type
                transaction,  # transaction_id
                "log",  # source
                tenant,  # tenant
                trace_id,  # trace_id
                span_id,  # span_id
                "",  # parent_id
                time,  # start_unix_ns
                time,  # end_unix_ns
                -1.0,  # duration_ms
                received,  # received_unix_ns
                user_id,  # user_id
                company_id or company,  # company_id
                session_token,  # session_token
                subscription_id,  # subscription_id
                application_id,  # application_id
                client_id,  # client_id
                plan_id,  # plan_id
                service,  # service
                environment,  # environment
                region,  # region
                resource,  # resource
                "",  # direction
                "",  # hop
                "",  # verb
                "",  # uri
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
                (_request_id(work) if plan.request_ids else "") or transaction,  # request_id
                "",  # name
                0,  # span_status
                "",  # links
                "",  # error_type
                "",  # action_name
                "",  # family
                severity_number,  # severity_number
                severity_text,  # severity_text
                context.shown_names[event_name] if event_name else "",  # event_name
                body,  # body
                encoding,  # body_encoding
                metadata.text(values, fragments, extra),  # metadata
                flags,  # flags
                decision,  # decision
                "",  # reason
            ),
        )

    def _call(self, work: LogWork, http: HttpExchange, group: Group, job: Job, decision: Decision) -> Event:
        context, understood, who = self._context, work.read, work.who
        found = of_exchange(context, http, group.service)
        if found is None:
            route = context.normalised[http.route] if http.route else ""
            found = http.uri(group.service, route, context.masks.query, context.masks.path)
        path = "" if found.from_route else found.path
        extra: dict[str, Any] = {"source": "log"}
        note_uri(found, extra)
        end = understood.time_unix_ns
        start = end - round(max(http.duration_ms, 0.0) * 1e6)
        transaction = (
            ids.transaction_id_api(understood.trace_id, understood.span_id, http.verb, http.status, job.tenant)
            if understood.trace_id and understood.span_id
            else ids.transaction_id(work.key, job.tenant)
        )
        return _new(
            Event,
            (
                API_CALL,  # event_type
                transaction,  # transaction_id
                "log",  # source
                job.tenant,  # tenant
                understood.trace_id,  # trace_id
                understood.span_id,  # span_id
                "",  # parent_id
                max(start, 0),  # start_unix_ns
                end,  # end_unix_ns
                http.duration_ms,  # duration_ms
                job.received_unix_ns,  # received_unix_ns
                who.user_id,  # user_id
                who.company_id or group.company_id,  # company_id
                who.session_token,  # session_token
                who.subscription_id,  # subscription_id
                who.application_id,  # application_id
                who.client_id,  # client_id
                who.plan_id,  # plan_id
                group.service,  # service
                group.environment,  # environment
                group.region,  # region
                group.text,  # resource
                "Outgoing" if http.outgoing else "Incoming",  # direction
                "" if http.outgoing else OPEN if understood.trace_id else ENTRY,  # hop
                http.verb,  # verb
                found.text,  # uri
                context.routes.route(group.service, http_route=context.shown_routes[http.route], path=path),  # route
                http.status,  # status
                _version(http, work, path),  # api_version
                http.user_agent,  # user_agent
                "" if http.outgoing else context.masks.ip(http.ip_address),  # ip_address
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
                _request_id(work) or transaction,  # request_id
                "",  # name
                0,  # span_status
                "",  # links
                taxonomy.error_type(http.status) if http.status else taxonomy.CANCELLED,  # error_type
                "",  # action_name
                "http",  # family
                understood.severity_number,  # severity_number
                understood.severity_text,  # severity_text
                context.shown_names[understood.event_name],  # event_name
                "",  # body
                "",  # body_encoding
                self._call_metadata(work, extra),  # metadata
                (flags_in(extra) if len(extra) > 1 else ()) + _flags(end, job.received_unix_ns),  # flags
                decision,  # decision
                "",  # reason
            ),
        )

    def _call_metadata(self, work: LogWork, extra: dict[str, Any]) -> str:
        """Body and attributes in one object, attributes winning (spec/mapping.md §6 L7), and what mapping adds."""
        plan, attributes, body, masks = work.plan, work.attributes, work.read.body, self._context.masks
        flat = body.flat
        if masks.custom:  # what holds for log bodies alone holds here too
            flat = masks.redactor.members(flat)
        if plan.keys.exception:
            attributes = {key: value for key, value in attributes.items() if key not in CONSUMED}
        event_name = work.read.event_name
        of_model = plan.of_model or (event_name != "" and self._is_event_of_a_model(event_name))
        if of_model:
            flat, attributes = without_content(flat), without_content(attributes)
        if plan.hidden:
            pairs = ({key: value for key, value in of.items() if key not in plan.hidden} for of in (flat, attributes))
            added = _added(work, *pairs)
        else:
            added = _added(work, flat, attributes)
        whole_json = body.text and body.map is not None
        if whole_json and not of_model and flat is body.flat and masks.leaves_json_as_it_is(body.text, "attributes"):
            of_attributes = {**attributes, **added} if added else attributes
            shown = of_attributes if plan.plain and not added else masks.attributes(of_attributes)
            masked = {**flat, **shown}
        else:
            masked = {**masks.attributes({**flat, **attributes, **added})}
        error = self._error(work.read)
        if error:
            masked.update(error)
        masked.update(extra)
        return flat_object(masked)

    def _is_event_of_a_model(self, name: str) -> bool:
        """True when prompts and answers of records with this event name are left out, whatever their keys."""
        return self._context.masks.drops_content and self._context.masks.is_of_a_model((name,))

    def _error(self, understood: LogRecord) -> dict[str, Any] | None:
        found = understood.exception
        if found is None:
            return None
        if self._context.hidden_errors:
            names = ("exception.type", "exception.message", "exception.stacktrace")
            shown = self._context.shown_exception(dict(zip(names, found, strict=True)))
            found = ExceptionInfo(*(shown[name] for name in names))
        texts = self._context.texts
        error = {"error.type": found.type, "error.message": found.message, "error.stacktrace": found.stacktrace}
        return {key: texts[text] for key, text in error.items() if text}


def _who(resolver: Resolver, attributes: Mapping[str, Any], understood: LogRecord) -> Identity:
    flat, http = understood.body.flat, understood.http
    if http is None:
        return resolver.resolve(attributes, body=flat)
    query = http.query or http.url.partition("?")[2]
    return resolver.resolve(attributes, http.request_headers, http.response_headers, query, flat)


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


def _flags(time_unix_ns: int, received_unix_ns: int) -> tuple[str, ...]:
    if time_unix_ns > received_unix_ns + SKEW_NS:
        return ("clock_skew",)
    return ("late",) if time_unix_ns < received_unix_ns - LATE_NS else ()


def _version(http: HttpExchange, work: LogWork, path: str) -> str:
    if http.request_headers or http.response_headers or not _VERSION_ATTRIBUTES.isdisjoint(work.plan.names):
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


def _request_id(work: LogWork) -> str:
    http = work.read.http
    if http is not None and http.request_headers:
        for name in REQUEST_ID_HEADERS:
            if http.request_headers.get(name, MASK) != MASK:
                return http.request_headers[name]
    for of_body, name in work.plan.request_ids:
        if name in work.plan.hidden:
            continue
        value = (work.read.body.flat if of_body else work.attributes).get(name)
        if isinstance(value, str) and value:
            return value
    return ""
