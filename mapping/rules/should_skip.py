"""`should_skip`: an expression in the Common Expression Language that says which API calls are not reported.

The names are KrakenD's, `req_method`, `req_path` and `hasHeader('x')`, and the text and number fields of an Event.
Mistakes in the expression are found when it is compiled, not when the first call comes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import cel

from mapping.event import API_CALL, EMPTY_HEADERS, UNSAMPLED, Event

_STANDARD_FUNCTIONS = frozenset(
    (
        "bool",
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "int",
        "matches",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
        "hasHeader",
    )
)
# `decision` is not known yet, headers are asked for by hasHeader() or as a map.
EVENT_FIELDS = frozenset(Event._fields) - {"decision", "flags"}
NAMES = EVENT_FIELDS | {"req_method", "req_path"}

_BOUND_NAMES = re.compile(r"\.(?:all|exists|exists_one|filter|map)\(\s*(\w+)\s*,").findall
_PATTERNS = re.compile(r"""\.matches\(\s*(r?(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))\s*\)""").findall
_LONGEST: Final = 4096  # characters; deeper nesting than fits into them would use up the parser's stack
_SLOWEST_MS: Final = 10  # of CPU, for one call with large bodies
_PATH = re.compile(r"[^:/?#]+://[^/?#]*([^?#]*)").match


class ExpressionError(ValueError):
    """The expression cannot be used. The text says why, for the operator who wrote it."""


class ShouldSkip:
    """One compiled expression.

    Costs 1.5 to 3 µs a call. `errors` counts calls for which the expression failed: those calls are reported.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.errors = 0
        self._event: Event | None = None
        self._headers: Mapping[str, str] = EMPTY_HEADERS
        if len(expression) > _LONGEST:
            raise ExpressionError(f"should_skip has more than {_LONGEST} characters")
        self._program = _program(expression)
        self._context = cel.Context(functions={"hasHeader": self._has_header})
        self._context.set_variable_resolver(self._value)
        self._check()

    def matches(self, event: Event, request_headers: Mapping[str, str] | None = None) -> bool:
        """True when the call is not to be reported. request_headers: as captured, where the event's are masked."""
        self._event = event
        self._headers = event.request_headers if request_headers is None else request_headers
        try:
            return _guarded(self._program.execute, self._context) is True
        except Exception:
            # A missing map key or a comparison of unlike types: rather report a call too many than lose one.
            self.errors += 1
            return False
        finally:
            self._event = None

    def _value(self, name: str) -> object:
        event = self._event
        if event is None:
            return None
        if name == "req_method":
            return event.verb
        if name == "req_path":
            path = _PATH(event.uri)
            return path[1] or "/" if path is not None else ""
        return getattr(event, name) if name in EVENT_FIELDS else None

    def _has_header(self, name: str) -> bool:
        return name.lower() in self._headers

    def _check(self) -> None:
        unknown = set(self._program.variables()) - NAMES - set(_BOUND_NAMES(self.expression))
        if unknown:
            raise ExpressionError(f"should_skip knows no {', '.join(sorted(unknown))}")
        functions = {name for name in self._program.functions() if name.isidentifier() and name[:1] != "_"}
        if unknown := functions - _STANDARD_FUNCTIONS:
            raise ExpressionError(f"should_skip knows no function {', '.join(sorted(unknown))}")
        for pattern in _PATTERNS(self.expression):
            try:
                _guarded(_program(f"''.matches({pattern})").execute, cel.Context())
            except Exception as error:
                raise ExpressionError(f"should_skip cannot search for {pattern[:100]}: {_line(error)}") from None
        self._try_out()

    def _try_out(self) -> None:
        """Asks for a call with large bodies. That it fails says nothing: a field may be missing from just this call."""
        self._event, result = _sample(), None
        started = time.thread_time()
        with suppress(Exception):
            result = _guarded(self._program.execute, self._context)
        self._event = None
        took_ms = (time.thread_time() - started) * 1000
        if took_ms > _SLOWEST_MS:
            raise ExpressionError(f"should_skip takes {took_ms:.0f} ms for one call; {_SLOWEST_MS} are too many")
        if result is not None and not isinstance(result, bool):
            raise ExpressionError(f"should_skip must be true or false, not {type(result).__name__}")


def _program(expression: str) -> Any:
    try:
        return _guarded(cel.compile, expression)
    except Exception as error:
        raise ExpressionError(f"should_skip does not parse: {_line(error)}") from None


def _guarded(call: Callable[[Any], Any], argument: Any) -> Any:
    """The result of the engine. Where it panics it raises what no `except Exception` catches; here it is an error."""
    try:
        return call(argument)
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as panic:
        raise RuntimeError(str(panic)) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _sample() -> Event:
    """A call whose bodies are as large as they get for most."""
    empty: dict[str, Any] = {
        name: {} if name.endswith("headers") else 0 if kind in ("int", "float") else ""
        for name, kind in Event.__annotations__.items()
    }
    body = '{"a":"b"}' * 4096
    url = "https://api.example.com/v1/orders/17?page=2"
    known = {"event_type": API_CALL, "verb": "GET", "uri": url, "route": "/v1/orders/{id}", "status": 200}
    return Event(**{**empty, **known, "request_body": body, "response_body": body, "flags": (), "decision": UNSAMPLED})


def compiled(expressions: str | tuple[str, ...]) -> ShouldSkip | None:
    """The expression, or several of which any may hold; None when nothing is to be skipped."""
    written = (expressions,) if isinstance(expressions, str) else expressions
    kept = [expression for expression in written if expression.strip()]
    if not kept:
        return None
    return ShouldSkip(kept[0] if len(kept) == 1 else " || ".join(f"({expression})" for expression in kept))
