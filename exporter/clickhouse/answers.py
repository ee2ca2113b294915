"""Answers to questions by name: exact from the counts by minute where they can, else from the events that were kept.

An exact answer has no interval; which of the two it is stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from exporter.clickhouse.queries.minutes import Alternative, alternative, verdict
from exporter.clickhouse.queries.statement import Statement
from exporter.clickhouse.reader import Result, StoreError, StoreReader

# Columns that say how sure an estimate is.
_DOUBT: Final = re.compile(r".*_(?:low|high)|low|high|low_confidence|n_eff|sampled_traces")
_NO_TABLE: Final = re.compile(r"code: (?:60|497)\b")  # unknown table, no right to read it


class Answer(NamedTuple):
    """An answer, and where it is from, in a sentence for people; exact: no sampling stands between it and the calls."""

    result: Result
    said: str
    exact: bool


def answer(store: StoreReader, name: str, arguments: Mapping[str, Any], statement: Statement) -> Answer:
    """The answer to a named question. statement: the question to the events. Raises StoreError."""
    found = alternative(name, arguments)
    why = found if isinstance(found, str) else _why_not(store, found)
    if not isinstance(found, str) and not why:
        return Answer(store.run(found.statement), "exact: every call was counted before sampling (api_minutes)", True)
    result = store.run(statement)
    if _is_exact(result):
        return Answer(_without_doubt(result), "exact: every call was kept", True)
    return Answer(result, f"from the events that were kept: {why}" if why else "", False)


def _why_not(store: StoreReader, found: Alternative) -> str:
    """Why the minutes cannot answer; "" when they can."""
    try:
        (row,) = store.run(found.probe).dicts()
    except StoreError as error:
        if _NO_TABLE.search(str(error)):
            return "the store counts no calls by minute"  # it is of an earlier version, or one may not read there
        raise
    elsewhere = 0
    if found.named_elsewhere is not None and row["nameless_calls"]:
        ((elsewhere,),) = store.run(found.named_elsewhere).rows
    return verdict(found, row, elsewhere)


def _is_exact(result: Result) -> bool:
    """Whether an interval was asked for, and none is wider than its number."""
    rows = result.dicts()
    names = [name for name in result.columns if f"{name}_low" in result.columns and f"{name}_high" in result.columns]
    return bool(names and rows) and all(
        row[name] is not None and row[f"{name}_low"] == row[name] == row[f"{name}_high"]
        for row in rows
        for name in names
    )


def _without_doubt(result: Result) -> Result:
    places = [place for place, name in enumerate(result.columns) if not _DOUBT.fullmatch(name)]
    return Result(
        tuple(result.columns[place] for place in places), [tuple(row[p] for p in places) for row in result.rows]
    )
