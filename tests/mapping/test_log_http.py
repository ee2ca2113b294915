"""Logs that describe an HTTP exchange, mapping.md §6 L5."""

from __future__ import annotations

from typing import Any

import pytest

from mapping.logs import http as log_http
from mapping.logs.record import flatten


def exchange(**body: Any) -> log_http.HttpExchange | None:
    return log_http.exchange_in(flatten(body))


def described(**body: Any) -> log_http.HttpExchange:
    found = exchange(**{"method": "GET", "status": 200, "path": "/a", **body})
    assert found is not None
    return found


@pytest.mark.parametrize("method", ["GET", "get", "PROPFIND", "Purge", "QUERY", "VERSION-CONTROL"])
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


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        (log_http._METHOD, "verb", "PUT"),
        (log_http._STATUS, "status", 404),
        (log_http._URL, "url", "http://h.test/x"),
        (log_http._PATH, "path", "/x"),
        (log_http._ROUTE, "route", "/x/{id}"),
        (log_http._HOST, "host", "h.test"),
        (log_http._SCHEME, "scheme", "https"),
        (log_http._IP, "ip_address", "203.0.113.7"),
        (log_http._FORWARDED_FOR, "ip_address", "203.0.113.7"),
        (log_http._USER_AGENT, "user_agent", "curl/8"),
        (log_http._MILLISECONDS, "duration_ms", 18.25),
    ],
)
def test_every_synonym_counts(keys: tuple[str, ...], field: str, value: object) -> None:
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
        assert getattr(found, field) == value, key


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
