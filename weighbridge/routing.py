"""Which events go to which sink: `when` of a sink, and `group`, in which an event goes to exactly one.

The conditions are those of sampling rules, asked of the finished event.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import orjson

from exporter.routed import Takes
from exporter.settings import SinkSettings, WhenSettings
from mapping.event import Event
from mapping.event_facts import event_fact
from mapping.sampling.rules import Condition, RuleError, compile_test, conjunction

Route = tuple[tuple[WhenSettings, ...], ...]  # `when` of the sink, and before it those of the ones that go first

# What a finished event answers: a column of the store, or one of the paths of sampling rules.
COLUMNS: Final = {name: name for name in ("region", "environment", "application_id", "client_id", "event_type", "hop")}
COLUMNS["plan"] = "plan_id"
PATHS: Final = (
    "service", "route", "url.path", "method", "status", "status_class", "duration_ms", "user", "company", "session",
    "severity", "name", "tenant", "ip_address", *COLUMNS,
)  # fmt: skip
PREFIXES: Final = ("resource.", "request.headers.")
_SHARED_RESOURCES: Final = 1024  # texts of resources whose attributes are kept, parsed


def route_of(sinks: Sequence[SinkSettings], sink: SinkSettings) -> Route:
    """Everything that decides what it takes: when this changes, the sink begins anew."""
    if not sink.group:
        return (sink.when,)
    members = [other for other in sinks if other.group == sink.group]
    return tuple(other.when for other in members[: members.index(sink) + 1])


def compile_route(route: Route) -> Takes | None:
    """Whether an event is for the sink; None: all are. Raises RuleError for a condition that cannot be used."""
    *before, own = map(_compile, route)
    if own is None and not before:
        return None
    firsts = [test for test in before if test is not None]

    def takes(event: Event) -> bool:
        facts = functools.partial(_fact, event)
        return not any(test(facts) for test in firsts) and (own is None or own(facts))

    return takes


def refuse_routes(sinks: Sequence[SinkSettings]) -> None:
    """Raises ValueError for routes that cannot be used, or would lose events."""
    for sink in sinks:
        if not sink.when and not sink.group:
            continue
        if sink.forwards_requests:
            raise ValueError(f"sink {sink.name} passes whole requests on, so it can have no `when` and no `group`")
        try:
            _compile(sink.when)
        except RuleError as error:
            raise ValueError(f"sink {sink.name}, when: {error}") from error
    for group in dict.fromkeys(sink.group for sink in sinks if sink.group):
        *firsts, last = [sink for sink in sinks if sink.group == group]
        if last.when:
            raise ValueError(
                f"group {group}: the last of its sinks, {last.name}, must have no `when`: "
                "it takes what no other does, so that every event has exactly one"
            )
        if without := [sink.name for sink in firsts if not sink.when]:
            raise ValueError(f"group {group}: sink {without[0]} takes all, so nothing is left for those after it")


def _compile(conditions: Sequence[WhenSettings]) -> Condition | None:
    for when in conditions:
        if when.path not in PATHS and not any(
            when.path.startswith(prefix) and len(when.path) > len(prefix) for prefix in PREFIXES
        ):
            known = ", ".join([*PATHS, *(f"{prefix}*" for prefix in PREFIXES)])
            raise RuleError(f"unknown path {when.path!r}; one of {known}")
    return conjunction([compile_test(when.path, when.op, when.value) for when in conditions])


def _fact(event: Event, path: str) -> object:
    if path.startswith("resource."):
        return _resource(event.resource).get(path[9:])
    return getattr(event, COLUMNS[path]) or None if path in COLUMNS else event_fact(event, path)


@functools.lru_cache(_SHARED_RESOURCES)
def _resource(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)["resource"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
