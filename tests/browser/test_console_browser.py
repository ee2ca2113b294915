"""What people do with the console, in a real browser: three clicks to a cause, live events, filters, replay, keys."""

from __future__ import annotations

import re
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import pytest

from bridge import COMMAND, BridgeProcess, end, eventually
from console_browser import HOSTILE_TRACE, SPAN, Reader
from console_client import ACME_TOKEN, HOSTILE, SHOP_TOKEN, ConsoleClient, call, own_token, sent
from weighbridge.console.gathering import COMING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
PAGES = {
    "now": "/",
    "events": "/events",
    "trace": f"/trace/{HOSTILE_TRACE.hex()}",
    "customers": "/customers",
    "customer": "/customer?company=acme",
    "endpoint": "/endpoint?endpoint=POST%20/v1/orders",
    "bridge": "/bridge",
    "sql": "/sql?name=totals&with.by=company_id",
    "box": "/sql",
    "login": "/login",
    "missing": f"/trace/{'a' * 32}",
}


def test_three_clicks_from_the_front_page_to_the_line_that_explains(reader: Reader) -> None:
    page = reader.page  # which the link of `weighbridge serve` has opened
    page.get_by_role("region", name="Failing customers").get_by_role("link", name="acme").click()
    page.locator(".failure", has_text="500").first.click()
    assert page.locator(".step", has_text="unhandled error").is_visible()
    assert page.locator(".exception summary").inner_text().startswith("ValueError: invalid literal for int()")
    assert page.locator(".exception").count() == 1
    page.locator(".step.log a", has_text="unhandled error").click()
    page.locator("#drawer dl").wait_for()
    assert "unhandled error" in page.locator("#drawer").inner_text()


def test_live_events_come_while_a_load_runs_and_none_is_lost_in_a_pause(reader: Reader, shop: BridgeProcess) -> None:
    page = reader.open("/events?where=company%3Dliving")
    page.get_by_role("button", name="Live").click()
    numbers = iter(range(1, 1000))

    def load(count: int) -> None:
        for _ in range(count):
            sent(shop, [call(next(numbers).to_bytes(16, "big"), SPAN, company="living")])

    running = threading.Thread(target=load, args=(40,))
    running.start()
    page.locator(".row.api_call").nth(5).wait_for(timeout=60_000)  # some are there while others still come
    running.join()
    eventually(lambda: page.locator(".row.api_call").count() == 40, "all have come")
    page.get_by_role("button", name="Pause").click()
    load(25)
    client = ConsoleClient(shop.admin, own_token(shop))
    asked = "/events.json?where=company%3Dliving&limit=500"
    eventually(lambda: len(client.get(asked).json()["events"]) == 65, "all are stored")
    assert page.locator(".row.api_call").count() == 40
    page.get_by_role("button", name="Resume").click()
    eventually(lambda: page.locator(".row.api_call").count() == 65, "those of the pause have come")
    ids = page.eval_on_selector_all(".row.api_call", "rows => rows.map(row => row.dataset.id)")
    assert len(set(ids)) == 65
    assert "live=1" in page.url


def test_filters_are_in_the_address_and_the_back_button_takes_them_away(reader: Reader) -> None:
    page = reader.open("/events")
    facets = page.get_by_role("complementary", name="Values")
    facets.get_by_role("link", name=re.compile("^acme")).click()
    page.wait_for_url("**/events?where=company%3Dacme")
    facets.get_by_role("link", name="Leave out Status 500").click()
    page.wait_for_url("**/events?where=company%3Dacme&where=status%21%3D500")
    reader.whole()
    assert page.locator(".chip").count() == 2
    assert page.locator(".row .pill", has_text=re.compile("^500$")).count() == 0
    page.locator(".row a").first.click()
    page.locator("#drawer dl").wait_for()
    assert "event=" in page.url
    page.go_back()
    page.locator("#drawer").wait_for(state="hidden")
    page.go_back()
    page.wait_for_url("**/events?where=company%3Dacme")
    page.go_forward()
    assert page.locator(".chip").count() == 2
    page.get_by_label("Condition", exact=True).fill("type=log")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**where=type%3Dlog**")
    assert "text=" not in page.url
    page.reload()
    assert page.locator(".chip").count() == 3


def waits(reader: Reader, path: str) -> bool:
    """Whether the page at this path has parts that are not there yet."""
    reader.page.goto(reader.base + path)
    return bool(reader.page.get_by_text(COMING).first.is_visible())


def test_parts_that_come_later_fill_the_page_and_live_events_stay(browser: Browser, tmp_path: Path) -> None:
    """The only reader of the store is taken by somebody else while the page is shown."""
    engine = {"readers": 1, "reader_max_execution_s": 600}
    sink = {"name": "store", "type": "clickhouse", "dsn": f"chdb://{tmp_path}/store", "engine": engine}
    bridge = BridgeProcess(tmp_path, exporter={"sinks": [sink]})
    bridge.start()
    sent(bridge, [call(bytes([1]) * 16, SPAN, company="acme", status=500)])
    client = ConsoleClient(bridge.admin, own_token(bridge))
    eventually(lambda: client.get("/events.json").json().get("events"), "it is stored")
    somebody = Reader(browser, bridge.admin, own_token(bridge))
    try:
        endless = "SELECT count() FROM numbers(1000000000000000) WHERE sipHash64(number) = 1"
        asked = [*COMMAND, "query", "--config", str(bridge.config), endless]
        asking = subprocess.Popen(asked, cwd=tmp_path, stdout=subprocess.DEVNULL)
        try:
            eventually(lambda: COMING in client.get("/customer?company=acme").text, "no reader is free")
            page = somebody.page
            for path in (
                "/",
                "/customers",
                "/customer?company=acme",
                "/endpoint?endpoint=POST%20/v1/orders",
                "/events",
            ):
                # On a slow machine the first pages say so too before the question has begun.
                eventually(partial(waits, somebody, path), f"{path} waits")
                assert page.locator(".rest").inner_text() == "Some of this page is still being counted."
        finally:
            end(asking)
        somebody.whole()  # without another look at it
        page.locator(".row.api_call").first.wait_for()
        assert page.locator(".facets a", has_text="acme").first.is_visible()
        page.get_by_role("button", name="Live").click()
        sent(bridge, [call(bytes([2]) * 16, SPAN, company="acme")])
        page.locator(".row.api_call").nth(1).wait_for(timeout=60_000)
        assert "later=" not in page.url
    finally:
        somebody.context.close()
        bridge.stop()
    assert somebody.complaints == []


def test_times_are_the_readers_own_and_utc_is_told(reader: Reader) -> None:
    page = reader.open("/events")
    shown = page.locator(".row time").first
    utc = re.search(r" (\d\d):\d\d:\d\d", str(shown.get_attribute("title")))
    assert utc
    assert int(shown.inner_text()[:2]) in ((int(utc[1]) + 1) % 24, (int(utc[1]) + 2) % 24)  # Berlin


class Destination(BaseHTTPRequestHandler):
    """Takes OTLP, or refuses it for good."""

    refuses: ClassVar[bool] = True
    taken: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.refuses:
            self.taken.append(body)
        self.send_response(400 if self.refuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_dead_letter_is_looked_at_and_sent_again(browser: Browser, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Destination) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        sink = {"name": "backend", "type": "otlphttp", "endpoint": endpoint}
        bridge = BridgeProcess(tmp_path, exporter={"sinks": [sink], "batch": {"max_age_s": 0.1}})
        bridge.start()
        somebody = Reader(browser, bridge.admin, own_token(bridge))
        try:
            sent(bridge, [call(bytes([1]) * 16, SPAN, company="acme")])
            client = ConsoleClient(bridge.admin, own_token(bridge))
            eventually(
                lambda: any(row["dead_lettered"] for row in client.get("/bridge.json").json()["ended"]),
                "it is refused for good, and counted",
            )
            page = somebody.open("/bridge")
            assert "lost" in str(page.locator(".verdict").get_attribute("class"))
            page.locator(".letters summary").click()
            assert "backend" in page.locator(".letters pre").inner_text()
            Destination.refuses = False
            page.get_by_role("button", name="Send again").click()
            page.locator(".notice").wait_for()
            assert "1 record is on the way again" in page.locator(".notice").inner_text()
            eventually(lambda: Destination.taken, "the destination has it")
            eventually(lambda: not client.get("/bridge.json").json()["dead_letters"], "it is no dead letter any more")
            page.goto(f"{somebody.base}/bridge")
            assert "Nothing is lost, late or doubtful" in page.locator(".verdict").inner_text()
        finally:
            somebody.context.close()
            bridge.stop()
            server.shutdown()
            thread.join()
    assert [text for text in somebody.complaints if "503" not in text] == []  # /: there is no store to ask


@pytest.mark.parametrize("width", [390, 1440])
def test_hostile_events_are_shown_and_never_obeyed(browser: Browser, shop: BridgeProcess, width: int) -> None:
    somebody = Reader(browser, shop.admin, own_token(shop), viewport={"width": width, "height": 900})
    where = quote(f"company={HOSTILE[:60]}")
    paths = [*PAGES.values(), f"/customer?company={quote(HOSTILE[:60])}", f"/events?where={where}"]
    paths += [f"/events?text={quote(HOSTILE)}", f"/sql?q={quote('SELECT company_id, user_id, body FROM api_events')}"]
    page = somebody.page
    for path in paths:
        somebody.open(path)
        assert page.title().endswith("· weighbridge")
        assert page.locator("main img, main script, main iframe").count() == 0
        wide = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} is {wide} pixels too wide"
    somebody.open(f"/events?where={where}")
    for number in range(page.locator(".row a").count()):
        page.locator(".row a").nth(number).click()
        page.locator("#drawer dl").wait_for()
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert "<script>alert(1)</script>" in page.locator("body").inner_text()
    assert "\\x202e" in page.locator("body").inner_text()
    somebody.context.close()
    assert somebody.complaints == []


@pytest.mark.parametrize(("token", "own"), [(ACME_TOKEN, "acme"), (SHOP_TOKEN, "inshop")])
def test_a_bound_token_sees_only_its_own(browser: Browser, shop: BridgeProcess, token: str, own: str) -> None:
    somebody = Reader(browser, shop.admin, token)
    strangers = {"acme", "inshop", "globex", "umbrella", "initech", "hooli"} - {own}
    page = somebody.page
    for path in ("/", "/events", "/customers", "/endpoints", f"/customer?company={own}", "/events?text=order"):
        text = somebody.open(path).locator("body").inner_text()
        assert not [name for name in strangers if name in text.replace(f"company {own}", "")], path
    assert page.get_by_role("link", name="SQL", exact=True).count() == 0
    assert page.get_by_role("link", name="Bridge", exact=True).count() == 0
    somebody.open("/sql?q=SELECT%201")
    assert "bound to its own events" in page.locator("main").inner_text()
    somebody.context.close()
    assert somebody.complaints == []


def test_everything_can_be_done_by_keyboard(reader: Reader) -> None:
    page = reader.open("/events")
    press = page.keyboard.press
    press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    press("Enter")
    assert page.evaluate("location.hash") == "#main"
    press("/")
    assert page.evaluate("document.activeElement.id") == "where"
    page.keyboard.type("status=5xx")
    press("Enter")
    page.wait_for_url("**where=status%3D5xx**")
    reader.whole()
    press("j")
    press("j")
    press("k")
    assert page.evaluate("document.activeElement === document.querySelector('.row a')")
    press("Enter")
    page.locator("#drawer dl").wait_for()
    press("Escape")
    page.locator("#drawer").wait_for(state="hidden")
    names = []
    reader.open("/")
    for _ in range(400):
        press("Tab")
        names.append(page.evaluate("document.activeElement.textContent.trim().slice(0, 40)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or page.evaluate("document.activeElement === document.body"), names[-1]
        if page.evaluate("document.activeElement === document.body"):
            break
    assert {"Now", "Events", "24h", "acme", "Sign out"} <= set(names)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_serious_finding_of_axe_on_any_page(browser: Browser, shop: BridgeProcess, width: int, scheme: str) -> None:
    rules = (Path(__file__).parent / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
    somebody = Reader(
        browser, shop.admin, own_token(shop), viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    found = {}
    for name, path in PAGES.items():
        page = somebody.open(path)
        if name == "events":
            page.locator(".row a").first.click()
            page.locator("#drawer dl").wait_for()
        page.evaluate(rules)
        answer = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (one["id"], one["nodes"][0]["html"][:160], one["nodes"][0]["failureSummary"][:200])
            for one in answer["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        if serious:
            found[name] = serious
    somebody.context.close()
    assert found == {}


def test_a_page_without_its_script_still_answers(browser: Browser, shop: BridgeProcess) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{shop.admin}/login?token={own_token(shop)}")
    page.wait_for_url(f"http://127.0.0.1:{shop.admin}/")
    page.get_by_role("link", name="Events", exact=True).click()
    page.wait_for_url("**/events")
    while (rest := page.get_by_role("link", name="Show the rest")).count():
        page.goto(f"http://127.0.0.1:{shop.admin}{rest.get_attribute('href')}")
    page.locator(".row a").first.click()
    assert page.locator("#drawer dl").is_visible()
    page.get_by_role("link", name="Trace", exact=True).click()
    assert page.locator(".trace .step").count() > 0
    context.close()


def test_waiting_is_shown(reader: Reader) -> None:
    """A page that takes long has a bar on top meanwhile: here one that never comes."""
    page = reader.open("/")
    assert page.locator(".busy").is_hidden()
    script = """async () => {
        document.addEventListener("click", (event) => event.preventDefault());
        document.querySelector('.side nav a[href="/events"]').click();
        await new Promise((done) => setTimeout(done, 1000));
    }"""
    page.evaluate(script)
    assert page.locator(".busy").is_visible()
