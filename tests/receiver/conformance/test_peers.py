"""One address does not shut out others, and what is not OTLP/HTTP at all is told apart."""

from __future__ import annotations

import contextlib
import logging
import socket
import time

import pytest

from bridge import eventually
from otlp_http import RunningReceiver, receiver, spans
from receiver.budgets import Budgets
from receiver.counts import Key, ReceiverCounts
from receiver.errors import Overloaded
from receiver.peers import peer_of
from receiver.settings import ReceiverSettings

MIB = 1 << 20
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"


def connect(server: RunningReceiver, address: str = "127.0.0.1") -> socket.socket:
    """From an address of the loopback: all of 127.0.0.0/8 are peers of their own."""
    return socket.create_connection(("127.0.0.1", server.port), 20, source_address=(address, 0))


def answer_of(wire: socket.socket) -> bytes:
    """What comes until the other end closes, or the first part of it."""
    with contextlib.suppress(ConnectionError):
        return wire.recv(65536)
    return b""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        (None, "", True),
        ("no address", "no address", True),
    ],
)
def test_a_peer_is_an_address_or_a_network_of_64_bits(one: str | None, other: str | None, same: bool) -> None:
    assert (peer_of(one) == peer_of(other)) is same


def test_unfinished_bodies_of_one_address_leave_room_for_others() -> None:
    """Three connections that have sent nearly all of their bodies and go on slowly, for as long as they may."""
    with receiver(max_in_flight_bytes=16 * MIB, max_arriving_bytes_per_peer=4 * MIB) as server:
        slow = [connect(server, "127.0.0.2") for _ in range(3)]
        for wire in slow:
            wire.sendall(HEAD % (6 * MIB))
            with contextlib.suppress(OSError):
                wire.sendall(bytes(5 * MIB))
        eventually(lambda: server.counts.refused_requests[Key("", "traces", "overloaded")] == 2, "two are refused")
        assert server.counts.in_flight_bytes <= 6 * MIB
        for _ in range(5):
            with connect(server, "127.0.0.3") as wire:
                body = spans(512)
                wire.sendall(HEAD % len(body) + body)
                assert answer_of(wire).startswith(b"HTTP/1.1 200 ")
        for wire in slow:
            wire.close()
        eventually(lambda: server.counts.in_flight_bytes == 0, "what they held is let go")


class Body:
    def __init__(self, peer: str) -> None:
        self.tenant, self.peer, self.held, self.arriving = "", peer, 0, 0


def test_a_complete_body_no_longer_counts_as_arriving() -> None:
    counts = ReceiverCounts()
    budgets = Budgets(ReceiverSettings(max_arriving_bytes_per_peer=2000), counts, time.monotonic)
    first, second, third = Body("a"), Body("a"), Body("a")
    budgets.arrive(first, 5000)  # one is always taken, however long
    with pytest.raises(Overloaded):
        budgets.arrive(second, 10)
    budgets.arrive(Body("b"), 1500)
    budgets.arrived(first)
    budgets.arrive(second, 1500)
    with pytest.raises(Overloaded):
        budgets.arrive(third, 1500)
    for body in (first, second, third):
        budgets.release(body)
    budgets.arrive(third, 1500)
    assert counts.in_flight_bytes == 3000


def test_what_a_body_has_sent_earns_it_a_minute_at_most() -> None:
    with receiver(body_timeout_s=0.5, min_body_bytes_per_s=1) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("receiver.body._LONGEST_EARNED_S", 0.5)
        with connect(server) as wire:
            wire.sendall(HEAD % 100_000 + bytes(90_000))
            assert answer_of(wire).startswith(b"HTTP/1.1 408 ")


def test_one_connection_too_many_of_an_address_takes_the_place_of_an_idle_one() -> None:
    with receiver(max_connections_per_peer=3, max_connections=10) as server:
        body = spans(2)
        kept = [connect(server, "127.0.0.2") for _ in range(3)]
        for wire in kept:
            wire.sendall(HEAD % len(body) + body)
            assert answer_of(wire).startswith(b"HTTP/1.1 200 ")
        with connect(server, "127.0.0.3") as other, connect(server, "127.0.0.2") as newest:
            assert answer_of(kept[0]) == b"", "the oldest idle one is closed"
            for wire in (*kept[1:], newest, other):
                wire.sendall(HEAD % len(body) + body)
                assert answer_of(wire).startswith(b"HTTP/1.1 200 ")
        for wire in kept:
            wire.close()
        eventually(lambda: server.counts.connections == 0, "all are closed")


def test_busy_connections_of_an_address_are_not_closed_for_further_ones() -> None:
    with receiver(max_connections_per_peer=2, max_connections=10) as server:
        busy = [connect(server, "127.0.0.2") for _ in range(2)]
        for wire in busy:
            wire.sendall(HEAD % 100 + b"x")
        eventually(lambda: server.counts.in_flight_bytes == 2, "both are being received")
        with connect(server, "127.0.0.2") as one_more:
            assert answer_of(one_more).startswith(b"HTTP/1.1 503 ")
        for wire in busy:
            wire.close()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), "http2"),
        (bytes.fromhex("16030100f1010000ed0303") + bytes(200), "tls_on_plain"),
    ],
)
def test_another_protocol_is_counted_and_told_in_a_sentence(
    sent: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver() as server, caplog.at_level(logging.WARNING):
        for _ in range(2):
            with connect(server) as wire:
                wire.sendall(sent)
                assert answer_of(wire).startswith(b"HTTP/1.1 400 ")
        assert server.counts.refused_requests[Key("", "", reason)] == 2
        assert server.is_well()
    said = [record.getMessage() for record in caplog.records if record.name == "receiver.peers"]
    assert len(said) == 1
    assert "only counted" in said[0]
