"""Sink: Moesif's Collector API. API calls go to /v1/events/batch; actions, when asked for, to /v1/actions/batch.

Delivery: at least once; Moesif recognises repeats by transaction_id, also across batches. Order: none.
Not sent, and counted: log events (Moesif has no object for them), actions unless `send_actions`, calls that are no
entries unless `hops: all`, and events older than 30 days, which Moesif refuses. Rights needed: a Collector Application
Id.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import aiohttp
from isal import igzip
from pydantic import Field, SecretStr, field_validator

from exporter.errors import Refused, Retryable, TooLarge
from exporter.http_address import refuse_odd_address
from exporter.http_answer import error_of
from exporter.settings import SinkSettings
from exporter.sink import Batch, Sink
from exporter.sinks.moesif_events import Request, left_out, requests
from exporter.threads import in_thread
from mapping.event import Event


class Settings(SinkSettings):
    """Moesif."""

    type: Literal["moesif"] = "moesif"
    application_id: SecretStr = Field(description="Collector Application Id of the Moesif application.")
    base_url: str = Field("https://api.moesif.net", description="Address of the Collector API.", repr=False)
    hops: Literal["entry", "all"] = Field(
        "entry",
        description="entry: customers' own calls only; all: every incoming, outgoing and internal call of a chain too.",
    )
    entry_wait_s: float = Field(
        10.0,
        ge=0,
        le=600,
        description="How long a call whose parents are in other requests waits for them, in seconds; then it is sent.",
    )
    send_actions: bool = Field(False, description="Send actions (spans that are no API calls) too.")
    max_request_bytes: int = Field(
        10_000_000, ge=2_000_000, le=50_000_000, description="Most bytes in one request, before compression."
    )
    max_request_events: int = Field(1000, ge=1, description="Most events in one request.")
    gzip: bool = Field(True, description="Compress requests.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds to wait for an answer.")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        refuse_odd_address(value)
        return value


@dataclass
class MoesifCounts:
    """Events since the process started. What is left out is `skipped` in the pipeline's numbers."""

    sent: int = 0
    not_its_kind: int = 0  # logs; actions and, of calls, those that are no entries unless asked for
    late_refused: int = 0  # older than 30 days


class MoesifSink(Sink):
    """Sends each batch in one or more requests; a retry goes on with the request that failed."""

    at_once = 4  # pieces of a refused batch

    def __init__(
        self,
        settings: Settings,
        now_unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = settings.name
        self.counts = MoesifCounts()
        self.entry_wait_s = settings.entry_wait_s if settings.hops == "entry" else None
        self._settings = settings
        self._now_unix_ns = now_unix_ns
        self._session: aiohttp.ClientSession | None = None
        # Of the batches on their way, by token: how many of its requests Moesif has, and the time that decided what is
        # too old. A retry must cut the same requests.
        self._sent: dict[str, tuple[int, int]] = {}

    async def open(self) -> None:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                headers={"X-Moesif-Application-Id": self._settings.application_id.get_secret_value()},
            )

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        await self.open()
        done, now = self._sent.get(batch.token, (0, self._now_unix_ns()))
        try:
            posts = await in_thread(lambda: self._requests(batch.events, now))
            for number, request in enumerate(posts[done:], done):
                self._sent[batch.token] = number, now
                await self._post(request)
        except (TooLarge, Refused):  # this batch does not come again
            self._sent.pop(batch.token, None)
            raise
        self._sent.pop(batch.token, None)
        others, late = left_out(
            batch.events, now, actions=self._settings.send_actions, entries_only=self._settings.hops == "entry"
        )
        self.counts.sent += len(batch.events) - len(others) - len(late)
        self.counts.not_its_kind += len(others)
        self.counts.late_refused += len(late)
        return [*others, *late]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _requests(self, events: Sequence[Event], now_unix_ns: int) -> list[Request]:
        settings = self._settings
        made = requests(
            events,
            now_unix_ns,
            actions=settings.send_actions,
            entries_only=settings.hops == "entry",
            max_bytes=settings.max_request_bytes,
            max_rows=settings.max_request_events,
        )
        return [post._replace(body=igzip.compress(post.body)) for post in made] if settings.gzip else list(made)

    async def _post(self, request: Request) -> None:
        headers = {"Content-Type": "application/json"}
        if self._settings.gzip:
            headers["Content-Encoding"] = "gzip"
        url = self._settings.base_url.rstrip("/") + request.path
        if self._session is None:
            raise Retryable("not connected")
        try:
            async with self._session.post(url, data=request.body, headers=headers, allow_redirects=False) as answer:
                with contextlib.suppress(aiohttp.ClientError):  # the status alone counts
                    await answer.read()
                # A change means: fetch the sampling rules again.
                self.config_etag = answer.headers.get("X-Moesif-Config-ETag", self.config_etag)
                error = error_of(answer.status, answer.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise Retryable(f"no answer from Moesif ({type(failure).__name__})") from failure
        if error is not None:
            raise error


def create(settings: Settings) -> MoesifSink:
    return MoesifSink(settings)
