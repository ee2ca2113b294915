"""What abuse does to the whole bridge, store and JSON lines included: `python -m bench.bridge_abuse [scenario ...]`.

The program runs as an operator starts it. For each scenario a fresh one gets the abuse while a client posts a small
request twenty times a second; it is killed in the middle, started again over the same spool, so that what it
acknowledged is decoded and mapped again, and ended by SIGTERM while it still may be busy. A scenario is fine when
nothing but the abuse waits longer than WAIT_MS, the bridge stays below MEMORY_MIB, and SIGTERM is obeyed in STOP_S.
"""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import yaml

from bench import receiver_abuse, traffic
from bench.process import Program, children, free_port, rss_mib
from bench.receiver_abuse import JSON, PROTOBUF, Attack, elements, exchange, post, repeat, squeezed

WAIT_MS = 250.0
MEMORY_MIB = 1500.0
STOP_S = 1.0
SECONDS = 5.0
PAUSE_S = 0.05


@dataclass
class Waits:
    """Longest waits of the client in a scenario, milliseconds, and what the processes took, MiB."""

    acknowledged: list[float] = field(default_factory=list)
    alive: list[float] = field(default_factory=list)
    memory: float = 0.0
    refused: int = 0


class Bridge:
    """One bridge over one directory; started again over the same data after `kill`."""

    def __init__(self, directory: Path) -> None:
        self.port, self.admin = free_port(), free_port()
        self._directory = directory
        self._program: Program | None = None
        self._settings = directory / "weighbridge.yaml"
        sinks = [
            {"name": "store", "type": "clickhouse", "dsn": f"chdb://{directory}/store"},
            {"name": "lines", "type": "jsonlines", "path": str(directory / "events.jsonl")},
        ]
        self._settings.write_text(
            yaml.safe_dump(
                {
                    "receiver": {"endpoint": f"127.0.0.1:{self.port}"},
                    "admin": {"endpoint": f"127.0.0.1:{self.admin}"},
                    "spool": {"directory": str(directory / "spool")},
                    "exporter": {"sinks": sinks},
                }
            )
        )

    def start(self) -> None:
        command = [sys.executable, "-m", "weighbridge", "serve", "--config", str(self._settings)]
        self._program = Program(command, self._directory / "bridge.log")
        self._program.wait_for_port(self.port)

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.pid

    def memory_mib(self) -> float:
        """Of the bridge; the engine has a limit of its own."""
        with contextlib.suppress(OSError):
            return rss_mib(self.pid)
        return 0.0

    def kill(self) -> None:
        assert self._program is not None
        engines = children(self.pid)
        self._program.process.kill()
        self._program.process.wait()
        for engine in engines:  # which ends with its parent, and holds the store until then
            while Path(f"/proc/{engine}").exists():
                time.sleep(0.02)

    def stop(self) -> tuple[float, float]:
        """SIGTERM: seconds until it takes no more requests, and until it has ended."""
        assert self._program is not None
        started = time.monotonic()
        self._program.process.send_signal(signal.SIGTERM)
        obeyed = 0.0
        while self._program.process.poll() is None:
            if not obeyed and not self._accepts():
                obeyed = time.monotonic() - started
            if time.monotonic() - started > 60:
                self._program.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._program.process.wait(0.02)
        ended = time.monotonic() - started
        return obeyed or ended, ended

    def _accepts(self) -> bool:
        return "ready" in (self.ask("/readyz") or "") and "not ready" not in (self.ask("/readyz") or "")

    def ask(self, path: str) -> str | None:
        """The admin port's answer, None when there is none."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def backlog(self) -> float:
        """Requests that some sink still needs."""
        text = self.ask("/metrics") or ""
        lines = [line for line in text.splitlines() if line.startswith("weighbridge_spool_requests ")]
        return float(lines[0].split()[1]) if lines else 0.0


def watch(bridge: Bridge, seconds: float, waits: Waits, until: Callable[[], bool] = lambda: False) -> None:
    """Post small requests and ask whether it is alive, one after the other, noting how long each took."""
    bodies = [post(traffic.request(number, 5)) for number in range(10)]
    ends = time.monotonic() + seconds
    number = 0
    client: socket.socket | None = None
    while time.monotonic() < ends and not until():
        started = time.perf_counter()
        if bridge.ask("/healthz") is not None:
            waits.alive.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        try:
            client = client or socket.create_connection(("127.0.0.1", bridge.port), timeout=60)
            answer = exchange(client, bodies[number % 10])
        except OSError:
            client = None
            continue
        waits.acknowledged.append((time.perf_counter() - started) * 1000)
        if not answer.startswith(b"HTTP/1.1 200 "):
            waits.refused += 1
        waits.memory = max(waits.memory, bridge.memory_mib())
        number += 1
        time.sleep(PAUSE_S)
    if client:
        client.close()


# -- bodies that are taken, and so come back after the restart ---------------------------------------------------


def json_spans(count: int, attributes: int, text: int) -> bytes:
    """A gzip OTLP/JSON request of spans, each other."""
    value = "x" * text

    def span(number: int) -> bytes:
        found = [{"key": f"key.{at}", "value": {"stringValue": f"{value}{number}"}} for at in range(attributes)]
        ids = {"traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}", "name": "GET /x", "kind": 2}
        return orjson.dumps({**ids, "startTimeUnixNano": str(time.time_ns()), "attributes": found})

    spans = b",".join(span(number) for number in range(count))
    return squeezed(b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + spans + b"]}]}]}", 1)


def json_logs(count: int, body: bytes) -> bytes:
    """A gzip OTLP/JSON request of log records with this JSON value as their body."""
    records = b",".join([b'{"timeUnixNano":"%d","body":%s}' % (time.time_ns(), body)] * count)
    return squeezed(b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + records + b"]}]}]}", 1)


def scenarios() -> dict[str, Attack]:
    text = orjson.dumps({"stringValue": "password" + " " * 60_000})
    access = orjson.dumps({"stringValue": "1.2.3.4 - - GET /a?b=c HTTP/1.1 200 " + "a=b " * 10_000})
    fields = b",".join(b'{"key":"k%d","value":{"intValue":%d}}' % (at, at) for at in range(300_000))
    taken = {
        "50 MB of JSON spans": post(json_spans(20_000, 20, 60), JSON, "gzip"),
        "JSON of 50,000 spans": post(json_spans(50_000, 5, 5), JSON, "gzip"),
        "one record of 900,000 attributes": post(
            elements(bytes.fromhex("4a0a0a01611205 0a03616263"), 900_000), encoding="gzip"
        ),
        "log body of 300,000 keys": post(
            json_logs(1, b'{"kvlistValue":{"values":[' + fields + b"]}}"), JSON, "gzip", "/v1/logs"
        ),
        "logs of 60 KB of blanks": post(json_logs(500, text), JSON, "gzip", "/v1/logs"),
        "logs of 40 KB of a=b": post(json_logs(500, access), JSON, "gzip", "/v1/logs"),
        "JSON of 25,000 logs": post(json_logs(25_000, b'{"stringValue":"{\\"a\\":1}"}'), JSON, "gzip", "/v1/logs"),
    }
    attacks: dict[str, Attack] = {name: repeat(raw, connections=1) for name, raw in taken.items()}
    zeros = squeezed(bytes(1 << 20), 64)
    attacks["64 MiB of zeros"] = repeat(post(zeros, PROTOBUF, "gzip"))
    return attacks | receiver_abuse.scenarios()


def run(name: str, attack: Attack) -> None:
    """One row of the table."""
    before, after = Waits(), Waits()
    with tempfile.TemporaryDirectory() as place:
        bridge = Bridge(Path(place))
        bridge.start()
        try:
            with receiver_abuse.attacked(bridge.port, attack):
                watch(bridge, SECONDS, before)
            bridge.kill()
            bridge.start()
            watch(bridge, 3 * SECONDS, after, lambda: bridge.backlog() == 0)
            left = bridge.backlog()
            obeyed, ended = bridge.stop()
        finally:
            with contextlib.suppress(OSError):
                bridge.kill()
    cells = [
        max(before.acknowledged, default=-1), max(before.alive, default=-1), before.memory,
        max(after.acknowledged, default=-1), max(after.alive, default=-1), after.memory, left, obeyed, ended,
    ]  # fmt: skip
    longest = max(cells[0], cells[1], cells[3], cells[4])
    fine = longest <= WAIT_MS and max(before.memory, after.memory) <= MEMORY_MIB and obeyed <= STOP_S
    print(f"{name:34}" + "".join(f"{cell:11.1f}" for cell in cells) + ("" if fine else "  !"), flush=True)


def main(wanted: list[str]) -> None:
    heads = ("200 ms", "alive ms", "MiB", "200 again", "alive", "MiB", "left", "SIGTERM s", "ended s")
    print(" " * 34 + "".join(f"{head:>11}" for head in heads))
    for name, attack in scenarios().items():
        if not wanted or any(word in name for word in wanted):
            run(name, attack)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main(sys.argv[1:])
