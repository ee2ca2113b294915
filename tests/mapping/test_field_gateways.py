"""Spans of gateways, routers and meshes in public reports, each names its report, and what they must become."""

from __future__ import annotations

import pytest

from mapping.event import API_CALL
from mapping_requests import CLIENT, INTERNAL, SERVER, mapped, span, traces
from span_reports import CALL, Said, calls, of_scopes, of_span


# traefik/traefik #11230, #13504, #10223
@pytest.mark.parametrize(
    ("rule", "path", "route"),
    [
        ("Host(`shop.example`)", "/orders/17", "/orders/{id}"),
        ("Host(`shop.example`) && PathPrefix(`/orders`)", "/orders/17", "/orders/{id}"),
        ('PathRegexp("^/orders/[0-9]+$")', "/orders/17", "/orders/{id}"),
        ("/grafana", "/grafana/d/17", "/grafana/d/{id}"),
        ("/healthz", "/healthz", "/healthz"),
    ],
)
def test_a_rule_of_traefiks_router_is_no_route(rule: str, path: str, route: str) -> None:
    entry = {**CALL, "url.path": path, "server.address": "shop.example", "entry_point": "web"}
    assert of_span({**entry, "http.route": rule}).route == route
    router = {"traefik.router.name": "a@docker", "traefik.service.name": "s", "http.route": rule}
    proxied = {**CALL, "url.full": f"http://10.0.0.7:80{path}", "server.address": "10.0.0.7"}
    found = calls(
        traces(
            span(entry, number=1, name="GET"),
            span(router, kind=INTERNAL, number=2, parent=1, name="Router"),
            span({"traefik.middleware.name": "auth"}, kind=INTERNAL, number=3, parent=2, name="Auth"),
            span(proxied, kind=CLIENT, number=4, parent=3, name="ReverseProxy"),
        )
    )
    assert [(call.direction, call.hop) for call in found] == [("Incoming", "entry"), ("Outgoing", "inner")]
    assert found[0].route == (path if rule == path else route)


# kgateway-dev/kgateway #9311; envoyproxy/envoy #27846
def test_envoys_spans_by_the_name_of_a_listener_are_calls() -> None:
    said = {
        "node_id": "gateway-proxy",
        "guid:x-request-id": "89d85fd0-346c-9381-b38f-3ad4fe78fa80",
        "http.url": "http://localhost:8080/helloworld",
        "http.method": "GET",
        "downstream_cluster": "-",
        "user_agent": "curl/8.4.0",
        "peer.address": "127.0.0.1",
        "component": "proxy",
        "http.status_code": "404",
        "response_flags": "-",
    }
    call = of_span(said, name="ingress")
    assert (call.route, call.status, call.user_agent) == ("/helloworld", 404, "curl/8.4.0")
    assert call.request_id == said["guid:x-request-id"]
    grpc = {**said, "http.url": "http://gsc:80/io.v1.Cluster/Get", "http.method": "POST", "http.status_code": "200"}
    sent = of_span({**grpc, "grpc.path": "/io.v1.Cluster/Get", "grpc.status_code": "0"}, CLIENT, name="egress gsc:80")
    assert (sent.direction, sent.uri, sent.error_type) == ("Outgoing", "http://gsc/io.v1.Cluster/Get", "")


# apollographql/router, plugins/telemetry/span_factory.rs
@pytest.mark.parametrize("target", ["/graphql", "http://localhost:4000/graphql?x=1"])
def test_apollos_router_names_its_target_as_the_route(target: str) -> None:
    said = {"http.route": target, "http.request.method": "POST", "otel.status_code": "OK"}
    call = of_span(said, name="router")
    assert (call.event_type, call.route, call.uri) == (API_CALL, "/graphql", "http://shop/graphql")


# wso2/carbon-apimgt #11258, wso2/docs-apim #2456, wso2/api-manager #1183
@pytest.mark.parametrize("kind", [INTERNAL, SERVER])
def test_wso2s_spans_in_its_own_words_are_one_call(kind: int) -> None:
    said = {
        "span.resource": "/menu/{id}",
        "span.kind": "server",
        "span.api.name": "PizzaShackAPI",
        "span.consumerkey": "key-of-an-app",
        "span.request.method": "GET",
        "span.request.path": "pizzashack/1.0.0/menu/7",
        "span.api.version": "1.0.0",
        "span.activity.id": "b6ce4efa",
        "span.http.response.status.code": "404",
    }
    (call,) = calls(
        traces(
            span(said, kind=kind, number=1, name="API:Response_Latency"),
            span(said, kind=kind, number=2, parent=1, name="PizzaShackAPI--1.0.0--carbon.super"),
            span({}, kind=kind, number=3, parent=2, name="API:Throttle_Latency"),
            span(
                {"span.endpoint": "https://pizza.example/x"}, kind=kind, number=4, parent=2, name="API:Backend_Latency"
            ),
        )
    )
    assert (call.direction, call.hop, call.verb, call.route, call.status) == (
        "Incoming",
        "entry",
        "GET",
        "/menu/{id}",
        404,
    )
    assert (call.client_id, call.request_id) == ("key-of-an-app", "b6ce4efa")


# open-telemetry/opentelemetry-python-contrib #3171; elysiajs/opentelemetry #44; gravitee-io/issues #11046;
# autotelic/fastify-opentelemetry #69; haproxytech/haproxy-opentelemetry #2; vincentfree/opentelemetry #66
@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            {
                "http.method": "GET",
                "http.server_name": "0.0.0.0",
                "http.scheme": "http",
                "net.host.name": "shop.example",
                "http.target": "/orders/17",
                "net.peer.ip": "203.0.113.7",
                "http.route": "/orders/<int:id>",
                "http.status_code": 404,
            },
            ("http://shop.example/orders/17", "/orders/{id}", 404),
        ),
        (
            {
                "http.request.method": "GET",
                "url.path": "/orders/17",
                "http.route": "/orders/:id",
                "http.response.status_code": 404,
            },
            ("http://shop/orders/17", "/orders/{id}", 404),
        ),
        (
            {
                "gravitee.api.id": "a1",
                "http.request.method": "GET",
                "url.path": "/orders/17",
                "http.response.status_code": 404,
            },
            ("http://shop/orders/17", "/orders/{id}", 404),
        ),
        (
            {"req.method": "GET", "req.url": "/orders/17?a=1", "reply.statusCode": 404},
            ("http://shop/orders/17?a=1", "/orders/{id}", 404),
        ),
        (
            {"http.method": "GET", "http.url": "http://shop.example/orders/17", "http.version": "HTTP/1.1"},
            ("http://shop.example/orders/17", "/orders/{id}", 0),
        ),
    ],
)
def test_a_server_that_calls_its_spans_internal_has_calls(said: Said, wanted: tuple[str, str, int]) -> None:
    call = of_span(said, INTERNAL, name="request")
    assert (call.direction, call.hop) == ("Incoming", "entry")
    assert (call.uri, call.route, call.status) == wanted


# open-telemetry/opentelemetry-go-contrib #8490, #8506; chainloop-dev/chainloop #3448
@pytest.mark.parametrize("kind", [SERVER, INTERNAL])
def test_a_call_that_a_gateway_hands_on_by_grpc_in_its_own_process_is_one(kind: int) -> None:
    rpc = {"rpc.system": "grpc", "rpc.service": "shop.v1.Orders", "rpc.method": "Get", "rpc.grpc.status_code": 5}
    events = mapped(
        traces(span({**CALL, "http.response.status_code": 404}, number=1), span(rpc, kind=kind, number=2, parent=1))
    )
    assert [(event.event_type, event.hop, event.error_type) for event in events.events] == [
        ("api_call", "entry", "not_found"),
        ("action", "inner", "not_found"),
    ]


# dapr/dapr #10462, #1607; istio/istio #27104
def test_a_chain_through_sidecars_is_one_entry() -> None:
    grpc = {"rpc.system": "grpc", "rpc.service": "shop.v1.Stock", "rpc.method": "Get", "rpc.grpc.status_code": 0}
    post = {
        "http.request.method": "POST",
        "url.full": "http://localhost:50001/shop.v1.Stock/Get",
        "http.response.status_code": 200,
    }
    shop = traces(
        span(CALL, number=1), span(grpc, kind=CLIENT, number=2, parent=1), span(post, kind=CLIENT, number=3, parent=2)
    )
    sidecar = traces(span(grpc, kind=CLIENT, number=4, parent=3), resource={"service.name": "shop-dapr"})
    stock = traces(
        span(grpc, number=5, parent=4),
        span({**CALL, "url.path": "/stock"}, number=6, parent=5),
        resource={"service.name": "stock"},
    )
    found = calls(shop, sidecar, stock)
    assert [call.hop for call in found if call.direction == "Incoming"] == ["entry", "inner"]


# Kong/kong #14381, elastic/apm-server #16446
def test_kongs_spans_of_its_balancer_are_no_calls() -> None:
    root = {
        "http.method": "GET",
        "http.url": "http://shop.example/orders/17",
        "http.host": "shop.example",
        "http.scheme": "http",
        "http.flavor": "1.1",
        "net.peer.ip": "203.0.113.7",
        "http.status_code": 200,
        "http.route": "/orders",
        "kong.request.id": "r1",
    }
    balancer = {"net.peer.ip": "10.0.0.7", "net.peer.port": 80, "net.peer.name": "orders", "try_count": 1}
    of_kong = ("kong-internal", span(balancer, kind=CLIENT, number=2, parent=1, name="kong.balancer"))
    (call,) = calls(of_scopes(("kong-internal", span(root, number=1, name="kong")), of_kong))
    assert (call.route, call.status, call.ip_address) == ("/orders/{id}", 200, "203.0.113.7")


# DataDog/kong-plugin-ddtrace #100, apache/apisix #8084: calls whose status nobody tells
def test_a_call_without_a_status_is_a_call_and_has_none() -> None:
    call = of_span({"http.request.method": "GET", "url.path": "/orders/17", "apisix.route_name": "orders"})
    assert (call.event_type, call.status, call.error_type) == (API_CALL, 0, "")
