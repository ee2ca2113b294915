"""Lines as servers, proxies and loggers wrote them when they were run, and the calls, levels and callers they tell."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mapping.event import API_CALL, LOG, Event
from mapping.settings import MappingSettings
from mapping_requests import log, logs, mapped

TRACE = "0af7651916cd43dd8448eb211c80319c"
AT = 1_772_442_000_000_000_000  # 2026-03-02T09:00:00Z
E = "\x1b["


def of(body: Any, attributes: dict[str, Any] | None = None) -> Event:
    sent = logs(log(body, attributes, time_unix_nano=0), resource={"service.name": "shop"})
    (event,) = mapped(sent).events
    return event


CALL = {"method": "GET", "path": "/v1/items/7", "status": 200}

# Access lines without quotes around the request, or without a time zone, and what they tell beside GET /v1/items/7.
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "Squid": (
        "1772442000.018     18 203.0.113.7 TCP_MISS/200 221 GET http://api.example.com/v1/items/7? ann "
        "HIER_DIRECT/10.0.0.2 text/html",
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "user_id": "ann", "end_unix_ns": AT + 18_000_000,
         "uri": "http://api.example.com/v1/items/7"},
    ),
    "Squid, combined": (
        '203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000] "GET http://api.example.com/v1/items/7? HTTP/1.1" 200 221 "-" '
        '"probe/1" TCP_MISS:FIRSTUP_PARENT',
        {"ip_address": "203.0.113.7", "user_id": "ann", "user_agent": "probe/1", "end_unix_ns": AT},
    ),
    "Sanic": (
        "Main |2026-03-02 09:00:00 +0000 INFO: 203.0.113.7:3762 GET "
        "http://api.example.com/v1/items/7?x=1 200 2  0.1ms",
        {"duration_ms": 0.1, "ip_address": "203.0.113.7", "uri": "http://api.example.com/v1/items/7?x=1"},
    ),
    "Sanic before 24": (
        "[2026-03-02 09:00:00 +0000] - (sanic.access)[INFO][203.0.113.7:3762]: GET "
        "http://api.example.com/v1/items/7  200 2",
        {"ip_address": "203.0.113.7", "uri": "http://api.example.com/v1/items/7"},
    ),
    "Gitea": (
        "2026/03/02 09:00:00 ...eb/routing/logger.go:102:func1() [I] router: completed GET /v1/items/7?x=1 for "
        f"203.0.113.7:37626, {E}1;32m200{E}0m OK in 18.2ms @ repo/view.go:780(repo.Home)",
        {"duration_ms": 18.2, "ip_address": "203.0.113.7", "uri": "http://shop/v1/items/7?x=1", "severity_number": 9},
    ),
    "Werkzeug": (
        '203.0.113.7 - - [02/Mar/2026 09:00:00] "GET /v1/items/7?x=1 HTTP/1.1" 200 -',
        {"ip_address": "203.0.113.7"},
    ),
    "Werkzeug in colours": (f'203.0.113.7 - - [02/Mar/2026 09:00:00] "{E}36mGET /v1/items/7 HTTP/1.1{E}0m" 200 -', {}),
    "IIS without its header": (
        "2026-03-02 09:00:00 10.0.0.4 GET /v1/items/7 x=1&token=hunter2fake 443 ann 203.0.113.7 "
        "Mozilla/5.0+(X11) - 200 0 0 18",
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "user_id": "ann", "end_unix_ns": AT},
    ),
    "CloudFront without its header": (
        "2026-03-02\t09:00:00\tLHR50-C1\t1234\t203.0.113.7\tGET\td1.cloudfront.net\t/v1/items/7\t200\t-\tcurl/8\t"
        "x=1&token=hunter2fake\tsid=hunter2fake\tMiss\tr1==\tapi.example.com\thttps\t30\t0.018\t-\tTLSv1.3\tx\tMiss\tHTTP/2.0\t-\t-"
        "\t52000\t0.018\tMiss\tapplication/json\t13\t-\t-",
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "curl/8", "end_unix_ns": AT},
    ),
    "Tomcat, its reference's example": (
        "[02/Mar/2026:09:00:00 +0000] 203.0.113.7 GET /v1/items/7 HTTP/1.1 200 (44070 microseconds)",
        {"duration_ms": 44.07, "ip_address": "203.0.113.7", "end_unix_ns": AT},
    ),
    "Tomcat, a pattern of one's own": ("203.0.113.7 GET /v1/items/7?x=1 200 44070", {"ip_address": "203.0.113.7"}),
    "Undertow, a pattern of one's own": ("203.0.113.7 GET /v1/items/7 200 14ms", {"duration_ms": 14.0}),
    "Rack": (
        '203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7 HTTP/1.1" 200 2 0.0182',
        {"duration_ms": 18.2, "user_id": "ann"},
    ),
    "LTSV": (
        "time:02/Mar/2026:09:00:00 +0000\thost:203.0.113.7\tforwardedfor:-\treq:GET /v1/items/7 HTTP/1.1\tstatus:200\t"
        "size:13\treferer:-\tua:curl/8\tvhost:api.example.com\treqtime:0.018\tuser:ann",
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "curl/8", "user_id": "ann", "end_unix_ns": AT,
         "uri": "http://api.example.com/v1/items/7"},
    ),
    "lograge, LTSV": (
        "method:GET\tpath:/v1/items/7\tformat:html\tcontroller:C\taction:show\tstatus:200\tduration:18.20\tuser_id:ann",
        {"duration_ms": 18.2, "user_id": "ann"},
    ),
    "lograge with its parameters": (
        "method=GET path=/v1/items/7 format=html controller=C action=show status=200 duration=18.20 view=1.20 db=0.50 "
        'user_id=ann params={"q"=>"a b", "password"=>"hunter2fake"}',
        {"duration_ms": 18.2, "user_id": "ann"},
    ),
    "lograge, l2met": (
        "method=GET path=/v1/items/7 format=html source=C:show status=200 error='' measure#page.duration=18.20 "
        "user_id=ann",
        {"user_id": "ann"},
    ),
    "tracing with headers": (
        f"{E}2m2026-03-02T09:00:00Z{E}0m {E}32m INFO{E}0m {E}1mrequest{E}0m{E}1m{{{E}0m{E}3mmethod{E}0m{E}2m={E}0mGET "
        f"{E}3muri{E}0m{E}2m={E}0m/v1/items/7 {E}3mversion{E}0m{E}2m={E}0mHTTP/1.1 {E}3mheaders{E}0m{E}2m={E}0m"
        f'{{"host": "a", "cookie": "sid=hunter2fake"}}{E}1m}}{E}0m{E}2m:{E}0m {E}2mtower_http::trace{E}0m{E}2m:'
        f"{E}0m finished processing request {E}3mlatency{E}0m{E}2m={E}0m957 \u03bcs {E}3mstatus{E}0m{E}2m={E}0m200 "
        f'{E}3mresponse_headers{E}0m{E}2m={E}0m{{"content-type": "text/plain"}}',
        {"duration_ms": 0.957, "severity_number": 9},
    ),
    "tracing, compact": (
        "2026-03-02T09:00:00Z  INFO request: tower_http::trace::on_response: finished processing request "
        'latency=957 \u03bcs status=200 response_headers={"content-type": "text/plain"} method=GET uri=/v1/items/7 '
        'version=HTTP/1.1 headers={"host": "a", "cookie": "sid=hunter2fake"}',
        {"duration_ms": 0.957, "severity_number": 9},
    ),
    "tracing, logfmt": (
        "ts=2026-03-02T09:00:00Z level=info target=tower_http::trace::on_response span=request span_path=request "
        'message="finished processing request" latency="957 \u03bcs" status=200 method=GET uri=/v1/items/7 '
        "version=HTTP/1.1",
        {"duration_ms": 0.957, "end_unix_ns": AT},
    ),
}  # fmt: skip


@pytest.mark.parametrize("logger", LINES)
def test_an_access_line_is_the_call_that_it_tells(logger: str) -> None:
    line, told = LINES[logger]
    for body in (line, orjson.dumps({"log": f"{line}\n", "stream": "stdout", "host": "n1.example.com"}).decode()):
        event = of(body)
        assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
        assert {name: pytest.approx(getattr(event, name)) for name in told} == told
        assert "hunter2fake" not in repr(event)
        assert "n1.example.com" not in event.uri


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/items/7 gives 200 when the item is there",
        "send a GET /v1/items/7 to 203.0.113.7 and expect 200",
        "203.0.113.7 asked for /v1/items/7, which is 200 lines long",
        "10.0.0.1 GET /v1/items/7 2000 ms",
        "10.0.0.1 GET /v1/items/7 200.5",
        "10.0.0.1 GET /v1/items/7 failed: 200",
        "1.2.3 GET /a 200",
        "1772442000.018 18 203.0.113.7 TCP_DENIED GET http://a/b",
        "1772442000 GET /a/b 200",
        "2026-03-02 09:00:00 10.0.0.4 GET /v1/items/7 took 200 ms",
        "2026/03/02 09:00:00 [I] router: slow      GET /v1/items/7 for 203.0.113.7:1, elapsed 3211.2ms @ a.go:1(a)",
        "router: completed GET the list, 200 OK in 3 minutes",
        "status:200\tthe page\tis there",
        "a:b\tstatus:200\tnothing more",
        "fixed: GET /items/7 200\t-> 404",
        "| GET | /v1/items/{id} | 200 | the item |",
        "- `GET /v1/items/7` -> 200",
        "curl -X GET http://127.0.0.1:8000/v1/items/7 200",
    ],
)
def test_prose_and_half_an_access_line_are_logs(line: str) -> None:
    event = of(line)
    assert (event.event_type, event.status, event.verb) == (LOG, 0, "")
    assert event.body == line


# Objects as the loggers write them, and what they tell beside GET /v1/items/7 with 200.
OBJECTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Logback's JsonEncoder": (
        {"sequenceNumber": 0, "timestamp": 1772442000000, "nanoseconds": 0, "level": "INFO", "threadName": "main",
         "loggerName": "shop", "context": {"name": "default", "birthdate": 1, "properties": {}},
         "mdc": {"trace_id": TRACE, "user_id": "ann"},
         "kvpList": [{"method": "GET"}, {"path": "/v1/items/7"}, {"status": "200"}, {"duration_ms": "18"},
                     {"password": "hunter2fake"}],
         "message": "done", "throwable": None},
        {"duration_ms": 18.0, "user_id": "ann", "trace_id": TRACE, "severity_number": 9, "end_unix_ns": AT},
    ),
    "Log4j's JsonLayout with lists": (
        {"timeMillis": 1772442000000, "thread": "main", "level": "INFO", "loggerName": "shop",
         "message": {**CALL, "duration_ms": 18},
         "contextMap": [{"key": "trace_id", "value": TRACE}, {"key": "user_id", "value": "ann"},
                        {"key": "password", "value": "hunter2fake"}]},
        {"duration_ms": 18.0, "user_id": "ann", "trace_id": TRACE, "end_unix_ns": AT},
    ),
    "Log4j's MapMessage in a template": (
        {"timestamp": "2026-03-02T09:00:00Z", "severity": "INFO", "logging.googleapis.com/labels": {"user_id": "ann"},
         "message": 'duration_ms="18" method="GET" password="hunter2fake" path="/v1/items/7" status="200"'},
        {"duration_ms": 18.0, "user_id": "ann", "end_unix_ns": AT},
    ),
    "Boot's GELF": (
        {"version": "1.1", "short_message": "done", "timestamp": 1772442000.0, "level": 6, "_level_name": "INFO",
         "host": "vm",
         "_user_id": "ann", "_http.request.method": "GET", "_url.path": "/v1/items/7",
         "_http.response.status_code": 200,
         "_event.duration": 18000000},
        {"duration_ms": 18.0, "user_id": "ann", "severity_number": 9, "end_unix_ns": AT},
    ),
    "tracing's JSON, its target beside the URI": (
        {"timestamp": "2026-03-02T09:00:00Z", "level": "INFO", "target": "shop",
         "fields": {"message": "done", "method": "GET", "uri": "/v1/items/7", "status": "200 OK", "latency": "18.2ms"},
         "span": {"user_id": "ann", "name": "request"}},
        {"duration_ms": 18.2, "user_id": "ann", "uri": "http://shop/v1/items/7"},
    ),
    "tracing-bunyan-formatter": (
        {"v": 0, "name": "shop", "msg": "[REQUEST - EVENT] finished processing request", "level": 30,
         "hostname": "vm", "pid": 1,
         "time": "2026-03-02T09:00:00Z", "target": "tower_http::trace::on_response", "line": 114, "status": 200,
         "latency": "957 \u03bcs", "method": "GET", "uri": "/v1/items/7", "version": "HTTP/1.1"},
        {"duration_ms": 0.957, "uri": "http://shop/v1/items/7"},
    ),
    "tracing-actix-web, the close of its span": (
        {"timestamp": "2026-03-02T09:00:00Z", "level": "INFO", "target": "tracing_actix_web::root_span_builder",
         "fields": {"message": "close", "time.busy": "98.4\u00b5s", "time.idle": "1.6ms"},
         "span": {"http.method": "GET", "http.target": "/v1/items/7", "http.status_code": 200,
                  "http.client_ip": "203.0.113.7",
                  "http.host": "api.example.com", "http.route": "/v1/items/{id}", "otel.kind": "server"}},
        {"duration_ms": 1.6984, "ip_address": "203.0.113.7", "uri": "http://api.example.com/v1/items/7"},
    ),
    "Squid's JSON": (
        {"@timestamp": "2026-03-02T09:00:00+0000", "src_ip": "203.0.113.7", "http_method": "GET",
         "uri": "http://api.example.com/v1/items/7", "http_status": "200", "squid_status": "TCP_MISS",
         "response_time": "18",
         "user": "-", "host": "10.0.0.1", "http_user_agent": "probe/1"},
        {"duration_ms": 18.0, "ip_address": "203.0.113.7", "user_agent": "probe/1", "user_id": "",
         "uri": "http://api.example.com/v1/items/7"},
    ),
    "rsyslog's JSON": (
        {"@timestamp": "2026-03-02T09:00:01Z", "host": "vm.example.com", "severity": "WARNING", "source": "nginx",
         "message":
         ' 203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7 HTTP/1.1" 200 2 "-" "probe/1"'},
        {"ip_address": "203.0.113.7", "user_id": "ann", "severity_number": 13, "uri": "http://shop/v1/items/7"},
    ),
    "syslog-ng's JSON": (
        {"TAGS": ".source.s", "SOURCEIP": "10.0.0.1", "SOURCE": "s", "PROGRAM": "app", "PRIORITY": "warning",
         "HOST": "vm", "HOST_FROM": "vm", "FACILITY": "local6", "MESSAGE":
         '203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7 HTTP/1.1" 200 2 "-" "probe/1"'},
        {"ip_address": "203.0.113.7", "user_id": "ann", "severity_number": 13, "uri": "http://shop/v1/items/7"},
    ),
    "syslog-ng's JSON around an application's": (
        {"SOURCEIP": "10.0.0.1", "HOST": "vm", "LEVEL_NUM": 4, "time": "2026-03-02T09:00:00+00:00", "MESSAGE":
         '{"method":"GET","path":"/v1/items/7","status":200,"user_id":"ann"}'},
        {"ip_address": "", "user_id": "ann", "severity_number": 13, "uri": "http://shop/v1/items/7", "end_unix_ns": AT},
    ),
}  # fmt: skip


@pytest.mark.parametrize("logger", OBJECTS)
def test_an_object_is_the_call_that_it_tells(logger: str) -> None:
    line, told = OBJECTS[logger]
    text = orjson.dumps(line).decode()
    for body in (text, line, orjson.dumps({"log": f"{text}\n", "stream": "stdout"}).decode()):
        event = of(body)
        assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
        assert {name: pytest.approx(getattr(event, name)) for name in told} == told
        assert "hunter2fake" not in repr(event)


def test_the_name_of_a_module_is_no_url() -> None:
    for target in ("shop", "shop::orders", "tower_http::trace::on_response"):
        assert of({"target": target, "method": "GET", "status": 200}).event_type == LOG
    assert of({"target": "/v1/items/7?x=1", "method": "GET", "status": 200}).uri == "http://shop/v1/items/7?x=1"
    assert of({"target": "https://a.example.com/v1", "method": "GET", "status": 200}).uri == "https://a.example.com/v1"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        # slog-term and slog-json of Rust
        ("Mar 02 09:00:00.326 WARN card declined, order: 17", 13),
        ("Mar 02 09:00:00.326 ERRO failed, order: 17", 17),
        ({"msg": "d", "level": "DEBG"}, 5),
        # rsyslog and every program behind it
        ("<11>1 2026-03-02T09:00:00Z vm app - - - failed", 17),
        ("<190>1 2026-03-02T09:00:00Z web1 app 7 - - done", 9),
        ("<13>Mar  2 09:00:00 vm app: noticed", 10),
        ("<14>1 2026-03-02T09:00:00Z vm 7 - - ERROR cannot pay", 17),
        ("<p>done</p>", 0),
        ("<9999>1 x", 0),
        # java.util.logging
        ("Mar 2, 2026 9:00:00 AM shop.Orders pay\nSEVERE: cannot pay\njava.io.IOException: x", 17),
        ("Mar 2, 2026 9:00:00 AM shop.Orders pay\nplain", 0),
        # keys of syslog's numbers
        ({"syslog.severity": 4, "message": "m"}, 13),
        ({"syslog": {"severity": 3, "facility": 1}, "message": "m"}, 17),
        ({"syslog": {"severity": {"code": 3, "name": "err"}}, "message": "m"}, 17),
        ({"log": {"syslog": {"severity": {"code": 5}}}, "message": "m"}, 10),
        ({"severity_code": 4, "message": "m"}, 13),
        ({"syslog_severity_code": "2", "message": "m"}, 21),
        # levels of one's own, between those of pino and of Python
        ({"level": 35, "pid": 1, "hostname": "h", "msg": "m"}, 9),
        ({"levelno": 35, "msg": "m"}, 13),
    ],
)
def test_levels_are_read_where_loggers_write_them(line: Any, level: int) -> None:
    assert of(line if isinstance(line, str) else orjson.dumps(line).decode()).severity_number == level


@pytest.mark.parametrize("key", ["time_ms", "timeMs", "time_in_ms", "total_time_ms", "request_time_ms", "execTimeMs"])
def test_a_time_in_milliseconds_is_a_duration(key: str) -> None:
    event = of(orjson.dumps({**CALL, key: 18, "timestamp": "2026-03-02T09:00:00Z"}).decode())
    assert (event.event_type, event.end_unix_ns) == (API_CALL, AT)
    assert event.duration_ms == (18.0 if key != "execTimeMs" else -1.0)
    assert of(orjson.dumps({**CALL, key: AT // 1_000_000}).decode()).duration_ms == -1.0, "a time of day"


# What the loggers' own OpenTelemetry handlers send where a line tells of a call.
HANDLERS: dict[str, dict[str, Any]] = {
    "Logback's appender": {"method": "GET", "path": "/v1/items/7", "status": 200, "duration_ms": 18, "user_id": "ann"},
    "Log4j's appender": {"log4j.map_message.method": "GET", "log4j.map_message.path": "/v1/items/7", "user_id": "ann",
                         "log4j.map_message.status": "200", "log4j.map_message.duration_ms": "18"},
    "pino-opentelemetry-transport": {"req": {"method": "GET", "url": "/v1/items/7"}, "res": {"statusCode": 200},
                                     "responseTime": 18, "user_id": "ann"},
    "opentelemetry-appender-tracing": {"method": "GET", "uri": "/v1/items/7", "status": "200 OK", "latency": "18ms",
                                       "user_id": "ann"},
}  # fmt: skip


@pytest.mark.parametrize("handler", HANDLERS)
def test_attributes_tell_of_a_call_only_where_the_settings_say_so(handler: str) -> None:
    sent = logs(log("request completed", HANDLERS[handler]), resource={"service.name": "shop"})
    (line,) = mapped(sent).events
    assert (line.event_type, line.user_id) == (LOG, "ann")
    (event,) = mapped(sent, MappingSettings.model_validate({"logs": {"http_from_attributes": True}})).events
    assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 200, "/v1/items/{id}")
    assert (event.duration_ms, event.user_id) == (18.0, "ann")


# Lines with the context that a logger has written before the message; all name ann and a trace.
CONTEXTS = [
    f'2026-03-02T09:00:00Z  WARN request{{user_id="ann" company_id="acme" trace_id="{TRACE}"}}: shop: '
    "card declined order=17",
    f"2026-03-02T09:00:00Z  INFO outer{{trace_id={TRACE}}}:request{{user_id=ann company_id=acme}}: shop::orders: done",
    f'{E}2m2026-03-02T09:00:00Z{E}0m {E}32m INFO{E}0m {E}1mrequest{E}0m{E}1m{{{E}0m{E}3muser_id{E}0m{E}2m={E}0m"ann" '
    f'{E}3mcompany_id{E}0m{E}2m={E}0m"acme" {E}3mtrace_id{E}0m{E}2m={E}0m"{TRACE}"{E}1m}}{E}0m{E}2m:{E}0m shop: done',
    f"2026-03-02 09:00:00,000 [main] INFO  shop.Orders {{company_id=acme, trace_id={TRACE}, user_id=ann}} - done",
    f"2026-03-02 09:00:00,000 INFO  [trace_id={TRACE}, company_id=acme, span_id=b7ad6b7169203331, user_id=ann] "
    "shop - done",
    f"09:00:00.000 request_id=F1 trace_id={TRACE} user_id=ann company_id=acme [warning] card declined",
    f"2026-03-02 09:00:00.000 trace_id={TRACE} user_id=ann company_id=acme [info] done",
]


@pytest.mark.parametrize("line", CONTEXTS)
def test_the_context_before_a_message_names_the_caller(line: str) -> None:
    event = of(line)
    assert (event.event_type, event.user_id, event.company_id, event.trace_id) == (LOG, "ann", "acme", TRACE)
    assert event.severity_number in (9, 13)
    assert event.body == line


@pytest.mark.parametrize(
    "line",
    [
        "INFO created {user_id=bob, total=3} for him",
        f"INFO created Order{{user_id=bob, trace_id={TRACE}}}: ok",
        "INFO shop: got User{user_id=bob}: done",
        "saved [user_id=bob, plan=gold] again",
        "09:00:00.000 asked for user_id=bob [info] later",
        "INFO request{user_id}: shop: done a=b",
        "2026-03-02 09:00:00 ERROR Order{user_id=bob}: not saved",
    ],
)
def test_what_a_message_prints_names_nobody(line: str) -> None:
    assert of(line).user_id == ""


def test_an_event_within_a_request_that_has_a_status_of_its_own_is_no_call() -> None:
    line = "2026-03-02T09:00:00Z  INFO request{method=GET uri=/v1/items/7}: shop: the bank answered status=503"
    assert of(line).event_type == LOG
