"""What a question is made of: its SQL from the files beside this one, its values, the conditions on its rows.

Nothing a caller passes becomes SQL text: values travel as parameters, columns are looked up.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import NamedTuple

from exporter.clickhouse.schema import TABLE, calls_of, columns

_FILES = ("named.sql", "estimates.sql", "milestones.sql")
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC))

# What `trace`, `tail`, `latest` and `user_calls` return of an event, in this order.
EVENT_COLUMNS = (
    "event_type", "event_time", "received_at", "event_id", "service", "method", "endpoint", "uri", "name", "action",
    "family", "direction", "status_code", "error_type", "duration_ms", "user_id", "company_id", "plan", "weight",
    "adjusted_count", "severity", "body", "trace_id", "span_id", "parent_span_id", "span_status", "source", "tenant",
    "toJSONString(metadata) AS attributes", "flags",
)  # fmt: skip
# By `hops`: the rows of which it must be known whether they count, and what counts.
_HOPS = {
    "entry": ("api_call.call_place IN (1, 2, 4)", "entry"),
    "all": ("api_call.call_place != 0", "direction = 'incoming'"),
}
# Columns that the rest of a trace may fill in where a call itself says nothing.
_OF_TRACE = {
    "user_id": "user_id",
    "developer_id": "user_id",
    "company_id": "company_id",
    "organization_id": "company_id",
}
_OPERATORS = {"=": "=", "==": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<=", "~": "LIKE"}
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(==|!=|>=|<=|=|>|<|~)\s*(.*)", re.DOTALL)


class Statement(NamedTuple):
    """SQL and the values of its {name:Type} parameters."""

    sql: str
    parameters: Mapping[str, object]


class Condition(NamedTuple):
    """One condition on an event: a column of api_events, or `metadata.<key>`."""

    column: str
    operator: str
    value: str


def parse_condition(text: str) -> Condition:
    """`column=value`, with = != > >= < <= or ~ (contains, % and _ are wildcards). Raises ValueError."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a condition: {text!r}; write column=value, with = != > >= < <= or ~")
    condition = Condition(found[1], _OPERATORS[found[2]], found[3].strip())
    _term(condition, 0)
    return condition


def statement(
    name: str,
    parameters: Mapping[str, object],
    where: Iterable[Condition] = (),
    replace: Mapping[str, str] | None = None,
    hops: str = "entry",
    file: str = "",
    some: Collection[str] = (),
    only: str = "",
) -> Statement:
    """hops: `entry` counts a call once, where it came in; `all` counts every service that it passed.

    file: that has the SQL of this name; "" for those of named questions. some: columns; what is asked of them alone
    stands for $outcomes. only: what else the question asks of each of its $calls, by columns of `api_call`,
    so that no more of them are resolved (api_calls.sql).
    """
    if hops not in _HOPS:
        raise ValueError(f"hops is {' or '.join(_HOPS)}, not {hops!r}")
    sql = (_texts(file) if file else _texts(*_FILES))[name]
    where = list(where)
    conditions, of_where = terms_of(where)
    values = {**parameters, **of_where}
    texts = {
        "$calls": _calls(hops, where, only),
        "$where": conditions,
        "$outcomes": terms_of(where, some)[0],
        "$event": ", ".join(EVENT_COLUMNS),
        **(replace or {}),
    }
    for mark, text in texts.items():
        sql = sql.replace(mark, text)
    return Statement(sql, values)


def _calls(hops: str, where: Sequence[Condition], only: str) -> str:
    """Customers' calls, or all hops of them, and the beginning of a WHERE."""
    rows, counts = _HOPS[hops]
    asked = [rows, only, *(_of_row(condition, number) for number, condition in enumerate(where))]
    return f"({calls_of(TABLE, ''.join(f' AND {term}' for term in asked if term))}) WHERE {counts}"


def _of_row(condition: Condition, number: int) -> str:
    """A condition as one on a row by itself, whose trace may say whose it is."""
    term = _term(condition, number, "api_call.")[0]
    named = _OF_TRACE.get(condition.column)
    return f"({term} OR api_call.{named} = '')" if named else term


def terms_of(where: Iterable[Condition], some: Collection[str] | None = None) -> tuple[str, dict[str, object]]:
    """The conditions as SQL that goes on after a WHERE, and its parameters; some: only those on these columns.

    Raises ValueError.
    """
    terms = {n: _term(one, n) for n, one in enumerate(where) if some is None or one.column in some}
    return "".join(f" AND {sql}" for sql, _ in terms.values()), {f"where{n}": v for n, (_, v) in terms.items()}


def _term(condition: Condition, number: int, of: str = "") -> tuple[str, str | float]:
    """A condition as SQL with one parameter, and the parameter's value; of: before its column. Raises ValueError."""
    column, operator, value = condition
    if operator not in _OPERATORS.values():
        raise ValueError(f"unknown operator {operator!r}")
    known = columns()
    if column.startswith("metadata."):
        path = ".".join(f"`{part}`" for part in column.split(".")[1:])
        left, numeric = f"{of}metadata.{path}::String", False
    elif column in known and not re.match(r"JSON|Map|Array", known[column]):
        kind = known[column]
        left, numeric = f"{of}{column}", bool(re.match(r"(?:Nullable\()?(?:U?Int|Float)", kind))
        if kind.startswith("DateTime64"):
            return f"{left} {operator} parseDateTime64BestEffort({{where{number}:String}}, 6, 'UTC')", value
    else:
        raise ValueError(f"no column {column!r}")
    if numeric:
        try:
            return f"{left} {operator} {{where{number}:Float64}}", float(value)
        except ValueError:
            raise ValueError(f"{column} is a number, {value!r} is none") from None
    if operator == "LIKE" and "%" not in value:
        value = f"%{value}%"
    if operator in (">", ">=", "<", "<="):
        return f"toFloat64OrNull(toString({left})) {operator} toFloat64({{where{number}:String}})", value
    return f"{left} {operator} {{where{number}:String}}", value


@functools.cache
def _texts(*names: str) -> dict[str, str]:
    folder = files("exporter.clickhouse.queries")
    text = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
    found = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: "\n".join(line for line in body.strip().splitlines() if not line.startswith("--"))
        for name, body in zip(found[::2], found[1::2], strict=True)
    }


def names() -> list[str]:
    """The names of all queries."""
    return list(_texts(*_FILES))
