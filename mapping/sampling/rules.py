"""Rules: the rate of a record, from facts about it that say nothing about its randomness (spec/sampling.md §7).

A condition on a path that the record does not have is false. Patterns run on RE2, in time linear in the text:
a pattern from the settings, or from a remote configuration, cannot stall the bridge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import re2  # type: ignore[import-untyped]

Facts = Callable[[str], object]  # the value at a path, None when the record has none
Condition = Callable[[Facts], bool]
Lend = Callable[[str, Condition], Condition]  # `CallConditions.add`

OPERATORS = ("eq", "in", "prefix", "regex", "gte", "lte", "exists")
PATHS = (
    "service", "route", "url.path", "method", "status", "status_class", "duration_ms", "user", "company", "session",
    "severity", "span.kind", "name", "tenant", "ip_address",
)  # fmt: skip
PATH_PREFIXES = ("attr.", "resource.", "request.headers.", "request.body.")
# A rate may depend on anything but the randomness and what earlier samplers made of it (spec/sampling.md §0 I5).
REFUSED_PATHS = ("trace_id", "span_id", "tracestate", "trace_state", "rv", "th", "trace.id", "span.id")
REFUSED_KEYS = (  # of attributes and headers, which carry the same
    "trace_id", "traceid", "trace.id", "span_id", "spanid", "span.id", "traceparent", "tracestate", "b3",
    "x-b3-traceid", "x-b3-spanid", "sampling.threshold", "sampling.randomness",
)  # fmt: skip
MAX_PATTERN_CHARACTERS = 1024

# SeverityNumber of each name's first level; each name spans four (OpenTelemetry Logs Data Model,
# SeverityNumber).
SEVERITIES = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "WARNING": 13, "ERROR": 17, "FATAL": 21}


class RuleError(ValueError):
    """A condition that cannot be used. Settings refuse it; a remote configuration skips that rule."""


def compile_conditions(conditions: Sequence[tuple[str, str, object]], lend: Lend | None = None) -> Condition | None:
    """One test for all (path, op, value) together.

    None when there are none and the rule applies to every record. lend: makes each test one that calls can answer.
    """
    tests = [(path, compile_condition(path, op, value)) for path, op, value in conditions]
    return conjunction([test if lend is None else lend(path, test) for path, test in tests])


def conjunction(tests: Sequence[Condition]) -> Condition | None:
    """All of them together; None when there are none."""
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]

    def every(facts: Facts) -> bool:
        return all(test(facts) for test in tests)

    return every


def compile_condition(path: str, op: str, value: object) -> Condition:
    """The test for one condition. Raises RuleError with a text for the operator."""
    check_path(path)
    return compile_test(path, op, value)


def compile_test(path: str, op: str, value: object) -> Condition:
    """As `compile_condition`, of a path that the caller has checked."""
    if path == "severity":
        op, value = _severity(op, value)
    if op == "exists":
        wanted = value is not False
        return lambda facts: (facts(path) is not None) == wanted
    if op == "eq":
        return _one_of(path, [value])
    if op == "in":
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise RuleError(f"{path} in: value must be a list")
        return _one_of(path, value)
    if op in ("gte", "lte"):
        return _compare(path, op, value)
    if op in ("prefix", "regex"):
        if not isinstance(value, str) or not value:
            raise RuleError(f"{path} {op}: value must be a text that is not empty")
        return _prefix(path, value) if op == "prefix" else _search(path, value)
    raise RuleError(f"unknown op {op!r}; one of {', '.join(OPERATORS)}")


def check_path(path: str) -> None:
    key = next((path[len(prefix) :].lower() for prefix in PATH_PREFIXES if path.startswith(prefix)), "")
    if path in REFUSED_PATHS or key in REFUSED_KEYS:
        raise RuleError(
            f"{path} cannot choose a rate: rates must not depend on the randomness that they are compared with"
        )
    if path in PATHS or any(path.startswith(p) and len(path) > len(p) for p in PATH_PREFIXES):
        return
    known = ", ".join([*PATHS, *(f"{prefix}*" for prefix in PATH_PREFIXES)])
    raise RuleError(f"unknown path {path!r}; one of {known}")


def pattern(text: str) -> Callable[[str], bool]:
    """An unanchored, case-sensitive search.

    Raises RuleError for what RE2 refuses, look-around and back-references included.
    """
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise RuleError(f"pattern longer than {MAX_PATTERN_CHARACTERS} characters")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        search = re2.compile(text, options=options).search
    except (re2.error, UnicodeError) as error:
        raise RuleError(f"bad pattern {text!r}: {_reason(error)}") from error

    def found(value: str) -> bool:
        try:
            return search(value) is not None
        except UnicodeError:  # a lone surrogate, which UTF-8 cannot carry
            return search(value.encode("utf-8", "replace").decode()) is not None

    return found


def as_text(value: object) -> str | None:
    """How a fact reads to prefix, regex and eq against a text.

    None for what has no single text (lists, maps, bytes).
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else None


def _one_of(path: str, values: Sequence[object]) -> Condition:
    texts = {as_text(value) for value in values}
    if None in texts:
        raise RuleError(f"{path}: compare with texts, numbers or booleans")

    def test(facts: Facts) -> bool:
        return (value := facts(path)) is not None and as_text(value) in texts

    return test


def _compare(path: str, op: str, value: object) -> Condition:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise RuleError(f"{path} {op}: value must be a number")
    bound = value
    at_least = op == "gte"

    def test(facts: Facts) -> bool:
        fact = facts(path)
        if isinstance(fact, bool) or not isinstance(fact, int | float):
            return False
        return fact >= bound if at_least else fact <= bound

    return test


def _prefix(path: str, text: str) -> Condition:
    def test(facts: Facts) -> bool:
        value = as_text(facts(path))
        return value is not None and value.startswith(text)

    return test


def _search(path: str, text: str) -> Condition:
    found = pattern(text)

    def test(facts: Facts) -> bool:
        value = as_text(facts(path))
        return value is not None and found(value)

    return test


def _severity(op: str, value: object) -> tuple[str, object]:
    """Severity names become numbers: `gte WARN` is 13 and above, `eq ERROR` any of 17 to 20."""
    if op in ("eq", "in"):
        values = [value] if op == "eq" else value
        if isinstance(values, Sequence) and not isinstance(values, str):
            return "in", [level for item in values for level in _levels(item)]
    elif op in ("gte", "lte") and isinstance(value, str):
        return op, _levels(value)[0 if op == "gte" else -1]
    return op, value


def _levels(name: object) -> list[object]:
    if not isinstance(name, str):
        return [name]
    if name.upper() not in SEVERITIES:
        raise RuleError(f"severity {name!r}: use a number 1..24 or one of {', '.join(SEVERITIES)}")
    first = SEVERITIES[name.upper()]
    return list(range(first, first + 4))


def _reason(error: Exception) -> str:
    detail = error.args[0] if error.args else error
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
