"""What abuse of the receiving port does to a healthy client: `python -m bench.receiver_abuse [scenario ...]`.

The receiver runs in a process of its own (its memory is read from the kernel), the attacker in another, the healthy
client here: 20 requests a second of 512 gzip spans, each timed. A scenario is fine when the healthy client's 99th
percentile stays within twice its baseline, taken just before, and memory is bounded. Figures depend on free cores:
attacker, receiver and client share them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import multiprocessing
import random
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import uvloop

from bench import traffic
from mapping.otlp.decode import Decoder
from receiver import app
from receiver.counts import ReceiverCounts
from receiver.intake import Received
from receiver.settings import ReceiverSettings

PROTOBUF, JSON = "application/x-protobuf", "application/json"
SECONDS = 6.0
PAUSE_S = 0.05

Attack = Callable[[int, Event], None]


class Nowhere:
    async def accept(self, received: Received) -> None:
        return


def serve(told: Connection) -> None:
    """A receiver until the pipe is closed, with the interpreter set up as the bridge does."""
    sys.setswitchinterval(0.001)

    async def run() -> None:
        counts = ReceiverCounts()
        running = await app.start(ReceiverSettings(endpoint="127.0.0.1:0"), Decoder(), Nowhere(), counts)
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        told.send(running.port)
        with contextlib.suppress(EOFError):
            await asyncio.to_thread(told.recv)
        await running.stop()

    uvloop.run(run())


def post(body: bytes, content_type: str = PROTOBUF, encoding: str = "", path: str = "/v1/traces") -> bytes:
    coding = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{coding}Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def exchange(client: socket.socket, raw: bytes) -> bytes:
    """Send a request and read a small answer; b"" when the connection ends."""
    client.sendall(raw)
    return client.recv(65536)


# -- attacks: each goes on until it is told to stop ------------------------------------------------------------


def trickle(port: int, stop: Event, connections: int = 500) -> None:
    """Half-open requests, headers or bodies, a byte a second each; opened again when they are closed."""
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n".encode()
    starts = (b"POST /v1/tra", head, head + b"Content-Length: 100000\r\n\r\nx")

    def open_one(number: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(starts[number % 3])
        return client

    clients = [open_one(number) for number in range(connections)]
    number = 0
    while not stop.wait(1 / 50):
        for _ in range(connections // 50):
            number = (number + 1) % connections
            try:
                clients[number].sendall(b"a")
            except OSError:
                clients[number].close()
                clients[number] = open_one(number)


def repeat(*requests: bytes, connections: int = 4) -> Attack:
    """The same requests over and over on several connections, each waiting for its answer."""

    def attack(port: int, stop: Event) -> None:
        def one() -> None:
            client = None
            while not stop.is_set():
                for raw in requests:
                    try:
                        client = client or socket.create_connection(("127.0.0.1", port))
                        if not exchange(client, raw):
                            raise ConnectionError
                    except OSError:
                        if client:
                            client.close()
                        client = None

        threads = [threading.Thread(target=one) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return attack


def squeezed(chunk: bytes, count: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """gzip of something too long to be held."""
    packer = zlib.compressobj(6, wbits=31)
    parts = [packer.compress(before), *(packer.compress(chunk) for _ in range(count)), packer.compress(after)]
    return b"".join(parts) + packer.flush()


def field(number: int, content: bytes, length: int | None = None) -> bytes:
    """A length-delimited field, or only its head when the content comes separately."""
    size = len(content) if length is None else length
    out = bytes([number << 3 | 2])
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size]) + content


def elements(one: bytes, count: int) -> bytes:
    """A request of one span that holds `count` copies of `one`, as gzip."""
    inner = len(one) * count
    span = field(2, b"", inner)
    scope = field(2, b"", len(span) + inner)
    group = field(1, b"", len(scope) + len(span) + inner)
    return squeezed(one * (count // 10), 10, before=group + scope + span)


def garbage() -> list[bytes]:
    """Ways to be malformed, some of which end the connection."""
    dice = random.Random(7)
    noise = dice.randbytes(2000)
    return [
        post(noise),
        post(noise, JSON),
        post(noise, PROTOBUF, "gzip"),
        post(traffic.bodies(1)[0][:-20], PROTOBUF, "gzip"),
        post(traffic.request(1, 20)[:-1]),
        post(b"{" * 2000, JSON),
        post(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":5}]}]}]}', JSON),
        post(noise, "text/plain"),
        post(noise, PROTOBUF, "br"),
        post(noise, path="/" + "x" * 500),
        noise,
    ]


def scenarios() -> dict[str, Attack]:
    empty_spans = field(1, field(2, b"\x12\x00" * 500_000))
    return {
        "500 slow connections": trickle,
        "2,000 slow connections": functools.partial(trickle, connections=2000),
        "2 GB gzip bombs, 4 at a time": repeat(post(squeezed(bytes(1 << 20), 2000), PROTOBUF, "gzip")),
        "500,000 empty spans in 1 MB": repeat(post(empty_spans)),
        "500,000 empty resources in 1 KB": repeat(post(squeezed(b"\x0a\x00" * 50_000, 10), PROTOBUF, "gzip")),
        "10 M empty attributes": repeat(post(elements(b"\x4a\x00", 10_000_000), PROTOBUF, "gzip")),
        "10 M distinct small attributes": repeat(
            post(elements(bytes.fromhex("4a050a036162634a050a03616264"), 5_000_000), PROTOBUF, "gzip")
        ),
        "JSON of 20 M empty objects": repeat(post(squeezed(b"{}," * 100_000, 200, b'{"x":[', b"0]}"), JSON, "gzip")),
        "malformed flood": repeat(*garbage()),
    }


# -- the healthy client ------------------------------------------------------------------------------------------


def healthy(port: int, seconds: float) -> list[float]:
    """Milliseconds of each request, sorted. Raises RuntimeError when one is not answered 200."""
    requests = [post(body, PROTOBUF, "gzip") for body in traffic.bodies(10)]
    times: list[float] = []
    ends = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as client:
        while time.monotonic() < ends:
            started = time.perf_counter()
            answer = exchange(client, requests[len(times) % 10])
            times.append((time.perf_counter() - started) * 1000)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"a healthy request was answered {answer[:100]!r}")
            time.sleep(PAUSE_S)
    return sorted(times)


def percentile(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))]


def memory_mib(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024


@contextlib.contextmanager
def attacked(port: int, attack: Attack) -> Iterator[None]:
    stop = multiprocessing.Event()
    attacker = multiprocessing.Process(target=attack, args=(port, stop))
    attacker.start()
    try:
        yield
    finally:
        stop.set()
        attacker.join(30)
        attacker.kill()


def main(wanted: list[str]) -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,))
    server.start()
    theirs.close()
    try:
        port = ours.recv()
        pid = server.pid or 0
        heads = ("p50 ms", "p99 ms", "max ms", "p99 before", "x p99", "peak MiB", "after MiB")
        print(" " * 34 + "".join(f"{head:>11}" for head in heads))
        healthy(port, 1)  # warm
        for name, attack in scenarios().items():
            if wanted and not any(word in name for word in wanted):
                continue
            base = healthy(port, SECONDS)
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew
            with attacked(port, attack):
                time.sleep(0.5)
                times = healthy(port, SECONDS)
            row(name, times, base, pid)
    finally:
        ours.close()
        server.join(10)
        server.kill()


def row(name: str, times: list[float], base: list[float], pid: int) -> None:
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    before = percentile(base, 0.99)
    memory = f"{memory_mib(pid, 'VmHWM'):11.0f}{memory_mib(pid, 'VmRSS'):11.0f}"
    print(f"{name:34}{p50:11.1f}{p99:11.1f}{times[-1]:11.1f}{before:11.1f}{p99 / before:11.1f}{memory}", flush=True)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main(sys.argv[1:])
