"""Stored events of one trace -> a tree: calls and actions under their parent span, log lines under theirs.

What an event has in common with the span it lies in is not said again: its service, and of what is no call to a
service, who it was for and its weight. An exception is told once, by the log that reports it where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich.text import Text

from weighbridge.commands.event_text import (
    Failure,
    Seen,
    clock,
    duration_text,
    failure,
    weight_text,
    what_happened,
    who,
)
from weighbridge.commands.plain_text import visible

DEEPEST = 24  # levels that are indented
STACK_HEAD, STACK_TAIL = 4, 12  # lines of a stack trace: some languages name the place first, some last


@dataclass
class Node:
    """An event and what happened during it, in order of time."""

    event: Seen
    inside: list[Node] = field(default_factory=list)


def arrange(events: Iterable[Seen]) -> list[Node]:
    """The roots, in order of time; every event appears exactly once.

    A span whose parent is not stored (dropped by sampling, plumbing, another system) goes under the shortest span of
    its service that contains it in time, and becomes a root where there is none. A log without a span, or with one that
    is not stored, is a root. Parents that form a circle are cut at the earliest.
    """
    nodes = [Node(event) for event in sorted(events, key=lambda event: event.event_time)]
    spans = [node for node in nodes if node.event.event_type != "log" and node.event.span_id]
    by_id: dict[str, Node] = {}
    for node in spans:
        by_id.setdefault(node.event.span_id, node)
    parent: dict[int, Node] = {}
    for node in nodes:
        above = _above(node, by_id, spans)
        if above is not None and not _is_inside(above, node, parent):
            parent[id(node)] = above
    roots = []
    for node in nodes:
        if (above := parent.get(id(node))) is not None:
            above.inside.append(node)
        else:
            roots.append(node)
    return roots


def tree_lines(trace_id: str, roots: Sequence[Node]) -> Iterator[Text]:
    """The tree, a line at a time; services are named where they change.

    Not recursive and not indented past DEEPEST levels: a chain of spans can be longer than Python's stack and wider
    than any terminal.
    """
    events = list(_events(roots))
    yield _heading(trace_id, events)
    failures = told_by(events)
    stack: list[tuple[Node, Seen | None, str, bool, int]]
    stack = [(node, None, "", node is roots[-1], 0) for node in reversed(roots)]
    while stack:
        node, above, guides, last, depth = stack.pop()
        shown_depth = f"{depth} deep: " if depth >= DEEPEST else ""
        line = Text(f"{guides}{'└── ' if last else '├── '}{shown_depth}", "dim")
        yield Text.assemble(line, _line(node.event, above))
        below = guides if depth >= DEEPEST else guides + ("    " if last else "│   ")
        if failed := failures.get(id(node.event)):
            yield from _failure_lines(failed, below + ("│   " if node.inside else "    "))
        stack += [(inside, node.event, below, inside is node.inside[-1], depth + 1) for inside in reversed(node.inside)]


def _events(roots: Sequence[Node]) -> Iterator[Seen]:
    nodes = list(roots)
    while nodes:
        node = nodes.pop()
        yield node.event
        nodes += node.inside


def _heading(trace_id: str, events: Sequence[Seen]) -> Text:
    """The trace, when it was and how long it took, and how many of its calls failed."""
    first = min(event.event_time for event in events)
    spans = [event for event in events if event.event_type != "log"]
    text = Text.assemble(("trace ", "dim"), (trace_id, "bold"), f"  {first:%Y-%m-%d %H:%M:%S} UTC")
    if spans:
        lasted = max(map(_end, spans)) - min(event.event_time for event in spans)
        text.append(f"  {duration_text(lasted / timedelta(milliseconds=1))}", "cyan")
    calls = [event for event in spans if event.event_type == "api_call"]
    failed = sum(event.status_code >= 400 or bool(event.error_type) for event in calls)
    if calls:
        text.append(f"  {len(calls)} {'calls' if len(calls) > 1 else 'call'}")
        text.append(f", {failed} failed" if failed else "", "red")
    return text


def told_by(events: Iterable[Seen]) -> dict[int, Failure]:
    """By the id() of the event that tells of it: every exception once, by the earliest log, else the earliest span."""
    teller: dict[str, tuple[Seen, Failure]] = {}
    for event in sorted(events, key=lambda event: (event.event_type != "log", event.event_time)):
        failed = failure(event)
        if failed and (failed.said not in teller or (failed.stack and not teller[failed.said][1].stack)):
            teller[failed.said] = (event, failed)
    return {id(event): failed for event, failed in teller.values()}


def _failure_lines(failed: Failure, guides: str) -> Iterator[Text]:
    lines = [visible(line.rstrip()) for line in failed.stack.splitlines() if line.strip()]
    left_out = len(lines) - STACK_HEAD - STACK_TAIL
    if left_out > 1:
        lines[STACK_HEAD:-STACK_TAIL] = [
            f"  … {left_out} lines; `weighbridge query` has them in metadata.error.stacktrace"
        ]
    if not any(failed.said in line for line in lines):
        lines.insert(0, failed.said)
    for line in lines:
        yield Text.assemble((guides, "dim"), (line, "red" if failed.said in line else "dim"))


def _line(event: Seen, above: Seen | None) -> Text:
    if event.event_type == "log":
        line = Text.assemble((clock(event), "dim"), " ", what_happened(event))
        return line if event.span_id or not event.service else Text.assemble(line, (f"  {event.service}", "dim"))
    line = what_happened(event)
    if above is None or event.service != above.service:
        line = Text.assemble((f"{event.service}  ", "bold blue"), line)
    if above and event.direction != "incoming" and _for_whom(event) == _for_whom(above):
        return line
    return Text.assemble(line, who(event), weight_text(event))


def _for_whom(event: Seen) -> tuple[str, str, int]:
    return event.user_id, event.company_id, event.weight


def _above(node: Node, by_id: dict[str, Node], spans: Sequence[Node]) -> Node | None:
    event = node.event
    if event.event_type == "log" or (event.span_id and by_id.get(event.span_id) is not node):
        return by_id.get(event.span_id)  # a log, or a second event of the same span
    if not event.parent_span_id:
        return None
    return by_id.get(event.parent_span_id) or _enclosing(node, spans)


def _enclosing(node: Node, spans: Sequence[Node]) -> Node | None:
    event, end = node.event, _end(node.event)
    around = [
        other
        for other in spans
        if other is not node
        and other.event.service == event.service
        and other.event.event_time <= event.event_time
        and _end(other.event) >= end
        and _end(other.event) - other.event.event_time > end - event.event_time
    ]
    return min(around, key=lambda other: other.event.duration_ms or 0.0, default=None)


def _end(event: Seen) -> datetime:
    return event.event_time + timedelta(milliseconds=event.duration_ms or 0.0)


def _is_inside(node: Node, other: Node, parent: dict[int, Node]) -> bool:
    """True when `node` is `other` or already hangs somewhere under it."""
    current: Node | None = node
    while current is not None:
        if current is other:
            return True
        current = parent.get(id(current))
    return False
