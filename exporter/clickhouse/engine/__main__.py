"""The engine process: `python -m exporter.clickhouse.engine DATA [--limits JSON]`.

Owns the data in the folder DATA, answers ClickHouse's HTTP protocol on an ephemeral port of 127.0.0.1 and writes one
line of JSON to standard output when it is ready. It lives as long as standard input stays open: when its parent dies,
or on SIGTERM, it finishes what runs and exits. Exit status: 0 stopped, 1 cannot open the data, 2 bad arguments.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import select
import signal
import sys
import threading
from pathlib import Path

from pydantic import ValidationError

from exporter.clickhouse.engine.endpoint import READER, WRITER, Published, password, publish, withdraw
from exporter.clickhouse.engine.guard import Guard
from exporter.clickhouse.engine.lanes import EngineError, Lanes, Locked
from exporter.clickhouse.engine.protocol import Account, Server
from exporter.clickhouse.engine.settings import USERS_VARIABLE, EngineSettings
from exporter.clickhouse.engine.tools import Tools
from exporter.log_format import FORMATS

log = logging.getLogger("exporter.clickhouse.engine")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m exporter.clickhouse.engine", description="The embedded store's engine."
    )
    parser.add_argument("data", type=Path, help="folder of the data; made when missing")
    parser.add_argument("--limits", default="{}", help="EngineSettings as JSON")
    parser.add_argument("--log-format", default="text", choices=FORMATS, help="of standard error")
    arguments = parser.parse_args()
    try:
        users = json.loads(os.environ.pop(USERS_VARIABLE, "{}"))
        settings = EngineSettings.model_validate({**json.loads(arguments.limits), "users": users})
    except ValidationError as error:
        parser.error(f"--limits: {error.errors()[0]['msg']}")
    data: Path = arguments.data.absolute()
    if set("?&#%") & set(str(data)):
        parser.error(f"the folder's name cannot hold ? & # or %: {data}")
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS[arguments.log_format]())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    stop = Stop()
    _stop_with_parent(stop)
    return serve(data, settings, stop)


class Stop:
    """The wish to end. A pipe, because `set` is called by signal handlers: a handler that runs while its own thread is
    inside threading.Event's lock would wait for itself for ever (seen when two signals came within a millisecond)."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def set(self) -> None:
        os.write(self._write, b"x")

    def is_set(self) -> bool:
        return bool(select.select([self._read], [], [], 0)[0])

    def wait(self) -> None:
        select.select([self._read], [], [])


def serve(data: Path, settings: EngineSettings, stop: Stop) -> int:
    """Open, answer until `stop`, drain, close. The exit status."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        accounts = {
            WRITER: Account(password(data, WRITER), "writer"),
            READER: Account(password(data, READER), "reader"),
        }
        lanes = Lanes(data, settings)
        lanes.open(stop.is_set)
    except (Locked, EngineError, OSError) as error:
        if not stop.is_set():
            log.error("cannot open the store: %s", error)
            print(json.dumps({"error": str(error)}), flush=True)
        return 1
    guard = Guard()
    server = Server(lanes, guard, accounts, settings)
    acceptor = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    acceptor.start()
    tools = Tools(lanes, guard, settings)
    published = Published(server.port, os.getpid(), lanes.version)
    publish(data, published)
    print(json.dumps(published._asdict()), flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing more is said there; a full pipe can never stop us
    stop.wait()
    return _finish(data, server, tools, lanes, settings.drain_s)


def _finish(data: Path, server: Server, tools: Tools, lanes: Lanes, drain_s: float) -> int:
    withdraw(data)
    drained = server.drain(drain_s) and tools.close(drain_s)
    server.shutdown()
    server.server_close()
    if not drained:
        # Closing under a running statement crashes the engine (spec/store.md §1.4); it survives a sudden end.
        log.error("a statement still runs after %g s: ending without it", drain_s)
        os._exit(1)
    lanes.close()
    return 0


def _stop_with_parent(stop: Stop) -> None:
    """Set `stop` on SIGTERM or SIGINT, when standard input ends, and when the thread that started us ends (Linux)."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            stop.set()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Daemon threads may still hold keep-alive connections; the engine is closed, nothing is left to tear down.
    os._exit(status)
