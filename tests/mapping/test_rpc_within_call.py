"""An RPC that is served within an HTTP call of the same process: what the call learns of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping.event import ACTION, API_CALL, ENTRY, INNER, Event
from mapping.otlp.decode import Decoder
from mapping.settings import MappingSettings
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, mapper, span, traces

METHOD = "shop.v1.Orders/Get"
POST = {"http.request.method": "POST", "url.path": f"/{METHOD}", "http.response.status_code": 200}
RPC = {"rpc.system.name": "grpc", "rpc.method": METHOD, "user.id": "u", "company.id": "c"}


def http(path: str = f"/{METHOD}", **more: Any) -> Span:
    return span({**POST, "url.path": path}, number=1, **more)


def served(status: str = "OK", parent: int = 1, number: int = 3, **more: Any) -> Span:
    return span({**RPC, "rpc.response.status_code": status, **more}, kind=SERVER, number=number, parent=parent)


def events(request: ExportTraceServiceRequest) -> list[Event]:
    return mapper().map(Decoder().traces(request.SerializeToString()), received_unix_ns=NOW).events


def the_call(*spans: Span) -> Event:
    (call,) = [event for event in events(traces(*spans)) if event.event_type == API_CALL and event.hop == ENTRY]
    return call


def test_the_call_has_the_caller_route_and_failure_of_its_rpc() -> None:
    found = events(traces(served("NOT_FOUND"), http()))
    call = next(event for event in found if event.event_type == API_CALL)
    assert (call.user_id, call.company_id, call.route, call.hop) == ("u", "c", f"/{METHOD}", ENTRY)
    assert (call.status, call.error_type) == (200, "not_found")
    assert orjson.loads(call.metadata)["action.status"] == "NOT_FOUND"
    (action,) = [event for event in found if event.event_type == ACTION]
    assert (action.family, action.hop, action.error_type) == ("rpc", INNER, "not_found")


@pytest.mark.parametrize("prefix", ["", "/api", "/twirp"])
def test_the_route_is_the_path_that_ends_with_the_method(prefix: str) -> None:
    assert the_call(served(), http(f"{prefix}/{METHOD}")).route == f"{prefix}/{METHOD}"
    mounted = span({**POST, "url.path": f"{prefix}/{METHOD}", "http.route": f"{prefix}/shop.v1.Orders/"}, number=1)
    assert the_call(served(), mounted).route == f"{prefix}/{METHOD}"


def test_stages_of_a_framework_may_stand_between() -> None:
    stage = span({"express.type": "middleware"}, kind=INTERNAL, number=2, parent=1)
    call = the_call(served("INTERNAL", parent=2), stage, http())
    assert (call.user_id, call.error_type) == ("u", "server")


def test_the_failure_of_an_rpc_that_a_handler_makes_is_not_the_calls() -> None:
    call = the_call(served("NOT_FOUND"), http("/orders/17"))
    assert (call.error_type, call.route, call.user_id) == ("", "/orders/{id}", "u")


def test_a_method_of_json_rpc_fails_its_call_wherever_it_is_served() -> None:
    told = {"rpc.system": "jsonrpc", "rpc.method": "orders.get", "rpc.jsonrpc.error_code": -32602}
    call = the_call(span(told, kind=SERVER, name="orders.get", number=3, parent=1), http("/rpc"))
    assert (call.error_type, call.route) == ("validation", "/rpc")


def test_what_the_call_says_itself_comes_first() -> None:
    own = span({**POST, "user.id": "own", "http.response.status_code": 503, "http.route": "/{a}/{b}"}, number=1)
    call = the_call(served("NOT_FOUND"), own)
    assert (call.user_id, call.company_id, call.error_type, call.route) == ("own", "c", "upstream", "/{a}/{b}")


def test_an_rpc_of_another_process_tells_nothing() -> None:
    asks = span({"rpc.system.name": "grpc", "rpc.method": METHOD}, kind=CLIENT, number=2, parent=1)
    call = the_call(served("NOT_FOUND", parent=2), asks, http())
    assert (call.user_id, call.error_type) == ("", "")
    request = traces(http())
    request.MergeFrom(traces(served("NOT_FOUND"), resource={"service.name": "other"}))
    (call,) = [event for event in events(request) if event.event_type == API_CALL]
    assert (call.user_id, call.error_type) == ("", "")


def test_an_rpc_alone_is_an_action_with_its_caller() -> None:
    (action,) = events(traces(served("UNAVAILABLE", parent=0)))
    assert (action.event_type, action.user_id, action.error_type) == (ACTION, "u", "upstream")


def test_the_caller_of_a_call_is_lent_on_to_what_is_below_it() -> None:
    query = span({"db.system.name": "postgresql"}, kind=CLIENT, number=4, parent=1)
    found = events(traces(query, served(), http()))
    assert {event.user_id for event in found} == {"u"}


def test_plumbing_that_is_kept_stays() -> None:
    settings = MappingSettings(skip_plumbing=False)
    told = {"graphql.operation.name": "A"}
    inner, outer = span(told, kind=INTERNAL, number=3, parent=2), span(told, kind=INTERNAL, number=2, parent=1)
    decoded = Decoder().traces(traces(inner, outer, http("/graphql")).SerializeToString())
    kept = mapper(settings).map(decoded, received_unix_ns=NOW).events
    assert [event.action_name for event in kept if event.event_type == ACTION] == ["A", "A"]
