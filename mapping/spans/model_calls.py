"""Calls of models and tools that several spans of a request tell: one of them is kept (spec/mapping.md §4).

- One call inside another is the same one. A span around several calls is a step, and its tokens are theirs.
- Two instrumentations at once tell each call twice, beside each other or each below spans of its own: what they say of
  answer, model and tokens does not differ, and they go on at the same time. Each has one twin of another. Two of one
  scope have different names, and tell the same tokens.
- A span without a duration that tells the tokens of a stream, behind the one that its instrumentation made for the
  request: Logfire's.

Of two the one is kept that says more; whom the other names, it is of. Time is in proportion to the spans.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from mapping.context import Work
from mapping.event import API_CALL
from mapping.spans.models import GENERATED, ModelPlan
from mapping.spans.nested_calls import FEW, PAUSE, above, named, within
from mapping.spans.plans import Plans
from mapping.spans.tree import Tree

# Calls beside each other with which one is compared, from each end: those of two instrumentations begin together.
_MOST_AT_ONCE: Final = 16
_MOST_SCOPES: Final = 8  # instrumentations that tell a call; in the field two or three
# What a provider adds to the name by which a model was asked for: a date, a number, `latest`.
_VERSION: Final = re.compile(r"[-@:](?:v?\d[\w.:-]{0,40}|latest)").fullmatch
_LONGEST_MODEL: Final = 256  # characters of a name that are compared
_INPUT, _OUTPUT = "action.tokens.input", "action.tokens.output"


class _Said(NamedTuple):
    """What a span says of a call, to be compared with what another does. "" and -1: nothing."""

    at: int
    scope: str
    title: str
    start: int  # Unix nanoseconds
    end: int  # that of a stream can be told by an event only
    answer: str
    model: str
    input: float
    output: float
    failed: bool

    def agrees(self, other: _Said) -> bool:
        """Whether both may tell the same call."""
        if self.answer and other.answer and self.answer != other.answer:
            return False
        if self.scope == other.scope and not (self.title != other.title and self._tells_the_same_within(other)):
            return False
        if not _is_one_model(self.model, other.model) or not self._goes_on_with(other):
            return False
        pairs = [pair for pair in ((self.input, other.input), (self.output, other.output)) if min(pair) >= 0]
        return not pairs or any(one == another for one, another in pairs)

    def _goes_on_with(self, other: _Said) -> bool:
        both = min(self.end, other.end) - max(self.start, other.start)
        return both >= 0 and 2 * both >= min(self.end - self.start, other.end - other.start)

    def _tells_the_same_within(self, other: _Said) -> bool:
        if self.start < other.start or self.end > other.end:
            return False
        counts = self.input > 0 and self.output >= 0 and (self.input, self.output) == (other.input, other.output)
        return counts or (self.failed and other.failed)

    def distance(self, other: _Said) -> int:
        return abs(self.start - other.start) + abs(self.end - other.end)


def _is_one_model(one: str, other: str) -> bool:
    if not one or not other or one == other:
        return True
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and _VERSION(long, len(short)) is not None


class ModelCalls:
    """The calls of models and tools in a request, and which of them are one."""

    def __init__(self, tree: Tree, parents: Sequence[int]) -> None:
        self._tree = tree
        self._works = tree.works
        self._parents = parents
        self._outer: dict[int, int] = {}  # of each call of a model, the nearest model, agent or tool above
        self._below: dict[int, int] = {}  # of each, the API call above, -1 for none that is known
        self._counts: dict[int, bool] = {}  # whether it tells tokens
        self._stated: dict[int, bool] = {}  # whether it tells its operation
        self._classes: dict[int, str] = {}  # what is called, in words that all instrumentations have in common
        self._tools: list[int] = []
        self._marks: list[int] = []  # without a duration
        self._tellers: set[tuple[str, str]] = set()
        self._gone: set[int] = set()

    def add(self, models: list[int]) -> None:
        """Notes those of these spans of models that are calls of a model or a tool."""
        for at in models:
            work = self._works[at]
            plan: ModelPlan = work.plan.model
            told = plan.told(work.values, work.name.text)
            if told.operation == "execute_tool":
                self._classes[at] = f"tool {plan.tool(work.values) or work.name.text}"
                self._tools.append(at)
            if not told.call:
                continue
            self._classes[at] = "" if told.operation in GENERATED else told.operation
            self._outer[at], self._below[at] = self._nearest(at)
            self._counts[at] = bool(plan.counts(work.values))
            self._stated[at] = bool(told.operation)
            self._tellers.add(self._teller(at))
            span = work.record.span
            if self._counts[at] and span.start_time_unix_nano == span.end_time_unix_nano:
                self._marks.append(at)

    def _nearest(self, at: int) -> tuple[int, int]:
        """The nearest model, agent or tool above in the same service, -1 when an API call comes first; that call."""
        resource = self._works[at].group.resource
        model = -1
        for up in above(at, self._parents):
            plan = self._works[up].plan
            if self._works[up].group.resource != resource:
                break
            if plan.event_type == API_CALL:
                return (model if model >= 0 else up if plan.model is not None else -1), up
            if model < 0 and plan.model is not None:
                model = up
        return model, -1

    def settle(self, plans: Plans) -> Generator[None, None, None]:
        """Gives all but one of the spans that tell a call the plan of what is skipped."""
        if self._marks:
            yield from self._settle_marks(plans)
        left = yield from self._settle_nested(plans)
        if len(self._tellers) > 1:
            yield from self._settle_answers(left, plans)
            yield from self._settle_beside([at for at in left if at not in self._gone], plans)
        if len(self._tools) > 1:
            for at in self._tools:
                self._below[at] = self._nearest(at)[1]
                self._counts[at], self._stated[at] = False, True
            yield
            yield from self._settle_beside(self._tools, plans)

    def _settle_marks(self, plans: Plans) -> Generator[None, None, None]:
        """A stream's tokens on a span of their own: it has the duration of the request's span, which goes."""
        works = self._works
        waiting: dict[tuple[object, ...], list[int]] = {}
        marks = set(self._marks)
        for count, at in enumerate(sorted(self._outer, key=self._outermost_first)):
            if count % FEW == FEW - 1:
                yield
            work = works[at]
            key = (work.record.trace_id, work.record.parent_id, work.group.scope, self._classes[at])
            if at not in marks:
                if not self._counts[at] and work.record.status.code != 2:
                    waiting.setdefault(key, []).append(at)
                continue
            model = _model(work)
            for place, request in enumerate(waiting.get(key, ())[:_MOST_AT_ONCE]):
                if _is_one_model(model, _model(works[request])):
                    span, whole = works[request].record.span, type(work.record.span)()
                    whole.CopyFrom(work.record.span)
                    whole.start_time_unix_nano = span.start_time_unix_nano
                    works[at] = work._replace(record=work.record._replace(span=whole))
                    self._skip(request, at, plans)
                    self._forget(request)
                    del waiting[key][place]
                    break

    def _forget(self, at: int) -> None:
        for known in (self._outer, self._below, self._counts, self._stated, self._classes):
            known.pop(at, None)

    def _settle_nested(self, plans: Plans) -> Generator[None, None, list[int]]:
        """Settles calls that are inside of others. Returns those that are left."""
        works, outer = self._works, self._outer
        inner: dict[int, list[int]] = {}
        told: dict[int, list[int]] = {}  # by API calls that tell of a model's call themselves
        for at, up in outer.items():
            if up in outer:
                inner.setdefault(up, []).append(at)
            elif up >= 0 and works[up].plan.event_type == API_CALL:
                told.setdefault(up, []).append(at)
        for up, calls in told.items():
            tells = bool(works[up].plan.model.counts(works[up].values))  # else it names the model only
            if not tells or sum(self._counts[at] for at in calls) > 1:  # what it says is of the last of them
                works[up] = works[up]._replace(plan=plans.without_model(works[up]))
                continue
            for at in calls:
                works[at] = works[at]._replace(plan=plans.model(works[at].record, counted=False))
                self._counts[at] = False
        stands: dict[int, list[int]] = {}  # by which calls a call is told
        yield
        for count, at in enumerate(self._deepest_first(inner)):
            if count % PAUSE == PAUSE - 1:
                yield
            inside = [call for child in inner[at] for call in stands.get(child, (child,))]
            if not inside:
                continue
            counted = [call for call in inside if self._counts[call]]
            alone = len(inside) == 1
            if (self._counts[at] and not counted) or (alone and self._worth(at) >= self._worth(inside[0])):
                for call in inside:
                    self._skip(call, at, plans)
                    stands[call] = []
            elif alone:
                self._skip(at, inside[0], plans)
                stands[at] = inside
            else:
                works[at] = works[at]._replace(plan=plans.model(works[at].record, counted=False, step=True))
                # Enough for what is above: there are several, and whether they count.
                stands[at] = sorted(inside, key=lambda call: not self._counts[call])[:2]
        gone = {at for at, calls in stands.items() if calls != [at]}
        return [at for at in outer if at not in gone]

    def _worth(self, at: int) -> tuple[bool, bool]:
        return self._counts[at], self._stated[at]

    def _deepest_first(self, inner: dict[int, list[int]]) -> Iterator[int]:
        """Calls around others, each after those inside of it; those in a loop of parents never."""
        waits = {at: sum(child in inner for child in children) for at, children in inner.items()}
        ready = [at for at, count in waits.items() if not count]
        for at in ready:
            yield at
            up = self._outer[at]
            if up in waits:
                waits[up] -= 1
                if not waits[up]:
                    ready.append(up)

    def _settle_answers(self, left: list[int], plans: Plans) -> Generator[None, None, None]:
        """Of two spans with one answer from two instrumentations, one within the other, one goes."""
        works = self._works
        by_answer: dict[tuple[object, ...], list[int]] = {}
        for count, at in enumerate(left):
            if count % PAUSE == PAUSE - 1:
                yield
            work = works[at]
            if answer := work.plan.model.response(work.values):
                by_answer.setdefault((work.record.trace_id, answer), []).append(at)
        for group in by_answer.values():
            if len(group) < 2:
                continue
            group.sort(key=self._outermost_first)
            around = group[0]
            for at in group[1:]:
                if works[at].group.scope == works[around].group.scope or not within(works[at], works[around]):
                    around = at
                else:
                    around = self._keep_one(around, at, plans)
            if len(group) > PAUSE:
                yield

    def _outermost_first(self, at: int) -> tuple[int, int]:
        span = self._works[at].record.span
        return span.start_time_unix_nano, -span.end_time_unix_nano

    def _settle_beside(self, calls: list[int], plans: Plans) -> Generator[None, None, None]:
        """Of two spans of one call that go on at the same time, from two instrumentations, one goes."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for count, at in enumerate(calls):
            if count % PAUSE == PAUSE - 1:
                yield
            work = self._works[at]
            key = (work.record.trace_id, work.group.resource, self._below[at], self._classes[at])
            groups.setdefault(key, []).append(at)
        for group in groups.values():
            if len(group) > 1 and len({self._teller(at) for at in group}) > 1:
                yield from self._settle_group(group, plans)

    def _settle_group(self, group: list[int], plans: Plans) -> Generator[None, None, None]:
        """Each is compared with the nearest that its scope has not told, and with those of its scope before it."""
        group.sort(key=self._outermost_first)
        scopes = list(dict.fromkeys(self._works[at].group.scope for at in group))[:_MOST_SCOPES]
        kept: list[tuple[_Said, list[str]]] = []  # each with the scopes that told it
        untold: dict[str, dict[int, None]] = {scope: {} for scope in scopes}  # by scope, places in `kept`
        for count, at in enumerate(group):
            if count % FEW == FEW - 1:
                yield
            said = self._said(at)
            others = untold.get(said.scope, {})
            places = {*islice(others, _MOST_AT_ONCE), *islice(reversed(others), _MOST_AT_ONCE)}
            places.update(range(max(0, len(kept) - _MOST_AT_ONCE), len(kept)))
            near = [
                (said.distance(kept[place][0]), place)
                for place in places
                if kept[place][1].count(said.scope) < (2 if kept[place][0].scope == said.scope else 1)
                and said.agrees(kept[place][0])
                and not self._is_above(kept[place][0].at, at)
            ]
            if not near:
                for scope in scopes:
                    if scope != said.scope:
                        untold[scope][len(kept)] = None
                kept.append((said, [said.scope]))
                continue
            _, place = min(near)
            other, told = kept[place]
            one = self._keep_one(other.at, at, plans)
            kept[place] = (other if one == other.at else said), [*told, said.scope]
            others.pop(place, None)

    def _is_above(self, up: int, at: int) -> bool:
        """True for calls of a model that are kept apart by an agent or tool between them."""
        return self._classes[at] == self._classes[up] and up in self._outer and up in above(at, self._parents)

    def _teller(self, at: int) -> tuple[str, str]:
        work = self._works[at]
        return work.group.scope, work.name.text

    def _said(self, at: int) -> _Said:
        work = self._works[at]
        span, model = work.record.span, work.plan.model
        counts, events = model.counts(work.values), work.record.events
        end = span.end_time_unix_nano
        return _Said(
            at,
            work.group.scope,
            work.name.text,
            span.start_time_unix_nano,
            max(end, events[-1].time_unix_ns) if events else end,
            model.response(work.values),
            _model(work),
            counts.get(_INPUT, -1),
            counts.get(_OUTPUT, -1),
            work.record.status.code == 2,
        )

    def _keep_one(self, around: int, at: int, plans: Plans) -> int:
        """Skips one of two spans of a call, and returns the other: `around` where both say as much."""
        kept, gone = (around, at) if self._says(around) >= self._says(at) else (at, around)
        self._skip(gone, kept, plans)
        return kept

    def _says(self, at: int) -> tuple[bool, bool, bool, int]:
        work = self._works[at]
        tokens = len(work.plan.model.counts(work.values))
        return *self._worth(at), bool(_model(work)), tokens

    def _skip(self, at: int, kept: int, plans: Plans) -> None:
        """One span of a call goes, and the one that is kept is of whom it names."""
        works = self._works
        self._gone.add(at)
        gone, work = works[at], works[kept]
        works[at] = gone._replace(plan=plans.told_twice(gone.record))
        if gone.who[0] or gone.who[1]:
            who = named(work.who, gone.who)
            if who is not work.who:
                works[kept] = work._replace(who=who)
                if not (work.who[0] or work.who[1]):
                    insort(self._tree.naming, kept)


def _model(work: Work) -> str:
    """The model without its provider before it, in small letters; "" for none."""
    asked = work.plan.model.asked(work.values)
    return asked[:_LONGEST_MODEL].strip('" ').rpartition("/")[2].lower() if isinstance(asked, str) else ""
