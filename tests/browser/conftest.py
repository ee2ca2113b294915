"""The console in a real browser: Debian's Chromium, driven by Playwright. Run by `make test-browser`.

Without `-m browser` these tests are not collected: they need Chromium, npm's axe-core and the extra `browser`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge import BridgeProcess, eventually
from console_browser import HOSTILE_TRACE, SPAN, Reader, chromium
from console_client import HOSTILE, TOKENS, ConsoleClient, call, line, own_token, sent

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEY = "key-of-the-shop-0123456789"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs Chromium; run by `make test-browser`")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path.name.startswith("test_") and "browser" not in config.getoption("-m") else None


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    """A bridge with the demo's traffic, a tenant's, and events that are as bad as they can be."""
    process = BridgeProcess(
        tmp_path_factory.mktemp("shop"),
        admin={"tokens": TOKENS},
        receiver={"tenants": {"shop": {"keys": [KEY]}}, "auth": {"required": False}},
    )
    process.start()
    try:
        process.command("demo", "--requests", "80")
        sent(
            process,
            [call(HOSTILE_TRACE, SPAN, company=HOSTILE[:60], user='"id\'with"quotes', status=500, note=HOSTILE)],
            [line(HOSTILE_TRACE, SPAN, HOSTILE * 3), line(HOSTILE_TRACE, SPAN, "x" * 1_000_000)],
        )
        sent(process, [call(bytes([4]) * 16, SPAN, company="inshop", user="77")], X_Moesif_Application_Id=KEY)
        client = ConsoleClient(process.admin, own_token(process))
        eventually(lambda: "inshop" in client.get("/customers.json").text, "all events are stored")
        eventually(lambda: len(client.get(f"/trace/{HOSTILE_TRACE.hex()}.json").json().get("steps", ())) == 3, "logs")
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log.read_text()


@pytest.fixture
def reader(browser: Browser, shop: BridgeProcess) -> Iterator[Reader]:
    somebody = Reader(browser, shop.admin, own_token(shop))
    yield somebody
    somebody.context.close()
    assert somebody.complaints == []
