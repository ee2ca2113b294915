"""Fetching Moesif's configuration over a real socket, from a stand-in for its API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from mapping.sampling.moesif import RemoteConfig
from mapping.sampling.settings import MoesifRemoteSettings
from weighbridge.sampling.moesif_config import MoesifConfiguration


class StandIn:
    """GET /v1/config of the Collector API, with what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.etag = "e1"
        self.body = json.dumps({"sample_rate": 50}).encode()
        self.delay_s = 0.0
        self.asked: list[str] = []

    async def config(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("X-Moesif-Application-Id", ""))
        await asyncio.sleep(self.delay_s)
        return web.Response(status=self.status, body=self.body, headers={"X-Moesif-Config-ETag": self.etag})


class Rig:
    """A configuration follower, its stand-in server, and a clock moved by hand."""

    def __init__(self, folder: Path) -> None:
        self.server = StandIn()
        self.used: list[tuple[RemoteConfig, str]] = []
        self.now_s = 1000.0
        self.folder = folder
        self.base_uri = ""
        self.session: aiohttp.ClientSession

    def follower(self, timeout: str = "60s", application_id: str = "application-1") -> MoesifConfiguration:
        settings = MoesifRemoteSettings.model_validate({"base_uri": self.base_uri, "timeout_s": timeout})
        return MoesifConfiguration(
            settings,
            application_id,
            self.folder / "state" / "moesif.json",
            lambda remote, etag: self.used.append((remote, etag)),
            clock=lambda: self.now_s,
            jitter=0.0,
        )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Rig]:
    rig = Rig(folder)
    app = web.Application()
    app.router.add_get("/v1/config", rig.server.config)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    rig.base_uri = f"http://{host}:{port}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as rig.session:
            yield rig
    finally:
        await runner.cleanup()


def drive(folder: Path, test: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(folder) as rig:
            await test(rig)

    asyncio.run(main())


def test_fetches_at_start_with_the_application_id(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower()
        assert await follower.fetch_if_due(rig.session)
        assert rig.server.asked == ["application-1"]
        assert [(float(remote.everything or 0), etag) for remote, etag in rig.used] == [(0.5, "e1")]
        assert not await follower.fetch_if_due(rig.session)

    drive(tmp_path, test)


def test_an_unknown_etag_brings_the_new_configuration_after_a_minute(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower()
        await follower.fetch_if_due(rig.session)
        rig.server.body, rig.server.etag = json.dumps({"sample_rate": 10}).encode(), "e2"
        follower.seen("e2")
        rig.now_s += 59
        assert not await follower.fetch_if_due(rig.session)
        rig.now_s += 1
        assert await follower.fetch_if_due(rig.session)
        assert [etag for _, etag in rig.used] == ["e1", "e2"]
        follower.seen("e1")
        rig.now_s += 200
        assert not await follower.fetch_if_due(rig.session)

    drive(tmp_path, test)


def test_an_unchanged_configuration_is_not_applied_again(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower()
        for _ in range(3):
            assert await follower.fetch_if_due(rig.session)
            rig.now_s += 300
        assert len(rig.used) == 1
        assert len(rig.server.asked) == 3

    drive(tmp_path, test)


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"{}"), (401, b"{}"), (302, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b"")]
)
def test_a_failure_keeps_the_last_good_configuration(tmp_path: Path, status: int, body: bytes) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower()
        await follower.fetch_if_due(rig.session)
        rig.server.status, rig.server.body, rig.server.etag = status, body, "e2"
        rig.now_s += 300
        assert not await follower.fetch_if_due(rig.session)
        assert follower.etag == "e1"
        assert len(rig.used) == 1
        assert follower.failed == 1

    drive(tmp_path, test)


def test_a_server_that_does_not_answer_or_is_gone_is_a_failure_like_any_other(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower(timeout="100ms")
        rig.server.delay_s = 1.0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.1)) as impatient:
            assert not await follower.fetch_if_due(impatient)
        rig.base_uri = "http://127.0.0.1:1"
        assert not await rig.follower().fetch_if_due(rig.session)
        assert not rig.used

    drive(tmp_path, test)


def test_an_application_id_that_cannot_be_sent_is_a_failure_that_does_not_name_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower(application_id="application-1\n")
        assert not await follower.fetch_if_due(rig.session)
        assert follower.failed == 1

    drive(tmp_path, test)
    assert "not fetched" in caplog.text
    assert "application-1" not in str([record.__dict__ for record in caplog.records])


def test_the_last_good_configuration_survives_a_restart(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.follower().fetch_if_due(rig.session)
        rig.server.status = 503
        restarted = rig.follower()
        restarted.resume()
        assert restarted.etag == "e1"
        assert rig.used[0] == rig.used[1]
        assert not await restarted.fetch_if_due(rig.session)  # asked at once all the same
        assert len(rig.server.asked) == 2

    drive(tmp_path, test)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"etag": "e", "body": 7}', b'{"etag": "e", "body": "[]"}'])
def test_a_damaged_kept_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower()
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "moesif.json").write_bytes(content)
        follower.resume()
        assert follower.etag == ""
        assert not rig.used

    drive(tmp_path, test)


def test_a_configuration_without_an_etag_names_itself_by_its_content(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.server.etag = ""
        follower = rig.follower()
        await follower.fetch_if_due(rig.session)
        assert follower.etag.startswith("sha256:")

    drive(tmp_path, test)


def test_run_fetches_at_once_and_again_when_news_arrives(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        follower = rig.follower()
        task = asyncio.create_task(follower.run())
        await _until(lambda: len(rig.used) == 1)
        rig.server.etag = "e2"
        rig.now_s += 61
        follower.seen("e2")
        await _until(lambda: len(rig.used) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    drive(tmp_path, test)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
