"""Stopping: what was begun is answered, what comes later is told to come again (spec/reliability.md §4 R04)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from otlp_http import RunningReceiver, receiver, request, spans
from receiver.intake import Received


def test_a_request_under_way_is_answered_before_the_stop_ends() -> None:
    server = RunningReceiver()
    server.start()
    started = threading.Event()

    async def slowly(received: Received) -> None:
        started.set()
        await asyncio.sleep(0.5)

    server.intake.before = slowly
    with server.connect() as wire:
        wire.send(request(spans(3)))
        assert started.wait(60)
        server.stop()
        assert wire.answer().status == 200
    assert server.last.decoded.accepted == 3


def test_new_requests_get_503_while_stopping() -> None:
    with receiver() as server, server.connect() as wire:
        wire.send(request(spans()))
        assert wire.answer().status == 200
        server.running.refuse()
        wire.send(request(spans()))
        answer = wire.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_no_connection_is_taken_after_the_stop() -> None:
    server = RunningReceiver()
    server.start()
    port = server.port
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_request_that_does_not_end_cannot_hold_up_the_stop() -> None:
    server = RunningReceiver()
    server.start()

    async def for_ever(received: Received) -> None:
        await asyncio.sleep(3600)

    server.intake.before = for_ever
    with server.connect() as wire, server.connect() as idle:
        wire.send(request(spans()))
        idle.send(b"POST /v1/traces HTTP/1.1\r\nContent-Le")
        time.sleep(0.2)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 60
        assert wire.is_closed()


def test_a_port_in_use_is_an_os_error() -> None:
    with receiver() as server:
        second = RunningReceiver(endpoint=f"127.0.0.1:{server.port}")
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            second.start()
