"""Stored events of one trace -> its steps, in the order in which a waterfall shows them.

Where an event belongs is decided by `weighbridge.commands.trace_tree`, so that page and command show the same tree. The
critical path is found from the end: what ended last inside a span, then what ended last before that began, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from weighbridge.commands.event_text import Seen, seen
from weighbridge.commands.trace_tree import Node, arrange, told_by
from weighbridge.console.answers import Exception_, Line, Step, Trace
from weighbridge.console.lines import line_of

_FOLD: Final = 4  # steps beside one another that are alike, from which on they are folded
_MOST_STACK: Final = 20_000  # characters of a stack that are shown


def trace_of(trace_id: str, rows: Sequence[Mapping[str, Any]], most: int) -> Trace:
    """rows: of `looks.trace`, at least one; most: how many of them were asked for."""
    lines: dict[int, Line] = {}
    events = []
    for row in rows:
        event = seen(row)
        lines[id(event)] = line_of(row)
        events.append(event)
    roots = arrange(events)
    spans = [event for event in events if event.event_type != "log"]
    started = min(event.event_time for event in spans or events)
    ended = max(_end(event) for event in spans or events)
    critical = _critical(roots)
    told = told_by(events)
    steps = []
    for node, depth, alike, folded in _in_order(roots):
        event = node.event
        failed = told.get(id(event))
        steps.append(
            Step(
                line=lines[id(event)],
                depth=depth,
                offset_ms=round((event.event_time - started) / timedelta(milliseconds=1), 3),
                critical=id(node) in critical,
                exception=Exception_(said=failed.said, stack=failed.stack[:_MOST_STACK]) if failed else None,
                alike=alike,
                folded=folded,
            )
        )
    calls = [event for event in spans if event.event_type == "api_call"]
    return Trace(
        trace_id=trace_id,
        started=started,
        duration_ms=round((ended - started) / timedelta(milliseconds=1), 3),
        services=sorted({event.service for event in events if event.service}),
        calls=len(calls),
        failed=sum(event.status_code >= 400 or bool(event.error_type) for event in calls),
        logs=len(events) - len(spans),
        steps=steps,
        cut=len(rows) >= most,
    )


def _in_order(roots: Sequence[Node]) -> list[tuple[Node, int, int, bool]]:
    """Every node with its depth, how many alike follow it folded, and whether it is one of these. Not recursive."""
    found = []
    waiting = [(node, 0, alike, folded) for node, alike, folded in reversed(_folded(roots))]
    while waiting:
        node, depth, alike, folded = waiting.pop()
        found.append((node, depth, alike, folded))
        waiting += [(inside, depth + 1, a, f) for inside, a, f in reversed(_folded(node.inside))]
    return found


def _folded(nodes: Sequence[Node]) -> list[tuple[Node, int, bool]]:
    found: list[tuple[Node, int, bool]] = []
    for key, run in groupby(nodes, key=_kind):
        alike = list(run)
        fold = key is not None and len(alike) >= _FOLD
        for number, node in enumerate(alike):
            found.append((node, len(alike) - 1 if fold and not number else 0, fold and number > 0))
    return found


def _kind(node: Node) -> tuple[str, str, str] | None:
    """What makes steps alike: plumbing that did not fail and has nothing inside; None for all others."""
    event = node.event
    if event.event_type != "action" or node.inside or event.error_type:
        return None
    return event.service, event.family, event.action or event.name


def _critical(roots: Sequence[Node]) -> set[int]:
    """The id() of every node on the path that the trace's duration follows from."""
    found: set[int] = set()
    spans = [node for node in roots if node.event.event_type != "log"]
    if not spans:
        return found
    waiting = [max(spans, key=lambda node: _end(node.event))]
    while waiting:
        node = waiting.pop()
        found.add(id(node))
        limit = _end(node.event)
        inside = sorted((one for one in node.inside if _counts(one)), key=lambda one: _end(one.event), reverse=True)
        for one in inside:
            if _end(one.event) <= limit + timedelta(microseconds=1):
                waiting.append(one)
                limit = one.event.event_time
    return found


def _counts(node: Node) -> bool:
    return node.event.event_type != "log" and bool(node.event.duration_ms)


def _end(event: Seen) -> datetime:
    return event.event_time + timedelta(milliseconds=event.duration_ms or 0.0)
