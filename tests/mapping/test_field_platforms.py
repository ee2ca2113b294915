"""Spans of clouds, functions, agents and translators in public reports, and what they must become."""

from __future__ import annotations

import pytest

from mapping_requests import CLIENT, INTERNAL, SERVER, span, traces
from span_reports import CALL, UNSPECIFIED, Said, calls, of_span


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
