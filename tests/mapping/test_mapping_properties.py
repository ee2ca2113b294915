"""What holds for every input: mapping never fails, repeats itself, accounts for each record, leaks no secret."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import mapping.spans.captured
import mapping.spans.uri_plan
from exporter.clickhouse.rows import event_day, insert
from exporter.sinks.json_line import dumps, event_dict
from exporter.sinks.moesif_events import requests as requests_to_moesif
from mapping.event import SKIP, Event
from mapping.event_json import event_json
from mapping.mapped import Mapped
from mapping.rules import address, bodies, extras, identity
from mapping.rules.identity_settings import COMPANY_ATTRIBUTES, USER_ATTRIBUTES, IdentifyUser
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from mapping.spans import classify as spans
from mapping_requests import NOW, key_values, log, logs, mapped, span, traces

KNOWN = (
    *spans.METHODS,
    *spans.STATUSES,
    *spans.LOCATIONS,
    *mapping.spans.uri_plan.SCHEMES,
    *mapping.spans.uri_plan.SERVER_HOSTS,
    *mapping.spans.uri_plan.CLIENT_PORTS,
    *address.CLIENT_ATTRIBUTES,
    *bodies.REQUEST_ATTRIBUTES,
    *extras.ATTRIBUTES,
    *identity.SESSION_ATTRIBUTES,
    *USER_ATTRIBUTES,
    *COMPANY_ATTRIBUTES,
    "url.query",
    "http.request.header.host",
    "http.request.header.x_forwarded_for",
    "http.request.header.authorization",
    "http.request.headers",
    "http.response.header.ratelimit",
    "http.response.header.server-timing",
    "user_agent.original",
    "error.type",
    "moesif.weight",
    "moesif.direction",
    "rpc.system",
    "rpc.grpc.status_code",
    "db.system",
    "gen_ai.usage.input_tokens",
    "graphql.document",
    "messaging.destination",
    "sampling.threshold",
    "trace_id",
    "method",
    "status",
    "path",
    "timestamp",
)
keys = st.sampled_from(KNOWN) | st.text(max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=8)
    | st.sampled_from(
        [
            "\0",
            "\ufffe",
            '{"\\ud83d":1}',
            "-" * 300,
            "GET",
            "/a/7?token=x#f",
            "http://h:80/a?b",
            "200",
            "-1",
            "{",
            '{"a":[1]}',
            "Bearer a.b.c",
            "::1",
        ]
    )
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
attributes = st.dictionaries(keys, values, max_size=8)
unix_ns = st.sampled_from([0, 1, 1_795_193_700_000_000_000, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
int32 = st.sampled_from([-(2**31), -1, 255, 256, 2**31 - 1]) | st.integers(0, 24)
# What languages write for "never", "nothing" and "too much", under every key that is read as a number or a time.
odd_numbers = st.sampled_from(
    """
    0 -1 -0.0 NaN -Infinity 1e400 -1e400 1e308 5e-324 99999999999 9999999999999999 18446744073709551615
    -9223372036854775809
    123456789012345678901234567890 1e18 9.3e18 "99999999999" "NaN" "-inf" "1e999" "9999-12-31T23:59:59Z"
    "0001-01-01T00:00:00Z" "9999-12-31T23:59:59.999999999-23:59" "0000-00-00T00:00:00Z"
    "\\ud83d" "\\u0000" "" null true [] {}
    """.split()  # noqa: SIM905 - they are JSON: a list literal would quote each twice
)
read_as_numbers = st.sampled_from(
    """
    timestamp @timestamp time ts msec time_iso8601 duration_ms request_time event.duration duration latency status
    server.port level severity dd.trace_id dd.span_id upstream_response_time queue_ms bytes user_id a.b  \\u0000 a..b .
    """.split()  # noqa: SIM905
) | st.just("")
odd_lines = st.dictionaries(read_as_numbers, odd_numbers, max_size=5).map(
    lambda members: '{"method":"GET","path":"/a"' + "".join(f',"{key}":{n}' for key, n in members.items()) + "}"
)


@st.composite
def made_spans(draw: st.DrawFn) -> ExportTraceServiceRequest:
    found = [
        span(
            draw(attributes),
            kind=draw(st.integers(0, 6)),
            name=draw(st.text(max_size=12) | st.sampled_from(["GET /a", "graphql.parse"])),
            number=number + 1,
            parent=draw(st.integers(0, 4)),
            start_time_unix_nano=draw(unix_ns),
            end_time_unix_nano=draw(unix_ns),
            flags=draw(st.integers(0, 2**32 - 1)),
            trace_state=draw(st.sampled_from(["", "ot=th:8", "ot=th:zz;rv:1", ",,,"])),
            events=[
                Span.Event(name=name, attributes=key_values(draw(attributes)))
                for name in draw(st.lists(st.sampled_from(["exception", "http.request", "feature_flag"]), max_size=2))
            ],
            links=[Span.Link(attributes=key_values(draw(attributes)))] if draw(st.booleans()) else [],
            status=Status(code=Status.StatusCode.ValueType(draw(int32)), message=draw(st.text(max_size=5))),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    return traces(*found, resource=draw(attributes))


@st.composite
def made_logs(draw: st.DrawFn) -> ExportLogsServiceRequest:
    found = [
        log(
            draw(values | attributes | odd_lines),
            draw(attributes),
            time_unix_nano=draw(st.just(0) | unix_ns),
            observed_time_unix_nano=draw(unix_ns),
            severity_number=draw(int32),
            severity_text=draw(st.text(max_size=5)),
            trace_id=draw(st.binary(max_size=17)),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    return logs(*found, resource=draw(attributes))


requests = made_spans() | made_logs()
quick = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

SETTINGS = MappingSettings(
    identify_user=IdentifyUser(headers=("x-user", "authorization"), query_string="b"),
    should_skip="req_method == 'HEAD'",
    inherit_across_requests_s=30,
)
RULES = SamplingSettings.model_validate(
    {
        "rules": [
            {"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100},
            {"name": "rest", "rate": 50},
        ]
    }
)


def records(request: ExportTraceServiceRequest | ExportLogsServiceRequest) -> int:
    if isinstance(request, ExportTraceServiceRequest):
        return len(request.resource_spans[0].scope_spans[0].spans)
    return len(request.resource_logs[0].scope_logs[0].log_records)


def account(result: Mapped, count: int) -> None:
    assert result.failed == []
    assert len(result.events) + result.skipped + result.sampled_out == count


def well_formed(event: Event) -> None:
    line = orjson.dumps(event_json(event))
    assert orjson.loads(line)["event_type"] == event.event_type
    for text in (event.metadata, event.resource):
        assert isinstance(orjson.loads(text), dict)
    if event.request_body_encoding == "json":
        orjson.loads(event.request_body)
    if event.body_encoding == "json":
        assert isinstance(orjson.loads(event.body), dict)
    for name, value in event._asdict().items():
        if isinstance(value, str):
            value.encode("utf-8")  # no lone surrogates anywhere
        assert value is not None, name
    assert 2**63 > event.end_unix_ns >= event.start_unix_ns >= 0
    assert len(event.transaction_id) == 36


def every_sink_can_write(events: list[Event]) -> None:
    """Raises when one of the encoders does; skips are written nowhere."""
    written = [event for event in events if event.event_type != SKIP]
    for event in written:
        dumps(event_dict(event))
        event_day(event, 30)
    if written:
        b"".join(insert(written, 7, 30).blocks)
    for _ in requests_to_moesif(written, NOW, actions=True, max_bytes=10_000_000, max_rows=100):
        pass


@quick
@given(requests)
def test_mapping_never_fails_and_accounts_for_every_record(
    request: ExportTraceServiceRequest | ExportLogsServiceRequest,
) -> None:
    result = mapped(request, keep_skips=True)
    account(result, records(request))
    for event in result.events:
        well_formed(event)
    every_sink_can_write(result.events)


@quick
@given(requests)
def test_the_same_holds_with_everything_switched_on(
    request: ExportTraceServiceRequest | ExportLogsServiceRequest,
) -> None:
    result = mapped(request, SETTINGS, RULES)
    account(result, records(request))
    for event in result.events:
        well_formed(event)


@quick
@given(requests)
def test_same_input_gives_the_same_events(request: ExportTraceServiceRequest | ExportLogsServiceRequest) -> None:
    assert repr(mapped(request, SETTINGS, RULES)) == repr(mapped(request, SETTINGS, RULES))


SECRET = "s3cretvalue"
ENCODED = "czNjcmV0dmFsdWU"  # the secret in base64
secret_keys = st.sampled_from(["password", "api_key", "Access-Token", "client_secret", "card.cvv", "x.ssn"])
places = st.sampled_from(["plain", "json", "nested", "list", "query", "header", "cookie"])


def hidden(place: str, key: str) -> dict[str, Any]:
    match place:
        case "json":
            return {"payload": orjson.dumps({"a": [{key: SECRET}]}).decode()}
        case "nested":
            return {"config": {"deep": {key: SECRET}}}
        case "list":
            return {"items": [{key: SECRET}, 1]}
        case "query":
            return {"url.full": f"http://h/a?x=1&token={SECRET}", "http.target": f"/a?secret={SECRET}"}
        case "header":
            return {
                "http.request.header.authorization": [f"Bearer {SECRET}"],
                "http.request.headers": {"x-api-key": SECRET},
            }
        case "cookie":
            return {"http.response.header.set_cookie": [f"a={SECRET}"], "rpc.grpc.request.metadata.cookie": [SECRET]}
        case _:
            return {key: SECRET}


@quick
@given(attributes, secret_keys, places, st.integers(0, 5), st.booleans())
def test_masks_leave_no_secret_anywhere(others: dict[str, Any], key: str, place: str, kind: int, failed: bool) -> None:
    found = {**others, **hidden(place, key)}
    event = Span.Event(
        name="exception",
        attributes=key_values({**hidden("plain", key), "exception.message": f"{{'{key}': '{SECRET}'}}"}),
    )
    link = Span.Link(attributes=key_values(found))
    request = traces(
        span(found, kind=kind, events=[event] if failed else [], links=[link]), resource={**hidden(place, key), "a": 1}
    )
    for output in (mapped(request, keep_skips=True), mapped(logs(log(found, found), resource=hidden(place, key)))):
        assert output.failed == []
        written = repr(output) + repr([event_json(event) for event in output.events])
        assert SECRET not in written
        assert ENCODED not in written
