"""CPU of the receiver by stage: `python -m bench.receiver`.

Process CPU in the best of several rounds, so that a busy machine matters less. Requests are those of bench.traffic
(512 spans of 16 attributes). Nothing is stored: the intake returns at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from collections.abc import Callable

import uvloop
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench import traffic
from mapping.otlp.decode import Decoder
from receiver import app
from receiver.counts import ReceiverCounts
from receiver.decode import compression, otlp_json, prescan
from receiver.decode.request import decode_request
from receiver.intake import Received
from receiver.settings import ReceiverSettings

ROUNDS = 7
SPANS = traffic.SPANS_PER_REQUEST
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def as_json(body: bytes) -> bytes:
    """The same request as JavaScript would write it."""
    document = json_format.MessageToDict(ExportTraceServiceRequest.FromString(body))
    for group in document["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span, source in zip(
                scope["spans"],
                ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans,
                strict=True,
            ):
                span["traceId"], span["spanId"] = source.trace_id.hex(), source.span_id.hex()
                span["parentSpanId"], span["kind"] = source.parent_span_id.hex(), source.kind
    return json.dumps(document, separators=(",", ":")).encode()


def best_us(work: Callable[[], object], repeat: int = 10) -> float:
    """Microseconds of CPU of one call, in the best round."""
    work()
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(repeat):
            work()
        times.append((time.process_time() - started) / repeat)
    return min(times) * 1e6


def report(name: str, us: float, records: int = SPANS) -> None:
    print(f"  {name:44} {us:10.1f} us {us / records:8.3f} us/span")


def stages() -> None:
    plain = [traffic.request(seed) for seed in range(20)]
    packed = traffic.bodies(20)
    limits = ReceiverSettings().decode_limits()
    bounds = prescan.Limits(limits.max_records, limits.max_elements)
    decoder = Decoder()
    count = len(plain)

    def over(bodies: list[bytes], work: Callable[[bytes], object]) -> float:
        def all_of_them() -> None:
            for body in bodies:
                work(body)

        return best_us(all_of_them, 1) / count

    print(f"{SPANS} spans: {len(plain[0])} bytes, {len(packed[0])} as gzip; every request another one")
    report("inflate (gzip)", over(packed, lambda body: compression.inflate(body, ("gzip",), limits.max_body_bytes)))
    report("bounds on the wire", over(plain, lambda body: prescan.check(body, "traces", bounds)))
    report("decode (mapping.otlp.decode)", over(plain, decoder.traces))
    report("all three", over(packed, lambda body: decode_request(decoder, "traces", PROTOBUF, "gzip", body, limits)))
    documents = [as_json(body) for body in plain]
    print(f"the same as JSON: {len(documents[0])} bytes")
    report("parse and write as protobuf", over(documents, lambda body: transcoded(body, bounds)))
    report("with decode", over(documents, lambda body: decode_request(decoder, "traces", JSON, "", body, limits)))


def transcoded(body: bytes, bounds: prescan.Limits) -> bytes:
    return otlp_json.transcode(body, "traces", bounds, otlp_json.Refused())


class Nowhere:
    async def accept(self, received: Received) -> None:
        return


def http_request(body: bytes, encoding: str) -> bytes:
    head = "POST /v1/traces HTTP/1.1\r\nHost: localhost:4318\r\nUser-Agent: OTel-OTLP-Exporter-Python/1.45.2\r\n"
    head += f"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Type: {PROTOBUF}\r\n{encoding}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def server() -> None:
    running = await app.start(ReceiverSettings(endpoint="127.0.0.1:0"), Decoder(), Nowhere(), ReceiverCounts())

    def drive(requests: list[bytes], count: int) -> float:
        """Microseconds of the server's CPU for a request: the process without this client thread."""
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            times = []
            for _ in range(ROUNDS):
                process, own = time.process_time(), time.thread_time()
                for number in range(count):
                    client.sendall(requests[number % len(requests)])
                    if not client.recv(4096).startswith(b"HTTP/1.1 200 "):
                        raise RuntimeError("not answered 200")
                times.append((time.process_time() - process - (time.thread_time() - own)) / count)
        return min(times) * 1e6

    print("the whole server, one connection")
    empty = await asyncio.to_thread(drive, [http_request(b"", "")], 1000)
    print(f"  {'empty request':44} {empty:10.1f} us")
    packed = [http_request(body, "Content-Encoding: gzip\r\n") for body in traffic.bodies(20)]
    report("512 spans, gzip", await asyncio.to_thread(drive, packed, 100))
    await running.stop()


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the bridge does
    stages()
    uvloop.run(server())
