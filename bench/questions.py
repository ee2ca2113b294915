"""How long the store's questions take: ten million events over 14 days, asked as `weighbridge query` asks.

    python -m bench.questions [--events 10000000] [--data DIR] [--loading] [--only NAME ...]

Fills a store in DIR (a temporary folder when not given; one that is filled already is asked as it is) with INSERT ...
SELECT, counts by minute with it, then asks every question about all 14 days: cold (the engine and the machine have
dropped what they kept of the store, as far as they can be told to), then warm. CPU is the engine's, of the warm answer.
--loading: while 5,000 events a second are inserted. Prints seconds, and whether the answer is exact; names with `from
events` are asked as where the counts cannot answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.store import Traffic, engine_cpu_s
from exporter.clickhouse import queries
from exporter.clickhouse.answers import answer
from exporter.clickhouse.durations import GAMMA
from exporter.clickhouse.engine.endpoint import WRITER, password, read_published
from exporter.clickhouse.queries import parse_condition
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.sink import Batch
from exporter.sinks.clickhouse import Settings, create

DAYS = 14
ROWS_A_TRACE = 5  # the gateway's call, its call to the service, the service's call, a statement, a line of log
LOADED_A_SECOND = 5_000
DAY_S = 86_400

# One day of traces. Every hundredth call fails and is kept, of the others one in ten: role 0 the gateway, 1 its
# outgoing call, 2 the service, 3 a database statement, 4 a log line. A fifth of the services report on their own,
# so that their calls are `open`: the question has to find the gateway's.
FILL = """
INSERT INTO api_events (event_type, event_time, received_at, batch_id, event_id, source, start_unix_ns, end_unix_ns,
    trace_id, span_id, parent_span_id, company_id, user_id, plan, service, direction, hop, method, endpoint, uri,
    status_code, error_type, duration_ms, name, action, family, severity, severity_number, body, metadata, weight,
    adjusted_count, sampling_p, sampling_rule)
SELECT ['api_call', 'api_call', 'api_call', 'action', 'log'][role + 1] AS event_type,
    fromUnixTimestamp64Micro(toInt64({start} * 1000000 + intDiv(n * {day_us}, {traces}) + role * 700)) AS event_time,
    event_time + INTERVAL 1 SECOND AS received_at, {batch} AS batch_id,
    concat(lower(hex(sipHash64(n, role, {batch}))), lower(hex(sipHash64(role, {batch}, n)))) AS event_id,
    if(role = 4, 'log', 'span') AS source, toUnixTimestamp64Nano(toDateTime64(event_time, 9)) AS start_unix_ns,
    start_unix_ns + toUInt64(ifNull(duration_ms, 0) * 1e6) AS end_unix_ns,
    concat(lower(hex(sipHash64(n, {batch}))), lower(hex(sipHash64({batch}, n)))) AS trace_id,
    leftPad(lower(hex(n * 8 + least(role, 3))), 16, '0') AS span_id,
    if(role = 0, '', leftPad(lower(hex(n * 8 + role - 1)), 16, '0')) AS parent_span_id,
    concat('company-', toString(cityHash64(user) % 400)) AS company_id,
    concat('user-', toString(user)) AS user_id, ['free', 'pro', 'enterprise'][user % 3 + 1] AS plan,
    if(role < 2, 'gateway', concat('shop-', toString(route % 8))) AS service,
    ['incoming', 'outgoing', 'incoming', 'internal', ''][role + 1] AS direction,
    ['entry', '', if(route % 5 = 0, 'open', 'inner'), '', ''][role + 1] AS hop,
    if(role < 3, ['GET', 'GET', 'POST'][route % 3 + 1], '') AS method,
    if(role < 3, concat('/v1/', ['orders', 'items', 'carts', 'users'][route % 4 + 1], '/', toString(route),
        '/{{id}}'), '') AS endpoint,
    if(role < 3, concat('https://api.shop.example/v1/x/', toString(n % 1000003)), '') AS uri,
    multiIf(role > 2, 0, failed, [500, 503, 401, 404][n % 4 + 1], 200) AS status_code,
    if(role < 3 AND failed, ['server', 'upstream', 'auth', 'not_found'][n % 4 + 1], '') AS error_type,
    if(role = 4, NULL, 5 - 80 * log(1 - (cityHash64(n, role) % 1000000) / 1000000.)) AS duration_ms,
    multiIf(role < 3, 'GET /v1', role = 3, 'SELECT shop.orders', '') AS name,
    if(role = 3, 'SELECT shop.orders', '') AS action,
    if(role = 3, 'db', '') AS family, if(role = 4, if(failed, 'ERROR', 'INFO'), '') AS severity,
    if(role = 4, if(failed, 17, 9), 0) AS severity_number,
    if(role = 4, concat('order ', toString(n), ' was handled'), '') AS body,
    '{{"server.port":8080,"deployment":"blue"}}' AS metadata,
    if(failed, 1, 10) AS weight, if(failed, 1, 10) AS adjusted_count,
    if(failed, 1, 0.1) AS sampling_p, if(failed, 'errors', 'default') AS sampling_rule
FROM (SELECT number AS n, arrayJoin([0, 1, 2, 3, 4]) AS role, cityHash64(number, {batch}) % 20000 AS user,
             cityHash64(number, {batch}, 1) % 80 AS route, cityHash64(number, {batch}, 2) % 100 = 0 AS failed
      FROM numbers({traces}))
"""


# What was counted of the calls, those too that were dropped: here as many as the kept ones stand for.
COUNT = """
INSERT INTO api_minutes (minute, company_id, service, method, endpoint, status_code, error_type, direction, hop, plan,
    records, kept, calls, duration_sum_ms, durations)
SELECT toStartOfMinute(event_time), company_id, service, method, endpoint, status_code, error_type, direction, hop,
    plan, toUInt64(sum(adjusted_count)), count(), sum(adjusted_count), sum(duration_ms * adjusted_count),
    sumMap(map(toInt16(ceil(log(assumeNotNull(duration_ms)) / log({gamma}))), adjusted_count))
FROM api_events WHERE event_type = 'api_call' AND toDate(event_time) = toDate({start})
GROUP BY ALL
"""


class Store:
    """The embedded store of a bridge: a sink that has it open, and a client that may write."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(name="store", dsn=f"chdb://{data}")
        self.data = data
        self._sink = create(self.settings)

    async def __aenter__(self) -> Store:
        await self._sink.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sink.close()

    def client(self) -> Any:
        import clickhouse_connect

        found = read_published(self.data)
        assert found is not None
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=found.port, username=WRITER, password=password(self.data, WRITER),
            database=self.settings.database, send_receive_timeout=3600, autogenerate_session_id=False,
        )  # fmt: skip

    def fill(self, events: int, first_day_s: int) -> None:
        client = self.client()
        if int(client.query("SELECT count() FROM api_events").result_rows[0][0]):
            return
        traces = events // ROWS_A_TRACE // DAYS
        for day in range(DAYS):
            start = first_day_s + day * DAY_S
            client.command(FILL.format(start=start, day_us=DAY_S * 10**6, traces=traces, batch=day + 1))
            client.command(COUNT.format(start=start, gamma=GAMMA))
        client.close()

    @contextlib.asynccontextmanager
    async def load(self) -> Any:
        """Batches of a second's events, as a bridge writes them, for as long as this is open."""
        stop = asyncio.Event()

        async def write() -> None:
            traffic, number = Traffic(2), 1_000_000
            while not stop.is_set():
                begun = time.monotonic()
                rows = await asyncio.to_thread(traffic.batch, LOADED_A_SECOND, time.time_ns() - 10**10)
                await self._sink.write(Batch(number, rows), in_doubt=False)
                number += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, 1 - (time.monotonic() - begun)))

        task = asyncio.create_task(write())
        try:
            yield
        finally:
            stop.set()
            await task


Asked = tuple[str, str, dict[str, Any]]  # what it is called here, its name, its arguments


def questions(since: datetime, until: datetime) -> Iterator[Asked]:
    """Every question of the product, about all of the time."""
    age: dict[str, Any] = {"since": since, "until": until}
    last_day: dict[str, Any] = {"since": until - timedelta(days=1), "until": until}
    of_user = {"where": [parse_condition("user_id=user-4711")]}
    yield "trace", "trace", {"trace_id": "f" * 32}
    yield "latest", "latest", {"since": until - timedelta(hours=1), "until": until}
    yield "latest of a user", "latest", age | of_user
    yield "user_calls", "user_calls", age | {"user_id": "user-4711"}
    yield "failing_customers", "failing_customers", age
    yield "failing_customers 401", "failing_customers", age | {"status": 401}
    for name in ("top_erroring_customers", "traffic_by_plan", "endpoint_percentiles", "endpoint_coverage", "usage"):
        yield name, name, age
    for name in ("logs_of_failing_calls", "retention_cohorts", "milestones", "adoption", "returning", "monthly"):
        yield name, name, age
    yield "health", "health", last_day | {"before": timedelta(days=13)}
    yield "retry_storms", "retry_storms", age
    yield "totals", "totals", age
    yield "totals by=company_id", "totals", age | {"by": "company_id"}
    yield "totals of a user", "totals", age | of_user
    yield "totals by=user_id, a day", "totals", last_day | {"by": "user_id"}
    yield "percentile", "percentile", age
    yield "percentile by=endpoint", "percentile", age | {"by": "endpoint"}
    yield "failing_customers, from events", "failing_customers", age
    yield "totals by=company_id, from events", "totals", age | {"by": "company_id"}
    yield "percentile by=endpoint, from events", "percentile", age | {"by": "endpoint"}


def ask(reader: StoreReader, asked: Asked) -> tuple[float, str]:
    """Seconds until the whole answer is here, and what kind of answer it is; not a number when the store refused."""
    said, name, arguments = asked
    begun = time.monotonic()
    statement = getattr(queries, name)(**arguments)
    try:
        if "from events" in said:
            reader.run(statement)
            return time.monotonic() - begun, "events"
        found = answer(reader, name, arguments, statement)
    except StoreError as error:
        print(f"  {error}")
        return float("nan"), "refused"
    return (
        time.monotonic() - begun,
        "exact" if found.exact else "counts, in doubt" if "api_minutes" in found.said else "events",
    )


async def measure(data: Path, events: int, loading: bool, only: list[str]) -> None:
    today = int(time.time()) // DAY_S * DAY_S
    async with Store(data) as store:
        begun = time.monotonic()
        await asyncio.to_thread(store.fill, events, today - DAYS * DAY_S)
        print(f"filled in {time.monotonic() - begun:.0f} s", flush=True)
    until = datetime.fromtimestamp(today, UTC)
    async with Store(data) as store, store.load() if loading else contextlib.nullcontext():
        await asyncio.to_thread(_table, store, list(questions(until - timedelta(days=DAYS), until)), only)


def _table(store: Store, asked: list[Asked], only: list[str]) -> None:
    found = read_published(store.data)
    assert found is not None
    print(f"{'':38}{'cold':>7}{'warm':>7}{'CPU':>7}")
    client = store.client()
    for question in asked:
        if only and not any(question[0].startswith(wanted) for wanted in only):
            continue
        for cache in ("MARK CACHE", "UNCOMPRESSED CACHE", "INDEX MARK CACHE", "PRIMARY INDEX CACHE"):
            client.command(f"SYSTEM DROP {cache}")
        _forget_files(store.data)
        with StoreReader(store.settings) as reader:
            (cold, _), spent = ask(reader, question), engine_cpu_s(found.pid)
            warm, kind = ask(reader, question)
            spent = engine_cpu_s(found.pid) - spent
            print(f"{question[0]:38}{cold:7.2f}{warm:7.2f}{spent:7.2f}  {kind}", flush=True)
    client.close()


def _forget_files(folder: Path) -> None:
    """Have the machine drop its copies of these files from memory."""
    for path in folder.rglob("*.bin"):
        with contextlib.suppress(OSError), path.open("rb") as file:  # merged away meanwhile
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--loading", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        data = arguments.data or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store"
        asyncio.run(measure(data.absolute(), arguments.events, arguments.loading, arguments.only))


if __name__ == "__main__":
    main()
