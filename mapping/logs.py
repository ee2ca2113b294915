"""Log records -> events (mapping.md §6)."""

from __future__ import annotations

from mapping import ids
from mapping.context import Context, Group, Job
from mapping.event import EMPTY_HEADERS, LOG, Decision, Event
from mapping.metadata import flat_text, json_text
from mapping.otlp import LogItem
from mapping.wire import read_text


class LogMapper:
    """Builds the events of log records."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def event(self, item: LogItem, group: Group, job: Job, decision: Decision) -> Event:
        record = item.record
        trace_id, span_id = item.trace_id.hex(), item.span_id.hex()
        time = record.time_unix_nano or record.observed_time_unix_nano or job.received_unix_ns
        attributes = {key.partition("\0")[0]: value for key, value, _ in item.entries if value is not None}
        body = item.body if isinstance(item.body, str) else json_text(item.body) if item.body is not None else ""
        metadata = flat_text(attributes.items())
        transaction = ids.transaction_id_log(
            trace_id,
            span_id,
            record.time_unix_nano,
            record.observed_time_unix_nano,
            f"{body}{metadata}{group.text}".encode(),
        )
        return Event(
            event_type=LOG,
            transaction_id=transaction,
            source="log",
            tenant=job.tenant,
            trace_id=trace_id,
            span_id=span_id,
            parent_id="",
            start_unix_ns=time,
            end_unix_ns=time,
            duration_ms=-1.0,
            received_unix_ns=job.received_unix_ns,
            user_id="",
            company_id=group.company_id,
            session_token="",
            subscription_id="",
            application_id="",
            client_id="",
            plan_id="",
            service=group.service,
            environment=group.environment,
            region=group.region,
            resource=group.text,
            direction="",
            verb="",
            uri="",
            route="",
            status=0,
            api_version="",
            user_agent="",
            ip_address="",
            response_ip_address="",
            request_headers=EMPTY_HEADERS,
            response_headers=EMPTY_HEADERS,
            request_body="",
            request_body_encoding="",
            response_body="",
            response_body_encoding="",
            request_id=transaction,
            name="",
            span_status=0,
            links="",
            error_type="",
            action_name="",
            family="",
            severity_number=record.severity_number,
            severity_text=read_text(record.severity_text),
            event_name=read_text(record.event_name),
            body=body,
            body_encoding="text" if isinstance(item.body, str) else "json" if body else "",
            metadata=metadata,
            flags=(),
            decision=decision,
            reason="",
        )
