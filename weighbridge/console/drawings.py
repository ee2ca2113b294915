"""The charts of pages, and what else templates need beside the answers."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

from exporter.clickhouse.schema import columns
from weighbridge.commands.conditions import FIELDS
from weighbridge.console import charts
from weighbridge.console.answers import Bridge, Ended, Estimate, Events, Point, Table
from weighbridge.console.asking import numeric
from weighbridge.console.shown import iso, milliseconds, number, percent

_LONGEST_VALUE: Final = 20_000  # characters of one value of an event on a page; its JSON has all of it
_LONGEST_CELL: Final = 2000  # characters of a value in an answer to SQL
_MOST_VALUES: Final = 400  # of one event on a page
_LONGEST_FILTER: Final = 200  # characters of a value that a condition is offered for
_FIRST: Final = (
    "event_type", "event_time", "service", "method", "endpoint", "uri", "status_code", "error_type", "severity",
    "body", "duration_ms", "company_id", "user_id", "trace_id", "span_id", "parent_span_id",
)  # fmt: skip
_WORDS: Final = {column: word for word, column in FIELDS.items()}


def over_time(points: Sequence[Point], step_s: int) -> list[Markup]:
    """Calls, error rate and durations."""
    time = charts.Time([point.time for point in points], step_s)
    fine = charts.Bars("ok", "calls", [max(0.0, p.calls.value - p.failed.value) for p in points])
    mine = charts.Bars("4xx", "mine", [max(0.0, p.failed.value - p.server_failed) for p in points])
    ours = charts.Bars("server", "server", [p.server_failed for p in points])
    rate = charts.Line("error rate", "rate", [p.error_rate for p in points])
    p95 = charts.Line("p95", "p95", [p.p95_ms for p in points])
    p50 = charts.Line("p50", "p50", [_alone(p.p50_ms) for p in points])
    calls = charts.bars(f"Calls per {_step(step_s)}", time, [ours, mine, fine], number)
    return [
        calls,
        charts.lines("Error rate", time, [rate], percent, 0.01),
        charts.lines("Duration", time, [p95, p50], milliseconds),
    ]


def kinds(answer: Events) -> list[Markup]:
    """What came when, of the events that match."""
    step, found = answer.asked.step_s, {one.time: one for one in answer.histogram}
    if not found:
        return []
    begin = int(answer.asked.since.timestamp()) // step * step
    starts = []
    while begin < answer.asked.until.timestamp():
        starts.append(datetime.fromtimestamp(begin, answer.asked.since.tzinfo))
        begin += step
    bins = [found.get(start) for start in starts]
    of = [
        charts.Bars(name, css, [getattr(one, field) if one else 0.0 for one in bins])
        for name, css, field in (
            ("failed", "failed", "failed"),
            ("calls", "calls", "calls"),
            ("actions", "actions", "actions"),
            ("logs", "logs", "logs"),
        )
    ]
    return [charts.bars(f"Events per {_step(step)}", charts.Time(starts, step), of, number)]


def around(moment: datetime) -> dict[str, str]:
    """The hour that ends with an event."""
    return {"since": iso(moment - timedelta(hours=1)), "until": iso(moment + timedelta(seconds=1))}


def facet_terms(column: str, value: str) -> tuple[str, str]:
    """Conditions for and against a value."""
    word = _WORDS.get(column, column)
    return f"{word}={'=' if value.startswith(('=', '~')) else ''}{value}", f"{word}!={value}"


def whole_event(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every value that an event has, named as in conditions, what people look for first."""
    names = [*_FIRST, *(name for name in event if name not in _FIRST)]
    found: list[tuple[str, str]] = []
    for name in names:
        for inner, value in _values(name, event.get(name)):
            if value not in ("", None):
                found.append((inner, _text(value)))
    return found[:_MOST_VALUES]


def filterable(name: str, value: str) -> bool:
    """Whether a condition can ask for this value of an event."""
    if len(value) > _LONGEST_FILTER or not value.isprintable() or value != value.strip():
        return False
    kind = columns().get(name, "")
    if name.startswith("metadata."):
        return re.fullmatch(r"metadata(\.\w+)+", name) is not None
    return bool(kind) and not re.match(r"JSON|Map|Array|DateTime|Nullable\(Float|Float", kind)


def _values(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if name in ("metadata", "resource") and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    waiting = [(name, value)]
    while waiting:
        inner, one = waiting.pop(0)
        if isinstance(one, Mapping):
            waiting = [(f"{inner}.{key}", item) for key, item in one.items()] + waiting
        elif isinstance(one, list):
            yield inner, ", ".join(map(str, one))
        else:
            yield inner, one


def _text(value: Any) -> str:
    text = str(value)
    if text[:1] in "{[" and len(text) < _LONGEST_VALUE:
        with contextlib.suppress(ValueError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text):,} characters; JSON has all)"


def outcomes(row: Ended) -> list[charts.Part]:
    """Where the records of a sink ended, what went well first."""
    return [
        charts.Part("delivered", "delivered", row.delivered),
        charts.Part("known already", "dedup", row.deduplicated),
        charts.Part("sampled out", "sampled", row.sampled_out),
        charts.Part("plumbing, skipped", "skipped", row.skipped),
        charts.Part("for other sinks", "skipped", row.routed),
        charts.Part("waiting", "waiting", max(0, row.in_spool) + row.waiting_for_span),
        charts.Part("dead letters", "lost", row.dead_lettered),
        charts.Part("cannot be mapped", "lost", row.failed),
        charts.Part("given up", "lost", row.dropped),
    ]


def spool_parts(answer: Bridge) -> list[charts.Part]:
    free = max(0, answer.spool_max_bytes - answer.spool_bytes)
    return [charts.Part("used bytes", "used", answer.spool_bytes), charts.Part("free bytes", "free", free)]


def is_numeric(table: Table, place: int) -> bool:
    return numeric(table.rows, place)


def cell(value: Any) -> str:
    """A value of an answer to SQL."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.1f}"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


def _alone(estimate: Estimate | None) -> Estimate | None:
    """Without its interval, which would lie under that of another line."""
    return Estimate(value=estimate.value) if estimate else None


def _step(seconds: int) -> str:
    for length, unit in ((604_800, "week"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % length == 0:
            many = seconds // length
            return unit if many == 1 else f"{many} {unit}s"
    raise ValueError(seconds)
