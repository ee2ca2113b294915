"""Pages, their JSON and CSV, from a running bridge with its store: what they show, and what nobody may do with them."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from bridge import BridgeProcess, eventually
from console_client import (
    ACME_TOKEN,
    HOSTILE,
    READ_TOKEN,
    SHOP_TOKEN,
    TOKENS,
    ConsoleClient,
    call,
    line,
    own_token,
    sent,
)

FAILED = bytes([1]) * 16
HOSTILE_TRACE = bytes([2]) * 16
OTHER = bytes([3]) * 16
SHOP = bytes([4]) * 16
SPAN = bytes([9]) * 8
KEY = "key-of-the-shop-0123456789"
BOUND = ("/now.json", "/events.json", "/now.csv", "/events.csv", "/", "/events")


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = BridgeProcess(
        tmp_path_factory.mktemp("bridge"),
        admin={"tokens": TOKENS},
        receiver={"tenants": {"shop": {"keys": [KEY]}}, "auth": {"required": False}},
    )
    process.start()
    try:
        _fill(process)
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log.read_text()


def _fill(process: BridgeProcess) -> None:
    error = {
        "exception.type": "ValueError",
        "exception.message": "no such coupon",
        "exception.stacktrace": "at line 1\nat 2",
    }
    sent(
        process,
        [
            call(FAILED, SPAN, company="acme", status=500),
            call(OTHER, SPAN, company="globex", user="2042"),
            call(HOSTILE_TRACE, SPAN, company=HOSTILE[:60], user='"id\'with"quotes', status=500, **{"note": HOSTILE}),
        ],
        [
            line(FAILED, SPAN, {"message": "order failed", "path": "/v1/orders"}, attributes=error),
            line(HOSTILE_TRACE, SPAN, HOSTILE),
            line(HOSTILE_TRACE, SPAN, "x" * 1_000_000),
        ],
    )
    sent(process, [call(SHOP, SPAN, company="inshop", user="77", status=404)], X_Moesif_Application_Id=KEY)
    client = ConsoleClient(process.admin, READ_TOKEN)
    eventually(lambda: len(client.get("/events.json").json().get("events", ())) == 7, "all events are stored")


@pytest.fixture
def reader(bridge: BridgeProcess) -> ConsoleClient:
    return ConsoleClient(bridge.admin, READ_TOKEN)


class Page(HTMLParser):
    """What a browser would make of a page: its elements, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [value for tag, name, value in self.attributes if tag == "a" and name == "href"]


def test_now_counts_calls_once_and_names_what_fails(reader: ConsoleClient) -> None:
    now = reader.get("/now.json").json()
    assert now["total"]["calls"] == {"value": 4.0, "low": None, "high": None}
    assert now["total"]["failed"]["value"] == 3
    assert now["total"]["error_rate"]["value"] == 0.75
    assert sum(point["calls"]["value"] for point in now["points"]) == 4
    assert {group["value"]: group["failed"] for group in now["companies"]}["acme"] == 1
    assert now["endpoints"][0]["value"] == "POST /v1/orders"
    told = next(one for one in now["failures"] if one["company_id"] == "acme")
    assert told["told"][0]["text"].startswith("order failed")
    assert told["trace_id"] == FAILED.hex()
    page = Page(reader.page("/"))
    assert "order failed" in page.text
    assert any(link.startswith(f"/trace/{FAILED.hex()}?at=") for link in page.links())


def test_from_the_front_page_to_the_log_line_in_two_clicks(reader: ConsoleClient) -> None:
    (link, *_) = [one for one in Page(reader.page("/")).links() if FAILED.hex() in one]
    page = Page(reader.page(link))
    assert "order failed" in page.text
    assert page.text.count("at line 1") == 1  # the exception once
    (log, *_) = [one for one in page.links() if one.startswith("/trace/") and "event=" in one]
    assert 'id="drawer"' in reader.page(log)
    (back,) = {one for one in page.links() if one.startswith("/customer?company=acme")}
    assert back


def test_events_answer_the_conditions_of_tail(reader: ConsoleClient) -> None:
    def found(query: str) -> list[dict[str, Any]]:
        said = reader.get(f"/events.json?{query}")
        assert said.status == 200, said.text
        events: list[dict[str, Any]] = said.json()["events"]
        return events

    assert [one["company_id"] for one in found("where=status%3D5xx&where=company%3Dacme")] == ["acme"]
    assert {one["event_type"] for one in found("where=type%3Dlog")} == {"log"}
    assert len(found("where=company!%3Dacme&where=type%3Dapi_call")) == 3
    assert len(found("text=ORDER%20FAILED")) == 1
    assert found("text=100%25") == []  # % and _ are letters
    assert len(found("where=trace%3D" + FAILED.hex())) == 2
    whole = reader.get("/events.json").json()
    facets = {one["value"]: one["events"] for one in whole["facets"]["status_code"]}
    assert facets == {"500": 2.0, "200": 1.0, "404": 1.0}
    assert sum(one["calls"] + one["failed"] + one["logs"] for one in whole["histogram"]) == 7
    assert len(found("limit=3")) == 3


def test_an_event_opens_beside_the_list_and_whole(reader: ConsoleClient) -> None:
    page = Page(reader.page("/events?where=company%3Dacme&where=type%3Dapi_call"))
    (link,) = [one for one in page.links() if "event=" in one]
    beside = Page(reader.page(link)).text
    assert "request_headers" not in beside or "authorization" not in beside.lower()
    assert "metadata" in beside or "url" in beside
    assert FAILED.hex() in beside


def test_a_time_without_events_says_what_to_do(reader: ConsoleClient) -> None:
    for path in ("/", "/events"):
        page = Page(reader.page(f"{path}?since=2020-01-01&until=2020-01-02"))
        assert "Show the hour before it" in page.text
        (link,) = {one for one in page.links() if one.startswith(f"{path}?since={time.gmtime().tm_year}-")}
        assert "acme" in reader.page(link)


@pytest.mark.parametrize(
    "query",
    [
        "since=nonsense", "since=2030-01-01", "until=x", "since=9999d", "limit=0", "limit=x", "limit=99999", "wher=1",
        "where=nocolumn%3D1", "where=status%3D7xx", "where=duration_ms%3Dx", "where=user%3D1%2C%20status%3D500",
        "since=1h&since=2h", "text=" + "x" * 2000, "text=%00", "event=x&at=x", "where=%ff%3D1", "since=0001-01-01",
        "&".join(["where=user%3D1"] * 30),
    ],
)  # fmt: skip
def test_odd_questions_are_400_with_a_sentence_in_both_forms(reader: ConsoleClient, query: str) -> None:
    said = reader.get(f"/events.json?{query}")
    assert said.status == 400, said.text
    assert said.json()["error"]
    said = reader.get(f"/events?{query}", Accept="text/html")
    assert said.status == 400
    assert "<h1>" in said.text


def test_nothing_stored_becomes_an_element_or_a_control(reader: ConsoleClient) -> None:
    paths = ["/", "/events", f"/trace/{HOSTILE_TRACE.hex()}", f"/events?where={quote('company=' + HOSTILE[:60])}"]
    paths += [f"/events?text={quote('<script>')}", f"/events?where={quote('user=' + chr(34) + chr(39) + '<b>')}"]
    events = reader.get("/events.json").json()["events"]
    paths += [f"/events?event={one['event_id']}&at={one['at']}" for one in events]
    paths += ["/customers", "/endpoints", "/bridge", f"/customer?company={quote(HOSTILE[:60])}"]
    paths += [f"/sql?q={quote('SELECT company_id, user_id, body, uri FROM api_events')}"]
    paths += [f"/sql?name=user_calls&with.user_id={quote(HOSTILE)}", f"/bridge?said={quote(HOSTILE)}"]
    for path in paths:
        text = reader.page(path)
        page = Page(text)
        assert page.tags.count("script") == 1, path
        assert not {"img", "iframe", "b", "object"} & set(page.tags), path
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069\u200b]", text), path
        assert [one for one in page.attributes if one[1].startswith("on") or one[1] == "style"] == [], path
        assert [one for one in page.links() if not one.startswith(("/", "#"))] == [], path
        assert len(text) < 600_000, path
        assert "49" not in page.text.partition("{{7*7}}")[0][-3:]


def test_links_to_hostile_values_lead_to_them(reader: ConsoleClient) -> None:
    """A facet's link asks for exactly that value, quotes and markup included."""
    page = Page(reader.page("/events"))
    wanted = [one for one in page.links() if "where=user%3D%22id%27with%22quotes" in one]
    assert wanted
    parts = urlsplit(wanted[0])
    found = reader.get(f"/events.json?{parts.query}").json()["events"]
    assert {one["user_id"] for one in found} == {'"id\'with"quotes'}


def test_csv_runs_nothing_in_a_spreadsheet(reader: ConsoleClient) -> None:
    said = reader.get("/events.csv")
    assert said.headers["content-disposition"].startswith("attachment")
    rows = list(csv.DictReader(io.StringIO(said.text)))
    assert len(rows) == 7
    assert not [cell for row in rows for cell in row.values() if cell[:1] in "=+@" and cell]


@pytest.mark.parametrize(("token", "own", "strange"), [(ACME_TOKEN, "acme", "globex"), (SHOP_TOKEN, "inshop", "acme")])
def test_a_bound_token_sees_its_own_and_nothing_else(bridge: BridgeProcess, token: str, own: str, strange: str) -> None:
    client = ConsoleClient(bridge.admin, token)
    traces = {"acme": FAILED, "globex": OTHER, "inshop": SHOP}
    for path in BOUND:
        said = client.whole(path) if "." not in path else client.get(path)
        assert said.status == 200
        assert strange not in said.text, path
        assert traces[strange].hex() not in said.text
        assert "quotes" not in said.text  # the hostile one's user
    assert own in client.get("/events.json").text
    assert client.get("/now.json").json()["total"]["calls"]["value"] == 1
    assert client.get(f"/trace/{traces[own].hex()}.json").status == 200
    assert client.get(f"/trace/{traces[strange].hex()}.json").status == 404
    reader = ConsoleClient(bridge.admin, READ_TOKEN)
    for one in reader.get("/events.json").json()["events"]:
        said = client.whole(f"/events?event={one['event_id']}&at={one['at']}")
        assert (one["trace_id"] in said.text.partition('id="drawer"')[2]) == (
            one["company_id"] == own or (token == SHOP_TOKEN and one["trace_id"] == SHOP.hex())
        )
    for where in (f"company%3D{strange}", f"trace%3D{traces[strange].hex()}", "tenant%3D"):
        found = client.get(f"/events.json?where={where}").json()
        assert [one for one in found["events"] if one["company_id"] == strange] == []
        assert strange not in str(found["facets"])


def stream(bridge: BridgeProcess, query: str, until: int) -> str:
    """What server-sent events say until so many events have come."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", bridge.admin, timeout=60)
    connection.request("GET", f"/events/stream?{query}", headers={"Authorization": f"Bearer {READ_TOKEN}"})
    answer = connection.getresponse()
    assert answer.headers["content-type"] == "text/event-stream"
    said = ""
    deadline = time.monotonic() + 60
    while said.count('"id":"') < until and '"count":' not in said:
        assert time.monotonic() < deadline, said
        said += answer.readline().decode()
    connection.close()
    return said


def test_live_events_come_once_and_what_is_left_out_is_counted(bridge: BridgeProcess) -> None:
    after = int(time.time()) - 1
    many = [call(bytes([7]) * 15 + bytes([n]), SPAN, company="many") for n in range(150)]
    sent(bridge, many[:20])
    said = stream(bridge, f"where=company%3Dmany&after={after}", 20)
    assert len(set(re.findall(r'"id":"([^"]+)"', said))) == 20
    assert "<li" in said
    sent(bridge, many[20:])
    client = ConsoleClient(bridge.admin, READ_TOKEN)
    eventually(
        lambda: client.get("/events.json?where=company%3Dmany").json()["facets"]["company_id"][0]["events"] == 150,
        "stored",
    )
    said = stream(bridge, f"where=company%3Dmany&after={after}", 150)
    shown, left_out = said.count("event: event"), re.findall(r'"count":(\d+)', said)
    assert shown == 100
    assert left_out == ["50"]


def test_a_customer_is_told_beside_all_others(reader: ConsoleClient) -> None:
    said = reader.get("/customer.json?company=acme").json()
    assert said["own"]["calls"] >= 1
    assert said["others"]["calls"] >= 3
    assert said["groups"]["endpoint"][0]["value"] == "POST /v1/orders"
    assert said["groups"]["user_id"][0]["value"] == "4711"
    assert said["first_seen"] == said["last_seen"]
    assert said["failures"][0]["told"][0]["text"].startswith("order failed")
    assert reader.get("/customer.json?user=4711").json()["own"]["calls"] >= 1
    page = Page(reader.page("/customer?company=acme"))
    assert "order failed" in page.text
    assert "/endpoint?endpoint=POST%20%2Fv1%2Forders" in page.links()
    for query in ("", "company=acme&user=4711", "company="):
        assert reader.get(f"/customer.json?{query}").status == 400
    assert "Nobody is called so" in reader.page("/customer?company=nobody")


def test_an_endpoint_tells_who_calls_and_who_fails(reader: ConsoleClient) -> None:
    said = reader.get("/endpoint.json?endpoint=POST%20/v1/orders").json()
    assert {one["value"] for one in said["groups"]["company_id"]} >= {"acme", "globex"}
    assert said["total"]["p95_ms"]["value"] == pytest.approx(40, rel=0.01)
    assert {one["value"]: one["failed"] for one in said["groups"]["status_code"]}["404"] == 1
    assert "Who fails most" in reader.page("/endpoint?endpoint=POST%20/v1/orders")
    assert "all endpoints" in reader.page("/endpoint?endpoint=GET%20/nowhere")
    assert "acme" in reader.page("/customers")
    assert "POST /v1/orders" in reader.page("/endpoints")
    assert len(reader.get("/customers.csv").text.splitlines()) >= 8


def test_the_bridge_says_in_a_sentence_whether_anything_is_lost(reader: ConsoleClient) -> None:
    said = reader.get("/bridge.json").json()
    assert said["kind"] == "good"
    assert said["said"].startswith("Nothing is lost, late or doubtful")
    for row in said["ended"]:
        parts = ("delivered", "deduplicated", "dead_lettered", "skipped", "sampled_out", "failed", "dropped")
        assert row["received"] == sum(row[name] for name in (*parts, "waiting_for_span", "in_spool"))
    page = Page(reader.page("/bridge"))
    assert "Nothing is lost" in page.text
    assert "None: no destination has refused anything" in page.text
    assert "shop" in page.text


def test_sql_and_questions_by_name(reader: ConsoleClient) -> None:
    query = quote("SELECT company_id, count() AS n FROM api_events WHERE event_type = 'api_call' GROUP BY 1 ORDER BY 1")
    said = reader.get(f"/sql.json?q={query}").json()
    assert said["table"]["columns"] == ["company_id", "n"]
    assert ["acme", 1] in said["table"]["rows"]
    assert reader.get(f"/sql.csv?q={query}").text.startswith("company_id,n\n")
    assert '<svg viewBox="0 0 1000 100"' in reader.page(f"/sql?q={query}")
    said = reader.get("/sql.json?name=totals&with.by=company_id").json()
    assert said["table"]["columns"][:2] == ["by", "calls"]
    assert said["table"]["said"][0].startswith("exact: ")
    assert said["table"]["said"][1].startswith("from ")
    page = Page(reader.page("/sql?name=failing_customers"))
    assert ("input", "name", "with.status") in page.attributes
    for query in (
        "q=DROP%20TABLE%20api_events", "q=SELECT%20*%20FROM%20file('/etc/passwd')", "q=SELECT%20nonsense", "q=totals",
        "name=totals&with.by=nonsense", "name=totals&with.limit=x",
    ):  # fmt: skip
        assert reader.get(f"/sql.json?{query}").status == 400, query
        said = reader.get(f"/sql?{query}", Accept="text/html")
        assert said.status == 400
        assert 'class="wrong"' in said.text
    assert reader.get("/sql.json?name=nonsense").status == 404
    assert reader.get("/sql.json?name=totals&with.nonsense=1").status == 400


def test_a_question_by_name_that_needs_more_shows_its_form(reader: ConsoleClient) -> None:
    page = Page(reader.page("/sql?name=user_calls"))
    assert ("input", "required", "") in page.attributes
    assert "4711" in reader.page("/sql?name=user_calls&with.user_id=4711")


@pytest.mark.parametrize("token", [ACME_TOKEN, SHOP_TOKEN])
@pytest.mark.parametrize(
    "path", ["/sql", "/sql.json?q=SELECT%201", "/sql?name=totals", "/bridge", "/bridge.json", "/sql.csv?q=SELECT%201"]
)
def test_bound_tokens_see_neither_bridge_nor_sql(bridge: BridgeProcess, token: str, path: str) -> None:
    client = ConsoleClient(bridge.admin, token)
    said = client.get(path, Accept="text/html")
    assert said.status == 403
    assert "bound to its own events" in said.text
    assert 'href="/bridge"' not in client.page("/")


@pytest.mark.parametrize(
    "path",
    [
        "/customer.json?company={}",
        "/customer?company={}",
        "/customers.json",
        "/endpoint.json?endpoint=POST%20/v1/orders",
    ],
)
def test_bound_tokens_learn_nothing_of_others_by_asking_for_them(bridge: BridgeProcess, path: str) -> None:
    client = ConsoleClient(bridge.admin, ACME_TOKEN)
    said = client.whole(path.format("globex")).text
    assert "2042" not in said
    assert "inshop" not in said
    assert OTHER.hex() not in said
    beside = client.get("/customer.json?company=acme").json()["others"]
    assert beside["calls"] == 0


def test_replay_is_for_operators_and_from_this_site(bridge: BridgeProcess) -> None:
    own = f"http://127.0.0.1:{bridge.admin}"
    form: dict[str, Any] = {"Content_Type": "application/x-www-form-urlencoded", "Origin": own}
    assert ConsoleClient(bridge.admin, READ_TOKEN).get("/bridge/replay", "POST", b"reason=x", **form).status == 403
    operator = ConsoleClient(bridge.admin, own_token(bridge))
    assert (
        operator.get("/bridge/replay", "POST", b"reason=x", **{**form, "Origin": "https://attacker.example"}).status
        == 403
    )
    said = operator.get("/bridge/replay", "POST", b"reason=x", **form)
    assert said.status == 303
    assert "0 records are on the way again" in operator.page(said.headers["location"])
