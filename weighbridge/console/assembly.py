"""The console put together: from the running bridge to routes of the admin port."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from exporter.clickhouse.settings import Settings as StoreSettings
from weighbridge.admin.parts import Parts
from weighbridge.admin.routes import REPLAY_ANSWER_S
from weighbridge.console.access import Access, Who, token_of
from weighbridge.console.access_log import AccessLog
from weighbridge.console.api import OPERATIONS, PREFIX, document
from weighbridge.console.asked import address
from weighbridge.console.entrance import Entrance, refuse_readers, who_asks
from weighbridge.console.gathering import Waiting
from weighbridge.console.live import Live
from weighbridge.console.pages import PAGES, Asker
from weighbridge.console.reading import Reading
from weighbridge.console.rendering import static
from weighbridge.console.store import Store

log = logging.getLogger(__name__)


class Console:
    """What the admin port serves to people. Made when the spool is open, closed after the port."""

    def __init__(self, parts: Parts) -> None:
        """Raises OSError when the token cannot be made or read."""
        self._parts = parts
        directory = Path(parts.directory)
        token, made = token_of(directory)
        if made:
            log.info("the console's token is in %s; `weighbridge console` prints a link with it", directory)
        self.store = Store(self._store_settings)
        self._access_log = AccessLog(directory)
        self._entrance = Entrance(Access(token, parts.settings.admin.tokens), self._access_log)
        self._waiting = Waiting()
        self._live = Live(self.store, lambda: self._parts.settings.exporter.batch.span_wait_s)

    @property
    def middleware(self) -> Middleware:
        return self._entrance.middleware

    def routes(self) -> list[web.AbstractRouteDef]:
        found: list[web.AbstractRouteDef] = [
            web.get("/login", self._entrance.login),
            web.post("/login", self._entrance.login),
            web.post("/logout", self._entrance.logout),
            web.get("/static/{name}", static),
            web.get("/favicon.ico", _no_icon),
            web.get("/events/stream", self._live.stream),
        ]
        found.append(web.post("/bridge/replay", self._replay))
        for page in PAGES:
            asker = Asker(page, self._reading_for, self._parts, self._waiting)
            stem = "/now" if page.path == "/" else page.path
            found += [
                web.get(f"{stem}.json", asker.json),
                web.get(f"{stem}.csv", asker.csv),
                web.get(page.path, asker.html),
            ]
        for operation in OPERATIONS:
            asker = Asker(operation.page, self._reading_for, self._parts, self._waiting)
            found.append(web.get(operation.path, asker.json))
        found.append(web.get(f"{PREFIX}/openapi.json", _described))
        return found

    def close(self) -> None:
        """Ends what is live, so that the port can stop; a question that still runs ends by its own limit."""
        self._live.close()
        self._waiting.close()
        self._access_log.close()

    async def _replay(self, request: web.Request) -> web.Response:
        """Sends dead letters again whose reason holds a text, all without one; then back to the page."""
        refuse_readers(who_asks(request))
        fields = await request.post()
        reason = str(fields.get("reason", ""))[:200].strip().lower()
        replaying = self._parts.tasks.once("replay of dead letters", self._parts.replay(reason, 0))
        done, _ = await asyncio.wait([replaying], timeout=REPLAY_ANSWER_S)
        said = _said(await replaying if done else None)
        return web.Response(status=303, headers={hdrs.LOCATION: address("/bridge", said=said)})

    def _reading_for(self, who: Who) -> Reading:
        return Reading(self.store, who.scope, self._parts.settings.sampling.sample_unit)

    def _store_settings(self) -> StoreSettings | None:
        return next((sink for sink in self._parts.settings.exporter.sinks if isinstance(sink, StoreSettings)), None)


def _said(taken: int | None) -> str:
    if taken is None:
        return "Their destination is away or busy: they are sent when it takes them."
    return f"{taken:,} {'record is' if taken == 1 else 'records are'} on the way again."


async def _described(request: web.Request) -> web.Response:
    return web.json_response(document(f"{request.scheme}://{request.host}"))


async def _no_icon(request: web.Request) -> web.Response:
    return web.Response(status=204)
