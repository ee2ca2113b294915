"""Sink: the analytics store, ClickHouse. A server or cluster by http(s)://, the embedded engine by chdb:///path.

Delivery: every batch exactly once. A first attempt carries its token; after any failed or interrupted attempt the
store is asked, by batch id, what it has before anything is written again (spec/store.md §2.4).
Order: none. Rights needed on a server: CREATE, ALTER, INSERT and SELECT on the database, SELECT on system.processes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.compression import get_compressor
from clickhouse_connect.driver.exceptions import ClickHouseError

from exporter.clickhouse.client import connect
from exporter.clickhouse.counted import COLUMNS, Bounds, count_calls, insert_block, without_wrong_values
from exporter.clickhouse.earlier import windows
from exporter.clickhouse.engine.endpoint import Endpoint
from exporter.clickhouse.engine.lanes import quote
from exporter.clickhouse.engine.supervisor import EngineFailed, EngineSupervisor
from exporter.clickhouse.errors import CLIENT_ERRORS, sink_error
from exporter.clickhouse.minutes_table import minutes_table, prepare_minutes
from exporter.clickhouse.retention import Keep, statements, stored_days
from exporter.clickhouse.rows import (
    DAY_US,
    event_day,
    event_time_us,
    insert,
    is_text,
    unwritable,
)
from exporter.clickhouse.schema import Place, prepare
from exporter.clickhouse.settings import Settings
from exporter.errors import Expired, Retryable, SinkError, TooLarge, Unwritable
from exporter.sink import Batch, Calls, Sink
from exporter.threads import in_thread
from mapping.event import Event

log = logging.getLogger(__name__)
T = TypeVar("T")

# With every insert: we batch ourselves, metadata keys may collide, and a string that looks like a date stays one.
INSERT_SETTINGS = {
    "async_insert": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "type_json_skip_duplicated_paths": 1,
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
}
CLUSTER_SETTINGS = {"insert_quorum": "auto", "distributed_foreground_insert": 1}
OLDEST_SERVER = "25.8"  # the JSON type and its settings as this program uses them
_SIZE_S = 60.0  # between looks at the size of the store
_CLASSES_S = 3600.0  # between looks at what is past its days: it changes at midnight, and with events that come late
_POLL_S = 0.2  # between looks at whether an old insert still runs
_LONG = {"max_query_size": 1 << 25}  # bytes; statements that name ids exceed the default of 256 KiB


class ClickHouseSink(Sink):
    """One writer. All client calls run in one thread of its own, so that encoding never holds up the event loop.

    endpoint: where the store is now, None while it is not there. Without it the address is the settings', and the sink
    runs the embedded engine itself, from `open` to `close`.
    """

    day_partitions = True
    counts_calls = True

    def __init__(self, settings: Settings, endpoint: Callable[[], Endpoint | None] | None = None) -> None:
        path = settings.engine_path
        self._engine = EngineSupervisor(path, settings.engine, settings.database) if path and endpoint is None else None
        self.name = settings.name
        self.shared = settings.engine_path is None if settings.shared == "auto" else settings.shared
        self._settings = settings
        self._endpoint = endpoint or self._own_endpoint
        self._place = Place.of(settings)
        self._insert_settings: dict[str, Any] = {
            **INSERT_SETTINGS,
            **(CLUSTER_SETTINGS if settings.cluster else {}),
            **settings.insert_settings,
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{settings.name}")
        self._client: Client | None = None
        self._client_for: Endpoint | None = None
        self._prepared = False
        self._unsure: set[int] = set()  # batches with an attempt whose end we did not see well
        self._unsure_counts: set[int] = set()  # as before, of `count`
        self._bounds = Bounds()
        # A batch of which nothing is there, but for these parts: it was looked for, if need be, and refused as a whole.
        self._clean: tuple[int, set[str]] = (-1, set())
        self._keep = Keep(settings.retention_days, settings.retention_bytes, settings.class_days)
        self._upkeep: asyncio.Task[None] | None = None
        self._store_ahead_us = 0  # its clock less our monotonic one

    def day_of(self, event: Event) -> int:
        return event_day(event, self._settings.retention_days)

    async def open(self) -> None:
        if self._engine is not None and not self._engine.started:
            try:
                await self._engine.start()
            except EngineFailed as error:
                raise Retryable(str(error)) from error
        await self._run(self._connected)
        if self._upkeep is None and (self._keep.most_bytes or self._keep.class_days):
            self._upkeep = asyncio.create_task(self._let_go(), name=f"retention of {self.name}")

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        await self._run(lambda: self._write(batch, in_doubt), about_rows=True)
        return ()

    async def count(self, calls: Calls, *, in_doubt: bool) -> None:
        await self._run(lambda: self._count_calls(calls, in_doubt))

    async def existing(self, events: Sequence[Event], not_in: Collection[int]) -> set[str]:
        return await self._run(lambda: self._existing(events, not_in))

    async def close(self) -> None:
        """Wait for the running call and let go of the connection and the engine. May be called twice."""
        if self._upkeep is not None:
            self._upkeep.cancel()
        await asyncio.to_thread(self._thread.shutdown)
        self._drop_client()
        if self._engine is not None:
            await self._engine.stop()

    async def _run(self, call: Callable[[], T], *, about_rows: bool = False) -> T:
        try:
            return await in_thread(call, self._thread)
        except CLIENT_ERRORS as error:  # anything else is a fault of ours, and the pipeline's business
            raise sink_error(error, about_rows=about_rows) from error

    async def _let_go(self) -> None:
        """From time to time, between two writes, let go of what is past its time or beyond the size."""
        classes_due_s = 0.0
        while True:
            with_classes = time.monotonic() >= classes_due_s
            try:
                await self._run(lambda: self._let_go_once(with_classes=with_classes))  # noqa: B023 - awaited here
                if with_classes:
                    classes_due_s = time.monotonic() + _CLASSES_S
            except SinkError as error:
                log.warning("sink %s could not look after its retention: %s", self.name, error)
            except Exception:  # nobody waits for this task; deliveries go on
                log.exception("sink %s could not look after its retention", self.name)
            await asyncio.sleep(_SIZE_S)

    @property
    def restarts(self) -> int:
        return self._engine.restarts if self._engine is not None else 0

    @property
    def folded(self) -> int:
        return self._bounds.folded

    def _own_endpoint(self) -> Endpoint | None:
        return self._settings.server if self._engine is None else self._engine.endpoint

    # -- below: in the sink's thread -----------------------------------------------------------------------

    def _connected(self) -> Client:
        """A client of the store as it is now, its table made and up to date."""
        endpoint = self._endpoint()
        if endpoint is None:
            raise Retryable("the embedded engine is starting again", retry_after_s=0.5)
        if self._client is None or endpoint != self._client_for:
            self._drop_client()
            self._client = self._connect(endpoint)
            self._client_for = endpoint
            if not self._client.min_version(OLDEST_SERVER):
                version = self._client.server_version
                self._drop_client()
                raise Retryable(f"ClickHouse {version} is too old: {OLDEST_SERVER} or newer is needed")
            store_us = int(str(self._client.command("SELECT toUnixTimestamp64Micro(now64(6))")))
            self._store_ahead_us = store_us - time.monotonic_ns() // 1000
        if not self._prepared:
            prepare(_Runner(self._client), self._place)
            prepare_minutes(_Runner(self._client), self._place, self._settings.minutes_retention_days)
            self._prepared = True
        return self._client

    def _let_go_once(self, *, with_classes: bool) -> None:
        runner = _Runner(self._connected())
        keep = self._keep if with_classes else self._keep._replace(class_days={})
        today = datetime.fromtimestamp((time.monotonic_ns() // 1000 + self._store_ahead_us) / 1e6, UTC).date()
        for statement in statements(self._place, stored_days(runner, self._place, keep, today)):
            log.warning("sink %s lets go: %s", self.name, statement)
            runner.command(statement)

    def _connect(self, endpoint: Endpoint) -> Client:
        settings = self._settings
        plain = settings.engine_path is not None or settings.compression == "none"
        return connect(
            endpoint,
            compress=False if plain else settings.compression,
            connect_timeout=settings.connect_timeout_s,
            send_receive_timeout=settings.timeout_s,
            query_retries=0,
        )

    def _drop_client(self) -> None:
        client, self._client, self._client_for = self._client, None, None
        self._prepared = False  # an engine started on another folder, a table dropped: look again
        if client is not None:
            with suppress(ClickHouseError, OSError):
                client.close()

    def _write(self, batch: Batch, in_doubt: bool) -> None:
        client = self._connected()
        token = batch.token
        if (in_doubt or batch.batch_id in self._unsure) and not self._settings.cluster:
            # A plain table may remember the token of an insert that never became visible, and would then drop the rows
            # without a word (spec/store.md §2.3). A cluster's block ids live in Keeper with the parts: the same token
            # is safe whatever happened.
            token = f"{token}.r{secrets.token_hex(4)}"
            if not self._is_clean(batch) and self._settle(client, batch):
                self._unsure.discard(batch.batch_id)
                return
        self._refuse_expired(batch)
        compressor = get_compressor(client.write_compression)
        try:
            body = self._encode(batch, compressor)
            self._unsure.add(batch.batch_id)
            written = self._insert(client, batch.batch_id, token, body)
            # A proxy or server that drops a part of the body and says OK, or a page of a proxy's own, would lose rows
            # without a word.
            if written != len(batch.events) and not self._all_there(client, batch):
                raise Retryable(f"the store says that it wrote {written} of {len(batch.events)} rows")
        except Unwritable:
            self._refused(batch)
            raise
        except ClickHouseError as error:
            if getattr(error, "code", None) in (None, 60, 81):
                self._drop_client()
            elif isinstance(sink_error(error, about_rows=True), TooLarge):
                # The store's own no to rows of one day, so of one part: nothing of them is there.
                self._refused(batch)
            raise
        self._unsure.discard(batch.batch_id)
        if batch.batch_id == self._clean[0]:
            self._clean[1].add(batch.part)

    def _count_calls(self, calls: Calls, in_doubt: bool) -> None:
        """Add up the calls of a batch in api_minutes, unless that was done.

        One insert of one month is one part, all or nothing, with a row that names the batch: so that row tells. On a
        cluster it is the token, as for events.
        """
        client, batch_id = self._connected(), calls.batch_id
        token = f"{batch_id:016x}.counts"
        if (in_doubt or batch_id in self._unsure_counts) and not self._settings.cluster:
            token = f"{token}.r{secrets.token_hex(4)}"  # as for events: an insert that failed may be remembered
            self._await_old_inserts(client, batch_id)
            question = f"SELECT count() FROM {minutes_table(self._place)} WHERE batch_id = {batch_id}"  # noqa: S608
            if int(str(client.command(question))):
                self._unsure_counts.discard(batch_id)
                return
        try:
            counts = self._counts_of(calls)
        except Exception:  # whatever a value of a wrong kind brings about
            counts = self._counts_of(without_wrong_values(calls))
        if not counts:
            return
        compressor = get_compressor(client.write_compression)
        statement = f"INSERT INTO {minutes_table(self._place)} ({', '.join(COLUMNS)}) FORMAT Native\n".encode()
        body = bytearray(compressor.compress_block(statement))
        body += compressor.compress_block(counts)
        self._unsure_counts.add(batch_id)
        if not self._insert(client, batch_id, token, body) and not self._settings.cluster:
            raise Retryable("the store says that it wrote nothing of the counts")
        self._unsure_counts.discard(batch_id)

    def _counts_of(self, calls: Calls) -> bytes:
        """Their rows; nothing where there are none."""
        rows = self._bounds.fold(count_calls(calls, self._settings.retention_days))
        return insert_block(rows, calls.batch_id) if rows else b""

    def _refused(self, batch: Batch) -> None:
        self._unsure.discard(batch.batch_id)
        if not batch.part:
            self._clean = batch.batch_id, set()

    def _is_clean(self, batch: Batch) -> bool:
        """Whether it is known that no row of this piece is there."""
        batch_id, parts = self._clean
        return batch.batch_id == batch_id and batch.part not in parts and batch_id not in self._unsure

    def _refuse_expired(self, batch: Batch) -> None:
        """The store would say OK and delete the rows at once: its clock counts, ours or the wait may be at fault."""
        days = self._settings.retention_days
        day = event_day(batch.events[0], days)  # of all of them
        oldest_us = time.monotonic_ns() // 1000 + self._store_ahead_us - days * DAY_US
        if (day + 1) * DAY_US <= oldest_us:
            date = datetime.fromtimestamp(day * DAY_US / 1e6, UTC).date()
            raise Expired(f"events of {date} are older than the {days} days that the store keeps (retention_days)")

    def _encode(self, batch: Batch, compressor: Any) -> bytearray:
        """The statement and its rows. Raises Unwritable for rows that do not fit their columns."""
        try:
            found = insert(batch.events, batch.batch_id, self._settings.retention_days)
            statement = f"INSERT INTO {self._place.table} ({', '.join(found.columns)}) FORMAT Native\n".encode()
            body = bytearray(compressor.compress_block(statement))
            for block in found.blocks:
                body += compressor.compress_block(block)
        except MemoryError:
            raise
        except Exception as error:
            if wrong := unwritable(batch.events, self._settings.retention_days):
                raise Unwritable(wrong) from error
            raise
        return body

    def _insert(self, client: Client, batch_id: int, token: str, body: bytearray) -> int:
        """How many rows the store says that it wrote."""
        summary = client.raw_insert(
            "",  # the statement is in the body
            insert_block=body,  # type: ignore[arg-type]  # sent as it is; as bytes it would be copied once more
            compression=client.write_compression,
            settings={
                **self._insert_settings,
                "insert_deduplication_token": token,
                "query_id": f"{_query_prefix(batch_id)}{secrets.token_hex(4)}",
            },
        )
        return int(summary.written_rows)

    def _all_there(self, client: Client, batch: Batch) -> bool:
        if not self._settings.cluster:
            return self._settle(client, batch)
        # A repeated token rightly writes nothing, and nothing needs to be removed before it is sent again.
        return self._count(client, self._rows_of(batch)) >= len(batch.events)

    def _settle(self, client: Client, batch: Batch) -> bool:
        """True when all rows of the batch are there. What is there of an incomplete one is removed."""
        self._await_old_inserts(client, batch.batch_id)
        within = self._rows_of(batch)
        count = self._count(client, within)
        if count == len(batch.events):
            return True
        if count:
            log.warning(
                "batch %d is there in part (%d of %d rows): removing them", batch.batch_id, count, len(batch.events)
            )
            removal = f"ALTER TABLE {self._place.table} DELETE WHERE {within} SETTINGS mutations_sync = 2"
            client.command(removal, settings=_LONG)
        return False

    def _rows_of(self, batch: Batch) -> str:
        """The condition under which the store has the rows of a batch, or of a piece of it."""
        times = [event_time_us(event, self._settings.retention_days) for event in batch.events]
        low, high = min(times), max(times)
        within = (
            f"batch_id = {batch.batch_id} AND event_time >= fromUnixTimestamp64Micro({low}, 'UTC') "
            f"AND event_time <= fromUnixTimestamp64Micro({high}, 'UTC')"
        )
        if batch.part:  # other pieces of the batch may be there, and right
            ids = ",".join(quote(event.transaction_id) for event in batch.events)
            within += f" AND event_id IN ({ids})"
        return within

    def _count(self, client: Client, within: str) -> int:
        return int(str(client.command(f"SELECT count() FROM {self._place.table} WHERE {within}", settings=_LONG)))  # noqa: S608

    def _await_old_inserts(self, client: Client, batch_id: int) -> None:
        """Return when no earlier insert of this batch runs any more: its rows could appear after we counted.

        The embedded engine runs one writing statement at a time, so that our next one waits by itself.
        """
        if self._settings.engine_path is not None:
            return
        deadline = time.monotonic() + self._settings.timeout_s
        question = f"SELECT count() FROM system.processes WHERE startsWith(query_id, '{_query_prefix(batch_id)}')"  # noqa: S608
        while int(str(client.command(question))):
            if time.monotonic() > deadline:
                raise Retryable("an earlier insert of the batch still runs on the server")
            time.sleep(_POLL_S)

    def _existing(self, events: Sequence[Event], not_in: Collection[int]) -> set[str]:
        events = [event for event in events if is_text(event.transaction_id)]  # the store cannot have the others
        if not events:
            return set()
        client = self._connected()
        found: set[str] = set()
        others = f" AND batch_id NOT IN ({','.join(str(int(batch)) for batch in not_in)})" if not_in else ""
        for part, spans in windows(events, self._settings.retention_days):
            times = " OR ".join(
                f"(event_time >= fromUnixTimestamp64Micro({low}, 'UTC') "
                f"AND event_time <= fromUnixTimestamp64Micro({high}, 'UTC'))"
                for low, high in spans
            )
            # Not by `query`, which looks through the text of all ids for comments, limits and commands.
            answer = client.raw_query(
                f"SELECT DISTINCT event_id FROM {self._place.table} "  # noqa: S608
                f"WHERE ({times}) AND event_id IN {quote_all([event.transaction_id for event in part])}{others}",
                settings=_LONG,
                fmt="JSONCompactEachRow",
            )
            found.update(str(orjson.loads(line)[0]) for line in answer.splitlines())  # one that broke off is no JSON
        return found


class _Runner:
    """What `exporter.clickhouse.schema` needs of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def command(self, sql: str) -> object:
        return self._client.command(sql)

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        return [tuple(map(str, row)) for row in self._client.query(sql).result_rows]


def _query_prefix(batch_id: int) -> str:
    return f"weighbridge-{batch_id:016x}-"


def quote_all(ids: Sequence[str]) -> str:
    """These as the right side of IN. One text that is split costs a third of what a list of them does to parse."""
    text = "\n".join(ids)
    if text.count("\n") != len(ids) - 1:  # an id that holds the separator: none of ours does
        return f"({','.join(map(quote, ids))})"
    return f"splitByChar('\\n', {quote(text)})"
