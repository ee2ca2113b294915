"""Sink: another OTLP/HTTP endpoint, such as a Collector or a vendor's, gets the requests as they were received.

Body, Content-Type and Content-Encoding are the sender's, byte for byte (but for the time in a gzip header, which the
receiver sets to zero to recognise what is sent again): a team keeps the telemetry it has while the bridge reads along.
So there is no mapping, no sampling and *no masking* here: name only endpoints that may see what the senders send.
Delivery: at least once; a bridge at the other end recognises repeats by their bytes. Order: none.
A request that the endpoint refuses for good (400, 413, ...) and one that it takes in part are kept as files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

import aiohttp
import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.errors import Retryable
from exporter.forward import RequestSink, Taken
from exporter.http_address import refuse_no_otlp_base, without_secrets
from exporter.http_answer import error_of
from exporter.settings import SinkSettings
from exporter.source import RawRequest

log = logging.getLogger(__name__)

_LONGEST_ANSWER = 1 << 20  # bytes of an answer that are read


class Settings(SinkSettings):
    """Another OTLP/HTTP endpoint, which gets the requests as they came: not mapped, not sampled, not masked."""

    forwards_requests: ClassVar[bool] = True

    type: Literal["otlphttp"] = "otlphttp"
    endpoint: str = Field(description="Address without /v1/traces, http(s)://host:4318.", repr=False)
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Headers added to every request, such as Authorization."
    )
    signals: list[Literal["traces", "logs"]] = Field(
        default=["traces", "logs"], min_length=1, description="What is forwarded: traces, logs."
    )
    at_once: int = Field(4, ge=1, le=64, description="Most requests on their way at a time.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds to wait for an answer.")
    max_refused_bytes: int = Field(
        256 << 20,
        ge=0,
        description="Bytes of requests kept that the endpoint refused for good, beside the spool in `refused`; "
        "the oldest are deleted first. They are unmasked.",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_a_base(cls, value: str) -> str:
        refuse_no_otlp_base(value)
        return value

    @model_validator(mode="after")
    def _one_authorization(self) -> Self:
        if urlsplit(self.endpoint).username is not None and "authorization" in map(str.lower, self.headers):
            raise ValueError("endpoint has a user, and headers an Authorization: only one of them can be sent")
        return self


class OtlpHttpSink(RequestSink):
    """Posts requests, several at a time over kept connections."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self.signals: Collection[str] = settings.signals
        self.at_once = settings.at_once
        self.max_refused_bytes = settings.max_refused_bytes
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                headers={name: value.get_secret_value() for name, value in self._settings.headers.items()},
            )

    async def send(self, request: RawRequest) -> Taken:
        await self.open()
        headers = {"Content-Type": request.content_type}
        if request.content_encoding:
            headers["Content-Encoding"] = request.content_encoding
        url = f"{self._settings.endpoint.rstrip('/')}/v1/{request.signal}"
        if self._session is None:
            raise Retryable("not connected")
        try:
            async with self._session.post(url, data=request.body, headers=headers, allow_redirects=False) as answer:
                error = error_of(answer.status, answer.headers)
                said = await _read(answer) if error is None else b""
                is_json = answer.content_type == "application/json"
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            whom = without_secrets(self._settings.endpoint)
            raise Retryable(f"no answer from {whom} ({type(failure).__name__})") from failure
        if error is not None:
            raise error
        refused = refused_records(request.signal, said, is_json=is_json)
        return Taken(refused, f"the endpoint refused {refused} records") if refused else Taken()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body of a 200; nothing when it is too long or breaks off, because the status alone counts."""
    said = b""
    try:
        async for chunk in answer.content.iter_chunked(1 << 16):
            said += chunk
            if len(said) > _LONGEST_ANSWER:
                return b""
    except (aiohttp.ClientPayloadError, asyncio.IncompleteReadError):
        return b""
    return said


def refused_records(signal: str, said: bytes, *, is_json: bool) -> int:
    """How many records a 200 says were refused: its partial success. A 200 is a 200 whatever else it says."""
    try:
        if is_json:
            name = "rejectedSpans" if signal == "traces" else "rejectedLogRecords"
            return max(0, int(orjson.loads(said)["partialSuccess"][name]))  # int64: in JSON a text or a number
        if signal == "traces":
            return max(0, ExportTraceServiceResponse.FromString(said).partial_success.rejected_spans)
        return max(0, ExportLogsServiceResponse.FromString(said).partial_success.rejected_log_records)
    except (DecodeError, ValueError, TypeError, LookupError):
        return 0


def create(settings: Settings) -> OtlpHttpSink:
    return OtlpHttpSink(settings)
