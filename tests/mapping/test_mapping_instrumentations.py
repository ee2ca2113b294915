"""What real instrumentations send, reproduced attribute by attribute; each test names the version that sent it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mapping_requests import CLIENT, INTERNAL, SERVER, key_values, mapped, one, span, traces

NODE_HTTP = {
    "http.request.method": "GET",
    "url.scheme": "http",
    "server.address": "shop.example",
    "server.port": 80,
    "url.path": "/orders/17",
    "url.query": "expand=lines",
    "client.address": "203.0.113.7",
    "http.response.status_code": 200,
    "http.route": "/orders/:id",
}


@pytest.mark.parametrize("status", [200, 404])
def test_falcon_and_django_0_66_under_wsgiref_send_no_path_and_none_is_made_up(status: int) -> None:
    """New conventions: no url.path, and no http.route where nothing matched (or Django's route is empty)."""
    sent: dict[str, Any] = {
        "http.request.method": "GET",
        "url.scheme": "http",
        "server.address": "shop.example",
        "server.port": 8000,
        "client.address": "127.0.0.1",
        "http.response.status_code": status,
        "http.request.header.host": ["shop.example"],
    }
    event = one(sent, name="GET")
    assert (event.uri, event.route, event.flags) == ("http://shop.example/", "", ("uri_from_route",))
    matched = one({**sent, "http.route": "orders/<int:oid>"}, name="GET orders/<int:oid>")
    assert (matched.uri, matched.route) == ("http://shop.example/orders/{oid}", "/orders/{oid}")
    assert matched.flags == ("uri_from_route",)


def test_tornado_0_66_names_a_handler_by_its_format_string() -> None:
    """No http.route; the name holds the reverse pattern of the rule, and url.full is only a target."""
    sent = {
        "http.request.method": "GET",
        "url.scheme": "http",
        "server.address": "shop.example",
        "url.path": "/files/a%20b/5",
        "url.full": "/files/a%20b/5",
        "client.address": "127.0.0.1",
        "tornado.handler": "app.Files",
        "http.response.status_code": 200,
    }
    event = one(sent, name="GET /files/%s/%s")
    assert (event.route, event.uri) == ("/files/{param}/{param}", "http://shop.example/files/a%20b/5")
    assert one(sent, name="GET /files/{a}/{b}").route == "/files/{a}/{b}"


def test_a_call_of_fastify_otel_0_21_is_counted_once() -> None:
    """Its INTERNAL `request` span repeats method, path and status of the HTTP server's span."""
    request = {
        "fastify.root": "@fastify/otel",
        "http.request.method": "GET",
        "url.path": "/orders/17?expand=lines",
        "http.route": "/orders/:id",
        "http.response.status_code": 200,
    }
    handler = {"fastify.type": "request-handler", "http.route": "/orders/:id", "user.id": "u-7"}
    result = mapped(
        traces(
            span(handler, kind=INTERNAL, name="handler - fastify", number=3, parent=2),
            span(request, kind=INTERNAL, name="request", number=2, parent=1),
            span(NODE_HTTP, name="GET /orders/:id"),
        )
    )
    assert [(e.direction, e.route, e.user_id) for e in result.events] == [("Incoming", "/orders/{id}", "u-7")]
    assert result.skipped == 2


def test_fastify_otel_0_21_without_http_instrumentation_is_the_server() -> None:
    """Then its `request` span is SERVER and the only one of the call."""
    sent = {"fastify.root": "@fastify/otel", "http.request.method": "GET", "url.path": "/orders/17"}
    event = one({**sent, "http.response.status_code": 200}, kind=SERVER, name="request")
    assert (event.event_type, event.direction, event.route) == ("api_call", "Incoming", "/orders/{id}")


def test_a_call_of_nestjs_core_0_70_is_counted_once() -> None:
    """Its INTERNAL `request_context` span has a method and a URL, which alone would make it a call."""
    controller = {
        "component": "@nestjs/core",
        "nestjs.version": "11.2.10",
        "nestjs.type": "request_context",
        "nestjs.controller": "Orders",
        "nestjs.callback": "get",
        "http.route": "/orders/:id",
        "http.request.method": "GET",
        "url.full": "/orders/17?expand=lines",
    }
    handler = {"component": "@nestjs/core", "nestjs.type": "handler", "nestjs.callback": "get", "user.id": "u-7"}
    result = mapped(
        traces(
            span(handler, kind=INTERNAL, name="get", number=3, parent=2),
            span(controller, kind=INTERNAL, name="Orders.get", number=2, parent=1),
            span(NODE_HTTP, name="GET /orders/:id"),
        )
    )
    assert [(e.direction, e.uri, e.user_id) for e in result.events] == [
        ("Incoming", "http://shop.example/orders/17?expand=lines", "u-7")
    ]
    assert result.skipped == 2


@pytest.mark.parametrize(
    ("status", "error_type"), [(404, "not_found"), (400, "validation"), (503, "upstream"), (None, "server")]
)
def test_botocore_0_66_errors_are_sorted_by_the_status_of_the_answer(status: int | None, error_type: str) -> None:
    """The span is an rpc action; a status proves that the network was not to blame."""
    sent = {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": "GetObject",
        "cloud.region": "eu-west-1",
        "server.address": "s3.example",
        "server.port": 443,
        "aws.request_id": "J67Bbg2q6dhh",
        "retry_attempts": 0,
        "http.status_code": status,
    }
    event = one(
        sent,
        kind=CLIENT,
        name="S3.GetObject",
        status=Status(code=Status.STATUS_CODE_ERROR),
        events=[Span.Event(name="exception", attributes=key_values({"exception.type": "botocore.ClientError"}))],
    )
    assert (event.family, event.action_name, event.error_type) == ("rpc", "S3/GetObject", error_type)
