"""Tail mode over events: what rules see of a whole trace, and each event's final decision (spec/sampling.md §10).

The mapper's events arrive undecided (kept, with upstream's weight); they leave decided, or as None where they
are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import orjson

from mapping.event import API_CALL, Decision, Event, memory_of
from mapping.event_facts import event_fact
from mapping.sampling.counts import thresholds_of
from mapping.sampling.decide import Rate, Upstream
from mapping.sampling.plan import Ruled
from mapping.sampling.sampler import Sampler
from mapping.sampling.stated import STATED, multiplied
from mapping.sampling.tail import Released, TailBuffer

Token = TypeVar("Token")

MAX_RATES = 4096


class Finished(NamedTuple, Generic[Token]):
    event: Event | None  # None: sampled out, and counted
    token: Token
    decision: Decision | None = None  # what was decided here, kept or not; None: the event came decided


class WholeTraces(Generic[Token]):
    """For settings with `sampling.tail`. token: whatever the caller needs to find its place again.

    counted: False when the caller counts the decisions itself, because the same events are decided more than once.
    Every event that is added comes back exactly once, from add, tick or drain. Nothing here is durable: the
    caller must not let go of a request before all its events came back.
    """

    def __init__(self, sampler: Sampler, *, counted: bool = True) -> None:
        settings = sampler.settings.tail
        if settings is None:
            raise ValueError("sampling.tail is not set")
        self._counted = counted
        self.buffer: TailBuffer[tuple[Event, Token]] = TailBuffer(settings, self._rate)
        self._sampler = sampler
        self._ruled: dict[Rate, Ruled] = {}

    def add(self, events: Iterable[tuple[Event, Token]], now_s: float) -> list[Finished[Token]]:
        finished: list[Finished[Token]] = []
        for event, token in events:
            if not event.trace_id or event.decision.rule != Sampler.UNDECIDED:
                finished.append(Finished(event, token))
                continue
            trace_id = bytes.fromhex(event.trace_id)
            r = randomness_of(event.decision, trace_id)
            root = event.source == "span" and not event.parent_id
            for released in self.buffer.add(
                trace_id + event.tenant.encode(), (event, token), memory_of(event), r, now_s, root
            ):
                finished.extend(self._finish(released))
        return finished

    def tick(self, now_s: float) -> list[Finished[Token]]:
        """Call it several times a second, with the same clock as add."""
        return [f for released in self.buffer.tick(now_s) for f in self._finish(released)]

    def drain(self) -> list[Finished[Token]]:
        return [f for released in self.buffer.drain() for f in self._finish(released)]

    def oldest(self) -> list[Finished[Token]]:
        """Decide the trace that waits longest now; empty when none waits."""
        released = self.buffer.oldest()
        return [] if released is None else list(self._finish(released))

    def follow(self, sampler: Sampler) -> None:
        """Decide by the rules of this sampler from now on."""
        self._sampler = sampler

    def _rate(self, items: Sequence[tuple[Event, Token]]) -> Rate:
        return self._sampler.rate_of(TraceFacts([event for event, _ in items]))

    def _finish(self, released: Released[tuple[Event, Token]]) -> Iterable[Finished[Token]]:
        rate = released.rate._replace(t_floor=released.t_shed)
        ruled = self._ruled.get(rate)
        if ruled is None:
            if len(self._ruled) >= MAX_RATES:
                self._ruled.clear()
            ruled = self._ruled[rate] = Ruled(rate)
        for event, token in released.items:
            upstream = upstream_of(event.decision, released.trace_id[:16])
            decision = self._sampler.decide_again(ruled, upstream, counted=self._counted)
            if released.early and decision.keep:
                decision = decision._replace(reason="kept_early")
            final = decision
            if decision.keep and event.decision.upstream == STATED:
                final = multiplied(decision, event.decision.adjusted_count, event.decision.weight)
            yield Finished(event._replace(decision=final) if decision.keep else None, token, decision)


def randomness_of(decision: Decision, trace_id: bytes) -> int:
    """R of an undecided event. The sampler leaves it in `rv` wherever it is not the trace id's."""
    return int(decision.rv, 16) if decision.rv else int.from_bytes(trace_id[9:], "big")


def upstream_of(decision: Decision, trace_id: bytes) -> Upstream:
    """What the sampler found out about upstream, read back from the undecided event."""
    t_in, passed = thresholds_of(decision)
    status = "none" if decision.upstream == STATED else decision.upstream
    return Upstream(status, t_in, randomness_of(decision, trace_id), decision.r_source, passed=passed)


class TraceFacts:
    """A trace's values at rule paths: the worst status and severity of all, the whole duration, the rest of its entry.

    The entry is the earliest API call without a parent here, else the earliest record. Where the entry has no
    value (a user who is known only further in), the first record that has one speaks. attr.* reads attributes
    that the mapping left in metadata.
    """

    __slots__ = ("_events",)

    def __init__(self, events: Sequence[Event]) -> None:
        here = {event.span_id for event in events if event.span_id}

        def place(event: Event) -> tuple[bool, bool, int]:
            return event.event_type != API_CALL, event.parent_id in here, event.start_unix_ns

        self._events = sorted(events, key=place)

    def __call__(self, path: str) -> object:
        events = self._events
        match path:
            case "status":
                return max(event.status for event in events) or None
            case "status_class":
                status = max(event.status for event in events)
                return f"{status // 100}xx" if status else None
            case "severity":
                return max(event.severity_number for event in events) or None
            case "duration_ms":
                spans = [event for event in events if event.source == "span"]
                if not spans:
                    return None
                began = min(event.start_unix_ns for event in spans)
                return (max(event.end_unix_ns for event in spans) - began) / 1e6
            case "tenant":
                return events[0].tenant or None
        if path.startswith("attr."):
            return _first(events, lambda event: _metadata(event).get(path[5:]))
        if path.startswith("resource."):
            return _first(events, lambda event: _resource(event).get(path[9:]))
        return _first(events, lambda event: event_fact(event, path))


def _first(events: Sequence[Event], value: Callable[[Event], object]) -> object:
    return next((found for event in events if (found := value(event)) is not None), None)


def _metadata(event: Event) -> dict[str, object]:
    return _object(event.metadata)


def _resource(event: Event) -> dict[str, object]:
    inner = _object(event.resource).get("resource")
    return inner if isinstance(inner, dict) else {}


def _object(text: str) -> dict[str, object]:
    value = orjson.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
