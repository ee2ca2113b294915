"""Sink: another OTLP/HTTP endpoint, such as a Collector, a bridge, or Moesif's endpoint for logs.

API calls and actions go to {endpoint}/v1/traces as spans, logs to {endpoint}/v1/logs; masked and sampled as here.
Delivery: at least once; a batch on its way when the process dies is sent again. Order: none.
Records that the endpoint refuses in a partial success are counted and not sent again (OTLP forbids that).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import aiohttp
from google.protobuf.message import DecodeError
from isal import igzip
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pydantic import Field, SecretStr

from exporter.errors import Retryable, TooLarge
from exporter.sink import Batch
from exporter.sinks import SinkSettings
from exporter.sinks.http_answer import error_of
from exporter.sinks.otlphttp_messages import logs, traces
from mapping.event import Event

logger = logging.getLogger(__name__)


class Settings(SinkSettings):
    """Another OTLP/HTTP endpoint."""

    type: Literal["otlphttp"] = "otlphttp"
    endpoint: str = Field(pattern=r"^https?://", description="Address without /v1/traces, http(s)://host:4318.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Headers of every request, such as Authorization."
    )
    signals: list[Literal["traces", "logs"]] = Field(
        default=["traces", "logs"], min_length=1, description="What is sent: traces (API calls and actions), logs."
    )
    max_request_events: int = Field(1000, ge=1, description="Most events in one request.")
    gzip: bool = Field(True, description="Compress requests.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds to wait for an answer.")


@dataclass
class OtlpCounts:
    """Events since the process started."""

    sent: int = 0
    not_its_signal: int = 0
    refused: int = 0  # by a partial success


class OtlpHttpSink:
    """Sends each batch in one or more requests; a retry goes on with the request that failed."""

    day_partitions = False

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self.counts = OtlpCounts()
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._sent: tuple[str, int] = ("", 0)  # token of the batch that is on its way, requests already answered

    async def open(self) -> None:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                headers={name: value.get_secret_value() for name, value in self._settings.headers.items()},
            )

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        await self.open()
        token, done = self._sent
        done = done if token == batch.token else 0
        for number, (signal, events) in enumerate(self._requests(batch.events)):
            if number >= done:
                self._sent = (batch.token, number)
                body = await asyncio.to_thread(self._encoded, signal, events)
                refused = await self._post(signal, body)
                self.counts.refused += refused
                self.counts.sent += len(events) - refused
        self._sent = ("", 0)
        others = [event for event in batch.events if _signal(event) not in self._settings.signals]
        self.counts.not_its_signal += len(others)
        return others

    async def existing(self, events: Sequence[Event], not_in: Collection[int]) -> set[str]:
        return set()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _requests(self, events: Sequence[Event]) -> Iterator[tuple[str, list[Event]]]:
        most = self._settings.max_request_events
        for signal in self._settings.signals:
            chosen = [event for event in events if _signal(event) == signal]
            for first in range(0, len(chosen), most):
                yield signal, chosen[first : first + most]

    def _encoded(self, signal: str, events: Sequence[Event]) -> bytes:
        try:
            body = (traces(events) if signal == "traces" else logs(events)).SerializeToString()
        except (ValueError, TypeError) as error:  # ids that are no hex digits, times beyond 64 bits, lone surrogates
            raise TooLarge(f"an event cannot be written as OTLP ({type(error).__name__})") from error
        return igzip.compress(body) if self._settings.gzip else body

    async def _post(self, signal: str, body: bytes) -> int:
        """How many records the endpoint refused for good."""
        headers = {"Content-Type": "application/x-protobuf"}
        if self._settings.gzip:
            headers["Content-Encoding"] = "gzip"
        url = f"{self._settings.endpoint.rstrip('/')}/v1/{signal}"
        if self._session is None:
            raise Retryable("not connected")
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                error = error_of(answer.status, answer.headers)
                said = await answer.read() if error is None else b""
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise Retryable(f"no answer from {self._settings.endpoint} ({type(failure).__name__})") from failure
        if error is not None:
            raise error
        return self._refused(signal, said)

    def _refused(self, signal: str, said: bytes) -> int:
        try:
            if signal == "traces":
                count = ExportTraceServiceResponse.FromString(said).partial_success.rejected_spans
            else:
                count = ExportLogsServiceResponse.FromString(said).partial_success.rejected_log_records
        except DecodeError:  # a 200 is a 200 whatever else it says
            return 0
        if count:
            logger.warning("sink %s: the endpoint refused %d records of %s", self.name, count, signal)
        return count


def _signal(event: Event) -> str:
    return "logs" if event.event_type == "log" else "traces"


def create(settings: Settings) -> OtlpHttpSink:
    return OtlpHttpSink(settings)
