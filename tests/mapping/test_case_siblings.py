"""Siblings of the shared cases: the same kinds in other spellings, other places and other types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mapping.event import Event
from mapping.rules import taxonomy
from mapping.rules.identity_settings import IdentifyUser
from mapping.settings import MappingSettings
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


def test_objects_among_the_attributes_tell_of_no_call() -> None:
    event = of_log("m", {"context": {"method": "GET", "path": "/a", "status": 200, "trace_id": TRACE}})
    assert (event.event_type, event.trace_id) == ("log", TRACE)


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
@pytest.mark.parametrize("stand_in", ["", "x", "api_token", "unused"])
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


@pytest.mark.parametrize(
    "word",
    [
        "not_set",
        "(undef)",
        "#undef",
        "Optional[empty]",
        "null@null",
        "<missing>",
        "<redacted>",
        "#<NilClass>",
        ":nil",
        "****",
        "${user_id}",
        "{{user.id}}",
        "{user_id}",
        "$remote_user",
        "%{X-User-Id}i",
        "%REQ(X-USER-ID)%",
        "%v",
        "%!d(string=)",
        "<%=user.id%>",
        "a.b.User@1b2c3d4e",
    ],
)
def test_what_templates_and_languages_print_for_nothing_names_nobody(word: str) -> None:
    for event in (
        of_span({**CALL, "user.id": word, "company.id": word}),
        of_log({**LINE, "user_id": word, "company_id": word}),
    ):
        assert (event.user_id, event.company_id) == ("", "")


@pytest.mark.parametrize("word", ["<object object at 0x7f00aa>", "<bound method User.id>", "<User object>", "not set"])
def test_objects_that_were_printed_name_nobody(word: str) -> None:
    assert of_span({**CALL, "user.id": word}).user_id == ""


@pytest.mark.parametrize(
    "name", ["{x", "$9", "%7Bann", "<ann@example.test>", "ann@b.example", "User object (1)", "a_$b_c", "a.Last@beef"]
)
def test_names_with_odd_letters_stay_names(name: str) -> None:
    assert of_span({**CALL, "user.id": name}).user_id == name


@pytest.mark.parametrize("host", ["None", "null", "(null)", "-", "<nil>"])
def test_a_null_word_is_no_host(host: str) -> None:
    event = of_span({**CALL, "server.address": host, "http.response.status_code": 200})
    assert event.uri in ("http://unknown/a", "http://shop/a")


@pytest.mark.parametrize("sent", ['[ "4711" ]', "[4711]", ["4711"], '["4711"]'])
def test_a_list_of_one_header_is_its_item(sent: Any) -> None:
    event = of_span({**CALL, "http.request.header.x-consumer-id": sent})
    assert (event.user_id, event.request_headers["x-consumer-id"]) == ("4711", "4711")


def test_headers_at_the_top_of_a_line_are_those_of_its_request() -> None:
    event = of_log(
        {"method": "GET", "path": "/a", "status": 200, "headers": {"host": "api.example.test", "x-consumer-id": "4711"}}
    )
    assert (event.uri, event.user_id) == ("http://api.example.test/a", "4711")


@pytest.mark.parametrize("wrapper", ["log", "message", "@message", "log_message", "short_message"])
@pytest.mark.parametrize("twice", [False, True])
def test_the_line_that_a_shipper_has_wrapped_is_read(wrapper: str, twice: bool) -> None:
    line = orjson.dumps({**LINE, "trace_id": TRACE, "password": "hunter2x"}).decode()
    event = of_log({wrapper: orjson.dumps(line).decode() if twice else line, "host": "node-1"})
    assert (event.event_type, event.uri, event.trace_id) == ("api_call", "http://api.example.test/a", TRACE)
    assert "hunter2x" not in repr(event)


def test_what_is_wrapped_as_an_object_keeps_its_ids_and_its_caller() -> None:
    event = of_log({"message": {**LINE, "trace_id": TRACE, "user_id": "4711", "level": "warn"}})
    assert (event.event_type, event.trace_id, event.user_id, event.severity_number) == ("api_call", TRACE, "4711", 13)


@pytest.mark.parametrize(("value", "number"), [(17, 17), ("13", 13), (200, 9), (500, 17), (3, 0)])
def test_numbers_under_severity_are_those_of_opentelemetry_or_of_google(value: Any, number: int) -> None:
    assert of_log({"message": "m", "severity": value}).severity_number == number


@pytest.mark.parametrize(
    ("sent", "path", "route"),
    [
        ("/users/:id{[0-9]+}", "/users/17", "/users/{id}"),
        ("/days/:day{\\d{4}}/x", "/days/2026/x", "/days/{day}/x"),
        ("GET:/users/{id}", "/users/17", "/users/{id}"),
        ("", "/wallets/0x1f2e3d4c5b6a", "/wallets/{id}"),
        ("", "/a/urn:uuid:0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "/a/{id}"),
        ("", "/confirm/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdef", "/confirm/{id}"),
        ("", "/a/user-12345678", "/a/{id}"),
        ("", "/a/port-8080", "/a/port-8080"),
    ],
)
def test_routes_and_values_of_paths_in_other_spellings(sent: str, path: str, route: str) -> None:
    attributes = {"http.route": sent} if sent else {}
    assert of_span({**CALL, **attributes, "url.path": path}).route == route


@pytest.mark.parametrize(
    "key", ["braintrust.input", "honeyhive_inputs.chat_history", "lmnr.span.output", "langchain.prompt"]
)
def test_prompts_of_more_conventions_are_dropped(key: str) -> None:
    assert "blue lorry" not in repr(of_span({key: "the blue lorry"}))


@pytest.mark.parametrize(
    "key",
    [
        "x_user_id",
        "HTTP_X_USER_ID",
        "request_X-User-Id",
        "req_x_user_id",
        "request_header_x_user_id",
        "req.header.x-user-id",
        "reqHeaders.x-user-id",
        "http_headers.X-User-Id",
    ],
)
def test_the_configured_header_names_the_user_under_the_names_that_proxies_give_it(key: str) -> None:
    settings = MappingSettings(identify_user=IdentifyUser(headers=("X-User-Id",)))
    for value, user in (("4711", "4711"), ("<nil>", ""), ("${x_user}", "")):
        (event,) = mapped(logs(log(orjson.dumps({**LINE, key: value}).decode())), settings).events
        assert event.user_id == user


HEADERS = {
    "Host": "api.example.test",
    "X-Consumer-Id": "4711",
    "Authorization": "Token hunter2x",
    "X-Api-Key": "hunter2y",
}


@pytest.mark.parametrize("above", ["request", "req"])
@pytest.mark.parametrize(
    "sent",
    [
        HEADERS,
        [list(pair) for pair in HEADERS.items()],
        [{"name": name, "value": value} for name, value in HEADERS.items()],
        orjson.dumps(HEADERS).decode(),
        orjson.dumps([list(pair) for pair in HEADERS.items()]).decode(),
        {name: [value] for name, value in HEADERS.items()},
    ],
)
def test_headers_of_lines_are_read_and_masked_in_every_form(above: str, sent: Any) -> None:
    event = of_log(
        {"method": "GET", "path": "/a", "status": 200, "hostname": "pod-5d9c7b6f48-x2k7p", above: {"headers": sent}}
    )
    assert (event.uri, event.user_id) == ("http://api.example.test/a", "4711")
    assert "hunter2" not in repr(event)


@pytest.mark.parametrize("sent", ["plain", "{broken", "[]", "[1, 2]", [["a", "b", "c"]], [1], "5"])
def test_what_is_no_list_of_headers_stays_what_it_is(sent: Any) -> None:
    event = of_log({**LINE, "request": {"headers": sent}})
    assert (event.uri, event.request_headers) == ("http://api.example.test/a", {})


@pytest.mark.parametrize("number", ["18446744073709551616", "184467440737095516150123", "-9223372036854775809", "4711"])
@pytest.mark.parametrize("form", ['{{"log": {}}}', "INFO {}", "{}", '{{"message": {}, "kubernetes": {{"pod": "p"}}}}'])
def test_long_numbers_stay_exact_wherever_a_line_stands(number: str, form: str) -> None:
    line = f'{{"method":"GET","path":"/a","status":200,"host":"h","user":{{"id":{number}}}}}'
    event = of_log(form.format(orjson.dumps(line).decode() if form[0] == "{" and len(form) > 2 else line))
    assert event.user_id == number


def test_numbers_that_no_double_holds_are_left_out_of_a_line() -> None:
    event = of_log(
        '{"method":"GET","path":"/a","status":200,"host":"b.test","score":1e400,"password":"hunter2x","x":[-2E999]}'
    )
    assert (event.event_type, event.uri) == ("api_call", "http://b.test/a")
    assert "hunter2x" not in repr(event)
    assert of_span({**CALL, "user.id": 1e21}).user_id == "1000000000000000000000"


@pytest.mark.parametrize("key", ["query", "query_string", "raw_query", "rawQueryString", "args"])
@pytest.mark.parametrize("mark", ["", "?"])
def test_the_first_parameter_of_a_logged_query_names_the_user(key: str, mark: str) -> None:
    settings = MappingSettings(identify_user=IdentifyUser(query_string="user"))
    body = orjson.dumps({**LINE, key: f"{mark}user=4711&a=b"}).decode()
    (event,) = mapped(logs(log(body)), settings).events
    assert (event.user_id, event.uri) == ("4711", "http://api.example.test/a?user=4711&a=b")


@pytest.mark.parametrize(
    ("attributes", "path", "route", "status"),
    [
        (
            {"method": "GET", "status": "200", "uri": "/users/{id}", "http.url": "/users/17"},
            "/users/17",
            "/users/{id}",
            200,
        ),
        ({"method": "GET", "status": 404, "uri": "NOT_FOUND", "http.url": "/x/17"}, "/x/17", "/x/{id}", 404),
        ({"method": "GET", "status": "200", "uri": "root", "http.url": "/"}, "/", "/", 200),
        (
            {"/http/method": "GET", "/http/path": "/users/17", "/http/status_code": "200"},
            "/users/17",
            "/users/{id}",
            200,
        ),
        (
            {"/http/method": "GET", "/http/url": "http://api.example.test/users/17", "/http/status_code": "404"},
            "/users/17",
            "/users/{id}",
            404,
        ),
    ],
)
def test_calls_in_the_words_of_micrometer_and_opencensus(
    attributes: dict[str, Any], path: str, route: str, status: int
) -> None:
    event = of_span(attributes)
    assert (event.event_type, event.verb, event.route, event.status) == ("api_call", "GET", route, status)
    assert event.uri.endswith(path)


def test_a_method_of_a_class_is_no_call() -> None:
    for attributes in ({"method": "refund", "class": "c.e.Service"}, {"method": "GET", "class": "c.e.Service"}):
        assert of_span(attributes, 1).event_type == "action"
