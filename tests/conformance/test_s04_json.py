"""OTLP/HTTP: JSON bodies (otlp-http.md §4). What is written for each field is in test_receiver_otlp_json.py."""

from __future__ import annotations

import json
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


# -- ids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_ids_are_hex_in_either_case(server: RunningReceiver, case: Any) -> None:
    ids = {"traceId": case("0af7651916cd43dd8448eb211c80319c"), "spanId": case("b7ad6b7169203331")}
    assert post_span(server, **ids, parentSpanId=case("00f067aa0ba902b7"), links=[ids]).rejected == 0
    record = server.last.decoded.groups[0].records[0]
    assert record.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert record.span_id.hex() == "b7ad6b7169203331"
    assert record.parent_id.hex() == "00f067aa0ba902b7"  # type: ignore[union-attr]
    assert record.links[0].trace_id == "0af7651916cd43dd8448eb211c80319c"  # type: ignore[union-attr]
    assert post_log(server, ids).rejected == 0
    assert server.last.decoded.groups[0].records[0].trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("parent", ["", None, ...])
def test_an_empty_or_absent_parent_is_a_root(server: RunningReceiver, parent: Any) -> None:
    assert post_span(server, parentSpanId=parent).rejected == 0
    assert server.last.decoded.groups[0].records[0].parent_id == b""  # type: ignore[union-attr]


@pytest.mark.parametrize("absent", ["", None, ...])
def test_an_empty_or_absent_trace_on_a_log_record_is_none(server: RunningReceiver, absent: Any) -> None:
    ids = {} if absent is ... else {"traceId": absent, "spanId": absent}
    assert post_log(server, {"body": {"stringValue": "x"}, **ids}).rejected == 0
    assert server.last.decoded.groups[0].records[0].trace_id == b""


BAD_IDS = [
    "xyz",
    "0af7651916cd43dd8448eb211c80319",  # odd
    "0af7651916cd43dd8448eb211c8031",  # short
    "0af7651916cd43dd8448eb211c80319c00",  # long
    "0af7651916cd43dd 8448eb211c80319c",  # bytes.fromhex would skip the space
    " 0af7651916cd43dd8448eb211c80319c",
    "CvdlGRbNQ92ESOshHIAxnA==",  # base64
    "0" * 32,
    "",
    "０af7651916cd43dd8448eb211c80319c",  # a full-width digit
    7,
    {},
    [],
    True,
]


@pytest.mark.parametrize("trace_id", BAD_IDS)
def test_a_span_with_a_bad_id_is_refused_alone_and_not_silently(server: RunningReceiver, trace_id: Any) -> None:
    answer = server.post(json_spans(json_span(), json_span(traceId=trace_id)), JSON)
    assert (answer.rejected, server.last.decoded.accepted) == (1, 1)
    assert answer.warning
    assert post_span(server, traceId=trace_id).status == 400


@pytest.mark.parametrize("trace_id", BAD_IDS)
def test_a_log_record_with_a_bad_id_is_kept_as_having_none(server: RunningReceiver, trace_id: Any) -> None:
    assert post_log(server, {"traceId": trace_id, "spanId": trace_id}).rejected == 0
    record = server.last.decoded.groups[0].records[0]
    assert (record.trace_id, record.span_id) == (b"", b"")


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


# -- enums ------------------------------------------------------------------------------------------------


def test_enums_are_integers_and_future_ones_are_accepted(server: RunningReceiver) -> None:
    for number in (0, 5, 99, 2**31 - 1, -1):
        assert post_span(server, kind=number, status={"code": number}).rejected == 0
        assert post_log(server, {"severityNumber": number}).rejected == 0


def test_known_enum_names_are_understood_although_senders_must_not_use_them(server: RunningReceiver) -> None:
    assert post_span(server, kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR"}).rejected == 0
    record = server.last.decoded.groups[0].records[0]
    assert (record.span.kind, record.status.code) == (3, 2)  # type: ignore[union-attr]
    assert post_log(server, {"severityNumber": "SEVERITY_NUMBER_WARN2"}).rejected == 0
    assert server.last.decoded.groups[0].records[0].record.severity_number == 14  # type: ignore[union-attr]


def test_an_unknown_enum_name_refuses_its_record(server: RunningReceiver) -> None:
    assert post_span(server, kind="SPAN_KIND_TELEPATHY").status == 400


# -- keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [[[]]], {"a": {"b": [1, None]}}, 1e308, True])
def test_unknown_fields_are_ignored_whatever_their_value(server: RunningReceiver, value: Any) -> None:
    unknown = {"futureField": value}
    span = json_span(**unknown, status=unknown, events=[unknown], links=[unknown])
    span["attributes"] = [{"key": "k", "value": {"stringValue": "v", **unknown}, **unknown}]
    scope = {"scope": unknown, "spans": [span], **unknown}
    body = json.dumps({"resourceSpans": [{"resource": unknown, "scopeSpans": [scope], **unknown}], **unknown})
    assert server.post(body, JSON).rejected == 0
    assert server.last.decoded.accepted == 1


def test_snake_case_keys_are_unknown_keys(server: RunningReceiver) -> None:
    """OTLP: the keys are lowerCamelCase, others are ignored, so the answer is still 200."""
    body = json.dumps({"resource_spans": [{"scope_spans": [{"spans": [json_span()]}]}]})
    assert server.post(body, JSON).rejected == 0
    assert server.last.decoded.accepted == 0
    assert post_span(server, start_time_unix_nano="5", startTimeUnixNano=...).rejected == 0
    assert server.last.decoded.groups[0].records[0].span.start_time_unix_nano == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "field",
    [
        "traceState",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "events",
        "links",
        "status",
        "flags",
        "droppedAttributesCount",
        "droppedEventsCount",
        "droppedLinksCount",
    ],
)
def test_null_means_absent_on_a_span(server: RunningReceiver, field: str) -> None:
    assert post_span(server, **{field: None}).rejected == 0


@pytest.mark.parametrize(
    "field",
    [
        "timeUnixNano",
        "observedTimeUnixNano",
        "severityNumber",
        "severityText",
        "body",
        "attributes",
        "flags",
        "traceId",
        "spanId",
        "eventName",
        "droppedAttributesCount",
    ],
)
def test_null_means_absent_on_a_log_record(server: RunningReceiver, field: str) -> None:
    assert post_log(server, {field: None}).rejected == 0


@pytest.mark.parametrize(
    "body",
    [
        {"resourceSpans": None},
        {"resourceSpans": [{"scopeSpans": None, "resource": None, "schemaUrl": None}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": None, "scope": None, "schemaUrl": None}]}]},
        {
            "resourceSpans": [
                {"resource": {"attributes": None}, "scopeSpans": [{"scope": {"name": None, "version": None}}]}
            ]
        },
    ],
)
def test_null_means_absent_in_the_envelope(server: RunningReceiver, body: Any) -> None:
    assert server.post(json.dumps(body), JSON).rejected == 0


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


# -- what is no OTLP JSON -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["[]", "null", "true", "5", '"x"', "{", "}", "{'a':1}", '{"a":}', "{,}", '{"a":1,}', "\x00", "nul", "{}{}"]
)
def test_malformed_json_or_another_top_level_is_400(server: RunningReceiver, body: str) -> None:
    answer = server.post(body, JSON)
    assert (answer.status, answer.error.code, answer.type) == (400, 3, JSON)


@pytest.mark.parametrize("tail", ["x", "{}", ",", "\x00", "]"])
def test_text_after_the_document_is_400(server: RunningReceiver, tail: str) -> None:
    assert server.post(json_spans(json_span()) + tail, JSON).status == 400


def test_white_space_around_the_document_is_fine(server: RunningReceiver) -> None:
    assert server.post("\r\n\t " + json_spans(json_span()) + " \n", JSON).rejected == 0


@pytest.mark.parametrize(
    "body",
    [
        '{"resourceSpans":{}}',
        '{"resourceSpans":"x"}',
        '{"resourceSpans":[1]}',
        '{"resourceSpans":[null]}',
        '{"resourceSpans":[{"scopeSpans":{}}]}',
        '{"resourceSpans":[{"scopeSpans":["x"]}]}',
        '{"resourceSpans":[{"scopeSpans":[{"spans":{}}]}]}',
        '{"resourceSpans":[{"schemaUrl":7}]}',
    ],
)
def test_wrong_types_in_the_envelope_are_400(server: RunningReceiver, body: str) -> None:
    answer = server.post(body, JSON)
    assert (answer.status, answer.error.code) == (400, 3)
    assert "must be" in answer.error.message


WRONG = [
    {"attributes": {}},
    {"attributes": "x"},
    {"attributes": [1]},
    {"attributes": [None]},
    {"attributes": [[]]},
    {"attributes": [{"key": "a", "value": "x"}]},
    {"attributes": [{"key": "a", "value": 5}]},
    {"attributes": [{"key": "a", "value": []}]},
    {"attributes": [{"key": 5, "value": {"stringValue": "x"}}]},
    {"attributes": [{"key": "a", "value": {"stringValue": 5}}]},
    {"attributes": [{"key": "a", "value": {"stringValue": {}}}]},
    {"attributes": [{"key": "a", "value": {"boolValue": "true"}}]},
    {"attributes": [{"key": "a", "value": {"boolValue": 1}}]},
    {"attributes": [{"key": "a", "value": {"arrayValue": []}}]},
    {"attributes": [{"key": "a", "value": {"arrayValue": {"values": {}}}}]},
    {"attributes": [{"key": "a", "value": {"kvlistValue": {"values": ["x"]}}}]},
    {"name": 5},
    {"name": False},
    {"name": 0},
    {"name": []},
    {"traceState": {}},
    {"events": {}},
    {"events": [7]},
    {"events": [{"name": []}]},
    {"links": "x"},
    {"links": [{"traceId": "zz"}]},
    {"status": []},
    {"status": "OK"},
]


@pytest.mark.parametrize("fields", WRONG, ids=lambda fields: json.dumps(fields)[:60])
def test_wrong_types_in_a_record_refuse_it_alone(server: RunningReceiver, fields: Any) -> None:
    """400 when it is the only record of the request, as nothing was usable then."""
    answer = server.post(json_spans(json_span(), json_span(**fields)), JSON)
    assert (answer.rejected, server.last.decoded.accepted) == (1, 1)
    assert answer.warning
    assert post_span(server, **fields).status == 400


@pytest.mark.parametrize("record", [None, 5, "x", []])
def test_a_record_that_is_no_object_is_refused_alone(server: RunningReceiver, record: Any) -> None:
    assert server.post(json_spans(json_span(), record), JSON).rejected == 1


def test_a_bad_resource_refuses_its_records_and_no_others(server: RunningReceiver) -> None:
    good, bad = {"scopeSpans": [{"spans": [json_span()]}]}, {"scopeSpans": [{"spans": [json_span(), json_span()]}]}
    body = {
        "resourceSpans": [good, {**bad, "resource": {"attributes": 5}}, {**good, "scopeSpans": [*good["scopeSpans"]]}]
    }
    answer = server.post(json.dumps(body), JSON)
    assert (answer.rejected, server.last.decoded.accepted) == (2, 2)


# -- text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800\\ud800", "a\\udfffb"])
def test_lone_surrogates_are_400(server: RunningReceiver, escape: str) -> None:
    assert server.post(json_spans(json_span(name="NAME")).replace("NAME", escape), JSON).status == 400
    assert server.is_well()


def test_surrogate_pairs_and_escapes_are_text(server: RunningReceiver) -> None:
    assert server.post(json_spans(json_span(name="N")).replace('"N"', '"\\ud83d\\ude9a\\u0000\\/"'), JSON).rejected == 0
    assert server.last.decoded.groups[0].records[0].span.name == "🚚\0/".encode()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf{}",
        '{"resourceSpans":[]}'.encode("utf-16"),
        '{"resourceSpans":[]}'.encode("utf-16-le"),
        '{"resourceSpans":[]}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xc0\x80"}',
        b'{"\xed\xa0\x80":1}',
    ],
)
def test_other_encodings_than_utf8_are_400(server: RunningReceiver, body: bytes) -> None:
    """The Collector answers 500 to a byte order mark."""
    assert server.post(body, JSON).status == 400


@pytest.mark.parametrize("open_", ["[", '{"a":', '{"resourceSpans":', '{"resourceSpans":[{"x":', '[{"a":'])
def test_a_million_brackets_are_400(server: RunningReceiver, open_: str) -> None:
    assert server.post(open_ * (1_000_000 // len(open_)), JSON).status in (400, 413)
    assert server.is_well()


@pytest.mark.parametrize(("depth", "rejected"), [(20, 0), (60, 1), (300, 1)])
def test_deep_values_are_accepted_or_refuse_their_record(server: RunningReceiver, depth: int, rejected: int) -> None:
    value = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
    body = json_spans(json_span(), json_span(attributes=[{"key": "k", "value": "DEEP"}])).replace('"DEEP"', value)
    assert server.post(body, JSON).rejected == rejected


def test_responses_name_rejects_in_lower_camel_case(server: RunningReceiver) -> None:
    answer = server.post(json_spans(json_span(), json_span(spanId="")), JSON)
    partial = json.loads(answer.body)["partialSuccess"]
    assert (partial["rejectedSpans"], sorted(partial)) == ("1", ["errorMessage", "rejectedSpans"])
    answer = server.post(json_logs({}, {"attributes": 5}), JSON, path="/v1/logs")
    assert json.loads(answer.body)["partialSuccess"]["rejectedLogRecords"] == "1"
