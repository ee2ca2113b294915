"""Logs as shippers and the Collector hand them on: behind prefixes, inside objects, as attributes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from log_lines import AT, COMBINED, PLAIN, TRACE, of
from mapping.event import API_CALL, LOG
from mapping.logs.json_text import LONGEST_MIXED
from mapping.settings import MappingSettings
from mapping_requests import log, logs, mapped

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
