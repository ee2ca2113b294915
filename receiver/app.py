"""OTLP/HTTP: a request comes in, is checked, made durable and answered. Read `Receiver.export` first.

200 is sent only after the intake returned, that is, when every record is on disk. Whatever goes wrong is answered
with a google.rpc.Status in the request's encoding and counted once, under a reason of `receiver.counts.REFUSALS`.
Faults of our own are 503 with Retry-After, never 500: clients drop the data on a 500 (spec/reliability.md §1).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from mapping.otlp.decode import Decoder
from receiver import answers as status
from receiver.answers import Media
from receiver.auth import Keys
from receiver.body import read_body
from receiver.budgets import Budgets
from receiver.connection import Connection, Connections
from receiver.cors import Cors
from receiver.counts import Key, ReceiverCounts
from receiver.decode import compression
from receiver.decode.request import parse_media_type
from receiver.decode.turns import Decoding
from receiver.errors import BadRequest, Overloaded
from receiver.intake import Intake, Received
from receiver.peers import Strangers, peer_of
from receiver.settings import ReceiverSettings, parse_endpoint
from receiver.tls import Tls

log = logging.getLogger(__name__)

# The rest of a refused body of at most this size is read and thrown away, and the connection stays.
_WORTH_DRAINING = 1 << 20
# Memory of a decoded request in bytes of its inflated body: 4.5 with the spans of bench/traffic.py.
_AMPLIFICATION = 5
# Bytes of Content-Type and Content-Encoding that are stored as they came, and sent on so by otlphttp sinks.
_LONGEST_HEADER = 200
_BACKLOG = 1024  # connections the kernel keeps while the loop is busy
_LOG_INTERVAL_S = 10.0
_UNKNOWN_PATH_INTERVAL_S = 3600.0  # many SDKs send metrics too, every minute

_HEADERS = {media: {"Content-Type": media.value, "Server": "weighbridge"} for media in Media}


class Export:
    """One request on its way: what is known of it so far, for the answer and the counters."""

    __slots__ = ("arriving", "held", "media", "peer", "records", "request", "signal", "tenant")

    def __init__(self, request: web.Request) -> None:
        self.request = request
        self.signal = ""
        self.tenant = ""
        self.media = Media.JSON  # of the answer; JSON when the request names no encoding that we know
        self.peer = peer_of(request.remote)
        self.held = 0  # bytes counted as in flight
        self.arriving = 0  # of these, those of a body that is not complete
        self.records = 0  # once decoded


class Receiver:
    """Answers every request on the receiving port."""

    def __init__(
        self,
        settings: ReceiverSettings,
        decoder: Decoder,
        intake: Intake,
        counts: ReceiverCounts,
        now_unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Raises OSError or ValueError when the keys file is unusable."""
        self.keys = Keys(settings)
        self.decoding = Decoding(decoder, settings.decode_limits())
        self.stopping = False
        self._settings = settings
        self._signals = {settings.traces_path: "traces", settings.logs_path: "logs"}
        self._intake = intake
        self._counts = counts
        self._budgets = Budgets(settings, counts, time.monotonic)
        self._cors = Cors(settings.cors)
        self._now_unix_ns = now_unix_ns
        self._logged: dict[str, float] = {}

    async def export(self, export: Export) -> web.Response:
        """The way of a good request. Raises BadRequest or Overloaded where it ends early."""
        request, headers = export.request, export.request.headers
        content_type = headers.get("Content-Type", "")
        export.media = _media_of_answer(content_type)
        export.signal = self._signal(request)
        if self.stopping:
            raise Overloaded("shutting down")
        export.tenant = self.keys.tenant_of(headers)
        media = parse_media_type(content_type)
        content_encoding = ",".join(headers.getall("Content-Encoding", ()))
        codings = compression.parse_codings(content_encoding)
        self._budgets.admit(export.tenant)

        body = compression.without_time(await read_body(export, self._settings, self._budgets))
        received_unix_ns = self._now_unix_ns()
        decoded = await self.decoding.decode(export.signal, media, codings, body, export.tenant or export.peer)
        export.records = decoded.accepted + decoded.refused
        self._budgets.hold(export, decoded.size * _AMPLIFICATION)
        if len(content_encoding) > _LONGEST_HEADER or not content_encoding.isascii():
            content_encoding = compression.plain_header(codings)
        if len(content_type) > _LONGEST_HEADER or not content_type.isascii():
            content_type = media.value
        await self._intake.accept(
            Received(export.signal, export.tenant, content_type, content_encoding, received_unix_ns, body, decoded)
        )

        self._budgets.charge(export.tenant, export.records)
        self._counts.accepted(export.tenant, export.signal, decoded.accepted, decoded.refused, len(body), decoded.size)
        if decoded.message and not decoded.refused:
            self._counts.warned_requests[Key(export.tenant, export.signal, "misspelled")] += 1
            if self._may_log("misspelled"):
                log.warning("%s, tenant %r: %s", export.signal, export.tenant, decoded.message)
        if decoded.message:
            answer = status.partial_success(media, export.signal, decoded.refused, decoded.message)
        else:
            answer = status.SUCCESS[media]
        return web.Response(body=answer, headers=_HEADERS[media])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to any request at all."""
        preflight = self._cors.preflight_headers(request.method, request.headers)
        if preflight is not None:
            return web.Response(status=204, headers=preflight)
        export = Export(request)
        try:
            response = await self.export(export)
        except BadRequest as error:
            response = self._refuse(export, error.status, error.message, error.reason, field=error.field)
            response.headers.update(error.headers)
        except Overloaded as error:
            response = self._refuse(export, 503, error.message, "overloaded", error.retry_after_s)
        except RequestPayloadError as error:
            response = self._refuse(export, 400, f"malformed body: {str(error)[:120]}", "malformed_http")
            response.force_close()
        except ConnectionError:
            response = self._refuse(export, 400, "the body ended early", "gone")  # which nobody will read
            response.force_close()
        except Exception:
            if self._may_log("exception"):
                log.exception("a request was not taken in: internal error")
            response = self._refuse(export, 503, "internal error", "internal", 1)
        finally:
            self._budgets.release(export)
        response.headers.update(self._cors.response_headers(request.headers))
        return response

    def _signal(self, request: web.Request) -> str:
        """The signal that the path names. Raises BadRequest 404 or 405."""
        path = request.path
        signal = self._signals.get(path)
        if signal is None:
            signal = next((name for end, name in self._signals.items() if path.endswith(end)), None)
        if signal is None:
            what = "metrics are not taken; " if path.endswith("/v1/metrics") else ""
            raise BadRequest(404, f"{what}OTLP is taken at {' and '.join(self._signals)}")
        if request.method != "POST":
            raise BadRequest(405, "OTLP is sent with POST", {"Allow": "POST"})
        return signal

    def _refuse(
        self, export: Export, code: int, message: str, reason: str, retry_after_s: int = 0, field: str = "body"
    ) -> web.Response:
        """Count a refusal, log it at most every ten seconds, and make its answer."""
        self._counts.refused(export.tenant, export.signal, reason, export.records)
        if export.signal and self._may_log(reason):
            log.warning(
                "refused %s, tenant %r: %d %s (%s); further ones are only counted for %d s",
                export.signal, export.tenant, code, reason, message[:200], _LOG_INTERVAL_S,
            )  # fmt: skip
        elif code == 404 and export.request.method == "POST" and self._may_log(reason, _UNKNOWN_PATH_INTERVAL_S):
            log.warning("a request to %r: 404, %s; others are only counted", export.request.path[:60], message)
        body = status.error(export.media, code, message, field)
        response = web.Response(status=code, body=body, headers=_HEADERS[export.media])
        if retry_after_s:
            response.headers["Retry-After"] = str(retry_after_s)
        request = export.request
        unread = not request.content.is_eof() and (request.content_length or 0) > _WORTH_DRAINING
        if unread or code in (408, 413):
            response.force_close()
        return response

    def _may_log(self, reason: str, interval_s: float = _LOG_INTERVAL_S) -> bool:
        now = time.monotonic()
        if now - self._logged.get(reason, -interval_s) < interval_s:
            return False
        self._logged[reason] = now
        return True


RECEIVER = web.AppKey("receiver", Receiver)


def create_app(settings: ReceiverSettings, decoder: Decoder, intake: Intake, counts: ReceiverCounts) -> web.Application:
    """The application behind the receiving port.

    Every path and method comes to one handler: a redirect of a router would be data lost (spec/otlp-http.md §1).
    """
    receiver = Receiver(settings, decoder, intake, counts)

    @web.middleware
    async def everything(request: web.Request, handler: object) -> web.StreamResponse:
        return await receiver.answer(request)

    app = web.Application(middlewares=[everything])
    app[RECEIVER] = receiver
    # The middleware sees targets that match no route too (`OPTIONS *`); the route is there for its expect_handler.
    app.router.add_route("*", "/{path:.*}", receiver.answer, expect_handler=_leave_to_handler)
    return app


class Running:
    """A receiver that is being served. `port` is the one in use, also when port 0 was asked for."""

    def __init__(
        self,
        port: int,
        receiver: Receiver,
        runner: web.AppRunner,
        server: asyncio.Server,
        chores: list[asyncio.Task[None]],
    ) -> None:
        self.port = port
        self._receiver = receiver
        self._runner = runner
        self._server = server
        self._chores = chores

    @property
    def keys_complaint(self) -> str:
        """Why the keys file, as it is now, is not in use; "" when it is."""
        return self._receiver.keys.complaint

    def refuse(self) -> None:
        """Answer 503 to new requests from now on; those under way go on."""
        self._receiver.stopping = True

    async def stop(self) -> bool:
        """Take no connection and no request any more, answer those under way, close.

        What is not answered in time is dropped without an answer, so its sender will send it again. False when a thread
        still decodes such a request: it ends by itself.
        """
        self.refuse()
        self._server.close()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._runner.cleanup()
        return await self._receiver.decoding.close()


async def start(
    settings: ReceiverSettings,
    decoder: Decoder,
    intake: Intake,
    counts: ReceiverCounts,
    *,
    stop_timeout_s: float = 2.0,
    reuse_port: bool = False,
) -> Running:
    """Serve OTLP/HTTP. Raises OSError when the port, a certificate or the keys file cannot be used, ValueError when the
    keys file has a bad line.

    stop_timeout_s: how long requests under way may take once `stop` is called; it returns within about twice that.
    reuse_port: several processes may share the port (SO_REUSEPORT).
    """
    strangers = Strangers(counts)
    tls = Tls(settings.tls, strangers.seen) if settings.tls is not None else None
    app = create_app(settings, decoder, intake, counts)
    receiver = app[RECEIVER]
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=stop_timeout_s)
    await runner.setup()
    manager = runner.server
    if manager is None:
        raise RuntimeError("aiohttp's runner has no server")
    loop = asyncio.get_running_loop()
    connections = Connections(settings, counts, strangers)
    host, port = parse_endpoint(settings.endpoint)
    server = await loop.create_server(
        functools.partial(Connection, manager, connections, settings, loop),
        host or None,
        port,
        ssl=tls.context if tls else None,
        ssl_handshake_timeout=settings.header_timeout_s if tls else None,
        backlog=_BACKLOG,
        reuse_port=reuse_port or None,
    )
    late_s = settings.header_timeout_s
    chores = [_every(min(0.25, late_s / 5), lambda: connections.sweep(loop.time(), late_s))]
    if settings.auth.keys_file is not None:
        chores.append(_every(settings.auth.keys_reload_interval_s, receiver.keys.reload))
    if tls is not None and settings.tls is not None:
        chores.append(_every(settings.tls.reload_interval_s, tls.reload))
    bound = server.sockets[0].getsockname()[1]
    log.info("receiving OTLP/HTTP on %s port %d", host or "all interfaces", bound)
    return Running(bound, receiver, runner, server, [asyncio.create_task(chore) for chore in chores])


async def _every(interval_s: float, do: Callable[[], object]) -> None:
    """Call something that is quick, for ever; what it raises is told, and it is called again the next time."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            do()
        except Exception:
            log.exception("a chore of the receiver failed; it comes again in %.1f s", interval_s)


async def _leave_to_handler(request: web.Request) -> None:
    """`Expect: 100-continue` is answered by receiver/body.py, after every check of the headers."""


def _media_of_answer(content_type: str) -> Media:
    try:
        return parse_media_type(content_type)
    except BadRequest:
        return Media.JSON
