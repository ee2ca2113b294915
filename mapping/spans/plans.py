"""Which plan a span follows: made once for its kind and shape, remembered within bounds."""

from __future__ import annotations

from functools import partial
from typing import Final

from mapping.context import Context, Memory
from mapping.event import API_CALL, SKIP
from mapping.spans.actions import ActionPlan
from mapping.spans.api_call import ApiCallPlan
from mapping.spans.classify import INTERNAL, PLUMBING, UNSPECIFIED, classify
from mapping.spans.shape import Shape

_SHAPES: Final = 1024  # remembered for each kind of span

Plan = ApiCallPlan | ActionPlan
Keys = tuple[str, ...]


class Plans:
    """The plans of one mapper. `by_kind[kind][keys]` is the plan for spans of a kind and a tuple of shape keys."""

    def __init__(self, context: Context, *, skip_plumbing: bool) -> None:
        def memory(kind: int) -> Memory[Plan]:
            return Memory(partial(_plan, context, skip_plumbing, kind), _SHAPES)

        self.by_kind = ByKind({kind: memory(kind) for kind in range(6)})
        # Of spans whose name alone says that they are plumbing.
        self.plumbing: Memory[Plan] = (
            Memory(partial(_plumbing, context), _SHAPES) if skip_plumbing else memory(INTERNAL)
        )


class ByKind(dict[int, Memory[Plan]]):
    """Unknown kinds are treated as unspecified."""

    def __missing__(self, kind: int) -> Memory[Plan]:
        return self[UNSPECIFIED]


def _plan(context: Context, skip_plumbing: bool, kind: int, keys: Keys) -> Plan:
    shape = Shape(keys)
    what = classify(kind, shape, skip_plumbing=skip_plumbing)
    if what.event_type == API_CALL:
        return ApiCallPlan(kind, shape, context)
    return ActionPlan(kind, what.event_type, what.family, what.reason, shape, context)


def _plumbing(context: Context, keys: Keys) -> Plan:
    return ActionPlan(INTERNAL, SKIP, PLUMBING, "graphql", Shape(keys), context)
