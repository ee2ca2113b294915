"""From mapped requests to delivered batches: nothing lost, nothing twice, whatever a restart does."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from events import NOW_NS, SECOND_NS, event
from exporter.errors import Retryable
from exporter.sink import Batch
from exporter.source import Unit
from pipeline_rig import ListSource, Rig, access_log, ids, outcomes
from sink_memory import MemorySink


def test_everything_is_delivered_once_and_released(tmp_path: Path) -> None:
    records = [[event() for _ in range(5)] for _ in range(7)]
    rig = Rig(tmp_path, ListSource(*records), MemorySink())
    rig.drain()
    assert ids(rig.sink.events) == ids(sum(records, []))
    assert rig.source.released == 70
    assert outcomes(rig) == {"received": 35, "delivered": 35}


def test_batches_are_closed_by_count(tmp_path: Path) -> None:
    records = [[event() for _ in range(4)] for _ in range(6)]
    rig = Rig(tmp_path, ListSource(*records), MemorySink(), max_events=8)
    rig.drain()
    assert [rows for _, rows, _ in rig.sink.writes] == [8, 8, 8]


def test_batches_are_closed_by_bytes(tmp_path: Path) -> None:
    records = [[event() for _ in range(70)] for _ in range(2)]
    rig = Rig(tmp_path, ListSource(*records), MemorySink(), max_bytes=1 << 16)
    rig.drain()
    assert [rows for _, rows, _ in rig.sink.writes] == [70, 70]


def test_batches_are_closed_by_age_while_more_keeps_coming(tmp_path: Path) -> None:
    class Steady(ListSource):
        """A request every 2 ms, for 0.6 s."""

        async def next(self, position: int, timeout_s: float) -> Unit | None:
            await asyncio.sleep(0.002)
            if len(self.records) < 300:
                self.records.append([event()])
            return await super().next(position, timeout_s)

    rig = Rig(tmp_path, Steady([event()]), MemorySink(), max_age_s=0.05)
    rig.drain()
    assert len(rig.sink.events) == 300
    assert max(rows for _, rows, _ in rig.sink.writes) < 100


def test_a_sink_with_day_partitions_gets_one_day_per_batch(tmp_path: Path) -> None:
    days = [event(start_unix_ns=NOW_NS - day * 86_400 * SECOND_NS) for day in (0, 1, 0, 2)]
    sink = MemorySink()
    sink.day_partitions = True
    rig = Rig(tmp_path, ListSource(days), sink)
    rig.drain()
    assert sorted(rows for _, rows, _ in sink.writes) == [1, 1, 2]
    assert len({batch_id for batch_id, _ in sink.batches.values()}) == 3


def test_the_same_event_in_two_requests_counts_once(tmp_path: Path) -> None:
    twice = event()
    rig = Rig(tmp_path, ListSource([twice], [event(), twice]), MemorySink(), max_events=1)
    rig.drain()
    assert len(rig.sink.events) == 2
    assert outcomes(rig)["deduplicated"] == 1


def test_an_event_that_an_earlier_process_delivered_is_recognised_through_the_sink(tmp_path: Path) -> None:
    twice = event()
    source = ListSource([twice])
    rig = Rig(tmp_path, source, MemorySink())
    rig.drain()
    source.records.append([twice, event()])
    rig.now = NOW_NS + 60 * SECOND_NS
    rig.restart()
    rig.drain()
    assert len(rig.sink.events) == 2
    assert outcomes(rig)["deduplicated"] == 1


def test_the_sink_is_not_asked_about_events_that_could_not_have_come_before(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ListSource([event(end_unix_ns=NOW_NS + 2 * SECOND_NS)]), MemorySink())
    rig.drain()
    assert rig.sink.asked == []


def test_a_process_killed_inside_a_write_repeats_the_same_batch_in_doubt(tmp_path: Path) -> None:
    records = [[event() for _ in range(3)] for _ in range(4)]
    sink = MemorySink()
    source = ListSource(*records)

    def commit_then_die(batch: Batch, in_doubt: bool) -> None:
        sink.batches[batch.token] = (batch.batch_id, list(batch.events))
        raise Retryable("the answer was lost")

    sink.fail = commit_then_die
    rig = Rig(tmp_path, source, sink)
    rig.run_until(lambda: rig.pipeline.counts.retries > 2)
    tokens = set(sink.batches)
    sink.fail = None
    rig.restart()
    rig.drain()
    assert ids(sink.events) == ids(sum(records, []))
    assert [(token in tokens, in_doubt) for token, _, in_doubt in sink.writes] == [(True, True)]


def test_an_access_log_line_collapses_onto_its_span_whichever_comes_first(tmp_path: Path) -> None:
    first, second = event(span_id="a" * 16), event(span_id="b" * 16)
    source = ListSource([access_log(first)], [first], [second], [access_log(second)])
    rig = Rig(tmp_path, source, MemorySink())
    rig.drain()
    assert [(e.source, e.span_id[0]) for e in rig.sink.events] == [("span", "a"), ("span", "b")]
    assert outcomes(rig) == {"received": 4, "delivered": 2, "deduplicated": 2}


def test_a_call_known_from_logs_alone_counts_after_the_wait(tmp_path: Path) -> None:
    line = access_log(event())
    rig = Rig(tmp_path, ListSource([line], [event()]), MemorySink())
    rig.run_until(lambda: rig.pipeline.totals.get("delivered") == 1)
    assert [e.source for e in rig.sink.events] == ["span"]
    assert rig.source.released == 0, "the line's record is kept while it waits"
    rig.now = NOW_NS + 31 * SECOND_NS
    rig.restart()
    rig.drain()
    assert sorted(e.source for e in rig.sink.events) == ["log", "span"]
    rig.restart()
    rig.drain()
    assert len(rig.sink.events) == 2
    assert rig.source.released == 20


def test_a_span_that_comes_after_a_restart_still_replaces_the_waiting_line(tmp_path: Path) -> None:
    span = event()
    source = ListSource([access_log(span), event(span_id="c" * 16)])
    rig = Rig(tmp_path, source, MemorySink())
    rig.run_until(lambda: rig.pipeline.totals.get("delivered") == 1)
    source.records.append([span])
    rig.restart()
    rig.drain()
    rig.now = NOW_NS + 60 * SECOND_NS
    rig.restart()
    rig.drain()
    assert [e.source for e in rig.sink.events] == ["span", "span"]


@pytest.mark.parametrize("seed", range(25))
def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    """Spans, their log lines, resent records and a sink that fails at random, over many short-lived processes."""
    dice = random.Random(seed)
    spans = [event(span_id=f"{number:016x}") for number in range(120)]
    lines = [access_log(span) for span in spans if dice.random() < 0.5]
    lonely = [access_log(event(span_id=f"{number:016x}")) for number in range(500, 520)]
    traffic = spans + lines + lonely + dice.sample(spans, 20)
    dice.shuffle(traffic)
    source = ListSource(*[traffic[at : at + 7] for at in range(0, len(traffic), 7)])
    sink = MemorySink()

    def chance(batch: Batch, in_doubt: bool) -> None:
        if dice.random() < 0.3:
            sink.batches[batch.token] = (batch.batch_id, list(batch.events))  # committed, answer lost
            raise Retryable("connection reset")
        if dice.random() < 0.2:
            raise Retryable("refused")

    sink.fail = chance
    rig = Rig(tmp_path, source, sink, max_events=13)
    for _ in range(6):
        target = dice.randrange(1, 5)
        rig.run_until(lambda: progress(rig) >= target or finished(rig))  # noqa: B023
        rig.now += dice.randrange(0, 20) * SECOND_NS
        rig.restart()
    rig.now = NOW_NS + 120 * SECOND_NS
    rig.restart()
    rig.drain()
    rig.restart()
    rig.drain()
    expected = {e.transaction_id for e in traffic}
    assert sorted(e.transaction_id for e in sink.events) == sorted(expected)
    assert rig.source.released == len(source.records) * 10
    assert outcomes(rig) == {
        "received": len(traffic),
        "delivered": len(expected),
        "deduplicated": len(traffic) - len(expected),
    }


class MoodySource(ListSource):
    """Maps a record again with other rates in force, as after a restart in budget mode: every life drops others."""

    mood = 0

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        unit = await super().next(position, timeout_s)
        if unit is None:
            return None
        kept = [e for e in unit.events if int(e.transaction_id[:4], 16) % 7 != self.mood]
        return unit._replace(events=kept, sampled_out=len(unit.events) - len(kept))


@pytest.mark.parametrize("seed", range(20))
def test_other_rates_after_a_restart_still_lose_and_repeat_nothing_that_all_of_them_keep(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    spans = [event(span_id=f"{number:016x}") for number in range(150)]
    traffic = spans + [access_log(span) for span in spans if dice.random() < 0.5] + dice.sample(spans, 30)
    dice.shuffle(traffic)
    source = MoodySource(*[traffic[at : at + 7] for at in range(0, len(traffic), 7)])
    sink = MemorySink()

    def chance(batch: Batch, in_doubt: bool) -> None:
        if dice.random() < 0.5:
            if not in_doubt:
                sink.batches[batch.token] = (batch.batch_id, list(batch.events))  # committed, answer lost
            raise Retryable("connection reset")

    sink.fail = chance
    rig = Rig(tmp_path, source, sink, max_events=13)
    for life in range(4):
        source.mood = life
        target = dice.randrange(1, 5)
        rig.run_until(lambda: progress(rig) >= target or finished(rig))  # noqa: B023
        rig.restart()
    sink.fail = None
    rig.now = NOW_NS + 120 * SECOND_NS
    for _ in range(3):
        rig.restart()
        rig.drain()
    stored = ids(rig.sink.events)
    assert len(stored) == len(set(stored)), "nothing twice"
    always = {e.transaction_id for e in spans if int(e.transaction_id[:4], 16) % 7 > 3}
    assert always <= set(stored)
    outcomes(rig)  # nothing is unexplained


def progress(rig: Rig) -> int:
    return rig.pipeline.counts.batches + rig.pipeline.counts.retries


def finished(rig: Rig) -> bool:
    return rig.source.caught_up(rig.pipeline._journal.cursor)


def test_a_batch_never_mixes_what_an_earlier_process_received_with_what_this_one_did(tmp_path: Path) -> None:
    records = [[event() for _ in range(3)] for _ in range(6)]
    rig = Rig(tmp_path, ListSource(*records), MemorySink())
    rig.pipeline.journal.mark = 35  # no record begins there: the next one does at 40
    rig.drain()
    assert [rows for _, rows, _ in rig.sink.writes] == [12, 6]
    assert rig.pipeline.journal.books().received_since_mark("") == 6
    assert outcomes(rig) == {"received": 18, "delivered": 18}


def test_a_planned_batch_whose_records_are_gone_is_accounted_for(tmp_path: Path) -> None:
    """So it is with damage, and with a sink that was out of the settings while the spool let go."""
    records = [[event(tenant="acme") for _ in range(3)] for _ in range(4)]

    def away(batch: Batch, in_doubt: bool) -> None:
        raise Retryable("away")

    rig = Rig(tmp_path, ListSource(*records), MemorySink(fail=away))
    rig.run_until(lambda: rig.pipeline.counts.retries > 0)
    rig.source.gone = 2
    rig.sink.fail = None
    rig.restart()
    rig.drain()
    assert ids(rig.sink.events) == ids(records[2] + records[3])
    assert outcomes(rig) == {"received": 12, "delivered": 6, "failed": 6}
    assert rig.source.released == 40


def test_a_waiting_call_that_is_gone_does_not_hold_the_spool(tmp_path: Path) -> None:
    source = ListSource([access_log(event(tenant="acme"))], [event(tenant="acme")])
    rig = Rig(tmp_path, source, MemorySink())
    rig.run_until(lambda: rig.pipeline.totals.get("delivered") == 1)
    assert source.released == 0
    source.gone = 1
    rig.restart()
    rig.drain()
    assert outcomes(rig) == {"received": 2, "delivered": 1, "failed": 1}
    assert source.released == 20
