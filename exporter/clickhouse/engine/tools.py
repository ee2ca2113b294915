"""The port for tools: a fixed address on which named users may read, for Grafana, Metabase, Superset, drivers.

Its server differs from the engine's own in whom it knows. That its address is taken is no reason for the store not to
open: it is told in the log, and tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial

from exporter.clickhouse.engine.guard import Guard
from exporter.clickhouse.engine.lanes import Lanes
from exporter.clickhouse.engine.protocol import Account, Server
from exporter.clickhouse.engine.settings import EngineSettings

log = logging.getLogger(__name__)

_TRY_EVERY_S = 2.0


class Tools:
    """Listens from now on until `close`, where the settings have an endpoint."""

    def __init__(self, lanes: Lanes, guard: Guard, settings: EngineSettings) -> None:
        self._make = partial(Server, lanes, guard, accounts_of(settings), settings)
        self._address = settings.address
        self._closing = threading.Event()
        self._server: Server | None = None
        self._thread = threading.Thread(target=self._listen, name="tools", daemon=True)
        if self._address is not None:
            self._thread.start()

    def _listen(self) -> None:
        told = ""
        while not self._closing.is_set() and self._address is not None:
            try:
                self._server = server = self._make(self._address)
            except OSError as error:
                if str(error) != told:
                    told = str(error)
                    log.error("tools cannot ask on %s:%d yet: %s", *self._address, error.strerror or error)
                self._closing.wait(_TRY_EVERY_S)
                continue
            log.info("tools may ask on %s:%d", *self._address)
            if not self._closing.is_set():
                server.serve_forever(poll_interval=0.1)
            server.server_close()
            return

    def close(self, drain_s: float) -> bool:
        """Let nothing new begin and wait for what runs. False when something still runs after the time."""
        self._closing.set()
        deadline = time.monotonic() + drain_s
        server = self._server
        drained = server is None or server.drain(drain_s)
        if server is not None:
            server.shutdown()
        if self._thread.is_alive():
            self._thread.join(max(1.0, deadline - time.monotonic()))
        return drained


def accounts_of(settings: EngineSettings) -> dict[str, Account]:
    return {name: Account(secret.get_secret_value(), "tool") for name, secret in settings.users.items()}
