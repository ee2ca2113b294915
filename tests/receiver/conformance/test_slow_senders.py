"""Senders that take their time, and too many of them (spec/otlp-http.md §10; spec/reliability.md §4 R22)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from otlp_http import PROTOBUF, RunningReceiver, Wire, receiver, request, spans
from receiver.settings import ReceiverSettings

HEAD = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n".encode()


@pytest.fixture(scope="module")
def impatient() -> Iterator[RunningReceiver]:
    """A receiver with limits of less than a second, so that the tests are quick."""
    with receiver(
        header_timeout_s=0.4, body_timeout_s=0.4, min_body_bytes_per_s=1000, keepalive_timeout_s=1.5
    ) as running:
        yield running


def test_the_defaults_are_ten_seconds_for_headers_and_a_minimum_rate_for_bodies() -> None:
    settings = ReceiverSettings()
    assert settings.header_timeout_s == 10
    assert settings.body_timeout_s <= 30
    assert settings.keepalive_timeout_s >= 60


def closed_after(wire: Wire, limit_s: float = 60.0) -> float:
    """Seconds until the other side closes the connection, answering or not."""
    started = time.monotonic()
    wire.socket.settimeout(limit_s)
    while wire.socket.recv(65536):
        pass
    return time.monotonic() - started


@pytest.mark.parametrize("sent", [b"P", b"POST /v1/traces HT", HEAD, HEAD + b"X-A: 1\r\n"])
def test_headers_that_never_end_are_given_up_with_408(impatient: RunningReceiver, sent: bytes) -> None:
    with impatient.connect() as wire:
        wire.send(sent)
        started = time.monotonic()
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.error.message
        assert 0.3 < time.monotonic() - started < 30


def test_a_connection_on_which_nothing_comes_is_closed(impatient: RunningReceiver) -> None:
    with impatient.connect() as wire:
        assert 0.3 < closed_after(wire) < 30


def test_headers_that_trickle_are_given_up_however_many_bytes_come(impatient: RunningReceiver) -> None:
    with impatient.connect() as wire:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in HEAD * 20:  # at this pace a minute's worth
                wire.send(bytes([byte]))
                time.sleep(0.03)
        assert 0.3 < time.monotonic() - started < 30


def test_the_second_request_on_a_connection_has_a_header_timeout_of_its_own() -> None:
    with receiver(header_timeout_s=0.4, keepalive_timeout_s=60) as server, server.connect() as wire:
        wire.send(request(spans()))
        assert wire.answer().status == 200
        time.sleep(0.8)  # idle between requests is no slow header
        wire.send(HEAD)
        assert wire.answer().status == 408


def test_an_idle_connection_outlives_the_header_timeout() -> None:
    with receiver(header_timeout_s=0.4, keepalive_timeout_s=60) as server, server.connect() as wire:
        for _ in range(2):
            wire.send(request(spans()))
            assert wire.answer().status == 200
            time.sleep(0.9)
        wire.send(request(spans()))
        assert wire.answer().status == 200


def test_an_idle_connection_is_closed_in_the_end(impatient: RunningReceiver) -> None:
    with impatient.connect() as wire:
        wire.send(request(spans()))
        assert wire.answer().status == 200
        assert 1 < closed_after(wire) < 6


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"])
@pytest.mark.parametrize("sent", [b"", b"x"])
def test_a_body_that_never_ends_is_given_up_with_408(impatient: RunningReceiver, framing: bytes, sent: bytes) -> None:
    with impatient.connect() as wire:
        wire.send(HEAD + framing + sent)
        answer = wire.answer()
        assert (answer.status, answer.type, answer.headers["connection"]) == (408, PROTOBUF, "close")


def test_a_body_that_trickles_below_the_minimum_rate_is_given_up(impatient: RunningReceiver) -> None:
    with impatient.connect() as wire:
        wire.send(HEAD + b"Content-Length: 100000\r\n\r\n")
        started = time.monotonic()
        wire.socket.setblocking(False)
        answered = False
        while not answered and time.monotonic() - started < 30:
            time.sleep(0.05)
            wire.socket.send(b"xx")  # 40 bytes a second
            try:
                answered = b" 408 " in wire.socket.recv(100)
            except BlockingIOError:
                continue
        assert answered


def test_a_body_that_trickles_above_the_minimum_rate_is_accepted() -> None:
    body = spans(40)
    with receiver(body_timeout_s=0.4, min_body_bytes_per_s=100) as server, server.connect() as wire:
        wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
        started = time.monotonic()
        for at in range(0, len(body), 400):
            wire.send(body[at : at + 400])
            time.sleep(0.1)
        assert wire.answer().status == 200
        assert time.monotonic() - started > server.settings.body_timeout_s


def test_hundreds_of_half_sent_requests_do_not_slow_a_healthy_client() -> None:
    with receiver() as server:
        wires = [server.connect() for _ in range(300)]
        for number, wire in enumerate(wires):
            wire.send((b"POST /v1", HEAD, HEAD + b"Content-Length: 100\r\n\r\nx")[number % 3])
        times = []
        for _ in range(50):
            started = time.monotonic()
            assert server.is_well()
            times.append(time.monotonic() - started)
        for wire in wires:
            wire.socket.close()
    assert sorted(times)[25] < 0.2  # 0.002 s on a quiet machine


def test_connections_over_the_limit_are_told_503_and_closed() -> None:
    with receiver(max_connections=5) as server:
        wires = [server.connect() for _ in range(5)]
        for wire in wires:
            wire.send(request(spans()))
            assert wire.answer().status == 200
        with server.connect() as sixth:
            answer = sixth.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.error.message == "too many connections"
            assert sixth.is_closed()
        wires.pop().socket.close()
        time.sleep(0.1)
        assert server.is_well()
        for wire in wires:
            wire.socket.close()
