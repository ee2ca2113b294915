"""What loggers write into the fields of a line: ids, levels, durations, times, requests in their own words."""

from __future__ import annotations

from typing import Any

import pytest

from log_lines import AT, TRACE, of
from mapping.event import API_CALL, LOG
from mapping.logs.levels import level_in
from mapping_requests import log, logs, mapped

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
