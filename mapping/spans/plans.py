"""Which plan a span follows: made once for its kind and shape, remembered within bounds."""

from __future__ import annotations

from functools import partial
from typing import Final

from mapping.context import Context, Memory
from mapping.event import API_CALL, SKIP
from mapping.shape import Shape
from mapping.spans.actions import ActionPlan
from mapping.spans.api_call import ApiCallPlan
from mapping.spans.classify import INTERNAL, PLUMBING, UNSPECIFIED, classify
from mapping.spans.explain import ExplainedApiCallPlan, Reason

_SHAPES: Final = 1024  # remembered for each kind of span

Plan = ApiCallPlan | ActionPlan
Keys = tuple[str, ...]


class Plans:
    """The plans of one mapper. `of(scope)[kind][keys]` is the plan for spans of a kind and a tuple of shape keys."""

    def __init__(self, context: Context, *, skip_plumbing: bool, reasons: dict[str, Reason] | None = None) -> None:
        """reasons: where to note what gave the fields of each call, by transaction id."""

        def memory(kind: int, scope: str = "") -> Memory[Plan]:
            return Memory(partial(_plan, context, skip_plumbing, kind, scope, reasons), _SHAPES)

        def by_kind(scope: str) -> ByKind:
            return ByKind({kind: memory(kind, scope) for kind in range(6)})

        self._of_others = by_kind("")
        self._of_scope = {scope: by_kind(scope) for scope in context.span_dialects.scopes}
        # Of spans whose name alone says that they are plumbing.
        self.plumbing: Memory[Plan] = (
            Memory(partial(_plumbing, context), _SHAPES) if skip_plumbing else memory(INTERNAL)
        )

    def of(self, scope: str) -> ByKind:
        """The plans for spans of an instrumentation scope."""
        return self._of_scope.get(scope, self._of_others)


class ByKind(dict[int, Memory[Plan]]):
    """Unknown kinds are treated as unspecified."""

    def __missing__(self, kind: int) -> Memory[Plan]:
        return self[UNSPECIFIED]


def _plan(
    context: Context, skip_plumbing: bool, kind: int, scope: str, reasons: dict[str, Reason] | None, keys: Keys
) -> Plan:
    shape = Shape(keys)
    shape.understand(context.span_dialects.reading(shape.at, scope))
    what = classify(kind, shape, skip_plumbing=skip_plumbing)
    if what.event_type == API_CALL:
        return (
            ApiCallPlan(what.kind, shape, context)
            if reasons is None
            else ExplainedApiCallPlan(what.kind, shape, context, reasons)
        )
    return ActionPlan(kind, what.event_type, what.family, what.reason, shape, context)


def _plumbing(context: Context, keys: Keys) -> Plan:
    return ActionPlan(INTERNAL, SKIP, PLUMBING, "graphql", Shape(keys), context)
