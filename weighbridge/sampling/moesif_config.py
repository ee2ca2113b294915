"""Follows the sampling configuration of a Moesif application (spec/sampling.md §8).

Fetches at start, when an event response names an unknown ETag, and every few minutes. A failure changes
nothing: the last good configuration stays in force, also across a restart, because it is kept on disk. With
none yet, the local rules decide alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from exporter.durable import replace_file
from exporter.http_address import without_secrets
from mapping.sampling.moesif import MAX_BODY_BYTES, ConfigError, RemoteConfig, parse_config
from mapping.sampling.refresh import Refresh
from mapping.sampling.settings import MoesifRemoteSettings

ETAG_HEADER = "X-Moesif-Config-ETag"
LONGEST_NAP_S = 3600.0

log = logging.getLogger(__name__)


class MoesifConfiguration:
    """One per process. use(configuration, etag) is called for each new one, between two awaits of run().

    state_file: where the last good body is kept (no secret in it). fetched and failed count requests since
    start.
    """

    def __init__(
        self,
        settings: MoesifRemoteSettings,
        application_id: str,
        state_file: Path,
        use: Callable[[RemoteConfig, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: float | None = None,
    ) -> None:
        self.fetched = 0
        self.failed = 0
        self.warnings: tuple[str, ...] = ()
        self._settings = settings
        self._application_id = application_id
        self._state_file = state_file
        self._use = use
        self._clock = clock
        self._refresh = Refresh(settings.poll_s, random.random() if jitter is None else jitter)
        self._news = asyncio.Event()

    @property
    def etag(self) -> str:
        """Of the configuration in force, "" for none."""
        return self._refresh.current

    def resume(self) -> None:
        """Use the configuration kept on disk, if there is a usable one.

        Call before the first request is mapped.
        """
        try:
            kept = json.loads(self._state_file.read_bytes())
            body, etag = kept["body"], kept["etag"]
            remote = parse_config(body.encode())
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the kept Moesif configuration cannot be used: %s", error)
            return
        self._refresh.resume(str(etag))
        self._apply(remote, str(etag))

    def seen(self, etag: str) -> None:
        """An event response carried this ETag; the Moesif sink calls it."""
        due_s = self._refresh.due_s()
        self._refresh.seen(etag)
        if self._refresh.due_s() < due_s:  # wake run() for news only, not for every response
            self._news.set()

    async def run(self) -> None:
        """Fetch whenever due, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await self.fetch_if_due(session)
                self._news.clear()
                nap_s = min(max(self._refresh.due_s() - self._clock(), 0.0), LONGEST_NAP_S)
                try:
                    await asyncio.wait_for(self._news.wait(), nap_s)
                except TimeoutError:
                    continue
                await asyncio.sleep(0)

    async def fetch_if_due(self, session: aiohttp.ClientSession) -> bool:
        """One fetch if it is time for one. True when it brought a usable configuration."""
        if self._clock() < self._refresh.due_s():
            return False
        self._refresh.started(self._clock())
        self.fetched += 1
        try:
            body, etag = await self._fetch(session)
            remote = await asyncio.to_thread(parse_config, body)  # seconds for one of megabytes
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ConfigError, or a header that cannot be sent
            self.failed += 1
            self._refresh.failed()
            why = str(error) or type(error).__name__
            log.warning("the Moesif configuration was not fetched, the last one stays in force: %s", why)
            return False
        changed = etag != self._refresh.current
        self._refresh.succeeded(etag)
        if changed:
            self._apply(remote, etag)
            await asyncio.to_thread(self._keep, body, etag)
        return True

    async def _fetch(self, session: aiohttp.ClientSession) -> tuple[bytes, str]:
        url = self._settings.base_uri.rstrip("/") + "/v1/config"
        headers = {"X-Moesif-Application-Id": self._application_id, "Accept": "application/json"}
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise ConfigError(f"{without_secrets(url)} answered {response.status}")
            body = b""
            while len(body) <= MAX_BODY_BYTES and (chunk := await response.content.read(65536)):
                body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ConfigError(f"configuration longer than {MAX_BODY_BYTES} bytes")
            # Without a header the content names itself: events must still say what they were decided under.
            etag = response.headers.get(ETAG_HEADER) or f"sha256:{hashlib.sha256(body).hexdigest()[:16]}"
            return body, etag

    def _apply(self, remote: RemoteConfig, etag: str) -> None:
        self.warnings = remote.warnings
        for warning in remote.warnings[:20]:
            log.warning("part of the Moesif configuration is ignored: %s", warning)
        self._use(remote, etag)
        log.info("the Moesif sampling configuration %s is in force", etag)

    def _keep(self, body: bytes, etag: str) -> None:
        """Replace the kept file in one step; a failure costs only the memory across a restart."""
        text = json.dumps({"etag": etag, "body": body.decode("utf-8", "replace")})
        try:
            replace_file(self._state_file, text.encode())
        except OSError as error:
            log.warning("the Moesif configuration is not kept on disk: %s", error)
