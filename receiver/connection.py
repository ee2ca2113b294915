"""One HTTP connection: what aiohttp leaves open below its handlers.

aiohttp answers bytes that are not HTTP in plain text and logs each; has one timeout for idle connections and for
headers that never end; and takes any number of connections. Here such bytes get a Status and are counted, headers must
be complete within header_timeout_s, and connections beyond the limits are told so and closed.

Written against aiohttp 3.14: `_waiter`, `_messages` and `_request_in_progress` of RequestHandler are its own affair.
`tests/receiver/conformance/test_s10_http.py` and `test_slow_senders.py` fail when an upgrade changes what they mean.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http import RawRequestMessage

from receiver.answers import Media, error
from receiver.counts import ReceiverCounts
from receiver.peers import STRANGERS, Strangers, peer_of
from receiver.settings import ReceiverSettings


class Connection(web.RequestHandler):
    """A connection to one client."""

    __slots__ = ("_counts", "_greeted", "_open", "_partial_since", "peer")

    def __init__(
        self,
        server: web.Server,
        connections: Connections,
        settings: ReceiverSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=settings.keepalive_timeout_s,
            lingering_time=_LINGER_S,
            access_log=None,  # type: ignore[arg-type]  # None is how aiohttp is told to write none
            auto_decompress=False,
        )
        self._open = connections
        self._counts = connections.counts
        self._greeted = False  # whether it has sent anything
        self.peer = ""
        self._partial_since = 0.0  # loop time at which an incomplete request head began, 0.0 for none

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        self.peer = peer_of(address[0]) if isinstance(address, tuple) else ""
        self._partial_since = self._loop.time()  # a client that connects is about to send
        if not self._open.add(self):
            self._counts.refused("", "", "connections")
            self._last_words(503, "too many connections", "Retry-After: 1\r\n")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._open.discard(self)
        task, idle = self._task_handler, not self._request_in_progress
        super().connection_lost(exc)
        if task is not None and idle:
            # It may be waiting for the rest of a refused body, which aiohttp would do for the whole of _LINGER_S.
            task.cancel()
        # Requests behind the one under way are dropped with the connection. They refer to it, so what they have
        # buffered would stay until a garbage collection.
        self._messages.clear()

    def data_received(self, data: bytes) -> None:
        if not self._greeted:
            self._greeted = True
            stranger = "tls_on_plain" if data[:2] == b"\x16\x03" else "http2" if data[:12] == b"PRI * HTTP/2" else ""
            if stranger:
                self._open.strangers.seen(stranger, f"from {self.peer}" if self.peer else "")
                self._last_words(400, STRANGERS[stranger])
                return
        super().data_received(data)
        if self._messages or self._request_in_progress:
            self._partial_since = 0.0
            for message, _ in self._messages:
                if not isinstance(message, RawRequestMessage):
                    # A parse error, whose traceback refers to the list that holds it, and to the bytes received.
                    message.exc.__traceback__ = None
        elif not self._partial_since and self._waiter is not None and not self._waiter.done():
            self._partial_since = self._loop.time()

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return not (self._messages or self._request_in_progress or self._force_close)

    def close_if_late(self, now: float, header_timeout_s: float) -> bool:
        """Close when the head of a request has been incomplete for too long; whether it was."""
        if not self._partial_since or now - self._partial_since < header_timeout_s:
            return False
        if self._force_close or self._waiter is None or self._waiter.done():
            return False
        self._counts.refused("", "", "too_slow")
        self._last_words(408, "the request's headers did not arrive in time")
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are no HTTP request. The handler itself lets nothing else through."""
        if status == 400:
            self._counts.refused("", "", "malformed_http")
            return _closing(400, f"not an HTTP/1.1 request: {_first_line(message)}")
        self._counts.refused("", "", "internal")
        return _closing(503, "internal error")

    def _last_words(self, code: int, message: str, headers: str = "") -> None:
        transport = self.transport
        if transport is not None:
            body = error(Media.JSON, code, message)
            head = f"HTTP/1.1 {code} {_PHRASES[code]}\r\nContent-Type: {Media.JSON.value}\r\n{headers}"
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            transport.write(head.encode() + body)
        self.force_close()


# A client that is refused early may still be sending; it is read to the end for so long that it can read the answer
# instead of seeing a reset, which most clients answer by sending everything again (spec/otlp-http.md §6).
_LINGER_S = 10.0
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    503: "Service Unavailable",
}


def _closing(code: int, message: str) -> web.Response:
    headers = {"Content-Type": Media.JSON.value, "Server": "weighbridge"}
    response = web.Response(status=code, body=error(Media.JSON, code, message, "head"), headers=headers)
    if code == 503:
        response.headers["Retry-After"] = "1"
    response.force_close()
    return response


def _first_line(message: str | None) -> str:
    """aiohttp's reason without the excerpt of the bytes that follows it."""
    return (message or "malformed").strip().splitlines()[0][:120].rstrip(":")


class Connections:
    """All open connections, and those of each peer, the oldest first."""

    def __init__(self, settings: ReceiverSettings, counts: ReceiverCounts, strangers: Strangers) -> None:
        self.counts = counts
        self.strangers = strangers
        self._most = settings.max_connections
        self._most_of_peer = settings.max_connections_per_peer
        self._all: set[Connection] = set()
        self._of_peer: dict[str, dict[Connection, None]] = {}  # none is empty

    def add(self, connection: Connection) -> bool:
        """Whether there is room for it: for one too many of a peer an idle one of the same peer is closed."""
        self._all.add(connection)
        self.counts.connections = len(self._all)
        own = self._of_peer.setdefault(connection.peer, {})
        own[connection] = None
        if len(own) > self._most_of_peer:
            idle = next((other for other in own if other.idle and other is not connection), None)
            if idle is None:
                return False
            self.discard(idle)
            idle.force_close()
        return len(self._all) <= self._most

    def discard(self, connection: Connection) -> None:
        self._all.discard(connection)
        self.counts.connections = len(self._all)
        own = self._of_peer.get(connection.peer)
        if own is not None:
            own.pop(connection, None)
            if not own:
                del self._of_peer[connection.peer]

    def sweep(self, now: float, header_timeout_s: float) -> None:
        """Close connections whose request head is late, a hundred at most: closing costs as much as a request. To be
        called several times a second."""
        closed = 0
        for connection in list(self._all):
            closed += connection.close_if_late(now, header_timeout_s)
            if closed >= 100:
                return
