"""Spans as public reports show them; each names its report. What was right already is here too, so that it stays so."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mapping.event import API_CALL, Event
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, mapped, span, traces

Said = dict[str, Any]
UNSPECIFIED = 0
ERROR = Status(code=Status.STATUS_CODE_ERROR)
CALL: Said = {"http.request.method": "GET", "url.path": "/orders/17", "http.response.status_code": 200}
MS = 1_000_000


def of_span(said: Said, kind: int = SERVER, **more: Any) -> Event:
    (event,) = mapped(traces(span(said, kind=kind, **more))).events
    return event


def calls(*requests: ExportTraceServiceRequest) -> list[Event]:
    whole = ExportTraceServiceRequest()
    for request in requests:
        whole.MergeFrom(request)
    return [event for event in mapped(whole).events if event.event_type == API_CALL]


def of_scopes(*spans: tuple[str, Span]) -> ExportTraceServiceRequest:
    """Spans of one resource, each with the name of its scope."""
    request = traces()
    del request.resource_spans[0].scope_spans[:]
    for scope, one in spans:
        of_scope = request.resource_spans[0].scope_spans.add()
        of_scope.scope.name = scope
        of_scope.spans.append(one)
    return request


def twin(number: int, begins_ms: int, ends_ms: int, said: Said, parent: int = 1) -> Span:
    return span(
        said,
        number=number,
        parent=parent,
        start_time_unix_nano=NOW + begins_ms * MS,
        end_time_unix_nano=NOW + ends_ms * MS,
    )


# UsefulSoftwareCo/executor #985; open-telemetry/opentelemetry-go-instrumentation #471
def test_two_frameworks_that_took_up_one_trace_beside_each_other_tell_of_one_call() -> None:
    outer, inner = twin(2, 0, 9, CALL), twin(3, 1, 8, {**CALL, "http.route": "/orders/:id", "user.id": "ann"})
    for pair in ((("worker", outer), ("effect", inner)), (("effect", inner), ("worker", outer))):
        (call,) = calls(of_scopes(*pair))
        assert (call.span_id, call.route, call.user_id) == (outer.span_id.hex(), "/orders/{id}", "ann")


@pytest.mark.parametrize(
    "other",
    [
        ("worker", twin(3, 1, 8, CALL)),  # the same scope: two calls at once
        ("effect", twin(3, 5, 12, CALL)),  # not within the other: tried again
        ("effect", twin(3, 1, 8, {**CALL, "url.path": "/orders/18"})),
        ("effect", twin(3, 1, 8, {**CALL, "http.response.status_code": 404})),
        ("effect", twin(3, 1, 8, CALL, parent=4)),
    ],
)
def test_calls_beside_each_other_are_two(other: tuple[str, Span]) -> None:
    assert len(calls(of_scopes(("worker", twin(2, 0, 9, CALL)), other))) == 2
    elsewhere = traces(other[1], resource={"service.name": "stock"})
    assert len(calls(of_scopes(("worker", twin(2, 0, 9, CALL))), elsewhere)) == 2


# DataDog/dd-trace-go #3369; open-telemetry/opentelemetry-collector-contrib #44722
def test_a_router_under_an_instrumented_server_of_datadog_is_the_same_call() -> None:
    said = {
        "span.type": "web",
        "datadog.span.id": "1",
        "http.request.method": "GET",
        "http.response.status_code": "500",
        "http.url": "http://shop.example/orders/17",
    }
    outer = span({**said, "component": "net/http", "dd.span.Resource": "GET"}, number=1, name="http.request")
    routed = {**said, "component": "go-chi/chi.v5", "http.route": "/orders/{id}"}
    (call,) = calls(traces(outer, span(routed, number=2, parent=1, name="http.request", status=ERROR)))
    assert (call.route, call.status, call.error_type, call.hop) == ("/orders/{id}", 500, "server", "entry")


# open-telemetry/opentelemetry-collector-contrib #36924
def test_spans_of_the_collectors_datadog_receiver_are_calls() -> None:
    said = {
        "dd.span.Resource": "GET /orders/{id}",
        "datadog.span.id": "1",
        "http.method": "GET",
        "http.status_code": "200",
        "http.url": "http://shop.example/orders/17",
        "http.useragent": "curl/8",
        "network.client.ip": "203.0.113.7",
        "http.route": "/orders/{id}",
        "peer.ipv4": "10.0.0.1",
    }
    handler = span({"component": "spring-web-controller"}, number=2, parent=1, name="spring.handler")
    (call,) = calls(traces(span(said, number=1, name="servlet.request"), handler))
    assert (call.route, call.status, call.ip_address, call.user_agent) == ("/orders/{id}", 200, "203.0.113.7", "curl/8")


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


WORKER: Said = {
    "cloud.provider": "cloudflare",
    "cloud.platform": "cloudflare.workers",
    "faas.name": "edge",
    "faas.invocation_id": "i1",
    "cloudflare.colo": "LHR",
}


# cloudflare/cloudflare-docs, Workers: spans and attributes
@pytest.mark.parametrize("kind", [SERVER, INTERNAL, UNSPECIFIED])
@pytest.mark.parametrize("sent_kind", [CLIENT, INTERNAL, UNSPECIFIED])
def test_a_workers_invocation_is_a_call_and_what_it_fetches_is_none_of_a_customer(kind: int, sent_kind: int) -> None:
    handler = {
        **WORKER,
        "faas.trigger": "http",
        "cloudflare.handler_type": "fetch",
        "cloudflare.outcome": "ok",
        "cloudflare.ray_id": "8f00",
        "http.request.method": "GET",
        "url.full": "https://shop.example/orders/17?a=1",
        "url.path": "/orders/17",
    }
    fetched = {
        **WORKER,
        "http.request.method": "GET",
        "url.full": "https://stock.example/items/17",
        "http.response.status_code": 200,
    }
    served, sent = calls(
        traces(span(handler, kind=kind, number=1), span(fetched, kind=sent_kind, number=2, parent=1, name="fetch"))
    )
    assert (served.direction, served.hop, served.error_type, served.request_id) == ("Incoming", "entry", "", "8f00")
    assert (sent.direction, sent.hop) == ("Outgoing" if sent_kind == CLIENT else "Internal", "inner")
    for outcome, bucket in (
        ("canceled", "cancelled"),
        ("responseStreamDisconnected", "cancelled"),
        ("exceededCpu", "server"),
    ):
        assert of_span({**handler, "cloudflare.outcome": outcome}, kind).error_type == bucket


# sveltejs/kit, runtime/server/respond.js
def test_sveltekits_root_span_is_a_call_of_its_own_or_lends_its_route() -> None:
    root = {
        "http.route": "/orders/[id]",
        "http.method": "GET",
        "http.url": "http://shop.example/orders/17?x=1",
        "sveltekit.is_data_request": False,
        "sveltekit.is_sub_request": False,
    }
    alone = of_span(root, INTERNAL, name="sveltekit.handle.root")
    assert (alone.direction, alone.hop, alone.route) == ("Incoming", "entry", "/orders/{id}")
    resolve = span({"http.route": "/orders/[id]"}, kind=INTERNAL, number=3, parent=2, name="sveltekit.resolve")
    below = span(root, kind=INTERNAL, number=2, parent=1, name="sveltekit.handle.root")
    (call,) = calls(traces(span({**CALL, "url.query": "x=1"}, number=1), below, resolve))
    assert (call.route, call.status) == ("/orders/{id}", 200)
    assert of_span({**root, "http.route": "unknown"}, INTERNAL).route == "/orders/{id}"


# swift-server/async-http-client #860
def test_a_call_that_was_made_to_nobody_knows_whom_is_not_one_of_the_service_itself() -> None:
    call = of_span({"http.request.method": "GET", "http.status_code": 200}, CLIENT, name="GET")
    assert (call.uri, call.flags, call.status) == ("http://unknown/", ("uri_host_guessed", "uri_from_route"), 200)


# apollographql/router, plugins/telemetry/span_factory.rs
@pytest.mark.parametrize("target", ["/graphql", "http://localhost:4000/graphql?x=1"])
def test_apollos_router_names_its_target_as_the_route(target: str) -> None:
    said = {"http.route": target, "http.request.method": "POST", "otel.status_code": "OK"}
    call = of_span(said, name="router")
    assert (call.event_type, call.route, call.uri) == (API_CALL, "/graphql", "http://shop/graphql")


# hapifhir/hapi-fhir #7790; open-telemetry/opentelemetry-java-instrumentation #8982, #5753;
# open-telemetry/opentelemetry-dotnet-contrib #1776; open-telemetry/semantic-conventions #2734; Kong/kong #14845;
# grafana/beyla #2167
@pytest.mark.parametrize(
    ("written", "path", "route"),
    [
        ("/*", "/fhir/Patient/123/_history/1", "/fhir/Patient/{id}/_history/{id}"),
        ("/DecisionService/ws/*", "/DecisionService/ws/1.0/x", "/DecisionService/ws/*"),
        ("/app/wsrest/userlogo/holding.png", "/app/wsrest/userlogo/holding.png", "/app/wsrest/userlogo/holding.png"),
        ("about_attr_route/{customerId}", "/about_attr_route/123", "/about_attr_route/{customerId}"),
        ("{controller}/{action}/{id?}", "/Home/Index/5", "/{controller}/{action}/{id}"),
        ("", "/orders/17", "/orders/{id}"),
        ("/users/*/books/*", "/users/7/books/9", "/users/*/books/*"),
        ("/**", "/users/7", "/users/{id}"),
    ],
)
def test_routes_of_reports(written: str, path: str, route: str) -> None:
    assert of_span({**CALL, "url.path": path, "http.route": written}, name=f"GET {written}").route == route


# open-telemetry/opentelemetry-lambda #831; open-telemetry/opentelemetry-dotnet-contrib #583
def test_functions_behind_a_gateway_are_calls() -> None:
    said = {
        "faas.trigger": "http",
        "faas.invocation_id": "i1",
        "http.method": "GET",
        "http.scheme": "https",
        "http.target": "/hello/ann?a=1",
        "net.host.name": "x.execute-api.eu-west-1.amazonaws.com",
        "http.status_code": 200,
    }
    call = of_span({**said, "http.route": "/hello/{name}"}, name="app.handler")
    assert (call.route, call.uri) == ("/hello/{name}", "https://x.execute-api.eu-west-1.amazonaws.com/hello/ann?a=1")
    assert of_span({**said, "net.host.port": 443}, name="f").uri == call.uri


# Azure/azure-functions-host #11929; open-telemetry/opentelemetry-specification #3213
def test_host_and_worker_of_an_azure_function_are_one_entry() -> None:
    said = {**CALL, "faas.trigger": "http", "faas.name": "Orders", "http.route": "api/orders/{id}"}
    doubled = span({**said, "url.path": "/api/orders/17"}, number=1)
    doubled.attributes.extend(one for one in list(doubled.attributes) if one.key == "faas.name")
    invoke = span({"faas.invocation_id": "i"}, kind=INTERNAL, number=2, parent=1, name="function Orders")
    worker = span({**CALL, "url.path": "/api/orders/17", "server.port": 39283}, number=3, parent=2)
    host, inner = calls(traces(doubled), traces(invoke, worker, resource={"service.name": "worker"}))
    assert (host.hop, host.route, inner.hop) == ("entry", "/api/orders/{id}", "inner")


# open-telemetry/opentelemetry-python-contrib #505, #2627
def test_messages_of_a_websocket_are_no_calls() -> None:
    opened = span(
        {"http.scheme": "ws", "http.url": "ws://shop.example/ws", "http.status_code": 101}, number=1, name="GET /ws"
    )
    sent = {"asgi.event.type": "websocket.send", "http.status_code": 200}
    (call,) = calls(traces(opened, span(sent, kind=INTERNAL, number=2, parent=1, name="GET /ws websocket send")))
    assert (call.verb, call.status, call.uri, call.error_type) == ("GET", 101, "ws://shop.example/ws", "")


# line/armeria, ktorio/ktor, eclipse-vertx: how servers tell that the caller has gone
@pytest.mark.parametrize(
    "name",
    [
        "com.linecorp.armeria.common.ClosedSessionException",
        "com.linecorp.armeria.common.stream.ClosedStreamException",
        "io.ktor.util.cio.ChannelWriteException",
        "io.ktor.utils.io.ClosedWriteChannelException",
        "io.vertx.core.http.HttpClosedException",
        "akka.http.impl.engine.server.PeerClosedException",
        "java.nio.channels.ClosedChannelException",
    ],
)
def test_a_server_whose_caller_has_gone_has_not_failed(name: str) -> None:
    said = {"http.request.method": "GET", "url.path": "/slow", "error.type": name}
    assert of_span(said, status=ERROR).error_type == "cancelled"
    assert of_span({**said, "url.full": "http://stock/slow"}, CLIENT, status=ERROR).error_type == "network"


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


# open-telemetry/opentelemetry-dotnet #3800, #3600; open-telemetry/opentelemetry-dotnet-contrib #1740
@pytest.mark.parametrize("scope", ["Microsoft.AspNetCore", "OpenTelemetry.Instrumentation.AspNetCore"])
def test_a_status_of_zero_of_aspnet_says_that_the_caller_had_gone(scope: str) -> None:
    said = {"http.method": "GET", "http.target": "/foo", "http.host": "shop.example", "http.status_code": 0}
    for status in (ERROR, Status()):
        (call,) = calls(of_scopes((scope, span(said, status=status))))
        assert (call.status, call.error_type) == (0, "cancelled")
    assert of_span(said, status=ERROR).error_type == "server"
    assert of_span(said).error_type == ""


# open-telemetry/semantic-conventions #2085; hatchet-dev/hatchet #4667; open-telemetry/opentelemetry-specification #677
def test_the_status_of_who_closed_the_request_is_nobodys_fault() -> None:
    assert of_span({**CALL, "http.response.status_code": 499}, status=ERROR).error_type == "cancelled"


# open-telemetry/opentelemetry-python-contrib #2551; open-telemetry/opentelemetry-js #2353
@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("https://::1/a?b=1", "https://[::1]/a?b=1"),
        ("https://::1:12345/a", "https://[::1]:12345/a"),
        ("http://::1:8080/", "http://[::1]:8080/"),
        ("https://2001:db8::7:8443/a", "https://[2001:db8::7]:8443/a"),
        ("https://2001:db8::7/a", "https://[2001:db8::7]/a"),
        ("https://2001:db8:0:0:0:0:0:7/a", "https://[2001:db8:0:0:0:0:0:7]/a"),
        ("https://2001:db8:0:0:0:0:0:7:8443/a", "https://[2001:db8:0:0:0:0:0:7]:8443/a"),
        ("https://[2001:db8::7]:8443/a", "https://[2001:db8::7]:8443/a"),
        ("https://ann:hunter2@shop.example:8443/a", "https://shop.example:8443/a"),
    ],
)
def test_an_ipv6_address_without_its_brackets_is_a_host(written: str, uri: str) -> None:
    assert of_span({"http.method": "GET", "http.url": written, "http.status_code": 200}, CLIENT).uri == uri


# open-telemetry/opentelemetry-java-instrumentation #15158, #19540
def test_half_an_ipv6_address_is_no_host() -> None:
    cut = {**CALL, "url.scheme": "http", "server.address": "[2001", "server.port": 8080}
    assert of_span(cut).uri == "http://unknown:8080/orders/17"
    assert of_span({**cut, "server.address": "2001:db8::1"}).uri == "http://[2001:db8::1]:8080/orders/17"


# RFC 9112 §3.2.2, RFC 9112 §3.2.4: nodejs/node's `request.url` of CONNECT, mswjs/interceptors #481, curl/curl #12820
@pytest.mark.parametrize("name", ["http.target", "url.path"])
@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("www.example.com:443", "https://www.example.com/"),
        ("www.example.com:8443", "http://www.example.com:8443/"),
        ("[2001:db8::7]:443", "https://[2001:db8::7]/"),
        ("http://www.example.com/a/17?b=1", "http://www.example.com/a/17?b=1"),
        ("localhost:8080", "http://localhost:8080/"),
        ("orders:17", "http://proxy.example/orders:17"),
        ("*", "http://proxy.example/*"),
        ("/www.example.com:443", "http://proxy.example/www.example.com:443"),
    ],
)
def test_targets_in_every_form(name: str, target: str, uri: str) -> None:
    said = {"http.request.method": "GET", "http.response.status_code": 200, "server.address": "proxy.example"}
    assert of_span({**said, name: target}).uri == uri


# open-telemetry/opentelemetry-collector-contrib #44671
def test_datadogs_spans_of_grpc_name_their_method_and_status() -> None:
    said = {"component": "google.golang.org/grpc", "datadog.span.id": "1", "grpc.method.name": "/shop.v1.Orders/Get"}
    for kind in (SERVER, CLIENT):
        event = of_span({**said, "grpc.code": "NotFound", "grpc.method.kind": "unary"}, kind, name="grpc.server")
        assert (event.family, event.action_name, event.error_type) == ("rpc", "shop.v1.Orders/Get", "not_found")
        assert of_span({**said, "grpc.code": "OK"}, kind, name="grpc.server").error_type == ""


# open-telemetry/opentelemetry-collector-contrib, receiver/awsxrayreceiver/internal/translator
def test_a_segment_of_xray_is_a_call() -> None:
    said = {
        "http.method": "GET",
        "http.client_ip": "203.0.113.7",
        "http.user_agent": "curl/8",
        "http.url": "https://shop.example/orders/17?a=1",
        "aws.xray.x_forwarded_for": True,
        "http.status_code": 200,
        "enduser.id": "ann",
    }
    call = of_span(said, parent=9)
    assert (call.direction, call.user_id, call.ip_address, call.route) == (
        "Incoming",
        "ann",
        "203.0.113.7",
        "/orders/{id}",
    )


# Spans made by hand and by translators that lose the kind, as davidB/tracing-opentelemetry-instrumentation-sdk #13
@pytest.mark.parametrize("kind", [UNSPECIFIED, INTERNAL])
@pytest.mark.parametrize(
    ("told", "value"),
    [("http.route", "/orders/:id"), ("client.address", "203.0.113.7"), ("http.client_ip", "203.0.113.7")],
)
def test_a_span_without_its_kind_that_only_a_server_can_tell_is_a_call(kind: int, told: str, value: str) -> None:
    call = of_span({**CALL, told: value}, kind)
    assert (call.direction, call.hop, call.route[:8]) == ("Incoming", "entry", "/orders/")
    assert of_span(CALL, kind).direction == "Internal"
    below = span({**CALL, told: value}, kind=kind, number=2, parent=1)
    assert len(calls(traces(span(CALL, number=1), below))) == 1


# go-kratos/kratos, middleware/tracing: run, see tests/testdata/captures/README.md
def test_kratos_tells_the_status_of_what_failed() -> None:
    said = {
        "http.method": "GET",
        "http.route": "/orders/{id}",
        "http.target": "/orders/999",
        "rpc.system": "http",
        "rpc.service": "shop.v1.Shop",
        "rpc.method": "One",
        "net.peer.ip": "127.0.0.1",
        "rpc.status_code": 404,
    }
    call = of_span(said, status=ERROR)
    assert (call.status, call.error_type, call.route) == (404, "not_found", "/orders/{id}")


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


# denoland/deno #29615, micronaut-projects/micronaut-tracing #709;
# open-telemetry/opentelemetry-ebpf-instrumentation #3067
def test_what_a_client_saw_is_sorted_by_its_status_or_name() -> None:
    sent = {"http.request.method": "GET", "url.full": "http://stock/x/17"}
    assert of_span({**sent, "http.response.status_code": 404}, CLIENT, status=ERROR).error_type == "not_found"
    assert of_span({**sent, "http.response.status_code": 499}, CLIENT, status=ERROR).error_type == "cancelled"
    named = {**sent, "error.type": "io.micronaut.http.client.exceptions.HttpClientResponseException"}
    assert of_span(named, CLIENT, status=ERROR).error_type == "server"


# grafana/beyla #2800
def test_what_ebpf_says_of_a_calls_time_in_the_queue_is_no_call() -> None:
    within = [
        span({}, kind=INTERNAL, number=at, parent=1, name=name) for at, name in ((2, "in queue"), (3, "processing"))
    ]
    (call,) = calls(traces(span({**CALL, "http.route": "/**"}, number=1), *within))
    assert (call.hop, call.route) == ("entry", "/orders/{id}")


LAMBDA: Said = {
    "cloud.resource_id": "arn:aws:lambda:eu-west-1:123456789012:function:shop",
    "faas.invocation_id": "r-1",
    "faas.trigger": "http",
    "http.method": "GET",
    "http.scheme": "https",
    "net.host.name": "x.execute-api.eu-west-1.amazonaws.com",
    "http.status_code": 200,
}


# FastAPI behind Mangum under opentelemetry-instrumentation-aws-lambda 0.66, as it was run; the gateway's two formats
@pytest.mark.parametrize("kind", [SERVER, INTERNAL])
@pytest.mark.parametrize(
    "told",
    [
        {"http.route": "/{proxy+}", "http.target": "/{proxy+}"},
        {"http.route": "/customers/{id}/orders", "http.target": "/customers/{id}/orders"},
        {"http.route": "/customers/ann/orders", "http.target": "/customers/ann/orders?a=1"},
    ],
)
def test_a_framework_within_a_function_tells_the_path_the_route_and_the_caller(kind: int, told: Said) -> None:
    framework = {
        "http.method": "GET",
        "http.url": "https://x.execute-api.eu-west-1.amazonaws.com/customers/ann/orders?a=1",
        "http.route": "/customers/{cid}/orders",
        "net.peer.ip": "203.0.113.7",
        "http.status_code": 200,
    }
    outer, inner = span({**LAMBDA, **told}, number=1, name="shop"), span(framework, kind=kind, number=2, parent=1)
    for pair in ((outer, inner), (inner, outer)):
        (call,) = calls(traces(*pair))
        assert (call.hop, call.span_id) == ("entry", outer.span_id.hex())
        assert call.uri == "https://x.execute-api.eu-west-1.amazonaws.com/customers/ann/orders?a=1"
        named = "/customers/{id}/orders" if "{id}" in told["http.route"] else "/customers/{cid}/orders"
        assert (call.route, call.ip_address) == (named, "203.0.113.7")


def test_a_function_whose_framework_knows_no_route_has_its_path() -> None:
    outer = span({**LAMBDA, "http.route": "/{proxy+}", "http.target": "/{proxy+}", "http.status_code": 404}, number=1)
    silent = {"http.method": "GET", "http.target": "/nothing/5", "http.status_code": 404}
    entry, *_ = calls(traces(outer, span(silent, kind=INTERNAL, number=2, parent=1)))
    assert entry.uri == "https://x.execute-api.eu-west-1.amazonaws.com/nothing/5"
    assert of_span({**LAMBDA, "http.route": "/orders/{id}", "http.target": "/orders/{id}"}).route == "/orders/{id}"
    other = {"http.method": "GET", "http.target": "/users/5", "http.status_code": 200}
    kept, *_ = calls(traces(span({**LAMBDA, "http.target": "/orders/{id}"}, number=1), span(other, number=2, parent=1)))
    assert kept.uri.endswith("/orders/{id}")


# baserow/baserow #5802: the framework's own span had the user, not the server's
def test_the_user_that_a_span_within_names_is_the_calls() -> None:
    named = span({"user.id": "7"}, kind=INTERNAL, number=2, parent=1, name="DRF.initial")
    for pair in ((span(CALL, number=1), named), (named, span(CALL, number=1))):
        (call,) = calls(traces(*pair))
        assert call.user_id == "7"


# open-telemetry/opentelemetry-js-contrib #1947, #1993, #2678, #2680; jenkinsci/opentelemetry-plugin #1210
@pytest.mark.parametrize(
    ("written", "path", "route"),
    [
        ("/", "/api/users/17", "/api/users/{id}"),
        ("/api", "/api/users/17", "/api/users/{id}"),
        ("/users", "/api/users/17", "/api/users/{id}"),
        ("/job/:jobFullName/*", "/job/a/job/b/12/console", "/job/{jobFullName}/*"),
    ],
)
def test_where_a_router_is_mounted_is_no_route(written: str, path: str, route: str) -> None:
    assert of_span({**CALL, "url.path": path, "http.route": written}, name=f"GET {written}").route == route


# vercel/next.js #96752, #54694
@pytest.mark.parametrize(
    ("written", "target", "route"),
    [
        ("/blog/[slug]/page", "/blog/my-post?x=1", "/blog/{slug}"),
        ("/blog/[slug]", "/blog/my-post?_rsc=1x", "/blog/{slug}"),
        ("/(shop)/orders/[id]/route", "/orders/ann", "/orders/{id}"),
        ("/dash/@team/[id]/page", "/dash/ann", "/dash/{id}"),
        ("/docs/[[...slug]]/page", "/docs", "/docs/{slug}"),
    ],
)
def test_routes_of_nextjs_are_without_its_files(written: str, target: str, route: str) -> None:
    said = {"next.span_type": "BaseServer.handleRequest", "http.method": "GET", "http.status_code": 200}
    assert of_span({**said, "http.target": target, "http.route": written}, name=f"GET {written}").route == route
    stage = {"next.span_type": "AppRouteRouteHandlers.runHandler", "next.route": written}
    (call,) = calls(
        traces(span({**said, "http.target": target}, number=1), span(stage, kind=INTERNAL, number=2, parent=1))
    )
    assert call.route == route
