"""What the store lets go of: the oldest days beyond a size, parts of events past their days; the rest stays whole."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine_process import EngineProcess
from events import event
from exporter.clickhouse.sink import ClickHouseSink
from exporter.sink import Batch
from exporter.sinks.clickhouse import Settings, create
from store_files import as_server, embedded, run, write_settings

DAY_NS = 86_400 * 10**9
DAYS = 5
A_DAY = 40


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("engine") / "store")
    yield process
    assert process.stop() == 0


def day_before(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - days * 86_400))


def batch_of(day: int, batch_id: int, events: int = A_DAY) -> Batch:
    """Calls of so many days ago, whose bodies cannot be compressed."""
    noise = random.Random(batch_id)
    made = []
    for _ in range(events):
        at = time.time_ns() - day * DAY_NS - 10**9
        made.append(
            event(
                start_unix_ns=at,
                received_unix_ns=at,
                request_body="".join(noise.choices("abcdefghijklmnop", k=4000)),
                ip_address="10.0.0.1",
                user_id="4711",
            )
        )
    return Batch(batch_id, made)


async def with_sink(settings: Settings, work: Callable[[ClickHouseSink], Awaitable[Any]]) -> None:
    sink = create(settings)
    await sink.open()
    try:
        await work(sink)
    finally:
        await sink.close()


def by_day(engine: EngineProcess, database: str) -> dict[str, list[int]]:
    """Of each day how many events, bodies and addresses there are."""
    code, text = engine.ask(
        "SELECT toString(toDate(event_time)), [count(), countIf(request_body != ''), countIf(ip != '')]"
        f" FROM {database}.api_events GROUP BY 1 ORDER BY 1 FORMAT JSONCompactEachRow"
    )
    assert code == 0, text
    return dict(map(json.loads, text.splitlines()))


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(done):
            await asyncio.sleep(0.1)


def test_the_oldest_days_go_when_the_store_is_too_large(engine: EngineProcess, tmp_path: Path) -> None:
    dsn = as_server(engine, "sized")

    async def fill(sink: ClickHouseSink) -> None:
        for day in range(DAYS):
            await sink.write(batch_of(day, day), in_doubt=False)

    asyncio.run(with_sink(Settings(name="s", dsn=dsn), fill))
    code, size = engine.ask("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'sized'")
    assert code == 0
    bound = int(size) * 7 // 10  # two of five days must go
    config = write_settings(tmp_path, f"{embedded(engine)}?database=sized", retention_days=90, retention_bytes=bound)
    shown = run(config, "retention", "--format", "json")
    assert shown.returncode == 0, shown.stderr
    assert [row["goes"] == "now, for its size" for row in json.loads(shown.stdout)] == [True] * 2 + [False] * 3

    async def wait(_: ClickHouseSink) -> None:
        await until(lambda: len(by_day(engine, "sized")) == 3)

    asyncio.run(with_sink(Settings(name="s", dsn=dsn, retention_bytes=bound), wait))
    assert by_day(engine, "sized") == {day_before(day): [A_DAY, A_DAY, A_DAY] for day in (2, 1, 0)}

    async def wait_for_newest(_: ClickHouseSink) -> None:
        await until(lambda: len(by_day(engine, "sized")) == 1)

    asyncio.run(with_sink(Settings(name="s", dsn=dsn, retention_bytes=1), wait_for_newest))
    assert by_day(engine, "sized") == {day_before(0): [A_DAY, A_DAY, A_DAY]}  # the newest day is no history


def test_bodies_go_before_their_events_and_late_ones_follow(engine: EngineProcess, tmp_path: Path) -> None:
    dsn = as_server(engine, "classes")
    settings = Settings(name="s", dsn=dsn, class_days={"bodies": 1, "addresses": 3})
    whole, bare, barest = [A_DAY, A_DAY, A_DAY], [A_DAY, 0, A_DAY], [A_DAY, 0, 0]
    expected = {day_before(4): barest, **{day_before(day): bare for day in (3, 2)}}
    expected |= {day_before(day): whole for day in (1, 0)}

    async def fill(sink: ClickHouseSink) -> None:
        for day in range(DAYS):
            await sink.write(batch_of(day, day), in_doubt=False)

    asyncio.run(with_sink(Settings(name="s", dsn=dsn), fill))

    async def wait(sink: ClickHouseSink) -> None:
        await until(lambda: by_day(engine, "classes") == expected)
        await sink.write(batch_of(3, 99, events=2), in_doubt=False)  # comes late

    asyncio.run(with_sink(settings, wait))
    assert by_day(engine, "classes")[day_before(3)] == [A_DAY + 2, 2, A_DAY + 2]
    config = write_settings(tmp_path, f"{embedded(engine)}?database=classes", class_days={"bodies": 1})
    shown = json.loads(run(config, "retention", "--format", "json").stdout)
    assert [row["emptied"] for row in shown][:3] == ["bodies gone", "bodies now", "bodies gone"]
    assert shown[-1]["emptied"] == f"bodies {day_before(-2)}"

    async def wait_again(_: ClickHouseSink) -> None:
        await until(lambda: by_day(engine, "classes")[day_before(3)] == [A_DAY + 2, 0, A_DAY + 2])

    asyncio.run(with_sink(settings, wait_again))


def test_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(name="s", dsn="chdb:///x", class_days={"users": 3})
    with pytest.raises(ValidationError):
        Settings(name="s", dsn="chdb:///x", class_days={"bodies": 0})
    with pytest.raises(ValidationError, match="on a cluster"):
        Settings(name="s", dsn="http://x/y", cluster="c", retention_bytes=5)
