"""Logs of clouds and gateways in JSON, by their documents."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from log_lines import AT, of
from mapping.event import API_CALL, LOG

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
