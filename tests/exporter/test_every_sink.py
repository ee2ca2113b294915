"""What the pipeline relies on, of every kind of sink."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

import events
from events import NOW_NS, SECOND_NS
from exporter import http_answer
from exporter.clickhouse import errors as clickhouse_errors
from exporter.clickhouse.client import connect
from exporter.clickhouse.engine.endpoint import Endpoint
from exporter.errors import Refused, Retryable, SinkError, TooLarge, Unauthorised
from exporter.sink import Batch, Sink
from exporter.sinks import types
from mapping.event import ACTION, LOG, Event
from sink_destinations import DESTINATIONS, Destination

pytestmark = pytest.mark.process  # a real engine is among the sinks

KINDS = sorted(DESTINATIONS)
DAY_NS = 86_400 * SECOND_NS


def event(**changes: Any) -> Event:
    now = time.time_ns()
    return events.event(**{"start_unix_ns": now, "end_unix_ns": now, "received_unix_ns": now} | changes)


def some(count: int) -> list[Event]:
    return [event() for _ in range(count)]


def ids(*batches: list[Event]) -> Counter[str]:
    return Counter(row.transaction_id for batch in batches for row in batch)


def on(kind: str, folder: Path, test: Callable[[Any], Awaitable[None]]) -> None:
    """Run `test` with a running destination of this kind."""

    async def go() -> None:
        destination = DESTINATIONS[kind](folder)
        await destination.start()
        try:
            await test(destination)
        finally:
            await destination.stop()

    asyncio.run(go())


async def stored(destination: Destination) -> Counter[str]:
    return Counter(await asyncio.to_thread(destination.stored))


async def opened_and_written(sink: Sink, batch: Batch) -> None:
    """A sink may tell about its destination at the first or at the second."""
    await sink.open()
    await sink.write(batch, in_doubt=False)


def test_every_kind_that_can_be_configured_is_tested_here() -> None:
    """blackhole keeps nothing: there is nothing to test about it but that it accepts. otlphttp forwards requests."""
    assert set(types()) == {*DESTINATIONS, "blackhole", "otlphttp"}


@pytest.mark.parametrize("kind", KINDS)
def test_it_delivers_every_event_once(kind: str, tmp_path: Path) -> None:
    batches = [some(40) for _ in range(3)]

    async def test(destination: Destination) -> None:
        sink = destination.sink()
        await sink.open()
        for number, rows in enumerate(batches):
            assert list(await sink.write(Batch(number, rows), in_doubt=False)) == [], "nothing is left out"
        assert await stored(destination) == ids(*batches)
        assert await sink.existing(some(2), ()) == set()
        await sink.close()
        await sink.close()

    on(kind, tmp_path, test)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_in_doubt_is_complete_and_where_promised_not_repeated(kind: str, tmp_path: Path) -> None:
    first, half = some(20), some(20)

    async def test(destination: Destination) -> None:
        sink = destination.sink()
        await sink.open()
        await sink.write(Batch(1, first), in_doubt=False)
        await sink.write(Batch(2, half[:10]), in_doubt=False)
        await sink.close()
        after = destination.sink()  # the next process
        await after.open()
        await after.write(Batch(1, first), in_doubt=True)
        await after.write(Batch(2, half), in_doubt=True)
        found = await stored(destination)
        await after.close()
        assert found.keys() == ids(first, half).keys()
        if destination.exact:
            assert found == ids(first, half)

    on(kind, tmp_path, test)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_for_a_destination_comes_back_and_the_rest_is_there(kind: str, tmp_path: Path) -> None:
    """Every event is either stored or returned, also when the batch is in doubt: the ledger counts by it."""
    old = event(start_unix_ns=NOW_NS - 3000 * DAY_NS, end_unix_ns=NOW_NS - 3000 * DAY_NS)
    rows = [event(), event(event_type=LOG), event(event_type=ACTION, action_name="a"), old]

    async def test(destination: Destination) -> None:
        sink = destination.sink()
        await sink.open()
        left_out = list(await sink.write(Batch(1, rows), in_doubt=False))
        assert await stored(destination) + ids(left_out) == ids(rows)
        assert ids(left_out) == ids(rows[1:] if kind == "moesif" else [])
        assert ids(list(await sink.write(Batch(1, rows), in_doubt=True))) == ids(left_out)
        await sink.close()

    on(kind, tmp_path, test)


@pytest.mark.parametrize("kind", KINDS)
def test_a_destination_that_is_down_is_tried_again(kind: str, tmp_path: Path) -> None:
    rows = some(10)

    async def test(destination: Destination) -> None:
        destination.go_down()
        sink = destination.sink()
        with pytest.raises(Retryable):
            await opened_and_written(sink, Batch(1, rows))
        destination.come_back()
        await sink.open()
        await sink.write(Batch(1, rows), in_doubt=False)
        assert await stored(destination) == ids(rows)
        await sink.close()

    on(kind, tmp_path, test)


@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_row_is_found_by_halving(kind: str, tmp_path: Path) -> None:
    """As the pipeline does it: split what is TooLarge, give up on a row that is refused alone."""
    rows = some(8)
    rows[5] = event(user_id="\ud800")  # half a surrogate pair has no UTF-8
    lost: list[str] = []

    async def write(sink: Any, batch: Batch) -> None:
        try:
            await sink.write(batch, in_doubt=False)
        except (TooLarge, Refused):
            if len(batch.events) == 1:
                lost.append(batch.events[0].transaction_id)
                return
            half = len(batch.events) // 2
            await write(sink, Batch(batch.batch_id, batch.events[:half], batch.part + "0"))
            await write(sink, Batch(batch.batch_id, batch.events[half:], batch.part + "1"))

    async def test(destination: Destination) -> None:
        sink = destination.sink()
        await sink.open()
        await write(sink, Batch(1, rows))
        assert lost == [rows[5].transaction_id]
        assert await stored(destination) == ids(rows[:5], rows[6:])
        await sink.close()

    on(kind, tmp_path, test)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_credentials_keep_everything(kind: str, tmp_path: Path) -> None:
    async def test(destination: Destination) -> None:
        if not destination.has_credentials:
            return
        sink = destination.sink(wrong_credentials=True)
        with pytest.raises(Unauthorised) as refused:
            await opened_and_written(sink, Batch(1, some(1)))
        assert "wrong" not in str(refused.value).replace("wrong password", "")
        await sink.close()

    on(kind, tmp_path, test)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_write_leaves_the_sink_usable(kind: str, tmp_path: Path) -> None:
    rows, more = some(500), some(5)

    async def test(destination: Destination) -> None:
        sink = destination.sink()
        await sink.open()
        writing = asyncio.create_task(sink.write(Batch(1, rows), in_doubt=False))
        await asyncio.sleep(0.003)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await sink.write(Batch(1, rows), in_doubt=True)
        await sink.write(Batch(2, more), in_doubt=False)
        found = await stored(destination)
        assert found.keys() == ids(rows, more).keys()
        if destination.exact:
            assert found == ids(rows, more)
        await sink.close()

    on(kind, tmp_path, test)


@pytest.mark.parametrize("kind", KINDS)
def test_closing_what_was_never_open_is_harmless(kind: str, tmp_path: Path) -> None:
    async def test(destination: Destination) -> None:
        await destination.sink().close()

    on(kind, tmp_path, test)


# -- the sinks that speak HTTP -------------------------------------------------------------------------------

STATUSES: list[tuple[int, type[SinkError]]] = [
    (400, TooLarge), (413, TooLarge), (422, TooLarge),
    (401, Unauthorised), (402, Unauthorised), (403, Unauthorised),
    (408, Retryable), (429, Retryable), (500, Retryable), (502, Retryable), (503, Retryable), (504, Retryable),
    (301, Retryable), (307, Retryable), (404, Retryable), (405, Retryable),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_an_http_status_has_one_meaning(status: int, kind: type[SinkError], tmp_path: Path) -> None:
    """Also a redirect or a 404, a wrong address, keeps the events."""

    async def test(destination: Any) -> None:
        destination.next_answers = [(status, {"Retry-After": "3", "Location": "/elsewhere"})]
        sink = destination.sink()
        await sink.open()
        rows = some(3)
        with pytest.raises(kind) as refused:
            await sink.write(Batch(1, rows), in_doubt=False)
        assert type(refused.value) is kind
        if isinstance(refused.value, Retryable):
            assert refused.value.retry_after_s == 3
        await sink.write(Batch(1, rows), in_doubt=False)
        assert await stored(destination) == ids(rows)
        await sink.close()

    on("moesif", tmp_path, test)


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_proxy_before_a_store_has_the_same_answers(status: int, kind: type[SinkError]) -> None:
    """An answer without ClickHouse's code is not ClickHouse's: a 502 must not put a backlog into the dead letters."""
    said = DatabaseError(f"HTTP driver received HTTP status {status}, server response: <html>no</html> (for url ...)")
    assert type(clickhouse_errors.sink_error(said, about_rows=True)) is kind
    asked = clickhouse_errors.sink_error(said, about_rows=False)
    assert type(asked) is (Unauthorised if kind is Unauthorised else Retryable)
    assert type(clickhouse_errors.sink_error(OperationalError(str(said)), about_rows=True)) is kind


def test_a_store_that_is_away_is_told_in_the_words_of_the_system() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", unused.getsockname()[1], "bridge", "secret", "analytics")
        with pytest.raises(OperationalError) as away:
            connect(endpoint, compress=False)
    error = clickhouse_errors.sink_error(away.value, about_rows=False)
    assert (type(error), str(error)) == (Retryable, "no answer from ClickHouse: Connection refused")


def test_a_web_page_with_200_is_no_yes() -> None:
    """A proxy's login form would else take a backlog without a word."""
    page = http_answer.error_of(200, {"Content-Type": "text/html; charset=utf-8"})
    assert isinstance(page, Retryable)
    assert "web page" in str(page)
    assert http_answer.error_of(200, {"Content-Type": "application/json"}) is None
    assert http_answer.error_of(201, {}) is None


def test_a_retry_goes_on_with_the_request_that_failed(tmp_path: Path) -> None:
    rows = some(25)

    async def test(destination: Any) -> None:
        sink = destination.sink(max_request_events=10)
        await sink.open()
        accept = destination._accept

        def second_time(path: str, body: bytes) -> Any:
            answer = accept(path, body)
            if len(destination.accepted) == 10:
                destination.next_answers = [(503, {}), (503, {})]
            return answer

        destination._accept = second_time
        for _ in range(2):
            with pytest.raises(Retryable):
                await sink.write(Batch(1, rows), in_doubt=False)
        await sink.write(Batch(1, rows), in_doubt=False)
        assert await stored(destination) == ids(rows)
        assert sink.counts.sent == 25
        await sink.close()

    on("moesif", tmp_path, test)


NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("5", 5),
        ("0", 0),
        ("86400", 300),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("1e9", None),
        ("", None),
        ("٥", None),
        ("1.5", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("1" * 5000, None),
    ],
)
def test_retry_after_is_read_and_bounded(text: str, wait: float | None) -> None:
    assert http_answer.retry_after_s({"Retry-After": text}, NOW) == wait
