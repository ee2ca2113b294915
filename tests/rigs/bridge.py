"""The real program under test: started with its command line, asked through its command line, killed by pid."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bench.process import free_port as free_port

COMMAND = [sys.executable, "-P", "-m", "weighbridge"]


def eventually(done: Callable[[], Any], what: str, timeout_s: float = 180.0) -> Any:
    """The first true value of `done`; fails with `what` when there is none in a time that no loaded machine needs."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = done()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what a failed test left running: neither the next test nor the machine has it for longer."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


class BridgeProcess:
    """One bridge over one directory; `start` again after `kill` is the next process over the same data."""

    def __init__(self, directory: Path, **sections: Any) -> None:
        self.directory = directory
        self.port = free_port()
        self.admin = free_port()
        self.config = directory / "weighbridge.yaml"
        self.log = directory / "bridge.log"
        self.program = COMMAND  # of the next process
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(**sections)

    def configure(self, **sections: Any) -> None:
        """Write the settings file: what a test needs, and in each section what it names."""
        directory = self.directory
        settings: dict[str, Any] = {
            "receiver": {"endpoint": f"127.0.0.1:{self.port}"},
            "admin": {"endpoint": f"127.0.0.1:{self.admin}"},
            "spool": {"directory": str(directory / "spool")},
            "exporter": {
                "sinks": [{"name": "store", "type": "clickhouse", "dsn": f"chdb://{directory}/store"}],
                "batch": {"max_age_s": 0.2},
            },
        }
        for section, values in sections.items():
            settings[section] = {**settings.get(section, {}), **values}
        self.config.write_text(yaml.safe_dump(settings))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when requests are accepted."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.program, "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        weakref.finalize(self, end, self._process)
        eventually(self._accepts, "the bridge accepts requests")

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the bridge ended: {self.log.read_text()[-3000:]}"
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """kill -9, and gone when this returns."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)

    def readiness(self) -> dict[str, Any]:
        """GET /readyz, whatever it says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=30) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                found = json.loads(error.read())
        return found

    def reload(self) -> None:
        """SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    def metric(self, name: str) -> float:
        """The sum over all labels of a metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """One request; header names with `_` for `-`. Raises OSError when there is no answer."""
        sent = {"Content-Type": "application/x-protobuf"} | {k.replace("_", "-"): v for k, v in headers.items()}
        request = urllib.request.Request(self.endpoint + path, data=body, headers=sent, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A `weighbridge` command with this bridge's settings."""
        done = subprocess.run(
            [*COMMAND, arguments[0], "--config", str(self.config), *arguments[1:]],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.directory,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def ledger(self) -> dict[str, Any]:
        """GET /ledger."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ledger", timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the store, asked through `weighbridge query`."""
        rows: list[dict[str, Any]] = json.loads(self.command("query", sql, "--format", "json").stdout)
        return rows
