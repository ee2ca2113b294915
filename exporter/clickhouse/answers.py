"""Answers to questions by name: exact from the counts by minute where they can, else from the events that were kept.

An exact answer has no interval; which of the two it is stands beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from exporter.clickhouse.queries.minutes import Alternative, alternative, choose
from exporter.clickhouse.queries.statement import Statement
from exporter.clickhouse.reader import Result, StoreError, StoreReader

# Columns that say how sure an estimate is.
_DOUBT: Final = re.compile(r".*_(?:low|high)|low|high|low_confidence|n_eff|sampled_traces|answer")
_COUNTED: Final = "every call was counted before sampling (api_minutes)"
_NO_TABLE: Final = re.compile(r"code: (?:60|497)\b")  # unknown table, no right to read it


class Answer(NamedTuple):
    """An answer, and where it is from, in a sentence for people; exact: no sampling stands between it and the calls."""

    result: Result
    said: str
    exact: bool


def answer(store: StoreReader, name: str, arguments: Mapping[str, Any], statement: Statement) -> Answer:
    """The answer to a named question. statement: the question to the events. Raises StoreError."""
    found = alternative(name, arguments)
    why = found if isinstance(found, str) else ""
    if not isinstance(found, str):
        exactly = _from_minutes(store, found)
        if isinstance(exactly, Answer):
            return exactly
        why = exactly
    result = store.run(statement)
    if _is_exact(result):
        return Answer(_without_doubt(result), "exact: every call was kept", True)
    return Answer(result, f"from the events that were kept: {why}" if why else "", False)


def _from_minutes(store: StoreReader, found: Alternative) -> Answer | str:
    """The answer of the minutes, or why they have none."""
    asking = choose(found)
    try:
        statement = next(asking)
        while True:
            statement = asking.send(store.run(statement).dicts())
    except StopIteration as done:
        chosen = done.value
    except StoreError as error:
        if _NO_TABLE.search(str(error)):
            return "the store counts no calls by minute"  # it is of an earlier version, or one may not read there
        raise
    if isinstance(chosen, str):
        return chosen
    result, hops = store.run(chosen.statement), chosen.hops
    if hops is None:
        return Answer(_without_doubt(result), f"exact: {_COUNTED}", True)
    doubt = (
        f"the parents of {hops.calls:.0f} calls came in other requests; {hops.traces} kept traces say whose these are"
    )
    return Answer(result, f"{_COUNTED}, up to {math.ceil(hops.doubt)} more or less (95 %): {doubt}", False)


def _is_exact(result: Result) -> bool:
    """Whether the question says how sure it is, and is of every row."""
    rows = result.dicts()
    return "answer" in result.columns and bool(rows) and all(row["answer"] == "exact" for row in rows)


def _without_doubt(result: Result) -> Result:
    places = [place for place, name in enumerate(result.columns) if not _DOUBT.fullmatch(name)]
    return Result(
        tuple(result.columns[place] for place in places), [tuple(row[p] for p in places) for row in result.rows]
    )
