"""Siblings of the shared cases: the same kinds in other spellings, other places and other types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mapping.event import Event
from mapping.rules import taxonomy
from mapping_requests import SERVER, log, logs, mapped, span, traces

TRACE = "6b1f0c9d2e7a48538f4d0a1b2c3d4e5f"
SPAN = "0a1b2c3d4e5f6071"
CALL = {"http.request.method": "GET", "url.path": "/a", "server.address": "api.example.test"}
LINE = {"method": "GET", "path": "/a", "status": 200, "host": "api.example.test"}


def of_log(body: Any = "x", attributes: dict[str, Any] | None = None, **more: Any) -> Event:
    text = body if isinstance(body, str) else orjson.dumps(body).decode()
    (event,) = mapped(logs(log(text, attributes=attributes or {}), **more)).events
    return event


def of_span(attributes: dict[str, Any], kind: int = SERVER, **more: Any) -> Event:
    (event,) = mapped(traces(span(attributes, kind=kind), **more)).events
    return event


@pytest.mark.parametrize(
    "context",
    ["spanContext", "trace_context", "contexts.trace", "named_tags", "mdc", "logback.mdc", "log4j.context_data"],
)
def test_ids_below_a_context_link_in_bodies_and_in_attributes_that_hold_objects(context: str) -> None:
    told: dict[str, Any] = {"trace_id": TRACE, "span_id": SPAN}
    flat = {f"{context}.{key}": value for key, value in told.items()}
    for above in reversed(context.split(".")):
        told = {above: told}
    for event in (of_log({"message": "m", **told}), of_log("m", told), of_log("m", flat)):
        assert (event.trace_id, event.span_id) == (TRACE, SPAN)


def test_ids_of_objects_about_something_else_link_nothing() -> None:
    ids = {"trace_id": TRACE, "span_id": SPAN}
    for event in (of_log({"message": "m", "upstream": ids}), of_log("m", {"upstream": ids}), of_log("m", {"job": ids})):
        assert (event.trace_id, event.span_id) == ("", "")


@pytest.mark.parametrize("written", [f'"{TRACE}"', f"{{{TRACE}}}", f" {TRACE}\n", f"'{TRACE}'", f"{TRACE};o=1"])
def test_quotes_braces_and_options_around_an_id_are_no_part_of_it(written: str) -> None:
    assert of_log({"message": "m", "trace_id": written}).trace_id == TRACE


@pytest.mark.parametrize(
    "line",
    [
        f"2026-03-02 09:00:00,000 INFO [app] [x.py:1] [trace_id={TRACE} span_id={SPAN} resource.service.name=a] - hi",
        f"2026-03-02 09:00:00 [traceId: {TRACE}, spanId: {SPAN}] INFO c.e.A - hi",
        f"INFO [otelTraceID={TRACE.upper()} otelSpanID={SPAN.upper()}] hi there",
    ],
)
def test_ids_that_a_pattern_names_before_the_message_link_a_text(line: str) -> None:
    event = of_log(line)
    assert (event.trace_id, event.span_id) == (TRACE, SPAN)
    assert event.body == line


def test_words_about_ids_in_a_text_link_nothing() -> None:
    for line in (f"[x] retrace_id={TRACE} y", f"[trace_id={TRACE}0] x", "[trace_id=unknown] x", "[trace_id=] x"):
        assert of_log(line).trace_id == ""


@pytest.mark.parametrize(
    ("name", "bucket"),
    [
        ("EHOSTUNREACH", "network"),
        ("ENETUNREACH", "network"),
        ("EHOSTDOWN", "network"),
        ("CURLE_COULDNT_RESOLVE_HOST", "network"),
        ("ERR_NAME_NOT_RESOLVED", "network"),
        ("CERT_HAS_EXPIRED", "network"),
        ("cURL error 28", "timeout"),
        ("cURL error 7", "network"),
        ("NSURLErrorDomain -1001", "timeout"),
        ("NSURLErrorDomain -1009", "network"),
        ("HTTP 429", "rate_limit"),
        ("Http404", "not_found"),
        ("http_error_503", "upstream"),
        (" 503 ", "upstream"),
        ("CANCELLED", "cancelled"),
        ("SQLSTATE 42P01", "server"),
    ],
)
@pytest.mark.parametrize("direction", ["Incoming", "Outgoing"])
def test_errors_are_sorted_by_what_other_runtimes_call_them(name: str, bucket: str, direction: str) -> None:
    assert taxonomy.of_failure((name,), direction=direction) == bucket


@pytest.mark.parametrize("weight", [[10], ["10"], [10.0]])
def test_a_weight_in_a_list_of_one_counts(weight: Any) -> None:
    assert of_span({**CALL, "moesif.weight": weight}).decision.weight == 10
    assert of_log(LINE, {"sampling.weight": weight}).decision.weight == 10
    assert of_span({**CALL, "moesif.weight": [weight[0], 3]}).decision.weight == 1


@pytest.mark.parametrize("name", ["cs(Cookie)", "sc(Set-Cookie)", "cs(X-Api-Key)", "cs(x-auth-token)"])
def test_headers_named_as_in_extended_logs_are_masked(name: str) -> None:
    for event in (of_log({"m": 1, name: "sid=hunter2x"}), of_span({**CALL, name: "sid=hunter2x"})):
        assert "hunter2x" not in repr(event)


@pytest.mark.parametrize("user", ["key_sample_51Habcdefghijklmno", "0f9e8d7c6b5a4938271605f4e3d2c1b0"])
@pytest.mark.parametrize("stand_in", ["x", "api_token", "unused"])
def test_a_key_as_the_user_of_a_url_is_hidden_with_its_stand_in(user: str, stand_in: str) -> None:
    url = f"https://{user}:{stand_in}@api.example.test/a"
    for event in (of_log({**LINE, "url": url}), of_log(f"GET {url}"), of_span({**CALL, "url.full": url, "peer": url})):
        assert user not in repr(event)
    assert "ann" in repr(of_log("GET https://ann:hunter2x@api.example.test/a"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["sudo", "mysql", "-phunter2x", "--verbose"],
        ["docker", "exec", "cache", "redis-cli", "-a", "hunter2x", "--verbose"],
        ["env", "A=b", "sshpass", "-p", "hunter2x", "--verbose"],
    ],
)
def test_passwords_of_programs_that_others_start_are_hidden_in_lists(arguments: list[str]) -> None:
    event = of_span(CALL, resource={"service.name": "a", "process.command_args": arguments})
    assert "hunter2x" not in repr(event)
    assert "--verbose" in event.resource
