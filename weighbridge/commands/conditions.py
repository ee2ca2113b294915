"""Conditions as people type them, `status=5xx` or `uri~/orders`: what they mean, and what they do not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from exporter.clickhouse.queries import Condition, parse_condition
from exporter.clickhouse.schema import columns
from weighbridge.commands.errors import CommandError

# The words of people for columns of api_events; any other column works under its own name.
FIELDS = {
    "user": "user_id",
    "company": "company_id",
    "status": "status_code",
    "route": "endpoint",
    "type": "event_type",
    "trace": "trace_id",
    "verb": "method",
    "session": "session_id",
    "parent": "parent_span_id",
}
_WHERE = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(.*)", re.DOTALL)
# A further condition behind a comma; signs of a regular expression, which LIKE takes as letters.
_FURTHER = re.compile(r",\s*([A-Za-z_][\w.]*)\s*(?:[=<>~]|!=)")
_EXPRESSION = re.compile(r"[\^$|\\*+?\[\]()]")


def parse_where(text: str) -> list[Condition]:
    """`field=value` as conditions on columns; `status=5xx` is a range. Raises CommandError."""
    found = _WHERE.fullmatch(text)
    name, rest = found.groups() if found else (text, "")
    value = rest.lstrip("= ").strip().lower()
    if name == "status" and rest.startswith("=") and len(value) == 3 and value.endswith("xx"):
        return _status_class(text, value[0])
    try:
        _one_condition(text, rest)
        return [parse_condition(FIELDS.get(name, name) + rest)]
    except ValueError as error:
        raise CommandError(f"--where {text}: {error}; fields: {', '.join(FIELDS)}, or any column") from error


def _one_condition(text: str, rest: str) -> None:
    """Raises CommandError for what looks like several conditions in one, which would be looked for as one value."""
    for name in _FURTHER.findall(rest):
        if name in FIELDS or name in columns() or name.startswith("metadata."):
            raise CommandError(
                f"--where {text}: a comma does not separate conditions, it is part of the value; "
                f"give each condition its own, as in --where a=1 --where {name}=2"
            )


def said_of(where: Iterable[str]) -> Iterator[str]:
    """What people should know of conditions that mean something else than they may think."""
    for text in where:
        found = _WHERE.fullmatch(text)
        if found and found[2].startswith("~") and _EXPRESSION.search(found[2]):
            yield (
                f"{text}: ~ is LIKE and finds this text anywhere, with % and _ for any characters; "
                "for a regular expression ask in SQL: match(column, '…')"
            )


def _status_class(text: str, digit: str) -> list[Condition]:
    if digit not in "12345":
        raise CommandError(f"--where {text}: a class of statuses is 1xx to 5xx")
    return [Condition("status_code", ">=", f"{digit}00"), Condition("status_code", "<=", f"{digit}99")]
