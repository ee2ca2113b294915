"""Questions in SQL and by name: what `weighbridge query` takes, as a page with forms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from exporter.clickhouse import queries
from weighbridge.commands.errors import CommandError
from weighbridge.commands.named_query import WHEN_NOT_GIVEN, asked, is_name, parameters_of, said_under
from weighbridge.console.answers import Parameter, Question, Sql
from weighbridge.console.reading import Reading
from weighbridge.console.store import Unanswered

WITH: Final = "with."  # before the name of a question's parameter in an address


async def ask(reading: Reading, sql: str, name: str, given: Mapping[str, str], sample_unit: str, most: int) -> Sql:
    """The answer, or why there is none. name: of a question; "" for SQL. most: rows."""
    table, refused = None, ""
    try:
        if name:
            texts = [f"{key}={value}" for key, value in given.items() if value]
            missing = [one.name for one in _parameters(name, given) if one.needed and not one.value]
            if not missing:
                arguments, statement = asked(name, texts, sample_unit, datetime.now(UTC))
                said = list(said_under(name, statement, texts))
                table = await reading.question(name, arguments, statement, said, most)
        elif sql.strip():
            if is_name(sql):
                raise CommandError(f"{sql.strip()!r} is no SQL; questions by name stand beside")
            table = await reading.table(sql, most)
    except CommandError as error:
        refused = error.message
    except Unanswered as error:
        if not (error.wrong or error.limit):
            raise
        refused = str(error)
    return Sql(
        sql=sql,
        name=name,
        about=_about(name) if name else "",
        parameters=_parameters(name, given) if name else [],
        questions=[Question(name=one, about=_about(one)) for one in queries.names()],
        table=table,
        refused=refused,
    )


def known() -> list[str]:
    """Every parameter that some question has, as it stands in an address."""
    return sorted({WITH + key for name in queries.names() for key in parameters_of(getattr(queries, name))})


def names() -> list[str]:
    return queries.names()


def is_known(name: str) -> bool:
    return name in queries.names()


def _parameters(name: str, given: Mapping[str, str]) -> list[Parameter]:
    found = []
    for key, parameter in parameters_of(getattr(queries, name)).items():
        needed = parameter.default is inspect.Parameter.empty and key not in WHEN_NOT_GIVEN
        usual = "" if needed else WHEN_NOT_GIVEN.get(key) or _worded(parameter.default)
        found.append(Parameter(name=key, value=given.get(key, ""), usual=usual, needed=needed))
    return found


def _worded(default: Any) -> str:
    return "" if default in (None, (), inspect.Parameter.empty) else str(default)


def _about(name: str) -> str:
    return (getattr(queries, name).__doc__ or "").strip().splitlines()[0]


def numeric(rows: Sequence[Sequence[Any]], place: int) -> bool:
    """Whether a column of an answer holds numbers alone."""
    values = [row[place] for row in rows if row[place] is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
