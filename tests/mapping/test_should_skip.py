"""Expressions that say which calls are not reported."""

from __future__ import annotations

import pytest

from mapping.event import API_CALL, UNSAMPLED, Event
from mapping.rules.should_skip import ExpressionError, ShouldSkip, compiled


def call(**fields: object) -> Event:
    texts = dict.fromkeys(Event._fields, "")
    numbers = {"start_unix_ns": 0, "end_unix_ns": 0, "duration_ms": 1.0, "received_unix_ns": 0, "status": 200}
    more = {"span_status": 0, "severity_number": 0, "request_headers": {}, "response_headers": {}, "flags": ()}
    known = {"event_type": API_CALL, "verb": "GET", "uri": "http://h.test/bar/1?x=1", "decision": UNSAMPLED}
    return Event(**{**texts, **numbers, **more, **known, **fields})  # type: ignore[arg-type]


KRAKEND = "( req_method=='GET' || req_path.startsWith('/bar/')) && hasHeader('X-Something')"


@pytest.mark.parametrize(
    ("verb", "uri", "headers", "skipped"),
    [
        ("GET", "http://h.test/foo", {"x-something": ""}, True),
        ("POST", "http://h.test/bar/1?x=1", {"x-something": "1"}, True),
        ("POST", "http://h.test/foo", {"x-something": "1"}, False),
        ("GET", "http://h.test/foo", {}, False),
    ],
)
def test_example_of_krakend_works(verb: str, uri: str, headers: dict[str, str], skipped: bool) -> None:
    rule = ShouldSkip(KRAKEND)
    assert rule.matches(call(verb=verb, uri=uri, request_headers=headers)) is skipped
    assert rule.errors == 0


@pytest.mark.parametrize(
    ("expression", "skipped"),
    [
        ("status >= 500", False),
        ("status < 500 && duration_ms < 5.0", True),
        ("req_path == '/bar/1'", True),
        ("req_path in ['/health', '/bar/1']", True),
        ("req_path.matches('^/b')", True),
        ("['/a', '/bar'].exists(p, req_path.startsWith(p))", True),
        ("request_headers['user-agent'].startsWith('kube-probe')", True),
        ("user_id == '' && event_type == 'api_call'", True),
    ],
)
def test_fields_of_the_event_can_be_asked_for(expression: str, skipped: bool) -> None:
    assert ShouldSkip(expression).matches(call(request_headers={"user-agent": "kube-probe/1"})) is skipped


def test_captured_headers_count_where_the_event_has_masked_ones() -> None:
    assert ShouldSkip("hasHeader('Authorization')").matches(call(), {"authorization": "x"})


def test_call_with_only_a_host_has_the_root_path() -> None:
    assert ShouldSkip("req_path == '/'").matches(call(uri="http://h.test?x=1"))


def test_failing_expression_reports_the_call_and_is_counted() -> None:
    rule = ShouldSkip("request_headers['absent'] == 'x'")
    assert not rule.matches(call())
    assert rule.errors == 1


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("req_method ==", "does not parse"),
        ("req_methd == 'GET'", "knows no req_methd"),
        ("hasHeadr('x')", "knows no function hasHeadr"),
        ("'text'", "must be true or false, not str"),
        ("1 + 1", "must be true or false, not int"),
        ("status", "must be true or false, not int"),
        ("req_path.matches('(')", "cannot search for '\\('"),
        ("status > 500 && req_path.matches(r'(((a{100}){100}){100})')", "cannot search for"),
        ("(" * 2000 + "true" + ")" * 2000, "does not parse"),
        ("!" * 5000 + "true", "more than 4096 characters"),
        ("req_path == '" + "a" * 5000 + "'", "more than 4096 characters"),
        (f"[uri]{'.map(x, x+x+x+x+x+x+x+x)' * 7}.exists(x, x == 'a')", "ms for one call"),
    ],
)
def test_mistakes_are_found_before_the_first_call(expression: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        ShouldSkip(expression)


@pytest.mark.parametrize("expression", ["1 / (status - 200) == 1", "req_path > 5", "hasHeader(5)", "[1][status] == 1"])
def test_expression_that_fails_for_a_call_reports_it(expression: str) -> None:
    rule = ShouldSkip(expression)
    assert not rule.matches(call())
    assert rule.errors == 1


def test_panic_of_the_engine_is_an_error_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """What the engine's panics are: no Exception."""

    class Program:
        def execute(self, context: object) -> object:
            raise Panic("out of range")

    rule = ShouldSkip("status == 1")
    monkeypatch.setattr(rule, "_program", Program())
    assert not rule.matches(call())
    assert rule.errors == 1


def test_of_several_expressions_any_may_hold() -> None:
    rule = compiled(("status == 404", "", "req_method == 'GET'"))
    assert rule is not None
    assert rule.matches(call())
    assert not rule.matches(call(verb="POST"))


@pytest.mark.parametrize("nothing", ["", " ", (), ("",)])
def test_nothing_written_skips_nothing(nothing: str | tuple[str, ...]) -> None:
    assert compiled(nothing) is None
