"""Small requests that would become large: what they take in memory, what their events hold, and that it is said."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from exporter.clickhouse.rows import insert
from exporter.sinks.json_line import dumps, event_dict
from exporter.sinks.moesif_events import requests as requests_to_moesif
from mapping import bounds
from mapping.event import Event
from mapping.event_json import event_json
from mapping.finished import size_of
from mapping.mapped import Mapped
from mapping.otlp.decode import Decoder
from mapping_requests import NOW, key_values, log, logs, mapped, mapper, one, span, traces
from weighbridge.in_memory import became

Request = ExportTraceServiceRequest | ExportLogsServiceRequest
MIB = 1 << 20
HTTP = {
    "http.request.method": "GET",
    "url.path": "/a",
    "server.address": "shop.example",
    "http.response.status_code": 200,
}
LOG_CALL = {"method": "GET", "path": "/a", "status": 200}


def nested(levels: int, leaf: Any) -> Any:
    for _ in range(levels):
        leaf = {"a": leaf}
    return leaf


def written(events: list[Event]) -> list[bytes]:
    """A JSON line of each event, after every other encoder has taken them too."""
    b"".join(insert(events, 7, 30).blocks)
    for _ in requests_to_moesif(events, NOW, actions=True, max_bytes=10_000_000, max_rows=100):
        pass
    return [dumps(event_dict(event)) for event in events]


def peak_of(request: Request) -> tuple[int, Mapped, list[bytes]]:
    """Bytes that decoding and mapping the request and making its rows took at their most, and what came of it.

    Not of JSON: orjson reserves eight times a text's length and touches what it needs, which cannot be told apart.
    """
    data = request.SerializeToString()
    decoder, mapping = Decoder(), mapper()
    tracemalloc.start()
    try:
        decoded = decoder.traces(data) if isinstance(request, ExportTraceServiceRequest) else decoder.logs(data)
        found = mapping.map(decoded, received_unix_ns=NOW)
        b"".join(insert(found.events, 7, 30).blocks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak, found, written(found.events)


WIDE = {f"{number}": "x" for number in range(5_000)}
SWELLING: dict[str, Any] = {
    "dotted_key": {**HTTP, ".".join("a" * 75_000): 1},
    "long_key": {**HTTP, "k" * 150_000: 1},
    "long_key_of_a_map": {**HTTP, "m": {"k" * 200_000: WIDE}},
    "long_key_above_a_map": {**HTTP, "k" * 200_000: WIDE},
    "long_keys_on_the_way": {**HTTP, "k" * 900: {"l" * 900: {"m" * 900: WIDE}}},
    "dots_on_the_way": {**HTTP, "m": {"a." * 500: nested(20, WIDE)}},
    "map_in_an_array": {**HTTP, "m": [{"k" * 200_000: WIDE}]},
    "wide": {**HTTP, "m": {f"{number}": WIDE for number in range(20)}},
    "many": {**HTTP, **{f"a{number}": number for number in range(50_000)}},
    "deep": {**HTTP, "m": nested(30, WIDE)},
}


@pytest.mark.parametrize("kind", SWELLING)
@pytest.mark.parametrize("place", ["span", "resource", "log", "log_body", "event", "link"])
def test_no_attribute_takes_more_than_40_times_its_bytes(kind: str, place: str) -> None:
    attributes = SWELLING[kind]
    request: Request
    match place:
        case "span":
            request = traces(span(attributes), span(HTTP, number=2))
        case "resource":
            request = traces(span(HTTP), span(HTTP, number=2), resource=attributes)
        case "log":
            request = logs(log("x", attributes), log("y"))
        case "log_body":
            request = logs(log({**LOG_CALL, **attributes}), log("y"))
        case "event":
            request = traces(
                span(HTTP, events=[Span.Event(name="exception", attributes=key_values(attributes))]),
                span(HTTP, number=2),
            )
        case _:
            request = traces(span(HTTP, links=[Span.Link(attributes=key_values(attributes))]), span(HTTP, number=2))
    peak, found, lines = peak_of(request)
    size = len(request.SerializeToString())
    assert found.failed == []
    assert len(found.events) == 2
    assert peak < 40 * size + 8 * MIB, f"{peak / MIB:.0f} MiB for {size / MIB:.2f}"
    assert sum(map(len, lines)) < 8 * size + MIB


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({**LOG_CALL, "k" * 400_000: WIDE}).decode(),
        orjson.dumps({**LOG_CALL, "a": {"k" * 400_000: WIDE}}).decode(),
        orjson.dumps({"message": "x", ".".join("k" * 200_000): WIDE}).decode(),
        orjson.dumps({**LOG_CALL, "a": [{"k" * 400_000: WIDE}]}).decode(),
        orjson.dumps({**LOG_CALL, "k" * 1000: {"l" * 1000: WIDE}}).decode(),
    ],
)
def test_a_json_body_with_a_long_key_over_many_leaves_stays_small(body: str) -> None:
    peak, found, lines = peak_of(logs(log(body), log("y")))
    assert found.failed == []
    assert len(found.events) == 2
    assert peak < 40 * len(body) + 8 * MIB
    assert sum(map(len, lines)) < 8 * len(body)


@pytest.mark.parametrize("levels", [64, 65, 100, 300, 1000, 1100])
@pytest.mark.parametrize("brackets", [('{"a":', "}"), ("[", "]")])
def test_json_of_any_depth_can_be_written_by_every_sink(levels: int, brackets: tuple[str, str]) -> None:
    before, after = brackets
    deep = before * levels + '{"password":"hunter2"}' + after * levels
    body = f'{{"method":"GET","path":"/a","status":200,"x":{deep}}}'
    call = {**HTTP, "http.request.header.content-type": "application/json", "http.request.body": deep, "x": deep}
    found = [*mapped(logs(log(body), log(deep), log("z", {"x": deep}))).events, one(call)]
    assert len(found) == 4
    for line in written(found):
        assert b"hunter2" not in line


def test_a_key_with_many_dots_is_left_out_and_said_and_its_neighbours_stay() -> None:
    for key in ("a" + ".a" * 33, "." * 300, "k" * 1025):
        event = one({**HTTP, key: "lost", "kept": 1})
        assert "record_truncated" in event.flags
        assert orjson.loads(event.metadata)["kept"] == 1
        assert "lost" not in event.metadata
        (event,) = mapped(logs(log("x", {key: "lost", "kept": 1}))).events
        assert "record_truncated" in event.flags
        (event,) = mapped(logs(log({key: "lost", "kept": 1}))).events
        assert "record_truncated" in event.flags
        assert "lost" not in event.body
        written([event])
    event = one({**HTTP, "a" + ".a" * 32: "kept", "k" * 1024: "kept too"})
    assert event.flags == ()
    assert "kept too" in event.metadata


def test_of_very_many_attributes_the_first_count_and_it_is_said() -> None:
    many = {**HTTP, **{f"a{number}": number for number in range(bounds.MOST_ATTRIBUTES)}}
    event = one(many)
    assert (event.verb, event.status) == ("GET", 200)
    assert "record_truncated" in event.flags
    assert one(dict(list(many.items())[: bounds.MOST_ATTRIBUTES])).flags == ()


def test_of_very_many_events_and_links_the_first_and_the_last_count() -> None:
    events = [Span.Event(name="noise") for _ in range(5_000)]
    events.append(Span.Event(name="exception", attributes=key_values({"exception.type": "Last"})))
    event = one(HTTP, events=events, links=[Span.Link(attributes=key_values({"n": n})) for n in range(5_000)])
    assert orjson.loads(event.metadata)["error.exception_type"] == "Last"
    links = [link["attributes"]["n"] for link in orjson.loads(event.links)]
    assert links == [*range(64), *range(4_936, 5_000)]
    assert "record_truncated" in event.flags


def test_many_records_do_not_multiply_a_long_resource() -> None:
    resource = {"service.name": "shop", "deployment.environment.name": "test", "process.command_line": "x" * 200_000}
    spans = [span(HTTP, number=number + 1) for number in range(12_000)]
    request = traces(*spans, resource=resource)
    found = mapped(request)
    assert len(found.events) == 12_000
    held = sum(len(event.resource) for event in found.events)
    assert held <= max(bounds.RESOURCE_ROOM, 12_000 * bounds.LEAST_SHARE) + 12_000 * 100
    event = found.events[0]
    shown = event_json(event)["metadata"]["resource"]
    assert shown["service"]["name"] == "shop"
    assert shown["record_truncated"] is True
    assert "resource_truncated" in event.flags
    (alone,) = mapped(traces(span(HTTP), resource=resource)).events
    assert len(alone.resource) > 200_000, "one record may have a long one"
    assert alone.flags == ()


@pytest.mark.parametrize("name", ["service.name", "deployment.environment.name", "cloud.region", "company.id"])
def test_many_records_do_not_multiply_a_name_of_their_resource(name: str) -> None:
    spans = [span({}, number=number + 1, kind=1) for number in range(500)]
    for event in mapped(traces(*spans, resource={name: "\u00e4" * 200_000}), sample=False).events:
        fields = (event.service, event.environment, event.region, event.company_id, event.uri)
        assert sum(map(len, fields)) < 8 * bounds.LONGEST_ID


@pytest.mark.parametrize("key", ["user.id", "company.id"])
def test_an_id_of_more_than_a_kilobyte_is_none_so_that_no_trace_inherits_it(key: str) -> None:
    found = mapped(traces(span({**HTTP, key: "u" * 1025}), span(HTTP, number=2, parent=1))).events
    assert [(event.user_id, event.company_id) for event in found] == [("", ""), ("", "")]
    found = mapped(traces(span({**HTTP, key: "u" * 1024}), span(HTTP, number=2, parent=1))).events
    assert all("u" * 1024 in (event.user_id, event.company_id) for event in found)


def test_compressed_bodies_are_inflated_only_as_far_as_they_are_kept_and_within_a_room() -> None:
    zipped = gzip.compress(b"x" * (4 * MIB))
    call = {**HTTP, "http.response.header.content-encoding": "gzip", "http.response.body": zipped}
    request = traces(*(span(call, number=number + 1) for number in range(400)))
    peak, found, lines = peak_of(request)
    assert found.inflated <= bounds.INFLATED_ROOM + 450 * 1024 + 1
    assert sum(map(len, lines)) < 2 * bounds.INFLATED_ROOM
    assert peak < 6 * bounds.INFLATED_ROOM
    assert all("body_truncated" in event.flags for event in found.events)
    assert found.events[-1].response_body == "", "what is not understood is not kept"


def test_batches_count_what_a_request_becomes() -> None:
    zipped = gzip.compress(b"x" * (4 * MIB))
    call = {**HTTP, "http.response.header.content-encoding": "gzip", "http.response.body": zipped}
    usual, compressed = traces(*(span(HTTP, number=n + 1) for n in range(20))), traces(span(call), span(call, number=2))
    repeated = traces(*(span(HTTP, number=n + 1) for n in range(2_000)), resource={"long": "x" * 15_000})
    for request, least, most in ((usual, 1, 1), (compressed, 50, 500), (repeated, 15, 100)):
        decoded = Decoder().traces(request.SerializeToString())
        size = became(decoded, mapper().map(decoded, received_unix_ns=NOW))
        assert least * decoded.size <= size <= most * decoded.size


def test_one_event_has_at_most_two_megabytes() -> None:
    long = {f"a{number}": "x" * 60_000 for number in range(60)}
    body = orjson.dumps({"b": "y" * 400_000}).decode()
    event = one({**HTTP, **long, "http.request.body": body, "http.response.body": body})
    assert "event_truncated" in event.flags
    assert size_of(event) <= bounds.LARGEST_EVENT
    assert (event.request_body, event.response_body) == ("", "")
    assert orjson.loads(event.metadata)["a59"] == "x" * 60_000, "no more than has to goes"
    (line,) = written([event])
    assert len(line) <= bounds.LARGEST_EVENT
    events = mapped(logs(log({"a": [bytes(3 * MIB)]}), log("x" * 900_000, {"u": "\1" * 900_000}))).events
    for event in events:
        assert size_of(event) <= bounds.LARGEST_EVENT
        written([event])


LONG = 60_000


@pytest.mark.parametrize(
    "place", ["trace_state", "name", "status", "resource", "host", "route", "query", "agent", "user", "error"]
)
def test_what_is_remembered_between_requests_does_not_grow_with_long_texts(place: str) -> None:
    def request(number: int) -> ExportTraceServiceRequest:
        text = f"{number:06}" + "x" * LONG
        attributes: dict[str, Any] = dict(HTTP)
        fields: dict[str, Any] = {}
        resource = {"service.name": "shop"}
        match place:
            case "trace_state":
                fields["trace_state"] = f"a={text}"
            case "name":
                fields["name"] = text
            case "status":
                fields["status"] = Status(code=Status.StatusCode.ValueType(2), message=text)
            case "resource":
                resource["a"] = text
            case "host":
                attributes["server.address"] = text
            case "route":
                attributes["http.route"] = f"/{text}"
            case "query":
                attributes["url.query"] = f"a={text}"
            case "agent":
                attributes["user_agent.original"] = text
            case "user":
                attributes["http.request.header.authorization"] = f"Bearer a.{text}.c"
            case _:
                event = Span.Event(name="exception", attributes=key_values({"exception.stacktrace": text}))
                fields["events"] = [event]
        return traces(span(attributes, **fields), resource=resource)

    decoder, mapping = Decoder(), mapper()

    def handle(number: int) -> None:
        decoded = decoder.traces(request(number).SerializeToString())
        for event in mapping.map(decoded, received_unix_ns=NOW).events:
            event_json(event)

    handle(0)
    tracemalloc.start()
    try:
        for number in range(1, 600):
            handle(number)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 16 * MIB, f"{held / MIB:.0f} MiB of {600 * LONG / MIB:.0f}"
