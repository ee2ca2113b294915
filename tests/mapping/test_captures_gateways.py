"""Gateways, GraphQL servers and RPC as they trace themselves: each call of a customer once, what is behind it inner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import pytest

from captures import CAPTURES, map_requests, requests_of, truth_of
from mapping.event import ACTION, API_CALL, ENTRY, INNER, OPEN, Event
from mapping.rules.route import template_path
from mapping.settings import MappingSettings

SETTINGS: Final = MappingSettings.model_validate({"identify_user": {"headers": ["X-User-Id"]}})
OWN_TRACE: Final = ("0af7651916cd43dd8448eb21",)  # of calls whose caller sent its own traceparent
ERRORS: Final = {
    422: "validation",
    503: "upstream",
    400: "validation",
    401: "auth",
    403: "authorization",
    404: "not_found",
    405: "client_error",
}


def systems(kind: str) -> list[str]:
    return sorted(path.name for path in (CAPTURES / kind).iterdir())


def mapped(system: str) -> list[Event]:
    found = (event for request in map_requests(requests_of(system), SETTINGS) for event in request)
    return sorted(found, key=lambda event: event.start_unix_ns)


def incoming(events: Iterable[Event], *services: str) -> list[Event]:
    calls = (event for event in events if event.event_type == API_CALL and event.direction == "Incoming")
    return [event for event in calls if event.service in services]


def metadata(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(event.metadata)
    return told


def hop(event: Event) -> str:
    """What its request tells: with a caller's own trace only the store can say more."""
    return OPEN if event.trace_id.startswith(OWN_TRACE) else ENTRY


# What their spans do not say.
NO_ADDRESS: Final = ("dd-node", "spring-micrometer", "datadog-mercurius", "hive-gateway")
MASKS_QUERY: Final = ("traefik",)
MASKED: Final = "page=REDACTED"
NO_QUERY: Final = ("grpc-gateway", "spring-micrometer")
# What the gateway saw of the call that its caller gave up.
GIVEN_UP: Final = {"grpc-gateway": (499, "cancelled"), "traefik": (499, "cancelled")}
PATTERN: Final = {"scg-mvc-agent": "/api/**"}  # the route of all calls


WITH_LOG: Final = ("traefik",)  # of each call a line, too: one event in the store


@pytest.mark.parametrize("name", systems("gateways"))
def test_a_call_through_a_gateway_is_one_entry(name: str) -> None:
    events = mapped(f"gateways/{name}")
    calls, truth = incoming(events, "gateway"), truth_of(f"gateways/{name}")
    lines = [event for event in calls if event.source == "log"]  # of the access log
    calls = [event for event in calls if event.source == "span"]
    assert len(calls) == len(truth)
    assert {event.transaction_id for event in lines} == (
        {event.transaction_id for event in calls} if name in WITH_LOG else set()
    )
    for event, call in zip(calls, truth, strict=True):
        url, status = urlsplit(call["path"]), call["status"]
        status, error = GIVEN_UP.get(name, (200, "")) if not status else (status, ERRORS.get(status, ""))
        shown = (event.verb, urlsplit(event.uri).path, urlsplit(event.uri).query)
        query = url.query.replace("page=2", MASKED) if name in MASKS_QUERY else url.query
        assert shown == (call["method"], url.path, "" if name in NO_QUERY else query)
        assert (event.status, event.error_type or "") == (status, error or ("server" if status >= 500 else ""))
        assert (event.user_id, event.hop) == (call["who"], hop(event))
        assert event.route == PATTERN.get(name, template_path(url.path))
        assert event.ip_address == ("" if name in NO_ADDRESS else "127.0.0.1")
    behind = [event for event in events if event.service == "back" and event.direction == "Incoming"]
    assert behind
    assert not [event for event in behind if event.hop == ENTRY]
    ours = {event.trace_id for event in calls}
    assert all(event.trace_id in ours for event in behind)


# The names of operations as their spans tell them, and what these cannot say.
UNNAMED: Final = {"yoga-envelop": "query anonymous", "gqlgen": "nameless-operation"}
WITHOUT_TYPE: Final = ("spring-micrometer", "gqlgen")
STOPPED: Final = {"gqlgen": "cancelled"}  # whose resolvers see that the caller gave up
# Operations that no server takes: who has no span of theirs, or one without the name.
REFUSED: Final = {
    "apollo-gateway": [],
    "yoga-envelop": ["graphql.validate", "graphql.parse"],
    "spring-java-agent": ["GraphQL Operation"] * 2,
    "datadog-mercurius": ["query Bad"],
    "spring-micrometer": ["Bad", "query"],
    "hive-gateway": ["query Bad", "graphql.operation"],
    "gqlgen": ["nameless-operation"] * 2,
}
# A refusal of the resolver's own has a name (`extensions.code`) that most spans do not tell.
DENIED: Final = {"hive-gateway": "authorization"}
# Whose gateway does not tell who calls: the subgraphs do, in requests of their own.
NAMED_BEHIND: Final = ("hive-gateway",)
LATE: Final = ("apollo-gateway",)  # the plan of an operation that lasts comes in a request before it: `Slow`, again


@pytest.mark.parametrize("name", systems("graphql"))
def test_a_graphql_call_is_one_entry_with_one_operation(name: str) -> None:
    events = mapped(f"graphql/{name}")
    truth = truth_of(f"graphql/{name}")
    calls = incoming(events, "front", "gateway")
    assert [event.hop for event in calls] == [hop(event) for event in calls]
    assert len(calls) == len(truth)
    for event, call in zip(calls, truth, strict=True):
        status = call["status"] or 200  # given up: Node and Tomcat answered all the same
        given_up = STOPPED.get(name, "") if not call["status"] else ""
        error = (
            ERRORS.get(status, "")
            or given_up
            or (DENIED.get(name, "server") if call["op"] == "query Denied" else call["error"])
        )
        assert (event.status, event.error_type) == (status, error), call
        assert event.route == "/graphql"
        assert event.user_id in (("", call["who"]) if name in NAMED_BEHIND else (call["who"],))
        assert event.ip_address == ("" if name in NO_ADDRESS else "127.0.0.1")
        if error and status == 200:
            assert metadata(event)["action.status"] == "GRAPHQL_ERROR"
    operations = [event for event in events if (event.event_type, event.family) == (ACTION, "graphql")]
    ours = {event.trace_id: event for event in calls}
    told = [event.action_name for event in operations if event.service in ("front", "gateway")]
    told = [text for text in told if not text.startswith("graphql field ")]  # Spring's, beside their operation
    wanted = [shown(name, call["op"]) for call in truth if call["error"] != "validation" and call["status"] != 405]
    assert sorted(told) == sorted([*wanted, *REFUSED[name], *(["Slow"] if name in LATE else [])])
    assert all(event.trace_id in ours for event in operations if "__" not in event.action_name)


def shown(name: str, operation: str) -> str:
    if operation == "query":
        return UNNAMED.get(name, operation)
    return operation.partition(" ")[2] if name in WITHOUT_TYPE else operation


@pytest.mark.parametrize("name", ["apollo-gateway", "hive-gateway"])
def test_subgraphs_are_behind_the_gateway_of_their_federation(name: str) -> None:
    events = mapped(f"graphql/{name}")
    ours = {event.trace_id: event for event in incoming(events, "gateway")}
    behind = incoming(events, "accounts", "orders")
    asked = [event for event in behind if event.trace_id in ours]
    wanted = sorted(one for call in truth_of(f"graphql/{name}") for one in call["inner"])
    assert sorted(event.service for event in asked) == wanted
    assert {event.hop for event in asked} == {OPEN}  # the gateway's spans come in other requests
    if name in NAMED_BEHIND:
        callers = {
            event.trace_id: call["who"] for event, call in zip(ours.values(), truth_of(f"graphql/{name}"), strict=True)
        }
        assert all(event.user_id == callers[event.trace_id] for event in asked)
    else:
        assert len(behind) - len(asked) == 2  # the gateway's own questions for the schemas


CODES: Final = {
    "OK": "",
    "NotFound": "not_found",
    "Unknown": "server",
    "PermissionDenied": "authorization",
    "Unavailable": "upstream",
    "DeadlineExceeded": "cancelled",  # the server sees the stream reset
    "Canceled": "cancelled",
}
# A server that is not asked for an unknown method has no span of it.
RPC_CANNOT_SAY: Final = {
    "grpc-js": {"DeadlineExceeded": "", "Canceled": ""},  # its handlers go on, and its streams never end
    "go-grpc": {},
}


@pytest.mark.parametrize("name", sorted(RPC_CANNOT_SAY))
def test_an_rpc_is_one_action_with_its_caller_and_failure(name: str) -> None:
    events = mapped(f"rpc/{name}")
    served = [event for event in events if event.service == "front" and event.direction == "Incoming"]
    truth = [call for call in truth_of(f"rpc/{name}") if call["code"] != "Unimplemented"]
    truth = truth[: len(truth) - (name == "grpc-js")]
    codes = {**CODES, **RPC_CANNOT_SAY[name]}
    told = [(event.action_name, event.user_id, event.error_type) for event in served]
    assert told == [(call["method"], call["who"], codes[call["code"]]) for call in truth]
    assert {(event.event_type, event.family) for event in served} == {(ACTION, "rpc")}


def test_an_rpc_within_an_http_call_tells_it_caller_route_and_failure() -> None:
    events = mapped("rpc/connect-go-otelhttp")
    calls, truth = incoming(events, "front"), truth_of("rpc/connect-go-otelhttp")
    assert len(calls) == len(truth)
    for event, call in zip(calls, truth, strict=True):
        path = urlsplit(event.uri).path
        method = path.rpartition("/")[2]
        if "code" in call:
            assert path == f"/{call['method']}"
            error = {**CODES, "Unimplemented": "not_found"}[call["code"]]
            assert event.status == (404 if method == "Nothing" else 200)
        else:
            assert path == call["path"]
            assert event.status == (call["status"] or 499)
            error = {404: "not_found", 500: "server", 499: "cancelled"}.get(event.status, "")
        assert event.error_type == error, call
        # No handler names the caller of unknown methods and of two kinds of streams.
        assert event.user_id == ("" if method in ("Nothing", "Upload", "Chat") else call["who"])
        assert event.route == ("/shop.v1.Orders/" if method == "Nothing" else path)
        assert (event.hop, event.ip_address) == (hop(event), "127.0.0.1")
    rpcs = [event for event in events if (event.event_type, event.family) == (ACTION, "rpc")]
    assert {event.hop for event in rpcs} == {INNER}
