"""The part of ClickHouse's HTTP interface that its Python client uses, answered by an embedded engine.

    GET  /ping                       "Ok."
    POST /?query=..&database=..&param_x=..&<setting>=..   the statement in `query`, in the body, or half in each

Errors carry X-ClickHouse-Exception-Code and the engine's text. Two users: the writer runs anything, one statement at a
time; the reader runs what `guard` lets through. Source: ClickHouse docs, "HTTP interface".

Nothing but a head of bounded length is read before the password is right; then a body of bounded length, too. Whoever
takes too long over either loses the connection, and there are no more than so many of them.

The standard library's server, a thread for each connection: statements block, so a server on an event loop would hand
every one of them to a thread all the same.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import math
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, Literal, NamedTuple, cast
from urllib.parse import parse_qsl, urlsplit

from exporter.clickhouse.engine import body as bodies
from exporter.clickhouse.engine.askers import Asker, Askers
from exporter.clickhouse.engine.endpoint import DEFAULT_DATABASE
from exporter.clickhouse.engine.frames import FRAMES_HEADER, write_frames
from exporter.clickhouse.engine.guard import Allowed, Guard, Refused
from exporter.clickhouse.engine.lanes import Answer, Connection, EngineError, Lanes, Piece
from exporter.clickhouse.engine.settings import EngineSettings
from exporter.clickhouse.engine.statements import SYNTAX_ERROR, Request, read_request
from exporter.clickhouse.engine.tool_answers import answer_tool

log = logging.getLogger(__name__)

AUTHENTICATION_FAILED = 516
READONLY = 164
TOO_LARGE = 307  # TOO_MANY_BYTES
ABORTED = 236
UNKNOWN_DATABASE = 81

# A request's line and headers together; the statement may be in the line. http.server alone would take 6 MB of them.
_MAX_HEAD_BYTES = 131_072
_MAX_PARAMETERS = 1000
_MAX_CONNECTIONS = 256  # each has a thread; the bridge and its command line have a handful
# Seconds until a new connection has sent a head with the right password; until one that has sends the next; for a
# body, and one more for each MiB of it. Everything comes over the loopback.
_FIRST_HEAD_S = 10.0
_NEXT_HEAD_S = 600.0
_BODY_S = 30.0
_BODY_BYTES_PER_S = 1 << 20
_SWEEP_S = 0.5
_UNREAD_BYTES = 65_536  # of a refused request's body are thrown away, so that its sender reads the answer


class Account(NamedTuple):
    """What a user may do: a writer anything, a reader what `guard` lets through, a tool the same in short answers."""

    password: str
    kind: Literal["writer", "reader", "tool"]


class Server(ThreadingHTTPServer):
    """Listens on one address. `running` counts the requests being answered, so that nothing is cut off at stop."""

    daemon_threads = True  # idle keep-alive connections must not hold the process; statements are waited for by count
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        lanes: Lanes,
        guard: Guard,
        accounts: Mapping[str, Account],
        settings: EngineSettings,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """Raises OSError for an address that cannot be listened on."""
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.allow_reuse_address = address[1] != 0  # connections of the engine before may linger
        super().__init__(address, _Handler)
        self.lanes = lanes
        self.guard = guard
        self.accounts = accounts
        self.settings = settings
        self.askers = Askers(self._stop)
        self._deadlines: dict[Any, float] = {}  # of every connection, in monotonic seconds
        self._swept = 0.0
        self._idle = threading.Condition()
        self._running = 0
        self._stopping = False

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def enter(self) -> bool:
        """Note that a request starts; False when the engine is stopping."""
        with self._idle:
            if self._stopping:
                return False
            self._running += 1
            return True

    def leave(self) -> None:
        with self._idle:
            self._running -= 1
            self._idle.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Let nothing new begin, wait for what runs. False when something still runs after the time."""
        with self._idle:
            self._stopping = True
            return self._idle.wait_for(lambda: self._running == 0, timeout_s)

    def verify_request(self, request: object, client_address: object) -> bool:
        """Whether there is room for one more connection."""
        return len(self._deadlines) < _MAX_CONNECTIONS

    def process_request(self, request: Any, client_address: Any) -> None:
        self.allow(request, _FIRST_HEAD_S)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def allow(self, connection: object, seconds: float) -> None:
        """Let a connection take so long from now on over what comes next."""
        self._deadlines[connection] = time.monotonic() + seconds

    def service_actions(self) -> None:
        """End the connections whose time is over. Called by `serve_forever` between accepting two of them."""
        now = time.monotonic()
        if now - self._swept < _SWEEP_S:
            return
        self._swept = now
        self.askers.look()
        for connection, deadline in list(self._deadlines.items()):
            if now > deadline:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # its thread is closing it

    def _stop(self, mark: str) -> None:
        if self.enter():  # the engine does not end under it
            try:
                self.lanes.stop(mark)
            except EngineError as error:
                log.warning("a statement that nobody waits for goes on: %s", error)
            finally:
                self.leave()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event; anything else is a fault of ours and is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("a request failed")

    def account(self, name: str, password: str) -> Account | None:
        """The user's, when the password is right."""
        account = self.accounts.get(name)
        right = hmac.compare_digest(password.encode(), (account.password if account else "").encode())
        return account if right else None

    def answer(self, account: Account, request: Request, asker: Asker) -> Answer:
        """Run the statement for this user, a reader's only as long as somebody waits for it. Raises EngineError."""
        if account.kind == "tool":
            with self.lanes.tool(asker, native=request.heads) as connection:
                allowed = self._judged(connection, request)
                return answer_tool(connection, allowed, request, self.settings.reader_max_result_bytes)
        # A writer that asks to be read-only is treated as a reader: the setting would stay with the writing session.
        if account.kind == "reader" or request.settings.get("readonly", "0") != "0":
            with self.lanes.reader(asker) as connection:
                return connection.execute(self._judged(connection, request).sql, request.parameters)
        with self.lanes.writer() as connection:
            connection.use(request.database)
            insert = request.insert
            if insert is not None:
                return connection.insert(*insert)
            connection.configure({name: value for name, value in request.settings.items() if name != "readonly"})
            return connection.execute(request.text.decode().rstrip().rstrip(";"), request.parameters)

    @contextmanager
    def pieces(self, request: Request) -> Iterator[Iterator[Piece]]:
        """The answer to a reader's statement, however long. Raises EngineError."""
        with self.lanes.streamer() as connection:
            sql = self._judged(connection, request).sql
            with closing(connection.pieces(sql, request.parameters)) as pieces:
                yield self._until_stop(pieces)

    def _judged(self, connection: Connection, request: Request) -> Allowed:
        """The statement as a reader may run it, on a connection that has its database. Raises EngineError."""
        try:
            allowed = self.guard.check(connection, request.text.decode(), request.database)
            self.guard.check_format(request.form or "Native")
        except Refused as error:
            raise EngineError(READONLY, f"Code: {READONLY}. Refused: {error}") from None
        _use(connection, request.database)
        return allowed

    def _until_stop(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if self._stopping:  # an export can take hours; the engine's end waits for a statement, not for that
                raise EngineError(ABORTED, f"Code: {ABORTED}. The engine is stopping")
            yield piece


def _use(connection: Connection, database: str) -> None:
    """Never the engine's own default database, in which file names are tables; `system` until there is a store."""
    try:
        connection.use(database or DEFAULT_DATABASE)
    except EngineError as error:
        if database or error.code != UNKNOWN_DATABASE:
            raise
        connection.use("system")


class _Head:
    """The lines of a request's head, up to so many bytes: then the end. Bodies are read past it, from `stream`."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.left = _MAX_HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line = self.stream.readline(min(limit, self.left) if limit >= 0 else self.left)
        self.left -= len(line)
        return line

    def close(self) -> None:
        self.stream.close()

    @property
    def closed(self) -> bool:
        return self.stream.closed


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "weighbridge-engine"
    sys_version = ""
    wbufsize = 65_536
    disable_nagle_algorithm = True
    timeout = _NEXT_HEAD_S  # of one read or write, seconds; the deadlines of `Server` are the tighter ones

    def setup(self) -> None:
        super().setup()
        self._known = False  # whether the password was right once
        self._head = _Head(cast("BinaryIO", self.rfile))
        self.rfile = cast("Any", self._head)

    def handle_one_request(self) -> None:
        self._head.left = _MAX_HEAD_BYTES
        super().handle_one_request()
        self.server.allow(self.connection, _NEXT_HEAD_S if self._known else _FIRST_HEAD_S)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def handle_expect_100(self) -> bool:
        return True  # 100 is sent when the password is right

    def do_GET(self) -> None:
        if self.path.partition("?")[0] == "/ping" or self.path == "/":
            self._end_if_unread()
            self._reply(200, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        try:
            query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
            account = self._account(query)
        except ValueError:
            self._refuse(EngineError(SYNTAX_ERROR, f"Code: {SYNTAX_ERROR}. The head cannot be read"))
            return
        if account is None:
            self._refuse(EngineError(AUTHENTICATION_FAILED, f"Code: {AUTHENTICATION_FAILED}. Authentication failed"))
            return
        self._known = True
        try:
            body = self._body()
        except (bodies.TooLarge, bodies.Unreadable, OSError) as error:
            code = TOO_LARGE if isinstance(error, bodies.TooLarge) else SYNTAX_ERROR
            self._refuse(EngineError(code, f"Code: {code}. The body cannot be read: {error}"))
            return
        self.server.allow(self.connection, math.inf)  # the engine has bounds of its own
        if not self.server.enter():
            self._refuse(EngineError(ABORTED, f"Code: {ABORTED}. The engine is stopping"))
            return
        try:
            self._statement(account, query, body)
        finally:
            self.server.leave()

    def _statement(self, account: Account, query: Mapping[str, str], body: bytes) -> None:
        try:
            request = read_request(query, body, self.headers)
            if self.headers.get(FRAMES_HEADER) and account.kind != "tool":
                self._frames(request)
                return
            with self.server.askers.waits(self.connection) as asker:
                answer = self.server.answer(account, request, asker)
        except EngineError as error:
            self._fail(error)
        except UnicodeDecodeError:
            self._fail(EngineError(SYNTAX_ERROR, f"Code: {SYNTAX_ERROR}. The statement is not UTF-8"))
        else:
            self._reply(200, answer.body, answer, query.get("query_id", ""))

    def _frames(self, request: Request) -> None:
        """The answer in frames (frames.py), read-only whoever asks: as long as it is, a piece at a time in memory."""
        with self.server.pieces(request) as pieces:
            first = next(pieces, None)  # what cannot be run at all is refused as any statement is
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            write_frames(self.wfile, first, pieces)

    def _refuse(self, error: EngineError) -> None:
        """Answer and end the connection: what is left of the body cannot be told from a next request."""
        self.close_connection = True
        self._fail(error)
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            self._head.stream.read(_UNREAD_BYTES)
        except OSError:
            return  # it went away, or sends no more: it has the answer

    def _end_if_unread(self) -> None:
        try:
            self.close_connection |= bodies.read_length(self.headers) != 0
        except bodies.Unreadable:
            self.close_connection = True

    def _account(self, query: Mapping[str, str]) -> Account | None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except ValueError:  # not base64, or not of ASCII, or not of UTF-8
                return None
            return self.server.account(name, password)
        name = self.headers.get("X-ClickHouse-User") or query.get("user", "")
        return self.server.account(name, self.headers.get("X-ClickHouse-Key") or query.get("password", ""))

    def _body(self) -> bytes:
        """The inflated body. Raises TooLarge, Unreadable, OSError."""
        limit = self.server.settings.max_request_bytes
        length = bodies.read_length(self.headers)
        most = limit if length is None else min(length, limit)
        self.server.allow(self.connection, _BODY_S + most / _BODY_BYTES_PER_S)
        if self.headers.get("Expect", "").lower() == "100-continue" and (length or 0) <= limit:
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        raw = bodies.read(self._head.stream, length, limit)
        return bodies.inflate(raw, self.headers.get("Content-Encoding", ""), limit)

    def _fail(self, error: EngineError) -> None:
        status = {AUTHENTICATION_FAILED: 403, SYNTAX_ERROR: 400, 60: 404, UNKNOWN_DATABASE: 404, TOO_LARGE: 413}.get(
            error.code, 500
        )
        self._reply(status, str(error).encode(errors="replace") + b"\n", code=error.code)

    def _reply(
        self, status: int, body: bytes, answer: Answer | None = None, query_id: str = "", code: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("X-ClickHouse-Timezone", "UTC")
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        if answer is not None:
            summary = {
                "read_rows": str(answer.rows_read),
                "written_rows": str(answer.rows_written),
                "elapsed_ns": str(int(answer.elapsed_s * 1e9)),
            }
            self.send_header("X-ClickHouse-Summary", json.dumps(summary))
            self.send_header("X-ClickHouse-Format", answer.form)
            if re.fullmatch(r"[\w.\-]{1,100}", query_id):
                self.send_header("X-ClickHouse-Query-Id", query_id)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
