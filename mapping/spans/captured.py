"""Captured request and response headers of a shape, read by index (spec/mapping.md §3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mapping.event import EMPTY_HEADERS
from mapping.masks.of_shape import Masking, Side
from mapping.masks.redactor import MASK
from mapping.otlp.records import SpanEvent
from mapping.rules import bodies, headers
from mapping.shape import ABSENT, Shape

_EVENTS: Final = {"http.request": "request", "http.response": "response"}


class HeaderSlots:
    """Where the headers of a shape are; names and sides are worked out once."""

    __slots__ = (
        "_looked_at",
        "_looks",
        "_maps",
        "_marked",
        "_masked",
        "_masks",
        "_request",
        "_response",
        "keeps_request",
        "keeps_response",
        "present",
        "request_names",
        "response_names",
    )

    def __init__(self, shape: Shape, consumed: set[str], masks: Masking) -> None:
        self._request: list[tuple[str, int]] = []
        self._response: list[tuple[str, int]] = []
        self._maps: list[tuple[str, int]] = []
        for key, index in shape.at.items():
            if key in headers.REQUEST_MAPS or key in headers.RESPONSE_MAPS:
                self._maps.append(("request" if key in headers.REQUEST_MAPS else "response", index))
                consumed.add(key)
            elif key[:5] == "http." and (named := headers.header_name(key)) is not None:
                (self._request if named[0] == "request" else self._response).append((named[1], index))
                consumed.add(key)
        self.present = bool(self._request or self._response or self._maps)
        # None: any header may be there, the names are in a value.
        self.request_names = None if self._maps else {name for name, _ in self._request}
        self.response_names = None if self._maps else {name for name, _ in self._response}
        self._masks = masks
        self._masked: dict[Side, list[str]] = {"request": [], "response": []}  # hidden whatever the value
        # Neither hidden nor kept by name alone.
        self._looked_at: dict[Side, list[str]] = {"request": [], "response": []}
        self._looks = bool(self._maps) or masks.looks_inside_text  # True when all have to be searched
        # Headers whose values decoding has marked: no other can hold a secret that its name does not tell of.
        self._marked: dict[Side, list[str]] = {"request": [], "response": []}
        marked = shape.look | shape.trees
        agents = [("user-agent", shape.at[key]) for key in headers.USER_AGENT_ATTRIBUTES if key in shape.at]
        sides: tuple[tuple[Side, list[tuple[str, int]]], ...] = (
            ("request", [*self._request, *(agents or [("user-agent", ABSENT)])]),
            ("response", self._response),
        )
        for side, slots in sides:
            for name, index in slots:
                verdict = masks.header_verdict(name, side)
                if verdict == "mask":
                    self._masked[side].append(name)
                elif verdict == "look":
                    self._looked_at[side].append(name)
                elif index in marked:
                    self._marked[side].append(name)
        # True where nothing of a side has to be looked at.
        self.keeps_request, self.keeps_response = (
            not (self._looks or self._masked[side] or self._looked_at[side] or self._marked[side]) for side, _ in sides
        )

    def read(
        self, values: tuple[Any, ...], events: tuple[SpanEvent, ...]
    ) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(request, response) headers as sent, without the user agent attribute. They may hold secrets."""
        if not self.present and not events:
            return EMPTY_HEADERS, EMPTY_HEADERS
        request: dict[str, str] = {}
        response: dict[str, str] = {}
        for event in events:
            if event.name in _EVENTS:
                more_request, more_response = headers.collect(event.attributes)
                request |= more_request
                response |= more_response
        for side, index in self._maps:
            (request if side == "request" else response).update(headers.from_map(values[index]))
        # Twice the same: a loop over both sides costs a sixth more.
        for name, index in self._request:
            value = values[index]
            single = type(value) is list and len(value) == 1 and type(value[0]) is str
            if text := value[0] if single else headers.join(value):
                request[name] = text
        for name, index in self._response:
            value = values[index]
            single = type(value) is list and len(value) == 1 and type(value[0]) is str
            if text := value[0] if single else headers.join(value):
                response[name] = text
        return request, response

    def shown_beside_events(self, found: Mapping[str, str], side: Side) -> Mapping[str, str]:
        """The headers of one side as they may be stored, some of which may come from an event."""
        return self._masks.headers(found, side) if found else EMPTY_HEADERS

    def shown(self, found: Mapping[str, str], side: Side) -> Mapping[str, str]:
        """The headers of one side as they may be stored. They all come from the slots."""
        if not found:
            return EMPTY_HEADERS
        if self._looks:
            return self._masks.headers(found, side)
        changed: dict[str, str | None] = {}
        texts = self._masks.header_texts
        for name in self._marked[side]:
            text = found.get(name)
            if text is not None and (masked := texts[text]) is not text:
                changed[name] = masked
        for name in self._looked_at[side]:
            text = found.get(name)
            if text is not None and (value := self._masks.headers_looked_at[side, name, text]) != text:
                changed[name] = value
        for name in self._masked[side]:
            if name in found:
                changed[name] = MASK
        if not changed:
            return found
        shown: dict[str, Any] = {**found, **changed}
        return {name: text for name, text in shown.items() if text is not None} if None in changed.values() else shown


def bring_headers(events: tuple[SpanEvent, ...]) -> bool:
    """True when headers may stand on an event: those of exceptions and logs bring none."""
    return any(event.name in _EVENTS for event in events)


def event_body(events: tuple[SpanEvent, ...], side: str) -> Any:
    """A body that travels on an event named http.request or http.response, None without one."""
    names = bodies.REQUEST_ATTRIBUTES if side == "request" else bodies.RESPONSE_ATTRIBUTES
    for event in events:
        if _EVENTS.get(event.name) == side:
            for name in (*names, "body"):
                value = event.attributes.get(name)
                if value is not None and value != "":
                    return value
    return None
