"""Log records -> events (spec/mapping.md §6): a log event, or an API call when the body tells a whole HTTP exchange.

`mapping.logs.record` understands a record; here it becomes an event: identity, masks, metadata, transaction id. The
call that a log describes gets the transaction id of its span, so that both count once (spec/mapping.md §6 L8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Final

from mapping.bounds import LAST_NS, MOST_SEVERE
from mapping.context import LATE_NS, SKEW_NS, Context, Group, Job
from mapping.event import EMPTY_HEADERS, LOG, Decision, Event
from mapping.logs.calls import CallEvents
from mapping.logs.json_text import OF_SHIPPERS
from mapping.logs.plans import LogPlan, LogPlans
from mapping.logs.record import Body, LogKeys, LogRecord, flatten, read_body, understand
from mapping.logs.work import LogWork, error_of, flags_of, is_of_a_model, request_id
from mapping.masks.many import LEAST
from mapping.masks.redactor import MASK
from mapping.otlp.records import LogItem
from mapping.rules import ids
from mapping.rules.call import flags_in
from mapping.rules.identity import NOBODY, Identity, Resolver

_new: Final = tuple.__new__  # an Event by position, in its field order: a third of the cost of keywords

_NOTHING: Final[Mapping[str, Any]] = {}
_MANY_IDS: Final = 64  # ids that are made together sooner than one after the other
# A resource with it writes through an SDK of OpenTelemetry: its spans tell its calls, not the text lines of its server.
_OF_SDKS: Final = "telemetry.sdk.name"


class LogMapper:
    """Reads log records and builds their events."""

    def __init__(self, context: Context, *, http_from_attributes: bool) -> None:
        self._context = context
        self._http_from_attributes = http_from_attributes
        self._drops_bodies = bool(context.masks.dropped_bodies)
        self._plans = LogPlans(context, http_from_attributes=http_from_attributes)
        self._calls = CallEvents(context)

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
            if self._drops_bodies and body[3]:
                body = body._replace(flat=self._flat_without_bodies(body[3]))
        elif self._drops_bodies:
            body = self._without_bodies(body)
        plan = self._plans.of[keys, tuple(body[3]), group.scope]
        if (plan.line or plan.inside) and (fields := self._beside(body, plan, values, group)) is not None:
            # What they tell is as if it were the body.
            fields = self._flat_without_bodies(fields) if self._drops_bodies else fields
            outer = body[3]
            if plan.line:  # what a shipper tells of its machine is not the host of the call
                outer = {key: value for key, value in outer.items() if key not in OF_SHIPPERS}
                if self._hidden_by_place(str(outer[plan.line]), fields):
                    outer[plan.line] = MASK
            body = body._replace(flat={**outer, **fields})
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
        """What else than the body itself tells of the record: a line in plain text, which a shipper or a logger has
        wrapped into an object, or attributes that hold objects.
        """
        if plan.inside:
            attributes = plan.attributes(values)
            inside = flatten({name: attributes[name] for name in plan.inside if name in attributes})
            if plan.keys.http is None and plan.keys.attribute_reading.in_attributes:
                return inside
            named = self._plans.ids_inside[tuple(inside)]  # of a call attributes tell nothing
            return {key: inside[key] for key, _ in (*named.trace, *named.span)} or None
        text = body[3][plan.line]
        if type(text) is not str or not (
            plan.shipped or ('" ' in text and " HTTP/" in text) or ("status=" in text and "method=" in text)
        ):
            return None
        return self._plans.lines.read(text) if _OF_SDKS not in group.attributes else None

    def _hidden_by_place(self, line: str, fields: Mapping[str, object]) -> bool:
        """True when a field of a line is masked, and only its place in the line, no name, tells masks so."""
        return any(self._context.masks.verdict(key) == "mask" and key not in line for key in fields)

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
        flat = self._flat_without_bodies(body.flat)
        if shown == body.map and flat == body.flat:
            return body
        return body._replace(text="", map=shown, flat=flat)

    def _flat_without_bodies(self, flat: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields, their nested keys joined with dots, without the bodies that are not kept."""
        masks = self._context.masks
        return {key: masks.without_bodies(value) for key, value in flat.items() if not masks.lies_in_dropped_body(key)}

    def untouched(self, works: Sequence[LogWork]) -> list[bool]:
        """Of which of the records the body's text surely has nothing to be masked; asked of many at once."""
        if len(works) < LEAST:
            return [False] * len(works)
        bodies = [work[5][0] for work in works]
        texts = [body[1] for body in bodies]
        # What follows one another is mostly of one kind; of any other nothing is known.
        if bodies[0][0] == "text":
            clean = self._context.masks.lines_untouched(texts)
            return [told and body[0] == "text" for told, body in zip(clean, bodies, strict=True)]
        clean = self._context.masks.json_untouched(texts)
        return [told and body[1] != "" and body[2] is not None for told, body in zip(clean, bodies, strict=True)]

    def transactions(self, works: Sequence[LogWork], tenant: str) -> Iterable[str]:
        """The ids of the events of many records, "" where `event` finds them: those of calls, and of few."""
        if len(works) < _MANY_IDS or works[0][5][10] is not None:
            return repeat("")
        return ids.transaction_ids([work[8] for work in works], tenant)

    def event(
        self,
        work: LogWork,
        group: Group,
        job: Job,
        decision: Decision,
        transaction: str = "",
        untouched: bool = False,
    ) -> Event:
        """transaction, untouched: as the methods that find them for many records have it."""
        item, plan, values, fragments, _, understood, who, _, key = work
        body_read, trace_id, span_id, _, time, severity_number, severity_text, event_name, _, exception, http = (
            understood
        )
        if http is not None:
            return self._calls.event(work, http, group, job, decision, untouched=untouched)
        context = self._context
        extra = error_of(exception, context) if exception is not None else {}
        of_model = plan.of_model or (event_name != "" and is_of_a_model(work, context))
        encoding, body, _, _ = body_read
        if event_name or of_model or not (untouched or encoding == "text"):
            body, encoding = context.log_body(understood, extra, job.room, of_model=of_model)
        elif not untouched:  # as `log_body` does
            body = context.masks.text(body) if body else ""
        metadata = self._plans.of_models[tuple([key for key, _, _ in item[3]])] if of_model else plan.metadata
        transaction = transaction or ids.transaction_id(key, job[1])
        received, tenant, _, _ = job
        service, environment, region, resource, company = group[:5]
        user_id, company_id, session_token, subscription_id, application_id, client_id, plan_id, _, _ = who
        flags = flags_in(extra) if extra else ()
        if not received - LATE_NS <= time <= received + SKEW_NS:
            flags += flags_of(time, received)
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
                (request_id(work) if plan.request_ids else "") or transaction,  # request_id
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
                f"{{{','.join(metadata.plain(fragments))}}}"
                if metadata.is_plain and not extra
                else metadata.text(values, fragments, extra),  # metadata
                flags,  # flags
                decision,  # decision
                "",  # reason
            ),
        )


def _who(resolver: Resolver, attributes: Mapping[str, Any], understood: LogRecord) -> Identity:
    flat, http = understood.body.flat, understood.http
    if http is None:
        return resolver.resolve(attributes, body=flat)
    query = http.query.removeprefix("?") or http.url.partition("?")[2]
    return resolver.resolve(attributes, http.request_headers, http.response_headers, query, flat)
