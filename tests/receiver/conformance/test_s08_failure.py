"""OTLP/HTTP: errors, and what they make a client do (spec/otlp-http.md §8, §9, §12; spec/reliability.md §1)."""

from __future__ import annotations

import json

import pytest

from otlp_http import JSON, PROTOBUF, Answer, RunningReceiver, Status, json_spans, receiver, request, spans
from receiver.counts import Key
from receiver.intake import Overloaded, Received

RETRYABLE = {429, 502, 503, 504}


def bad_requests() -> dict[str, bytes]:
    """One of each way to be wrong."""
    return {
        "not protobuf": request(b"\xff\xff"),
        "not JSON": request("{", JSON),
        "wrong coding": request(spans(), encoding="br"),
        "corrupt gzip": request(b"nope", encoding="gzip"),
        "wrong type": request(spans(), "text/plain"),
        "no type": request(spans(), None),
        "unknown path": request(spans(), path="/x"),
        "GET": request(b"", method="GET"),
        "no host": b"POST /v1/traces HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "no HTTP": b"hello\r\n\r\n",
        "bad length": b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    }


# After these nothing on the connection can be trusted, so it is closed.
NO_HTTP = {"no host", "no HTTP", "bad length"}


@pytest.mark.parametrize("what", bad_requests())
def test_every_error_is_a_status_with_a_message_and_not_retryable(server: RunningReceiver, what: str) -> None:
    answer = server.exchange(bad_requests()[what])
    assert 400 <= answer.status < 500
    assert answer.status not in RETRYABLE
    assert answer.error.message
    assert answer.type in (PROTOBUF, JSON)


@pytest.mark.parametrize("what", bad_requests())
def test_the_next_good_request_succeeds_on_a_new_connection(server: RunningReceiver, what: str) -> None:
    server.exchange(bad_requests()[what])
    assert server.is_well()


@pytest.mark.parametrize("what", sorted(set(bad_requests()) - NO_HTTP))
def test_the_next_good_request_succeeds_on_the_same_connection(server: RunningReceiver, what: str) -> None:
    with server.connect() as wire:
        wire.send(bad_requests()[what])
        assert wire.answer().status >= 400
        wire.send(request(spans()))
        assert wire.answer().status == 200


def test_a_protobuf_request_gets_a_protobuf_status(server: RunningReceiver) -> None:
    answer = server.post(b"\xff")
    assert answer.type == PROTOBUF
    assert Status.FromString(answer.body).code == 3


def test_a_json_request_gets_a_json_status(server: RunningReceiver) -> None:
    answer = server.post("{", JSON)
    assert answer.type == JSON
    assert set(json.loads(answer.body)) == {"code", "message", "details"}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (request(b"\xff"), "body"),
        (request("{", JSON), "body"),
        (request("ÿ" * 5000, JSON), "body"),
        (request(b"nope", encoding="gzip"), "body"),
        (request(spans(), encoding="gzip, gzip, gzip, gzip"), "Content-Encoding"),
        (bad_requests()["no HTTP"], "head"),
    ],
)
def test_400_names_the_violated_part_in_its_details(server: RunningReceiver, raw: bytes, field: str) -> None:
    """A google.rpc.BadRequest with one violation, in either encoding."""
    answer = server.exchange(raw)
    assert answer.status == 400
    assert answer.violations == [(field, answer.error.message)]


def test_other_errors_have_no_details(server: RunningReceiver) -> None:
    for raw in (request(spans(), path="/x"), request(spans(), "text/plain"), request(spans(), encoding="br")):
        assert server.exchange(raw).violations == []


def test_unpaired_text_in_an_error_is_still_a_valid_status(server: RunningReceiver) -> None:
    """The Collector answers 500 when its own error text is no UTF-8."""
    for content_type in (b"\xff\xfe", b"text/\xe9"):
        raw = request(spans(), "CT").replace(b"Content-Type: CT", b"Content-Type: " + content_type)
        assert server.exchange(raw).error.message


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (request(b"\xff"), 3),
        (request(spans(), path="/v1/metrics"), 12),
        (request(spans(), "text/plain"), 2),
    ],
)
def test_codes_are_grpc_s_as_the_collector_gives_them(server: RunningReceiver, raw: bytes, code: int) -> None:
    assert server.exchange(raw).error.code == code


def overloaded(retry_after_s: int = 1) -> Answer:
    with receiver() as server:

        async def full(received: Received) -> None:
            raise Overloaded("the spool is full", retry_after_s)

        server.intake.before = full
        answer = server.post(spans(7))
        assert server.counts.refused_requests[Key("", "traces", "overloaded")] == 1
        assert server.counts.refused_records[Key("", "traces", "overloaded")] == 7
        return answer


def test_a_full_spool_is_503_with_a_short_retry_after_in_whole_seconds() -> None:
    """Clients give up at once when Retry-After exceeds what is left of their ten seconds; 0 makes them spin."""
    answer = overloaded()
    assert answer.status == 503
    assert answer.headers["retry-after"] in ("1", "2")
    assert (answer.error.code, answer.error.message) == (14, "the spool is full")


def test_the_intake_chooses_how_long() -> None:
    assert overloaded(2).headers["retry-after"] == "2"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_is_503_and_says_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    """Never 500: the current SDKs drop the data on it."""
    with receiver() as server:

        async def broken(received: Received) -> None:
            raise RuntimeError("secret detail of the inside")

        server.intake.before = broken
        answer = server.post(spans(2))
        server.intake.before = None
        assert server.is_well()
        assert server.counts.refused_records[Key("", "traces", "internal")] == 2
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert "secret detail" in caplog.text


def test_a_timeout_of_ours_is_503_too() -> None:
    with receiver() as server:

        async def late(received: Received) -> None:
            raise TimeoutError

        server.intake.before = late
        assert server.post(spans()).status == 503


def test_503_keeps_the_connection() -> None:
    with receiver() as server:

        async def full(received: Received) -> None:
            raise Overloaded("full")

        server.intake.before = full
        with server.connect() as wire:
            wire.send(request(spans()))
            assert wire.answer().status == 503
            server.intake.before = None
            wire.send(request(spans()))
            assert wire.answer().status == 200


def test_every_answer_is_counted_once_under_its_reason(server: RunningReceiver) -> None:
    with receiver() as fresh:
        for raw in (*bad_requests().values(), request(spans(3)), request(json_spans(), JSON)):
            fresh.exchange(raw)
        counts = fresh.counts
    assert sum(counts.requests.values()) == 2
    assert sum(counts.accepted_records.values()) == 3
    reasons = {key.reason: number for key, number in counts.refused_requests.items()}
    assert sum(counts.refused_requests.values()) == len(bad_requests())
    assert reasons["malformed_http"] == len(NO_HTTP)
    assert reasons["unknown_path"] == 1
    assert reasons["method"] == 1


def test_a_flood_of_bad_requests_logs_a_line_per_reason_not_per_request(
    server: RunningReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver() as fresh:
        for _ in range(50):
            fresh.exchange(bad_requests()["not JSON"])
            fresh.exchange(bad_requests()["no HTTP"])
            fresh.exchange(request("x" * 5000, "text/" + "y" * 5000))
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(lines) <= 3
    assert all(len(line) < 500 for line in lines)
