"""A line of `weighbridge map` has the keys of spec/design.md §5.2, and leaves out what an event does not have."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, cast

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping.bounds import LONGEST_TEXT
from mapping.event import Event
from mapping.event_json import event_json, iso
from mapping.finished import EVENT_TRUNCATED
from mapping.log_batches import STEP_S
from mapping.mapped import Failed, Mapped
from mapping.mapper import Mapper
from mapping.masks.redactor import RedactionError
from mapping.otlp.decode import Decoder
from mapping.otlp.records import SpanGroup
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from mapping_requests import INTERNAL, NOW, TRACE, log, logs, mapped, mapper, one, span, traces

CALL = {
    "http.request.method": "POST",
    "url.full": "http://h/v1/a?b=1",
    "http.route": "/v1/a",
    "http.response.status_code": 201,
    "user.id": "u",
    "company.id": "c",
    "session.id": "s",
    "http.request.body": '{"a":1}',
    "client.address": "192.0.2.1",
    "user_agent.original": "curl/8",
    "app.tier": "gold",
}


def test_api_call() -> None:
    event = one(CALL, parent=7, links=[Span.Link(trace_id=TRACE, span_id=b"12345678")])
    assert event_json(event) == {
        "event_type": "api_call",
        "request": {
            "time": "2026-11-20T16:54:59.995Z",
            "uri": "http://h/v1/a?b=1",
            "verb": "POST",
            "route": "/v1/a",
            "headers": {"user-agent": "curl/8"},
            "body": {"a": 1},
            "transfer_encoding": "json",
            "ip_address": "192.0.2.1",
            "api_version": "v1",
            "user_agent": "curl/8",
        },
        "response": {"time": "2026-11-20T16:55:00.000Z", "status": 201, "headers": {}},
        "span": {
            "id": "0000000000000001",
            "parent_id": "0000000000000007",
            "links": [{"trace_id": TRACE.hex(), "span_id": b"12345678".hex()}],
            "status": 0,
        },
        "trace_id": TRACE.hex(),
        "transaction_id": event.transaction_id,
        "direction": "Incoming",
        "hop": "open",
        "user_id": "u",
        "company_id": "c",
        "session_token": "s",
        "weight": 1,
        "duration_ms": 5.0,
        "start_time_unix_nano": NOW - 5_000_000,
        "end_time_unix_nano": NOW,
        "metadata": {
            "network": {"ip_family": "ipv4"},
            "http": {"route": "/v1/a"},
            "client": {"address": "192.0.2.1"},
            "app": {"tier": "gold"},
            "resource": {"service": {"name": "shop"}},
            "scope": {"name": "test"},
            "sampling": {
                "adjusted_count": 1.0,
                "p": 1.0,
                "rule": "default",
                "r_source": "trace_id",
                "upstream": "none",
            },
        },
    }


def test_call_without_a_response_has_no_response_object() -> None:
    line = event_json(one({"http.request.method": "GET", "url.full": "http://h/a"}))
    assert "response" not in line
    assert "error_type" not in line


def test_action_and_skip() -> None:
    action = event_json(one({}, kind=INTERNAL, name="work"))
    assert (action["event_type"], action["action_name"], action["family"]) == ("action", "work", "internal")
    assert action["request"] == {"time": "2026-11-20T16:54:59.995Z", "uri": "otel://shop/internal/work"}
    (skip,) = mapped(traces(span({"koa.type": "x"}, kind=INTERNAL)), keep_skips=True).events
    line = event_json(skip)
    assert (line["event_type"], line["reason"]) == ("skip", "koa.type")
    assert "weight" not in line


def test_log() -> None:
    (event,) = mapped(logs(log({"a": 1}, {"b": 2}, severity_number=9, severity_text="INFO", event_name="e"))).events
    line = event_json(event)
    assert line.pop("metadata")["b"] == 2
    assert line == {
        "event_type": "log",
        "transaction_id": event.transaction_id,
        "weight": 1,
        "time_unix_nano": NOW,
        "severity_number": 9,
        "severity_text": "INFO",
        "event_name": "e",
        "body": {"a": 1},
    }


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_193_700_999_999_999, "2026-11-20T16:55:00.999Z"),
        (2**64 - 1, "2554-07-21T23:34:33.709Z"),
    ],
)
def test_times_are_cut_to_milliseconds(unix_ns: int, text: str) -> None:
    assert iso(unix_ns) == text


def test_flags_are_shown() -> None:
    line = event_json(one(CALL, end_time_unix_nano=1))
    assert line["metadata"]["event_flags"] == ["end_before_start"]


def test_attributes_named_like_our_metadata_are_kept_beside_it() -> None:
    metadata = event_json(one({**CALL, "resource.kind": "order", "sampling": "mine"}))["metadata"]
    assert metadata["resource"] == {"kind": "order", "service": {"name": "shop"}}
    assert (metadata["sampling"]["_value"], metadata["sampling"]["p"]) == ("mine", 1.0)


def test_family_of_the_callers_address_is_in_metadata() -> None:
    def network(address: str, **more: str) -> object:
        attributes = CALL | {"client.address": address, **more}
        return event_json(one(attributes))["metadata"].get("network")

    assert network("2001:db8::1") == {"ip_family": "ipv6"}
    assert network("192.0.2.1", **{"network.transport": "tcp"}) == {"ip_family": "ipv4", "transport": "tcp"}
    assert network("not an address") is None
    hashing = MappingSettings.model_validate({"masks": {"ip_address": "hash", "hash_key": "k"}})
    assert "network" not in event_json(mapped(traces(span(CALL)), hashing).events[0])["metadata"]


class Refusing:
    """A mask that fails, as a wrong one would."""

    def __call__(self, *_: Any) -> Any:
        raise RedactionError("masking query failed: ZeroDivisionError")


def test_record_that_cannot_be_masked_is_not_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed (spec/mapping.md §7): the others are, and nothing of it is in what is reported."""
    made = Mapper(MappingSettings(), Sampler(SamplingSettings()))
    monkeypatch.setattr(made._context.masks, "query", Refusing())
    secret = {"http.request.method": "GET", "server.address": "h", "url.path": "/a", "url.query": "q=s3cret"}
    request = traces(span(secret, number=3), span(CALL | {"url.full": "http://h/a"}))
    result = made.map(Decoder().traces(request.SerializeToString()), received_unix_ns=NOW)
    assert len(result.events) == 1
    assert result.failed == [
        Failed("traces", TRACE.hex(), "0000000000000003", "masking query failed: ZeroDivisionError")
    ]


def test_resource_that_cannot_be_masked_holds_back_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mapper(MappingSettings(), Sampler(SamplingSettings()))
    monkeypatch.setattr(made._context.masks, "attributes", Refusing())
    result = made.map(Decoder().traces(traces(span(CALL), span(CALL)).SerializeToString()), received_unix_ns=NOW)
    assert (len(result.events), len(result.failed)) == (0, 2)


def test_steps_pause_and_end_with_what_map_gives() -> None:
    request = traces(*(span(CALL, number=number + 1) for number in range(600)))
    data = request.SerializeToString()
    made = Mapper(MappingSettings(), Sampler(SamplingSettings()), clock=lambda: 0.0)
    steps = made.steps(Decoder().traces(data), received_unix_ns=NOW)
    pauses, mapped_in_steps = run_through(steps)
    # looking at spans, and between the slices of making events; the rest takes no time to speak of for so few
    assert pauses == 3 + 2
    assert mapped_in_steps == made.map(Decoder().traces(data), received_unix_ns=NOW).events


def run_through(steps: Generator[None, None, Mapped]) -> tuple[int, list[Event]]:
    """How often it paused, and the events."""
    pauses = 0
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration as end:
            mapped: Mapped = end.value
            return pauses, mapped.events


def test_steps_pause_as_often_as_the_time_asks_for() -> None:
    """However few the records: each of these takes four fifths of a step."""
    ticks = itertools.count(step=4)
    made = Mapper(MappingSettings(), Sampler(SamplingSettings()), clock=lambda: next(ticks) / 1000)
    request = traces(*(span(CALL, number=number + 1) for number in range(50)))
    pauses, events = run_through(made.steps(Decoder().traces(request.SerializeToString()), received_unix_ns=NOW))
    assert pauses >= 40
    assert len(events) == 50
    made = Mapper(MappingSettings(), Sampler(SamplingSettings()), clock=lambda: next(ticks) / 1000)
    request_of_logs = logs(*(log(f"text {number}") for number in range(50)))
    pauses, events = run_through(made.steps(Decoder().logs(request_of_logs.SerializeToString()), received_unix_ns=NOW))
    assert pauses >= 20
    assert len(events) == 50


BAD = "line = 298"  # a text that masks look through


def test_log_records_keep_their_order_over_steps_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and calls, alone in their group or among many, whatever the clock cuts into steps; one cannot be masked."""
    call = '{"method": "GET", "path": "/a/%d", "status": 200, "duration_ms": 1}'
    request = logs()
    for size in (1, 300, 1, 0, 2, 270, 1):
        start = sum(len(group.scope_logs[0].log_records) for group in request.resource_logs)
        lines = (
            log(call % at if at % 3 == 0 else BAD if at == 298 else f"line {at}") for at in range(start, start + size)
        )
        request.resource_logs.append(logs(*lines, resource={"service.name": f"of {start}"}).resource_logs[0])
    data = request.SerializeToString()
    for tick in (0, STEP_S / 5, STEP_S * 1.1):
        ticks = map(float, itertools.count(step=tick))
        made = Mapper(MappingSettings(), Sampler(SamplingSettings()), clock=partial(next, ticks))
        monkeypatch.setattr(made._context.masks, "text", partial(text_unless, made._context.masks.text, BAD))
        pauses, events = run_through(made.steps(Decoder().logs(data), received_unix_ns=NOW))
        assert pauses >= 575 * tick / (STEP_S * 1.1)
        told = [int(event.uri.rpartition("/")[2] if event.uri else event.body.rpartition(" ")[2]) for event in events]
        assert told == [at for at in range(575) if at != 298]
        assert {event.event_type for event in events} == {"api_call", "log"}
        assert [event.service for event in events[:3]] == ["of 0", "of 1", "of 1"]


def text_unless(text: Callable[[str], str], fails: str, sent: str) -> str:
    """The text masked, unless it is the one that a mask fails for."""
    return text(sent) if sent != fails else str(Refusing()())


def test_requests_mapped_at_the_same_time_do_not_mix() -> None:
    """Two requests in steps, interleaved as the event loop does."""
    made = Mapper(MappingSettings(), Sampler(SamplingSettings()))
    running = {}
    for tenant in ("a", "b"):
        request = traces(*(span(CALL, number=number + 1) for number in range(600)), resource={"service.name": tenant})
        decoded = Decoder().traces(request.SerializeToString())
        running[tenant] = made.steps(decoded, received_unix_ns=NOW, tenant=tenant)
    done: dict[str, list[Event]] = {}
    while len(done) < 2:
        for tenant, steps in running.items():
            if tenant not in done:
                try:
                    next(steps)
                except StopIteration as end:
                    done[tenant] = end.value.events
    assert {tenant: {(e.tenant, e.service) for e in events} for tenant, events in done.items()} == {
        "a": {("a", "a")},
        "b": {("b", "b")},
    }


def test_sampling_rules_see_inherited_identity_and_attributes() -> None:
    rules = SamplingSettings.model_validate(
        {
            "rules": [
                {"name": "vip", "when": [{"path": "user", "op": "eq", "value": "vip"}], "rate": 100},
                {"name": "gold", "when": [{"path": "attr.app.tier", "op": "eq", "value": "gold"}], "rate": 100},
                {"name": "shop", "when": [{"path": "resource.region", "op": "eq", "value": "eu"}], "rate": 100},
                {"name": "rest", "rate": 0},
            ]
        }
    )
    spans = (
        span({}, kind=INTERNAL, number=2, parent=1),
        span({"user.id": "vip"}, kind=INTERNAL, number=1),
        span({"app.tier": "gold"}, kind=INTERNAL, number=3),
        span({}, kind=INTERNAL, number=4),
    )
    result = mapped(traces(*spans), None, rules)
    assert [event.decision.rule for event in result.events] == ["vip", "vip", "gold"]
    assert result.sampled_out == 1
    assert len(mapped(traces(*spans), None, rules, sample=False).events) == 4
    assert len(mapped(traces(*spans, resource={"region": "eu"}), None, rules).events) == 4


def test_sampled_out_early_is_counted() -> None:
    rules = SamplingSettings.model_validate({"rules": [{"name": "none", "rate": 0}]})
    result = mapped(traces(span(CALL), span(CALL, number=2)), None, rules)
    assert (result.events, result.sampled_out, result.skipped) == ([], 2, 0)


def test_a_text_that_no_event_has_room_for_is_not_read_to_its_end() -> None:
    long: dict[str, Any] = {"note": "x" * 2_500_000, "texts": ["é" * 1_500_000]}
    decoded = Decoder().traces(traces(span({**CALL, **long})).SerializeToString())
    (record,) = cast("list[SpanGroup]", decoded.groups)[0].records
    texts = [value[0] if isinstance(value, list) else value for _, value, _ in record.entries]
    assert max(len(text) for text in texts if isinstance(text, str)) == LONGEST_TEXT
    (event,) = mapper().map(decoded, received_unix_ns=NOW).events
    assert not [name for name in long if f'"{name}"' in event.metadata]
    assert EVENT_TRUNCATED in event.flags
    assert event.user_id == "u"
