"""Access lines of servers, proxies and loggers as their sources write them: JSON, text and `key=value` pairs."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from mapping.dialects import logfmt
from mapping.dialects.lines import LONGEST_LINE, Lines
from mapping.dialects.table import builtin
from mapping.event import API_CALL, LOG, Event
from mapping_requests import log, logs, mapped, span, traces

TRACE = "0af7651916cd43dd8448eb211c80319c"
HOST = "http://api.example.com"
ASKED = "/v1/items/7?x=1"


def of_line(line: str | dict[str, Any], resource: dict[str, Any] | None = None) -> Event:
    text = line if isinstance(line, str) else orjson.dumps(line).decode()
    (event,) = mapped(logs(log(text), resource=resource)).events
    return event


# The line, and what it tells beside GET /v1/items/7 with status 200, by fields of the event.
LINES: dict[str, tuple[str | dict[str, Any], dict[str, Any]]] = {
    "Heroku's router": (
        'at=info method=GET path="/v1/items/7?x=1" host=api.example.com request_id=8601b555-6a83-4c12 '
        'fwd="203.0.113.7" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 tls_version=tls1.3 protocol=https',
        {"uri": f"https://api.example.com{ASKED}", "duration_ms": 18.0, "ip_address": "203.0.113.7"},
    ),
    "lograge": (
        "method=GET path=/v1/items/7 format=json controller=ItemsController action=show status=200 duration=18.20 "
        "view=1.20 db=3.40",
        {"duration_ms": 18.2, "ip_address": ""},
    ),
    "slog's text": (
        'time=2026-11-29T06:00:00.000Z level=WARN msg="request \\"done\\"" method=GET path=/v1/items/7 status=200 '
        f"duration=18.2ms user_id=ann trace_id={TRACE} span_id=b7ad6b7169203331",
        {"duration_ms": 18.2, "user_id": "ann", "trace_id": TRACE, "severity_number": 13},
    ),
    "Istio's proxies": (
        f'[2026-11-29T06:00:00.000Z] "GET {ASKED} HTTP/1.1" 200 - via_upstream - "-" 0 13 18 17 "203.0.113.7" "curl/8" '
        '"b8c8f-1" "api.example.com" "10.0.0.2:80" inbound|80|| 127.0.0.6:1 10.0.0.2:80 203.0.113.7:0 default',
        {"uri": f"{HOST}{ASKED}", "duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    "Envoy": (
        f'[2026-11-29T06:00:00.000Z] "GET {ASKED} HTTP/2" 200 - 0 13 18 17 "203.0.113.7" "curl/8" "b8c8f-1" '
        '"api.example.com" "10.0.0.2:80"',
        {"uri": f"{HOST}{ASKED}", "duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    "HAProxy": (
        "haproxy[14389]: 203.0.113.7:33317 [29/Nov/2026:06:00:00.655] http-in static/srv1 10/0/30/69/109 200 2750 - - "
        '---- 1/1/1/1/0 0/0 {api.example.com|curl/8} {} "GET /v1/items/7 HTTP/1.1"',
        {"duration_ms": 109.0, "ip_address": "203.0.113.7"},
    ),
    "HAProxy without captures": (
        "203.0.113.7:33317 [29/Nov/2026:06:00:00.655] http-in~ be/srv1 0/0/30/69/+109 200 2750 - - ---- 1/1/1/1/0 0/0 "
        '"GET /v1/items/7 HTTP/1.1"',
        {"ip_address": "203.0.113.7"},
    ),
    "Uvicorn": (f'203.0.113.7:52144 - "GET {ASKED} HTTP/1.1" 200 OK', {"ip_address": "203.0.113.7"}),
    "Uvicorn on its own": (
        f'INFO:     203.0.113.7:52144 - "GET {ASKED} HTTP/1.1" 200 OK',
        {"ip_address": "203.0.113.7"},
    ),
    "Vert.x": (
        '203.0.113.7 - - [Sun, 29 Nov 2026 06:00:00 GMT] "GET /v1/items/7 HTTP/1.1" 200 13 "-" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    "Gin": (
        '[GIN] 2026/11/29 - 06:00:00 | 200 |     18.2ms |     203.0.113.7 | GET      "/v1/items/7"',
        {"duration_ms": 18.2, "ip_address": "203.0.113.7"},
    ),
    "morgan dev": ("GET /v1/items/7 200 18.205 ms - 13", {"duration_ms": 18.205}),
    "morgan dev in colours": (
        "\x1b[0mGET /v1/items/7 \x1b[32m200\x1b[0m 18.205 ms - 13\x1b[0m",
        {"duration_ms": 18.205},
    ),
    "morgan tiny": ("GET /v1/items/7 200 13 - 18.205 ms", {"duration_ms": 18.205}),
    "Linkerd": (
        {"client.addr": "10.244.0.1:36412", "host": "api.example.com", "method": "GET", "processing_ns": "192382",
         "status": 200, "timestamp": "2026-11-29T06:00:00.000Z", "total_ns": "1918382", "trace_id": TRACE,
         "uri": f"{HOST}{ASKED}", "user_agent": "curl/8", "version": "HTTP/2.0"},
        {"uri": f"{HOST}{ASKED}", "duration_ms": pytest.approx(1.918382), "ip_address": "10.244.0.1"},
    ),
    "Skipper": (
        {"audit": "", "auth-user": "ann", "duration": 18, "flow-id": "", "host": "203.0.113.7", "method": "GET",
         "requested-host": "api.example.com", "response-size": 13, "status": 200, "uri": ASKED, "user-agent": "curl/8"},
        {"uri": f"{HOST}{ASKED}", "duration_ms": 18.0, "user_id": "ann", "ip_address": "203.0.113.7"},
    ),
    "Ory": (
        {"http_request": {"headers": {"user-agent": "curl/8", "x-forwarded-for": "203.0.113.7"}, "method": "GET",
                          "host": "api.example.com", "path": "/v1/items/7", "remote": "10.0.0.1:5", "scheme": "http"},
         "http_response": {"status": 200, "text_status": "OK", "took": 1823000}, "msg": "completed handling request"},
        {"uri": f"{HOST}/v1/items/7", "duration_ms": 1.823, "ip_address": "203.0.113.7"},
    ),
    "Akamai": (
        {"version": "2", "reqTimeSec": "1795193699.993", "cliIP": "203.0.113.7", "statusCode": "200", "proto": "HTTPS",
         "reqHost": "api.example.com", "reqMethod": "GET", "reqPath": "v1/items/7", "queryStr": "x=1", "UA": "curl",
         "turnAroundTimeMSec": "11"},
        {"uri": f"https://api.example.com{ASKED}", "duration_ms": 11.0, "ip_address": "203.0.113.7"},
    ),
    "Netlify": (
        {"log_type": "traffic", "client_ip": "203.0.113.7", "duration": 10, "method": "GET", "site_id": "s",
         "status_code": 200, "url": f"{HOST}{ASKED}", "user_agent": "curl/8"},
        {"uri": f"{HOST}{ASKED}", "duration_ms": 10.0, "ip_address": "203.0.113.7"},
    ),
    "Rails Semantic Logger": (
        {"host": "pod-1", "application": "Shop", "level": "info", "level_index": 2, "duration_ms": 18.2,
         "duration": "18.2ms", "name": "ItemsController", "message": "Completed #show",
         "payload": {"controller": "ItemsController", "method": "GET", "path": "/v1/items/7", "status": 200}},
        {"uri": "http://shop/v1/items/7", "duration_ms": 18.2},
    ),
    "LoggerJSON": (
        {"time": "2026-11-29T06:00:00.000Z", "severity": "info", "message": "GET /v1/items/7 [Sent 200 in 18ms]",
         "metadata": {"duration_us": 18200}, "span": "b7ad6b7169203331", "trace": TRACE,
         "request": {"connection": {"protocol": "HTTP/1.1", "method": "GET", "path": "/v1/items/7", "status": 200},
                     "client": {"user_agent": "curl/8", "ip": "203.0.113.7"}}},
        {"duration_ms": 18.2, "ip_address": "203.0.113.7", "trace_id": TRACE},
    ),
    "django-structlog": (
        {"code": 200, "request": f"GET {ASKED}", "event": "request_finished", "ip": "203.0.113.7", "user_id": 7},
        {"user_id": "7", "ip_address": "203.0.113.7"},
    ),
    "Hasura": (
        {"type": "http-log", "level": "info", "detail": {
            "operation": {"user_vars": {"x-hasura-user-id": "ann"}, "query_execution_time": 0.0182},
            "http_info": {"status": 200, "url": "/v1/items/7", "ip": "203.0.113.7", "method": "GET"}}},
        {"user_id": "ann", "duration_ms": 18.2, "ip_address": "203.0.113.7"},
    ),
    "ginzap": (
        {"level": "info", "ts": 1795193699.99, "msg": "/v1/items/7", "status": 200, "method": "GET",
         "ip": "203.0.113.7", "path": "/v1/items/7", "query": "x=1", "user-agent": "curl/8", "latency": 0.0182},
        {"duration_ms": 18.2, "user_agent": "curl/8"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", LINES)
def test_a_line_is_the_call_that_it_tells(system: str) -> None:
    line, wanted = LINES[system]
    event = of_line(line)
    assert (event.event_type, event.verb, event.route, event.status) == (API_CALL, "GET", "/v1/items/{id}", 200)
    assert {field: getattr(event, field) for field in wanted} == wanted


def test_the_routers_own_errors_and_calls_that_were_given_up_are_calls() -> None:
    timeout = of_line(
        'at=error code=H12 desc="Request timeout" method=GET path="/v1/items/7" host=api.example.com request_id=1 '
        'fwd="203.0.113.7" dyno=web.1 connect=6ms service=30001ms status=503 bytes=0 protocol=https'
    )
    assert (timeout.status, timeout.error_type, timeout.duration_ms) == (503, "upstream", 30001.0)
    gone = of_line(
        '[2026-11-29T06:00:00.000Z] "GET /v1/items/7 HTTP/1.1" 0 DC downstream_remote_disconnect - "-" 0 0 18 - "-" '
        '"curl/8" "b8c8f-1" "api.example.com" "10.0.0.2:80"'
    )
    assert (gone.event_type, gone.status, gone.error_type) == (API_CALL, 0, "cancelled")


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/items failed",
        "GET /v1/items/7 200 times",
        "POST your answers - 200 ms - later",
        "[GIN-debug] GET    /v1/items/:id             --> main.show (3 handlers)",
        'he said "GET /v1/items/7 HTTP/1.1" and meant it',
        '"GET /v1/items/7 HTTP/1.1"',
        "x=1 is what we have",
        "a=b",
        'level=info msg="no end',
        "http://host/?a=b&c=d e=f",
    ],
)
def test_prose_and_half_lines_are_no_calls(line: str) -> None:
    event = of_line(line)
    assert (event.event_type, event.body, event.severity_number) == (LOG, line, 0)


def test_pairs_tell_level_and_trace_of_a_line_that_is_no_call() -> None:
    line = f'time="2026-11-29T06:00:00Z" level=error msg="cannot reach the store" trace_id={TRACE} user_id=ann'
    event = of_line(line)
    assert (event.event_type, event.body, event.trace_id) == (LOG, line, TRACE)
    assert (event.severity_number, event.user_id) == (17, "ann")


@pytest.mark.parametrize(
    ("line", "trace_id"),
    [
        (f"2026-11-29 06:00:00.288  INFO [shop,{TRACE},b7ad6b7169203331] 1 --- [nio-1] c.Shop : accepted", TRACE),
        (f"2026-11-29 06:00:00.288  INFO [shop,{TRACE},b7ad6b7169203331,true] 1 --- [nio-1] c.Shop : x", TRACE),
        (f"2026-11-29T06:00:00Z INFO 1 --- [shop] [  main] [{TRACE}-b7ad6b7169203331] c.Shop : accepted", TRACE),
        ("INFO [shop,492f43711ab74338,b7ad6b7169203331,true] 1 --- c.Shop : accepted", f"{'0' * 16}492f43711ab74338"),
        ("INFO [shop,,] 1 --- [main] c.Shop : accepted", ""),
        (f"commit [{TRACE}] of b7ad6b7169203331 is in", ""),
        ("uuid [0af76519-16cd-43dd-8448-eb211c80319c] done", ""),
    ],
)
def test_springs_text_lines_tell_their_trace_and_span(line: str, trace_id: str) -> None:
    event = of_line(line)
    assert (event.event_type, event.body, event.trace_id) == (LOG, line, trace_id)
    assert event.span_id == ("b7ad6b7169203331" if trace_id else "")


def test_what_pairs_say_is_masked_as_anything_else() -> None:
    event = of_line(
        "method=GET path=/v1/items/7?token=hunter2fake status=200 password=hunter2fake authorization=hunter2fake"
    )
    assert event.event_type == API_CALL
    assert "hunter2fake" not in repr(event)


def test_lines_beside_spans_of_an_sdk_are_no_calls() -> None:
    for system in ("lograge", "Gin", "HAProxy", "morgan dev"):
        assert of_line(LINES[system][0], {"telemetry.sdk.name": "opentelemetry"}).event_type == LOG


def test_pairs_are_bounded_and_read_in_linear_time() -> None:
    assert logfmt.read(" ".join(f"k{n}=v" for n in range(logfmt.MOST_PAIRS))) is not None
    assert logfmt.read(" ".join(f"k{n}=v" for n in range(logfmt.MOST_PAIRS + 1))) is None
    assert logfmt.read('a="x b=c d=1') is None
    assert logfmt.read('a="say \\"hi\\"\\n" b=1 a=2 c=""') == {"a": 'say "hi"\n', "b": "1"}
    lines = Lines(line for dialect in builtin().values() for line in dialect.logs.lines)
    steps = []
    for size in (LONGEST_LINE // 8, LONGEST_LINE - 8):
        request = '"GET /x HTTP/1.1"'
        hostile = [
            'a=1 b="' + '\\"' * (size // 2),
            "a=" + "b" * size,
            "GET /" + "a" * size,
            "[GIN] " + "| " * (size // 2),
            f"x: 1:1 [a] b c 1/1/1/1/1 200 1 - - - 1 1 {'{' * (size - 80)} {request}",
        ]
        began = time.process_time()
        for text in hostile:
            for _ in range(20):
                assert lines.read(text[:LONGEST_LINE]) is None
        steps.append(time.process_time() - began)
    assert steps[1] < 200 * max(steps[0], 0.002), "not with the square of the length"


def test_a_websocket_that_go_took_over_has_not_failed() -> None:
    attributes = {"http.method": "GET", "http.target": "/ws", "http.status_code": 0, "http.route": "/ws"}
    told = Status(code=Status.STATUS_CODE_ERROR, message="Invalid HTTP status code 0")
    (event,) = mapped(traces(span(attributes, name="/ws", status=told))).events
    assert (event.status, event.error_type) == (0, "")
    (failed,) = mapped(traces(span(attributes, name="/ws", status=Status(code=Status.STATUS_CODE_ERROR)))).events
    assert failed.error_type == "server"


def test_early_erlang_servers_tell_their_status() -> None:
    told = {"http.method": "GET", "http.target": "/v1/items/7"}
    for more in ({"http.status": 404}, {"http.status_code": "404 Not Found"}, {"http.status": "404 Not Found"}):
        (event,) = mapped(traces(span({**told, **more}, name="HTTP GET"))).events
        assert (event.status, event.error_type) == (404, "not_found"), more


@pytest.mark.parametrize(
    ("written", "route"),
    [
        ("/v1/payments/([^/]+)/capture", "/v1/payments/{param}/capture"),
        ("/files/(.*)", "/files/{param}"),
        (r"/a/(\d+)/b", "/a/{param}/b"),
        (r"/users/:id(\d+)", "/users/{id}"),
        ("/x(/:y)", "/x/{y}"),
        ("api_payments_capture", ""),
    ],
)
def test_patterns_of_tornado_are_routes_and_symfonys_names_are_none(written: str, route: str) -> None:
    path = route.replace("{param}", "7").replace("{id}", "7").replace("{y}", "7") or "/v1/payments"
    attributes = {"http.request.method": "GET", "url.path": path, "http.response.status_code": 200}
    (event,) = mapped(traces(span({**attributes, "http.route": written}, name="GET"))).events
    assert event.route == (route or path)
