"""Spans of frameworks, clients and languages in public reports, each names its report, and what they must become."""

from __future__ import annotations

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mapping_requests import CLIENT, INTERNAL, NOW, span, traces
from span_reports import CALL, UNSPECIFIED, Said, calls, of_scopes, of_span

ERROR = Status(code=Status.STATUS_CODE_ERROR)


MS = 1_000_000


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


# denoland/deno #29615, micronaut-projects/micronaut-tracing #709;
# open-telemetry/opentelemetry-ebpf-instrumentation #3067
def test_what_a_client_saw_is_sorted_by_its_status_or_name() -> None:
    sent = {"http.request.method": "GET", "url.full": "http://stock/x/17"}
    assert of_span({**sent, "http.response.status_code": 404}, CLIENT, status=ERROR).error_type == "not_found"
    assert of_span({**sent, "http.response.status_code": 499}, CLIENT, status=ERROR).error_type == "cancelled"
    named = {**sent, "error.type": "io.micronaut.http.client.exceptions.HttpClientResponseException"}
    assert of_span(named, CLIENT, status=ERROR).error_type == "server"


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
