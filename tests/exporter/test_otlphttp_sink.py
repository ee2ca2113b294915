"""Requests leave for another OTLP endpoint as they came, and what it answers has one meaning."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from test_every_sink import STATUSES

from bridge import free_port
from exporter.errors import Retryable, SinkError, Unauthorised
from exporter.sinks.otlphttp import Settings, create
from exporter.source import RawRequest
from sink_destinations import Otlp

BODY = gzip.compress(b"not even OTLP: nobody looks into it", mtime=7)
REQUEST = RawRequest(0, 90, "traces", "acme", "application/x-protobuf; v=1", "gzip", BODY, 5)
JSON = REQUEST._replace(
    signal="logs", content_type="application/json", content_encoding="", body=b'{"resourceLogs":[]}'
)


def with_endpoint(folder: Path, test: Callable[[Otlp], Awaitable[None]]) -> None:
    async def go() -> None:
        endpoint = Otlp(folder)
        await endpoint.start()
        try:
            await test(endpoint)
        finally:
            await endpoint.stop()

    asyncio.run(go())


@pytest.mark.parametrize("request_", [REQUEST, JSON], ids=["gzip protobuf", "plain JSON"])
def test_body_and_type_and_encoding_leave_as_they_came(request_: RawRequest, tmp_path: Path) -> None:
    async def test(endpoint: Otlp) -> None:
        sink = endpoint.sink()
        assert (await sink.send(request_)).refused == 0
        [(path, headers, body)] = endpoint.requests
        assert (path, body) == (f"/v1/{request_.signal}", request_.body)
        assert headers["Content-Type"] == request_.content_type
        assert headers.get("Content-Encoding", "") == request_.content_encoding
        assert headers["Authorization"] == "Bearer right"
        await sink.close()
        await sink.close()

    with_endpoint(tmp_path, test)


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_an_answer_has_the_meaning_it_has_for_every_sink(status: int, kind: type[SinkError], tmp_path: Path) -> None:
    async def test(endpoint: Otlp) -> None:
        endpoint.next_answers = [(status, {"Retry-After": "3", "Location": "/elsewhere"})]
        sink = endpoint.sink()
        with pytest.raises(kind) as refused:
            await sink.send(REQUEST)
        assert type(refused.value) is kind
        if isinstance(refused.value, Retryable):
            assert refused.value.retry_after_s == 3
        await sink.send(REQUEST)
        assert len(endpoint.requests) == 1
        await sink.close()

    with_endpoint(tmp_path, test)


def test_wrong_credentials_and_no_answer_keep_the_request(tmp_path: Path) -> None:
    async def test(endpoint: Otlp) -> None:
        sink = endpoint.sink(wrong_credentials=True)
        with pytest.raises(Unauthorised):
            await sink.send(REQUEST)
        await sink.close()
        away = endpoint.sink()
        await endpoint.stop()
        with pytest.raises(Retryable, match="no answer"):
            await away.send(REQUEST)
        await away.close()

    with_endpoint(tmp_path, test)


def traces_answer(rejected: int) -> bytes:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = rejected
    return answer.SerializeToString()


def logs_answer(rejected: int) -> bytes:
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = rejected
    return answer.SerializeToString()


@pytest.mark.parametrize(
    ("signal", "body", "media_type", "refused"),
    [
        ("traces", traces_answer(2), "application/x-protobuf", 2),
        ("logs", logs_answer(3), "application/x-protobuf", 3),
        ("traces", b'{"partialSuccess":{"rejectedSpans":"2"}}', "application/json", 2),
        ("logs", b'{"partialSuccess":{"rejectedLogRecords":4}}', "application/json", 4),
        ("traces", b'{"partialSuccess":{"errorMessage":"a warning"}}', "application/json", 0),
        ("traces", traces_answer(-1), "application/x-protobuf", 0),
        ("traces", b"\xff<html>", "application/x-protobuf", 0),
        ("traces", b"[1]", "application/json", 0),
        ("traces", b"OK", "text/plain", 0),
        ("traces", b"", "application/x-protobuf", 0),
        ("traces", bytes(3 << 20), "application/x-protobuf", 0),
    ],
)
def test_a_partial_success_tells_how_many_were_refused(
    signal: str, body: bytes, media_type: str, refused: int, tmp_path: Path
) -> None:
    async def test(endpoint: Otlp) -> None:
        endpoint.says = (body, media_type)
        sink = endpoint.sink()
        taken: Any = await sink.send(REQUEST._replace(signal=signal))
        assert taken.refused == refused
        assert (str(refused) in taken.reason) == bool(refused)
        await sink.close()

    with_endpoint(tmp_path, test)


@pytest.mark.parametrize("userinfo", ["me:hunter2", "hunter2", "hunter2:", "me:hun%40hunter2"])
def test_what_is_said_of_an_endpoint_that_is_away_holds_no_secret(userinfo: str) -> None:
    sink = create(Settings(name="away", endpoint=f"http://{userinfo}@127.0.0.1:{free_port()}/base"))

    async def go() -> None:
        with pytest.raises(Retryable) as error:
            await sink.send(REQUEST)
        await sink.close()
        assert "hunter2" not in str(error.value)
        assert "127.0.0.1" in str(error.value)

    asyncio.run(go())
