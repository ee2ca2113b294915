"""OTLP/HTTP: numbers, and the values of attributes and bodies, in JSON (spec/otlp-http.md §4)."""

from __future__ import annotations

from typing import Any

import pytest

from otlp_http import JSON, Answer, RunningReceiver, json_logs, json_span, json_spans


def post_span(server: RunningReceiver, **fields: Any) -> Answer:
    return server.post(json_spans(json_span(**fields)), JSON)


def post_log(server: RunningReceiver, record: Any) -> Answer:
    return server.post(json_logs(record), JSON, path="/v1/logs")


def post_value(server: RunningReceiver, value: Any) -> Answer:
    return post_span(server, attributes=[{"key": "k", "value": value}])


def value_of(server: RunningReceiver) -> Any:
    """The value of the only attribute of the span last received."""
    return server.last.decoded.groups[0].records[0].entries[0][1]


# -- numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["1790000000000000001", 1790000000000000001])
def test_64_bit_integers_are_strings_or_numbers(server: RunningReceiver, written: Any) -> None:
    assert post_span(server, startTimeUnixNano=written, endTimeUnixNano=written).rejected == 0
    assert server.last.decoded.groups[0].records[0].span.start_time_unix_nano == 1790000000000000001  # type: ignore[union-attr]
    assert post_value(server, {"intValue": written}).rejected == 0
    assert value_of(server) == 1790000000000000001


@pytest.mark.parametrize("number", [0, -1, (1 << 63) - 1, -(1 << 63), 1 << 53, (1 << 53) + 1])
def test_int_values_keep_all_their_bits(server: RunningReceiver, number: int) -> None:
    for written in (number, str(number)):
        assert post_value(server, {"intValue": written}).rejected == 0
        assert value_of(server) == number


@pytest.mark.parametrize("written", ["2", 2, 2.0, "2.0", "2e0", "+2", "0.2e1"])
def test_32_bit_integers_may_be_strings_and_whole_floats(server: RunningReceiver, written: Any) -> None:
    fields = dict.fromkeys(
        ("kind", "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount", "flags"), written
    )
    assert post_span(server, **fields, status={"code": written}).rejected == 0
    record = server.last.decoded.groups[0].records[0]
    assert (record.span.kind, record.status.code) == (2, 2)  # type: ignore[union-attr]


def test_exponents_are_understood_in_integers(server: RunningReceiver) -> None:
    assert server.post(json_spans(json_span()).replace('"1790000000000000000"', "1.79e18"), JSON).rejected == 0
    assert post_value(server, {"intValue": "1e3"}).rejected == 0
    assert value_of(server) == 1000


BAD_INTEGERS = [
    -1,
    "-1",
    1 << 64,
    str(1 << 64),
    1.5,
    "1.5",
    "",
    "abc",
    "1" * 4400,
    "1_000",
    " 5",
    "٣",
    "0x10",
    "NaN",
    "Infinity",
    "1e400",
    1e300,
    True,
    {},
    [],
    [1],
]


@pytest.mark.parametrize("written", BAD_INTEGERS, ids=lambda written: repr(written)[:20])
def test_a_number_that_does_not_fit_refuses_its_record_alone(server: RunningReceiver, written: Any) -> None:
    """The Collector answers 500 to a negative time."""
    answer = server.post(json_spans(json_span(), json_span(startTimeUnixNano=written)), JSON)
    assert (answer.rejected, server.last.decoded.accepted) == (1, 1)
    assert "startTimeUnixNano" in answer.warning
    assert len(answer.body) < 1000
    logs = json_logs({}, {"timeUnixNano": written})
    assert server.post(logs, JSON, path="/v1/logs").rejected == 1


@pytest.mark.parametrize(
    "field", ["kind", "flags", "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"]
)
@pytest.mark.parametrize("written", [1 << 32, "99999999999", 0.5, "x", {}])
def test_a_32_bit_number_that_does_not_fit_refuses_its_record(
    server: RunningReceiver, field: str, written: Any
) -> None:
    assert post_span(server, **{field: written}).status == 400


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, str(1 << 63), 1.5, "", "abc", False])
def test_an_int_value_that_does_not_fit_refuses_its_record(server: RunningReceiver, value: Any) -> None:
    assert post_value(server, {"intValue": value}).status == 400


# -- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"doubleValue": None}, {"stringValue": None}, {"intValue": None}, {}, None])
def test_a_value_that_is_null_or_empty_is_accepted_as_no_value(server: RunningReceiver, value: Any) -> None:
    """JavaScript writes NaN and Infinity as {"doubleValue": null}; the Collector loses the whole batch."""
    assert post_value(server, value).rejected == 0
    assert value_of(server) is None


@pytest.mark.parametrize(
    ("written", "number"),
    [(0.5, 0.5), (3, 3.0), ("Infinity", float("inf")), ("-Infinity", float("-inf")), ("0.5", 0.5), ("-1e3", -1000.0)],
)
def test_doubles_are_numbers_or_strings(server: RunningReceiver, written: Any, number: float) -> None:
    assert post_value(server, {"doubleValue": written}).rejected == 0
    assert value_of(server) == number


def test_nan_is_a_string(server: RunningReceiver) -> None:
    assert post_value(server, {"doubleValue": "NaN"}).rejected == 0
    assert value_of(server) != value_of(server)


@pytest.mark.parametrize("written", ["nan", "inf", "infinity", "", "abc", "1_0", " 1", "0x1p3", True, {}, []])
def test_other_words_are_no_doubles(server: RunningReceiver, written: Any) -> None:
    assert post_value(server, {"doubleValue": written}).status == 400


@pytest.mark.parametrize("bare", ["NaN", "Infinity", "-Infinity"])
def test_bare_nan_is_not_json(server: RunningReceiver, bare: str) -> None:
    body = json_spans(json_span(attributes=[{"key": "k", "value": {"doubleValue": "BARE"}}])).replace('"BARE"', bare)
    assert server.post(body, JSON).status == 400


@pytest.mark.parametrize("written", ["+/+/", "-_-_", "+_-/", "AA==", "AA", "AAA=", "AAA", ""])
def test_bytes_are_base64_in_either_alphabet_padded_or_not(server: RunningReceiver, written: str) -> None:
    assert post_value(server, {"bytesValue": written}).rejected == 0
    expected = {"+/+/": b"\xfb\xff\xbf", "-_-_": b"\xfb\xff\xbf", "+_-/": b"\xfb\xff\xbf"}
    assert value_of(server) == expected.get(written, bytes(len(written.rstrip("=")) * 6 // 8))


@pytest.mark.parametrize("written", ["*", "A", "AAAAA", "AA=A", "é", 5, {}])
def test_other_text_is_no_base64(server: RunningReceiver, written: Any) -> None:
    assert post_value(server, {"bytesValue": written}).status == 400


@pytest.mark.parametrize(
    "attribute",
    [
        {"key": "a"},
        {"key": "a", "value": {}},
        {"value": {"stringValue": "x"}},
        {},
        {"key": "", "value": {"stringValue": ""}},
        {"key": "a", "value": {"arrayValue": {}}},
        {"key": "a", "value": {"arrayValue": {"values": []}}},
        {"key": "a", "value": {"arrayValue": {"values": [{}, {"intValue": "1"}]}}},
        {"key": "a", "value": {"kvlistValue": {}}},
        {"key": "a", "value": {"kvlistValue": {"values": [{"key": "b"}]}}},
    ],
)
def test_empty_values_are_accepted(server: RunningReceiver, attribute: Any) -> None:
    assert post_span(server, attributes=[attribute]).rejected == 0
    assert post_log(server, {"attributes": [attribute], "body": attribute.get("value", {})}).rejected == 0


def test_an_empty_log_record_is_accepted(server: RunningReceiver) -> None:
    assert post_log(server, {}).rejected == 0
    assert server.last.decoded.accepted == 1
