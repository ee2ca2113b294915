"""OTLP/HTTP: methods and paths (spec/otlp-http.md §1)."""

from __future__ import annotations

import pytest

from otlp_http import JSON, PROTOBUF, RunningReceiver, json_logs, json_spans, logs, receiver, request, spans
from receiver.settings import ReceiverSettings


def test_the_default_port_is_4318_on_loopback() -> None:
    assert ReceiverSettings().endpoint == "127.0.0.1:4318"


def test_spans_go_to_v1_traces(server: RunningReceiver) -> None:
    assert server.post(spans(3), path="/v1/traces").status == 200
    assert (server.last.signal, server.last.decoded.accepted) == ("traces", 3)


def test_log_records_go_to_v1_logs(server: RunningReceiver) -> None:
    assert server.post(logs(3), path="/v1/logs").status == 200
    assert (server.last.signal, server.last.decoded.accepted) == ("logs", 3)


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_both_encodings_share_one_port_and_path(server: RunningReceiver, path: str) -> None:
    as_protobuf, as_json = (spans(), json_spans()) if path == "/v1/traces" else (logs(), json_logs())
    assert server.post(as_protobuf, PROTOBUF, path=path).type == PROTOBUF
    assert server.post(as_json, JSON, path=path).type == JSON


@pytest.mark.parametrize("base", ["/x", "/collector/shop-7", "/a/b/c/d", "/caf%C3%A9"])
def test_a_base_path_in_front_of_v1_is_accepted(server: RunningReceiver, base: str) -> None:
    assert server.post(spans(), path=base + "/v1/traces").status == 200
    assert server.post(logs(), path=base + "/v1/logs").status == 200


def test_the_paths_can_be_set() -> None:
    with receiver(traces_path="/in/spans", logs_path="/in/logs") as server:
        assert server.post(spans(), path="/in/spans").status == 200
        assert server.post(logs(), path="/in/logs").status == 200
        assert server.post(spans(), path="/v1/traces").status == 404


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/trace", "/v1/tracesx", "/V1/TRACES", "/v2/traces", "/v1/traces/x"]
)
def test_an_unknown_path_is_404_with_a_status_body(server: RunningReceiver, path: str) -> None:
    answer = server.post(spans(), path=path)
    assert answer.status == 404
    assert "/v1/traces" in answer.error.message


@pytest.mark.parametrize("media", [PROTOBUF, JSON, "application/json; charset=utf-8"])
def test_404_and_405_have_the_encoding_of_the_request(server: RunningReceiver, media: str) -> None:
    """The Collector's exporter logs the reason only when it is in protobuf, as its request was."""
    for answer in (server.post(b"", media, path="/v1/metrics"), server.post(b"", media, method="PUT")):
        assert answer.type == media.partition(";")[0]
        assert answer.error.message


def test_metrics_are_not_served_and_say_so_for_good(server: RunningReceiver) -> None:
    """Auto-instrumentation sends metrics as well; a retryable answer would make it send them for ever."""
    answer = server.post(b"", path="/v1/metrics")
    assert answer.status == 404
    assert answer.error.code == 12


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "LOCK"])
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_any_other_method_is_405_and_names_post(server: RunningReceiver, method: str, path: str) -> None:
    answer = server.post(b"", None, path=path, method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert "POST" in answer.error.message


def test_head_is_answered_without_a_body_and_the_connection_goes_on(server: RunningReceiver) -> None:
    with server.connect() as wire:
        wire.send(b"HEAD /v1/traces HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer("HEAD").status == 405
        wire.send(b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer("HEAD").status == 404
        wire.send(request(spans()))
        assert wire.answer().status == 200


@pytest.mark.parametrize(
    "path",
    [
        "//v1/traces",
        "/v1//traces",
        "/v1/./traces",
        "/v1/x/../traces",
        "/v1/traces/",
        "/./v1/traces",
        "/../v1/traces",
        "/v1/%74races",
        "/v1%2Ftraces",
        "/v1/traces%00",
        "/v1/traces;a=b",
        "/%ff%fe",
        "/" + "x" * 4000,
    ],
)
def test_no_spelling_of_a_path_is_redirected(server: RunningReceiver, path: str) -> None:
    """The Python exporter counts a 3xx as success, and the data is gone."""
    answer = server.post(spans(), path=path)
    assert answer.status in (200, 404), answer


def test_the_query_string_is_ignored(server: RunningReceiver) -> None:
    assert server.post(spans(), path="/v1/traces?key=value&x=%zz").status == 200
    assert server.post(spans(), path="/v1/traces?").status == 200


def test_an_absolute_target_is_accepted(server: RunningReceiver) -> None:
    assert server.post(spans(), path="http://collector.example:4318/v1/traces").status == 200
    assert server.post(spans(), path="http://collector.example:4318/base/v1/traces?q").status == 200


@pytest.mark.parametrize("line", [b"OPTIONS * HTTP/1.1", b"CONNECT shop.example:443 HTTP/1.1"])
def test_targets_that_are_no_path_are_refused(server: RunningReceiver, line: bytes) -> None:
    answer = server.exchange(line + b"\r\nHost: x\r\n\r\n")
    assert 400 <= answer.status < 500
    assert answer.error.message
    assert server.is_well()
