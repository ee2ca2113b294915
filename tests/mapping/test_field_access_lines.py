"""Access lines in plain text, whatever server or team has thought of their format, and prose that looks like one."""

from __future__ import annotations

from typing import Any

import pytest

from log_lines import AT, COMBINED, of
from mapping.dialects import access_line
from mapping.dialects.lines import LONGEST_LINE
from mapping.event import API_CALL, LOG

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
