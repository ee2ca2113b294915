"""Calls that are built by columns are what they are when built one by one, whatever is among them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mapping.event import Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.rules import ids
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from mapping.spans.columns import PlainCalls
from mapping_requests import CLIENT, NOW, SERVER, span, traces

CALL: dict[str, Any] = {
    "http.request.method": "GET",
    "url.scheme": "https",
    "url.path": "/api/users/7",
    "url.query": "page=3",
    "http.route": "/api/users/{id}",
    "http.response.status_code": 200,
    "server.address": "shop.example",
    "server.port": 443,
    "client.address": "203.0.113.9",
    "network.peer.address": "10.0.0.4",
    "user_agent.original": "shop-app/1.2",
    "user.id": "ann",
    "company.id": "acme",
    "thread.id": 7,
}
# What makes a call another one, each with keys that plain ones have too.
OTHER: dict[str, tuple[Any, ...]] = {
    "http.request.method": ("POST", "BREW", "get", 7),
    "url.path": ("/", "/api", "/api/v2/users/8", "/a b", "/x?password=hunter2", "no/slash", "/api/users/7;token=x1", 5),
    "url.query": ("", "password=hunter2", "a=1&b=%22", "x" * 600, 7),
    "http.route": ("/api", "/", "*", "users", "/api/users/7", "/other/{id}", "/api/{id:int}", "^/api/.*$", 7),
    "http.response.status_code": (404, 500, 0, 99, 600, "503", 204.0, True),
    "server.address": ("", "[::1]", "SHOP.example", "unknown"),
    "server.port": (80, "8443", 0, True),
    "client.address": ("", "nonsense", "2001:db8::1", 5),
    "user_agent.original": ("", "curl/8 Bearer abcdefghijklmnop1", 7),
    "user.id": ("", "null", "bob", 12),
    "company.id": ("", "other", 3.5),
    "thread.id": ("two", True, 1.5, [1, 2]),
}  # fmt: skip


def one_of(dice: random.Random, number: int) -> Span:
    attributes = dict(CALL)
    while dice.random() < 0.3:
        key = dice.choice(list(OTHER))
        attributes[key] = dice.choice(OTHER[key])
    if dice.random() < 0.05:
        attributes.pop(dice.choice(list(CALL)))
    made = span(attributes, kind=dice.choice((SERVER, SERVER, CLIENT)), number=number)
    made.name = dice.choice(("GET /api/users/{id}", "GET", "handle"))
    made.flags = dice.choice((0x101, 0x300))
    if dice.random() < 0.1:
        made.status.CopyFrom(Status(code=dice.choice((Status.STATUS_CODE_ERROR, Status.STATUS_CODE_OK))))
    if dice.random() < 0.05:
        made.events.add(name="exception").attributes.add(key="exception.type").value.string_value = "E"
    if dice.random() < 0.05:
        made.start_time_unix_nano, made.end_time_unix_nano = dice.choice(((0, 0), (NOW, NOW - 5), (5, NOW + 10**15)))
    if dice.random() < 0.05:
        made.links.add(trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1")
    made.parent_span_id = dice.choice((b"", bytes(7) + b"\x09", made.parent_span_id))
    return made


def events_of(requests: list[bytes], settings: MappingSettings, tenant: str) -> list[Event]:
    mapper, decoder = Mapper(settings, Sampler(SamplingSettings())), Decoder()
    return [
        event
        for request in requests
        for event in mapper.map(decoder.traces(request), received_unix_ns=NOW, tenant=tenant).events
    ]


@pytest.mark.parametrize("tenant", ["", "acme"])
@pytest.mark.parametrize("settings", [{}, {"skip_plumbing": False}, {"inherit": False}, {"trust_forwarded": False}])
def test_calls_by_columns_are_those_one_by_one(
    settings: dict[str, Any], tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(f"{settings} {tenant}")
    requests = [
        traces(
            *(one_of(dice, number * 100 + more + 1) for more in range(90)),
            resource={"service.name": f"shop-{number % 3}", "company.id": "of-all"} if number % 2 else {},
        ).SerializeToString()
        for number in range(8)
    ]
    chosen, built = MappingSettings(**settings), 0
    whole = PlainCalls.events

    def counting(self: PlainCalls, *args: Any) -> Any:
        nonlocal built
        found = whole(self, *args)
        built += sum(event is not None for event in found)
        return found

    monkeypatch.setattr(PlainCalls, "events", counting)
    found = events_of(requests, chosen, tenant)
    monkeypatch.setattr(PlainCalls, "events", lambda self, works, *rest: [None] * len(works))
    assert found == events_of(requests, chosen, tenant)
    assert [type(value) for event in found for value in event] == [
        type(value) for event in events_of(requests, chosen, tenant) for value in event
    ]
    assert built > 200


def test_a_failing_column_costs_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("hunter2")

    request = traces(*(span(CALL, number=number + 1) for number in range(20))).SerializeToString()
    right = events_of([request], MappingSettings(), "")
    monkeypatch.setattr(PlainCalls, "events", fails)
    assert events_of([request], MappingSettings(), "") == right
    assert len(right) == 20


@pytest.mark.parametrize("tenant", ["", "acme", "\u00e9"])
def test_ids_of_many_calls_are_those_of_each(tenant: str) -> None:
    dice = random.Random(tenant)
    rows = [
        (dice.randbytes(16).hex(), dice.randbytes(8).hex(), dice.choice(("GET", "POST")), dice.choice((0, 200, 503)))
        for _ in range(300)
    ]
    traces_, spans, verbs, statuses = zip(*rows, strict=True)
    each = [ids.transaction_id_api(*row, tenant) for row in rows]
    assert ids.transaction_ids_api(traces_, spans, verbs, statuses, tenant) == each
    assert ids.transaction_ids_api((), (), (), (), tenant) == []


@pytest.mark.parametrize("count", [1, 20])
def test_the_prefix_under_which_routes_are_mounted_is_no_route(count: int) -> None:
    call = {**CALL, "http.route": "/api"}
    request = traces(*(span(call, number=number + 1) for number in range(count))).SerializeToString()
    assert {event.route for event in events_of([request], MappingSettings(), "")} == {"/api/users/{id}"}
