"""The pictures of the documents: a bridge with the demo's traffic, and an hour of the same customers before it.

make console-pictures
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from bridge import BridgeProcess, eventually
from console_browser import Reader, chromium
from console_client import ConsoleClient, own_token
from otlp_requests import span, traces

SEED = 15
MINUTES = 57  # of history
CUSTOMERS = (
    ("acme", "4712", 40),
    ("globex", "2042", 25),
    ("initech", "3141", 12),
    ("umbrella", "5005", 9),
    ("hooli", "1999", 6),
)
AGENTS = {"acme": "acme-erp/3.1", "initech": "curl/8.10.1", "hooli": "shop-node/2.4"}
ROUTES = (("GET", "/v1/products", 50, 9.0), ("GET", "/v1/products/{sku}", 30, 14.0), ("POST", "/v1/orders", 20, 55.0))
WIDE, NARROW = (1280, 800), (390, 800)


def history(dice: random.Random) -> Iterator[Any]:
    """Calls of an hour that ends now, with a wave of load and a bad quarter of an hour."""
    now = time.time()
    for minute in range(MINUTES, 0, -1):
        bad = 24 < minute < 36
        for _ in range(int(55 + 25 * math.sin(minute / 9) + dice.uniform(-8, 8))):
            company, user, _ = dice.choices(CUSTOMERS, [often for *_, often in CUSTOMERS])[0]
            method, route, _, usual_ms = dice.choices(ROUTES, [often for *_, often, _ in ROUTES])[0]
            status = 401 if company == "hooli" else 201 if method == "POST" else 200
            if dice.random() < (0.16 if bad and method == "POST" else 0.012):
                status = dice.choice((500, 502, 504))
            took_ms = dice.lognormvariate(math.log(usual_ms), 0.5) * (2.2 if bad else 1)
            begin = int((now - minute * 60 + dice.uniform(0, 59)) * 1e9)
            facts = {
                "http.request.method": method, "http.route": route, "url.path": route.replace("{sku}", "kettle"),
                "url.scheme": "https", "server.address": "shop.example", "http.response.status_code": status,
                "user.id": user, "company.id": company, "user_agent.original": AGENTS.get(company, "shop-python/1.8"),
            }  # fmt: skip
            yield span(
                facts, name=f"{method} {route}", trace_id=dice.randbytes(16), span_id=dice.randbytes(8),
                start_time_unix_nano=begin, end_time_unix_nano=begin + int(took_ms * 1e6),
            )  # fmt: skip


def fill(bridge: BridgeProcess) -> None:
    """History through sampling, so that charts have their intervals; then the demo, every event of it."""
    spans = list(history(random.Random(SEED)))
    resource = {"service.name": "storefront"}
    for first in range(0, len(spans), 500):
        body = traces(*spans[first : first + 500], resource=resource).SerializeToString()
        assert bridge.post("/v1/traces", body)[0] == 200
    client = ConsoleClient(bridge.admin, own_token(bridge))

    def delivered() -> bool:
        (row,) = client.get("/bridge.json").json()["ended"] or [{"in_spool": 1, "received": 0}]
        return bool(row["received"] == len(spans) and not row["in_spool"])

    eventually(delivered, "the history is stored")
    bridge.configure()
    bridge.reload()
    time.sleep(2)
    bridge.command("demo", "--requests", "120")


def shoot(browser: Browser, bridge: BridgeProcess, folder: Path) -> None:
    def somebody(size: tuple[int, int], scheme: str) -> Reader:
        view = {"width": size[0], "height": size[1]}
        return Reader(browser, bridge.admin, own_token(bridge), viewport=view, color_scheme=scheme, timezone_id="UTC")

    def keep(reader: Reader, name: str) -> None:
        reader.page.wait_for_timeout(400)  # the time a highlight takes to fade
        reader.page.screenshot(path=folder / f"console-{name}.png")

    light = somebody(WIDE, "light")
    keep(light, "now")
    light.open("/events?where=status%3D402&where=service%3Dstorefront").locator(".row a").first.click()
    light.page.get_by_role("link", name="Trace", exact=True).click()
    light.page.locator(".trace").wait_for()
    keep(light, "trace")
    light.open("/events?where=company%3Dacme").locator(".row.failed a").first.click()
    light.page.locator("#drawer dl").wait_for()
    keep(light, "events")
    light.open("/customer?company=acme")
    keep(light, "customer")
    light.open("/bridge")
    keep(light, "bridge")
    light.open("/sql?name=totals&with.by=company_id&with.since=1h")
    keep(light, "sql")
    dark = somebody(WIDE, "dark")
    dark.open("/endpoint?endpoint=POST%20/v1/orders")
    keep(dark, "endpoint-dark")
    keep(somebody(NARROW, "dark"), "phone")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        bridge = BridgeProcess(Path(directory), sampling={"rate": 40})
        bridge.start()
        try:
            fill(bridge)
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            shoot(browser, bridge, folder)
            browser.close()
        finally:
            bridge.stop()


if __name__ == "__main__":
    main()
