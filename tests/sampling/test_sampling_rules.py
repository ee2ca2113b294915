from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from mapping.sampling.rules import RuleError, compile_condition, compile_conditions

CALL: Mapping[str, object] = {
    "service": "shop",
    "route": "/orders/{id}",
    "url.path": "/orders/7",
    "method": "GET",
    "status": 503,
    "status_class": "5xx",
    "duration_ms": 1250.5,
    "company": "acme",
    "severity": 17,
    "attr.http.retry": True,
    "attr.n": 3,
    "attr.list": ["a"],
}


def holds(path: str, op: str, value: object, facts: Mapping[str, object] = CALL) -> bool:
    return compile_condition(path, op, value)(facts.get)


@pytest.mark.parametrize(
    ("path", "op", "value"),
    [
        ("company", "eq", "acme"),
        ("status", "eq", 503),
        ("status", "eq", "503"),
        ("attr.http.retry", "eq", True),
        ("attr.n", "eq", 3.0),
        ("method", "in", ["GET", "HEAD"]),
        ("status", "in", [500, 503]),
        ("route", "prefix", "/orders"),
        ("url.path", "regex", "rders/[0-9]+$"),
        ("status", "regex", "^5"),
        ("status", "gte", 500),
        ("duration_ms", "gte", 1000),
        ("duration_ms", "lte", 1250.5),
        ("company", "exists", True),
        ("user", "exists", False),
        ("severity", "gte", "WARN"),
        ("severity", "eq", "error"),
        ("severity", "in", ["ERROR", 1]),
        ("severity", "lte", "ERROR"),
    ],
)
def test_condition_holds(path: str, op: str, value: object) -> None:
    assert holds(path, op, value)


@pytest.mark.parametrize(
    ("path", "op", "value"),
    [
        ("company", "eq", "Acme"),
        ("attr.http.retry", "eq", 1),
        ("attr.list", "eq", "a"),
        ("method", "in", ["POST"]),
        ("route", "prefix", "orders"),
        ("url.path", "regex", "^orders"),
        ("status", "lte", 499),
        ("company", "gte", 1),
        ("attr.http.retry", "gte", 0),
        ("severity", "gte", "FATAL"),
    ],
)
def test_condition_does_not_hold(path: str, op: str, value: object) -> None:
    assert not holds(path, op, value)


@pytest.mark.parametrize(
    ("op", "value"),
    [("eq", ""), ("eq", "None"), ("in", [""]), ("prefix", "a"), ("regex", ".*"), ("gte", 0), ("lte", 9)],
)
def test_a_condition_on_a_missing_path_is_false(op: str, value: object) -> None:
    assert not holds("user", op, value)


@pytest.mark.parametrize(
    "path",
    [
        "trace_id", "span_id", "tracestate", "rv", "th", "nonsense", "attr.", "", "attr.trace_id", "attr.TraceId",
        "attr.sampling.randomness", "attr.sampling.threshold", "request.headers.traceparent",
        "request.headers.X-B3-TraceId", "request.body.trace_id", "resource.span_id",
    ],
)  # fmt: skip
def test_a_path_that_must_not_or_cannot_choose_a_rate_is_refused(path: str) -> None:
    with pytest.raises(RuleError, match=r"cannot choose a rate|unknown path"):
        compile_condition(path, "eq", "x")


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("regex", "(["),
        ("regex", "(?=a)b"),  # look-around is not linear
        ("regex", r"(a)\1"),
        ("regex", ""),
        ("regex", "a" * 1025),
        ("regex", 7),
        ("prefix", ""),
        ("in", "acme"),
        ("in", []),
        ("in", [{}]),
        ("eq", None),
        ("gte", "10"),
        ("gte", float("nan")),
        ("gte", True),
        ("like", "x"),
    ],
)
def test_an_unusable_condition_is_refused(op: str, value: object) -> None:
    with pytest.raises(RuleError):
        compile_condition("route", op, value)


def test_an_unknown_severity_name_is_refused() -> None:
    with pytest.raises(RuleError, match="LOUD"):
        compile_condition("severity", "gte", "LOUD")


def test_all_conditions_of_a_rule_must_hold_and_none_means_always() -> None:
    both = compile_conditions([("status", "gte", 500), ("company", "eq", "acme")])
    assert both is not None
    assert both(CALL.get)
    assert not both({**CALL, "company": "other"}.get)
    assert compile_conditions([]) is None


def test_a_hostile_pattern_takes_linear_time() -> None:
    """(a+)+$ against many a's takes a backtracking engine until the end of the universe."""
    condition = compile_condition("route", "regex", "(a+)+$")
    started = time.process_time()
    assert not condition({"route": "a" * 100_000 + "b"}.get)
    assert time.process_time() - started < 1.0


def test_text_that_utf8_cannot_carry_is_searched_all_the_same() -> None:
    assert holds("route", "regex", "^/a", {"route": "/a\ud800"})
