"""Spans that tell one thing twice, or what another leaves out: settled before they become events (spec/mapping.md §4).

- A SERVER span without a method whose parent is in the same process, below or beside the framework's own span, is the
  same call again: it becomes an action.
- So does one with a method, below or beside another of the same exchange (`mapping.spans.nested_calls`).
- An internal span that tells a route, below a call that tells none or a shorter one: the call has it. So with a status.
- Of the spans that tell one call of a model or of a tool one is kept (`mapping.spans.model_calls`).
- A resolver that failed is plumbing; its error goes to the GraphQL operation above it, and that of an operation to the
  call above, where HTTP's status tells of none (`mapping.spans.graphql`).
- An operation within one of its name, and an RPC within an HTTP call: `mapping.spans.within_call`.

What the spans of one request say; where two spans of a model's call come in different requests, both count. Time is in
proportion to the spans: no walk is longer than `HIGHEST`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from mapping.context import Work
from mapping.event import ACTION, API_CALL, SKIP
from mapping.shape import ABSENT, REMOTE_FLAG
from mapping.spans import graphql
from mapping.spans.model_calls import ModelCalls
from mapping.spans.nested_calls import FEW, HIGHEST, HOPS, PAUSE, above, agrees, settle_nested, within
from mapping.spans.plans import Plans
from mapping.spans.told_routes import take_told
from mapping.spans.tree import Tree, slices
from mapping.spans.within_call import lend_rpc, settle_operation, take_failure

_PARENT_KNOWN: Final = 0x100  # span flags: whether the parent is in another process is known (trace.proto)


def settle(tree: Tree, inner: list[int], plans: Plans) -> Generator[None, None, None]:
    """Gives spans other plans where others tell the same. inner: `below_others` of the tree."""
    works = tree.works
    if inner:
        yield from settle_nested(inner, tree, plans)
    if tree.doubtful:
        yield from _settle_doubtful(tree.doubtful, works, tree, plans)
        tree.incoming = [at for at in tree.incoming if works[at][2].incoming]


def _settle_doubtful(doubtful: list[int], works: list[Work], tree: Tree, plans: Plans) -> Generator[None, None, None]:
    """doubtful: spans of which the plan alone cannot say whether they tell a thing of their own."""
    models: list[int] = []
    failed: list[int] = []  # resolvers, and what else is plumbing of GraphQL
    operations: list[int] = []
    calls: list[int] = []
    routes: list[int] = []  # internal spans that tell a route
    graphs: list[int] = []  # operations of GraphQL, failed or not
    rpcs: list[int] = []  # that were served
    telling = False  # some call of an API tells of its model's call itself
    for at in doubtful:
        plan = works[at].plan
        if not plan.incoming and (plan.route_at != ABSENT or plan.event_type == API_CALL):
            routes.append(at)
        if plan.event_type == API_CALL:
            telling = telling or plan.model is not None
            if not plan.stated:
                calls.append(at)
        elif plan.model is not None:
            models.append(at)
        elif plan.is_served_rpc:
            rpcs.append(at)
        else:
            if plan.family == "graphql" and plan.event_type == ACTION:
                graphs.append(at)
            if (failure := graphql.failed(works[at])) is None:
                continue
            if plan.family == "graphql":
                works[at] = works[at]._replace(record=failure)
                operations.append(at)
            elif plan.event_type == SKIP:
                works[at] = works[at]._replace(record=failure)
                failed.append(at)
            elif graphql.is_bare(works[at]):
                works[at] = works[at]._replace(record=failure, plan=plans.graphql(failure))
                operations.append(at)
    several = len(models) > 1 or (models and telling) or len(graphs) > 1 or (rpcs and tree.incoming)
    if not (failed or operations or calls or routes or several):
        return
    parents = tree.at_once() or (yield from tree.parents())
    for part in slices(len(failed)):
        operations += [_lend_failure(at, parents, works, plans) for at in failed[part.start : part.stop]]
        yield
    stands = dict.fromkeys(operations)
    for part in slices(len(graphs)):
        for at in graphs[part.start : part.stop]:
            outer = settle_operation(at, parents, works, plans)
            if outer != at and at in stands:
                stands[outer] = stands.pop(at)
        yield
    operations = [*stands]
    if rpcs and tree.incoming:
        for part in slices(len(rpcs)):
            found = [lend_rpc(at, parents, works, plans) for at in rpcs[part.start : part.stop]]
            tree.naming = sorted({*tree.naming, *(at for at in found if at is not None)})
            yield
    told: set[int] = set()  # calls that have the error of an operation
    for part in slices(len(operations)):
        for at in operations[part.start : part.stop]:
            _lend_to_call(at, parents, works, told)
        yield
    for start in range(0, len(routes), FEW):
        for at in routes[start : start + FEW]:
            _lend_told(at, parents, works, plans)
        yield
    if calls:
        yield from _settle_calls(calls, parents, works, plans)
    if models:
        settled = ModelCalls(tree, parents)
        for part in slices(len(models)):
            settled.add(models[part.start : part.stop])
            yield
        yield from settled.settle(plans)


def _lend_failure(at: int, parents: Sequence[int], works: list[Work], plans: Plans) -> int:
    """The operation that a failed resolver belongs to fails with it; without one, and where the answer tells of no
    error, the resolver is an action. Returns which of the two has failed, or the resolver itself.
    """
    record = works[at].record
    for up in above(at, parents):
        work = works[up]
        if work.plan.event_type == API_CALL:
            if work.plan.incoming and work.plan.failed(work.values):
                return at
            break
        if work.plan.event_type == ACTION and work.plan.family == "graphql":
            take_failure(up, works[at], works)
            return up
    works[at] = works[at]._replace(plan=plans.graphql(record))
    return at


def _lend_to_call(at: int, parents: Sequence[int], works: list[Work], told: set[int]) -> None:
    """The call of a failed operation says its error where its own status says none."""
    work = works[at]
    if work.plan.event_type != ACTION:
        return
    for up in above(at, parents):
        call = works[up]
        if call.group.resource != work.group.resource or call.record.span.kind in HOPS:
            return
        if call.plan.incoming:
            if up not in told and not call.plan.failed(call.values):
                told.add(up)
                lent = graphql.lent_failure(work.plan.failure(work, ""), work.record)
                works[up] = call._replace(record=call.record._replace(events=(*call.record.events, lent)))
            return


def _lend_told(at: int, parents: Sequence[int], works: list[Work], plans: Plans) -> None:
    """The call above an internal span has its route and status, where it tells none itself."""
    work = works[at]
    for up in above(at, parents):
        call = works[up]
        if call.group.resource != work.group.resource or call.record.span.kind in HOPS:
            return
        if call.plan.incoming:
            if agrees(work.record, call.record):
                works[up] = take_told(call, work, plans)
            return


def _settle_calls(
    calls: list[int], parents: Sequence[int], works: list[Work], plans: Plans
) -> Generator[None, None, None]:
    beside: dict[tuple[bytes, bytes, bytes], list[int]] = {}
    for part in slices(len(works)):
        for at in part:
            work = works[at]
            if work.plan.incoming and work.plan.stated and work.record.parent_id:
                beside.setdefault((work.record.trace_id, work.record.parent_id, work.group.resource), []).append(at)
        yield
    for count, at in enumerate(calls):
        if count % PAUSE == PAUSE - 1:
            yield
        work = works[at]
        record, resource = work.record, work.group.resource
        local = record.parent_id and record.span.flags & _PARENT_KNOWN and not record.span.flags & REMOTE_FLAG
        siblings = beside.get((record.trace_id, record.parent_id, resource), ())[:HIGHEST]
        if (
            local
            or any(works[up].plan.incoming and works[up].group.resource == resource for up in above(at, parents))
            or any(within(work, works[other]) for other in siblings)
        ):
            works[at] = work._replace(plan=plans.same_call(record))
