"""OTLP/HTTP: JSON bodies (spec/otlp-http.md §4). What is written for each field is in test_receiver_otlp_json.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otlp_http import JSON, Answer, RunningReceiver, json_logs, json_span, json_spans


def post_span(server: RunningReceiver, **fields: Any) -> Answer:
    return server.post(json_spans(json_span(**fields)), JSON)


def post_log(server: RunningReceiver, record: Any) -> Answer:
    return server.post(json_logs(record), JSON, path="/v1/logs")


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


@pytest.mark.parametrize(
    ("escape", "text"),
    [
        ("\\ud800", "\ufffd"),
        ("\\uDC00", "\ufffd"),
        ("\\ud800\\ud800", "\ufffd\ufffd"),
        ("a\\udfffb", "a\ufffdb"),
        ("\\ud83d\\ude9a\\ud83d", "🚚\ufffd"),
        ("\\ude9a\\ud83d\\ude9a", "\ufffd🚚"),
        ("\\\\ud83d\\ud83d", "\\ud83d\ufffd"),
        ('\\ud83d\\n\\"', '\ufffd\n"'),
    ],
)
def test_half_a_character_is_repaired(server: RunningReceiver, escape: str, text: str) -> None:
    odd = {"key": "KEY", "value": {"arrayValue": {"values": [{"stringValue": "VALUE"}]}}}
    body = json_spans(json_span(name="NAME", attributes=[odd]), json_span())
    body = body.replace("NAME", escape).replace("KEY", f"k{escape}").replace("VALUE", f"v{escape}")
    assert server.post(body, JSON).rejected == 0
    record = server.last.decoded.groups[0].records[0]
    assert record.span.name.decode() == text  # type: ignore[union-attr]
    assert record.entries[0][1] == [f"v{text}"]
    assert record.entries[0][0].partition("\0")[0] == f"k{text}"
    body = json_logs({"body": {"stringValue": "BODY"}}, {}).replace("BODY", escape)
    assert server.post(body, JSON, path="/v1/logs").rejected == 0
    assert server.last.decoded.groups[0].records[0].body == text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xff", "\ufffd"),
        (b"a\xc0\x80b", "a\ufffdb"),  # an overlong NUL, as Java's modified UTF-8 writes it
        (b"\xed\xa0\xbd\xed\xb8\x80", "\ufffd"),  # an emoji in CESU-8
        (b"\xe2\x82", "\ufffd"),  # cut
        (b"\xc3(", "\ufffd("),
        (b"\xf8\x88\x80\x80\x80", "\ufffd"),
        (b"caf\xe9 \\ud83d", "caf\ufffd \ufffd"),  # Latin-1, and half an emoji
    ],
)
def test_bytes_that_are_no_utf8_are_repaired(server: RunningReceiver, raw: bytes, text: str) -> None:
    odd = {"key": "k", "value": {"stringValue": "VALUE"}}
    body = json_spans(json_span(name="NAME", attributes=[odd]), json_span()).encode()
    body = body.replace(b"NAME", raw).replace(b"VALUE", raw)
    assert server.post(body, JSON).rejected == 0
    group = server.last.decoded.groups[0]
    assert group.records[0].span.name.decode() == text  # type: ignore[union-attr]
    assert group.records[0].entries[0][1] == text


def test_null_in_an_array_is_an_empty_value(server: RunningReceiver) -> None:
    odd = {"key": "k", "value": {"arrayValue": {"values": [None, {"stringValue": "x"}]}}}
    pairs = {"key": "m", "value": {"kvlistValue": {"values": [None, {"key": "a", "value": {"intValue": 1}}]}}}
    span = json_span(attributes=[None, odd, pairs], events=[None, {"name": "e"}], links=[None])
    scope = {"spans": [span, None], "scope": {"attributes": [None]}}
    group = {"resource": {"attributes": [None]}, "scopeSpans": [None, scope]}
    answer = server.post(json.dumps({"resourceSpans": [None, group]}), JSON)
    assert (answer.status, answer.rejected) == (200, 1), "a span needs ids"
    record = server.last.decoded.groups[0].records[0]
    assert [entry[1] for entry in record.entries] == [None, [None, "x"], {"a": 1}, None]
    assert [event.name for event in record.events] == ["e"]  # type: ignore[union-attr]
    assert server.post(json_logs({"body": {"stringValue": "x"}}, None), JSON, path="/v1/logs").rejected == 0


def test_surrogate_pairs_and_escapes_are_text(server: RunningReceiver) -> None:
    assert server.post(json_spans(json_span(name="N")).replace('"N"', '"\\ud83d\\ude9a\\u0000\\/"'), JSON).rejected == 0
    assert server.last.decoded.groups[0].records[0].span.name == "🚚\0/".encode()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body",
    [
        '{"resourceSpans":[]}'.encode("utf-16"),
        '{"resourceSpans":[]}'.encode("utf-16-le"),
        '{"resourceSpans":[]}'.encode("utf-32"),
        b'\xff{"resourceSpans":[]}',
    ],
)
def test_other_encodings_than_utf8_are_400(server: RunningReceiver, body: bytes) -> None:
    assert server.post(body, JSON).status == 400


def test_a_byte_order_mark_is_taken(server: RunningReceiver) -> None:
    """The Collector answers 500 to one."""
    assert server.post(b"\xef\xbb\xbf" + json_spans(json_span()).encode(), JSON).rejected == 0
    assert server.last.decoded.accepted == 1


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
