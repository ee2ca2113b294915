"""What spans of one server tell of one exchange by different protocols (spec/mapping.md §4).

- A GraphQL operation within one of the same name and type is a step of it: Datadog's `graphql.execute` below
  `graphql.request`, the plan of Apollo's gateway, two instrumentations. Its failure is the outer one's.
- An RPC that is served within an HTTP call (gRPC, Connect or Twirp behind a server that is traced too) tells that call
  whose it is, what it asked for, and how it failed where HTTP's status says 200.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mapping.context import Work
from mapping.event import ACTION, API_CALL
from mapping.spans import graphql
from mapping.spans.actions import ActionPlan
from mapping.spans.nested_calls import HOPS, above, named
from mapping.spans.plans import Plans
from mapping.spans.told_routes import path_of, with_route

_RPC_ERROR: Final = "RPC_ERROR"  # of one that failed and says no status


def settle_operation(at: int, parents: Sequence[int], works: list[Work], plans: Plans) -> int:
    """Skips a GraphQL operation that the one around it tells. Returns which of the two stands for both."""
    work = works[at]
    step = plans.told_twice_operation(work.record)
    if step is None:
        return at
    for up in above(at, parents):
        outer = works[up]
        if outer.group.resource != work.group.resource or outer.record.span.kind in HOPS:
            return at
        if outer.plan.event_type == API_CALL:
            return at
        if outer.plan.event_type == ACTION and outer.plan.family == "graphql":
            if not _is_step(_operation(work), _operation(outer)):
                return at
            if work.record.status.code == 2:
                take_failure(up, work, works)
            works[at] = work._replace(plan=step)
            return up
    return at


def take_failure(up: int, inner: Work, works: list[Work]) -> None:
    """Gives an operation the failure of what is within it, where it says none itself, and its bucket."""
    work = works[up]
    told, record = work.record, inner.record
    if told.status.code != 2:
        events = (*told.events, *(event for event in record.events if event.name == "exception"))
        told = told._replace(status=record.status, events=events)
    if graphql.find_lent(told.events) is None:
        lent = graphql.lent_failure(inner.plan.failure(inner, ""), record)
        told = told._replace(events=(*told.events, lent))
    works[up] = work._replace(record=told)


def _operation(work: Work) -> tuple[str, str]:
    """(type, name), "" for what is not told."""
    plan, values = work.plan, work.values
    kind, name = (values[index] for index in plan.operation_at) if isinstance(plan, ActionPlan) else (None, None)
    return _text(kind).lower(), _text(name)


def _is_step(inner: tuple[str, str], outer: tuple[str, str]) -> bool:
    (kind, name), (its_kind, its_name) = inner, outer
    return (kind, name) != ("", "") and name == its_name and (kind == its_kind or not (kind and its_kind))


def lend_rpc(at: int, parents: Sequence[int], works: list[Work], plans: Plans) -> int | None:
    """Tells the HTTP call around an RPC what the RPC says of it. Returns that call where it is named now."""
    work = works[at]
    plan = work.plan
    if not isinstance(plan, ActionPlan):
        return None
    for up in above(at, parents):
        call = works[up]
        if call.group.resource != work.group.resource or call.record.span.kind in HOPS:
            return None
        if call.plan.incoming:
            who = named(call.who, work.who)
            is_new = who is not call.who
            path, called = path_of(call.record), plan.called(work)
            is_asked = path.endswith(f"/{called}")  # by its own path, not one of several that its handler makes
            if is_asked or "/" not in called:  # as the methods of JSON-RPC
                error_type, status = plan.rpc_failure(work)
                if error_type and not call.plan.failed(call.values) and graphql.find_lent(call.record.events) is None:
                    lent = graphql.lent_failure(error_type, work.record, status or _RPC_ERROR)
                    call = call._replace(record=call.record._replace(events=(*call.record.events, lent)))
            if is_asked:
                call = with_route(call, path, plans)
            works[up] = call._replace(who=who)
            return up if is_new else None
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
