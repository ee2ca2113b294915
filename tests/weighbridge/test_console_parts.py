"""A page is shown whatever its questions take: parts come later, or say why not; what nobody waits for ends."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from bridge import COMMAND, BridgeProcess, end, eventually
from console_client import READ_TOKEN, TOKENS, ConsoleClient, call, sent
from exporter.clickhouse.queries import Statement
from exporter.clickhouse.reader import StoreReader
from exporter.clickhouse.settings import Settings
from weighbridge.console import gathering
from weighbridge.console.gathering import COMING, Gathering, Waiting
from weighbridge.console.store import Store, Unanswered

READERS = 3
ENDLESS = "SELECT count() FROM numbers(1000000000000000) WHERE sipHash64(number) = 1"


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    folder = tmp_path_factory.mktemp("bridge")
    engine = {"readers": READERS, "reader_max_execution_s": 600}
    sink = {"name": "store", "type": "clickhouse", "dsn": f"chdb://{folder}/store", "engine": engine}
    process = BridgeProcess(folder, admin={"tokens": TOKENS}, exporter={"sinks": [sink]})
    process.start()
    try:
        sent(process, [call(bytes([1]) * 16, bytes([9]) * 8, company="acme", status=500)])
        client = ConsoleClient(process.admin, READ_TOKEN)
        eventually(lambda: client.get("/events.json").json().get("events"), "the call is stored")
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log.read_text()


def store_of(bridge: BridgeProcess) -> Store:
    engine = {"readers": READERS, "reader_max_execution_s": 600}
    settings = Settings(name="store", dsn=f"chdb://{bridge.directory}/store", engine=engine)
    return Store(lambda: settings)


@contextlib.contextmanager
def all_readers_taken(bridge: BridgeProcess) -> Iterator[None]:
    """Others ask so much that no question of a page is answered."""
    asked = [*COMMAND, "query", "--config", str(bridge.config), ENDLESS]
    asking = [subprocess.Popen(asked, cwd=bridge.directory, stdout=subprocess.DEVNULL) for _ in range(READERS)]
    try:
        yield
    finally:
        for one in asking:
            end(one)


PAGES = (
    "/",
    "/events",
    "/events?where=company%3Dacme&text=orders",
    "/customers",
    "/customer?company=acme",
    "/endpoints",
    "/endpoint?endpoint=POST%20/v1/orders",
)


def test_a_page_is_shown_before_its_questions_are_answered(bridge: BridgeProcess) -> None:
    """Nothing of it is known, and it is there: its head, its times, where the rest is asked for."""
    client = ConsoleClient(bridge.admin, READ_TOKEN)
    later = ""
    with all_readers_taken(bridge):
        for path in PAGES:
            shown = eventually(
                lambda path=path: COMING in (text := client.get(path).text) and text,  # type: ignore[misc]
                f"no reader is free for {path}",
            )
            assert 'aria-label="Time"' in shown
            assert "Show the rest" in shown
            (later,) = set(re.findall(r'data-later="([^"]+)"', shown))
            assert later.startswith(path.partition("?")[0])
    rest = client.page(unescape(later))
    assert COMING not in rest
    for path in PAGES:
        whole = client.page(path)
        assert "later=" not in whole
        assert "acme" in whole or "POST" in whole


def test_the_console_asks_as_many_questions_at_a_time_as_the_engine_has_readers(bridge: BridgeProcess) -> None:
    store, together = store_of(bridge), threading.Barrier(READERS)

    def question(reader: StoreReader) -> int:
        reader.query("SELECT 1")
        return together.wait(60)

    async def ask() -> list[int]:
        return await asyncio.gather(*(store.ask_all(question, 60) for _ in range(READERS)))

    assert sorted(asyncio.run(ask())) == list(range(READERS))


class Held(Store):
    """Holds whoever asks in its thread until it is told to answer; `asked` rises with each."""

    def __init__(self, readers: int) -> None:
        settings = Settings(name="store", dsn="chdb:///nowhere", engine={"readers": readers})
        super().__init__(lambda: settings)
        self.asked = threading.Semaphore(0)
        self.told = threading.Event()

    def _ask(self, *_: Any) -> Any:
        self.asked.release()
        self.told.wait()
        return "answered"


@pytest.mark.parametrize(("readers", "long_ones"), [(1, 1), (2, 1), (4, 3)])
def test_long_questions_leave_a_lane_to_short_ones(readers: int, long_ones: int) -> None:
    """However many of them there are; with one lane only they take turns."""

    async def ask() -> None:
        store, asked = Held(readers), Statement("SELECT 1", {})
        questions = [asyncio.ensure_future(store.ask(asked, long=True)) for _ in range(10)]
        for _ in range(long_ones):
            await asyncio.to_thread(store.asked.acquire)
        short = asyncio.ensure_future(store.ask(asked))
        if long_ones < readers:
            await asyncio.to_thread(store.asked.acquire)  # before any of the others is answered
        assert not store.asked.acquire(blocking=False)
        store.told.set()
        assert {str(one) for one in await asyncio.gather(short, *questions)} == {"answered"}

    asyncio.run(ask())


def test_a_question_that_met_the_limit_of_the_console_runs_no_more(bridge: BridgeProcess) -> None:
    """The engine alone would go on with it for ten minutes."""

    async def ask() -> None:
        await store_of(bridge).ask(Statement(ENDLESS, {}), limit_s=1)

    with pytest.raises(Unanswered, match="longer than 1 seconds") as refused:
        asyncio.run(ask())
    assert refused.value.limit
    running = "SELECT count() AS n FROM system.processes WHERE query LIKE '%numbers(1000%sipHash64(number) = 1%'"
    running += " AND query NOT LIKE '%system.processes%'"
    eventually(lambda: bridge.query(running) == [{"n": 0}], "it is stopped")


class Part:
    """A part of an answer that comes when it is told to."""

    def __init__(self) -> None:
        self.told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ask(self) -> int:
        return await self.told


def test_what_is_known_is_shown_and_the_rest_says_why_not() -> None:
    async def go() -> None:
        quick, slow = Part(), Part()
        found = Gathering(dict, {"quick": quick.ask(), "slow": slow.ask()})
        quick.told.set_result(1)
        await found.wait_for_more(60)
        assert found.so_far() == ({"quick": 1}, {"slow": COMING}, True)
        slow.told.set_exception(Unanswered("this took longer", limit=True))
        await found.wait_for_more(60)
        assert found.so_far() == ({"quick": 1}, {"slow": "This took longer."}, False)
        with pytest.raises(Unanswered):
            await found.whole()

    asyncio.run(go())


@pytest.mark.parametrize("limit", [True, False])
def test_an_answer_of_which_nothing_can_be_known_is_none(limit: bool) -> None:
    async def go() -> None:
        one, other = Part(), Part()
        found = Gathering(dict, {"one": one.ask(), "other": other.ask()})
        one.told.set_exception(Unanswered("the store does not answer", limit=limit))
        if limit:
            other.told.set_exception(Unanswered("nor here", limit=True))
        await found.wait_for_more(60)
        with pytest.raises(Unanswered):
            found.so_far()
        await asyncio.sleep(0)
        assert other.told.done()  # given up

    asyncio.run(go())


def test_what_is_kept_is_its_askers_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_MOST_KEPT", 3)

    async def go() -> None:
        waiting, parts = Waiting(), [Part() for _ in range(5)]
        kept = []
        for part in parts:
            kept.append(waiting.keep("me", Gathering(dict, {"part": part.ask()})))
            await asyncio.sleep(0)  # it is asked
        await asyncio.sleep(0)
        assert [part.told.cancelled() for part in parts] == [True, True, False, False, False]
        assert waiting.take("somebody else", kept[4]) is None
        assert waiting.take("me", kept[0]) is None
        assert waiting.take("me", kept[4]) is not None
        assert waiting.take("me", kept[4]) is None
        monkeypatch.setattr(gathering, "_KEPT_S", -1.0)
        waiting.keep("me", Gathering(dict, {}))
        waiting.close()
        await asyncio.sleep(0)
        assert all(part.told.cancelled() for part in parts[:4])

    asyncio.run(go())
