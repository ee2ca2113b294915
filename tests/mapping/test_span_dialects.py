"""Spans in a system's own names are calls with path, status, route and caller; a gateway's stages are none."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import ValidationError

from mapping.context import Context
from mapping.dialects.of_spans import NO_READING, SpanDialects
from mapping.dialects.table import builtin
from mapping.event import ACTION, API_CALL, SKIP, Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, key_values, mapped, span, traces

UNSPECIFIED = 0
OLD = {"http.method": "GET", "http.target": "/orders/17", "http.status_code": 200, "http.host": "api.example.test"}
NEW = {
    "http.request.method": "GET",
    "url.path": "/orders/17",
    "http.response.status_code": 200,
    "server.address": "api.example.test",
}
CALL = {"direction": "Incoming", "verb": "GET", "status": 200, "route": "/orders/{id}"}

# what is sent, what is right; kinds and names beside the attributes where they matter
SPANS: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = [
    (
        "Spring Boot 3, served",
        SERVER,
        {
            "exception": "none",
            "http.url": "/orders/17",
            "method": "GET",
            "outcome": "SUCCESS",
            "status": "200",
            "uri": "/orders/{id}",
        },
        CALL | {"uri": "http://shop/orders/17", "error_type": ""},
    ),
    (
        "Spring Boot 3, called",
        CLIENT,
        {
            "client.name": "pay.example.test",
            "exception": "ConnectException",
            "http.url": "https://pay.example.test/charge/9",
            "method": "POST",
            "outcome": "UNKNOWN",
            "status": "CLIENT_ERROR",
            "uri": "/charge/{id}",
        },
        {
            "direction": "Outgoing",
            "verb": "POST",
            "status": 0,
            "uri": "https://pay.example.test/charge/9",
            "error_type": "network",
        },
    ),
    (
        "Spring Boot 3, no mapping",
        SERVER,
        {
            "exception": "none",
            "http.url": "/orders/17",
            "method": "GET",
            "outcome": "CLIENT_ERROR",
            "status": "404",
            "uri": "/**",
        },
        CALL | {"status": 404},
    ),
    (
        "Spring Cloud Gateway's own observation",
        CLIENT,
        {
            "http.method": "GET",
            "http.status_code": "200",
            "http.uri": "http://orders:8080/orders/17",
            "spring.cloud.gateway.route.id": "orders",
            "spring.cloud.gateway.route.uri": "http://orders:8080",
        },
        {"direction": "Outgoing", "uri": "http://orders:8080/orders/17", "route": "/orders/{id}", "status": 200},
    ),
    (
        "Brave",
        SERVER,
        {"http.method": "GET", "http.path": "/orders/17", "http.route": "/orders/{id}"},
        {"verb": "GET", "uri": "http://shop/orders/17", "route": "/orders/{id}", "status": 0},
    ),
    (
        "OpenCensus",
        SERVER,
        {
            "http.host": "api.example.test",
            "http.method": "GET",
            "http.path": "/orders/17",
            "http.status_code": 200,
            "http.user_agent": "sample/1",
        },
        CALL | {"uri": "http://api.example.test/orders/17", "user_agent": "sample/1"},
    ),
    (
        "Linkerd",
        SERVER,
        {
            "http.method": "GET",
            "http.path": "/orders/17",
            "http.authority": "api.example.test",
            "http.scheme": "https",
            "http.status_code": 200,
        },
        CALL | {"uri": "https://api.example.test/orders/17"},
    ),
    ("OpenTracing", SERVER, OLD | {"component": "net/http", "peer.ipv4": "203.0.113.9"}, {"ip_address": "203.0.113.9"}),
    (
        "Datadog",
        SERVER,
        OLD
        | {
            "http.useragent": "sample/1",
            "network.client.ip": "203.0.113.9",
            "usr.id": "u-7",
            "span.type": "web",
            "resource.name": "GET /orders/:id",
        },
        CALL | {"user_agent": "sample/1", "ip_address": "203.0.113.9", "user_id": "u-7"},
    ),
    (
        "X-Ray",
        SERVER,
        OLD
        | {
            "aws.xray.annotations": ["a"],
            "http.client_ip": "203.0.113.9",
            "http.url": "https://api.example.test/orders/17",
        },
        CALL | {"ip_address": "203.0.113.9"},
    ),
    (
        "Envoy, a gRPC failure behind HTTP's 200",
        SERVER,
        {
            "component": "proxy",
            "http.url": "http://api.example.test/shop.Orders/Get",
            "http.method": "POST",
            "upstream_cluster": "orders",
            "response_flags": "-",
            "peer.address": "203.0.113.9",
            "user_agent": "grpc-go/1",
            "grpc.status_code": "7",
            "http.status_code": "200",
            "guid:x-request-id": "r-1",
        },
        {
            "status": 200,
            "error_type": "authorization",
            "ip_address": "203.0.113.9",
            "user_agent": "grpc-go/1",
            "request_id": "r-1",
        },
    ),
    (
        "gRPC's status as a captured header",
        SERVER,
        NEW | {"http.response.header.grpc-status": ["14"]},
        {"error_type": "upstream"},
    ),
    ("gRPC's success", SERVER, NEW | {"rpc.grpc.status_code": 0}, {"error_type": ""}),
    (
        "Kong",
        SERVER,
        OLD | {"kong.auth.consumer.name": "acme-app", "kong.request.id": "k-1"},
        CALL | {"user_id": "acme-app", "request_id": "k-1"},
    ),
    (
        "Tyk",
        SERVER,
        OLD
        | {
            "tyk.api.id": "a-1",
            "tyk.api.apikey": "5f1a9c",
            "tyk.api.apikey.alias": "acme",
            "tyk.api.oauthid": "o-7",
            "tyk.api.orgid": "owner",
        },
        CALL | {"user_id": "acme", "client_id": "o-7", "company_id": ""},
    ),
    (
        "APISIX",
        SERVER,
        OLD | {"apisix.route_id": "1", "consumer_name": "jack"},
        CALL | {"user_id": "jack"},
    ),
    (
        "Gravitee",
        SERVER,
        NEW | {"gravitee.application.id": "app-1", "gravitee.application.name": "Shop", "gravitee.plan.id": "gold"},
        CALL | {"application_id": "app-1", "plan_id": "gold"},
    ),
    ("Traefik", SERVER, NEW | {"entry_point": "web", "ClientUsername": "carol"}, CALL | {"user_id": "carol"}),
    (
        "AWS API Gateway",
        SERVER,
        NEW | {"principalId": "p-1", "apiKeyId": "key-1"},
        CALL | {"user_id": "p-1", "client_id": "key-1"},
    ),
    ("Svix", SERVER, NEW | {"app_uid": "acme", "org_id": "o-1"}, CALL | {"company_id": "acme"}),
    (
        "A function of Cloudflare or Lambda whose kind was left out",
        UNSPECIFIED,
        {
            "faas.trigger": "http",
            "faas.invocation_id": "i-1",
            "http.request.method": "GET",
            "url.full": "https://api.example.test/orders/17",
            "http.response.status_code": 200,
        },
        CALL | {"uri": "https://api.example.test/orders/17"},
    ),
    (
        "Sentry",
        CLIENT,
        {"sentry.op": "http.client", "http.request_method": "GET", "url": "https://a.test/x"},
        {"verb": "GET"},
    ),
]


def one(attributes: dict[str, Any], kind: int = SERVER, scope: str = "", **fields: Any) -> Event:
    request = traces(
        span(attributes, kind=kind, name=fields.pop("name", "op"), **fields), resource={"service.name": "shop"}
    )
    request.resource_spans[0].scope_spans[0].scope.name = scope
    [event] = mapped(request, keep_skips=True).events
    return event


@pytest.mark.parametrize(("kind", "sent", "wanted"), [case[1:] for case in SPANS], ids=[case[0] for case in SPANS])
def test_a_span_in_a_systems_own_words_is_a_call(kind: int, sent: dict[str, Any], wanted: dict[str, Any]) -> None:
    event = one(sent, kind)
    assert event.event_type == API_CALL
    assert {field: getattr(event, field) for field in wanted} == wanted


@pytest.mark.parametrize(
    ("sent", "scope", "name"),
    [
        ({"krakend.stage": "proxy", "http.request.method": "GET", "http.response.status_code": 200}, "", "/orders/:id"),
        ({"krakend.stage": "backend", "http.request.method": "GET", "http.route": "/orders/:id"}, "", "/orders/:id"),
        ({"traefik.router.name": "r@docker", "http.route": "Host(`a`)"}, "", "Router"),
        ({"traefik.middleware.name": "m@docker"}, "", "Middleware"),
        ({"next.span_type": "AppRender.getBodyResult", "next.span_name": "render"}, "", "render route"),
        ({"code.function.name": "shop.read", "gen_ai.request.model": "m-1"}, "fastapi", "fastapi.dependencies"),
        ({"plugin": "key-auth"}, "kong-internal", "kong.access.plugin.key-auth"),
        ({"spring.security.reached.filter.name": "CsrfFilter"}, "", "security filterchain before"),
    ],
)
def test_stages_of_a_gateway_and_a_framework_are_plumbing(sent: dict[str, Any], scope: str, name: str) -> None:
    assert one(sent, INTERNAL, scope, name=name).event_type == SKIP
    assert one(NEW | sent, SERVER, scope, name=name).event_type == API_CALL  # only internal spans


def test_the_same_span_of_another_scope_is_work() -> None:
    assert one({"code.function.name": "shop.read"}, INTERNAL, "shop", name="read").event_type == ACTION


def test_tower_http_tells_the_status_in_an_event() -> None:
    sent = {"method": "GET", "uri": "/orders/17?a=1", "version": "HTTP/1.1", "busy_ns": 1, "idle_ns": 2}
    told = [
        Span.Event(name="started processing request"),
        Span.Event(name="finished processing request", attributes=key_values({"status": 404, "latency": "0 ms"})),
    ]
    event = one(sent, INTERNAL, name="request", events=told)
    assert (event.event_type, event.direction, event.verb, event.status, event.hop) == (
        API_CALL,
        "Incoming",
        "GET",
        404,
        "entry",
    )
    assert (event.uri, event.route, event.error_type) == ("http://shop/orders/17?a=1", "/orders/{id}", "not_found")
    unanswered = one(sent, INTERNAL, name="request", events=told[:1])
    assert (unanswered.event_type, unanswered.status) == (API_CALL, 0)


def test_a_handlers_user_below_a_call_in_own_words_is_the_calls() -> None:
    sent = {"method": "GET", "uri": "/orders/17", "version": "HTTP/1.1"}
    request = traces(
        span({"enduser.id": "alice"}, kind=INTERNAL, number=2, parent=1),
        span(sent, kind=INTERNAL, number=1, name="request"),
    )
    assert [event.user_id for event in mapped(request).events] == ["alice", "alice"]


def test_a_method_that_is_no_call_stays_an_action() -> None:
    for sent in ({"method": "refund", "class": "c.e.Service"}, {"method": "GET", "status": "open"}, {"uri": "/a"}):
        assert one(sent, INTERNAL).event_type == ACTION


def test_names_of_the_conventions_come_before_those_of_a_dialect() -> None:
    event = one(NEW | {"http.path": "/other", "usr.id": "u-1", "user.id": "u-2", "client.address": "203.0.113.1"})
    assert (event.uri, event.user_id, event.ip_address) == ("http://api.example.test/orders/17", "u-2", "203.0.113.1")


def test_nginx_names_a_location_where_a_route_belongs() -> None:
    sent = OLD | {"http.route": "/orders/"}
    assert one(sent, scope="nginx").route == "/orders/{id}"


def test_what_a_field_holds_is_not_repeated_in_metadata_and_what_is_ignored_stays() -> None:
    event = one({"http.method": "GET", "http.path": "/a", "http.status_code": 200, "peer.ipv4": "203.0.113.9"})
    assert "http.path" not in event.metadata
    assert "peer.ipv4" in event.metadata  # as the conventions' own addresses
    assert '"http.route":"/orders/"' in one(OLD | {"http.route": "/orders/"}, scope="nginx").metadata


def test_a_key_is_masked_and_its_hash_is_the_session() -> None:
    event = one(OLD | {"tyk.api.id": "a", "tyk.api.apikey": "a-secret-key-17"})
    assert event.session_token.startswith("sha256:")
    assert "a-secret-key-17" not in repr(event)


def test_a_table_of_the_settings_names_attributes_of_spans() -> None:
    own = {
        "title": "Ours",
        "spans": {
            "known_by": {"keys": ["sg.verb", "sg.target"]},
            "incoming": True,
            "method": "sg.verb",
            "status": "sg.code",
            "url": "sg.target",
            "user": "sg.customer",
            "company": "sg.firm",
        },
    }
    own["spans"]["known_by"] = [own["spans"]["known_by"]]  # type: ignore[index]
    settings = MappingSettings.model_validate({"dialects": {"shopgate": own}})
    sent = {"sg.verb": "PUT", "sg.target": "/orders/17?a=1", "sg.code": "204", "sg.customer": "u-7", "sg.firm": "acme"}
    request = traces(span(sent, kind=INTERNAL), resource={"service.name": "shop"})
    [event] = mapped(request, settings).events
    assert (event.event_type, event.verb, event.status, event.uri) == (
        API_CALL,
        "PUT",
        204,
        "http://shop/orders/17?a=1",
    )
    assert (event.user_id, event.company_id, event.direction) == ("u-7", "acme", "Incoming")
    with pytest.raises(ValidationError):
        MappingSettings.model_validate({"dialects": {"x": {"title": "x", "spans": {"verb": "a"}}}})


def test_secrets_that_span_tables_name_are_masked() -> None:
    masks = Context(MappingSettings()).masks
    for name, dialect in builtin().items():
        assert [key for key in dialect.spans.key if masks.verdict(key) != "mask"] == [], name


def test_a_span_that_no_table_knows_costs_no_reading() -> None:
    assert SpanDialects().reading(NEW) is NO_READING


def test_an_error_that_the_span_calls_one_fails_beside_a_status_of_grpc() -> None:
    event = one(NEW | {"grpc.status_code": "4"}, status=Status(code=Status.STATUS_CODE_ERROR))
    assert event.error_type == "timeout"


def test_explain_says_which_dialect_and_attribute_gave_a_field() -> None:
    sent = {"http.method": "GET", "http.path": "/orders/17", "http.status_code": 200, "usr.id": "u-7"}
    mapper = Mapper(MappingSettings(), Sampler(SamplingSettings()), explain=True)
    decoded = Decoder().traces(traces(span(sent)).SerializeToString())
    [event] = mapper.map(decoded, received_unix_ns=NOW).events
    assert mapper.reasons[event.transaction_id] == {
        "dialects": "datadog, zipkin, otel",
        "request.verb": "otel: http.method",
        "response.status": "otel: http.status_code",
        "request.uri": "zipkin: http.path",
        "user_id": "datadog: usr.id",
    }


def test_names_of_callers_mean_nothing_in_spans_that_are_no_calls() -> None:
    for sent in (
        {"consumer_name": "orders-1", "messaging.system": "kafka"},
        {"principalId": "p"},
        {"entry_point": "main"},
    ):
        event = one(sent, INTERNAL)
        assert (event.user_id, event.event_type) == ("", ACTION)


def test_a_function_that_calls_another_serves_nobody() -> None:
    sent = {
        "faas.invoked_name": "f",
        "http.request.method": "POST",
        "url.full": "https://f.test/",
        "faas.trigger": "http",
    }
    assert one(sent, INTERNAL).event_type == ACTION


def test_a_tag_of_opentracing_says_that_a_call_failed() -> None:
    sent = {"http.method": "GET", "http.url": "http://a.test/x", "component": "okhttp"}
    assert one(sent | {"error": True}, CLIENT).error_type == "network"
    assert one(sent | {"error": "java.net.SocketTimeoutException"}, CLIENT).error_type == "timeout"
    assert one(sent | {"error": False}, CLIENT).error_type == ""
    assert one(sent | {"error": "false"}, SERVER).error_type == ""
