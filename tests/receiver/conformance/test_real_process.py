"""The worst of this suite again, against the program as an operator starts it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import BridgeProcess
from otlp_http import JSON, PROTOBUF, Answer, Wire, chunked, json_span, json_spans, logs, request, spans


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    sinks = [{"name": "file", "type": "jsonlines", "path": str(tmp_path_factory.mktemp("events") / "events.jsonl")}]
    bridge = BridgeProcess(tmp_path_factory.mktemp("bridge"), exporter={"sinks": sinks})
    bridge.start()
    yield bridge
    bridge.stop()


def exchange(process: BridgeProcess, raw: bytes) -> Answer:
    with Wire(process.port) as wire:
        wire.send(raw)
        return wire.answer()


def peak_mib(process: BridgeProcess) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


@pytest.mark.parametrize(
    "raw",
    [
        request(spans(10)),
        request(logs(10), path="/v1/logs"),
        request(gzip.compress(spans(512)), encoding="gzip"),
        request(json_spans(json_span()), JSON),
        chunked(spans(50)),
        request(spans(8000)),
    ],
    ids=["spans", "logs", "gzip", "json", "chunked", "large"],
)
def test_good_requests_are_acknowledged(process: BridgeProcess, raw: bytes) -> None:
    assert exchange(process, raw).rejected == 0


def test_spans_that_are_no_api_call_are_no_rejection(process: BridgeProcess) -> None:
    """JavaScript and the Collector log every rejection as a warning; plumbing is not one."""
    answer = exchange(process, request(json_spans(json_span(kind=1, attributes=[])), JSON))
    assert (answer.status, answer.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(b"\xff"), 400),
        (request("{", JSON), 400),
        (request(spans(), path="/v1/metrics"), 404),
        (request(b"", method="GET"), 405),
        (request(spans(), "text/plain"), 415),
        (request(gzip.compress(bytes(200_000_000)), encoding="gzip"), 413),
        (request(b"\x0a\x04\x12\x02\x12\x00" * 200_000), 413),
        (b"hello\r\n\r\n", 400),
    ],
    ids=["protobuf", "json", "path", "method", "type", "bomb", "records", "http"],
)
def test_bad_requests_get_their_4xx_and_the_next_good_one_succeeds(
    process: BridgeProcess, raw: bytes, status: int
) -> None:
    answer = exchange(process, raw)
    assert (answer.status, bool(answer.error.message)) == (status, True)
    assert exchange(process, request(spans())).status == 200


def test_memory_is_bounded_after_all_that(process: BridgeProcess) -> None:
    for _ in range(5):
        assert exchange(process, request(gzip.compress(bytes(200_000_000)), PROTOBUF, encoding="gzip")).status == 413
    assert peak_mib(process) < 400
