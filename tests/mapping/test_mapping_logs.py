"""Log records become log events, or the API call that they describe (spec/mapping.md §6)."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from mapping.context import Context, Job
from mapping.event import Event
from mapping.groups import GroupFacts
from mapping.logs.events import LogMapper
from mapping.logs.http import exchange_in
from mapping.logs.location import of_exchange
from mapping.otlp.decode import Decoder
from mapping.otlp.records import LogGroup
from mapping.rules.bodies import Room
from mapping.settings import GenAiSettings, LogSettings, MappingSettings
from mapping_requests import NOW, TRACE, log, logs, mapped, mapper, one

ACCESS = {"method": "GET", "status": 200, "path": "/a/7", "duration_ms": 5}
CONTEXT = Context(MappingSettings())
IDS: dict[str, Any] = {"trace_id": TRACE, "span_id": (1).to_bytes(8, "big")}


def only(
    body: Any = None, attributes: dict[str, Any] | None = None, settings: MappingSettings | None = None, **fields: Any
) -> Event:
    (event,) = mapped(logs(log(body, attributes, **fields)), settings).events
    return event


@pytest.mark.parametrize(
    ("body", "text", "encoding"),
    [
        ("plain", "plain", "text"),
        ('{"a": 1}', '{"a": 1}', "json"),
        ({"a": {"b": 1}}, '{"a":{"b":1}}', "json"),
        ("[1]", "[1]", "text"),
        (b"caf\xc3\xa9 open", "Y2Fmw6kgb3Blbg==", "base64"),
        (b"\x00\x01", "", ""),
        (None, "", ""),
        (7, "7", "text"),
    ],
)
def test_body_is_kept_in_its_form(body: Any, text: str, encoding: str) -> None:
    event = only(body)
    assert (event.event_type, event.body, event.body_encoding) == ("log", text, encoding)


def test_identity_comes_from_attributes_before_the_body() -> None:
    event = only({"user_id": "of-body", "tenant": {"id": "t1"}}, {"user.id": "of-attribute"})
    assert (event.user_id, event.company_id) == ("of-attribute", "t1")
    assert only({"owner": {"user.id": "x"}}).user_id == ""


def test_described_exchange_is_the_same_event_as_its_span() -> None:
    of_log = only(ACCESS, **IDS)
    of_span = one({"http.request.method": "GET", "url.path": "/a/7", "http.response.status_code": 200})
    assert (of_log.event_type, of_log.source) == ("api_call", "log")
    assert of_log.transaction_id == of_span.transaction_id
    assert (of_log.route, of_log.status, of_log.duration_ms) == ("/a/{id}", 200, 5.0)
    assert (of_log.start_unix_ns, of_log.end_unix_ns) == (NOW - 5_000_000, NOW)


def test_attributes_describe_a_call_only_when_asked_for() -> None:
    assert only("done", ACCESS).event_type == "log"
    asked = MappingSettings(logs=LogSettings(http_from_attributes=True))
    assert only("done", ACCESS, asked).event_type == "api_call"


def test_lines_that_repeat_in_one_request_are_different_events_and_a_retry_repeats_their_ids() -> None:
    request = logs(log("tick"), log("tick"), log("tock"))
    first = [event.transaction_id for event in mapped(request).events]
    assert len(set(first)) == 3
    assert first == [event.transaction_id for event in mapped(request).events]


def test_log_records_are_told_apart_by_ids_times_and_content() -> None:
    same: dict[str, Any] = {**IDS, "time_unix_nano": NOW, "observed_time_unix_nano": NOW + 2}
    others = [
        {**same, "trace_id": b""},
        {**same, "span_id": b""},
        {**same, "time_unix_nano": 0},
        {**same, "observed_time_unix_nano": 0},
    ]
    events = [only("x", **same), only("y", **same), *(only("x", **fields) for fields in others)]
    assert len({event.transaction_id for event in events}) == 6
    assert only("x", **same).transaction_id == events[0].transaction_id


@pytest.mark.parametrize("tenant", ["", "acme"])
def test_a_record_has_the_id_that_it_has_alone_however_many_come_with_it(tenant: str) -> None:
    lines = [log(f"line {number % 99}", {"a": number % 99}) for number in range(100)]
    mapper_of_all = mapper()

    def transactions(*records: LogRecord) -> list[str]:
        decoded = Decoder().logs(logs(*records).SerializeToString())
        return [
            event.transaction_id for event in mapper_of_all.map(decoded, received_unix_ns=NOW, tenant=tenant).events
        ]

    together = transactions(*lines)
    assert together[:99] == [transactions(line)[0] for line in lines[:99]]
    assert together[99] == transactions(lines[0], lines[0])[1] != together[0]  # it came twice


def test_attribute_order_does_not_change_the_id() -> None:
    assert only("x", {"a": 1, "b": 2}).transaction_id == only("x", {"b": 2, "a": 1}).transaction_id
    assert only("x", {"a": 1}).transaction_id != only("x", {"a": 2}).transaction_id


def test_exception_is_described_in_metadata() -> None:
    event = only("failed", {"exception.type": "E", "exception.message": "token=s3cret", "exception.stacktrace": "at f"})
    found = orjson.loads(event.metadata)
    assert (found["error.type"], found["error.stacktrace"]) == ("E", "at f")
    assert "s3cret" not in repr(event)


@pytest.mark.parametrize(
    "body",
    [
        {"password": "s3cret"},
        '{"deep": [{"client_secret": "s3cret"}]}',
        'reply: {"access_token": "s3cret"}',
        "GET /a?api_key=s3cret 200",
        {**ACCESS, "request": {"headers": {"authorization": "Bearer s3cret"}}},
        {**ACCESS, "path": "/a", "url": "http://h/a?token=s3cret"},
    ],
)
def test_secrets_in_bodies_are_masked(body: Any) -> None:
    assert "s3cret" not in repr(only(body))


def test_prompts_are_dropped_unless_asked_for() -> None:
    body = {"content": "my secret prompt"}
    assert "prompt" not in repr(only(body, event_name="gen_ai.user.message").body)
    asked = MappingSettings(genai=GenAiSettings(content=True))
    assert "prompt" in only(body, None, asked, event_name="gen_ai.user.message").body


def test_proxy_timings_become_consumer_facts() -> None:
    found = orjson.loads(only({**ACCESS, "upstream_response_time": "0.120", "upstream_cache_status": "MISS"}).metadata)
    assert found["timings.upstream_ms"] == 120
    assert (found["result.cache.hit"], found["result.cache.status"]) == (False, "MISS")
    assert found["source"] == "log"


def test_attributes_win_over_the_body_in_metadata() -> None:
    found = orjson.loads(only({**ACCESS, "note": "body"}, {"note": "attribute"}).metadata)
    assert found["note"] == "attribute"


def test_weight_of_upstream_sampling_is_honoured() -> None:
    event = only("x", {"sampling.threshold": "8"}, trace_id=b"\xff" * 16)
    assert (event.decision.weight, event.decision.th) == (2, "8")


def test_log_without_time_and_ids_is_dated_by_receipt() -> None:
    event = only("x", time_unix_nano=0)
    assert (event.start_unix_ns, event.end_unix_ns, event.duration_ms) == (NOW, NOW, -1.0)


TARGETS = st.lists(
    st.sampled_from(["/", "a", "é", "//", "?", "?token=1", "b=2&password=x", "%20", "#f", " ", "http://h/", ":8080"]),
    max_size=5,
).map("".join)


@given(
    url=TARGETS,
    path=TARGETS,
    query=TARGETS,
    scheme=st.sampled_from(["", "https", "HTTP", "x y"]),
    host=st.sampled_from(["", "h", "h:443", "u:p@h", "::1"]),
    port=st.sampled_from([0, 80, 443]),
)
@settings(max_examples=300, deadline=None)
def test_uris_from_memory_are_those_that_are_worked_out(
    url: str, path: str, query: str, scheme: str, host: str, port: int
) -> None:
    body = {"method": "GET", "status": 200, "route": "/r", "url": url, "path": path, "url.query": query}
    http = exchange_in({**body, "scheme": scheme, "host": host, "server.port": port})
    assert http is not None
    found, expected = of_exchange(CONTEXT, http, "my shop"), http.uri("my shop", mask=CONTEXT.masks.query)
    assert found is None or (found.text, found.path, found.host_guessed) == (
        expected.text,
        expected.path,
        expected.host_guessed,
    )


def test_a_text_that_masks_cut_is_flagged() -> None:
    text = "token=x " * 10_000
    for event in (only(text), only(text), only("x", {"note": text})):
        assert event.flags == ("text_truncated",)
    assert not only("token=x").flags
    assert one({"http.request.method": "GET", "url.path": "/", "note": text}).flags[-1] == "text_truncated"
    body = {"http.request.method": "POST", "url.path": "/", "http.request.body": text}
    assert one(body).flags[-2:] == ("body_truncated", "text_truncated")


MAPPER, GROUPS = LogMapper(CONTEXT, http_from_attributes=False), GroupFacts(CONTEXT)
IDS_OF_RECORDS = st.sampled_from([b"", TRACE, bytes(16), b"short"])
WORDS = st.sampled_from(
    ["trace_id", "span_id", "level", "event.name", "event", "time", "exception.type", "note", "user.id"]
)


@given(
    fields=st.dictionaries(WORDS, st.sampled_from(["error", TRACE.hex(), "x", 7, None]), max_size=4),
    attributes=st.dictionaries(WORDS, st.sampled_from(["warn", TRACE[:8].hex(), "x", 7, None]), max_size=3),
    trace_id=IDS_OF_RECORDS,
    span_id=IDS_OF_RECORDS.map(lambda data: data[:8]),
    time=st.sampled_from([0, 1, NOW, (1 << 63) - 1, 1 << 63]),
    number=st.sampled_from([-1, 0, 1, 9, 24, 25]),
)
@settings(max_examples=300, deadline=None)
def test_what_a_record_says_by_its_own_fields_alone_is_what_all_of_it_says(
    fields: dict[str, Any], attributes: dict[str, Any], trace_id: bytes, span_id: bytes, time: int, number: int
) -> None:
    record = log(orjson.dumps(fields).decode(), attributes, trace_id=trace_id, span_id=span_id, severity_number=9)
    record.time_unix_nano = time
    decoded = Decoder().logs(logs(record).SerializeToString())
    made = cast("LogGroup", decoded.groups[0])
    job = Job(NOW, "", Room(0), 1 << 20)
    item = made.records[0]
    item.record.severity_number = number
    work = MAPPER.look(item, GROUPS.of(made, job.share), job, {})
    assert work.read == MAPPER._understand(item, job, work.read.body, work.attributes, work.plan.keys)
    assert work.attributes == {key: value for key, value in attributes.items() if value is not None}
