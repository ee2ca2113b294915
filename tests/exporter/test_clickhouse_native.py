"""What the sink puts on the wire: the stock client's bytes for every type, and the stock client's rows in the store."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.insert import InsertContext
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import events
from engine_process import EngineProcess
from exporter.clickhouse.native import kind, low_cardinality_by
from exporter.clickhouse.rows import CLAMPED, DAY_US, event_day, event_time_us, insert
from exporter.clickhouse.schema import Place, create_statements, insert_types
from mapping.event import EMPTY_HEADERS, UNSAMPLED, Decision, Event

NOW_NS = time.time_ns()
DAY_NS = DAY_US * 1000
DAYS = 90

# -- bytes ---------------------------------------------------------------------------------------------------

words = st.text() | st.sampled_from(["", "a", "\0", "ü", "日本", "🦆", "x" * 127, "x" * 128, "é" * 64, "y" * 16_384])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "String": words,
    "LowCardinality(String)": words,
    "UInt8": st.integers(0, 2**8 - 1),
    "UInt16": st.integers(0, 2**16 - 1),
    "UInt32": st.integers(0, 2**32 - 1),
    "UInt64": st.integers(0, 2**64 - 1),
    "DateTime64(6, 'UTC')": st.integers(-(2**63), 2**63 - 1),
    "DateTime64(3, 'UTC')": st.integers(-(2**63), 2**63 - 1),
    "Float64": st.floats(allow_nan=True),
    "Nullable(Float64)": st.none() | st.floats(allow_nan=True),
    "Map(LowCardinality(String), String)": st.dictionaries(words, words, max_size=4),
    "Array(LowCardinality(String))": st.lists(words, max_size=4).map(tuple),
    "JSON(max_dynamic_paths = 128)": words.map(lambda word: json.dumps({"a": word}, ensure_ascii=False)),
}


def by_stock_client(type_: str, values: Sequence[Any]) -> bytes:
    type_object = get_from_name(type_)
    written = bytearray()
    type_object.write_column(values, written, InsertContext("t", ["c"], [type_object]))
    return bytes(written)


def test_every_type_of_the_table_is_known() -> None:
    assert set(insert_types().values()) == set(VALUES)
    with pytest.raises(KeyError):
        kind("UUID")


@pytest.mark.parametrize("type_", VALUES)
def test_a_column_is_written_as_by_the_stock_client(type_: str) -> None:
    @given(st.lists(VALUES[type_], min_size=1, max_size=20))
    @settings(deadline=None)
    def check(values: list[Any]) -> None:
        written = kind(type_)
        assert written.many(values) == written.many(tuple(values)) == by_stock_client(type_, values)
        assert written.same(values[0], 3) == by_stock_client(type_, [values[0]] * 3)
        assert written.same(written.empty, 2) == by_stock_client(type_, [written.empty] * 2)

    check()


@pytest.mark.parametrize("size", [126, 127, 128, 129, 16_383, 16_384, 16_385, 1 << 20, 1 << 21])
@pytest.mark.parametrize("letter", ["x", "ü"])
def test_lengths_of_any_number_of_bytes_are_right(size: int, letter: str) -> None:
    values = ["", letter * size, "short", letter * size]
    assert kind("String").many(values) == by_stock_client("String", values)
    assert kind("String").many([letter * size] * 2) == by_stock_client("String", [letter * size] * 2)


@pytest.mark.parametrize("keys", [1, 2, 254, 255, 256, 257, 65_535, 65_536, 65_537])
def test_the_dictionary_of_a_column_may_grow(keys: int) -> None:
    values = [f"key {number}" for number in range(keys)] + ["key 0"]
    assert kind("LowCardinality(String)").many(values) == by_stock_client("LowCardinality(String)", values)


@given(st.lists(words, min_size=1, max_size=255), st.randoms())
def test_a_column_made_from_a_few_values_and_an_index_is_the_same_column(values: list[str], dice: Any) -> None:
    index = bytes(dice.randrange(len(values)) for _ in range(50))
    expected = [values[place] for place in index]
    written = low_cardinality_by(values, index)
    assert read_low_cardinality(written) == expected


def read_low_cardinality(data: bytes) -> list[str]:
    """The strings of a column with one byte a row and keys below 128 bytes or of two-byte lengths."""
    version, kind_, keys = struct.unpack_from("<QQQ", data)
    assert (version, kind_) == (1, 0x600)
    place, found = 24, []
    for _ in range(keys):
        length = shift = 0
        while True:
            byte = data[place]
            place += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        found.append(data[place : place + length].decode())
        place += length
    (rows,) = struct.unpack_from("<Q", data, place)
    index = data[place + 8 :]
    assert len(index) == rows
    return [found[number] for number in index]


@pytest.mark.parametrize(
    ("type_", "value", "error"),
    [
        ("String", "\ud800", UnicodeError), ("LowCardinality(String)", "a\udfff", UnicodeError),
        ("UInt8", 256, struct.error), ("UInt16", -1, struct.error), ("UInt64", 2**64, struct.error),
        ("DateTime64(6, 'UTC')", 2**63, struct.error), ("Float64", "1", struct.error), ("String", None, TypeError),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(type_: str, value: object, error: type[Exception]) -> None:
    for values in ([value], [value, kind(type_).empty]):
        with pytest.raises(error):
            kind(type_).many(values)
    with pytest.raises(error):
        kind(type_).same(value, 2)


# -- rows ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an engine with two equal tables, ours.api_events and stock.api_events."""
    engine = EngineProcess(tmp_path_factory.mktemp("native"))
    client = engine.client()
    for database in ("ours", "stock"):
        for statement in create_statements(Place(database, "", DAYS)):
            client.command(statement)
    yield client
    client.close()
    assert engine.stop() == 0


def plain_row(event: Event, batch_id: int) -> dict[str, Any]:
    """The columns of one event, said as plainly as possible."""
    time_us = event_time_us(event, DAYS)
    clamped = time_us != event.start_unix_ns // 1000
    sampled = event.decision
    return {
        "event_type": event.event_type, "event_time": time_us, "received_at": event.received_unix_ns // 1_000_000,
        "batch_id": batch_id, "event_id": event.transaction_id, "source": event.source, "tenant": event.tenant,
        "start_unix_ns": event.start_unix_ns, "end_unix_ns": event.end_unix_ns, "trace_id": event.trace_id,
        "span_id": event.span_id, "parent_span_id": event.parent_id, "request_id": event.request_id,
        "company_id": event.company_id, "user_id": event.user_id, "session_id": event.session_token,
        "subscription_id": event.subscription_id, "application_id": event.application_id,
        "client_id": event.client_id, "plan": event.plan_id, "service": event.service,
        "environment": event.environment, "region": event.region, "resource": event.resource,
        "hop": event.hop,
        "direction": {"Incoming": "incoming", "Outgoing": "outgoing", "Internal": "internal"}.get(
            event.direction, event.direction
        ),
        "method": event.verb, "endpoint": event.route, "uri": event.uri, "api_version": event.api_version,
        "status_code": event.status, "error_type": event.error_type,
        "duration_ms": event.duration_ms if event.duration_ms >= 0 else None, "name": event.name,
        "span_status": event.span_status, "links": event.links, "action": event.action_name, "family": event.family,
        "ip": event.ip_address, "response_ip": event.response_ip_address, "user_agent": event.user_agent,
        "request_headers": event.request_headers, "response_headers": event.response_headers,
        "request_body": event.request_body, "request_body_encoding": event.request_body_encoding,
        "response_body": event.response_body, "response_body_encoding": event.response_body_encoding,
        "metadata": event.metadata, "flags": [*event.flags, CLAMPED] if clamped else event.flags,
        "severity_number": event.severity_number, "severity": event.severity_text, "event_name": event.event_name,
        "body": event.body, "body_encoding": event.body_encoding, "weight": sampled.weight,
        "adjusted_count": sampled.adjusted_count, "sampling_p": sampled.p, "th": sampled.th, "th_in": sampled.th_in,
        "rv": sampled.rv, "sampling_rule": sampled.rule, "sampling_reason": sampled.reason,
        "sampling_config": sampled.config, "r_source": sampled.r_source, "upstream": sampled.upstream,
    }  # fmt: skip


def check_stored_alike(store: Client, rows: Sequence[Event]) -> None:
    """The same rows, to the last character, whether written by us or by the stock client."""
    for database in ("ours", "stock"):
        store.command(f"TRUNCATE TABLE {database}.api_events")
    ours = insert(rows, 2**64 - 1, DAYS)
    store.raw_insert("ours.api_events", ours.columns, b"".join(ours.blocks), fmt="Native")
    plain = [plain_row(row, 2**64 - 1) for row in rows]
    names = list(insert_types())
    store.insert(
        "stock.api_events",
        [[row[name] for row in plain] for name in names],
        column_names=names,
        column_type_names=list(insert_types().values()),
        column_oriented=True,
    )
    chosen = ", ".join(name if name != "metadata" else "toJSONString(metadata)" for name in names)
    order = "ORDER BY event_id, sipHash64(request_id), sipHash64(uri), start_unix_ns, event_time"
    contents = [
        store.raw_query(f"SELECT {chosen} FROM {database}.api_events {order}", fmt="RowBinary")
        for database in ("ours", "stock")
    ]
    assert contents[0] == contents[1]
    assert int(str(store.command("SELECT count() FROM ours.api_events"))) == len(rows)


TIMES = st.integers(NOW_NS - DAY_NS, NOW_NS) | st.sampled_from(
    [0, 2**64 - 1, NOW_NS - 89 * DAY_NS, NOW_NS - 200 * DAY_NS, NOW_NS + 299_000_000_000, NOW_NS + DAY_NS]
)
short = st.text(max_size=8) | st.sampled_from(["", "\0", "line\nbreak\t", "日本", "🦆" * 40, "x" * 200])
keys = st.text("abcdefgh", min_size=1, max_size=4)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | short | st.floats(-1e300, 1e300)
decisions = st.builds(
    Decision,
    keep=st.just(True),
    weight=st.integers(0, 2**32 - 1),
    adjusted_count=st.floats(0, 1e18),
    p=st.floats(0, 1),
    **dict.fromkeys(("th", "rule", "r_source", "upstream", "th_in", "config", "rv", "reason"), short),
)
TEXTS = {name: short for name in Event._fields if isinstance(getattr(events.event(), name), str)}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **TEXTS,
    "hop": st.sampled_from(["entry", "inner", "open", ""]),
    "direction": st.sampled_from(["Incoming", "Outgoing", "Internal", "", "sideways"]),
    "start_unix_ns": TIMES,
    "end_unix_ns": st.integers(0, 2**64 - 1),
    "received_unix_ns": st.integers(NOW_NS - 60_000_000_000, NOW_NS),
    "duration_ms": st.just(-1.0) | st.floats(0, allow_infinity=True),
    "status": st.integers(0, 2**16 - 1),
    "span_status": st.integers(0, 255),
    "severity_number": st.integers(0, 255),
    "request_headers": st.just(EMPTY_HEADERS) | st.dictionaries(short, short, max_size=3),
    "response_headers": st.just(EMPTY_HEADERS) | st.dictionaries(short, short, max_size=3),
    "metadata": st.just("{}") | st.dictionaries(keys, scalars, max_size=3).map(json.dumps),
    "flags": st.just(()) | st.lists(short, max_size=3).map(tuple),
    "decision": st.just(UNSAMPLED) | decisions,
}
# A column is seldom random: mostly every row has the same, often nothing.
base = st.fixed_dictionaries({}, optional=FIELDS)
batches = st.tuples(base, st.lists(st.fixed_dictionaries({}, optional=FIELDS), min_size=1, max_size=6))


@given(batches)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@example(({}, [{}]))
@example(({"decision": UNSAMPLED._replace(weight=7)}, [{}, {"duration_ms": -1.0}]))
def test_rows_are_stored_as_by_the_stock_client(
    store: Client, batch: tuple[dict[str, Any], list[dict[str, Any]]]
) -> None:
    shared, each = batch
    plain = {"start_unix_ns": NOW_NS - 1_000_000_001, "end_unix_ns": NOW_NS, "received_unix_ns": NOW_NS}
    check_stored_alike(store, [events.event(**{**plain, **shared, **changes}) for changes in each])


def test_blocks_of_one_insert_may_differ_in_what_they_hold(store: Client) -> None:
    """Later rows bring columns, decisions and clocks that the first ones lack; some texts are as long as they get."""
    rows = [
        events.event(
            transaction_id=f"{number:036d}",
            start_unix_ns=NOW_NS - DAY_NS + number if number < 4000 else NOW_NS + DAY_NS,
            received_unix_ns=NOW_NS,
            family="db" if number > 3000 else "",
            request_headers={"X": str(number)} if number > 2500 else EMPTY_HEADERS,
            request_body="ü" * (1 << 19) if number == 2222 else "y" * (1 << 20) if number == 3333 else "",
            metadata=json.dumps({"n": number}) if number > 4500 else "{}",
            decision=UNSAMPLED._replace(weight=number % 300 + 1, rule=f"r{number % 7}") if number > 3500 else UNSAMPLED,
        )
        for number in range(5000)
    ]
    check_stored_alike(store, rows)


def test_columns_that_hold_only_defaults_stay_out() -> None:
    written = insert([events.event(received_unix_ns=NOW_NS)] * 3, 1, DAYS)
    assert "weight" not in written.columns
    assert "user_id" not in written.columns
    assert "metadata" not in written.columns
    assert {"event_time", "received_at", "duration_ms", "batch_id"} <= set(written.columns)
    assert set(written.columns) < set(insert_types())


def test_values_that_do_not_fit_are_found_before_anything_is_sent() -> None:
    rows = [events.event() for _ in range(3000)]
    rows[-1] = events.event(name="\ud800")
    with pytest.raises(UnicodeError):
        insert(rows, 1, DAYS)


@given(
    st.integers(0, 2**63),
    st.sampled_from([-300_000_000_000, 0, DAY_NS // 2, DAY_NS, 89 * DAY_NS]) | st.integers(-DAY_NS, 3 * DAY_NS),
    st.integers(-1001, 1001),
    st.sampled_from([1, 2, 90]),
)
def test_the_day_is_that_of_the_event_time(start: int, late: int, jitter: int, days: int) -> None:
    one = events.event(start_unix_ns=start, received_unix_ns=max(0, start + late + jitter))
    assert event_day(one, days) == event_time_us(one, days) // DAY_US
