"""HTTP spans after the OpenTelemetry semantic conventions: an aiohttp server, and calls to another service.

An application would take `opentelemetry-instrumentation-aiohttp-server` and `-client`; the shop writes the
same attributes itself, so that the demo needs nothing that the bridge does not need.
Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web
from opentelemetry import baggage, context, trace
from opentelemetry.semconv.attributes import (
    client_attributes,
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from weighbridge.demo.telemetry import PROPAGATOR, Telemetry

REQUEST_HEADERS = (
    "authorization",
    "content-type",
    "host",
    "idempotency-key",
    "x-forwarded-for",
    "x-request-id",
)
RESPONSE_HEADERS = (
    "content-type",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-request-id",
)
IDENTITY = ("user.id", "company.id", "plan")  # copied from baggage to spans, as a BaggageSpanProcessor does

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def server_spans(telemetry: Telemetry) -> Any:
    """aiohttp middleware: a SERVER span and an access log line for every request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        token = context.attach(PROPAGATOR.extract(request.headers))
        started = time.monotonic()
        route = _route(request)
        try:
            with telemetry.tracer.start_as_current_span(
                f"{request.method} {route}".strip(),
                kind=SpanKind.SERVER,
                attributes=_request_attributes(request, route),
                set_status_on_exception=False,
            ) as span:
                if request.can_read_body:
                    span.set_attribute("http.request.body.content", await request.text())
                response = await _respond(telemetry, request, handler, span)
                _describe_response(span, response)
                telemetry.served += 1
                telemetry.log.info(
                    "request",
                    extra={
                        "fields": {
                            "method": request.method,
                            "path": request.path,
                            "route": route,
                            "status": response.status,
                            "duration_ms": round((time.monotonic() - started) * 1000, 2),
                            "remote_addr": request.headers.get("X-Forwarded-For", request.remote),
                        }
                    },
                )
                return response
        finally:
            context.detach(token)

    return middleware


async def call(
    telemetry: Telemetry, session: ClientSession, method: str, url: str, *, json: object, timeout_s: float
) -> tuple[int, dict[str, Any]]:
    """Status and JSON answer of another service; a CLIENT span around it, trace and baggage in the headers.

    Raises TimeoutError after timeout_s, ClientError when nobody answers: the span then has no status code.
    """
    with telemetry.tracer.start_as_current_span(method, kind=SpanKind.CLIENT) as span:
        span.set_attributes({http_attributes.HTTP_REQUEST_METHOD: method, url_attributes.URL_FULL: url})
        headers: dict[str, str] = {}
        PROPAGATOR.inject(headers)
        try:
            async with session.request(
                method, url, json=json, headers=headers, timeout=ClientTimeout(total=timeout_s)
            ) as response:
                span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, response.status)
                span.set_attribute(server_attributes.SERVER_ADDRESS, response.url.host or "")
                span.set_attribute(server_attributes.SERVER_PORT, response.url.port or 0)
                if response.status >= 400:  # an error for the one who asked, whoever is at fault
                    span.set_attribute(error_attributes.ERROR_TYPE, str(response.status))
                    span.set_status(Status(StatusCode.ERROR))
                return response.status, await response.json()
        except Exception as error:
            span.set_attribute(error_attributes.ERROR_TYPE, type(error).__name__)
            raise


def _route(request: web.Request) -> str:
    """The template of the path, "" when no route matched."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _request_attributes(request: web.Request, route: str) -> dict[str, str | int | list[str]]:
    attributes: dict[str, str | int | list[str]] = {
        http_attributes.HTTP_REQUEST_METHOD: request.method,
        url_attributes.URL_SCHEME: request.scheme,
        url_attributes.URL_PATH: request.path,
        server_attributes.SERVER_ADDRESS: request.url.host or "",
        server_attributes.SERVER_PORT: request.url.port or 0,
        client_attributes.CLIENT_ADDRESS: request.remote or "",
        user_agent_attributes.USER_AGENT_ORIGINAL: request.headers.get("User-Agent", ""),
    }
    if route:
        attributes[http_attributes.HTTP_ROUTE] = route
    if request.query_string:
        attributes[url_attributes.URL_QUERY] = request.query_string
    for name in REQUEST_HEADERS:
        if name in request.headers:
            attributes[f"http.request.header.{name}"] = [request.headers[name]]
    for key in IDENTITY:
        value = baggage.get_baggage(key)
        if isinstance(value, str):
            attributes[key] = value
    return attributes


async def _respond(telemetry: Telemetry, request: web.Request, handler: Handler, span: Span) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        return web.json_response({"error": refusal.reason}, status=refusal.status)
    except Exception as error:
        span.record_exception(error)
        span.set_attribute(error_attributes.ERROR_TYPE, type(error).__name__)
        telemetry.log.exception("unhandled error", extra={"fields": {"path": request.path}})
        return web.json_response({"error": "internal error"}, status=500)


def _describe_response(span: Span, response: web.StreamResponse) -> None:
    span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, response.status)
    if response.status >= 500:  # 4xx leaves the status of a SERVER span unset
        span.set_status(Status(StatusCode.ERROR))
    for name in RESPONSE_HEADERS:
        if name in response.headers:
            span.set_attribute(f"http.response.header.{name}", [response.headers[name]])
    if isinstance(response, web.Response) and response.status >= 400 and response.text:
        span.set_attribute("http.response.body.content", response.text)
    response.headers["X-Trace-Id"] = trace.format_trace_id(span.get_span_context().trace_id)
