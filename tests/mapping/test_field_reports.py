"""What public reports and documented samples show of systems in the field, one family a test."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from mapping.event import API_CALL, LOG, Event
from mapping_requests import CLIENT, INTERNAL, SERVER, log, logs, mapped, span, traces

Line = dict[str, Any]


def of_line(body: Line) -> Event:
    (event,) = mapped(logs(log(orjson.dumps(body).decode()))).events
    return event


def of_span(attributes: Line, kind: int = SERVER, **more: Any) -> Event:
    (event,) = mapped(traces(span(attributes, kind=kind, **more))).events
    return event


@pytest.mark.parametrize("word", ["UNKNOWN", "none", "unknown", "-"])
def test_placeholders_of_micrometer_are_no_values(word: str) -> None:
    nothing = {"method": word, "uri": word, "status": word, "outcome": word, "exception": "none", "http.url": word}
    event = of_span(nothing, name="http get")
    assert (event.verb, event.status, event.error_type, event.uri) == ("_OTHER", 0, "", "http://shop/")
    assert word not in event.route
    known = {"method": "GET", "uri": word, "status": "404", "outcome": "CLIENT_ERROR", "http.url": "/x/17"}
    event = of_span(known, name="http get")
    assert (event.verb, event.status, event.route) == ("GET", 404, "/x/{id}")
    called = {"method": "GET", "uri": word, "status": "CLIENT_ERROR", "outcome": word, "client.name": word}
    assert word not in of_span({**called, "http.url": word}, CLIENT, name="http get").uri


def test_warp_tells_the_address_of_the_caller_with_its_port() -> None:
    sent = {"method": "GET", "path": "/a/7", "version": "HTTP/1.1"}
    for address, shown in (("203.0.113.7:52144", "203.0.113.7"), ("[2001:db8::7]:52144", "2001:db8::7")):
        assert of_span({**sent, "remote.addr": address}, INTERNAL, name="request").ip_address == shown


def test_a_client_span_without_a_url_names_the_service_that_it_called() -> None:
    event = of_span({"http.method": "GET", "http.path": "/v1/items/7", "peer.service": "stock"}, CLIENT, name="get")
    assert (event.uri, event.direction) == ("http://stock/v1/items/7", "Outgoing")


@pytest.mark.parametrize(
    ("more", "host"),
    [
        ({}, "unknown"),
        ({"peer.hostname": "stock", "peer.port": 9090}, "stock:9090"),
        ({"peer.address": "10.0.0.7:8080"}, "10.0.0.7:8080"),
        ({"peer.ipv4": "10.0.0.7", "peer.port": "80"}, "10.0.0.7"),
        ({"net.peer.host": "stock"}, "stock"),
        ({"net.peer.ip": "10.0.0.7", "net.peer.port": 8080}, "10.0.0.7:8080"),
    ],
)
def test_a_call_that_brave_made_is_not_one_of_the_service_itself(more: Line, host: str) -> None:
    event = of_span({"http.method": "GET", "http.path": "/v1/items/7", **more}, CLIENT, name="get")
    assert event.uri == f"http://{host}/v1/items/7"
    assert ("uri_host_guessed" in event.flags) == (host == "unknown")


def test_a_client_and_its_server_that_share_a_span_id_are_two_calls_in_any_order() -> None:
    told = {"http.method": "GET", "http.path": "/v1/items/7", "http.status_code": "200"}
    made = span(told, kind=CLIENT, name="get", number=2, parent=1)
    served = span(told, name="get /v1/items/{id}", number=2, parent=1)
    query = span({"db.system": "mysql"}, kind=CLIENT, name="select", number=3, parent=2)
    caller = span(told, name="get", number=1)
    ours, theirs = traces(caller, made), traces(query, served, resource={"service.name": "stock"})
    for first, then in ((ours, theirs), (theirs, ours)):
        both = ExportTraceServiceRequest()
        both.MergeFrom(first)
        both.MergeFrom(then)
        events = mapped(both).events
        calls = {event.transaction_id: (event.direction, event.hop) for event in events if event.event_type == API_CALL}
        assert sorted(calls.values()) == [("Incoming", "entry"), ("Incoming", "inner"), ("Outgoing", "inner")]
    (alone,) = mapped(traces(served)).events
    assert alone.transaction_id in calls, "the server's id is that of its access log, as ever"


HAR = [
    {"name": "Host", "value": "shop.example"},
    {"name": "X-User-Id", "value": "ann"},
    {"name": "Authorization", "value": "Bearer hunter2fakehunter2"},
    {"name": "Accept", "value": "text/html"},
    {"name": "Accept", "value": "text/plain"},
]


@pytest.mark.parametrize(
    "sent", [HAR, orjson.dumps(HAR).decode(), [{"key": h["name"], "value": h["value"]} for h in HAR]]
)
def test_lists_of_headers_as_har_writes_them_are_headers_of_spans(sent: Any) -> None:
    event = of_span({"http.request.method": "GET", "url.path": "/a", "http.request.headers": sent})
    assert event.uri == "http://shop.example/a"
    assert (event.request_headers["x-user-id"], event.request_headers["accept"]) == ("ann", "text/html, text/plain")
    assert "hunter2" not in repr(event)


def test_lists_of_headers_as_har_writes_them_are_headers_of_logs() -> None:
    event = of_line(
        {
            "request": {"method": "GET", "url": "/a?b=1", "headers": HAR},
            "response": {"status": 200, "headers": [{"name": "X-Request-Id", "value": "r1"}]},
        }
    )
    assert (event.event_type, event.uri, event.status) == (API_CALL, "http://shop.example/a?b=1", 200)
    assert event.request_headers["x-user-id"] == "ann"
    assert "hunter2" not in repr(event)
    other = of_line({"headers": ["a", "b"], "request": {"headers": [{"id": 1}, {"id": 2}]}})
    assert other.event_type == LOG
    assert orjson.loads(other.body)["request"]["headers"] == [{"id": 1}, {"id": 2}]


V2: Line = {
    "version": "2.0",
    "routeKey": "GET /orders/{id}",
    "rawPath": "/orders/17",
    "rawQueryString": "a=1",
    "headers": {"host": "x.execute-api.us-east-1.amazonaws.com", "authorization": "Bearer hunter2fakehunter2"},
    "requestContext": {
        "domainName": "x.execute-api.us-east-1.amazonaws.com",
        "http": {"method": "GET", "path": "/orders/17", "sourceIp": "203.0.113.7", "userAgent": "curl/8"},
        "authorizer": {"iam": {"userId": "ann"}},
        "requestId": "id1",
        "timeEpoch": 1772442000000,
    },
}
V1: Line = {
    "resource": "/orders/{id}",
    "path": "/orders/17",
    "httpMethod": "GET",
    "headers": {"Host": "x.execute-api.us-east-1.amazonaws.com"},
    "requestContext": {
        "resourcePath": "/orders/{id}",
        "httpMethod": "GET",
        "path": "/prod/orders/17",
        "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8", "apiKeyId": "k1"},
        "authorizer": {"principalId": "ann"},
        "requestId": "id1",
        "requestTimeEpoch": 1772442000000,
    },
}


@pytest.mark.parametrize("sent", [V1, V2], ids=["API Gateway 1", "function URL, API Gateway 2"])
def test_the_event_of_a_function_is_a_call_where_its_answer_stands_beside_it(sent: Line) -> None:
    event = of_line({"event": sent, "response": {"statusCode": 404, "body": "{}"}})
    assert (event.event_type, event.verb, event.status, event.route) == (API_CALL, "GET", 404, "/orders/{id}")
    assert (event.ip_address, event.user_agent, event.user_id) == ("203.0.113.7", "curl/8", "ann")
    assert event.uri.startswith("http://x.execute-api.us-east-1.amazonaws.com/orders/17")
    assert "hunter2" not in repr(event)
    alone = of_line({"level": "INFO", "message": "got event", "event": sent})
    assert (alone.event_type, alone.request_id) == (LOG, "id1")


FLAGS = {
    "DC": "cancelled",
    "DR": "cancelled",
    "UT": "timeout",
    "UF,URX": "upstream",
    "NR": "not_found",
    "RL": "rate_limit",
}


@pytest.mark.parametrize("flags", FLAGS)
def test_envoys_flags_say_why_there_is_no_answer(flags: str) -> None:
    sent = {"http.method": "GET", "http.url": "http://h/a/7", "http.status_code": "0", "upstream_cluster": "x"}
    event = of_span({**sent, "response_flags": flags}, name="ingress")
    assert (event.status, event.error_type) == (0, FLAGS[flags])
    answered = of_span({**sent, "http.status_code": "503", "response_flags": flags}, name="ingress")
    assert (answered.status, answered.error_type) == (503, "upstream")
    failed = of_span({**sent, "response_flags": "-"}, name="ingress", status=Status(code=Status.STATUS_CODE_ERROR))
    assert failed.error_type == "server"


def test_a_line_of_envoy_whose_caller_gave_up_is_a_call() -> None:
    line = {"method": "GET", "path": "/a/7", "response_code": 0, "authority": "h", "duration": 12}
    gone = of_line({**line, "response_flags": "DC"})
    assert (gone.event_type, gone.status, gone.error_type, gone.duration_ms) == (API_CALL, 0, "cancelled", 12.0)
    assert of_line({**line, "response_flags": "UF"}).event_type == LOG
    assert of_line({**line, "response_code": 200, "response_flags": "DC"}).status == 200
