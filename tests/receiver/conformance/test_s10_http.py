"""OTLP/HTTP: HTTP/1.1 itself, mostly with raw bytes (spec/otlp-http.md §10)."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time

import pytest

from otlp_http import JSON, PROTOBUF, RunningReceiver, Wire, chunked, json_span, json_spans, receiver, request, spans
from receiver.intake import Received

HEAD = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n".encode()


def refused_or_closed(server: RunningReceiver, raw: bytes) -> None:
    """The answer is 4xx or 501 with the connection closed behind it, or there is none."""
    with server.connect() as wire:
        wire.send(raw)
        try:
            answer = wire.answer()
        except ConnectionError:
            pass
        else:
            assert 400 <= answer.status < 500 or answer.status == 501, answer
            assert answer.error.message
            assert wire.is_closed()
    assert server.is_well()


# -- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 100, 65_536, 1 << 20])
def test_chunks_of_any_size(server: RunningReceiver, size: int) -> None:
    assert server.exchange(chunked(spans(200), size)).status == 200
    assert server.last.decoded.accepted == 200


def test_chunk_extensions_and_trailers_are_accepted(server: RunningReceiver) -> None:
    body = spans()
    raw = HEAD + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    raw += b'%x;ext=1;other="q"\r\n%s\r\n0;last\r\nX-Sum: 7\r\n\r\n' % (len(body), body)
    with server.connect() as wire:
        wire.send(raw + request(spans(2)))
        assert [wire.answer().status, wire.answer().status] == [200, 200]


def test_chunk_sizes_in_capitals_and_with_zeros(server: RunningReceiver) -> None:
    body = spans(2)
    raw = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"000%X\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert server.exchange(raw).status == 200


@pytest.mark.parametrize(
    "chunks",
    [
        b"xyz\r\nabc\r\n0\r\n\r\n",
        b"-1\r\nabc\r\n0\r\n\r\n",
        b"\r\n\r\n",
        b"3\r\nabcdef\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"g\r\n",
    ],
)
def test_malformed_chunks_are_refused(server: RunningReceiver, chunks: bytes) -> None:
    refused_or_closed(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: abc\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length:\r\n",
        b"Transfer-Encoding: rot13\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ],
)
def test_bad_framing_is_refused(server: RunningReceiver, headers: bytes) -> None:
    refused_or_closed(server, HEAD + headers + b"\r\nabc")


def test_content_length_with_transfer_encoding_is_refused(server: RunningReceiver) -> None:
    """Both together are how requests are smuggled (RFC 9112 §6.1)."""
    refused_or_closed(server, HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_a_post_without_length_and_encoding_has_an_empty_body(server: RunningReceiver, media: str) -> None:
    answer = server.exchange(f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\n\r\n".encode())
    assert answer.status == (200 if media == PROTOBUF else 400)


# -- expectations --------------------------------------------------------------------------------------------


def test_100_continue_is_sent_before_the_body(server: RunningReceiver) -> None:
    body = spans()
    with server.connect() as wire:
        wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert wire.answer().status == 100
        wire.send(body)
        assert wire.answer().status == 200
        wire.send(request(spans()))
        assert wire.answer().status == 200


@pytest.mark.parametrize(("path", "content_type", "status"), [("/x", PROTOBUF, 404), ("/v1/traces", "text/plain", 415)])
def test_a_final_answer_comes_instead_of_100(
    server: RunningReceiver, path: str, content_type: str, status: int
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: 5\r\n"
    assert server.exchange(head.encode() + b"Expect: 100-continue\r\n\r\n").status == status


def test_an_unknown_expectation_is_417(server: RunningReceiver) -> None:
    answer = server.post(spans(), headers=("Expect: a-miracle",))
    assert answer.status == 417
    assert "100-continue" in answer.error.message


# -- connections ---------------------------------------------------------------------------------------------


def test_a_connection_serves_many_requests(server: RunningReceiver) -> None:
    with server.connect() as wire:
        for _ in range(20):
            wire.send(request(spans()))
            assert wire.answer().status == 200


def test_the_unread_rest_of_a_body_never_becomes_the_next_request(server: RunningReceiver) -> None:
    smuggled = request(spans(9))
    for refused in (request(smuggled, "text/plain"), request(smuggled, path="/x"), chunked(smuggled, path="/x")):
        with server.connect() as wire:
            wire.send(refused + request(spans(2)))
            assert wire.answer().status in (404, 415)
            assert wire.answer().status == 200
            assert server.last.decoded.accepted == 2


def test_the_unread_rest_of_a_long_body_is_not_answered_either(server: RunningReceiver) -> None:
    with server.connect() as wire:
        wire.send(HEAD.replace(b"/v1/traces", b"/x") + b"Content-Length: 3000000\r\n\r\n" + request(spans()) * 100)
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (404, "close")


def test_pipelined_requests_are_answered_in_order(server: RunningReceiver) -> None:
    with server.connect() as wire:
        wire.send(
            request(spans())
            + request("{", JSON)
            + request(json_spans(json_span()), JSON)
            + request(b"", path="/x")
            + chunked(spans())
        )
        assert [wire.answer().status for _ in range(5)] == [200, 400, 200, 404, 200]


def test_hundreds_of_pipelined_requests(server: RunningReceiver) -> None:
    with server.connect() as wire:
        wire.send(request(spans()) * 300)
        assert [wire.answer().status for _ in range(300)] == [200] * 300


def test_http_1_0_is_answered_and_closed(server: RunningReceiver) -> None:
    body = spans()
    raw = b"POST /v1/traces HTTP/1.0\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (PROTOBUF.encode(), len(body))
    with server.connect() as wire:
        wire.send(raw + body)
        assert wire.answer().status == 200
        assert wire.is_closed()


def test_http_1_0_may_ask_to_keep_the_connection(server: RunningReceiver) -> None:
    raw = b"POST /v1/traces HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: %s\r\nContent-Length: 0\r\n\r\n"
    with server.connect() as wire:
        for _ in range(2):
            wire.send(raw % PROTOBUF.encode())
            answer = wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


def test_connection_close_is_honoured(server: RunningReceiver) -> None:
    with server.connect() as wire:
        wire.send(request(spans(), headers=("Connection: close",)))
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.is_closed()


def test_a_missing_host_is_400(server: RunningReceiver) -> None:
    answer = server.exchange(request(spans()).replace(b"Host: localhost\r\n", b""))
    assert answer.status == 400
    assert "Host" in answer.error.message


def test_header_names_are_read_without_case(server: RunningReceiver) -> None:
    raw = request(spans()).replace(b"Content-Type", b"cOnTeNt-tYpE").replace(b"Content-Length", b"CONTENT-LENGTH")
    assert server.exchange(raw).status == 200


def test_an_upgrade_is_ignored(server: RunningReceiver) -> None:
    for protocol in ("h2c", "websocket"):
        with server.connect() as wire:
            wire.send(request(spans(), headers=(f"Upgrade: {protocol}", "Connection: Upgrade, HTTP2-Settings")))
            assert wire.answer().status in (200, 400)
    assert server.is_well()


@pytest.mark.parametrize(
    "raw",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),  # HTTP/2 with prior knowledge
        bytes.fromhex("16030100c8010000c40303") + bytes(190),  # TLS ClientHello
        b"\x00" * 100,
        b"POST /v1/traces\r\n\r\n",
        b"POST  /v1/traces HTTP/1.1\r\n\r\n",
        b"POST /v1/traces HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost x\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\n Host: x\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    ],
)
def test_bytes_that_are_no_http_are_refused_at_once(server: RunningReceiver, raw: bytes) -> None:
    started = time.monotonic()
    refused_or_closed(server, raw)
    assert time.monotonic() - started < 30


def test_responses_are_never_compressed(server: RunningReceiver) -> None:
    accept = ("Accept-Encoding: gzip, deflate, br, zstd",)
    for raw in (request(spans(), headers=accept), request(spans(), path="/x", headers=accept)):
        assert "content-encoding" not in server.exchange(raw).headers


def test_responses_have_a_date(server: RunningReceiver) -> None:
    assert server.post(spans()).headers["date"].endswith("GMT")


# -- clients that vanish, and many at once ---------------------------------------------------------------------


def vanish(wire: Wire, how: str) -> None:
    if how == "reset":
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "half-close":
        wire.socket.shutdown(socket.SHUT_WR)
        time.sleep(0.01)
    wire.socket.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/tra",
        HEAD,
        HEAD + b"Content-Length: 1000\r\n\r\n",
        HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(500),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        request(spans()),
        request(spans()) * 20,
    ],
    ids=["nothing", "half a line", "half the headers", "no body", "half a body", "half a chunk", "whole", "pipelined"],
)
def test_a_client_that_vanishes_affects_nobody(server: RunningReceiver, how: str, sent: bytes) -> None:
    for _ in range(5):
        wire = server.connect()
        wire.send(sent)
        vanish(wire, how)
    assert server.is_well()


def test_what_a_client_had_sent_completely_is_kept_when_it_vanishes_before_the_answer() -> None:
    with receiver() as server:
        arrived = threading.Event()

        async def slowly(received: Received) -> None:
            arrived.set()

        server.intake.before = slowly
        wire = server.connect()
        wire.send(request(spans(4)))
        vanish(wire, "reset")
        arrived.wait(60)
        assert server.is_well()
        assert server.counts.in_flight_bytes == 0


def test_a_half_sent_body_that_vanishes_is_counted_and_not_in_flight_any_more() -> None:
    with receiver() as server:
        for _ in range(3):
            wire = server.connect()
            wire.send(HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(500))
            time.sleep(0.05)
            vanish(wire, "reset")
        for _ in range(100):
            if not server.counts.in_flight_bytes and sum(server.counts.refused_requests.values()) == 3:
                break
            time.sleep(0.02)
        assert {key.reason for key in server.counts.refused_requests} == {"gone"}
        assert server.counts.in_flight_bytes == 0


def test_connections_are_served_in_parallel() -> None:
    with receiver() as server:
        waiting: list[Received] = []
        all_there = asyncio.Event()

        async def meet(received: Received) -> None:
            waiting.append(received)
            if len(waiting) == 30:
                all_there.set()
            await asyncio.wait_for(all_there.wait(), 60)

        server.intake.before = meet
        wires = [server.connect() for _ in range(30)]
        for wire in wires:
            wire.send(request(spans()))
        assert [wire.answer().status for wire in wires] == [200] * 30
        for wire in wires:
            wire.socket.close()
