"""What a call carried: headers and bodies, what is read from them, what its sender states of it (spec/mapping.md §3).

Only spans with captured headers, bodies, events or unusual attributes have any of it: few are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapping.context import Context, Job, Work, text_of
from mapping.masks.redactor import MASK
from mapping.rules import address, bodies, extras, uri
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
)
from mapping.shape import ABSENT, Shape
from mapping.spans.captured import HeaderSlots, bring_headers
from mapping.spans.models import ModelPlan


class ContentPlan:
    """Reads what calls of one kind and shape carried. Rare things are asked for only where the shape can have them."""

    __slots__ = (
        "_action_name",
        "_agent",
        "_asked",
        "_asks",
        "_context",
        "_custom",
        "_direction",
        "_has_bodies",
        "_incoming",
        "_readers",
        "_request_body",
        "_request_id",
        "_response_body",
        "_says",
        "_slots",
        "_tells_id",
        "_tells_ip",
        "_versions",
        "is_there",
        "model",
        "tells_version",
    )

    def __init__(
        self,
        shown: Shape,
        context: Context,
        slots: HeaderSlots,
        consumed: set[str],
        *,
        agent: int,
        incoming: bool,
        model: ModelPlan | None,
    ) -> None:
        """shown: the shape without what the settings hide. agent: where the user agent is. model: of a model's call."""
        consumed |= {*ACTION_NAMES, "request.id", "moesif.direction"}
        consumed |= {*bodies.REQUEST_ATTRIBUTES, *bodies.RESPONSE_ATTRIBUTES}
        first = shown.first
        self._context = context
        self._custom = context.masks.custom
        self._slots = slots
        self._agent = agent
        self._incoming = incoming
        self.model = model
        self._versions = first(VERSION_ATTRIBUTES)
        self._request_body = first(bodies.REQUEST_ATTRIBUTES, scalar=False)
        self._response_body = first(bodies.RESPONSE_ATTRIBUTES, scalar=False)
        self._action_name = first(ACTION_NAMES)
        self._request_id = first(("request.id",))
        self._direction = first(("moesif.direction",))
        self._asked = [(name, index) for name, index in shown.at.items() if name in extras.ATTRIBUTES]
        asked_of, answered = slots.request_names, slots.response_names
        self._readers = extras.parts(answered)
        self.tells_version = self._versions != ABSENT or any(
            names is None or not names.isdisjoint(VERSION_HEADERS) for names in (asked_of, answered)
        )
        self._tells_ip = asked_of is None or not address.CLIENT_HEADER_SET.isdisjoint(asked_of)
        self._tells_id = asked_of is None or not asked_of.isdisjoint(REQUEST_ID_HEADERS)
        asks = asked_of is None or not extras.REQUEST_HEADERS.isdisjoint(asked_of)
        self._asks = asks or bool(self._asked)
        self._has_bodies = self._request_body != ABSENT or self._response_body != ABSENT
        self._says = not self._action_name == self._request_id == self._direction == ABSENT
        # False: only events and captured headers may bring some.
        self.is_there = (
            self._asks
            or bool(self._readers)
            or model is not None
            or self._has_bodies
            or self._says
            or self._versions != ABSENT
        )

    def read(
        self, work: Work, job: Job, transaction: str, path: str, found: uri.Uri | None
    ) -> tuple[
        str, str, Mapping[str, str], Mapping[str, str], str, str, str, str, str, str, str, str, tuple[str, ...],
        dict[str, Any],
    ]:  # fmt: skip
        """(user agent, address, request headers, response headers, version, request id, stated direction,
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
        slots = self._slots
        if brings:
            shown = slots.shown_beside_events(request, "request")
            shown_response = slots.shown_beside_events(response, "response")
        else:
            shown = request if slots.keeps_request else slots.shown(request, "request")
            shown_response = response if slots.keeps_response else slots.shown(response, "response")
        version = self.version(values, shown, shown_response) if self.tells_version or brings else ""
        if not version and "/v" in path:
            version = path_version(path)
        request_id = _request_id(shown) if self._tells_id or brings else ""
        if self._says:
            if not request_id and self._request_id != ABSENT:
                request_id = context.shown_name(text_of(values[self._request_id]))  # each is another: not remembered
            stated_direction = self.stated_direction(values)
            if self._action_name != ABSENT:
                action_name = context.shown_names[text_of(values[self._action_name])]
        return (
            shown.get("user-agent", ""),
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

    def version(self, values: tuple[Any, ...], request: Mapping[str, str], response: Mapping[str, str]) -> str:
        """The API's version by headers, as shown, and attributes."""
        for name in VERSION_HEADERS:
            if name in request:
                return request[name]
        if found := text_of(values[self._versions]):
            return self._context.shown_names[found]
        for name in ANSWERED_VERSION_HEADERS:
            if name in response:
                return response[name]
        return ""

    def stated_direction(self, values: tuple[Any, ...]) -> str:
        """Event.direction as the span states it, "" where it does not."""
        if self._direction == ABSENT:
            return ""
        return DIRECTIONS.get(text_of(values[self._direction]).lower(), "")


def _request_id(request: Mapping[str, str]) -> str:
    for name in REQUEST_ID_HEADERS:
        if name in request and request[name] != MASK:
            return request[name]
    return ""
