"""The same event in two requests counts once, however wrong clocks are, across restarts and between two bridges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clickhouse_rig import NOW_NS, count, endpoint, event
from engine_process import EngineProcess
from exporter.clickhouse.sink import ClickHouseSink
from exporter.duplicates import AHEAD_NS, HOUR_NS, MOST_HOURS, Horizon
from exporter.sinks.clickhouse import Settings, create
from mapping.event import Event
from pipeline_rig import ListSource, Rig, outcomes
from sink_memory import MemorySink

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
AHEAD = {"1 s": 1, "60 s": 60, "4 min": 240, "6 min": 360, "1 hour": 3600, "1 day": 86_400}
BEHIND = {"in time": 0, "1 s behind": -1, "1 hour behind": -3600, "2 days behind": -2 * 86_400}


def sent(skew_s: float, **more: Any) -> Event:
    """An event of a sender whose clock is ahead by so much, just received."""
    end = NOW_NS + int(skew_s * SECOND_NS)
    return event(start_unix_ns=end - 1000, end_unix_ns=end, received_unix_ns=NOW_NS + 1, **more)


def again(first: Event, after_s: float) -> Event:
    """The same event as it is mapped from another request, so much later."""
    received = first.received_unix_ns + int(after_s * SECOND_NS)
    if first.end_unix_ns == first.received_unix_ns:  # no time of its own
        return first._replace(start_unix_ns=received, end_unix_ns=received, received_unix_ns=received)
    return first._replace(received_unix_ns=received)


def untimed() -> Event:
    return event(source="log", event_type="log", start_unix_ns=NOW_NS, end_unix_ns=NOW_NS, received_unix_ns=NOW_NS)


FIRST = {name: sent(skew) for name, skew in {**AHEAD, **BEHIND, "400 days ahead": 400 * 86_400}.items()}
FIRST["no time"] = untimed()


def store(engine: EngineProcess, **settings: Any) -> ClickHouseSink:
    return create(Settings(name="store", dsn=f"chdb://{engine.data}", **settings), lambda: endpoint(engine))


def bridge(directory: Path, engine: EngineProcess, **settings: Any) -> Rig:
    """Its pipeline alone, over a store that is an engine of its own."""
    directory.mkdir(exist_ok=True)
    rig = Rig(directory, ListSource(), MemorySink(), **settings)
    rig.now = NOW_NS
    return rig


def take(rig: Rig, engine: EngineProcess, events: list[Event], at_ns: int, **settings: Any) -> None:
    """The next process of a bridge takes one request and ends."""
    rig.now = at_ns
    rig.sink = store(engine, **settings)  # type: ignore[assignment]
    rig.source.records.append(events)
    rig.restart()
    rig.drain()
    rig.pipeline.close()


@pytest.mark.parametrize("after_s", [2, 120, 400, 5000])
@pytest.mark.parametrize("restarts", [1, 2])
def test_sent_again_after_restarts(clean: EngineProcess, tmp_path: Path, restarts: int, after_s: int) -> None:
    rig = bridge(tmp_path / "a", clean)
    take(rig, clean, list(FIRST.values()), NOW_NS)
    for turn in range(1, restarts):
        take(rig, clean, [sent(0, span_id=f"{turn:016x}")], NOW_NS + turn * SECOND_NS)
    take(rig, clean, [again(first, after_s) for first in FIRST.values()], NOW_NS + after_s * SECOND_NS)
    twice = clean.ask("SELECT event_id FROM api_events GROUP BY event_id HAVING count() > 1")[1].split()
    assert [name for name, first in FIRST.items() if first.transaction_id in twice] == []
    assert count(clean) == len(FIRST) + restarts - 1
    assert outcomes(rig)["deduplicated"] == len(FIRST)


@pytest.mark.parametrize("hours", [-48, -1, 0, 1, 36])
def test_the_bridges_own_clock_jumps_between_the_two(clean: EngineProcess, tmp_path: Path, hours: int) -> None:
    rig = bridge(tmp_path / "a", clean)
    take(rig, clean, list(FIRST.values()), NOW_NS)
    jump_s = hours * 3600
    take(rig, clean, [again(first, jump_s + 2) for first in FIRST.values()], NOW_NS + (jump_s + 2) * SECOND_NS)
    twice = clean.ask("SELECT event_id FROM api_events GROUP BY event_id HAVING count() > 1")[1].split()
    assert [name for name, first in FIRST.items() if first.transaction_id in twice] == []


def test_sent_again_when_the_memory_of_ids_has_turned_over(tmp_path: Path) -> None:
    """One process, which has forgotten the first ones since."""
    firsts = list(FIRST.values())
    later = [[sent(index / 100)] for index in range(40)]
    source = ListSource(firsts, *later, [again(first, 2) for first in firsts])
    rig = Rig(tmp_path, source, MemorySink(), remember_events=len(firsts), max_events=1)
    rig.now = NOW_NS
    rig.drain()
    assert len(rig.sink.events) == len(firsts) + len(later)
    assert outcomes(rig)["deduplicated"] == len(firsts)


def test_new_events_are_not_asked_about_though_some_clocks_are_far_ahead(tmp_path: Path) -> None:
    """One sender with a clock of 2090 must not make every event a question."""
    ahead = [sent(60 * 365 * 86_400), sent(7 * 86_400)]
    source = ListSource(ahead)
    rig = Rig(tmp_path, source, MemorySink())
    rig.now = NOW_NS
    rig.drain()
    rig.restart()
    rig.now = NOW_NS + 60 * SECOND_NS
    rig.sink.asked.clear()
    source.records.append([again(sent(0), 0)._replace(end_unix_ns=NOW_NS + 120 * SECOND_NS) for _ in range(5)])
    rig.drain()
    assert rig.sink.asked == []
    source.records.append([again(first, 3600) for first in ahead])
    rig.drain()
    assert len(rig.sink.events) == 7


def test_a_horizon_is_bounded_and_then_asks_more_not_less() -> None:
    horizon = Horizon()
    for hour in range(3 * MOST_HOURS):
        late = event(end_unix_ns=NOW_NS + AHEAD_NS + hour * HOUR_NS, received_unix_ns=NOW_NS - 1)
        horizon.note([late])
        assert horizon.may_have_come(late)
    assert len(horizon.ahead_hours) == MOST_HOURS
    first = event(end_unix_ns=NOW_NS + AHEAD_NS, received_unix_ns=NOW_NS - 1)
    assert horizon.may_have_come(first)
    read = Horizon.of(horizon.plain())
    assert read.plain() == horizon.plain()


@pytest.mark.parametrize("after_s", [2, 120])
def test_two_bridges_on_one_store_count_the_same_bytes_once(clean: EngineProcess, tmp_path: Path, after_s: int) -> None:
    one, other = bridge(tmp_path / "a", clean), bridge(tmp_path / "b", clean)
    take(one, clean, list(FIRST.values()), NOW_NS, shared=True)
    own = [sent(0, span_id="b" * 16)]
    copies = [again(first, after_s) for first in FIRST.values()]
    take(other, clean, copies + own, NOW_NS + after_s * SECOND_NS, shared=True)
    take(one, clean, [again(copy, 3) for copy in copies + own], NOW_NS + (after_s + 3) * SECOND_NS, shared=True)
    twice = clean.ask("SELECT event_id FROM api_events GROUP BY event_id HAVING count() > 1")[1].split()
    of = {first.transaction_id: name for name, first in FIRST.items()}
    assert sorted(of[event_id] for event_id in twice) == []
    assert count(clean) == len(FIRST) + 1


def test_a_server_may_be_shared_and_an_embedded_store_is_not() -> None:
    def shared(dsn: str, **more: Any) -> bool:
        return create(Settings(name="store", dsn=dsn, **more), lambda: None).shared

    server = "http://writer@127.0.0.1:8123/analytics"
    assert shared(server)
    assert shared("https://clickhouse.example/analytics")
    assert not shared(server, shared=False)
    assert not shared("chdb:///nowhere")
    assert shared("chdb:///nowhere", shared=True)
