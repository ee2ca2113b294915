"""A real receiver on a real port, and a client that sends exactly the bytes it is given.

The receiver runs on an event loop in a thread of its own, so tests read as a client's script: send, look at the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import uvloop
from google.protobuf import json_format
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # comes without types
from google.rpc.status_pb2 import Status as Status  # type: ignore[import-untyped]  # comes without types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

import otlp_requests
from mapping.otlp.decode import Decoder
from receiver import app
from receiver.counts import ReceiverCounts
from receiver.intake import Received
from receiver.settings import ReceiverSettings

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
TRACE_ID = bytes(range(1, 17))
SPAN_ID = bytes(range(1, 9))
ENDED_UNIX_NS = 1_790_000_000_005_000_000

T = TypeVar("T")


class MemoryIntake:
    """An intake that keeps what it is given; `before` may wait or raise, as a spool would."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.before: Callable[[Received], Coroutine[Any, Any, None]] | None = None

    async def accept(self, received: Received) -> None:
        if self.before is not None:
            await self.before(received)
        self.received.append(received)


class RunningReceiver:
    """A receiver with a memory intake, on a free port of the loopback interface."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ReceiverSettings.model_validate({"endpoint": "127.0.0.1:0", **settings})
        self.counts = ReceiverCounts()
        self.intake = MemoryIntake()
        self._loop = uvloop.new_event_loop()  # as `weighbridge serve` does
        self._thread = threading.Thread(target=self._loop.run_forever, name="receiver")

    def start(self) -> None:
        self._thread.start()
        try:
            self.running = self.call(app.start(self.settings, Decoder(), self.intake, self.counts, stop_timeout_s=1.0))
        except BaseException:
            self._end()
            raise
        self.port = self.running.port

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something on the receiver's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def stop(self) -> None:
        self.call(self.running.stop())
        left = self.call(_tasks_left())
        self._end()
        assert left == []

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def last(self) -> Received:
        return self.intake.received[-1]

    # -- the client ----------------------------------------------------------------------------------------

    def connect(self) -> Wire:
        return Wire(self.port)

    def post(
        self,
        body: bytes | str,
        content_type: str | None = PROTOBUF,
        *,
        path: str = "/v1/traces",
        encoding: str | None = None,
        headers: tuple[str, ...] = (),
        method: str = "POST",
    ) -> Answer:
        """One request on a connection of its own."""
        with self.connect() as wire:
            wire.send(request(body, content_type, path=path, encoding=encoding, headers=headers, method=method))
            return wire.answer(method)

    def exchange(self, raw: bytes) -> Answer:
        """The first answer to these very bytes."""
        with self.connect() as wire:
            wire.send(raw)
            return wire.answer()

    def is_well(self) -> bool:
        """Whether a good request on a new connection is answered 200."""
        return self.post(spans()).status == 200


async def _tasks_left() -> list[str]:
    """Tasks that the stop should have ended."""
    await asyncio.sleep(0.05)
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@contextlib.contextmanager
def receiver(**settings: Any) -> Iterator[RunningReceiver]:
    """A receiver for one test, with settings of its own."""
    running = RunningReceiver(**settings)
    running.start()
    try:
        yield running
    finally:
        running.stop()


class Answer:
    """A response as read from the socket."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.version, code, _ = first.split(" ", 2)
        self.status = int(code)
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"

    @property
    def type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def error(self) -> Status:
        """The google.rpc.Status of an error, in whichever encoding the answer says it is."""
        assert self.status >= 400, self
        if self.type == PROTOBUF:
            return Status.FromString(self.body)
        assert self.type == JSON, self
        return json_format.Parse(self.body, Status())

    @property
    def violations(self) -> list[tuple[str, str]]:
        """Field and description of each google.rpc.BadRequest in the details of an error."""
        found = []
        for detail in self.error.details:
            bad = error_details_pb2.BadRequest()
            assert detail.Unpack(bad), detail
            found += [(violation.field, violation.description) for violation in bad.field_violations]
        return found

    @property
    def rejected(self) -> int:
        """How many records a 200 says were refused."""
        assert self.status == 200, self
        if self.type == JSON:
            partial = json.loads(self.body).get("partialSuccess", {})
            return int(partial.get("rejectedSpans") or partial.get("rejectedLogRecords") or 0)
        return ExportTraceServiceResponse.FromString(self.body).partial_success.rejected_spans

    @property
    def warning(self) -> str:
        """error_message of a partial success."""
        if self.type == JSON:
            return str(json.loads(self.body).get("partialSuccess", {}).get("errorMessage", ""))
        return ExportTraceServiceResponse.FromString(self.body).partial_success.error_message


class Wire:
    """A TCP connection on which nothing is sent that a test did not write."""

    def __init__(self, port: int, timeout_s: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._read = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, method: str = "POST") -> Answer:
        """The next response. Raises ConnectionError when the connection ends before it is complete."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        answer = Answer(head, b"")
        length = 0 if method == "HEAD" or answer.status in (100, 204) else int(answer.headers["content-length"])
        while len(self._read) < length:
            self._more()
        answer.body, self._read = self._read[:length], self._read[length:]
        return answer

    def is_closed(self) -> bool:
        """Whether the other side closes the connection without sending anything more."""
        try:
            return not self._read and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {self._read!r}")
        self._read += data


def request(
    body: bytes | str,
    content_type: str | None = PROTOBUF,
    *,
    path: str = "/v1/traces",
    encoding: str | None = None,
    headers: tuple[str, ...] = (),
    method: str = "POST",
) -> bytes:
    """The bytes of a request with Content-Length."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if encoding is not None:
        lines.append(f"Content-Encoding: {encoding}")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def chunked(body: bytes, size: int = 1000, *, content_type: str = PROTOBUF, path: str = "/v1/traces") -> bytes:
    """The bytes of a request in chunks of at most `size`, as Node sends it."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# -- requests -----------------------------------------------------------------------------------------------


def spans_message(count: int = 1) -> ExportTraceServiceRequest:
    attributes = {"http.request.method": "GET", "http.response.status_code": 200}
    found = [
        otlp_requests.span(attributes, name="GET /items", number=n + 1, trace_id=TRACE_ID, end_unix_ns=ENDED_UNIX_NS)
        for n in range(count)
    ]
    return otlp_requests.traces(*found)


def spans(count: int = 1) -> bytes:
    """An export request of so many good spans."""
    return spans_message(count).SerializeToString()


def logs(count: int = 1) -> bytes:
    """An export request of so many good log records."""
    lines = [otlp_requests.log(f"line {number}", time_unix_nano=ENDED_UNIX_NS) for number in range(count)]
    return otlp_requests.logs(*lines, resource={}).SerializeToString()


def json_span(**fields: Any) -> dict[str, Any]:
    """A good span as OTLP JSON, with some fields replaced (None removes one)."""
    span = {
        "traceId": TRACE_ID.hex(),
        "spanId": SPAN_ID.hex(),
        "name": "GET /items",
        "kind": 2,
        "startTimeUnixNano": "1790000000000000000",
        "endTimeUnixNano": "1790000000005000000",
        "attributes": [{"key": "http.request.method", "value": {"stringValue": "GET"}}],
        **fields,
    }
    return {name: value for name, value in span.items() if value is not ...}


def json_spans(*items: Any) -> str:
    """An export request of these spans as OTLP JSON."""
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(items)}]}]})


def json_logs(*items: Any) -> str:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": list(items)}]}]})


def logs_response(answer: Answer) -> ExportLogsServiceResponse:
    return ExportLogsServiceResponse.FromString(answer.body)
