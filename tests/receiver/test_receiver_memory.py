"""Nothing of a request is left to the garbage collector, which the bridge runs seldom: memory goes with the answer."""

from __future__ import annotations

import gc
import gzip
import time

import pytest

from otlp_http import JSON, RunningReceiver, chunked, json_span, json_spans, receiver, request, spans

REQUESTS = {
    "short": request(spans()),
    "gzip": request(gzip.compress(spans(100)), encoding="gzip"),
    "chunked": chunked(spans(100)),
    "decoded in the thread": request(spans(5000)),
    "json": request(json_spans(json_span()), JSON),
    "json in the thread": request(json_spans(*[json_span()] * 500), JSON),
    "not protobuf": request(b"\xff"),
    "not json": request("{", JSON),
    "not json in the thread": request("{" * 300_000, JSON),
    "corrupt gzip": request(b"nope", encoding="gzip"),
    "unknown path": request(spans(), path="/x"),
    "unknown type": request(spans(), "text/plain"),
    "too many records": request(b"\x0a\x04\x12\x02\x12\x00" * 20_000),
    "two lengths": request(b"", headers=("Content-Length: 70000000",)),
    "no HTTP": b"hello\r\n\r\n",
    "several refused at once": request(b"\x0a\x04\x12\x02\x12\x00" * 20_000) * 3,
}


def send(server: RunningReceiver, raw: bytes, count: int) -> None:
    for _ in range(count):
        with server.connect() as wire:
            try:
                wire.send(raw)
                wire.answer()
            except ConnectionError:
                continue


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_leaves_no_garbage(what: str) -> None:
    with receiver(max_records=6000) as server:
        send(server, REQUESTS[what], 3)
        server.intake.received.clear()
        gc.collect()
        gc.disable()
        try:
            send(server, REQUESTS[what], 20)
            server.intake.received.clear()
            deadline = time.monotonic() + 60
            while (server.counts.connections or server.counts.in_flight_bytes) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            left = gc.collect()
        finally:
            gc.enable()
        assert left < 20 * 5  # a cycle through a request holds fifty objects
