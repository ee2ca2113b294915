"""Which plan a span follows: made once for its kind and shape, remembered within bounds."""

from __future__ import annotations

from functools import partial
from typing import Final

from mapping.context import Context, Work
from mapping.event import ACTION, API_CALL, SKIP
from mapping.memory import Memory
from mapping.otlp.records import SpanRecord
from mapping.shape import ABSENT, Shape
from mapping.spans.actions import ActionPlan
from mapping.spans.api_call import ApiCallPlan
from mapping.spans.classify import INTERNAL, LOCATIONS, PLUMBING, SERVER, UNSPECIFIED, classify
from mapping.spans.explain import ExplainedApiCallPlan, Reason

_SHAPES: Final = 1024  # remembered for each kind of span

Plan = ApiCallPlan | ActionPlan
Keys = tuple[str, ...]


class Plans:
    """The plans of one mapper. `of(scope)[kind][keys]` is the plan for spans of a kind and a tuple of shape keys."""

    def __init__(self, context: Context, *, skip_plumbing: bool, reasons: dict[str, Reason] | None = None) -> None:
        """reasons: where to note what gave the fields of each call, by transaction id."""

        def memory(kind: int, scope: str = "") -> Memory[Plan]:
            return Memory(partial(self._plan, kind, scope), _SHAPES)

        def by_kind(scope: str) -> ByKind:
            return ByKind({kind: memory(kind, scope) for kind in range(6)})

        self._context = context
        self._skip_plumbing = skip_plumbing
        self._reasons = reasons
        self.second_look = False  # some plan so far needs `same_call.settle`
        self._of_others = by_kind("")
        self._of_scope = {scope: by_kind(scope) for scope in context.span_dialects.scopes}
        # Of spans whose name alone says that they are plumbing.
        self.plumbing: Memory[Plan] = Memory(self._plumbing, _SHAPES) if skip_plumbing else memory(INTERNAL)
        # (kind, keys, counted, step) -> plan of a model's call that another span tells as well
        self._models: Memory[Plan] = Memory(self._model, _SHAPES)
        self._told_twice: Memory[Plan] = Memory(
            lambda key: ActionPlan(key[0], SKIP, PLUMBING, "told_twice", Shape(key[1]), context), _SHAPES
        )
        self._without_model: Memory[Plan] = Memory(self._silent, _SHAPES)
        self._same_calls: Memory[Plan] = Memory(self._same_call, _SHAPES)
        self._resolvers: Memory[Plan] = Memory(
            lambda keys: ActionPlan(INTERNAL, ACTION, "graphql", "", Shape(keys), context), _SHAPES
        )

    def of(self, scope: str) -> ByKind:
        """The plans for spans of an instrumentation scope."""
        return self._of_scope.get(scope, self._of_others)

    def model(self, record: SpanRecord, *, counted: bool, step: bool = False) -> Plan:
        """The plan of a model's call whose tokens others tell. step: it is around other calls."""
        return self._models[record.span.kind, _keys(record), counted, step]

    def without_model(self, work: Work) -> Plan:
        """The plan of an API call that does not tell of its model's calls, as spans below it do."""
        return self._without_model[work.record.span.kind, work.group.scope, _keys(work.record)]

    def told_twice(self, record: SpanRecord) -> Plan:
        """The plan of a model's call that another span tells."""
        if not self._skip_plumbing:
            return self.model(record, counted=False, step=True)
        return self._told_twice[record.span.kind, _keys(record)]

    def told_twice_operation(self, record: SpanRecord) -> Plan | None:
        """The plan of a GraphQL operation that another span tells; None where plumbing is kept."""
        return self._told_twice[record.span.kind, _keys(record)] if self._skip_plumbing else None

    def same_call(self, record: SpanRecord) -> Plan:
        """The plan of a SERVER span that is no call of its own."""
        return self._same_calls[_keys(record)]

    def graphql(self, record: SpanRecord) -> Plan:
        """The plan of a GraphQL resolver whose error nothing else tells, and of a span that only its event tells of."""
        return self._resolvers[_keys(record)]

    def _plan(self, kind: int, scope: str, keys: Keys) -> Plan:
        context, shape, reasons = self._context, Shape(keys), self._reasons
        shape.understand(context.span_dialects.reading(shape.at, scope))
        path = context.models.first("path", shape) if kind == SERVER else ABSENT
        if path != ABSENT and not shape.has(*LOCATIONS):
            shape.at = {**shape.at, "url.path": path}
        what = classify(kind, shape, context.models, skip_plumbing=self._skip_plumbing)
        plan: Plan
        if what.event_type != API_CALL:
            plan = ActionPlan(kind, what.event_type, what.family, what.reason, shape, context)
        elif reasons is None:
            plan = ApiCallPlan(what.kind, shape, context)
        else:
            plan = ExplainedApiCallPlan(what.kind, shape, context, reasons)
        self.second_look = self.second_look or plan.second_look
        return plan

    def _plumbing(self, keys: Keys) -> Plan:
        self.second_look = True
        return ActionPlan(INTERNAL, SKIP, PLUMBING, "graphql", Shape(keys), self._context)

    def _model(self, key: tuple[int, Keys, bool, bool]) -> Plan:
        kind, keys, counted, step = key
        return ActionPlan(kind, ACTION, "genai", "", Shape(keys), self._context, counted=counted, step=step)

    def _silent(self, key: tuple[int, str, Keys]) -> Plan:
        plan = self._plan(*key)
        if isinstance(plan, ApiCallPlan):
            plan.tell_no_model()
        return plan

    def _same_call(self, keys: Keys) -> Plan:
        shape = Shape(keys)
        family = "genai" if self._context.models.mean(shape.at) else "internal"
        return ActionPlan(INTERNAL, ACTION, family, "", shape, self._context)


def _keys(record: SpanRecord) -> Keys:
    return tuple(entry[0] for entry in record.entries)


class ByKind(dict[int, Memory[Plan]]):
    """Unknown kinds are treated as unspecified."""

    def __missing__(self, kind: int) -> Memory[Plan]:
        return self[UNSPECIFIED]
