"""Logs that describe an HTTP exchange, spec/mapping.md §6 L5."""

from __future__ import annotations

from typing import Any

import pytest

from mapping.dialects.table import builtin
from mapping.logs import http as log_http
from mapping.logs.record import flatten


def exchange(**body: Any) -> log_http.HttpExchange | None:
    return log_http.exchange_in(flatten(body))


def described(**body: Any) -> log_http.HttpExchange:
    found = exchange(**{"method": "GET", "status": 200, "path": "/a", **body})
    assert found is not None
    return found


@pytest.mark.parametrize("method", ["GET", "get", "Patch", "PROPFIND", "PURGE", "QUERY", "VERSION-CONTROL"])
def test_known_verbs_in_any_case_describe_a_call(method: str) -> None:
    assert described(method=method).verb == method.upper()


@pytest.mark.parametrize(
    "body",
    [
        {"method": "charge_card", "status": 200, "path": "/a"},
        {"method": "GET", "path": "/a"},
        {"method": "GET", "status": "ok", "path": "/a"},
        {"method": "GET", "status": 200.5, "path": "/a"},
        {"method": "GET", "status": 42, "path": "/a"},
        {"method": "GET", "status": True, "path": "/a"},
        {"method": "GET", "status": 200},
        {"method": "GET", "status": 200, "route": "None"},
        {"status": 200, "path": "/a"},
        {},
    ],
)
def test_a_body_without_verb_status_and_place_is_a_log(body: dict[str, Any]) -> None:
    assert exchange(**body) is None


@pytest.mark.parametrize("method", ["search", "label", "copy", "update", "Purge", "link", "move", "report", "list"])
def test_names_of_functions_are_no_methods(method: str) -> None:
    assert exchange(method=method, status=200, path="/a") is None


@pytest.mark.parametrize("method", ["get", "delete", "post"])
def test_a_method_in_lower_case_wants_a_place_beside_it(method: str) -> None:
    assert exchange(method=method, status=200, path="cache/key/17") is None
    assert exchange(method=method, status=200, url="https://h.test/a") is not None


GENERIC = builtin()["generic"].logs


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        (GENERIC.method, "verb", "PUT"),
        (GENERIC.status, "status", 404),
        (GENERIC.url, "url", "http://h.test/x"),
        (GENERIC.path, "path", "/x"),
        (GENERIC.query, "query", "a=1"),
        (GENERIC.route, "route", "/x/{id}"),
        (GENERIC.host_header, "host", "h.test"),
        (GENERIC.host, "host", "h.test"),
        (GENERIC.perhaps_host, "host", "h.test"),
        (GENERIC.scheme, "scheme", "https"),
        (GENERIC.ip, "ip_address", "203.0.113.7"),
        (GENERIC.forwarded_for, "ip_address", "203.0.113.7"),
        (GENERIC.user_agent, "user_agent", "curl/8"),
        ([key for key, unit in GENERIC.duration.items() if unit == "ms"], "duration_ms", 18.25),
        ([key for key, unit in GENERIC.duration.items() if unit == "text"], "duration_ms", "18.25ms"),
        ([key for key, unit in GENERIC.duration.items() if unit == "decimals"], "duration_ms", "0.01825"),
    ],
)
def test_every_synonym_counts(keys: tuple[str, ...], field: str, value: object) -> None:
    expected = 18.25 if field == "duration_ms" else value
    for key in keys:
        body: dict[str, Any] = {"http.request.method": "GET", "http.response.status_code": 200, "url.full": "/a"}
        if field == "verb":
            del body["http.request.method"]
        if field == "status":
            del body["http.response.status_code"]
        if field == "url":
            del body["url.full"]
        found = log_http.exchange_in({**body, key: value})
        assert found is not None, key
        assert getattr(found, field) == expected, key


@pytest.mark.parametrize(
    ("key", "ms"),
    [
        ("elapsedMs", 12.0),
        ("latencyMillis", 12.0),
        ("duration_in_millis", 12.0),
        ("request_duration_us", 0.012),
        ("latency_ns", 12e-6),
        ("total_time_seconds", 12_000.0),
        ("response.latency_ms", 12.0),
        ("fields.duration_ms", 12.0),
        ("upstream_latency_ms", -1.0),
        ("job.duration_ms", -1.0),
        ("duration", -1.0),
        ("timems", -1.0),
    ],
)
def test_a_name_that_states_its_unit_is_a_duration(key: str, ms: float) -> None:
    assert described(**{key: 12}).duration_ms == pytest.approx(ms)


def test_nested_and_dotted_bodies_read_the_same() -> None:
    nested = exchange(
        http={"request": {"method": "POST"}, "response": {"status_code": 201}, "route": "/reports/:reportId"},
        url={"path": "/reports/552", "query": "a=1"},
        client={"ip": "198.51.100.9"},
        event={"duration": 45000000},
    )
    assert nested is not None
    assert (nested.verb, nested.status, nested.route, nested.ip_address) == (
        "POST",
        201,
        "/reports/:reportId",
        "198.51.100.9",
    )
    assert nested.duration_ms == 45.0
    assert nested.uri("nightly-cron").text == "http://nightly-cron/reports/552?a=1"


@pytest.mark.parametrize(
    ("body", "uri"),
    [
        ({"url": "https://shop.test:8443/x?b=1"}, "https://shop.test:8443/x?b=1"),
        ({"url": "/x?b=1", "path": None, "host": "shop.test"}, "http://shop.test/x?b=1"),
        ({"path": None, "uri": "x/y"}, "http://svc/x/y"),
        ({"http_host": "shop.test", "server.port": 8080}, "http://shop.test/a"),
        ({"server.address": "shop.test", "server.port": 8080}, "http://shop.test:8080/a"),
        ({"server.address": "shop.test", "server.port": "443"}, "https://shop.test/a"),
        ({"scheme": "https", "host": "shop.test"}, "https://shop.test/a"),
        ({"path": None, "route": "/r/{id}"}, "http://svc/r/{id}"),
        ({"hostname": "shop.test"}, "http://svc/a"),
        ({"host": "orders-7c5d8f9b64-r4t9v"}, "http://svc/a"),
        ({"host": "ip-10-0-0-1.eu-west-1.compute.internal"}, "http://svc/a"),
        ({"host": "203.0.113.7", "client_ip": "203.0.113.7"}, "http://svc/a"),
        ({"host": "10.0.0.9", "client_ip": "203.0.113.7"}, "http://10.0.0.9/a"),
        ({"host": "localhost:8080"}, "http://localhost:8080/a"),
        ({"host": "not a host"}, "http://svc/a"),
        ({"server_name": "_"}, "http://svc/a"),
        ({"path": None, "url": "//evil.test/x", "host": "shop.test"}, "http://shop.test//evil.test/x"),
        ({"path": None, "url": "//evil.test/x"}, "http://svc//evil.test/x"),
        ({"host": "pod-1", "req": {"headers": {"host": "shop.test"}}}, "http://shop.test/a"),
        ({"req": {"headers": {"host": "in.test", "x-forwarded-host": "shop.test"}}}, "http://shop.test/a"),
        ({"req": {"headers": {"host": "shop.test", "x-forwarded-proto": "https"}}}, "https://shop.test/a"),
        ({"host": "in.test", "x_forwarded_host": "shop.test"}, "http://shop.test/a"),
        ({"url": "https://shop.test:8443/a", "req": {"headers": {"host": "in.test"}}}, "https://shop.test:8443/a"),
        ({"path": None, "request": "GET /x?b=1 HTTP/1.1"}, "http://svc/x?b=1"),
        ({"path": None, "request": "/x"}, "http://svc/x"),
        ({"query": "SELECT a FROM b WHERE c = 1"}, "http://svc/a"),
        ({"query": "?b=1"}, "http://svc/a?b=1"),
    ],
)
def test_uri_of_a_described_call(body: dict[str, Any], uri: str) -> None:
    call = described(**body)
    assert call.uri("svc", call.route).text == uri


@pytest.mark.parametrize(
    ("body", "ms"),
    [
        ({"duration_ms": 12}, 12.0),
        ({"request_time": "0.250"}, 250.0),
        ({"duration_s": 1.5}, 1500.0),
        ({"event": {"duration": 2_000_000}}, 2.0),
        ({"latency": "1.5s"}, 1500.0),
        ({"duration": "1m2.5s"}, 62500.0),
        ({"latency": "250\u00b5s"}, 0.25),
        ({"latency": "12"}, -1.0),
        ({"latency": "PT0.25S"}, 250.0),
        ({"elapsed": "00:00:01.25"}, 1250.0),
        ({"duration_ms": "12ms"}, 12.0),
        ({"request_time": 37}, -1.0),
        ({"request_time": "37"}, -1.0),
        ({"request_time": 0.037}, 37.0),
        ({"latency": 12}, -1.0),
        ({"duration_ms": -1, "elapsed_ms": 3}, 3.0),
        ({"duration_ms": "nan"}, -1.0),
        ({"duration_ms": True}, -1.0),
        ({}, -1.0),
    ],
)
def test_duration(body: dict[str, Any], ms: float) -> None:
    assert described(**body).duration_ms == pytest.approx(ms)


def test_headers_in_the_body_are_handed_on_and_name_the_caller() -> None:
    found = described(
        request={"headers": {"X-User-Id": "ann", "x_real_ip": "203.0.113.7", "user-agent": "curl/8"}},
        res={"headers": {"Content-Type": "text/plain"}},
        ip="10.0.0.1",
    )
    assert found.request_headers == {"x-user-id": "ann", "x-real-ip": "203.0.113.7", "user-agent": "curl/8"}
    assert found.response_headers == {"content-type": "text/plain"}
    assert (found.ip_address, found.user_agent) == ("203.0.113.7", "curl/8")


def test_untrusted_forwarding_headers_do_not_name_the_caller() -> None:
    body = {"method": "GET", "status": 200, "path": "/a", "x_forwarded_for": "203.0.113.7", "remote_addr": "10.0.0.1"}
    trusted, untrusted = log_http.exchange_in(body), log_http.exchange_in(body, trust_forwarded=False)
    assert trusted is not None
    assert untrusted is not None
    assert (trusted.ip_address, untrusted.ip_address) == ("203.0.113.7", "10.0.0.1")


@pytest.mark.parametrize(
    ("body", "outgoing"),
    [({"direction": "Egress"}, True), ({"kind": "CLIENT"}, True), ({"kind": 3}, False), ({}, False)],
)
def test_direction(body: dict[str, Any], outgoing: bool) -> None:
    assert described(**body).outgoing is outgoing
