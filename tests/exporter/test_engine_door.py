"""What reaches the engine before its password is right, and what a body may be after it."""

from __future__ import annotations

import base64
import gzip
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from engine_process import EngineProcess
from exporter.clickhouse.engine import body as bodies
from exporter.clickhouse.engine import protocol
from exporter.clickhouse.engine.endpoint import READER, password

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("engine") / "store", max_request_bytes=LIMIT)
    yield process
    assert process.stop() == 0


def exchange(engine: EngineProcess, raw: bytes) -> bytes:
    """All that is answered to these bytes until the other end closes, or for a quarter of a minute."""
    with socket.create_connection(("127.0.0.1", engine.port), timeout=15) as wire:
        wire.sendall(raw)
        parts = []
        try:
            while part := wire.recv(65536):
                parts.append(part)
        except OSError:
            pass
        return b"".join(parts)


def authorized(engine: EngineProcess) -> bytes:
    secret = base64.b64encode(f"{READER}:{password(engine.data, READER)}".encode())
    return b"Authorization: Basic " + secret + b"\r\n"


def is_well(engine: EngineProcess) -> bool:
    return engine.ask("SELECT 1") == (0, "1\n")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 200000000\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\nContent-Length: 200000000\r\n",
        b"Expect: 100-continue\r\nContent-Length: 10\r\n",
    ],
)
@pytest.mark.parametrize(
    "credentials", [b"", b"Authorization: Basic cmVhZGVyOm5v\r\n", b"Authorization: Basic \xff\r\n"]
)
def test_without_the_password_no_body_is_waited_for(engine: EngineProcess, head: bytes, credentials: bytes) -> None:
    answer = exchange(engine, b"POST /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\n" + credentials + head + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" in answer
    assert b"100 Continue" not in answer


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: -1", b""),
        (b"Content-Length: +8", b"SELECT 1"),
        (b"Content-Length: 8_0", b"SELECT 1"),
        (b"Content-Length: \xb2", b"SELECT 1"),
        (b"Content-Length: 0x8", b"SELECT 1"),
        (b"Content-Length: 8\r\nContent-Length: 9", b"SELECT 1"),
        (b"Content-Length: 8\r\nTransfer-Encoding: chunked", b"SELECT 1"),
        (b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
        (b"Transfer-Encoding: identity", b"SELECT 1"),
        (b"Transfer-Encoding: chunked", b"-5\r\nhello\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"zz\r\n"),
        (b"Transfer-Encoding: chunked", b"5\r\nhelloXX0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"0\r\n" + b"a: b\r\n" * 200),
        (b"Content-Encoding: br\r\nContent-Length: 8", b"SELECT 1"),
        (b"Content-Encoding: gzip\r\nContent-Length: 8", b"SELECT 1"),
        (b"Content-Encoding: gzip\r\nContent-Length: 20", gzip.compress(b"SELECT 1", mtime=0)[:20]),
    ],
)
def test_a_body_that_cannot_be_told_is_refused_and_ends_the_connection(
    engine: EngineProcess, head: bytes, body: bytes
) -> None:
    answer = exchange(engine, b"POST / HTTP/1.1\r\nHost: x\r\n" + authorized(engine) + head + b"\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert is_well(engine)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 2000000", b""),
        (b"Transfer-Encoding: chunked", b"200000\r\n"),
        (b"Transfer-Encoding: chunked", b"FFFFFFFFFFFFFF\r\n"),
        (b"Content-Encoding: gzip\r\nContent-Length: %d", gzip.compress(bytes(50_000_000), mtime=0)),
        (b"Content-Encoding: deflate\r\nContent-Length: %d", zlib.compress(bytes(50_000_000))),
    ],
)
def test_a_body_over_the_limit_is_413(engine: EngineProcess, head: bytes, body: bytes) -> None:
    head = head.replace(b"%d", b"%d" % len(body))
    answer = exchange(engine, b"POST / HTTP/1.1\r\nHost: x\r\n" + authorized(engine) + head + b"\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert is_well(engine)


def test_many_members_are_read_once_each_and_not_without_end() -> None:
    one = gzip.compress(b"ab")
    assert bodies.inflate(one * 5000, "gzip", LIMIT) == b"ab" * 5000
    with pytest.raises(bodies.Unreadable, match="members"):
        bodies.inflate(gzip.compress(b"") * (bodies._MAX_MEMBERS + 1), "gzip", LIMIT)


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"x: " + b"a" * 60_000 + b"\r\n" + b"y: " + b"a" * 60_000 + b"\r\nz: " + b"a" * 60_000,
        b"POST / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"POST //[/?query=SELECT+1 HTTP/1.1\r\n\r\n",
        b"POST /?" + b"a=b&" * 5000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nContent-Length: 5000\r\n\r\n",
    ],
    ids=["line", "headers", "lines", "url", "parameters", "tls", "ping with a body"],
)
def test_a_head_that_is_too_long_or_odd_ends_the_connection(engine: EngineProcess, raw: bytes) -> None:
    assert exchange(engine, raw).count(b"HTTP/1.") <= 1
    assert is_well(engine)


def test_connections_without_a_password_do_not_stay_and_do_not_use_up_the_engine(engine: EngineProcess) -> None:
    opened = time.monotonic()
    wires = [socket.create_connection(("127.0.0.1", engine.port), timeout=30) for _ in range(protocol._MAX_CONNECTIONS)]
    for number, wire in enumerate(wires):
        try:
            wire.sendall((b"", b"POST /", b"POST / HTTP/1.1\r\nx: y")[number % 3])
        except OSError:
            continue
    for wire in wires:  # the engine ends them all, without an answer
        try:
            while wire.recv(1024):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass
        wire.close()
    assert time.monotonic() - opened >= protocol._FIRST_HEAD_S - 1
    assert is_well(engine)
