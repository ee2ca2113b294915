"""Real destinations, or doubles that speak their protocol, behind one interface: for the sinks' contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web
from pydantic import SecretStr

from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import Endpoint, password
from exporter.sink import Sink
from exporter.sinks import clickhouse, jsonlines, moesif, otlphttp


class Destination(Protocol):
    exact: bool  # no batch is ever there twice, also when it was in doubt
    has_credentials: bool

    async def start(self) -> None: ...
    def sink(self, *, wrong_credentials: bool = False) -> Sink: ...
    def stored(self) -> list[str]:
        """Transaction ids, as often as they are there."""
        ...

    def go_down(self) -> None: ...
    def come_back(self) -> None: ...
    async def stop(self) -> None: ...


class Store:
    """The embedded engine; down: no endpoint, as while it is started again."""

    exact = True
    has_credentials = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._down = False

    async def start(self) -> None:
        self._engine = EngineProcess(self._folder)

    def sink(self, *, wrong_credentials: bool = False) -> Sink:
        secret = "wrong" if wrong_credentials else password(self._folder, "writer")
        endpoint = Endpoint("127.0.0.1", self._engine.port, "writer", secret, "analytics")
        settings = clickhouse.Settings(name="sink", dsn=f"chdb://{self._folder}")
        return clickhouse.create(settings, lambda: None if self._down else endpoint)

    def stored(self) -> list[str]:
        return self._engine.ask("SELECT event_id FROM api_events")[1].split()

    def go_down(self) -> None:
        self._down = True

    def come_back(self) -> None:
        self._down = False

    async def stop(self) -> None:
        assert self._engine.stop() == 0


class Lines:
    """A file; down: its folder is a file."""

    exact = True
    has_credentials = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "out" / "events.jsonl"

    async def start(self) -> None:
        pass

    def sink(self, *, wrong_credentials: bool = False) -> Sink:
        return jsonlines.create(jsonlines.Settings(name="sink", path=str(self.path)))

    def stored(self) -> list[str]:
        return [json.loads(line)["transaction_id"] for line in self.path.read_text().splitlines()]

    def go_down(self) -> None:
        if self.path.exists():
            self.path.rename(self.path.with_name("kept"))
            self.path.mkdir()
        else:
            self.path.parent.write_text("in the way")

    def come_back(self) -> None:
        if self.path.is_dir():
            self.path.rmdir()
            self.path.with_name("kept").rename(self.path)
        else:
            self.path.parent.unlink()

    async def stop(self) -> None:
        pass


class HttpDouble:
    """An HTTP server that keeps what it accepts. `next_answers`: statuses and headers given before it accepts again."""

    exact = False
    has_credentials = True
    inflates = True

    def __init__(self, folder: Path) -> None:
        self.next_answers: list[tuple[int, dict[str, str]]] = []
        self.accepted: list[tuple[str, Any]] = []
        self.port = 0
        self._down = False

    async def start(self) -> None:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, auto_decompress=self.inflates)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._down:
            return web.Response(status=503, headers={"Retry-After": "7"})
        if self.next_answers:
            status, headers = self.next_answers.pop(0)
            return web.Response(status=status, headers=headers)
        if not self._knows(request):
            return web.Response(status=401)
        return self._accept_request(request, body)

    def _accept_request(self, request: web.Request, body: bytes) -> web.Response:
        return self._accept(request.path, body)

    def _knows(self, request: web.Request) -> bool:
        raise NotImplementedError

    def _accept(self, path: str, body: bytes) -> web.Response:
        raise NotImplementedError

    def go_down(self) -> None:
        self._down = True

    def come_back(self) -> None:
        self._down = False

    async def stop(self) -> None:
        await self._runner.cleanup()


class Moesif(HttpDouble):
    def sink(self, *, wrong_credentials: bool = False, **settings: Any) -> moesif.MoesifSink:
        application_id = SecretStr("wrong" if wrong_credentials else "app-1")
        base_url = f"http://127.0.0.1:{self.port}"
        asked = {"hops": "all", **settings}  # what is tested here is delivery, not whose call it is
        chosen = moesif.Settings(name="sink", application_id=application_id, base_url=base_url, **asked)
        return moesif.create(chosen)

    def _knows(self, request: web.Request) -> bool:
        return request.headers.get("X-Moesif-Application-Id") == "app-1"

    def _accept(self, path: str, body: bytes) -> web.Response:
        assert len(body) <= 50_000_000
        for row in json.loads(body):
            assert len(json.dumps(row)) <= 1 << 20
            self.accepted.append((path, row))
        return web.Response(status=201, headers={"X-Moesif-Config-ETag": "etag-1"})

    def stored(self) -> list[str]:
        return [row["transaction_id"] for _, row in self.accepted]


class Otlp(HttpDouble):
    """Keeps bodies and headers as they came. `says`: the body of a 200 and its type."""

    inflates = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.says: tuple[bytes, str] = (b"", "application/x-protobuf")
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    def sink(self, *, wrong_credentials: bool = False, **settings: Any) -> otlphttp.OtlpHttpSink:
        return otlphttp.create(self.settings(wrong_credentials=wrong_credentials, **settings))

    def settings(self, *, wrong_credentials: bool = False, **settings: Any) -> otlphttp.Settings:
        headers = {"Authorization": SecretStr("Bearer " + ("wrong" if wrong_credentials else "right"))}
        return otlphttp.Settings(name="sink", endpoint=f"http://127.0.0.1:{self.port}/", headers=headers, **settings)

    def _knows(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == "Bearer right"

    def _accept_request(self, request: web.Request, body: bytes) -> web.Response:
        self.requests.append((request.path, dict(request.headers), body))
        return web.Response(body=self.says[0], content_type=self.says[1])


def _kafka(folder: Path) -> Destination:
    pytest.importorskip("confluent_kafka", reason="the Kafka sink's library is an extra")
    from sink_kafka import Kafka

    return Kafka(folder)


DESTINATIONS: dict[str, Callable[[Path], Destination]] = {
    "clickhouse": Store,
    "jsonlines": Lines,
    "kafka": _kafka,
    "moesif": Moesif,
}
