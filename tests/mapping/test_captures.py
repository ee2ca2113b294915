"""Requests of real systems agree with what was really called: each call once, with caller, status, route and method.

What a system cannot say stands here with its reason; everything else is as the truth has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pytest

from captures import CAPTURES, LIMITS, map_requests, requests_of, truth_of
from mapping.event import API_CALL, Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from receiver.decode.request import decode_request

Call = dict[str, Any]

RECEIVED: Final = 1_796_000_000_000_000_000  # after the captures
SETTINGS: Final = MappingSettings.model_validate({"identify_company": {"jwt_claim": "company_id"}})


class System(NamedTuple):
    """What a system says less than the truth, and why."""

    user: Callable[[Call], str]
    company: Callable[[Call], str] = lambda call: ""
    address: bool = True
    query: bool = True
    forwarded: bool = True
    statuses: Mapping[int, int] = MappingProxyType({})  # number of the call -> what its span says instead


def nobody(_: Call) -> str:
    """No header is captured and no attribute set."""
    return ""


def of_token(call: Call) -> str:
    """Headers are captured. Dave and the anonymous caller send no token: a key names a session, not a user."""
    name = str(call["who"]).partition("/")[0].removesuffix("(expired)")
    return name if name in ("alice", "bob", "carol", "mallory") else ""


def company_of_token(call: Call) -> str:
    """The claim that the settings name. Mallory's expired token has it too."""
    if str(call["who"]).startswith("mallory"):
        return "acme"
    return str(call["who"]).partition("/")[2]


def of_handler(*silent: int) -> Callable[[Call], str]:
    """The handlers set `enduser.id`; those of the calls named here do not get as far."""
    return lambda call: "" if call["n"] in silent else str(call["who"]).partition("/")[0]


def always_alice(*calls: int) -> Callable[[Call], str]:
    """The application's handler of an order writes alice for everybody, and only these calls reach it."""
    return lambda call: "alice" if call["n"] in calls else ""


ORDERS_READ: Final = (0, 1, 2, 5, 6, 9, 12, 13, 14, 16)  # calls that reach the handler of an order
SYSTEMS: Final[dict[str, System]] = {
    "java-gw-spring": System(of_token, company_of_token),
    "go-gin": System(nobody, query=False),  # otelgin's spans have no query
    "go-gin-enduser": System(of_handler(3, 8, 9, 15, 16), query=False),
    # Caddy's span has no query, and is given the status before its handler of errors answers: the access log has 504.
    "caddy-go": System(nobody, query=False, statuses={11: 200}),
    # Without report_headers no header is there, nor X-Forwarded-For; the address is that of the connection.
    "krakend-default": System(nobody, forwarded=False),
    "rust-axum-otel": System(always_alice(*ORDERS_READ), address=False),  # neither says where a call came from
    "rust-axum-tower": System(always_alice(*ORDERS_READ), address=False),
}


def entries(system: str) -> list[Event]:
    """The customer's own calls, the first first. A trace that begins with an incoming call has no other entry."""
    calls = [event for event in incoming_of(system) if event.hop != "inner"]
    begun = {event.trace_id for event in calls if event.hop == "entry"}
    found = [event for event in calls if event.hop == "entry" or event.trace_id not in begun]
    return sorted(found, key=lambda event: event.start_unix_ns)


def incoming_of(system: str) -> list[Event]:
    bodies = [body for body in requests_of(system) if body.stem.endswith("traces")]
    events = [event for request in map_requests(bodies, SETTINGS) for event in request]
    return [event for event in events if incoming(event)]


def incoming(event: Event) -> bool:
    return event.event_type == API_CALL and event.direction == "Incoming"


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_every_real_call_is_one_entry_with_what_was_really_called(system: str) -> None:
    says, calls = SYSTEMS[system], truth_of(system)
    found = entries(system)
    assert [shown(event, says) for event in found] == [wanted(call, says) for call in calls]
    for event, call in zip(found, calls, strict=True):
        assert event.route in routes_of(urlsplit(call["path"]).path), event.uri
        assert bool(event.ip_address) == says.address, event.uri


def shown(event: Event, says: System) -> Call:
    uri = urlsplit(event.uri)
    return {
        "method": event.verb,
        "path": uri.path,
        "query": uri.query if says.query else "",
        "status": event.status,
        "gave up": event.error_type == "cancelled",
        "user": event.user_id,
        "company": event.company_id,
        "forwarded": event.ip_address == "203.0.113.7",
    }


def wanted(call: Call, says: System) -> Call:
    uri = urlsplit(call["path"])
    answered = isinstance(call["status"], int)
    return {
        "method": call["method"],
        "path": uri.path,
        "query": re.sub(r"(?<=api_key=)\w+", "REDACTED", uri.query) if says.query else "",
        "status": says.statuses.get(call["n"], call["status"] if answered else 0),
        "gave up": not answered,
        "user": says.user(call),
        "company": says.company(call),
        "forwarded": bool(call["xff"]) and says.address and says.forwarded,
    }


def routes_of(path: str) -> tuple[str, ...]:
    """The route as frameworks write it, and as the path gives it where only that is known."""
    if path.startswith("/orders/") and path.count("/") == 2:
        word = path.rpartition("/")[2]
        return ("/orders/{id}",) if word.isdigit() else ("/orders/{id}", path)
    if path.startswith("/nope/"):
        return ("/nope/{id}/x",)
    return ("/orders/{id}/lines/{n}", "/orders/{id}/lines/{id}") if "/lines/" in path else (path,)


def test_graphql_calls_of_apollo_are_one_entry_each() -> None:
    found = sorted(incoming_of("node-apollo"), key=lambda event: event.start_unix_ns)
    assert [(event.verb, urlsplit(event.uri).path, event.status) for event in found] == [
        (call["m"], call["p"], call["status"]) for call in truth_of("node-apollo")
    ]


def test_krakend_calls_each_backend_once_and_its_stages_are_no_calls() -> None:
    bodies = [body for body in requests_of("krakend-default") if body.stem.endswith("traces")]
    calls = [event for request in map_requests(bodies) for event in request if event.event_type == API_CALL]
    outgoing = [event for event in calls if event.direction == "Outgoing"]
    assert len(calls) - len(outgoing) == len(truth_of("krakend-default"))
    assert all(urlsplit(event.uri).port == 14399 for event in outgoing)
    assert len(outgoing) == len({event.trace_id for event in calls}) - 1  # one call had no endpoint


MINIMAL: Final[dict[str, list[tuple[str, str, str, int, str]]]] = {
    "d02-krakend-one-call-five-events": [
        ("Outgoing", "GET", "/orders/{id}", 401, "auth"),
        ("Incoming", "GET", "/orders/{id}", 401, "auth"),
    ],
    "d03-krakend-404-route": [("Incoming", "GET", "/nope/{id}/x", 404, "not_found")],
    "d08-spring-gateway-route-id": [("Incoming", "GET", "/orders/fail", 500, "server")],
    "d09-tower-http-no-call": [("Incoming", "GET", "/orders/{id}", 200, "")],
    "d14-cancelled-is-network-or-server": [
        ("Incoming", "GET", "/orders/{id}", 0, "cancelled"),
        ("Outgoing", "GET", "/orders/slow", 0, "timeout"),
    ],
    "d15-caddy-span-200-truth-504": [("Incoming", "GET", "/orders/slow", 200, "")],  # its log line tells
    "d16-otelchi-unmatched-is-root": [
        ("Incoming", "GET", "/orders/{id}", 200, ""),
        ("Incoming", "GET", "", 404, "not_found"),
    ],
    "d18-fastapi-native-plumbing": [("Incoming", "POST", "/v1/chat/completions", 200, "")],
}


@pytest.mark.parametrize("name", MINIMAL)
def test_one_small_request_of_each_kind_comes_out_right(name: str) -> None:
    body = (CAPTURES / "minimal" / f"{name}.json").read_bytes()
    decoded = decode_request(Decoder(), "traces", "application/json", "", body, LIMITS)
    events = Mapper(SETTINGS, Sampler(SamplingSettings())).map(decoded, received_unix_ns=RECEIVED).events
    calls = [event for event in events if event.event_type == API_CALL]
    assert [(e.direction, e.verb, e.route, e.status, e.error_type) for e in calls] == MINIMAL[name]
    assert [event.event_type for event in events if event.event_type != API_CALL] == []


@pytest.mark.parametrize("name", ["d11-litellm-ratelimit-is-network", "d12-openai-ratelimit-is-network"])
def test_a_limit_of_a_model_provider_is_no_failure_of_the_network(name: str) -> None:
    body = (CAPTURES / "minimal" / f"{name}.json").read_bytes()
    decoded = decode_request(Decoder(), "traces", "application/json", "", body, LIMITS)
    events = Mapper(SETTINGS, Sampler(SamplingSettings())).map(decoded, received_unix_ns=RECEIVED).events
    assert [event.error_type for event in events if event.error_type] == ["rate_limit"]
