"""From mapped requests to delivered batches: nothing lost, nothing twice, whatever the sink or a restart does."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events import NOW_NS, SECOND_NS, event
from exporter.deadletter import DeadLetters, event_of
from exporter.errors import Rejected, Retryable, TooLarge, Unauthorised
from exporter.journal import Journal
from exporter.pipeline import Pipeline
from exporter.retry import wait_s
from exporter.settings import BatchSettings, RetrySettings
from exporter.sink import Batch
from exporter.sinks.memory import MemorySink
from exporter.source import Unit
from mapping.event import API_CALL, LOG, Event

QUICK_RETRY = RetrySettings(initial_interval_s=0.001, max_interval_s=0.002, unauthorised_interval_s=0.001)
QUICK_BATCH = BatchSettings(max_age_s=0.02)


class ListSource:
    """A spool of ten bytes per record that holds what it is given."""

    def __init__(self, *records: list[Event], received_unix_ns: int = NOW_NS) -> None:
        self.records = list(records)
        self.received_unix_ns = received_unix_ns
        self.released = 0
        self.gone = 0  # so many records are not there any more
        self.reads: list[int] = []

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        self.reads.append(position)
        index = max(self.gone, -(-position // 10))
        if index >= len(self.records):
            await asyncio.sleep(min(timeout_s, 0.005))
            return None
        assert index * 10 >= self.released, "the pipeline read what it had released"
        events = self.records[index]
        received = max((e.received_unix_ns for e in events), default=self.received_unix_ns)
        tenant = events[0].tenant if events else ""
        return Unit(index * 10, index * 10 + 10, received, events, 1000 * len(events), tenant)

    def caught_up(self, position: int) -> bool:
        return position >= len(self.records) * 10

    def release(self, sink: str, position: int) -> None:
        self.released = position


class Bench:
    """One pipeline over a source and a sink; `restart` builds the next process over the same files."""

    def __init__(self, directory: Path, source: ListSource, sink: MemorySink, **batch: Any) -> None:
        self.directory = directory
        self.source = source
        self.sink = sink
        self.now = NOW_NS
        self.batch = QUICK_BATCH.model_copy(update=batch)
        self.dead = DeadLetters(directory / "dead.jsonl", lambda e: {"uri": e.uri})
        self.pipeline = self.build()

    def build(self) -> Pipeline:
        journal = Journal(self.directory / "sink.journal")
        journal.open(0)
        return Pipeline(
            self.sink,
            self.source,
            journal,
            self.dead,
            self.batch,
            QUICK_RETRY,
            day_of=lambda e: e.start_unix_ns // (86_400 * SECOND_NS),
            now_unix_ns=lambda: self.now,
        )

    def drain(self) -> None:
        async def go() -> None:
            task = asyncio.create_task(self.pipeline.run())
            self.pipeline.stop()
            await asyncio.wait_for(task, 10)

        asyncio.run(go())

    def run_until(self, done: Callable[[], bool]) -> None:
        """Run like a living process and then kill it: whatever is in flight is cancelled."""

        async def go() -> None:
            task = asyncio.create_task(self.pipeline.run())
            async with asyncio.timeout(10):
                while not done():
                    await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(go())

    def restart(self) -> None:
        self.pipeline = self.build()


def outcomes(bench: Bench) -> dict[str, int]:
    """Where the records ended, all tenants together; nothing may be left unexplained."""
    assert bench.pipeline.journal.books().residue == 0
    return dict(sum((Counter(c) for c in bench.pipeline.totals.plain().values()), Counter()))


def ids(events: list[Event]) -> list[str]:
    return sorted(e.transaction_id for e in events)


def test_everything_is_delivered_once_and_released(tmp_path: Path) -> None:
    records = [[event() for _ in range(5)] for _ in range(7)]
    bench = Bench(tmp_path, ListSource(*records), MemorySink())
    bench.drain()
    assert ids(bench.sink.events) == ids(sum(records, []))
    assert bench.source.released == 70
    assert outcomes(bench) == {"received": 35, "delivered": 35}


def test_batches_are_closed_by_count(tmp_path: Path) -> None:
    records = [[event() for _ in range(4)] for _ in range(6)]
    bench = Bench(tmp_path, ListSource(*records), MemorySink(), max_events=8)
    bench.drain()
    assert [rows for _, rows, _ in bench.sink.writes] == [8, 8, 8]


def test_batches_are_closed_by_bytes(tmp_path: Path) -> None:
    records = [[event() for _ in range(70)] for _ in range(2)]
    bench = Bench(tmp_path, ListSource(*records), MemorySink(), max_bytes=1 << 16)
    bench.drain()
    assert [rows for _, rows, _ in bench.sink.writes] == [70, 70]


def test_a_sink_with_day_partitions_gets_one_day_per_batch(tmp_path: Path) -> None:
    days = [event(start_unix_ns=NOW_NS - day * 86_400 * SECOND_NS) for day in (0, 1, 0, 2)]
    sink = MemorySink()
    sink.day_partitions = True
    bench = Bench(tmp_path, ListSource(days), sink)
    bench.drain()
    assert sorted(rows for _, rows, _ in sink.writes) == [1, 1, 2]
    assert len({batch_id for batch_id, _ in sink.batches.values()}) == 3


def test_the_same_event_in_two_requests_counts_once(tmp_path: Path) -> None:
    twice = event()
    bench = Bench(tmp_path, ListSource([twice], [event(), twice]), MemorySink(), max_events=1)
    bench.drain()
    assert len(bench.sink.events) == 2
    assert outcomes(bench)["deduplicated"] == 1


def test_an_event_that_an_earlier_process_delivered_is_recognised_through_the_sink(tmp_path: Path) -> None:
    twice = event()
    source = ListSource([twice])
    bench = Bench(tmp_path, source, MemorySink())
    bench.drain()
    source.records.append([twice, event()])
    bench.now = NOW_NS + 60 * SECOND_NS
    bench.restart()
    bench.drain()
    assert len(bench.sink.events) == 2
    assert outcomes(bench)["deduplicated"] == 1


def test_the_sink_is_not_asked_about_events_that_could_not_have_come_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ListSource([event(end_unix_ns=NOW_NS + 2 * SECOND_NS)]), MemorySink())
    bench.drain()
    assert bench.sink.asked == []


def test_a_failing_sink_is_tried_again_with_the_same_token_until_it_has_the_batch(tmp_path: Path) -> None:
    tokens: list[str] = []

    def fail(batch: Batch, in_doubt: bool) -> None:
        tokens.append(batch.token)
        if len(tokens) < 4:
            raise Unauthorised("401") if len(tokens) == 2 else Retryable("503 from the store", retry_after_s=0.001)

    bench = Bench(tmp_path, ListSource([event()]), MemorySink(fail=fail))
    bench.drain()
    assert len(tokens) == 4
    assert len(set(tokens)) == 1
    assert (len(bench.sink.events), bench.pipeline.counts.retries) == (1, 3)


def test_one_row_that_can_never_be_stored_is_dead_lettered_alone(tmp_path: Path) -> None:
    poison = event(uri="http://shop.example/poison")
    rows = [event() for _ in range(99)]
    rows.insert(41, poison)

    def fail(batch: Batch, in_doubt: bool) -> None:
        if poison in batch.events:
            raise Rejected("row refused: bad type") if len(batch.events) == 1 else TooLarge("block refused")

    bench = Bench(tmp_path, ListSource(rows), MemorySink(fail=fail))
    bench.drain()
    assert ids(bench.sink.events) == ids([e for e in rows if e is not poison])
    [letter] = bench.dead.read()
    assert (letter["reason"], letter["event"]["uri"]) == ("row refused: bad type", "http://shop.example/poison")
    assert outcomes(bench) == {"received": 100, "delivered": 99, "dead_lettered": 1}
    assert len({batch_id for batch_id, _ in bench.sink.batches.values()}) == 1, "the pieces keep the batch's id"


def test_what_a_sink_leaves_out_is_skipped_and_not_delivered(tmp_path: Path) -> None:
    rows = [event(tenant="acme", event_type=LOG if number % 3 == 0 else API_CALL) for number in range(9)]
    other = [event(tenant="other", event_type=LOG)]
    bench = Bench(tmp_path, ListSource(rows, other), MemorySink(wants=lambda e: e.event_type == API_CALL))
    bench.drain()
    assert outcomes(bench) == {"received": 10, "delivered": 6, "skipped": 4}
    assert bench.pipeline.totals.plain()["other"] == {"received": 1, "skipped": 1}
    bench.restart()
    assert outcomes(bench) == {"received": 10, "delivered": 6, "skipped": 4}


def test_a_dead_letter_that_is_left_out_the_second_time_is_skipped(tmp_path: Path) -> None:
    def fail(batch: Batch, in_doubt: bool) -> None:
        raise Rejected("a log is not for us")

    bench = Bench(tmp_path, ListSource([event(event_type=LOG)]), MemorySink(fail=fail))
    bench.drain()
    bench.sink.fail, bench.sink.wants = None, lambda e: False
    bench.restart()

    async def go() -> int:
        task = asyncio.create_task(bench.pipeline.run())
        again = [event_of(letter) for letter in bench.dead.read()]
        taken = await asyncio.wait_for(bench.pipeline.deliver_again(again), 5)
        bench.pipeline.stop()
        await task
        return taken

    assert asyncio.run(go()) == 0
    assert bench.pipeline.journal.books().residue == 0
    assert (bench.pipeline.totals.get("skipped"), bench.pipeline.totals.get("dead_lettered")) == (1, 0)


def test_dead_letters_are_sent_again_when_asked_and_counted_where_they_end_then(tmp_path: Path) -> None:
    rows = [event(request_headers={"accept": "*/*"}, flags=("late",), tenant="acme") for _ in range(5)]
    refused = {rows[1].transaction_id, rows[3].transaction_id}

    def fail(batch: Batch, in_doubt: bool) -> None:
        if any(e.transaction_id in refused for e in batch.events):
            raise Rejected("unknown column")

    bench = Bench(tmp_path, ListSource(rows), MemorySink(fail=fail))
    bench.run_until(lambda: bench.pipeline.totals.get("delivered") == 3)
    assert outcomes(bench) == {"received": 5, "delivered": 3, "dead_lettered": 2}
    again = [event_of(letter) for letter in bench.dead.read()]
    assert again == [rows[1], rows[3]]
    refused.remove(rows[1].transaction_id)
    bench.restart()

    async def go() -> int:
        task = asyncio.create_task(bench.pipeline.run())
        taken = await asyncio.wait_for(bench.pipeline.deliver_again(again), 5)
        bench.pipeline.stop()
        await task
        return taken

    assert asyncio.run(go()) == 1
    assert sorted(ids(bench.sink.events)) == sorted(e.transaction_id for e in rows if e is not rows[3])
    bench.restart()
    assert outcomes(bench) == {"received": 5, "delivered": 4, "dead_lettered": 1}


def test_a_process_killed_inside_a_write_repeats_the_same_batch_in_doubt(tmp_path: Path) -> None:
    records = [[event() for _ in range(3)] for _ in range(4)]
    sink = MemorySink()
    source = ListSource(*records)

    def commit_then_die(batch: Batch, in_doubt: bool) -> None:
        sink.batches[batch.token] = (batch.batch_id, list(batch.events))
        raise Retryable("the answer was lost")

    sink.fail = commit_then_die
    bench = Bench(tmp_path, source, sink)
    bench.run_until(lambda: bench.pipeline.counts.retries > 2)
    tokens = set(sink.batches)
    sink.fail = None
    bench.restart()
    bench.drain()
    assert ids(sink.events) == ids(sum(records, []))
    assert [(token in tokens, in_doubt) for token, _, in_doubt in sink.writes] == [(True, True)]


def access_log(span: Event, **changes: Any) -> Event:
    return span._replace(source="log", **changes)


def test_an_access_log_line_collapses_onto_its_span_whichever_comes_first(tmp_path: Path) -> None:
    first, second = event(span_id="a" * 16), event(span_id="b" * 16)
    source = ListSource([access_log(first)], [first], [second], [access_log(second)])
    bench = Bench(tmp_path, source, MemorySink())
    bench.drain()
    assert [(e.source, e.span_id[0]) for e in bench.sink.events] == [("span", "a"), ("span", "b")]
    assert outcomes(bench) == {"received": 4, "delivered": 2, "deduplicated": 2}


def test_a_call_known_from_logs_alone_counts_after_the_wait(tmp_path: Path) -> None:
    line = access_log(event())
    bench = Bench(tmp_path, ListSource([line], [event()]), MemorySink())
    bench.run_until(lambda: bench.pipeline.totals.get("delivered") == 1)
    assert [e.source for e in bench.sink.events] == ["span"]
    assert bench.source.released == 0, "the line's record is kept while it waits"
    bench.now = NOW_NS + 31 * SECOND_NS
    bench.restart()
    bench.drain()
    assert sorted(e.source for e in bench.sink.events) == ["log", "span"]
    bench.restart()
    bench.drain()
    assert len(bench.sink.events) == 2
    assert bench.source.released == 20


def test_a_span_that_comes_after_a_restart_still_replaces_the_waiting_line(tmp_path: Path) -> None:
    span = event()
    source = ListSource([access_log(span), event(span_id="c" * 16)])
    bench = Bench(tmp_path, source, MemorySink())
    bench.run_until(lambda: bench.pipeline.totals.get("delivered") == 1)
    source.records.append([span])
    bench.restart()
    bench.drain()
    bench.now = NOW_NS + 60 * SECOND_NS
    bench.restart()
    bench.drain()
    assert [e.source for e in bench.sink.events] == ["span", "span"]


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
    bench = Bench(tmp_path, source, sink, max_events=13)
    for _ in range(6):
        target = dice.randrange(1, 5)
        bench.run_until(lambda: progress(bench) >= target or finished(bench))  # noqa: B023
        bench.now += dice.randrange(0, 20) * SECOND_NS
        bench.restart()
    bench.now = NOW_NS + 120 * SECOND_NS
    bench.restart()
    bench.drain()
    bench.restart()
    bench.drain()
    expected = {e.transaction_id for e in traffic}
    assert sorted(e.transaction_id for e in sink.events) == sorted(expected)
    assert bench.source.released == len(source.records) * 10
    assert outcomes(bench) == {
        "received": len(traffic),
        "delivered": len(expected),
        "deduplicated": len(traffic) - len(expected),
    }


def progress(bench: Bench) -> int:
    return bench.pipeline.counts.batches + bench.pipeline.counts.retries


def finished(bench: Bench) -> bool:
    return bench.source.caught_up(bench.pipeline._journal.cursor)


def test_a_batch_never_mixes_what_an_earlier_process_received_with_what_this_one_did(tmp_path: Path) -> None:
    records = [[event() for _ in range(3)] for _ in range(6)]
    bench = Bench(tmp_path, ListSource(*records), MemorySink())
    bench.pipeline.journal.mark = 35  # no record begins there: the next one does at 40
    bench.drain()
    assert [rows for _, rows, _ in bench.sink.writes] == [12, 6]
    assert bench.pipeline.journal.books().received_since_mark("") == 6
    assert outcomes(bench) == {"received": 18, "delivered": 18}


def test_a_planned_batch_whose_records_are_gone_is_accounted_for(tmp_path: Path) -> None:
    """So it is with damage, and with a sink that was out of the settings while the spool let go."""
    records = [[event(tenant="acme") for _ in range(3)] for _ in range(4)]

    def away(batch: Batch, in_doubt: bool) -> None:
        raise Retryable("away")

    bench = Bench(tmp_path, ListSource(*records), MemorySink(fail=away))
    bench.run_until(lambda: bench.pipeline.counts.retries > 0)
    bench.source.gone = 2
    bench.sink.fail = None
    bench.restart()
    bench.drain()
    assert ids(bench.sink.events) == ids(records[2] + records[3])
    assert outcomes(bench) == {"received": 12, "delivered": 6, "failed": 6}
    assert bench.source.released == 40


def test_a_waiting_call_that_is_gone_does_not_hold_the_spool(tmp_path: Path) -> None:
    source = ListSource([access_log(event(tenant="acme"))], [event(tenant="acme")])
    bench = Bench(tmp_path, source, MemorySink())
    bench.run_until(lambda: bench.pipeline.totals.get("delivered") == 1)
    assert source.released == 0
    source.gone = 1
    bench.restart()
    bench.drain()
    assert outcomes(bench) == {"received": 2, "delivered": 1, "failed": 1}
    assert source.released == 20


def test_one_bad_row_of_five_thousand_costs_at_most_fourteen_further_inserts(tmp_path: Path) -> None:
    rows = [event() for _ in range(5000)]
    poison = rows[3217]
    refused = 0

    def fail(batch: Batch, in_doubt: bool) -> None:
        nonlocal refused
        if poison in batch.events:
            refused += 1
            raise TooLarge("cannot parse")

    bench = Bench(tmp_path, ListSource(rows), MemorySink(fail=fail))
    bench.drain()
    assert outcomes(bench) == {"received": 5000, "delivered": 4999, "dead_lettered": 1}
    assert len(bench.sink.writes) <= 14
    assert refused <= 15
    assert bench.source.released == 10


def test_every_row_of_a_batch_that_is_always_too_large_is_dead_lettered_once(tmp_path: Path) -> None:
    """R12: a 413 that no halving cures ends, and the next batch goes through."""
    bad = [event(uri="http://shop.example/huge") for _ in range(6)]
    good = [event() for _ in range(3)]

    def fail(batch: Batch, in_doubt: bool) -> None:
        if any(e.uri.endswith("huge") for e in batch.events):
            raise TooLarge("the destination answered 413")

    bench = Bench(tmp_path, ListSource(bad, good), MemorySink(fail=fail), max_events=6)
    bench.drain()
    assert outcomes(bench) == {"received": 9, "delivered": 3, "dead_lettered": 6}
    assert sorted(letter["transaction_id"] for letter in bench.dead.read()) == ids(bad)
    assert bench.pipeline.counts.retries == 0


def test_refused_credentials_keep_everything_raise_the_alarm_and_heal_alone(tmp_path: Path) -> None:
    """R13."""
    answers = iter([*["401", "402", "403"] * 5])

    def fail(batch: Batch, in_doubt: bool) -> None:
        if (status := next(answers, "")) != "":
            assert status != "403" or bench.pipeline.counts.unauthorised
            raise Unauthorised(f"the destination answered {status}")

    bench = Bench(tmp_path, ListSource([event() for _ in range(4)]), MemorySink(fail=fail))
    bench.drain()
    assert outcomes(bench) == {"received": 4, "delivered": 4}
    assert (bench.pipeline.counts.unauthorised, list(bench.dead.read())) == (False, [])


@pytest.mark.parametrize(
    ("asked_s", "attempt", "least", "most"),
    [(5.0, 1, 5, 5), (120.0, 1, 120, 120), (86_400.0, 1, 600, 600), (0.0, 1, 0.4, 0.6), (None, 1, 0.4, 0.6),
     (None, 50, 24, 36), (None, 10**6, 24, 36), (1.0, 50, 24, 36)],
)  # fmt: skip
def test_retry_after_is_honoured_and_never_makes_a_hot_loop(
    asked_s: float | None, attempt: int, least: float, most: float
) -> None:
    """R08: no sooner than asked, capped at 20 intervals, and no sooner than backing off would be."""
    for uniform in (0.0, 0.5, 0.999):
        wait = wait_s(RetrySettings(), attempt, Retryable("429", retry_after_s=asked_s), uniform)
        assert least <= wait <= most
        assert 24 <= wait_s(RetrySettings(), attempt, Unauthorised("401"), uniform) <= 36
