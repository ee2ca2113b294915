"""Questions by name on the command line: `weighbridge query totals by=company_id since=7d`.

The names, their parameters and what they mean are those of the functions in `exporter.clickhouse.queries`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from exporter.clickhouse import queries
from exporter.clickhouse.queries import Statement
from exporter.clickhouse.reader import Result
from weighbridge.commands.conditions import parse_where, said_of
from weighbridge.commands.errors import CommandError
from weighbridge.commands.moments import parse_length, parse_since

DAY = timedelta(days=1)
WHEN_NOT_GIVEN = {"since": "1d", "until": "now", "after": "1m"}
# Queries with a column of all errors, and what they call those that are not the caller's own.
_COUNT_ERRORS = {
    "totals": "server_errors counts",
    "top_erroring_customers": "server_errors counts",
    "traffic_by_plan": "server_error_rate is of",
}
_FROM_SETTINGS = {"sample_unit"}  # parameters that are not the user's to give


def is_name(text: str) -> bool:
    """Whether it is one word of small letters, which no SQL is."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", text.strip()) is not None


def named(name: str, given: Sequence[str], sample_unit: str, now: datetime) -> Statement:
    """The statement for a name and `parameter=value` texts; about the last day without any. Raises CommandError."""
    return asked(name, given, sample_unit, now)[1]


def asked(name: str, given: Sequence[str], sample_unit: str, now: datetime) -> tuple[dict[str, Any], Statement]:
    """As `named`, with the arguments of the question's function before the statement."""
    if name not in queries.names():
        raise CommandError(
            f"no query is called {name!r} (SQL needs quotes around it); `weighbridge query --list` shows them"
        )
    ask: Callable[..., Statement] = getattr(queries, name)
    wanted = parameters_of(ask)
    values: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or key not in wanted:
            raise CommandError(f"{name}: {text!r} is no parameter; it takes {', '.join(f'{w}=…' for w in wanted)}")
        values.setdefault(key, []).append(value)
    arguments = {key: _value(f"{name}: {key}", wanted[key].annotation, texts, now) for key, texts in values.items()}
    for key, moment in (("since", now - DAY), ("until", now), ("after", now - timedelta(minutes=1))):
        if key in wanted and wanted[key].default is inspect.Parameter.empty:
            arguments.setdefault(key, moment)
    if "sample_unit" in inspect.signature(ask).parameters:
        arguments["sample_unit"] = sample_unit
    missing = [key for key, p in wanted.items() if p.default is inspect.Parameter.empty and key not in arguments]
    if missing:
        raise CommandError(f"{name} needs {' and '.join(f'{key}=…' for key in missing)}")
    try:
        return arguments, ask(**arguments)
    except ValueError as error:
        raise CommandError(f"{name}: {error}") from error


def said_under(name: str, statement: Statement, given: Sequence[str]) -> Iterator[str]:
    """What people should know who read the answer: the time it is about, and what it counts."""
    times = {key: value for key, value in statement.parameters.items() if isinstance(value, datetime)}
    if "since" in times and "until" in times:
        asked = any(text.startswith("since=") for text in given)
        more = "" if asked else f"; {name} since=7d asks about more"
        yield f"from {times['since']:%Y-%m-%d %H:%M} to {times['until']:%Y-%m-%d %H:%M} UTC{more}"
    if name in _COUNT_ERRORS:
        yield (
            "errors are calls with a status from 400, refused ones (401, 403, 429) among them, or that failed without "
            f"a status; {_COUNT_ERRORS[name]} only those from 500 or without a status"
        )
    yield from said_of(text.partition("=")[2] for text in given if text.startswith("where="))


def list_named() -> Result:
    """Every named query, its parameters and what it answers."""
    return Result(("query", "parameters", "answers"), list(_rows()))


def _rows() -> Iterator[tuple[str, str, str]]:
    for name in queries.names():
        ask = getattr(queries, name)
        parameters = [
            f"{key}={WHEN_NOT_GIVEN[key]}"
            if default is inspect.Parameter.empty and key in WHEN_NOT_GIVEN
            else key
            if default in (inspect.Parameter.empty, None, ())
            else f"{key}={_written(default)}"
            if default != ""
            else f"{key}="
            for key, default in ((key, p.default) for key, p in parameters_of(ask).items())
        ]
        yield name, " ".join(parameters), (ask.__doc__ or "").strip().splitlines()[0]


def _written(default: Any) -> str:
    """A default as it would be given."""
    if isinstance(default, timedelta):
        return f"{default // timedelta(days=1)}d"
    return ",".join(default) if isinstance(default, tuple) else str(default)


def parameters_of(ask: Callable[..., Statement]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(ask).parameters
    return {key: parameter for key, parameter in found.items() if key not in _FROM_SETTINGS}


def _value(where: str, kind: str, texts: list[str], now: datetime) -> Any:
    """A parameter of a query from its texts; kind is its annotation, a text too (PEP 563)."""
    if kind == "Iterable[Condition]":
        return [condition for text in texts for condition in parse_where(text)]
    if len(texts) > 1:
        raise CommandError(f"{where} is given more than once")
    text = texts[0]
    if kind.startswith("datetime"):
        return datetime.fromtimestamp(parse_since(text, now, where) / 10**9, UTC)
    if kind == "Sequence[str]":
        return [part.strip() for part in text.split(",")]
    if kind == "timedelta":
        return parse_length(text, where)
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError as error:
            raise CommandError(f"{where}: {text!r} is no number") from error
    return text
