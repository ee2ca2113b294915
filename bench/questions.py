"""How long the store's questions take: ten million events over 14 days, asked as `weighbridge query` asks events.

    python -m bench.questions [--events 10000000] [--data DIR] [--loading] [--only NAME ...]

Fills a store in DIR (a temporary folder when not given; one that is filled already is asked as it is) with INSERT ...
SELECT, then asks every question about all 14 days: first right after the engine has started (cold: nothing of the store
is in its caches), then warm; then two of them at the same time. CPU is the engine's, of the warm answer. --loading:
while 5,000 events a second are inserted. Prints seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.store import Traffic, engine_cpu_s
from exporter.clickhouse import queries
from exporter.clickhouse.engine.endpoint import WRITER, password, read_published
from exporter.clickhouse.queries import Statement, parse_condition
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
            client.command(
                FILL.format(start=first_day_s + day * DAY_S, day_us=DAY_S * 10**6, traces=traces, batch=day + 1)
            )
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


def questions(since: datetime, until: datetime) -> Iterator[tuple[str, Callable[[], Statement]]]:
    """Every question of the product, about all of the time."""
    age: dict[str, Any] = {"since": since, "until": until}
    yield "trace", lambda: queries.trace("f" * 32)
    yield "latest", lambda: queries.latest(until - timedelta(hours=1), until)
    yield "latest of a user", lambda: queries.latest(**age, where=[parse_condition("user_id=user-4711")])
    yield "user_calls", lambda: queries.user_calls("user-4711", **age)
    yield "failing_customers", lambda: queries.failing_customers(**age)
    yield "failing_customers 401", lambda: queries.failing_customers(**age, status=401)
    yield "top_erroring_customers", lambda: queries.top_erroring_customers(**age)
    yield "traffic_by_plan", lambda: queries.traffic_by_plan(**age)
    yield "endpoint_percentiles", lambda: queries.endpoint_percentiles(**age)
    yield "logs_of_failing_calls", lambda: queries.logs_of_failing_calls(**age)
    yield "retention_cohorts", lambda: queries.retention_cohorts(**age)
    yield "endpoint_coverage", lambda: queries.endpoint_coverage(**age)
    yield "totals", lambda: queries.totals(**age)
    yield "totals by=company_id", lambda: queries.totals(**age, by="company_id")
    yield (
        "totals by=day where",
        lambda: queries.totals(**age, by="day", where=[parse_condition("company_id=company-7")]),
    )
    yield "percentile", lambda: queries.percentile(**age)
    yield "percentile by=endpoint", lambda: queries.percentile(**age, by="endpoint")
    yield "percentile since=1d", lambda: queries.percentile(until - timedelta(days=1), until, by="endpoint")


def ask(reader: StoreReader, statement: Statement) -> float:
    """Seconds until the whole answer is here; not a number when the store refused."""
    begun = time.monotonic()
    try:
        reader.run(statement)
    except StoreError as error:
        print(f"  {error}")
        return float("nan")
    return time.monotonic() - begun


async def measure(data: Path, events: int, loading: bool, only: list[str]) -> None:
    today = int(time.time()) // DAY_S * DAY_S
    async with Store(data) as store:
        begun = time.monotonic()
        await asyncio.to_thread(store.fill, events, today - DAYS * DAY_S)
        print(f"filled in {time.monotonic() - begun:.0f} s", flush=True)
    until = datetime.fromtimestamp(today, UTC)
    async with Store(data) as store, store.load() if loading else contextlib.nullcontext():
        await asyncio.to_thread(_table, store, list(questions(until - timedelta(days=DAYS), until)), only)


def _table(store: Store, asked: list[tuple[str, Callable[[], Statement]]], only: list[str]) -> None:
    found = read_published(store.data)
    assert found is not None
    print(f"{'':28}{'cold':>7}{'warm':>7}{'CPU':>7}{'two at once':>13}")
    for name, question in asked:
        if only and not any(name.startswith(wanted) for wanted in only):
            continue
        with StoreReader(store.settings) as one, StoreReader(store.settings) as other:
            cold, spent = ask(one, question()), engine_cpu_s(found.pid)
            warm = ask(one, question())
            spent = engine_cpu_s(found.pid) - spent
            begun = time.monotonic()
            threads = [threading.Thread(target=ask, args=(reader, question())) for reader in (one, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(f"{name:28}{cold:7.2f}{warm:7.2f}{spent:7.2f}{time.monotonic() - begun:13.2f}", flush=True)


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
