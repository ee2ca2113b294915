"""OTLP/HTTP: Content-Type in and out (spec/otlp-http.md §2)."""

from __future__ import annotations

import pytest

from otlp_http import JSON, PROTOBUF, RunningReceiver, json_spans, request, spans


@pytest.mark.parametrize(
    "written",
    [
        "application/json",
        "APPLICATION/JSON",
        "Application/Json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json ; charset=utf-8; a=b",
        "application/json;",
        "  application/json  ",
    ],
)
def test_json_is_recognised_without_case_and_parameters(server: RunningReceiver, written: str) -> None:
    answer = server.post(json_spans(), written)
    assert (answer.status, answer.type) == (200, JSON)


@pytest.mark.parametrize("written", ["application/x-protobuf", "APPLICATION/X-Protobuf", "application/x-protobuf; v=1"])
def test_protobuf_is_recognised_without_case_and_parameters(server: RunningReceiver, written: str) -> None:
    answer = server.post(spans(), written)
    assert (answer.status, answer.type) == (200, PROTOBUF)


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        "text/plain",
        "application/protobuf",
        "application/jsonp",
        "application/json, application/x-protobuf",
        "application",
        "/",
        ";;;",
        "application/json\tx",
        "multipart/form-data; boundary=x",
        "application/grpc",
        "é",
        "x" * 4000,
    ],
)
def test_any_other_type_is_415_with_a_json_status(server: RunningReceiver, written: str | None) -> None:
    answer = server.post(spans(), written)
    assert (answer.status, answer.type) == (415, JSON)
    assert "application/x-protobuf" in answer.error.message
    assert len(answer.body) < 1000


@pytest.mark.parametrize("charset", ["bogus", "utf-16", "ascii", "", '"', "utf-8; charset=utf-16"])
def test_an_odd_charset_is_never_a_server_error(server: RunningReceiver, charset: str) -> None:
    assert server.post(json_spans(), f"application/json; charset={charset}").status in (200, 400, 415)


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_success_and_error_have_the_request_s_type_without_parameters(server: RunningReceiver, media: str) -> None:
    """The Collector's exporter compares the whole header value."""
    good = server.post(spans() if media == PROTOBUF else json_spans(), f"{media}; charset=utf-8")
    bad = server.post(b"\xff\xff", f"{media}; charset=utf-8")
    assert (good.status, good.headers["content-type"]) == (200, media)
    assert (bad.status, bad.headers["content-type"]) == (400, media)


def test_protobuf_labelled_json_is_400(server: RunningReceiver) -> None:
    answer = server.post(spans(), JSON)
    assert (answer.status, answer.error.code) == (400, 3)


@pytest.mark.parametrize("body", [json_spans(), "{}", "[]", '{"resourceSpans":[]}', "{ }", " {}", "null"])
def test_json_labelled_protobuf_is_400(server: RunningReceiver, body: str) -> None:
    answer = server.post(body, PROTOBUF)
    assert (answer.status, answer.error.code) == (400, 3)


def test_json_labelled_protobuf_is_told_what_to_send_instead(server: RunningReceiver) -> None:
    assert "application/json" in server.post(json_spans(), PROTOBUF).error.message


def test_a_content_type_given_twice_is_refused(server: RunningReceiver) -> None:
    answer = server.exchange(request(spans(), PROTOBUF, headers=("Content-Type: application/json",)))
    assert (answer.status, answer.error.code) == (400, 3)
    assert server.is_well()
