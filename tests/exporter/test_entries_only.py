"""Sinks that get entries only: calls whose ancestors are in other requests wait for them, and each ends once."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

import exporter.ancestry as ancestry_module
import exporter.span_wait as span_wait_module
from events import SECOND_NS, event
from mapping.event import ACTION, API_CALL, Event
from pipeline_rig import ListSource, Rig, access_log, outcomes
from sink_memory import MemorySink

WAIT_S = 10
THEIRS = "b7ad6b7169203331"


def is_wanted(call: Event) -> bool:
    return call.event_type == API_CALL and call.direction == "Incoming" and call.hop != "inner"


class Chain:
    """A trace in the making, of calls that each came in a request of their own."""

    def __init__(self, **same: Any) -> None:
        self.same = {"trace_id": event().trace_id, **same}
        self.events: list[Event] = []

    def add(self, service: str, parent: str = "", direction: str = "Incoming", **changes: Any) -> str:
        span_id = f"{random.getrandbits(64):016x}"
        hop = "" if direction != "Incoming" else "open" if parent else "entry"
        fields = {"service": service, "parent_id": parent, "direction": direction, "hop": hop, "span_id": span_id}
        self.events.append(event(**{**self.same, **fields, **changes}))
        return span_id


def bench_of(tmp_path: Path, *requests: list[Event], **batch: Any) -> Rig:
    return Rig(tmp_path, ListSource(*requests), MemorySink(wants=is_wanted, entry_wait_s=WAIT_S), **batch)


def end(rig: Rig, wait_s: float = 60) -> list[str]:
    """Services of the calls that the sink got when everything is over; every record has ended once."""
    rig.now += int(wait_s * SECOND_NS)
    rig.restart()
    rig.drain()
    told = outcomes(rig)
    assert told["received"] == sum(map(len, rig.source.records)) == sum(told.values()) - told["received"]
    assert not rig.pipeline.journal.waiting
    return sorted(call.service for call in rig.sink.events)


def three_hops(above: str) -> list[Event]:
    chain = Chain()
    gateway = chain.add("gateway", above)
    orders = chain.add("orders", chain.add("gateway", gateway, "Outgoing"))
    chain.add("stock", chain.add("orders", orders, "Outgoing"))
    return chain.events


@pytest.mark.parametrize("above", ["", THEIRS])
def test_a_chain_is_one_entry_in_any_order_of_its_requests(tmp_path: Path, above: str) -> None:
    for number, order in enumerate(itertools.permutations(three_hops(above))):
        folder = tmp_path / str(number)
        folder.mkdir()
        rig = bench_of(folder, *([each] for each in order))
        rig.drain()
        assert end(rig) == ["gateway"]
        assert outcomes(rig) == {"received": 5, "delivered": 1, "skipped": 4}


@pytest.mark.parametrize("kill_after", range(1, 6))
def test_a_kill_between_the_requests_of_a_chain_changes_nothing(tmp_path: Path, kill_after: int) -> None:
    """Children come first, as they are exported first."""
    requests = [[each] for each in reversed(three_hops(THEIRS))]
    rig = bench_of(tmp_path, *requests[:kill_after])
    rig.run_until(lambda: rig.pipeline.journal.cursor == 10 * kill_after)
    rig.restart()
    rig.source.records += requests[kill_after:]
    rig.run_until(lambda: rig.pipeline.journal.cursor == 50)
    assert end(rig) == ["gateway"]


def test_a_call_with_nothing_above_it_is_sent_when_its_time_is_over(tmp_path: Path) -> None:
    chain = Chain()
    chain.add("gateway", THEIRS)
    rig = bench_of(tmp_path, chain.events, [event(service="other", hop="entry")])
    rig.run_until(lambda: rig.pipeline.journal.cursor == 20)
    assert [call.service for call in rig.sink.events] == ["other"]
    assert end(rig, WAIT_S + 1) == ["gateway", "other"]


def test_calls_of_one_caller_in_one_trace_are_entries_each(tmp_path: Path) -> None:
    chain = Chain()
    for _ in range(3):
        chain.add("orders", chain.add("gateway", chain.add("gateway", THEIRS), "Outgoing"))
    rig = bench_of(tmp_path, *([each] for each in random.sample(chain.events, 9)))
    rig.drain()
    assert end(rig) == ["gateway"] * 3


def test_tenants_hide_nothing_from_each_other(tmp_path: Path) -> None:
    ours = Chain(tenant="a")
    theirs = Chain(tenant="b", trace_id=ours.same["trace_id"])
    theirs.add("orders", ours.add("gateway"))
    rig = bench_of(tmp_path, ours.events, theirs.events)
    rig.drain()
    assert end(rig) == ["gateway", "orders"]


def test_actions_between_two_calls_lead_to_the_one_above(tmp_path: Path) -> None:
    chain = Chain()
    work = chain.add("gateway", chain.add("gateway", THEIRS), "Internal", event_type=ACTION)
    chain.add("orders", work)
    rig = bench_of(tmp_path, *([each] for each in reversed(chain.events)))
    rig.drain()
    assert end(rig) == ["gateway"]


def test_a_line_of_a_trace_that_begins_with_another_call_is_no_entry(tmp_path: Path) -> None:
    chain = Chain()
    chain.add("gateway")
    line = access_log(event(trace_id=chain.same["trace_id"], service="stock", hop="open", route="/s", uri="http://s/s"))
    rig = bench_of(tmp_path, [line], chain.events)
    rig.drain()
    assert end(rig) == ["gateway"]


def test_copies_of_a_call_that_waits_are_copies_also_after_a_kill(tmp_path: Path) -> None:
    chain = Chain()
    chain.add("gateway", THEIRS)
    rig = bench_of(tmp_path, chain.events, chain.events)
    rig.run_until(lambda: rig.pipeline.journal.cursor == 20)
    rig.restart()
    rig.source.records += [chain.events]
    rig.run_until(lambda: rig.pipeline.journal.cursor == 30)
    assert end(rig) == ["gateway"]
    assert outcomes(rig) == {"received": 3, "delivered": 1, "deduplicated": 2}


def told_thrice() -> list[Event]:
    """One call as three instrumentations tell of it, the outer one first; each has its name as user agent."""
    chain, begins = Chain(), event().start_unix_ns
    for n, scope in enumerate(("agent", "bridge", "router")):
        at, until = begins + n * 1000, begins + SECOND_NS - n * 1000
        resource = f'{{"resource":{{}},"scope":{{"name":"{scope}"}}}}'
        chain.add("shop", THEIRS, resource=resource, user_agent=scope, start_unix_ns=at, end_unix_ns=until)
    return chain.events


def test_a_call_that_several_instrumentations_tell_of_is_sent_once_in_any_order(tmp_path: Path) -> None:
    traces = [random.sample(told_thrice(), 3) for _ in range(48)]
    rig = bench_of(tmp_path, *(list(request) for request in zip(*traces, strict=True)))
    rig.drain()
    assert end(rig) == ["shop"] * 48
    assert {call.user_agent for call in rig.sink.events} == {"agent"}


def test_what_tells_of_a_call_that_was_sent_is_none(tmp_path: Path) -> None:
    """The inner one waited for its time before the outer came; a gateway's other pod is a call all the same."""
    outer, inner, innermost = told_thrice()
    rig = bench_of(tmp_path, [inner])
    rig.run_until(lambda: rig.pipeline.journal.cursor == 10)
    rig.now += (WAIT_S + 1) * SECOND_NS
    rig.source.records += [[event(hop="entry", service="other")]]
    rig.run_until(lambda: len(rig.sink.events) == 2)
    pod = outer._replace(span_id="c" * 16, transaction_id="pod", start_unix_ns=outer.start_unix_ns + 5000)
    rig.source.records += [[outer], [innermost], [pod]]
    rig.drain()
    assert end(rig) == ["other", "shop", "shop"]
    assert [call.user_agent for call in rig.sink.events if call.service == "shop"] == ["bridge", "agent"]


def test_a_kill_between_what_tells_of_one_call_loses_none(tmp_path: Path) -> None:
    told = told_thrice()
    for number, order in enumerate(itertools.permutations(told)):
        folder = tmp_path / str(number)
        folder.mkdir()
        rig = bench_of(folder, [order[0]])
        rig.run_until(lambda: rig.pipeline.journal.cursor == 10)  # noqa: B023
        rig.restart()
        rig.source.records += [[one] for one in order[1:]]
        rig.drain()
        assert end(rig) == ["shop"]
        assert [call.user_agent for call in rig.sink.events] == ["agent"]


def test_a_job_whose_call_of_its_own_service_is_told_twice_makes_one(tmp_path: Path) -> None:
    chain = Chain()
    outgoing = chain.add("shop", chain.add("shop", "", "Internal", event_type=ACTION), "Outgoing")
    calls = [one._replace(parent_id=outgoing, trace_id=chain.same["trace_id"]) for one in told_thrice()]
    rig = bench_of(tmp_path, *([one] for one in random.sample([*chain.events, *calls], 5)))
    rig.drain()
    assert end(rig) == ["shop"]


def test_calls_of_which_each_looks_as_if_below_another_have_an_entry(tmp_path: Path) -> None:
    """A worker calls its own service twice: the first is sent, as the view has it."""
    begins, traces = event().start_unix_ns, []
    for order in itertools.permutations(range(5)):
        chain = Chain()
        job = chain.add("shop", THEIRS, "Internal", event_type=ACTION)
        for n in range(2):
            chain.add("shop", chain.add("shop", job, "Outgoing"), start_unix_ns=begins + n, user_agent=str(n))
        traces.append([chain.events[at] for at in order])
    rig = bench_of(tmp_path, *(list(request) for request in zip(*traces, strict=True)))
    rig.drain()
    assert end(rig) == ["shop"] * 120
    assert {call.user_agent for call in rig.sink.events} == {"0"}


def test_what_is_beyond_the_bounds_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_wait_module, "MOST_WAITING", 20)
    monkeypatch.setattr(ancestry_module, "MOST_TRACES", 10)
    chains = [three_hops("") for _ in range(60)]
    requests = [[chain[at] for chain in chains] for at in (4, 3, 2, 1, 0)]
    rig = bench_of(tmp_path, *requests)
    rig.drain()
    found = end(rig)
    assert found.count("gateway") == 60
    assert len(found) <= 180


def test_parents_that_go_in_circles_end(tmp_path: Path) -> None:
    trace = event().trace_id
    ids = ["a" * 16, "b" * 16]
    loop = [
        event(trace_id=trace, span_id=own, parent_id=other, event_type=ACTION, direction="Internal")
        for own, other in (ids, ids[::-1])
    ]
    call = event(trace_id=trace, span_id="c" * 16, parent_id=ids[0], hop="open", service="gateway")
    rig = bench_of(tmp_path, loop, [call])
    rig.drain()
    assert end(rig) == ["gateway"]


@pytest.mark.parametrize("seed", range(8))
def test_kills_at_random_moments_send_each_entry_once(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    requests = []
    for chain in (three_hops(dice.choice(["", THEIRS])) for _ in range(12)):
        requests += [[each] for each in reversed(chain)]
    rig = bench_of(tmp_path, *requests, max_events=7)
    for _ in range(6):
        target = min(600, rig.pipeline.journal.cursor + 10 * dice.randrange(1, 20))
        rig.run_until(lambda: rig.pipeline.journal.cursor >= target)  # noqa: B023
        rig.restart()
    rig.run_until(lambda: rig.pipeline.journal.cursor == 600)
    assert end(rig) == ["gateway"] * 12
