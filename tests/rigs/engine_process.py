"""A real engine process for tests, and clients of it."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from bridge import end
from exporter.clickhouse.engine.endpoint import READER, WRITER, password
from exporter.clickhouse.engine.settings import EngineSettings
from exporter.clickhouse.engine.supervisor import command, environment


class EngineProcess:
    """An engine on `data`. Standard input is its life line."""

    def __init__(self, data: Path, **limits: Any) -> None:
        self.data = data
        self.process = subprocess.Popen(
            command(data, EngineSettings(**limits)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(EngineSettings(**limits)),
        )
        weakref.finalize(self, end, self.process)
        assert self.process.stdout is not None
        self.said: dict[str, Any] = json.loads(self.process.stdout.readline() or "{}")

    @property
    def port(self) -> int:
        return int(self.said["port"])

    def client(self, user: str = WRITER, **options: Any) -> Client:
        secret = password(self.data, user)
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username=user, password=secret, **options
        )

    def ask(self, sql: str, user: str = READER, **parameters: str) -> tuple[int, str]:
        """ClickHouse's error code (0: none) and the body of the answer to a bare request."""
        credentials = base64.b64encode(f"{user}:{password(self.data, user)}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                "POST", f"/?{urlencode(parameters)}", sql.encode(), {"Authorization": f"Basic {credentials}"}
            )
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace")
            return int(answer.getheader("X-ClickHouse-Exception-Code") or 0), body
        finally:
            connection.close()

    def stop(self) -> int:
        """Close its life line; the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self._ended()

    def kill(self) -> None:
        self.process.kill()
        self._ended()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def _ended(self) -> int:
        status = self.process.wait(30)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status
