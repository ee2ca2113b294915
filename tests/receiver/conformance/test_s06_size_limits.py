"""OTLP/HTTP: size limits (spec/otlp-http.md §6)."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codings import CODINGS
from otlp_http import JSON, PROTOBUF, Answer, RunningReceiver, chunked, receiver, request, spans, spans_message
from receiver.settings import ReceiverSettings

LIMIT = 100_000


@pytest.fixture(scope="module")
def small() -> Iterator[RunningReceiver]:
    """A receiver that takes bodies of up to LIMIT bytes."""
    with receiver(max_body_bytes=LIMIT) as running:
        yield running


def body_of(size: int) -> bytes:
    """A good request of exactly this many bytes."""
    message = spans_message()
    value = message.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="filler").value
    value.string_value = "x" * (size - len(message.SerializeToString()) - 30)
    while (missing := size - len(message.SerializeToString())) > 0:
        value.string_value += "x" * missing
    assert len(message.SerializeToString()) == size
    return message.SerializeToString()


def test_the_default_limit_is_64_mebibytes() -> None:
    assert ReceiverSettings().max_body_bytes == 64 << 20


def test_exactly_the_limit_is_accepted(small: RunningReceiver) -> None:
    assert small.post(body_of(LIMIT)).rejected == 0
    assert small.exchange(chunked(body_of(LIMIT))).rejected == 0


@pytest.mark.parametrize(
    "coding", ["gzip", "zstd", "deflate", "deflate raw", "snappy", "snappy framed", "lz4", "gzip of gzip"]
)
def test_the_limit_after_decompression_is_exact(small: RunningReceiver, coding: str) -> None:
    name, pack = CODINGS[coding]
    assert small.post(pack(body_of(LIMIT)), encoding=name).rejected == 0
    answer = small.post(pack(body_of(LIMIT + 1)), encoding=name)
    assert answer.status == 413
    assert str(LIMIT) in answer.error.message


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_one_byte_more_is_413_with_a_status_body(small: RunningReceiver, media: str) -> None:
    for raw in (request(body_of(LIMIT + 1), media), chunked(body_of(LIMIT + 1), content_type=media)):
        answer = small.exchange(raw)
        assert (answer.status, answer.type) == (413, media)
        assert str(LIMIT) in answer.error.message
    assert small.is_well()


def memory_kib() -> int:
    """Resident memory of this process now."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


class Peak:
    """The most memory this process had while the block ran."""

    def __enter__(self) -> Peak:
        self.start = self.most = memory_kib()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.most = max(self.most, memory_kib())

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown_mib(self) -> float:
        return (self.most - self.start) / 1024


@pytest.mark.parametrize("coding", ["gzip", "zstd", "deflate", "snappy framed", "lz4", "gzip of gzip"])
def test_a_bomb_is_stopped_at_the_limit(small: RunningReceiver, coding: str) -> None:
    name, pack = CODINGS[coding]
    bomb = pack(bytes(200_000_000))
    with Peak() as peak:
        answer = small.post(bomb[: LIMIT - 1] if len(bomb) >= LIMIT else bomb, encoding=name)
    assert answer.status == 413
    assert peak.grown_mib < 30


def test_a_bomb_in_a_bomb_in_a_bomb_is_stopped(small: RunningReceiver) -> None:
    bomb = gzip.compress(gzip.compress(gzip.compress(bytes(200_000_000))))
    assert len(bomb) < 2000
    assert small.post(bomb, encoding="gzip, gzip, gzip").status in (200, 400, 413)
    assert small.is_well()


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("zstd", bytes.fromhex("28b52ffd e0 ffffffffffffff7f")),  # single segment, content size 2^63
        ("zstd", bytes.fromhex("28b52ffd 00 ff")),  # a window of gigabytes
        ("zstd", bytes.fromhex("28b52ffd a0 00000040 0300")),  # content size 1 GiB
        ("snappy", b"\xff\xff\xff\xff\x0f" + b"abc"),  # 4 GiB
        ("snappy", b"\xa0\x8d\x06" + b"abc"),  # exactly the limit, from three bytes
        ("lz4", bytes.fromhex("04224d18 7c 40 ffffffffffffff7f 00")),
    ],
)
def test_a_frame_that_lies_about_its_size_is_refused_without_allocating_it(
    server: RunningReceiver, name: str, lie: bytes
) -> None:
    with Peak() as peak:
        assert server.post(lie, encoding=name).status in (400, 413)
    assert peak.grown_mib < 30
    assert server.is_well()


def test_bombs_in_parallel_do_not_stop_normal_requests(server: RunningReceiver) -> None:
    bomb = gzip.compress(bytes(300_000_000), 1)
    answers: list[int] = []
    attackers = [
        threading.Thread(target=lambda: answers.append(server.post(bomb, encoding="gzip").status)) for _ in range(8)
    ]
    began = time.monotonic()
    for attacker in attackers:
        attacker.start()
    slowest = 0.0
    while any(attacker.is_alive() for attacker in attackers):
        started = time.monotonic()
        assert server.is_well()
        slowest = max(slowest, time.monotonic() - started)
    assert answers == [413] * 8
    assert slowest < (time.monotonic() - began) / 2  # about 0.03 s of 2 on a quiet machine


def test_many_elements_in_few_bytes_are_413(server: RunningReceiver) -> None:
    """20 KB that would become ten million attributes."""
    span = spans_message().resource_spans[0].scope_spans[0].spans[0].SerializeToString() + b"\x4a\x00" * 10_000_000
    parts = b""
    for number, content in ((2, span), (2, None), (1, None)):
        parts = bytes([number << 3 | 2]) + _varint(len(content or parts)) + (content or parts)
    bomb = gzip.compress(parts)
    assert len(bomb) < 40_000
    with Peak() as peak:
        answer = server.post(bomb, encoding="gzip")
    assert answer.status == 413
    assert "attributes" in answer.error.message
    assert peak.grown_mib < 120


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


@pytest.mark.parametrize("text", [b"{},", b"1,", b'"a":1,', b"[],", b"[" * 500 + b"]" * 500 + b","])
def test_many_small_things_in_json_are_413(server: RunningReceiver, text: bytes) -> None:
    open_, close = (b'{"x":{', b'"z":0}}') if b":" in text else (b'{"x":[', b"0]}")
    body = open_ + text * (30_000_000 // len(text)) + close
    with Peak() as peak:
        answer = server.post(gzip.compress(body, 1), JSON, encoding="gzip")
    assert answer.status == 413
    assert peak.grown_mib < 150


def test_a_million_keys_are_no_server_error(server: RunningReceiver) -> None:
    body = "{" + ",".join(f'"k{number}":{number}' for number in range(1_000_000)) + "}"
    assert server.post(gzip.compress(body.encode(), 1), JSON, encoding="gzip").status in (200, 413)
    assert server.is_well()


def test_more_records_than_max_records_are_413() -> None:
    with receiver(max_records=100) as server:
        assert server.post(spans(90)).rejected == 0
        answer = server.post(spans(200))
        assert answer.status == 413
        assert "100 records" in answer.error.message


def test_a_client_that_writes_before_it_reads_gets_the_413(small: RunningReceiver) -> None:
    """The Python exporter sends the whole body first; a reset would make it send everything again."""
    with small.connect() as wire:
        wire.send(request(bytes(5_000_000)))
        answer = wire.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.error.message


def test_a_content_length_over_the_limit_is_refused_before_the_body(small: RunningReceiver) -> None:
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {LIMIT + 1}\r\n"
    answer = small.exchange(head.encode() + b"\r\n")
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


def test_expect_100_continue_over_the_limit_gets_413_instead_of_100(small: RunningReceiver) -> None:
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {LIMIT + 1}\r\n"
    assert small.exchange(head.encode() + b"Expect: 100-continue\r\n\r\n").status == 413


def test_header_values_of_4_kib_and_60_headers_are_accepted(server: RunningReceiver) -> None:
    many = tuple(f"X-Header-{number}: {number}" for number in range(60))
    assert server.post(spans(), headers=(*many, "Authorization: Bearer " + "x" * 4096)).status == 200


@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_headers_of_a_mebibyte_are_refused(server: RunningReceiver, size: int) -> None:
    answer = _answer_or_none(server, request(spans(), headers=("X-Huge: " + "x" * size,)))
    assert answer is None or answer.status in (400, 431)
    answer = _answer_or_none(server, request(spans(), headers=tuple(f"X-{n}: y" for n in range(size // 10))))
    assert answer is None or answer.status in (400, 431)
    assert server.is_well()


def _answer_or_none(server: RunningReceiver, raw: bytes) -> Answer | None:
    """None when the connection ended while we were still writing, as HTTP allows here."""
    try:
        return server.exchange(raw)
    except (ConnectionError, TimeoutError):
        return None


def test_error_bodies_stay_small_whatever_was_sent(server: RunningReceiver) -> None:
    for answer in (
        server.post(b"\xff" * 500_000),
        server.post("x" * 500_000, JSON),
        server.post(spans(), "y" * 8000),
        server.post(spans(), encoding="z" * 8000),
        server.post(spans(), path="/" + "p" * 8000),
    ):
        assert 400 <= answer.status < 500
        assert len(answer.body) < 2000
