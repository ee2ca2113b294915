"""Answers to questions by name: exact from the counts by minute where they can, else from the events that were kept.

An exact answer has no interval; which of the two it is stands beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from exporter.clickhouse.queries.minutes import Alternative, Chosen, all_kept, alternative, choose, is_all_kept
from exporter.clickhouse.queries.statement import Statement
from exporter.clickhouse.reader import Result, StoreError, StoreReader

# Columns that say how sure an estimate is.
_DOUBT: Final = re.compile(r".*_(?:low|high)|low|high|low_confidence|n_eff|sampled_traces|answer")
_COUNTED: Final = "every call was counted before sampling (api_minutes)"
_KEPT: Final = "exact: every call was kept"
# Questions about incoming calls alone: when all of these are there, nothing is missing in the answer.
_OF_CALLS: Final = frozenset(
    {
        "totals", "percentile", "traffic_by_plan", "failing_customers", "top_erroring_customers",
        "endpoint_percentiles", "endpoint_coverage", "retention_cohorts", "first_calls", "milestones", "adoption",
        "returning", "health", "retry_storms", "monthly", "usage",
    }
)  # fmt: skip
_READS_DURATIONS: Final = {"percentile", "endpoint_percentiles"}
_NO_TABLE: Final = re.compile(r"code: (?:60|497)\b")  # unknown table, no right to read it


class Answer(NamedTuple):
    """An answer, and where it is from, in a sentence for people; exact: no sampling stands between it and the calls."""

    result: Result
    said: str
    exact: bool


def answer(store: StoreReader, name: str, arguments: Mapping[str, Any], statement: Statement) -> Answer:
    """The answer to a named question. statement: the question to the events. Raises StoreError.

    From the counts by minute where these know it exactly; from the events where all of them are there; else from
    whichever says more, with its doubt.
    """
    found = alternative(name, arguments)
    asking = _of_minutes(store, name, statement, found)
    chosen = asking.chosen
    if asking.is_there:
        return Answer(_without_doubt(store.run(statement)), _KEPT, True)
    if isinstance(chosen, Chosen):
        if chosen.hops is not None:
            return _with_open_hops(store.run(chosen.statement), chosen)
        exact = f"exact: {_COUNTED}" + ("; durations within 1 %" if name in _READS_DURATIONS else "")
        return Answer(_without_doubt(store.run(chosen.statement)), exact, True)
    result = store.run(statement)
    if asking.is_there is None and _is_exact(result):
        return Answer(_without_doubt(result), _KEPT, True)
    return Answer(result, f"from the events that were kept: {chosen}" if chosen else "", False)


class _Asked(NamedTuple):
    """What was learnt before the question itself is asked."""

    chosen: Chosen | str  # how the minutes answer, or why they do not
    is_there: bool | None  # whether every call is, so that events answer exactly; None: not known, or no matter


def _of_minutes(store: StoreReader, name: str, statement: Statement, found: Alternative | str) -> _Asked:
    """The minutes are asked first, then whether all events are there, and last what takes longest."""
    if isinstance(found, str):
        return _Asked(found, _are_all_there(store, statement) if name in _OF_CALLS else None)
    asking = choose(found)
    is_there: bool | None = None
    looked = False
    try:
        rows = store.run(next(asking)).dicts()
        some_dropped = bool(rows[0]["some_dropped"])
        while True:
            more = asking.send(rows)
            if not looked:
                looked, is_there = True, False if some_dropped else _are_all_there(store, statement)
                if is_there:
                    return _Asked("", True)
            rows = store.run(more).dicts()
    except StopIteration as done:
        if isinstance(done.value, str) and not looked:
            is_there = _are_all_there(store, statement)
        return _Asked(done.value, is_there)
    except StoreError as error:
        if _NO_TABLE.search(str(error)):
            # It is of an earlier version, or one may not read there.
            return _Asked("the store counts no calls by minute", None)
        raise


def _with_open_hops(result: Result, chosen: Chosen) -> Answer:
    hops = chosen.hops
    assert hops is not None
    doubt = (
        f"the parents of {hops.calls:.0f} calls came in other requests; {hops.traces} kept traces say whose these are"
    )
    return Answer(result, f"{_COUNTED}, up to {math.ceil(hops.doubt)} more or less (95 %): {doubt}", False)


def _are_all_there(store: StoreReader, statement: Statement) -> bool | None:
    """Whether nothing was sampled away of the calls that the question is about, and all of them are still stored.

    None where the counts do not tell.
    """
    since, until = (statement.parameters[name] for name in ("since", "until"))
    assert isinstance(since, datetime)
    assert isinstance(until, datetime)
    asked = all_kept(since, until)
    try:
        (counted,) = store.run(asked.counted).dicts()
    except StoreError as error:
        if _NO_TABLE.search(str(error)):
            return None
        raise
    if not is_all_kept(counted):
        return is_all_kept(counted)
    (stored,) = store.run(asked.stored).dicts()
    return is_all_kept(counted, stored)


def _is_exact(result: Result) -> bool:
    """Whether the question says how sure it is, and is of every row."""
    rows = result.dicts()
    return "answer" in result.columns and bool(rows) and all(row["answer"] == "exact" for row in rows)


def _without_doubt(result: Result) -> Result:
    places = [place for place, name in enumerate(result.columns) if not _DOUBT.fullmatch(name)]
    return Result(
        tuple(result.columns[place] for place in places), [tuple(row[p] for p in places) for row in result.rows]
    )
