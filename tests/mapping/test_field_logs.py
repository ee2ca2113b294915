"""Logs as shippers, clouds and loggers hand them on: behind prefixes, inside objects, as the Collector's attributes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mapping.dialects import access_line
from mapping.dialects.lines import LONGEST_LINE
from mapping.event import API_CALL, LOG, Event
from mapping.logs.json_text import LONGEST_MIXED
from mapping.logs.levels import level_in
from mapping.settings import MappingSettings
from mapping_requests import log, logs, mapped

TRACE = "0af7651916cd43dd8448eb211c80319c"
AT = 1_772_442_000_000_000_000  # 2026-03-02T09:00:00Z
COMBINED = '203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7?x=1 HTTP/1.1" 200 13 "-" "curl/8"'
PLAIN = '{"method":"GET","path":"/v1/items/7","status":200,"user_id":"ann"}'


def of(body: Any, attributes: dict[str, Any] | None = None, resource: dict[str, Any] | None = None) -> Event:
    text = body if isinstance(body, str) or attributes is not None else orjson.dumps(body).decode()
    sent = logs(log(text, attributes, time_unix_nano=0), resource=resource or {"service.name": "shop"})
    (event,) = mapped(sent).events
    return event


# Around COMBINED: what stands there besides is the shipper's.
WRAPPED: dict[str, Any] = {
    "Docker's json-file": {"log": f"{COMBINED}\n", "stream": "stdout", "time": "2026-03-02T09:00:01Z"},
    "Fluent Bit in Kubernetes": {"log": COMBINED, "stream": "stdout", "kubernetes": {"pod_name": "p", "host": "n1"}},
    "Vector": {"message": COMBINED, "source_type": "file", "host": "n1", "timestamp": "2026-03-02T09:00:01Z"},
    "journald": {"MESSAGE": COMBINED, "PRIORITY": "6", "_HOSTNAME": "n1", "__REALTIME_TIMESTAMP": "1772442000000000"},
    "Filebeat": {"message": COMBINED, "agent": {"type": "filebeat"}, "host": {"name": "n1"}, "ecs": {"version": "8"}},
    "containerd": f"2026-03-02T09:00:01.5Z stdout F {COMBINED}",
    "Docker Compose": f"web-1  | {COMBINED}",
    "syslog, RFC 5424": f"<190>1 2026-03-02T09:00:01Z web1 nginx 7 - - {COMBINED}",
    "syslog, RFC 3164": f"<190>Mar  2 09:00:01 web1 nginx: {COMBINED}",
    "Azure Container Apps": {"category": "ContainerAppConsoleLogs", "properties": {"Log": COMBINED, "Stream": "out"}},
    "CRLF": f"{COMBINED}\r\n",
}


def test_bodies_that_are_not_kept_are_not_kept_of_lines_in_lines_either() -> None:
    bodies = '"request":{"body":"of the customer"},"request_body":"of the customer"'
    told = f'{{"method":"POST","path":"/v1/items","status":201,{bodies}}}'
    settings = MappingSettings(log_body=False)
    docker = [orjson.dumps({"log": line, "stream": "stdout"}).decode() for line in (told, f"INFO done {told}")]
    for line in (told, f"INFO done {told}", *docker):
        (event,) = mapped(logs(log(line)), settings).events
        assert (event.event_type, event.status) == (API_CALL, 201)
        assert "customer" not in repr(event), line
    files = {"log.file.name": "x", "request": {"method": "POST", "url": "/v1/items", "body": "of the customer"}}
    (event,) = mapped(logs(log("done", {**files, "status": 201})), settings).events
    assert (event.event_type, "customer" in repr(event)) == (API_CALL, False)


@pytest.mark.parametrize("shipper", WRAPPED)
def test_a_text_line_that_a_shipper_wrapped_is_the_call_that_it_tells(shipper: str) -> None:
    event = of(WRAPPED[shipper])
    assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
    assert (event.user_id, event.ip_address, event.user_agent) == ("ann", "203.0.113.7", "curl/8")
    assert event.end_unix_ns == AT


def test_a_wrapped_line_beside_spans_of_an_sdk_is_no_call() -> None:
    assert of(WRAPPED["Vector"], resource={"telemetry.sdk.name": "opentelemetry"}).event_type == LOG


# PLAIN or its like behind what a logger or a shipper has written, and the level that it tells.
BEHIND: dict[str, tuple[str, int]] = {
    # https://github.com/uber-go/zap: the console encoder
    "zap": (f"2026-03-02T09:00:00.000Z\tINFO\tserver/http.go:12\trequest {{done}}\t{PLAIN}", 9),
    # https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html: the text format
    "Lambda": (f"2026-03-02T09:00:00.000Z\t79b4f56e-95b1-4643-9700-2807f4e68189\tERROR\t{PLAIN}", 17),
    # https://github.com/winstonjs/winston: format.simple()
    "winston": (f"info: request {PLAIN}", 9),
    # https://github.com/Seldaek/monolog: LineFormatter, as Laravel has it, with and without extra
    "Monolog": (f"[2026-03-02T09:00:00.000000+00:00] local.WARNING: request {PLAIN} []", 13),
    "Monolog's processors": (f'[2026-03-02T09:00:00+00:00] app.INFO: request {PLAIN} {{"uid":"7f3"}}', 9),
    "syslog": (f"<190>1 2026-03-02T09:00:00Z web1 app 7 - - {PLAIN}", 0),
    "rsyslog": (f"Mar  2 09:00:00 web1 app[7]: @cee:{PLAIN}", 0),
    "Docker Compose": (f"web-1  | {PLAIN}", 0),
    # https://github.com/hashicorp/go-hclog
    "hclog": (
        "2026-03-02T09:00:00.000Z [INFO]  agent.http: done: method=GET path=/v1/items/7 status=200 user_id=ann",
        9,
    ),
    # https://github.com/rs/zerolog: ConsoleWriter
    "zerolog": (
        "\x1b[90m9:00AM\x1b[0m \x1b[32mINF\x1b[0m \x1b[1mrequest\x1b[0m \x1b[36mmethod=\x1b[0mGET "
        "\x1b[36mpath=\x1b[0m/v1/items/7 \x1b[36mstatus=\x1b[0m200 \x1b[36muser_id=\x1b[0mann",
        9,
    ),
    # https://api.rubyonrails.org/classes/ActiveSupport/TaggedLogging.html with lograge
    "Rails": (
        "I, [2026-03-02T09:00:00.123456 #1]  INFO -- : [5b1e1f5a] method=GET path=/v1/items/7 "
        "controller=ItemsController action=show status=200 duration=18.20 user_id=ann",
        9,
    ),
    # https://www.structlog.org/en/stable/console-output.html
    "structlog": (
        "\x1b[2m2026-11-29T10:56:38.461505Z\x1b[0m [\x1b[32m\x1b[1minfo     \x1b[0m] \x1b[1mrequest      \x1b[0m "
        "\x1b[36mmethod\x1b[0m=\x1b[35mGET\x1b[0m \x1b[36mpath\x1b[0m=\x1b[35m'/v1/items/7'\x1b[0m "
        "\x1b[36mstatus\x1b[0m=\x1b[35m200\x1b[0m \x1b[36mnote\x1b[0m=\x1b[35m'a b'\x1b[0m "
        "\x1b[36muser_id\x1b[0m=\x1b[35mann\x1b[0m",
        9,
    ),
    # https://devcenter.heroku.com/articles/logging: as `heroku logs` shows it
    "Heroku": (
        '2026-03-02T09:00:00.123456+00:00 heroku[router]: at=info method=GET path="/v1/items/7" host=api.example.com '
        "request_id=1 dyno=web.1 service=18ms status=200 user_id=ann",
        0,
    ),
}


@pytest.mark.parametrize("logger", BEHIND)
def test_what_stands_behind_a_message_is_read(logger: str) -> None:
    line, level = BEHIND[logger]
    event = of(line)
    assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
    assert event.user_id == "ann"
    if level:
        assert event.severity_number == level
    (wrapped,) = mapped(logs(log(orjson.dumps({"log": f"{line}\n", "stream": "stderr"}).decode()))).events
    assert (wrapped.event_type, wrapped.status, wrapped.user_id) == (API_CALL, 200, "ann")


def test_a_line_with_an_object_behind_it_that_is_no_call_is_shown_as_it_came() -> None:
    line = f'2026-03-02T09:00:00Z WARN cannot pay {{"trace_id":"{TRACE}","password":"hunter2fake"}}'
    event = of(line)
    assert (event.event_type, event.trace_id, event.severity_number) == (LOG, TRACE, 13)
    assert event.body == line.replace("hunter2fake", "[REDACTED]")
    for broken in ("cannot read {x}", 'expected {"a": 1, found }', "a []", "}", "{", 'got {"a":1} and {"b":2}, {'):
        assert of(broken).body == broken
    assert of("x " * LONGEST_MIXED + PLAIN).event_type == LOG


@pytest.mark.parametrize(
    "wrapped",
    [
        {"time": 1772442000.0, "host": "h1", "sourcetype": "_json", "event": orjson.loads(PLAIN)},  # Splunk
        {"time": 1772442000.0, "host": "h1", "sourcetype": "_json", "event": PLAIN},
        # AWS Lambda and winston where an object is logged
        {"timestamp": "2026-03-02T09:00:00.000Z", "requestId": "r", "message": orjson.loads(PLAIN)},
        {"version": "1.1", "host": "h1", "short_message": PLAIN, "timestamp": 1772442000.0},  # Graylog
        {"@timestamp": "2026-03-02T09:00:00Z", "message": "m", "structured": orjson.loads(PLAIN)},  # OpenShift
        {"log": orjson.dumps({"message": orjson.dumps({"msg": PLAIN}).decode()}).decode(), "stream": "stdout"},
    ],
)
def test_an_object_under_a_shippers_name_is_the_line_itself(wrapped: dict[str, Any]) -> None:
    event = of(wrapped)
    assert (event.event_type, event.status, event.user_id) == (API_CALL, 200, "ann")
    traced = of({"time": 1772442000.0, "event": {"trace_id": TRACE, "level": "warn", "text": "m"}})
    assert (traced.event_type, traced.trace_id, traced.severity_number) == (LOG, TRACE, 13)


def test_what_a_request_carried_is_not_the_line_that_tells_of_it() -> None:
    asked = {"method": "POST", "path": "/v1/items", "status": 201}
    for under in ("body", "payload", "data", "request.body"):
        event = of({**asked, under: '{"user_id":"eve","status":500,"method":"GET"}'})
        assert (event.verb, event.status, event.user_id) == ("POST", 201, ""), under


def test_json_behind_a_byte_order_mark_or_encoded_twice_is_json() -> None:
    for text in (f"\ufeff{PLAIN}", f"{PLAIN}\r\n", orjson.dumps(PLAIN).decode()):
        event = of(text)
        assert (event.event_type, event.status, event.user_id) == (API_CALL, 200, "ann"), text
    assert of('"{not json}"').body == '"{not json}"'


# Access lines whose format nobody has told, and what they tell beside GET /v1/items/7 with status 200.
ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "API Gateway's common log format": (
        '203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000]"GET /v1/items/7 HTTP/1.1" 200 58 c6af9ac6-7b61',
        {"user_id": "ann", "ip_address": "203.0.113.7"},
    ),
    "Fastly's": (
        '<134>2026-03-02T09:00:00Z cache-lhr7 logs[7]: 203.0.113.7 "-" "-" 02/Mar/2026:09:00:00 +0000 '
        '"GET /v1/items/7 HTTP/1.1" 200 13',
        {"user_id": "", "ip_address": "203.0.113.7"},
    ),
    "nginx with names": (
        '203.0.113.7 - - [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7 HTTP/1.1" 200 13 "-" "curl/8" rt=0.018 '
        'uct="0.000" urt="0.017"',
        {"duration_ms": 18.0, "user_agent": "curl/8"},
    ),
    "nginx with the time at the end": (
        f"{COMBINED} 0.018 0.017",
        {"duration_ms": 18.0, "user_agent": "curl/8", "user_id": "ann"},
    ),
    "nginx with the time behind the proxies": (
        f'{COMBINED} "203.0.113.7" 0.018',
        {"duration_ms": 18.0, "user_id": "ann"},
    ),
    "gunicorn with %(L)s": (f"{COMBINED} 0.018234", {"duration_ms": 18.234}),
    "Apache with %D, whose unit nobody tells": (f"{COMBINED} 18234", {"duration_ms": -1.0}),
    "vLLM": (
        '\x1b[1;36m(APIServer pid=1)\x1b[0;0m INFO:     203.0.113.7:52000 - "GET /v1/items/7 HTTP/1.1" 200 OK',
        {"ip_address": "203.0.113.7"},
    ),
    "Emissary": (
        'ACCESS [2026-03-02T09:00:00.000Z] "GET /v1/items/7 HTTP/1.1" 200 - 0 13 18 17 "203.0.113.7" "curl/8" "r1" '
        '"api.example.com" "10.0.0.2:80"',
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "uri": "http://api.example.com/v1/items/7"},
    ),
    "HAProxy behind syslog": (
        "<134>Mar  2 09:00:00 lb1 haproxy[123]: 203.0.113.7:33317 [02/Mar/2026:09:00:00.655] http-in be/srv1 "
        '10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "GET /v1/items/7 HTTP/1.1"',
        {"duration_ms": 109.0, "ip_address": "203.0.113.7"},
    ),
    "HAProxy's documented format with an id, which is empty": (
        "<134>Mar  2 09:00:00 lb1 haproxy[123]: 203.0.113.7:33317 [02/Mar/2026:09:00:00.655] http-in be/srv1 "
        '10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "GET /v1/items/7 HTTP/1.1" -',
        {"duration_ms": 109.0, "ip_address": "203.0.113.7"},
    ),
    "Gin in colours": (
        "[GIN] 2026/03/02 - 09:00:00 |\x1b[97;42m 200 \x1b[0m|   18.123ms |     203.0.113.7 |\x1b[97;44m GET     "
        '\x1b[0m "/v1/items/7"',
        {"duration_ms": 18.123, "ip_address": "203.0.113.7"},
    ),
    # Written by the servers and loggers themselves, in their default formats.
    "lighttpd": (
        '203.0.113.7 api.example.com - [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7 HTTP/1.1" 200 8 "-" "curl/8"',
        {"uri": "http://api.example.com/v1/items/7", "user_id": "", "user_agent": "curl/8"},
    ),
    "Granian, which counts milliseconds": (
        '[2026-11-29 10:52:22 +0000] 203.0.113.7 - "GET /v1/items/7 HTTP/1.1" 200 61.226',
        {"duration_ms": 61.226, "ip_address": "203.0.113.7"},
    ),
    "Hypercorn, which leaves out HTTP": (
        '[2026-11-29 10:52:20 +0000] [19689] [INFO] 203.0.113.7:33004 - - [02/Mar/2026:09:00:00 +0000] '
        '"GET /v1/items/7 1.1" 200 - "-" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "severity_number": 9, "end_unix_ns": AT},
    ),
    "Daphne": (
        '203.0.113.7:45904 - - [29/Nov/2026:10:52:23] "GET /v1/items/7" 200 2',
        {"ip_address": "203.0.113.7"},
    ),
    "Tornado": (
        "\x1b[32m[I 261129 10:52:23 web:2345]\x1b[m 200 GET /v1/items/7 (203.0.113.7) 0.60ms",
        {"ip_address": "203.0.113.7", "duration_ms": 0.6, "severity_number": 9},
    ),
    "aiohttp with basicConfig": (
        'INFO:aiohttp.access:203.0.113.7 [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7 HTTP/1.1" 200 111 "-" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "user_id": "", "severity_number": 9},
    ),
    "morgan short": (
        "203.0.113.7 ann GET /v1/items/7 HTTP/1.1 200 8 - 11.730 ms",
        {"ip_address": "203.0.113.7", "user_id": "ann", "duration_ms": 11.73},
    ),
    "morgan combined and its time": (f"{COMBINED} - 11.730 ms", {"user_id": "ann", "duration_ms": 11.73}),
    "log4js": (
        "\x1b[32m[2026-11-29T10:54:25.282] [INFO] http - \x1b[39m203.0.113.7 - - "
        '"GET /v1/items/7 HTTP/1.1" 200 8 "" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "severity_number": 9},
    ),
    "koa-logger and Hono": ("  --> GET /v1/items/7 200 21ms 8b", {"duration_ms": 21.0}),
    "consola": ("[info] GET /v1/items/7 200 4ms", {"duration_ms": 4.0, "severity_number": 9}),
    "Next.js": (" GET /v1/items/7 200 in 18ms (compile: 4ms, render: 14ms)", {"duration_ms": 18.0}),
    # https://learn.microsoft.com/en-us/aspnet/core/fundamentals/logging/: the console's two lines
    "ASP.NET Core": (
        "info: Microsoft.AspNetCore.Hosting.Diagnostics[2]\n      Request finished HTTP/1.1 GET "
        "http://api.example.com/v1/items/7?x=1 - 200 13 application/json;+charset=utf-8 18.2345ms",
        {"uri": "http://api.example.com/v1/items/7?x=1", "duration_ms": 18.2345, "severity_number": 9},
    ),
    # https://docs.rs/actix-web/latest/actix_web/middleware/struct.Logger.html, https://docs.rs/warp/latest/warp/filters/log/
    "actix": (
        '[2026-03-02T09:00:00Z INFO  actix_web::middleware::logger] 203.0.113.7 "GET /v1/items/7 HTTP/1.1" 200 2 "-" '
        '"curl/8" 0.060123',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "duration_ms": 60.123, "severity_number": 9},
    ),
    "warp": (
        '[2026-03-02T09:00:00Z INFO  warp] 203.0.113.7:5 "GET /v1/items/7 HTTP/1.1" 200 "-" "curl/8" 60.12ms',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "duration_ms": 60.12},
    ),
    # https://docs.rs/tower-http/latest/tower_http/trace/
    "tower-http": (
        "\x1b[2m2026-03-02T09:00:00.000000Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[1mrequest\x1b[0m\x1b[1m{\x1b[0m"
        "\x1b[3mmethod\x1b[0m\x1b[2m=\x1b[0mGET \x1b[3muri\x1b[0m\x1b[2m=\x1b[0m/v1/items/7 \x1b[3mversion"
        "\x1b[0m\x1b[2m=\x1b[0mHTTP/1.1\x1b[1m}\x1b[0m\x1b[2m:\x1b[0m \x1b[2mtower_http::trace::on_response"
        "\x1b[0m\x1b[2m:\x1b[0m finished processing request \x1b[3mlatency\x1b[0m\x1b[2m=\x1b[0m60 ms "
        "\x1b[3mstatus\x1b[0m\x1b[2m=\x1b[0m200",
        {"duration_ms": 60.0, "severity_number": 9},
    ),
    "chi": (
        '2026/11/29 10:59:57 [host/abc-000001] "GET http://api.example.com/v1/items/7?x=1 HTTP/1.1" from '
        "203.0.113.7:51 - 200 2B in 61.172µs",
        {"ip_address": "203.0.113.7", "duration_ms": 0.061172, "uri": "http://api.example.com/v1/items/7?x=1"},
    ),
    "Fiber": (
        "11:00:01 | 200 |       3.285µs | 203.0.113.7 | GET | /v1/items/7 | -",
        {"ip_address": "203.0.113.7", "duration_ms": 0.003285},
    ),
    "Fiber 3": ("[11:00:01] 203.0.113.7 200 - 3.285µs GET /v1/items/7", {"ip_address": "203.0.113.7"}),
    # https://github.com/serilog/serilog-aspnetcore: its default message
    "Serilog's console": ("[09:00:00 INF] HTTP GET /v1/items/7 responded 200 in 18.2000 ms", {"duration_ms": 18.2}),
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html
    "Application Load Balancer": (
        "https 2026-03-02T09:00:00.018000Z app/lb/50dc6c495c0c9188 203.0.113.7:2817 10.0.0.1:80 0.001 0.016 0.001 200 "
        '200 0 57 "GET https://api.example.com:443/v1/items/7 HTTP/1.1" "curl/8" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 '
        'arn:aws:elasticloadbalancing:x "Root=1-58337281-1d84f3d73c47ec4e58577259" "api.example.com" "arn:aws:acm:x" 1 '
        '2026-03-02T09:00:00.000000Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_1',
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "curl/8", "end_unix_ns": AT + 18_000_000,
         "uri": "https://api.example.com/v1/items/7", "trace_id": "583372811d84f3d73c47ec4e58577259"},
    ),
    "a load balancer that nobody answered": (
        "2026-03-02T09:00:00.000000Z lb 203.0.113.7:2817 - -1 -1 -1 200 0 0 0 "
        '"GET http://api.example.com:80/v1/items/7 HTTP/1.1" "curl/8" - -',
        {"duration_ms": -1.0, "uri": "http://api.example.com/v1/items/7"},
    ),
}  # fmt: skip


# Lines of users' own formats, from issues of https://github.com/allinurl/goaccess (by number), and others.
ASKED: dict[str, tuple[str | dict[str, Any], dict[str, Any]]] = {
    "395": (
        '192.168.1.1 -> 192.168.1.2:80 [2016-03-21T06:46:24+0200] "GET /v1/items/7 HTTP/1.1" 200 1 "-" "curl/8" 0.004',
        {"ip_address": "192.168.1.1", "duration_ms": 4.0, "end_unix_ns": 1_458_535_584_000_000_000},
    ),
    "885": (
        '203.0.113.7 - - [18/Sep/2017:00:00:02 +0300] "GET /v1/items/7 HTTP/1.1" 200 206 "-" "curl/8" "-" "-" '
        '1505682002.098 adfr="-" rt=0.151 ut="-" cs=HIT ua="-" us="-"',
        {"duration_ms": 151.0, "user_agent": "curl/8", "ip_address": "203.0.113.7"},
    ),
    "1066": (
        '203.0.113.7 - - [2019-07-31T06:33:06+00:00] "localhost" "GET /v1/items/7 HTTP/1.1" 200 5 "-" "curl/8" 0.038',
        {"duration_ms": 38.0, "user_agent": "curl/8", "ip_address": "203.0.113.7",
         "end_unix_ns": 1_564_554_786_000_000_000},
    ),
    "857": (
        '203.0.113.7 - - [03/Aug/2017:14:58:55 +0000] 24891 "GET /v1/items/7 HTTP/1.1" 200 - "-" "curl/8" 15099834',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "user_id": "", "duration_ms": -1.0},
    ),
    "78": (
        '203.0.113.7, 185.43.1.2 [13/Sep/2016:22:17:50 +0200] "GET /v1/items/7 HTTP/1.1" 200 1586 "-" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    "1130": (
        '[29/May/2018:15:15:51 +0300] 203.0.113.7 shop.example - "GET /v1/items/7 HTTP/1.1" 200 - "-" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    "1109": (
        "remote=10.0.0.2 x_forwarded_for=203.0.113.7 [04/May/2018:06:25:04 +0200] status=200 request_time=0.010 "
        'host=api.example.com request="GET /v1/items/7 HTTP/1.1" 246 "-" "curl/8" "-"',
        {"ip_address": "203.0.113.7", "duration_ms": 10.0},
    ),
    "1657": (
        '[21/Jan/2020:03:00:00 +0300]\t203.0.113.7\tshop\t0\t-\t-\t"GET /v1/items/7 HTTP/1.1" 200 - "-" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "user_id": ""},
    ),
    "985": (
        '"203.0.113.7" - - [31/Dec/2017:09:04:20 +0330] "GET /v1/items/7 HTTP/1.1" 200 3775 "-" "curl/8"',
        {"ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    "InfluxDB's": (
        '203.0.113.7,172.39.5.169 - - [21/Jul/2019:03:01:27 +0000] "GET /v1/items/7 HTTP/1.0" 200 11450 "-" "curl/8" '
        "d6ca5a13-at63-11o9-8942-000000000000 9337349",
        {"ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    "nginx's upstreamlog": (
        "[29/Nov/2026:10:50:24 +0000] 203.0.113.7 - ann - api.example.com api.example.com to: 127.0.0.1:19801: "
        "GET /v1/items/7 HTTP/1.1 200 upstream_response_time 0.001 msec 1795949424.481 request_time 0.001",
        {"ip_address": "203.0.113.7"},
    ),
    # https://github.com/apache/apisix/pull/12042: APISIX's own format
    "APISIX": (
        '203.0.113.7 - - [12/Mar/2025:16:24:57 +0530] api.example.com "GET /v1/items/7 HTTP/1.1" 200 349 1.088 "-" '
        '"curl/8" - - - "https://somerandom.com"',
        {"uri": "http://api.example.com/v1/items/7", "duration_ms": 1088.0, "user_agent": "curl/8"},
    ),
    # https://github.com/grafana/grafana/pull/8342
    "Grafana": (
        "t=2026-03-02T09:00:00+0000 lvl=info msg=\"Request Completed\" logger=context userId=12 orgId=1 method=GET "
        "path=/v1/items/7 status=200 remote_addr=[2001:db8::7] time_ms=2 size=577",
        {"duration_ms": 2.0, "ip_address": "2001:db8::7", "severity_number": 9, "end_unix_ns": AT},
    ),
    "Grafana with its unit": (
        "logger=context method=GET path=/v1/items/7 status=200 remote_addr=[::1] time_ms=1676µs size=577",
        {"duration_ms": 1.676, "ip_address": "::1"},
    ),
    # https://github.com/jtblin/kube2iam/pull/220
    "kube2iam": (
        'time="2026-03-02T09:00:00Z" level=info msg="GET /x (200) took 145540128.000000 ns" req.method=GET '
        "req.path=/v1/items/7 req.remote=203.0.113.7 res.duration=1.45540128e+08 res.status=200",
        {"duration_ms": -1.0, "ip_address": "203.0.113.7", "end_unix_ns": AT},
    ),
    # https://docs.gitlab.com/administration/logs/
    "GitLab": (
        {"time": "2026-03-02T09:00:00.000Z", "severity": "INFO", "duration_s": 0.018, "db_duration_s": 0.001,
         "status": 200, "method": "GET", "path": "/v1/items/7", "host": "gitlab.example.com",
         "remote_ip": "203.0.113.7, 127.0.0.1", "ua": "curl/8", "user_id": 7, "correlation_id": "01"},
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "curl/8", "user_id": "7", "request_id": "01"},
    ),
    "2492": (
        {"accessIpList": "203.0.113.7, 113.96.58.76", "clientIp": "203.0.113.7", "httpHost": "api.example.com",
         "timestamp": "2026-03-02T09:00:00+00:00", "method": "GET", "url": "/v1/items/7", "status": 200,
         "requestTime": "0.100", "ua": "curl/8", "serverIp": "172.16.0.3"},
        {"ip_address": "203.0.113.7", "user_agent": "curl/8", "duration_ms": 100.0, "end_unix_ns": AT,
         "uri": "http://api.example.com/v1/items/7"},
    ),
    "2357": (
        {"timestamp": "2026-03-02T09:00:00.000Z", "request": {
            "hostname": "127.0.0.1", "method": "GET", "url": "http://localhost:8080/v1/items/7",
            "headers": {"User-Agent": "curl/8"}}, "status": 200, "user": None, "level": "WARNING"},
        {"uri": "http://localhost:8080/v1/items/7", "user_agent": "curl/8", "severity_number": 13, "user_id": ""},
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", ASKED)
def test_lines_that_others_asked_about_are_the_calls_that_they_tell(number: str) -> None:
    line, told = ASKED[number]
    event = of(line)
    assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
    assert {name: getattr(event, name) for name in told} == told


@pytest.mark.parametrize("kind", ODD)
def test_access_lines_are_alike_whatever_their_format(kind: str) -> None:
    line, told = ODD[kind]
    event = of(line)
    assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
    assert {name: getattr(event, name) for name in told} == {
        name: pytest.approx(value) if isinstance(value, float) else value for name, value in told.items()
    }


@pytest.mark.parametrize(
    "line",
    [
        'he wrote "GET /a HTTP/1.1" 200 times at 10.0.0.7',
        'at 10.0.0.7 he at last wrote "GET /a HTTP/1.1" 200 times',
        'connection from 10.0.0.7 closed while "GET /a HTTP/1.1" 200 was written',
        'HTTP Request: POST https://api.example.com/v1/items "HTTP/1.1 200 OK"',  # httpx
        'https://api.example.com:443 "GET /v1/items HTTP/1.1" 200 13',  # urllib3
        "Request starting HTTP/1.1 GET http://api.example.com/v1/items/7 - - -",
        "DELETE /users 3 rows in 5ms",
        "GET /v1/items 200",
        'at 02/Mar/2026:09:00:00 +0000 she wrote "GET /a HTTP/1.1" 200 times',
        'proxy: "GET /a HTTP/1.1" "curl/8"',
        'http://10.0.0.5:8080 "GET /a HTTP/1.1" 200 13',  # a client's own
    ],
)
def test_a_request_in_prose_is_no_call(line: str) -> None:
    event = of(line)
    assert (event.event_type, event.body) == (LOG, line)


@pytest.mark.parametrize("written", ["\\x22", '\\"'])  # nginx, Apache
def test_a_quote_in_a_target_does_not_hide_the_call(written: str) -> None:
    event = of(f'203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000] "GET /a?q={written}b HTTP/1.1" 200 13 "-" "curl/8"')
    assert (event.event_type, event.uri, event.status) == (API_CALL, "http://shop/a?q=%22b", 200)
    assert (event.user_id, event.user_agent) == ("ann", "curl/8")


def test_a_line_of_unknown_format_is_read_in_time_linear_in_its_length() -> None:
    hostile = '10.0.0.1 - a [02/Mar/2026:09:00:00 +0000] x "GET /a HTTP/1.1" 200 ' + 'a="' * (LONGEST_LINE // 4)
    call = access_line.find(hostile)
    assert call is not None
    assert access_line.read(hostile, call) is not None


SPAN = "b7ad6b7169203331"
DATADOG = ("1234567890123456789", "9876543210")
OF_DATADOG = (f"{int(DATADOG[0]):032x}", f"{int(DATADOG[1]):016x}")


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        # https://opentelemetry-python-contrib.readthedocs.io: instrumentation of logging, its default format
        (
            f"2026-03-02 09:00:00,123 INFO [root] [app.py:12] [trace_id={TRACE} span_id={SPAN} "
            "resource.service.name=shop trace_sampled=True] - hello",
            (TRACE, SPAN),
        ),
        ("INFO [root] [app.py:12] [trace_id=0 span_id=0 resource.service.name=s trace_sampled=False] - hi", ("", "")),
        # https://docs.datadoghq.com/tracing/other_telemetry/connect_logs_and_traces/: Python, Ruby, 128 bits
        (f"INFO [x] [a.py:1] [dd.service=s dd.trace_id={DATADOG[0]} dd.span_id={DATADOG[1]}] - hello", OF_DATADOG),
        (f"[dd.env=e dd.trace_id={TRACE} dd.span_id={DATADOG[1]} ddsource=ruby] hi", (TRACE, OF_DATADOG[1])),
        # Logback's and Log4j's patterns, Quarkus, .NET's console with scopes, Go
        (f"09:00:00.123 [main] INFO c.Shop - traceId={TRACE} spanId={SPAN} hello", (TRACE, SPAN)),
        (f"INFO {{trace_id={TRACE}, span_id={SPAN}, trace_flags=01}} hello", (TRACE, SPAN)),
        (f"INFO  traceId={TRACE}, parentId=, spanId={SPAN}, sampled=true [org.acme] (exec) hello", (TRACE, SPAN)),
        (f"info: Shop[0]\n      => SpanId:{SPAN}, TraceId:{TRACE}, ParentId:0000000000000000\n      hi", (TRACE, SPAN)),
        (f"2026/03/02 09:00:00 hello trace_id={TRACE}", (TRACE, "")),
        (f"paid order=17 in 3 ms, trace_id={TRACE} status=done a=1", (TRACE, "")),
        ("traceId=0af76519-16cd-43dd-8448-eb211c80319c hello", (TRACE, "")),
        (f"hello trace=projects/p/traces/{TRACE}", (TRACE, "")),
        ("START RequestId: 8f507cfc XRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: 55",
         ("5759e988bd862e3fe1be46a994272793", "")),
        (f"10.0.0.7 - - [02/Mar/2026:09:00:00 +0000] \"GET /a HTTP/1.1\" 200 13 trace_id={TRACE}", (TRACE, "")),
        ("trace_id: none yet", ("", "")),
        ("Traceback of trace id 17", ("", "")),
    ],
)  # fmt: skip
def test_ids_that_a_text_names_are_its_ids(line: str, ids: tuple[str, str]) -> None:
    event = of(line)
    assert (event.trace_id, event.span_id) == ids
    assert event.body == (line if event.event_type == LOG else "")
    assert of({"log": line, "stream": "stdout"}).trace_id == ids[0]


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({"ActivityId": f"00-{TRACE}-{SPAN}-01"}, (TRACE, SPAN)),  # .NET before its TraceId
        ({"ActivityId": "0af76519-16cd-43dd-8448-eb211c80319c"}, ("", "")),
        ({"RequestId": "0HN7:00000001"}, ("", "")),
        ({"contexts": {"trace": {"trace_id": TRACE, "span_id": SPAN}}}, (TRACE, SPAN)),  # Sentry
        ({"elasticapm_trace_id": TRACE}, (TRACE, "")),
        ({"trace_id": {"w3c": TRACE}}, (TRACE, "")),  # Kong
        ({"trace_id": {"datadog": DATADOG[0]}}, (OF_DATADOG[0], "")),
        ({"otlp": {"trace_id": TRACE, "span_id": SPAN}}, (TRACE, SPAN)),  # Fluent Bit
        ({"$metadata": {"traceId": TRACE, "spanId": SPAN}}, (TRACE, SPAN)),  # Cloudflare
    ],
)
def test_ids_in_the_words_of_vendors(fields: dict[str, Any], ids: tuple[str, str]) -> None:
    event = of({"message": "m", **fields})
    assert (event.trace_id, event.span_id) == ids


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-03-02 09:00:00,123 ERROR [main] c.e.Shop - boom", 17),  # Log4j, Logback
        ("2026-03-02T09:00:00.123Z  WARN 1 --- [shop] [main] c.e.Shop : low", 13),  # Spring Boot
        ("2026-03-02 09:00:00,123 - shop.orders - WARNING - low", 13),  # Python
        ("ERROR:root:boom", 17),
        ("INFO:     Application startup complete.", 9),  # Uvicorn
        ("E0302 09:00:00.123456       1 reflector.go:12] failed", 17),  # Kubernetes
        ("2026/03/02 09:00:00 [error] 7#7: *1 open() failed, client: 203.0.113.7", 17),  # nginx
        ("E, [2026-03-02T09:00:00.123456 #1] ERROR -- : boom", 17),  # Ruby
        ("fail: Shop.Orders[0]\n      boom", 17),  # .NET
        ('2026-03-02 09:00:00.123 UTC [1] ERROR:  relation "x" does not exist', 17),  # PostgreSQL
        ("[2026-03-02T09:00:00Z WARN  shop::orders] low", 13),  # Rust's env_logger
        ("\x1b[2m2026-03-02T09:00:00.000Z\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2mshop\x1b[0m: low", 13),  # tracing
        ("An ERROR occurred in shop", 0),
        ("Error handling is on", 0),
        ("warn people early", 0),
        ("info is power: read it", 0),
        ("order 17 accepted for ERROR", 0),
        ("", 0),
    ],
)
def test_the_level_before_a_message_counts_where_the_record_has_none(line: str, level: int) -> None:
    assert level_in(line)[0] == level
    if line:
        assert of(line).severity_number == level
        (stated,) = mapped(logs(log(line, severity_number=5))).events
        assert stated.severity_number == 5


def test_serilogs_compact_lines_without_a_level_are_information() -> None:
    line = {"@t": "2026-03-02T09:00:00.0000000Z", "@mt": "order {Id} accepted", "Id": 7}
    assert of(line).severity_number == 9
    assert of({**line, "@l": "Warning"}).severity_number == 13


def test_dotnets_json_console_tells_its_trace_in_a_list_of_scopes() -> None:
    event = of(
        {"EventId": 2, "LogLevel": "Information", "Category": "Microsoft.AspNetCore.Hosting.Diagnostics",
         "State": {"Method": "GET", "Path": "/v1/items/7", "StatusCode": 200, "ElapsedMilliseconds": 18.2,
                   "Host": "api.example.com", "Scheme": "http"},
         "Scopes": [{"SpanId": "b7ad6b7169203331", "TraceId": TRACE, "ParentId": "0000000000000000"},
                    {"ConnectionId": "0H"}, {"RequestPath": "/v1/items/7", "RequestId": "0H:1"}, "text"]}
    )  # fmt: skip
    assert (event.event_type, event.trace_id, event.span_id) == (API_CALL, TRACE, "b7ad6b7169203331")
    assert (event.duration_ms, event.uri) == (18.2, "http://api.example.com/v1/items/7")
    assert of({"Message": "x", "Scopes": [["a"], None, 7]}).event_type == LOG


def test_a_duration_is_what_lies_between_two_times() -> None:
    line = {"ClientRequestHost": "api.example.com", "ClientRequestMethod": "GET", "ClientRequestURI": "/v1/items/7",
            "EdgeResponseStatus": 200, "EdgeStartTimestamp": AT, "EdgeEndTimestamp": AT + 18_000_000}  # fmt: skip
    event = of(line)
    assert (event.duration_ms, event.start_unix_ns, event.end_unix_ns) == (18.0, AT, AT + 18_000_000)
    assert of({**line, "EdgeEndTimestamp": AT - 1}).duration_ms == -1.0
    assert of({**line, "EdgeEndTimestamp": "soon"}).duration_ms == -1.0


@pytest.mark.parametrize(
    ("line", "scheme"),
    [
        ({"request": {"proto": "HTTP/2.0", "method": "GET", "uri": "/a", "tls": {"version": 772}},
          "status": 200}, "https"),  # Caddy
        ({"request_uri": "/a", "request_method": "GET", "status": 200, "ssl_protocol": "TLSv1.3"}, "https"),
        ({"request_uri": "/a", "request_method": "GET", "status": 200, "ssl_protocol": ""}, "http"),
        ({"request_uri": "/a", "request_method": "GET", "status": 200, "https": "on"}, "https"),
        ({"request_uri": "/a", "request_method": "GET", "status": 200, "scheme": "http", "https": "on"}, "http"),
        ({"properties": {"httpMethod": "GET", "httpStatus": 200, "requestUri": "/a", "sslEnabled": "off"}}, "http"),
    ],
)  # fmt: skip
def test_a_version_of_tls_tells_the_scheme(line: dict[str, Any], scheme: str) -> None:
    assert of(line).uri == f"{scheme}://shop/a"


def test_parts_of_nanoseconds_are_seconds() -> None:
    line = {
        "network": {"client": {"ip": "203.0.113.7"}},
        "http": {"method": "GET", "url": "/v1/items/7", "status_code": 200},
    }
    assert of({**line, "duration": 0.064}).duration_ms == 64.0  # nginx's $request_time under Datadog's name
    assert of({**line, "duration": 64_000_000}).duration_ms == 64.0


REQUEST = {"method": "GET", "uri": "/v1/items/7", "version": "HTTP/1.1", "name": "request"}


@pytest.mark.parametrize(
    "line",
    [
        # https://docs.rs/tracing-subscriber: Json, as it is and flattened
        {"fields": {"message": "finished processing request", "latency": "60 ms", "status": 200}, "span": REQUEST},
        {"message": "finished processing request", "latency": "60 ms", "status": 200, "span": REQUEST},
        # https://github.com/logfellow/logstash-logback-encoder: access events
        {"method": "GET", "status_code": 200, "requested_url": "GET /v1/items/7 HTTP/1.1",
         "requested_uri": "/v1/items/7", "remote_host": "203.0.113.7", "elapsed_time": 60},
    ],
)  # fmt: skip
def test_requests_in_the_words_of_rust_and_logback(line: dict[str, Any]) -> None:
    event = of({"timestamp": "2026-03-02T09:00:00Z", "level": "INFO", "target": "tower_http::trace", **line})
    assert (event.event_type, event.uri, event.status) == (API_CALL, "http://shop/v1/items/7", 200)
    assert (event.duration_ms, event.severity_number, event.end_unix_ns) == (60.0, 9, AT)
    started = {"fields": {"message": "started processing request"}, "span": REQUEST}
    assert of({"level": "DEBUG", "target": "tower_http::trace", **started}).event_type == LOG


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-02 09:00:00 UTC",  # PostgreSQL, Ruby
        "Mon, 02 Mar 2026 09:00:00 GMT",  # HTTP
        "Mon, 2 Mar 2026 10:00:00 +0100",  # mail
        "2026-03-02T10:00:00+01",
        "2026/03/02 09:00:00 +0000",  # Go's log, Ruby
        "2026-03-02T09:00:00.000Z[UTC]",  # Java's ZonedDateTime
        {"seconds": 1772442000, "nanos": 0},  # protobuf
    ],
)
def test_times_as_they_are_written_elsewhere(written: Any) -> None:
    assert of({"message": "x", "timestamp": written}).end_unix_ns == AT


def test_log4j_s_instant_is_a_time_to_the_nanosecond() -> None:
    line = {"instant": {"epochSecond": 1772442000, "nanoOfSecond": 123456789}, "level": "ERROR", "message": "x"}
    assert of(line).end_unix_ns == AT + 123_456_789


def test_the_level_of_a_line_that_docker_wrapped_counts() -> None:
    line = {"log": "2026-03-02 09:00:00,123 ERROR [main] c.e.Shop - boom\n", "stream": "stderr"}
    assert of(line).severity_number == 17
    assert of({**line, "level": "info"}).severity_number == 9


@pytest.mark.parametrize(
    ("line", "ms"),
    [
        # slog, by the order in which it writes its own keys: nanoseconds
        ('{"time":"T","level":"INFO","msg":"m",%s,"duration":60214000}', 60.214),
        ('{"time":"T","level":"INFO","msg":"m",%s,"duration":125}', -1.0),
        ('{"time":"T","level":"INFO","msg":"m",%s,"duration":12.5}', -1.0),
        ('{"level":"INFO","time":"T","msg":"m",%s,"duration":60214000}', -1.0),
        # zerolog: milliseconds
        ('{"level":"info",%s,"duration":60.2,"time":"T","message":"m"}', 60.2),
        ('{"level":"info","ip":"x",%s,"duration":60.2,"time":"T"}', 60.2),
        # zap's production settings: seconds
        ('{"level":"info","ts":1.5,"caller":"c","msg":"m",%s,"duration":0.0602}', 60.2),
        # anybody's
        ('{%s,"duration":60214000}', -1.0),
    ],
)
def test_gos_loggers_write_durations_in_their_own_units(line: str, ms: float) -> None:
    event = of(line % '"method":"GET","path":"/v1/items/7","status":200')
    assert (event.event_type, event.route) == (API_CALL, "/v1/items/{id}")
    assert event.duration_ms == pytest.approx(ms)


def test_a_target_says_more_than_the_pattern_beside_it() -> None:
    told = {"method": "GET", "status": 200, "uri": "/v1/items/7?x=1"}
    event = of({**told, "path": "/v1/items/:item"})
    assert (event.uri, event.route) == ("http://shop/v1/items/7?x=1", "/v1/items/{item}")
    assert of({**told, "path": "/*"}).route == "/v1/items/{id}"


def test_date_and_time_of_day_in_two_fields_are_the_time_of_a_line() -> None:
    line = {
        "date": "2026-03-02",
        "time": "09:00:00",
        "cs-method": "GET",
        "cs-uri-stem": "/v1/items/7",
        "sc-status": "200",
    }
    assert of({**line, "time-taken": "0.018", "x-edge-request-id": "r"}).end_unix_ns == AT
    assert of({**line, "time": "soon"}).event_type == API_CALL


# The Collector's encoding extensions, by the files beside their tests: attributes, no body.
# https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/extension/encoding
ENCODED: dict[str, dict[str, Any]] = {
    "ELB": {
        "client.address": "203.0.113.7", "client.port": 2817, "http.request.method": "GET",
        "url.full": "https://api.example.com:443/v1/items/7?x=1", "url.domain": "api.example.com",
        "aws.elb.status.code": 200, "aws.elb.backend.status.code": 502, "destination.address": "10.0.0.1",
        "user_agent.original": "curl/8", "aws.elb.request_processing_time": 0.001,
        "aws.elb.target_processing_time": 0.016, "aws.elb.response_processing_time": 0.001,
    },
    "Front Door": {
        "azure.category": "FrontDoorAccessLog", "http.response.status_code": 200, "azure.request.duration": 0.018,
        "azure.time_to_first_byte": 0.01, "url.full": "https://api.example.com:443/v1/items/7?x=1",
        "http.request.method": "GET", "user_agent.original": "curl/8", "client.address": "203.0.113.7",
        "network.peer.address": "203.0.113.9", "http.request.header.host": "api.example.com",
        "server.address": "23.100.1.29", "server.port": 443,
    },
    "App Service": {
        "azure.category": "AppServiceHTTPLogs", "client.address": "203.0.113.7", "destination.address": "10-1",
        "http.request.header.host": "api.example.com", "http.request.method": "GET", "url.query": "x=1",
        "url.path": "/v1/items/7", "url.scheme": "https", "user.name": "-", "http.response.status_code": 200,
        "azure.duration": 18.0, "user_agent.original": "curl/8",
    },
    "Google's load balancer": {
        "gcp.load_balancing.status.details": "response_sent_by_backend", "network.peer.address": "203.0.113.7",
        "http.request.method": "GET", "url.full": "https://api.example.com/v1/items/7?x=1",
        "http.response.status_code": 200, "user_agent.original": "curl/8", "server.address": "10.20.0.4",
        "http.request.server.duration": 0.018,
    },
    "Google's log entries": {
        "gcp.log_name": "projects/p/logs/run.googleapis.com%2Frequests",
        "gcp.http_request": {
            "remote_ip": "203.0.113.7", "request_url": "https://api.example.com/v1/items/7?x=1", "status": 200,
            "request_method": "GET", "server_ip": "10.0.0.1", "user_agent": "curl/8", "latency": "0.018s",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODED)
def test_access_logs_that_the_collector_decoded_into_attributes_are_calls(encoding: str) -> None:
    event = of({}, ENCODED[encoding])
    assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
    assert (event.uri, event.ip_address) == ("https://api.example.com/v1/items/7?x=1", "203.0.113.7")
    assert (event.user_agent, event.user_id) == ("curl/8", "")
    assert event.duration_ms == pytest.approx(18.0)


@pytest.mark.parametrize("sign", ["log.file.name", "log.file.path", "log.iostream"])
def test_a_line_of_a_file_that_the_collector_parsed_into_attributes_is_a_call(sign: str) -> None:
    """As json_parser leaves it where the body is removed, or replaced by the line's message."""
    told = {sign: "x", "method": "GET", "request_uri": "/v1/items/7?x=1", "status": "200", "request_time": "0.018"}
    for body in (None, "request done"):
        event = of(body, told)
        assert (event.event_type, event.route, event.status, event.duration_ms) == (
            API_CALL,
            "/v1/items/{id}",
            200,
            18.0,
        )
    pino = {
        "req": {"method": "GET", "url": "/v1/items/7", "headers": {"x-request-id": "r1"}},
        "res": {"statusCode": 404},
    }
    event = of("request completed", {sign: "x", "responseTime": 18.0, "pid": 1, "user_id": "ann", **pino})
    assert (event.event_type, event.status, event.duration_ms, event.user_id) == (API_CALL, 404, 18.0, "ann")
    assert of("request completed", {"responseTime": 18.0, "pid": 1, **pino}).event_type == LOG, "an SDK's own"


def test_api_management_that_the_collector_decoded_tells_user_and_plan() -> None:
    event = of(
        {},
        {"azure.category": "GatewayLogs", "azure.operation.duration": 18, "network.peer.address": "203.0.113.7",
         "method": "GET", "url": "https://api.example.com/v1/items/7", "responseCode": 200, "backendResponseCode": 502,
         "userId": "ann", "productId": "gold"},
    )  # fmt: skip
    assert (event.event_type, event.status, event.user_id, event.plan_id) == (API_CALL, 200, "ann", "gold")
    assert (event.duration_ms, event.ip_address) == (18.0, "203.0.113.7")


# Clouds in JSON, by their documents, and what they tell beside GET /v1/items/7.
CLOUDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # https://docs.aws.amazon.com/waf/latest/developerguide/logging-fields.html
    "AWS WAF, blocked": (
        {"timestamp": 1772442000000, "webaclId": "arn:aws:wafv2:x", "terminatingRuleId": "limit", "action": "BLOCK",
         "responseCodeSent": 403, "httpRequest": {
             "clientIp": "203.0.113.7", "headers": [{"name": "Host", "value": "api.example.com"},
                                                    {"name": "User-Agent", "value": "curl/8"}],
             "uri": "/v1/items/7", "args": "x=1", "httpMethod": "GET", "requestId": "r1"}},
        {"status": 403, "ip_address": "203.0.113.7", "uri": "http://api.example.com/v1/items/7?x=1",
         "user_agent": "curl/8", "error_type": "authorization"},
    ),
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
    "API Gateway with the variables' own names": (
        {"requestId": "r1", "authorizer.principalId": "ann", "domainName": "api.example.com", "httpMethod": "GET",
         "identity.apiKeyId": "k17", "identity.sourceIp": "203.0.113.7", "identity.userAgent": "curl/8",
         "path": "/v1/items/7", "resourcePath": "/v1/items/{id}", "status": "200", "responseLatency": "18",
         "integration.status": "502", "requestTimeEpoch": "1772442000000"},
        {"status": 200, "user_id": "ann", "client_id": "k17", "ip_address": "203.0.113.7", "user_agent": "curl/8",
         "duration_ms": 18.0, "start_unix_ns": AT},
    ),
    # https://cloud.google.com/logging/docs/view/service/appengine-logs
    "App Engine": (
        {"protoPayload": {"@type": "type.googleapis.com/google.appengine.logging.v1.RequestLog", "requestId": "r1",
                          "ip": "203.0.113.7", "startTime": "2026-03-02T09:00:00Z", "latency": "0.018s",
                          "method": "GET", "resource": "/v1/items/7?x=1", "status": 200, "host": "api.example.com"},
         "httpRequest": {"status": 200}, "severity": "INFO", "timestamp": "2026-03-02T09:00:00.018Z"},
        {"status": 200, "uri": "http://api.example.com/v1/items/7?x=1", "duration_ms": 18.0,
         "ip_address": "203.0.113.7", "severity_number": 9, "start_unix_ns": AT},
    ),
    "Apigee": (
        {"apiproxy": "shop", "request_verb": "GET", "request_uri": "/v1/items/7?x=1", "response_status_code": 200,
         "target_response_code": 502, "client_ip": "203.0.113.7", "developer_email": "ann@example.com",
         "developer_app": "till", "api_product": "gold", "total_response_time": 18},
        {"status": 200, "user_id": "ann@example.com", "application_id": "till", "plan_id": "gold", "duration_ms": 18.0},
    ),
    "IIS with underscores": (
        {"date": "2026-03-02", "time": "09:00:00", "s_ip": "10.0.0.4", "cs_method": "GET", "cs_uri_stem": "/v1/items/7",
         "s_port": "443", "cs_username": "ann", "c_ip": "203.0.113.7", "sc_status": "200", "sc_substatus": "0",
         "time_taken": "18"},
        {"status": 200, "user_id": "ann", "ip_address": "203.0.113.7", "duration_ms": 18.0, "end_unix_ns": AT},
    ),
    # https://docs.cilium.io/en/stable/observability/hubble/
    "Cilium": (
        {"flow": {"time": "2026-03-02T09:00:00Z", "IP": {"source": "203.0.113.7"}, "l7": {
            "type": "RESPONSE", "latency_ns": "18200000", "http": {
                "code": 200, "method": "GET", "url": "http://api.example.com/v1/items/7", "protocol": "HTTP/1.1"}}}},
        {"status": 200, "ip_address": "203.0.113.7", "duration_ms": 18.2, "end_unix_ns": AT},
    ),
    # https://www.moesif.com/docs/api
    "Moesif": (
        {"request": {"time": "2026-03-02T09:00:00.000Z", "uri": "https://api.example.com/v1/items/7", "verb": "GET",
                     "headers": {"User-Agent": "curl/8"}, "ip_address": "203.0.113.7"},
         "response": {"time": "2026-03-02T09:00:00.018Z", "status": 200}, "user_id": "ann", "company_id": "acme"},
        {"status": 200, "user_id": "ann", "company_id": "acme", "ip_address": "203.0.113.7", "duration_ms": 18.0,
         "start_unix_ns": AT, "user_agent": "curl/8"},
    ),
    "HAR": (
        {"startedDateTime": "2026-03-02T09:00:00.000Z", "time": 18.2, "request": {
            "method": "GET", "url": "https://api.example.com/v1/items/7", "headers": [{"name": "User-Agent",
                                                                                       "value": "curl/8"}]},
         "response": {"status": 200, "headers": []}},
        {"status": 200, "duration_ms": 18.2, "user_agent": "curl/8"},
    ),
    "Portkey": (
        {"request": {"url": "https://api.portkey.ai/v1/items/7", "method": "GET"}, "metadata": {"_user": "ann"},
         "response": {"status": 200, "responseTime": 900}},
        {"status": 200, "duration_ms": 900.0, "user_id": "ann"},
    ),
    # https://docs.railway.com/reference/logging
    "Railway": (
        {"requestId": "r1", "method": "GET", "path": "/v1/items/7", "host": "api.example.com", "httpStatus": 200,
         "downstreamProto": "HTTP/2.0", "upstreamAddress": "http://[fd12::1]:8080", "totalDuration": 18,
         "upstreamRqDuration": 16, "clientUa": "curl/8", "srcIp": "203.0.113.7"},
        {"status": 200, "duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "curl/8"},
    ),
    # https://developers.cloudflare.com/workers/observability/logs/tail-workers/
    "Cloudflare's tail": (
        {"outcome": "ok", "scriptName": "w", "eventTimestamp": 1772442000000, "wallTime": 18, "event": {
            "request": {"url": "https://api.example.com/v1/items/7", "method": "GET",
                        "headers": {"cf-connecting-ip": "203.0.113.7"}}, "response": {"status": 200}}},
        {"status": 200, "duration_ms": 18.0, "start_unix_ns": AT, "ip_address": "203.0.113.7"},
    ),
    # https://vercel.com/docs/drains/reference/logs
    "Vercel": (
        {"deploymentId": "d", "host": "api.example.com", "path": "/v1/items/7", "statusCode": 200, "timestamp":
         1772442000000, "proxy": {"method": "GET", "host": "api.example.com", "path": "/v1/items/7?x=1",
                                  "scheme": "https", "statusCode": 200, "clientIp": "203.0.113.7"}},
        {"status": 200, "uri": "https://api.example.com/v1/items/7?x=1", "end_unix_ns": AT},
    ),
    # https://learn.microsoft.com/en-us/azure/azure-monitor/reference/tables/appservicehttplogs; at times it is text
    "App Service, properties as text": (
        {"category": "AppServiceHTTPLogs", "properties": orjson.dumps(
            {"CsHost": "api.example.com", "CIp": "203.0.113.7", "CsUriStem": "/v1/items/7", "CsMethod": "GET",
             "TimeTaken": 18, "ScStatus": "200", "ScSubStatus": "0"}).decode()},
        {"status": 200, "duration_ms": 18.0, "ip_address": "203.0.113.7", "uri": "http://api.example.com/v1/items/7"},
    ),
    # https://www.fastly.com/documentation/guides/integrations/logging-endpoints/log-streaming-honeycomb/
    "Fastly": (
        {"time": "2026-03-02T09:00:00Z", "data": {
            "service_id": "s", "time_elapsed": 18000, "request": "GET", "host": "api.example.com", "url": "/v1/items/7",
            "client_ip": "203.0.113.7", "status": "200"}},
        {"status": 200, "duration_ms": 18.0, "uri": "http://api.example.com/v1/items/7", "end_unix_ns": AT},
    ),
    # https://github.com/rails/rails and https://github.com/heroku/rails_structured_logging
    "Rails' structured logging": (
        {"at": "2026-03-02T09:00:00Z", "src": "rails", "evt": "request", "method": "GET", "path": "/v1/items/7",
         "status": 200, "duration_ms": 18.2},
        {"status": 200, "duration_ms": 18.2, "end_unix_ns": AT},
    ),
}  # fmt: skip


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_clouds_log_is_the_call_that_it_tells(cloud: str) -> None:
    line, told = CLOUDS[cloud]
    event = of(line)
    assert (event.event_type, event.verb, event.route) == (API_CALL, "GET", "/v1/items/{id}")
    assert {name: getattr(event, name) for name in told} == told


def test_requests_that_a_firewall_let_through_are_told_by_others() -> None:
    line = CLOUDS["AWS WAF, blocked"][0]
    assert of({**line, "action": "ALLOW", "responseCodeSent": None}).event_type == LOG


def test_the_trace_of_a_lambda_report_counts() -> None:
    event = of(
        {"type": "platform.report", "record": {"requestId": "r1", "metrics": {"durationMs": 33.5}, "tracing": {
            "type": "X-Amzn-Trace-Id",
            "value": "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=1"}}}
    )  # fmt: skip
    assert (event.event_type, event.trace_id) == (LOG, "62e900b2710d76f009d6e7785905449a")
