"""The operator's port and pages on the web: no other name, no other origin, and no question that is a fault of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from bridge import BridgeProcess
from weighbridge.admin import CLIENT_HEADER
from weighbridge.admin.server import Admin, AdminSettings, Metric


class Health:
    async def refresh(self) -> None:
        pass

    def not_ready(self) -> list[str]:
        return []

    def facts(self) -> dict[str, Any]:
        return {"oldest": "<script>"}

    def metrics(self) -> list[Metric]:
        raise RuntimeError("a planted fault with a secret")


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("bridge")
    process = BridgeProcess(
        directory, exporter={"sinks": [{"name": "file", "type": "jsonlines", "path": str(directory / "e.jsonl")}]}
    )
    process.start()
    yield process
    process.stop()
    assert "Traceback" not in process.log.read_text()


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, str, aiohttp.typedefs.LooseHeaders]:
    async def run() -> tuple[int, str, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{port}{path}", headers=sent) as answer,
        ):
            return answer.status, await answer.text(), answer.headers

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:13133", 200),
        ("LOCALHOST", 200),
        ("app.localhost", 200),
        ("10.1.2.3:13133", 200),
        ("[::1]:13133", 200),
        ("bridge.internal:13133", 200),
        ("attacker.example", 421),
        ("attacker.example:13133", 421),
        ("127.0.0.1.attacker.example", 421),
        ("localhost.attacker.example", 421),
        ("user@attacker.example", 421),
        ("[attacker.example]", 421),
        ("127.0.0.1@attacker.example", 421),
        ("bridge.internal.attacker.example", 421),
        ("::::", 421),
        ("%31", 421),
    ],
)
def test_only_addresses_and_known_names_are_answered(host: str, status: int) -> None:
    async def run() -> int:
        settings = AdminSettings(endpoint="127.0.0.1:0", allowed_hosts=("bridge.internal",))
        admin = await Admin.start(settings, Health())
        try:
            url = f"http://127.0.0.1:{admin.port}/readyz"
            async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": host}) as answer:
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                return answer.status
        finally:
            await admin.stop()

    assert asyncio.run(run()) == status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "https://attacker.example", CLIENT_HEADER: "1"},
        {"Sec-Fetch-Site": "cross-site", CLIENT_HEADER: "1"},
        {"Sec-Fetch-Site": "same-site", CLIENT_HEADER: "1"},
        {"Content-Type": "text/plain"},
        {"Host": "attacker.example", "Origin": "http://attacker.example", CLIENT_HEADER: "1"},
    ],
)
def test_no_page_of_another_origin_replays_dead_letters(bridge: BridgeProcess, headers: dict[str, str]) -> None:
    status, text, _ = ask(bridge.admin, "POST", "/deadletter/replay", **headers)
    assert status in (403, 421)
    assert json.loads(text)["error"]


def test_the_command_line_and_pages_of_the_port_itself_may(bridge: BridgeProcess) -> None:
    assert ask(bridge.admin, "POST", "/deadletter/replay", **{CLIENT_HEADER: "1"})[0] == 200
    own = f"http://127.0.0.1:{bridge.admin}"
    assert ask(bridge.admin, "POST", "/deadletter/replay", Origin=own, Sec_Fetch_Site="same-origin")[0] == 200
    assert "0" in bridge.command("deadletter", "replay").stdout
    assert ask(bridge.admin, "GET", "/deadletter/replay", **{CLIENT_HEADER: "1"})[0] == 405


@pytest.mark.parametrize(
    ("method", "question"),
    [
        *(
            ("GET", f"/sampling?minutes={value}")
            for value in ("x", "-1", "0", "1.5", "%C2%B2", "9" * 30, "9" * 5000, "")
        ),
        ("GET", "/sampling?minutes=5&minutes=6"),
        ("GET", "/sampling?minute=5"),
        ("GET", "/sampling?%ff=1"),
        *(("POST", f"/deadletter/replay?since_unix_ns={value}") for value in ("x", "-1", "%C2%B2", "1e9", "9" * 5000)),
        ("POST", "/deadletter/replay?resaon=x"),
        ("POST", "/deadletter/replay?reason=%00"),
        ("POST", "/deadletter/replay?reason=" + "x" * 2000),
        ("GET", "/nowhere"),
        ("PUT", "/ledger"),
    ],
)
def test_odd_questions_are_4xx_with_a_sentence(bridge: BridgeProcess, method: str, question: str) -> None:
    status, text, _ = ask(bridge.admin, method, question, **{CLIENT_HEADER: "1"})
    assert 400 <= status < 500
    assert json.loads(text)["error"]
    assert "Traceback" not in text


def test_a_fault_of_ours_says_nothing_of_the_inside() -> None:
    async def run() -> tuple[int, str]:
        admin = await Admin.start(AdminSettings(endpoint="127.0.0.1:0"), Health())
        try:
            url = f"http://127.0.0.1:{admin.port}/metrics"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status, await answer.text()
        finally:
            await admin.stop()

    status, text = asyncio.run(run())
    assert status == 500
    assert json.loads(text)["error"].startswith("internal error")
    assert "secret" not in text
