"""Stored events of one trace -> a tree: calls and actions under their parent span, log lines under theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich.text import Text

from weighbridge.event_text import Seen, clock, weight_text, what_happened, who

DEEPEST = 24  # levels that are indented


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
    first = min(node.event.event_time for node in roots)
    yield Text.assemble(("trace ", "dim"), (trace_id, "bold"), f"  {first:%Y-%m-%d %H:%M:%S} UTC")
    stack = [(node, "", "", node is roots[-1], 0) for node in reversed(roots)]
    while stack:
        node, service, guides, last, depth = stack.pop()
        shown_depth = f"{depth} deep: " if depth >= DEEPEST else ""
        line = Text(f"{guides}{'└── ' if last else '├── '}{shown_depth}", "dim")
        yield Text.assemble(line, _line(node.event, service))
        below = guides if depth >= DEEPEST else guides + ("    " if last else "│   ")
        stack += [
            (inside, node.event.service, below, inside is node.inside[-1], depth + 1)
            for inside in reversed(node.inside)
        ]


def _line(event: Seen, service: str) -> Text:
    if event.event_type == "log":
        line = Text.assemble((clock(event), "dim"), " ", what_happened(event))
        return line if event.span_id or not event.service else Text.assemble(line, (f"  {event.service}", "dim"))
    line = what_happened(event)
    if event.service != service:
        line = Text.assemble((f"{event.service}  ", "bold blue"), line)
    return Text.assemble(line, who(event), weight_text(event))


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
