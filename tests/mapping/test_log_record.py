"""Log records, spec/mapping.md §6 L1 to L4 and L6."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.bounds import LONGEST_JSON
from mapping.logs import record as log_record
from mapping.logs import times

TRACE = "aa11bb22cc33dd44ee55ff6677889900"
SPAN = "1234abcd5678ef90"
NS = 1_795_193_702_761_000_000


@pytest.mark.parametrize(
    ("body", "encoding", "text"),
    [
        (None, "", ""),
        ("", "", ""),
        ("plain failure, code=17", "text", "plain failure, code=17"),
        ("[1, 2]", "text", "[1, 2]"),
        ("{'a': 1}", "text", "{'a': 1}"),
        ('{"a": 1', "text", '{"a": 1'),
        ("\x1b[33mGET /\x1b[0m", "text", "\x1b[33mGET /\x1b[0m"),
        (b"\x00\xff", "base64", "AP8="),
        (17, "text", "17"),
        (True, "text", "true"),
        (["a", b"\x00"], "text", '["a","AA=="]'),
    ],
)
def test_bodies_that_are_no_map_are_text_or_base64(body: object, encoding: str, text: str) -> None:
    found = log_record.read_body(body)
    assert (found.encoding, found.text, found.map) == (encoding, text, None)


def test_json_object_in_a_string_and_a_map_read_the_same() -> None:
    value = {"http": {"method": "GET"}, "n": 1}
    of_text = log_record.read_body("  " + orjson.dumps(value).decode())
    of_map = log_record.read_body(value)
    assert of_text.map == of_map.map == value
    assert of_text.flat == of_map.flat == {"http.method": "GET", "n": 1}
    assert (of_text.encoding, of_map.encoding) == ("json", "json")


def test_string_above_one_mebichar_stays_text() -> None:
    body = '{"a":"' + "x" * LONGEST_JSON + '"}'
    assert log_record.read_body(body).encoding == "text"


def test_literal_dotted_key_wins_over_the_nested_one() -> None:
    assert log_record.flatten({"a": {"b": "nested", "c": 1}, "a.b": "dotted"}) == {"a.b": "dotted", "a.c": 1}


def test_very_deep_and_very_wide_maps_are_read_in_part() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(5000):
        deep = {"d": deep}
    deep["near"] = {"a": 1}
    assert log_record.flatten(deep) == {"near.a": 1}
    assert len(log_record.flatten({"w": {str(i): i for i in range(9000)}})) == 5000


def test_own_ids_win_over_attributes_and_body() -> None:
    found = log_record.read({"trace_id": "b" * 32}, {"trace_id": "c" * 32}, trace_id=TRACE, span_id=SPAN)
    assert (found.trace_id, found.span_id, found.trace_source) == (TRACE, SPAN, "record")


def test_zero_ids_are_no_ids() -> None:
    found = log_record.read({"trace_id": TRACE}, {"span_id": SPAN}, trace_id="0" * 32, span_id="0" * 16)
    assert (found.trace_id, found.span_id, found.trace_source) == (TRACE, SPAN, "body")


@pytest.mark.parametrize(
    ("values", "trace", "span"),
    [
        ({"trace_id": TRACE.upper(), "span_id": SPAN.upper()}, TRACE, SPAN),
        ({"traceId": TRACE, "spanId": SPAN}, TRACE, SPAN),
        ({"otelTraceID": TRACE, "otelSpanID": SPAN}, TRACE, SPAN),
        ({"trace": {"id": TRACE}, "span": {"id": SPAN}}, TRACE, SPAN),
        ({"trace_id": "aa11bb22-cc33-dd44-ee55-ff6677889900"}, TRACE, ""),
        ({"trace_id": SPAN}, "0" * 16 + SPAN, ""),
        ({"dd.trace_id": "1311768467294899695", "dd.span_id": 255}, "0" * 16 + "1234567890abcdef", "0" * 14 + "ff"),
        ({"dd.trace_id": TRACE}, TRACE, ""),
        ({"logging.googleapis.com/trace": f"projects/p/traces/{TRACE}"}, TRACE, ""),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, TRACE, SPAN),
        ({"trace_id": TRACE, "span_id": "nonsense"}, TRACE, ""),
        ({"trace_id": "nonsense", "traceId": TRACE}, TRACE, ""),
        ({"trace_id": "0" * 32, "traceparent": "00-broken"}, "", ""),
        ({"trace_id": 17, "dd.trace_id": 2**128}, "", ""),
    ],
)
def test_ids_are_found_in_bodies_and_attributes(values: dict[str, Any], trace: str, span: str) -> None:
    of_body = log_record.read(values, {})
    assert (of_body.trace_id, of_body.span_id) == (trace, span)
    assert of_body.trace_source == ("body" if trace else "")
    if not any(isinstance(value, dict) for value in values.values()):
        of_attributes = log_record.read(None, values)
        assert (of_attributes.trace_id, of_attributes.span_id) == (trace, span)
        assert of_attributes.trace_source == ("attributes" if trace else "")


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (1795193702, 1795193702_000_000_000),
        (1795193702.761, NS),
        ("1795193702.761", NS),
        (1795193702761, NS),
        (1795193702761000, NS),
        (NS, NS),
        ("2026-11-20T16:55:02.761Z", NS),
        ("2026-11-20 17:55:02,761+01:00", NS),
        ("2026-11-20T11:55:02.761000123-0500", NS + 123),
        ("2026-11-20T16:55:02.761", 0),
        ("2026-13-20T16:55:02Z", 0),
        ("yesterday", 0),
        (-5, 0),
        (0, 0),
        (True, 0),
        (None, 0),
        (float("nan"), 0),
        (10**30, 0),
    ],
)
def test_times_in_bodies(value: object, ns: int) -> None:
    assert times.unix_ns(value) == ns


def test_time_is_the_records_then_the_bodys_then_observed_then_received() -> None:
    def time(ts: object, sent: int = 0, observed: int = 2) -> int:
        times = {"time_unix_nano": sent, "observed_unix_nano": observed, "received_unix_ns": 3}
        return log_record.read({"ts": ts}, {}, **times).time_unix_ns  # type: ignore[arg-type]

    assert time(1795193702.761, sent=1) == 1
    assert time(1795193702.761) == NS
    assert time("no time") == 2
    assert time("no time", observed=0) == 3


@pytest.mark.parametrize(
    ("number", "text", "body", "severity"),
    [
        (9, "INFO", {"level": "error"}, (9, "INFO")),
        (0, "Warning", {}, (13, "Warning")),
        (0, "WARN3", {}, (15, "WARN3")),
        (0, "", {"level": 50}, (17, "")),
        (0, "", {"level": "30"}, (9, "30")),
        (0, "", {"levelname": "CRITICAL"}, (21, "CRITICAL")),
        (0, "", {"log": {"level": "notice"}}, (10, "notice")),
        (0, "odd", {"level": "odd"}, (0, "odd")),
        (0, "", {}, (0, "")),
    ],
)
def test_severity(number: int, text: str, body: dict[str, Any], severity: tuple[int, str]) -> None:
    found = log_record.read(body, {}, severity_number=number, severity_text=text)
    assert (found.severity_number, found.severity_text) == severity


def test_event_name_is_the_records_then_an_attribute_and_the_bodys_own_is_beside_it() -> None:
    attributes = {"event.name": "by.attribute"}
    assert log_record.read({}, attributes, event_name="own").event_name == "own"
    assert log_record.read({"event": "disk_low"}, attributes)[7:9] == ("by.attribute", "disk_low")
    assert log_record.read({}, {"otel.event.name": "older"}).event_name == "older"


def test_exception_is_read_from_attributes() -> None:
    found = log_record.read("failed", {"exception.type": "TimeoutError", "exception.message": "late"})
    assert found.exception == ("TimeoutError", "late", "")
    assert log_record.read("fine", {}).exception is None


def test_attributes_describe_http_only_when_asked_to() -> None:
    attributes = {"http": {"request": {"method": "GET"}, "response": {"status_code": 200}}, "url": {"path": "/notes"}}
    assert log_record.read("access", attributes).http is None
    found = log_record.read("access", attributes, http_from_attributes=True).http
    assert found is not None
    assert (found.verb, found.status, found.path) == ("GET", 200, "/notes")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["trace_id", "dd.span_id", "traceparent", "ts", "level", "method", "status", "url", "latency", "x"]
)


@given(JSON | st.dictionaries(KEYS, JSON), st.dictionaries(KEYS, JSON))
def test_no_record_raises(body: object, attributes: dict[str, object]) -> None:
    found = log_record.read(body, attributes, received_unix_ns=1)
    assert len(found.trace_id) in (0, 32)
    assert len(found.span_id) in (0, 16)
    assert found.time_unix_ns > 0


@pytest.mark.parametrize(
    "value",
    [
        "9999-12-31T23:59:59Z",
        "2262-04-11T23:47:17Z",  # a second beyond 64 bits of nanoseconds
        "0001-01-01T00:00:00Z",
        99_999_999_999,
        "99999999999",
        9.3e18,
        -1,
        float("nan"),
        float("inf"),
    ],
)
def test_a_time_that_64_bits_of_nanoseconds_do_not_hold_is_no_time(value: object) -> None:
    body = {"timestamp": value, "ts": 1_795_193_700}
    assert log_record.read(body, {}, observed_unix_nano=5).time_unix_ns == 1_795_193_700_000_000_000, (
        "the next key counts"
    )
    assert log_record.read({"timestamp": value}, {}, observed_unix_nano=5).time_unix_ns == 5, "then the observed time"
    wire: dict[str, Any] = {"time_unix_nano": 2**64 - 1, "observed_unix_nano": 2**63, "received_unix_ns": 9}
    assert log_record.read({"timestamp": value}, {}, **wire).time_unix_ns == 9, "then that of the receipt"


def test_a_severity_number_beyond_the_highest_is_the_highest() -> None:
    numbers = [
        log_record.read("x", {}, severity_number=number).severity_number
        for number in (-(2**31), 24, 25, 256, 2**31 - 1)
    ]
    assert numbers == [0, 24, 24, 24, 24]
    assert log_record.read("x", {}, severity_number=-1, severity_text="warn").severity_number == 13
