"""What spans become: the ladder of spec/mapping.md §2, and fields of calls and actions where captures show no case."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from exporter.clickhouse.rows import insert
from mapping.context import Context
from mapping.event import UNSAMPLED, Event
from mapping.mapper import Mapper
from mapping.masks.settings import MaskSettings
from mapping.otlp.decode import Decoder
from mapping.sampling.rules import PATHS
from mapping.sampling.sampler import CEILING, Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.stated import HEAVIEST, capped
from mapping.settings import DbSettings, GenAiSettings, MappingSettings
from mapping_requests import (
    CLIENT,
    CONSUMER,
    INTERNAL,
    NOW,
    PRODUCER,
    SERVER,
    key_values,
    log,
    logs,
    mapped,
    one,
    span,
    traces,
)

HTTP = {"http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200}


def metadata(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(event.metadata)
    return found


@pytest.mark.parametrize(
    ("kind", "attributes", "name", "wanted"),
    [
        (SERVER, HTTP, "GET /a", ("api_call", "http")),
        (SERVER, {"http.method": "GET", "gen_ai.system": "x", "rpc.system": "grpc"}, "x", ("api_call", "http")),
        (SERVER, {"http.status_code": 200, "http.route": "/a"}, "GET /a", ("api_call", "http")),
        (SERVER, {"http.status_code": 200}, "GET /a", ("action", "other")),
        (SERVER, {"rpc.system": "grpc"}, "pkg.Svc/Do", ("action", "rpc")),
        (SERVER, {"graphql.operation.name": "Q"}, "q", ("action", "graphql")),
        (SERVER, {"component": "graphql", "query": "{ a }"}, "q", ("action", "graphql")),
        (SERVER, {"component": "http", "query": "{ a }"}, "q", ("action", "other")),
        (SERVER, {"mcp.method.name": "tools/call", "rpc.system": "jsonrpc"}, "x", ("action", "mcp")),
        (SERVER, {"faas.trigger": "http"}, "fn", ("action", "faas")),
        (CLIENT, HTTP, "GET", ("api_call", "http")),
        (CLIENT, {"http.request.method": "GET"}, "GET", ("api_call", "http")),
        (CLIENT, {**HTTP, "db.system": "elasticsearch"}, "search", ("action", "db")),
        (CLIENT, {"rpc.system": "aws-api", "http.status_code": 200}, "S3.Get", ("action", "rpc")),
        (CLIENT, {"gen_ai.usage.input_tokens": 3}, "chat", ("action", "genai")),
        (CLIENT, {"gen_ai.conversation.id": "c"}, "x", ("action", "other")),
        (CLIENT, {"http.response.status_code": 200}, "x", ("action", "other")),
        (INTERNAL, HTTP, "GET /a", ("api_call", "http")),
        (INTERNAL, {"http.request.method": "GET"}, "GET", ("action", "internal")),
        (INTERNAL, {**HTTP, "express.type": "middleware"}, "mw", ("skip", "plumbing")),
        (SERVER, {**HTTP, "express.type": "router"}, "r", ("api_call", "http")),
        (INTERNAL, {"asgi.event.type": "http.response.start", "http.status_code": 200}, "x", ("skip", "plumbing")),
        (INTERNAL, {}, "graphql.resolve hero", ("skip", "plumbing")),
        (CLIENT, {}, "GraphQL Parsing", ("skip", "plumbing")),
        (INTERNAL, {}, "graphql.execute", ("action", "internal")),
        (0, {}, "work", ("action", "internal")),
        (99, {}, "work", ("action", "internal")),
        (PRODUCER, {}, "send", ("action", "messaging")),
        (CONSUMER, {"messaging.system": "kafka"}, "process", ("action", "messaging")),
        (SERVER, {"http.request.method": "", "url.path": "/a"}, "x", ("action", "other")),
    ],
)
def test_first_rule_that_matches_decides(
    kind: int, attributes: dict[str, Any], name: str, wanted: tuple[str, str]
) -> None:
    (event,) = mapped(traces(span(attributes, kind=kind, name=name)), keep_skips=True).events
    assert (event.event_type, event.family) == wanted


def test_skipped_spans_are_counted_and_come_as_events_only_when_asked_for() -> None:
    request = traces(span({"koa.type": "middleware"}, kind=INTERNAL), span(HTTP, number=2))
    result = mapped(request)
    assert (len(result.events), result.skipped, result.sampled_out, result.failed) == (1, 1, 0, [])
    kept = mapped(request, keep_skips=True)
    assert [(event.event_type, event.reason) for event in kept.events] == [("skip", "koa.type"), ("api_call", "")]


def test_plumbing_becomes_actions_when_the_skip_is_off() -> None:
    request = traces(span({"koa.type": "x"}, kind=INTERNAL), span({}, kind=INTERNAL, name="graphql.parse", number=2))
    result = mapped(request, MappingSettings(skip_plumbing=False))
    assert [event.event_type for event in result.events] == ["action", "action"]


@pytest.mark.parametrize(
    ("attributes", "name", "verb"),
    [
        ({"http.request.method": "get"}, "x", "GET"),
        ({"http.request.method": "_OTHER", "http.request.method_original": "PURGE"}, "x", "PURGE"),
        ({"http.request.method": "GET", "http.request.method_original": "get"}, "x", "GET"),
        ({"http.method": "PROPFIND"}, "x", "PROPFIND"),
        ({"http.method": "_OTHER"}, "HTTP /a", "_OTHER"),
        ({}, "DELETE /a", "DELETE"),
        ({}, "handler", "_OTHER"),
    ],
)
def test_verb(attributes: dict[str, Any], name: str, verb: str) -> None:
    assert one({"http.status_code": 200, "url.path": "/a", **attributes}, name=name).verb == verb


@pytest.mark.parametrize(
    ("status", "wanted"), [(201, 201), ("404", 404), (503.0, 503), (99, 0), (600, 0), ("20x", 0), (True, 0), (200.5, 0)]
)
def test_status_is_read_from_ints_doubles_and_digits(status: Any, wanted: int) -> None:
    assert one({**HTTP, "http.response.status_code": status}).status == wanted


def test_no_status_is_invented_for_a_raised_exception() -> None:
    event = one(
        {"http.request.method": "GET", "url.path": "/a"},
        status=Status(code=Status.STATUS_CODE_ERROR, message="boom"),
        events=[Span.Event(name="exception", attributes=key_values({"exception.type": "asyncio.TimeoutError"}))],
    )
    assert (event.status, event.error_type, event.span_status) == (0, "timeout", 2)
    assert metadata(event)["error.exception_type"] == "asyncio.TimeoutError"
    assert metadata(event)["error.message"] == "boom"


@pytest.mark.parametrize(
    ("attributes", "uri"),
    [
        ({"url.full": "http://h:80/a?b=1#f"}, "http://h/a?b=1"),
        ({"url.full": "https://u:p@h:443/a"}, "https://h/a"),
        ({"url.scheme": "https", "server.address": "h", "server.port": 443, "url.path": "/a"}, "https://h/a"),
        ({"server.address": "h:8000", "server.port": 8000, "url.path": "/a b"}, "http://h:8000/a%20b"),
        ({"server.address": "::1", "server.port": 81, "url.path": "/a"}, "http://[::1]:81/a"),
        ({"http.host": "h:81", "http.target": "/a?b=c%2", "http.scheme": "http"}, "http://h:81/a?b=c%252"),
        ({"server.address": "h", "url.path": "/a", "url.query": "?token=x&a=1"}, "http://h/a?token=REDACTED&a=1"),
        ({"server.address": "h", "url.path": "/a", "url.query": "password=x"}, "http://h/a?password=REDACTED"),
        ({"url.path": "/a"}, "http://shop/a"),
        ({"server.address": "h", "http.route": "/a/{id}"}, "http://h/a/{id}"),
        ({"server.address": ["h"], "net.host.name": "g", "url.path": "/a"}, "http://g/a"),
        ({"url.full": "http://in:1/a", "http.request.header.host": ["pub"]}, "http://pub/a"),
        (
            {"url.path": "/a", "http.request.header.x-forwarded-proto": ["https"], "server.address": "h"},
            "https://h/a",
        ),
    ],
)
def test_uri(attributes: dict[str, Any], uri: str) -> None:
    assert one({"http.request.method": "GET", "http.response.status_code": 200, **attributes}).uri == uri


def test_guessed_and_shortened_uris_say_so() -> None:
    base = {"http.request.method": "GET", "http.response.status_code": 200}
    assert metadata(one({**base, "http.route": "/a"}))["uri_from_route"] is True
    assert one({**base, "http.route": "/a"}).flags == ("uri_host_guessed", "uri_from_route")
    assert metadata(one({**base, "url.path": "/a"}))["uri_host_guessed"] is True
    many = one({**base, "url.path": "/a", "server.address": "h", "url.query": "&".join(["a"] * 600)})
    assert metadata(many)["query_params_dropped"] == 100


@pytest.mark.parametrize(
    ("attributes", "name", "route"),
    [
        ({"http.route": "products/<int:pid>", "url.path": "/products/1"}, "x", "/products/{pid}"),
        ({"http.route": "/", "url.path": "/nothing/here"}, "GET", "/nothing/here"),
        ({"http.route": "/a/12", "url.path": "/a/12"}, "x", "/a/{id}"),
        ({"http.route": "", "url.path": "/a/12"}, "GET", "/a/{id}"),
        ({"url.template": "/a/{n}", "url.path": "/a/12"}, "x", "/a/{n}"),
        ({"url.path": "/a/12"}, "GET /a/:n", "/a/{n}"),
    ],
)
def test_route(attributes: dict[str, Any], name: str, route: str) -> None:
    event = one({"http.request.method": "GET", "http.response.status_code": 200, **attributes}, name=name)
    assert event.route == route


def test_path_templates_are_capped_per_service() -> None:
    spans = [
        span({"http.request.method": "GET", "url.path": f"/page{'x' * n}"}, kind=CLIENT, number=n + 1)
        for n in range(1100)
    ]
    routes = [event.route for event in mapped(traces(*spans)).events]
    assert len(set(routes)) == 1001
    assert routes[-1] == "/{other}"


def test_headers_user_agent_and_ip() -> None:
    event = one(
        {
            **HTTP,
            "http.request.header.x_forwarded_for": ["unknown, 203.0.113.7, 10.0.0.4"],
            "http.request.header.accept": ["a", "b"],
            "http.request.header.authorization": ["Bearer secret"],
            "http.response.header.set-cookie": "sid=secret",
            "user_agent.original": "curl/8",
            "client.address": "10.0.0.4",
        }
    )
    assert event.request_headers == {
        "x-forwarded-for": "unknown, 203.0.113.7, 10.0.0.4",
        "accept": "a, b",
        "authorization": "[REDACTED]",
        "user-agent": "curl/8",
    }
    assert event.response_headers == {"set-cookie": "[REDACTED]"}
    assert (event.ip_address, event.user_agent) == ("203.0.113.7", "curl/8")


def test_headers_in_a_map_and_in_an_event() -> None:
    in_map = one({**HTTP, "http.request.headers": {"X-Api-Version": "3", "Cookie": "c=secret"}})
    assert in_map.request_headers == {"x-api-version": "3", "cookie": "[REDACTED]"}
    assert in_map.api_version == "3"
    sent = Span.Event(
        name="http.request",
        attributes=key_values({"http.request.header.cookie": ["c=secret"], "http.request.body": '{"password": "x"}'}),
    )
    in_event = one(HTTP, events=[sent])
    assert in_event.request_headers == {"cookie": "[REDACTED]"}
    assert orjson.loads(in_event.request_body) == {"password": "[REDACTED]"}


def test_outgoing_calls_have_the_address_of_the_callee() -> None:
    event = one({**HTTP, "url.full": "http://h/v2/a", "network.peer.address": "192.0.2.9"}, kind=CLIENT)
    assert (event.ip_address, event.response_ip_address, event.direction) == ("", "192.0.2.9", "Outgoing")
    assert event.api_version == "v2"


def test_ip_addresses_are_shortened_everywhere_when_asked_for() -> None:
    settings = MappingSettings(masks=MaskSettings(ip_address="truncate"))
    attributes = {
        **HTTP,
        "client.address": "203.0.113.77",
        "net.peer.ip": "203.0.113.77",
        "http.request.header.x_forwarded_for": ["203.0.113.77"],
    }
    event = one(attributes, settings)
    assert event.ip_address == "203.0.113.0"
    assert "203.0.113.77" not in repr(event)


def test_bodies_are_dropped_when_log_body_is_off() -> None:
    attributes = {**HTTP, "http.request.body": '{"a": 1}', "http.response.body": b"raw"}
    kept = one(attributes)
    assert (kept.request_body, kept.request_body_encoding) == ('{"a": 1}', "json")
    assert (kept.response_body, kept.response_body_encoding) == ("cmF3", "base64")
    dropped = one(attributes, MappingSettings(log_body=False))
    assert (dropped.request_body, dropped.response_body) == ("", "")


def test_large_body_is_cut_and_says_so() -> None:
    event = one({**HTTP, "http.request.body": orjson.dumps(["x" * 500_000]).decode()})
    assert event.request_body_encoding == "base64"
    assert len(event.request_body) == 450 * 1024 * 4 // 3
    assert metadata(event)["body_truncated"] is True


@pytest.mark.parametrize(
    ("start", "end", "received", "flags"),
    [
        (NOW, NOW + 1_000_000, NOW, ()),
        (NOW, NOW - 1, NOW, ("end_before_start",)),
        (0, NOW, NOW, ("no_start_time",)),
        (NOW, 0, NOW, ("no_end_time",)),
        (NOW + 301 * 10**9, NOW + 302 * 10**9, NOW, ("clock_skew",)),
        (NOW - 301 * 10**9, NOW, NOW, ("late",)),
    ],
)
def test_odd_times_are_flagged(start: int, end: int, received: int, flags: tuple[str, ...]) -> None:
    event = one({**HTTP, "server.address": "h"}, start_time_unix_nano=start, end_time_unix_nano=end)
    assert event.flags == flags
    assert event.end_unix_ns >= event.start_unix_ns > 0


def test_links_remote_parent_and_retries() -> None:
    link = Span.Link(trace_id=bytes(range(16)), span_id=b"12345678", attributes=key_values({"token": "x", "a": 1}))
    event = one({**HTTP, "http.request.resend_count": 2}, links=[link], parent=9, flags=0x301)
    assert orjson.loads(event.links) == [
        {
            "trace_id": bytes(range(16)).hex(),
            "span_id": b"12345678".hex(),
            "attributes": {"token": "[REDACTED]", "a": 1},
        }
    ]
    assert metadata(event)["remote_parent"] is True
    assert metadata(event)["retry"] == 2
    assert event.parent_id == "0000000000000009"


def test_a_caller_cannot_hide_calls_by_repeating_a_transaction_id() -> None:
    stated = {"http.request.header.x-moesif-transaction-id": ["1b4e28ba-2fa1-41d2-883f-0016d3cca427"]}
    first, second = mapped(traces(span({**HTTP, **stated}), span({**HTTP, **stated}, number=2))).events
    assert first.transaction_id != second.transaction_id
    assert first.transaction_id == one(HTTP).transaction_id, "its log line has the same"
    assert first.request_headers["x-moesif-transaction-id"] == "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


def test_the_same_records_of_two_tenants_are_two_and_lend_each_other_nobody() -> None:
    settings = MappingSettings(inherit_across_requests_s=60)
    mapping = Mapper(settings, Sampler(SamplingSettings()))
    owned = Decoder().traces(traces(span({**HTTP, "user.id": "ann"})).SerializeToString())
    bare = Decoder().traces(traces(span(HTTP, number=2)).SerializeToString())
    line = Decoder().logs(logs(log("x", trace_id=bytes(range(16)))).SerializeToString())

    def events(decoded: Any, tenant: str) -> list[Event]:
        return mapping.map(decoded, received_unix_ns=NOW, tenant=tenant).events

    (first,), (other,), (none,) = events(owned, "a"), events(owned, "b"), events(owned, "")
    assert len({first.transaction_id, other.transaction_id, none.transaction_id}) == 3
    assert none.transaction_id == one(HTTP).transaction_id
    for decoded in (bare, line):
        assert [event.user_id for event in events(decoded, "c")] == [""]
        assert [event.user_id for event in events(decoded, "a")] == ["ann"]
        assert events(decoded, "a")[0].transaction_id != events(decoded, "c")[0].transaction_id


def test_stated_weights_may_be_text_and_are_cut_to_what_the_store_holds() -> None:
    for weight, shown in ((" 4 ", 4), ("10.0", 10), ("1e3", 1), ("", 1), ("-5", 1), ("\u0664", 1), (1e300, 1_000_000)):
        assert one({**HTTP, "moesif.weight": weight}).decision.weight == shown
    before = capped.count
    (event,) = mapped(
        traces(span({**HTTP, "sampling.weight": 999_999}, trace_id=b"\xff" * 16)),
        sampling=SamplingSettings(rate="0.001"),
    ).events
    assert event.decision.weight == HEAVIEST
    assert event.decision.adjusted_count == HEAVIEST
    assert capped.count == before + 1
    assert b"".join(insert([event], 7, 30).blocks)


def test_a_threshold_of_a_caller_is_believed_up_to_a_ceiling() -> None:
    def counted(state: str, **settings: Any) -> tuple[int, str]:
        decoded = Decoder().traces(traces(span(HTTP, trace_id=b"\xff" * 16, trace_state=state)).SerializeToString())
        for sample in (True, False):
            mapping = Mapper(MappingSettings(), Sampler(SamplingSettings(**settings), ceiling=CEILING))
            (event,) = mapping.map(decoded, received_unix_ns=NOW, sample=sample).events
        return event.decision.weight, event.decision.upstream

    assert counted("ot=th:ffff0") == (1, "implausible")
    assert counted("ot=th:ffc") == (1, "implausible"), "1,024"
    assert counted("ot=th:ff") == (256, "th")
    assert counted("ot=p:20", legacy_pr=True)[0] == 1
    assert counted("ot=th:ffff0", max_upstream_adjusted_count=100_000) == (65_536, "th")
    assert counted("ot=th:ff", max_upstream_adjusted_count=100) == (1, "implausible")


@pytest.mark.parametrize(
    ("kind", "attributes", "span_name", "action_name"),
    [
        (SERVER, {"rpc.system": "grpc", "rpc.method": "pkg.Svc/Do"}, "x", "pkg.Svc/Do"),
        (SERVER, {"rpc.service": "pkg.Svc", "rpc.method": "Do"}, "x", "pkg.Svc/Do"),
        (SERVER, {"rpc.system": "grpc"}, "/pkg.Svc/Do", "pkg.Svc/Do"),
        (SERVER, {"graphql.operation.type": "query", "graphql.operation.name": "Hero"}, "x", "query Hero"),
        (SERVER, {"graphql.operation.type": "query"}, "x", "query"),
        (CLIENT, {"db.system": "pg", "db.query.summary": "SELECT a"}, "x", "SELECT a"),
        (CLIENT, {"db.system": "pg", "db.operation": "SELECT", "db.sql.table": "a"}, "x", "SELECT a"),
        (CLIENT, {"db.system": "pg", "db.operation": "SELECT"}, "shop", "shop"),
        (CLIENT, {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, "x", "chat m"),
        (CLIENT, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, "x", "execute_tool t"),
        (SERVER, {"mcp.method.name": "tools/call", "gen_ai.tool.name": "t"}, "x", "tools/call t"),
        (SERVER, {"mcp.method.name": "tools/list"}, "x", "tools/list"),
        (INTERNAL, {"moesif.action_name": "Signed Up"}, "x", "Signed Up"),
    ],
)
def test_action_name(kind: int, attributes: dict[str, Any], span_name: str, action_name: str) -> None:
    assert one(attributes, kind=kind, name=span_name).action_name == action_name


def test_action_without_uri_gets_one_of_its_own() -> None:
    assert one({}, kind=INTERNAL, name="load rooms/ä").uri == "otel://shop/internal/load%20rooms%2F%C3%A4"


def test_rpc_status_makes_the_error() -> None:
    failed = one({"rpc.system": "grpc", "rpc.grpc.status_code": 4}, kind=CLIENT)
    assert (failed.error_type, metadata(failed)["action.status"]) == ("timeout", "DEADLINE_EXCEEDED")
    fine = one({"rpc.system": "grpc", "rpc.grpc.status_code": 0}, kind=CLIENT, events=[Span.Event(name="exception")])
    assert (fine.error_type, metadata(fine)["action.status"]) == ("", "OK")


def test_tokens_are_found_under_one_name() -> None:
    event = one({"gen_ai.system": "x", "gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.output_tokens": 5}, kind=CLIENT)
    assert (metadata(event)["action.tokens.input"], metadata(event)["action.tokens.output"]) == (3, 5)


def test_statements_and_prompts_are_kept_only_when_asked_for() -> None:
    attributes = {"db.system": "pg", "db.statement": "SELECT 'secret'", "gen_ai.prompt": "secret"}
    assert "secret" not in repr(one(attributes, kind=CLIENT))
    kept = one(
        attributes, MappingSettings(db=DbSettings(statement=True), genai=GenAiSettings(content=True)), kind=CLIENT
    )
    assert metadata(kept)["db.statement"] == "SELECT 'secret'"
    assert metadata(kept)["gen_ai.prompt"] == "secret"


def test_graphql_document_is_kept_without_its_literals() -> None:
    event = one({"graphql.operation.name": "Q", "graphql.document": 'query Q { user(id: 42, mail: "a@b.c") { n1 } }'})
    assert metadata(event)["graphql.document"] == "query Q { user(id: ?, mail: ?) { n1 } }"


def test_consumer_facts_come_from_gateway_headers() -> None:
    event = one(
        {
            **HTTP,
            "http.request.header.x-request-start": [f"t={(NOW - 7_000_000) // 1_000_000}"],
            "http.response.header.server-timing": ["cdn;dur=1, origin;dur=12.5"],
            "http.response.header.x-cache": ["Hit from cloudfront"],
            "http.response.header.x-ratelimit-limit": ["100"],
            "http.response.header.x-ratelimit-remaining": ["99"],
            "http.response.header.cf-ray": ["7d0-FRA"],
            "feature_flag.key": "new-cart",
            "feature_flag.result.variant": "b",
        }
    )
    found = metadata(event)
    assert found["timings.upstream_ms"] == 12.5
    assert found["timings.queue_ms"] == 2.0
    assert (found["result.cache.hit"], found["result.cache.status"]) == (True, "Hit from cloudfront")
    assert (found["quota.consumed"], found["quota.limit"], found["quota.remaining"]) == (1, 100, 99)
    assert (found["flags.experiment"], found["flags.variant"], found["network.pop"]) == ("new-cart", "b", "FRA")


def test_should_skip_is_counted_and_shown_when_asked_for() -> None:
    settings = MappingSettings(should_skip="req_path == '/a' && hasHeader('X-Probe')")
    request = traces(span({**HTTP, "http.request.header.x_probe": ["1"]}), span(HTTP, number=2))
    result = mapped(request, settings)
    assert (len(result.events), result.skipped) == (1, 1)
    shown = mapped(request, settings, keep_skips=True).events
    assert [(event.event_type, event.reason) for event in shown] == [("skip", "should_skip"), ("api_call", "")]


@pytest.mark.parametrize(
    ("attributes", "weight"),
    [({"moesif.weight": 5}, 5), ({"sampling.weight": 2.0}, 2), ({"weight": 9}, 1), ({"moesif.weight": 0}, 1)],
)
def test_stated_weight_multiplies(attributes: dict[str, Any], weight: int) -> None:
    (event, other) = mapped(traces(span({**HTTP, **attributes}), span(HTTP, number=2))).events
    assert (event.decision.weight, event.decision.adjusted_count) == (weight, float(weight))
    assert other.decision.weight == 1


def test_stated_weight_does_not_count_beside_a_threshold() -> None:
    made = span({**HTTP, "moesif.weight": 5}, trace_state="ot=th:8")
    made.trace_id = b"\xff" * 16
    (event,) = mapped(traces(made)).events
    assert event.decision.weight == 2


def test_fractional_stated_weight_is_right_on_average() -> None:
    spans = []
    for number in range(2000):
        made = span({**HTTP, "moesif.weight": 1.25}, number=number + 1)
        made.trace_id = number.to_bytes(8, "big") + b"\x01" * 8
        spans.append(made)
    weights = [event.decision.weight for event in mapped(traces(*spans)).events]
    assert set(weights) == {1, 2}
    assert abs(sum(weights) / len(weights) - 1.25) < 0.05  # five standard deviations


def test_unsampled_is_the_decision_of_a_bridge_without_rules() -> None:
    decision = one(HTTP).decision
    assert (decision.weight, decision.adjusted_count, decision.th) == (UNSAMPLED.weight, 1.0, "")


@pytest.mark.parametrize("path", sorted(set(PATHS) - {"severity"}))
def test_every_rule_path_has_a_value_on_a_full_span(path: str) -> None:
    """A rule on a path that mapping never answers would silently never hold."""
    rules = SamplingSettings.model_validate(
        {
            "rules": [
                {"name": "has", "when": [{"path": path, "op": "exists", "value": True}], "rate": 100},
                {"name": "rest", "rate": 0},
            ]
        }
    )
    attributes = {
        **HTTP,
        "http.route": "/a",
        "user.id": "u",
        "company.id": "c",
        "session.id": "s",
        "client.address": "192.0.2.1",
    }
    assert len(mapped(traces(span(attributes)), None, rules, tenant="t").events) == 1
    assert len(mapped(logs(log("x", severity_number=9)), None, rules).events) == int(path == "service")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("request.headers.X-Tier", "gold"),
        ("request.headers.authorization", "Bearer x"),
        ("request.body.order.kind", "large"),
        ("span.kind", "server"),
        ("url.path", "/a"),
        ("status_class", "2xx"),
        ("attr.http.request.method", "GET"),
    ],
)
def test_rule_paths_read_what_the_sender_wrote(path: str, value: str) -> None:
    rules = SamplingSettings.model_validate(
        {
            "rules": [
                {"name": "is", "when": [{"path": path, "op": "eq", "value": value}], "rate": 100},
                {"name": "rest", "rate": 0},
            ]
        }
    )
    attributes = {
        **HTTP,
        "http.request.header.x_tier": ["gold"],
        "http.request.header.authorization": ["Bearer x"],
        "http.request.body": '{"order": {"kind": "large"}}',
    }
    assert len(mapped(traces(span(attributes)), None, rules).events) == 1


def test_stated_direction_wins() -> None:
    assert one({**HTTP, "moesif.direction": "outgoing"}).direction == "Outgoing"
    assert one({"moesif.direction": "Incoming"}, kind=INTERNAL).direction == "Incoming"


def test_error_type_of_an_exception_is_kept_where_no_attribute_says_it() -> None:
    raised = Span.Event(name="exception", attributes=key_values({"exception.type": "E"}))
    assert metadata(one(HTTP, events=[raised]))["error.type"] == "E"
    assert metadata(one({**HTTP, "error.type": "500"}, events=[raised]))["error.type"] == "500"


def test_plumbing_is_skipped_and_not_sampled() -> None:
    """What is skipped anyway is neither counted by the sampler nor called sampled out, also where it decides early."""
    sampler = Sampler(SamplingSettings(rate=0))
    assert sampler.early
    request = traces(
        span({"express.type": "middleware"}, kind=INTERNAL, number=1),
        span({}, kind=SERVER, name="graphql.parse", number=2),
        span({"a": 1}, kind=INTERNAL, number=3),
        span({"http.request.method": "GET", "url.path": "/"}, number=4),
    )
    result = Mapper(MappingSettings(), sampler).map(Decoder().traces(request.SerializeToString()), received_unix_ns=NOW)
    assert (result.skipped, result.sampled_out) == (2, 2)
    assert sum(sums.records for sums in sampler.tally.take().values()) == 2


@pytest.mark.parametrize("text", ["1795193699.993", "t=1795193699993", "t=1795193699993000"])
def test_the_queue_is_timed_from_seconds_milliseconds_or_microseconds(text: str) -> None:
    event = one({"http.request.method": "GET", "url.path": "/x", "http.request.header.x-request-start": [text]})
    assert orjson.loads(event.metadata)["timings.queue_ms"] == pytest.approx(2.0, abs=0.01)


def test_times_beyond_64_bits_and_unknown_status_codes_reach_every_sink_as_none() -> None:
    event = one(start_time_unix_nano=NOW, end_time_unix_nano=2**64 - 1)
    assert (event.end_unix_ns, event.duration_ms, event.flags) == (NOW, 0.0, ("no_end_time",))
    event = one(start_time_unix_nano=2**63, end_time_unix_nano=2**64 - 1)
    assert (event.start_unix_ns, event.end_unix_ns) == (NOW, NOW)
    assert one(start_time_unix_nano=2**64 - 1, end_time_unix_nano=NOW).start_unix_ns == NOW
    for code in (-(2**31), 3, 255, 256, 2**31 - 1):
        assert one(status=Status(code=Status.StatusCode.ValueType(code))).span_status == 0


def test_a_logged_duration_of_more_than_a_year_is_no_duration() -> None:
    body = {"method": "GET", "path": "/a", "status": 200}
    for odd in ({"duration_ms": 1e17}, {"duration": "9999999999999999h"}, {"request_time": "1e17"}):
        (event,) = mapped(logs(log({**body, **odd}))).events
        assert (event.duration_ms, event.start_unix_ns) == (-1.0, NOW)


def test_headers_shown_from_memory_are_those_that_masks_show() -> None:
    values = {
        "accept": "text/html;q=0.9",
        "referer": "https://u:pw@a.test/x?token=s3cret&b=1",
        "x-original": '/a;token=s3cret?b="c"',
        "link": "<https://a.test/?api_key=s3cret>; rel=next",
        "authorization": "Basic dTpwdw==",
        "from": "u@a.test",
    }
    sent = HTTP | {f"http.request.header.{name}": [text] for name, text in values.items()}
    shown = mapped(traces(span(sent), span(sent))).events
    masks = Context(MappingSettings()).masks
    assert [dict(event.request_headers) for event in shown] == [dict(masks.headers(values))] * 2
    assert "s3cret" not in repr(shown)


def test_what_masks_remember_of_headers_is_bounded() -> None:
    masks = Context(MappingSettings()).masks
    for number in range(3000):
        masks.header_texts[f"a?b={number}"]
        masks.header_texts[f"a?b={number}" + "x" * 300]
    assert len(masks.header_texts) <= 1024
    assert max(map(len, masks.header_texts)) <= 256
