"""Dialects: tables that say how systems name things, built in and of the settings."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from mapping.context import Context
from mapping.dialects.page import page
from mapping.dialects.reading import MAX_KEYS, Dialects
from mapping.dialects.table import GENERIC, Models, builtin
from mapping.event import API_CALL, Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from project_files import ROOT
from receiver.decode.request import DecodeLimits, decode_request

LIMITS = DecodeLimits(max_body_bytes=1 << 26, max_records=100_000, max_elements=10_000_000)
SEEN = 1_772_442_001_000_000_000
TRACE = "6b1f0c9d2e7a48538f4d0a1b2c3d4e5f"

Line = dict[str, Any]


def mapped(
    body: Line, attributes: dict[str, str] | None = None, settings: MappingSettings | None = None, scope: str = ""
) -> tuple[Event, dict[str, str]]:
    """The event of one log record whose body is JSON text, and what `--explain` says of it."""
    record = {
        "observedTimeUnixNano": str(SEEN),
        "body": {"stringValue": orjson.dumps(body).decode()} if body else {"stringValue": "-"},
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in (attributes or {}).items()],
    }
    service = [{"key": "service.name", "value": {"stringValue": "edge"}}]
    logs = {"scope": {"name": scope}, "logRecords": [record]}
    raw = orjson.dumps({"resourceLogs": [{"resource": {"attributes": service}, "scopeLogs": [logs]}]})
    decoded = decode_request(Decoder(), "logs", "application/json", "", raw, LIMITS)
    mapper = Mapper(settings or MappingSettings(), Sampler(SamplingSettings()), explain=True)
    result = mapper.map(decoded, received_unix_ns=SEEN, keep_skips=True, sample=False)
    assert result.failed == []
    event = result.events[0]
    return event, mapper.reasons[event.transaction_id]


# dialect, a line in its documented form, and what is right.
LINES: list[tuple[str, Line, Line]] = [
    (
        "caddy",
        {
            "level": "info",
            "ts": 1772442000.5,
            "logger": "http.log.access",
            "msg": "handled request",
            "request": {
                "remote_ip": "10.0.0.2",
                "client_ip": "203.0.113.9",
                "proto": "HTTP/2.0",
                "method": "GET",
                "host": "api.shop.example",
                "uri": "/orders/17?a=1",
                "headers": {"User-Agent": ["curl/8"], "X-Forwarded-Proto": ["https"]},
            },
            "bytes_read": 0,
            "user_id": "carol",
            "duration": 0.0125,
            "size": 11,
            "status": 200,
            "resp_headers": {"Content-Type": ["application/json"]},
        },
        {"uri": "https://api.shop.example/orders/17?a=1", "ip_address": "203.0.113.9", "user_id": "carol"}
        | {"duration_ms": 12.5, "user_agent": "curl/8", "end_unix_ns": 1_772_442_000_500_000_000},
    ),
    (
        "tyk",
        {
            "prefix": "access-log",
            "level": "info",
            "api_id": "a1",
            "org_id": "o1",
            "api_key": "5e9d9544",
            "client_ip": "203.0.113.9",
            "host": "api.shop.example",
            "latency_total": 37,
            "upstream_latency": 35,
            "method": "GET",
            "path": "/orders/17",
            "status": 200,
        },
        {"uri": "http://api.shop.example/orders/17", "duration_ms": 37.0, "company_id": "", "user_id": ""},
    ),
    (
        "nginx",
        {
            "time": "2026-03-02T09:00:00+00:00",
            "remote_addr": "203.0.113.9",
            "x_forwarded_for": "203.0.113.9",
            "request_id": "r1",
            "remote_user": "",
            "bytes_sent": 25,
            "request_time": 0.037,
            "status": 404,
            "vhost": "api.shop.example",
            "request_proto": "HTTP/1.1",
            "path": "/orders/17",
            "request_query": "a=1",
            "duration": 0.037,
            "method": "GET",
            "http_user_agent": "curl/8",
        },
        {"uri": "http://api.shop.example/orders/17?a=1", "duration_ms": 37.0, "request_id": "r1"},
    ),
    (
        "haproxy",
        {
            "host": "lb-1",
            "haproxy": {
                "time": {"tq": 1, "tt": 37},
                "network": {"client_ip": "203.0.113.9"},
                "request": {
                    "method": "GET",
                    "uri": "/orders/17?a=1",
                    "header": {"host": "api.shop.example"},
                },
                "response": {"status_code": 200},
            },
        },
        {"uri": "http://api.shop.example/orders/17?a=1", "ip_address": "203.0.113.9", "duration_ms": 37.0},
    ),
    (
        "apache",
        {
            "time": "[02/Mar/2026:09:00:00 +0000]",
            "remoteIP": "203.0.113.9",
            "host": "api.shop.example",
            "request": "/orders/17",
            "query": "?a=1",
            "method": "GET",
            "status": "200",
            "userAgent": "curl/8",
        },
        {"uri": "http://api.shop.example/orders/17?a=1", "ip_address": "203.0.113.9", "user_agent": "curl/8"}
        | {"end_unix_ns": 1_772_442_000_000_000_000},
    ),
    (
        "undertow",
        {
            "eventSource": "web-access",
            "hostName": "default-host",
            "remoteHost": "203.0.113.9",
            "remoteUser": "carol",
            "requestLine": "GET /orders/17 HTTP/1.1",
            "responseCode": 200,
        },
        {"uri": "http://edge/orders/17", "ip_address": "203.0.113.9", "user_id": "carol"},
    ),
    (
        "wso2",
        {
            "apiName": "orders",
            "apiMethod": "GET",
            "apiResourceTemplate": "/orders/{id}",
            "proxyResponseCode": 200,
            "applicationId": "app-7",
            "userName": "carol",
            "userIp": "203.0.113.9",
            "responseLatency": 37,
            "organizationId": "carbon.super",
        },
        {"route": "/orders/{id}", "application_id": "app-7", "user_id": "carol", "duration_ms": 37.0},
    ),
    (
        "gravitee",
        {
            "@timestamp": "2026-03-02T09:00:00.000Z",
            "api-id": "a1",
            "application-id": "app-7",
            "plan-id": "gold",
            "subscription-id": "sub-9",
            "http-method": 3,
            "remote-address": "203.0.113.9",
            "host": "api.shop.example",
            "uri": "/orders/17",
            "status": 200,
            "gateway-response-time-ms": 144,
            "endpoint-response-time-ms": 137,
        },
        {"verb": "GET", "application_id": "app-7", "plan_id": "gold", "subscription_id": "sub-9"}
        | {"duration_ms": 144.0, "ip_address": "203.0.113.9"},
    ),
    (
        "aws-load-balancer",
        {
            "type": "https",
            "client_ip": "203.0.113.9",
            "elb_status_code": 200,
            "target_status_code": "-",
            "request_verb": "GET",
            "request_url": "https://api.shop.example:443/orders/17",
            "user_agent": "curl/8",
            "trace_id": f"Root=1-{TRACE[:8]}-{TRACE[8:]}",
            "domain_name": "-",
        },
        {"uri": "https://api.shop.example/orders/17", "trace_id": TRACE, "ip_address": "203.0.113.9"},
    ),
    (
        "iis",
        {
            "cs-method": "GET",
            "cs-uri-stem": "/orders/17",
            "cs-uri-query": "-",
            "s-ip": "10.0.0.4",
            "s-port": 443,
            "sc-status": 200,
            "sc-substatus": 0,
            "time-taken": 37,
            "c-ip": "203.0.113.9",
            "cs-host": "api.shop.example",
            "cs-username": "-",
        },
        {"uri": "http://api.shop.example/orders/17", "duration_ms": 37.0, "user_id": "", "ip_address": "203.0.113.9"},
    ),
    (
        "azure-application-gateway",
        {
            "operationName": "ApplicationGatewayAccess",
            "properties": {
                "instanceId": "i-1",
                "clientIP": "203.0.113.9",
                "httpMethod": "GET",
                "requestUri": "/orders/17",
                "requestQuery": "a=1",
                "httpStatus": 200,
                "timeTaken": 0.037,
                "host": "10.0.0.4",
                "originalHost": "api.shop.example",
            },
        },
        {"uri": "http://api.shop.example/orders/17?a=1", "duration_ms": 37.0, "ip_address": "203.0.113.9"},
    ),
    (
        "cloudflare",
        {
            "Event": {
                "RayID": "ray-1",
                "Request": {"URL": "https://api.shop.example/orders/17", "Method": "GET"},
                "Response": {"Status": 200},
            },
            "EventTimestampMs": 1772442000000,
            "Outcome": "ok",
            "ScriptName": "api",
            "WallTimeMs": 37,
        },
        {"uri": "https://api.shop.example/orders/17", "duration_ms": 37.0, "request_id": "ray-1"}
        | {"start_unix_ns": 1_772_442_000_000_000_000},
    ),
    (
        "fastly",
        {
            "timestamp": "2026-03-02T09:00:00+0000",
            "client_ip": "203.0.113.9",
            "host": "api.shop.example",
            "url": "/orders/17",
            "request_method": "GET",
            "request_user_agent": "curl/8",
            "response_status": 200,
            "fastly_server": "cache-1",
            "fastly_is_edge": True,
        },
        {"uri": "http://api.shop.example/orders/17", "user_agent": "curl/8", "ip_address": "203.0.113.9"},
    ),
    (
        "bunyan",
        {
            "name": "orders",
            "hostname": "orders-1",
            "pid": 7,
            "v": 0,
            "level": 30,
            "_audit": True,
            "remoteAddress": "203.0.113.9",
            "req": {"method": "GET", "url": "/orders/17", "headers": {"host": "api.shop.example"}},
            "res": {"statusCode": 200},
            "latency": 37,
        },
        {"uri": "http://api.shop.example/orders/17", "duration_ms": 37.0, "ip_address": "203.0.113.9"}
        | {"severity_number": 9},
    ),
    (
        "slog",
        {
            "level": "INFO",
            "request": {
                "method": "GET",
                "host": "api.shop.example",
                "path": "/orders/17",
                "query": "a=1",
                "route": "/orders/:id",
                "ip": "203.0.113.9",
                "user-agent": "curl/8",
            },
            "response": {"latency": 12500000, "status": 200, "length": 11},
            "id": "r1",
        },
        {"uri": "http://api.shop.example/orders/17?a=1", "route": "/orders/{id}", "duration_ms": 12.5},
    ),
    (
        "echo",
        {
            "remote_ip": "203.0.113.9",
            "host": "localhost",
            "method": "GET",
            "uri": "/orders/17",
            "status": 200,
            "latency": 12500000,
            "latency_human": "12.5ms",
            "bytes_in": 0,
        },
        {"uri": "http://localhost/orders/17", "duration_ms": 12.5},
    ),
    (
        "serilog",
        {
            "Timestamp": "2026-03-02T09:00:00.0000000Z",
            "Level": "Information",
            "Properties": {
                "RequestMethod": "GET",
                "RequestPath": "/orders/17",
                "StatusCode": 200,
                "Elapsed": 12.5,
                "RequestHost": "api.shop.example",
            },
        },
        {"uri": "http://api.shop.example/orders/17", "duration_ms": 12.5, "severity_number": 9},
    ),
    (
        "lograge",
        {
            "message": "Completed #show",
            "duration_ms": 12.5,
            "level": "info",
            "payload": {"controller": "Orders", "method": "GET", "path": "/orders/17", "status": 200},
        },
        {"uri": "http://edge/orders/17", "duration_ms": 12.5},
    ),
    (
        "datadog",
        {
            "http": {"method": "GET", "status_code": 200, "url": "https://api.shop.example/orders/17"},
            "network": {"client": {"ip": "203.0.113.9"}},
            "usr": {"id": "carol"},
            "duration": 12500000,
            "dd": {"trace_id": "1311768467294899695"},
        },
        {"uri": "https://api.shop.example/orders/17", "duration_ms": 12.5, "user_id": "carol"}
        | {"trace_id": "0" * 16 + "1234567890abcdef"},
    ),
    (
        "logstash",
        {
            "clientip": "203.0.113.9",
            "verb": "GET",
            "request": "/orders/17",
            "httpversion": "1.1",
            "response": "200",
            "auth": "carol",
            "agent": "curl/8",
            "host": "node-1",
        },
        {"uri": "http://edge/orders/17", "ip_address": "203.0.113.9", "user_id": "carol", "status": 200},
    ),
    (
        "fluent-bit",
        {"host": "203.0.113.9", "user": "-", "method": "GET", "path": "/orders/17", "code": "200", "size": "1"},
        {"uri": "http://edge/orders/17", "ip_address": "203.0.113.9", "user_id": "", "status": 200},
    ),
    (
        "azure-application-insights",
        {
            "name": "GET Orders/Get",
            "operation_Id": TRACE,
            "id": "0a1b2c3d4e5f6071",
            "resultCode": "200",
            "duration": 12.5,
            "url": "https://api.shop.example/orders/17",
            "user_AuthenticatedId": "carol",
        },
        {"uri": "https://api.shop.example/orders/17", "verb": "GET", "duration_ms": 12.5, "user_id": "carol"}
        | {"trace_id": TRACE, "span_id": "0a1b2c3d4e5f6071"},
    ),
    (
        "chi-httplog",
        {
            "httpRequest": {"method": "GET", "url": "http://api.shop.example/orders/17", "remoteIP": "203.0.113.9:5"},
            "httpResponse": {"status": 200, "elapsed": 12.5},
        },
        {"uri": "http://api.shop.example/orders/17", "duration_ms": 12.5, "ip_address": "203.0.113.9"},
    ),
]


@pytest.mark.parametrize(
    ("dialect", "body", "right"), LINES, ids=[f"{line[0]}-{number}" for number, line in enumerate(LINES)]
)
def test_a_line_in_its_documented_form_is_a_call(dialect: str, body: Line, right: Line) -> None:
    event, reason = mapped(body)
    assert event.event_type == API_CALL
    assert dialect in reason["dialects"].split(", ")
    assert {name: getattr(event, name) for name in right} == right


def test_calls_in_the_attributes_of_a_gateways_records_count() -> None:
    traefik = {
        "RequestMethod": "GET",
        "RequestPath": "/orders/17",
        "RequestHost": "api.shop.example",
        "DownstreamStatus": "200",
        "ClientUsername": "carol",
        "Duration": "12500000",
    }
    event, reason = mapped({}, traefik)
    assert (event.event_type, event.uri) == (API_CALL, "http://api.shop.example/orders/17")
    assert (event.user_id, event.duration_ms) == ("carol", 12.5)
    assert reason["response.status"] == "traefik: DownstreamStatus"


def test_attributes_of_applications_stay_logs_unless_asked_for() -> None:
    attributes = {"http.request.method": "GET", "http.response.status_code": "200", "url.path": "/a"}
    assert mapped({}, attributes)[0].event_type == "log"


def test_explain_says_which_name_gave_each_field() -> None:
    body = {"method": "GET", "status": 200, "response_flags": "-", "path": "/a?b=1", "authority": "h.example"}
    _, reason = mapped({**body, "duration": 12, "user_id": "carol", "traceparent": f"00-{TRACE}-0a1b2c3d4e5f6071-01"})
    assert reason == {
        "dialects": "envoy, generic",
        "request.verb": "envoy: method",
        "response.status": "generic: status",
        "request.uri": "envoy: path",
        "host": "envoy: authority",
        "duration_ms": "envoy: duration",
        "user_id": "body:user_id",
        "trace_id": "body",
    }


def test_explain_says_of_what_parts_a_duration_is() -> None:
    parts = ("request_processing_time", "target_processing_time", "response_processing_time")
    body = {"request": "GET /a HTTP/1.1", "elb_status_code": 200, **dict.fromkeys(parts, 0.006)}
    event, reason = mapped(body)
    assert (event.duration_ms, reason["duration_ms"]) == (18.0, "aws-load-balancer: request_processing_time")


OWN = {
    "shopgate": {
        "title": "Our own gateway",
        "logs": {
            "known_by": [{"keys": ["sg_verb", "sg_code"]}],
            "method": "sg_verb",
            "status": "sg_code",
            "url": "sg_target",
            "host_header": "sg_host",
            "user": "sg_customer",
            "company": "sg_firm",
            "key": "sg_key",
            "duration": {"sg_took": "us"},
            "trace_id": "sg_trace",
            "level": "sg_level",
            "ignored": ["tenant_id"],
        },
    }
}
OWN_LINE = {
    "sg_verb": "GET",
    "sg_code": 200,
    "sg_target": "/orders/17",
    "sg_host": "api.shop.example",
    "sg_customer": "carol",
    "sg_firm": "acme",
    "sg_key": "s3cret-key",
    "sg_took": 12500,
    "sg_trace": TRACE,
    "sg_level": "WRN",
    "tenant_id": "the-gateways",
}


def test_a_dialect_of_the_settings_is_read_first_and_its_key_is_hidden() -> None:
    event, reason = mapped(OWN_LINE, settings=MappingSettings(dialects=OWN))
    assert (event.event_type, event.uri, event.duration_ms) == (API_CALL, "http://api.shop.example/orders/17", 12.5)
    assert (event.user_id, event.company_id, event.trace_id) == ("carol", "acme", TRACE)
    assert event.session_token.startswith("sha256:")
    assert event.severity_number == 13
    assert not any("s3cret-key" in str(value) for value in event)
    assert reason["user_id"] == "shopgate: sg_customer"
    assert mapped(OWN_LINE)[0].event_type == "log"


def test_a_sign_may_ask_for_the_scope() -> None:
    words = {**OWN["shopgate"]["logs"], "known_by": [{"keys": ["sg_verb"], "scope": "shopgate/2"}]}  # type: ignore[dict-item]
    settings = MappingSettings(dialects={"shopgate": {"title": "t", "logs": words}})
    assert mapped(OWN_LINE, settings=settings, scope="shopgate/2")[0].event_type == API_CALL
    assert mapped(OWN_LINE, settings=settings, scope="other")[0].event_type == "log"


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": {"title": "t", "logs": {"methodd": "m"}}},
        {"x": {"title": "t", "logs": {"duration": {"d": "minutes"}}}},
        {"x": {"title": "t", "logs": {"known_by": [{}]}}},
        {"x": {"logs": {}}},
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        MappingSettings(dialects=wrong)


def test_every_dialect_says_where_it_is_documented_and_what_it_cannot_say() -> None:
    for name, dialect in builtin().items():
        assert dialect.title, name
        assert dialect.cannot_say, name
        assert dialect.switch_on, name
        assert dialect.source.startswith("https://") or name == GENERIC, name
        spans = dialect.spans.known_by or dialect.spans.plumbing or dialect.models != Models()
        assert dialect.logs.known_by or spans or name in (GENERIC, "zap", "zerolog"), name


def test_secrets_of_every_dialect_are_masked() -> None:
    masks = Context(MappingSettings()).masks
    for name, dialect in builtin().items():
        assert [key for key in dialect.logs.key if masks.verdict(key) != "mask"] == [], name


def test_headers_that_identity_asks_for_are_found_under_the_names_of_proxies() -> None:
    settings = MappingSettings.model_validate({"identify_user": {"headers": ["X-User-Id"]}})
    line = {"request_method": "GET", "status": 200, "uri": "/a"}
    for key in ("http_x_user_id", "x_user_id", "x-user-id", "X-User-Id", "HTTP_X_USER_ID"):
        assert mapped({**line, key: "carol"}, settings=settings)[0].user_id == "carol"
    assert mapped({**line, "http_x_user_id": "<nil>"}, settings=settings)[0].user_id == ""


def test_who_called_is_found_below_what_loggers_fill() -> None:
    for above in ("mdc", "contextMap", "fields", "labels", "extra"):
        event, _ = mapped({"message": "m", above: {"user_id": "carol", "company_id": "acme"}})
        assert (event.user_id, event.company_id) == ("carol", "acme")
    assert mapped({"message": "m", "recipient": {"user_id": "carol"}})[0].user_id == ""


@pytest.mark.parametrize("key", ["UserID", "userID", "USER_ID", "user-id", "User.Id"])
def test_who_called_is_found_in_every_spelling(key: str) -> None:
    event, _ = mapped({"message": "m", key: "carol", "TenantID": "acme"})
    assert (event.user_id, event.company_id) == ("carol", "acme")
    assert mapped({}, {key: "carol"})[0].user_id == "carol"


def test_forwarding_headers_may_be_lists() -> None:
    line = {"method": "GET", "status": 200, "path": "/a", "x-forwarded-for": ["203.0.113.9", "10.0.0.1"]}
    assert mapped(line)[0].ip_address == "203.0.113.9"


def test_records_with_very_many_keys_are_read_in_part() -> None:
    keys = [f"k{number}" for number in range(50_000)]
    assert Dialects().reading(["method", "status", "path", *keys]).of("method") == ("method",)
    assert Dialects().reading([*keys, "method"]).of("method") == ()
    assert len(keys) > MAX_KEYS


def test_the_page_is_made_from_the_tables() -> None:
    """Mend it with: python -m mapping.dialects.page > docs/dialects.md"""
    assert (ROOT / "docs" / "dialects.md").read_text() == page()
