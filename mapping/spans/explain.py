"""Which dialect and which attribute gave each field of a call that a span became: `weighbridge map --explain`."""

from __future__ import annotations

from typing import Final

from mapping.context import Context, Job, Work
from mapping.dialects.of_spans import CONVENTIONS
from mapping.event import Event
from mapping.shape import Shape
from mapping.spans.api_call import ApiCallPlan

Reason = dict[str, str]

_CONVENTIONAL: Final = "otel"
_SHOWN: Final = {
    "method": "request.verb",
    "status": "response.status",
    "url": "request.uri",
    "path": "request.uri",
    "query": "query",
    "route": "request.route",
    "scheme": "scheme",
    "host_header": "host",
    "host": "host",
    "ip": "request.ip_address",
    "user_agent": "request.user_agent",
    "request_id": "request_id",
}


class ExplainedApiCallPlan(ApiCallPlan):
    """An ApiCallPlan that notes where the fields of its events came from."""

    def __init__(self, kind: int, shape: Shape, context: Context, reasons: dict[str, Reason]) -> None:
        """reasons: what is noted, by transaction id."""
        super().__init__(kind, shape, context)
        self.plain = None  # each is explained
        self._reasons = reasons
        self._said = shape.reading.said_by
        self._of_shape = _of_shape(shape)

    def event(self, work: Work, job: Job, user_id: str, company_id: str, hop: str) -> Event:
        event = super().event(work, job, user_id, company_id, hop)
        found = dict(self._of_shape)
        if not work.values[self.status_at] and self.outcome.of_events and event.status:
            found["response.status"] = f"{found['dialects'].partition(',')[0]}: an event of the span"
        for name, value, source in (
            ("user_id", user_id, work.who.user_source),
            ("company_id", company_id, work.who.company_source),
        ):
            if source:
                dialect = self._said.get(source.removeprefix("attr:"))
                found[name] = f"{dialect}: {source.removeprefix('attr:')}" if dialect else source
            elif value:
                found[name] = "its trace or resource"
        self._reasons[event.transaction_id] = found
        return event


def _of_shape(shape: Shape) -> Reason:
    """Field of the event -> `dialect: attribute`, as far as the attributes that are there tell it."""
    reading = shape.reading
    found: Reason = {"dialects": ", ".join((*reading.dialects, _CONVENTIONAL))}
    for field, names in CONVENTIONS.items():
        shown = _SHOWN.get(field, "")
        name = next((name for name in names if name in shape.at), "")
        if shown and name and shown not in found:
            own = reading.spoken.get(name)
            found[shown] = f"{reading.said_by[own]}: {own}" if own else f"{_CONVENTIONAL}: {name}"
    return found
