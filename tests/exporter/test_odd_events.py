"""What no sender should send and some do, mapped and then taken by the real store, together and to the last event."""

from __future__ import annotations

import asyncio
import time
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from exporter.clickhouse.rows import event_day
from exporter.sink import Batch
from mapping.event import SKIP, Event
from mapping_requests import NOW, key_values, log, logs, mapped, span, traces
from sink_destinations import DESTINATIONS

pytestmark = pytest.mark.process  # a real engine is among the sinks

KEYS = [
    "",
    ".",
    "..",
    "a.",
    ".a",
    "a..b",
    "a",
    "a.b",
    "a.b.c",
    "\0",
    "a\0b",
    "\u2028",
    "\ufffe",
    "\\",
    '"',
    "`",
    "a" * 1024,
]
KEYS += [
    ".".join("a" * 33),
    "_",
    "_._",
    "record_truncated",
    "resource",
    "SELECT",
    "a b",
    "🚚",
    "\x7f",
    "\x1b[31m",
    "k" * 2000,
]
VALUES: list[Any] = [
    None, True, 0, -1, 2**63 - 1, -(2**63), float("nan"), float("-inf"), 1e308, 5e-324, -0.0, "", "\0", "\ufffd",
    "\x1b[31m", b"\xff\0", [], {}, [None], [[]], [{}], [1, "a", None, 2.5, True, b"x"], {"": {"": ""}},
    {"a.b": 1, "a": {"b": 2}}, [{"a": [{"b": [1]}]}], "9999-12-31T23:59:59Z", "{", '{"a":NaN}', '{"a":1e999}',
    '{"a":123456789012345678901234567890}', '{"\\ud83d":1}',
]  # fmt: skip
RETENTION_DAYS = 90  # of the store by default
TIMES = [0, 1, NOW, 2**63 - 1, 2**63, 2**64 - 1]
INT32 = [-(2**31), -1, 3, 255, 256, 2**31 - 1]


def events(request: Any) -> list[Event]:
    return mapped(request, received_unix_ns=time.time_ns()).events


def odd_events() -> list[Event]:
    """Each kind of oddness in a span, a call from a log and a log."""
    found: list[Event] = []
    http = {"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200}
    call = {"method": "GET", "path": "/a", "status": 200}
    for index, key in enumerate(KEYS):
        attributes = {key: VALUES[index % len(VALUES)], "m": {key: {key: 1}}}
        found += events(traces(span({**http, **attributes}, number=index + 1), resource=attributes))
        found += events(logs(log({**call, **attributes}), log({"x": 1, **attributes}, attributes)))
    for index, value in enumerate(VALUES):
        attributes = dict.fromkeys(
            (*http, "a", "user.id", "http.request.header.x", "http.request.body", "moesif.weight"), value
        )
        found += events(traces(span(attributes, number=index + 100), span({**http, "a": value}, number=index + 1)))
        found += events(logs(log(value, {"a": value}), log({**call, "timestamp": value, "duration_ms": value})))
        text = orjson.dumps({**call, "ts": str(value), "a": "x"}).decode()
        found += events(logs(log(text, time_unix_nano=0)))
    for index, (start, end) in enumerate(product(TIMES, TIMES)):
        status = Status(code=Status.StatusCode.ValueType(INT32[index % len(INT32)]))
        exceptions = [
            Span.Event(name="exception", time_unix_nano=start, attributes=key_values({"exception.type": "\0"}))
        ]
        times: dict[str, Any] = {"start_time_unix_nano": start, "end_time_unix_nano": end}
        found += events(traces(span(http, number=index + 500, status=status, events=exceptions, **times)))
        times = {"time_unix_nano": start, "observed_time_unix_nano": end, "severity_number": INT32[index % len(INT32)]}
        found += events(logs(log(call, {"n": index}, **times), log("x", {"n": index}, **times)))
    return list({event.transaction_id: event for event in found if event.event_type != SKIP}.values())


def test_the_store_takes_every_odd_event_and_finds_it_again(tmp_path: Path) -> None:
    rows = odd_events()
    assert len(rows) > 250

    async def go() -> None:
        store = DESTINATIONS["clickhouse"](tmp_path)
        await store.start()
        try:
            sink = store.sink()
            await sink.open()
            for number, one in enumerate(by_day(rows)):
                left_out = await sink.write(Batch(number, one), in_doubt=False)
                assert list(left_out) == []
            assert sorted(await asyncio.to_thread(store.stored)) == sorted(row.transaction_id for row in rows)
            await sink.close()
        finally:
            await store.stop()

    asyncio.run(go())


def by_day(rows: list[Event]) -> list[list[Event]]:
    """As the pipeline sorts them: a batch is of one day."""
    days: dict[int, list[Event]] = {}
    for row in rows:
        days.setdefault(event_day(row, RETENTION_DAYS), []).append(row)
    return list(days.values())
