"""What a pipeline does about a destination that refuses: wait, halve, dead-letter, send again, and count it all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from events import event
from exporter.attempts import wait_s
from exporter.deadletter import event_of
from exporter.errors import Expired, Refused, Retryable, TooLarge, Unauthorised
from exporter.settings import RetrySettings
from exporter.sink import Batch
from mapping.event import API_CALL, LOG
from pipeline_rig import ListSource, Rig, ids, outcomes
from sink_memory import MemorySink


def test_a_failing_sink_is_tried_again_with_the_same_token_until_it_has_the_batch(tmp_path: Path) -> None:
    tokens: list[str] = []

    def fail(batch: Batch, in_doubt: bool) -> None:
        tokens.append(batch.token)
        if len(tokens) < 4:
            raise Unauthorised("401") if len(tokens) == 2 else Retryable("503 from the store", retry_after_s=0.001)

    rig = Rig(tmp_path, ListSource([event()]), MemorySink(fail=fail))
    rig.drain()
    assert len(tokens) == 4
    assert len(set(tokens)) == 1
    assert (len(rig.sink.events), rig.pipeline.counts.retries) == (1, 3)


def test_one_row_that_can_never_be_stored_is_dead_lettered_alone(tmp_path: Path) -> None:
    poison = event(uri="http://shop.example/poison")
    rows = [event() for _ in range(99)]
    rows.insert(41, poison)

    def fail(batch: Batch, in_doubt: bool) -> None:
        if poison in batch.events:
            raise Refused("row refused: bad type") if len(batch.events) == 1 else TooLarge("block refused")

    rig = Rig(tmp_path, ListSource(rows), MemorySink(fail=fail))
    rig.drain()
    assert ids(rig.sink.events) == ids([e for e in rows if e is not poison])
    [letter] = rig.dead.read()
    assert (letter["reason"], letter["event"]["request"]["uri"]) == (
        "row refused: bad type",
        "http://shop.example/poison",
    )
    assert outcomes(rig) == {"received": 100, "delivered": 99, "dead_lettered": 1}
    assert len({batch_id for batch_id, _ in rig.sink.batches.values()}) == 1, "the pieces keep the batch's id"


def test_what_a_sink_leaves_out_is_skipped_and_not_delivered(tmp_path: Path) -> None:
    rows = [event(tenant="acme", event_type=LOG if number % 3 == 0 else API_CALL) for number in range(9)]
    other = [event(tenant="other", event_type=LOG)]
    rig = Rig(tmp_path, ListSource(rows, other), MemorySink(wants=lambda e: e.event_type == API_CALL))
    rig.drain()
    assert outcomes(rig) == {"received": 10, "delivered": 6, "skipped": 4}
    assert rig.pipeline.totals.plain()["other"] == {"received": 1, "skipped": 1}
    rig.restart()
    assert outcomes(rig) == {"received": 10, "delivered": 6, "skipped": 4}


def test_a_dead_letter_that_is_left_out_the_second_time_is_skipped(tmp_path: Path) -> None:
    def fail(batch: Batch, in_doubt: bool) -> None:
        raise Refused("a log is not for us")

    rig = Rig(tmp_path, ListSource([event(event_type=LOG)]), MemorySink(fail=fail))
    rig.drain()
    rig.sink.fail, rig.sink.wants = None, lambda e: False
    rig.restart()

    async def go() -> int:
        task = asyncio.create_task(rig.pipeline.run())
        taken = await asyncio.wait_for(rig.pipeline.deliver_again(list(rig.dead.letters())), 60)
        rig.pipeline.stop()
        await task
        return taken

    assert asyncio.run(go()) == 0
    assert rig.pipeline.journal.books().residue == 0
    assert (rig.pipeline.totals.get("skipped"), rig.pipeline.totals.get("dead_lettered")) == (1, 0)


def test_dead_letters_are_sent_again_when_asked_and_counted_where_they_end_then(tmp_path: Path) -> None:
    rows = [event(request_headers={"accept": "*/*"}, flags=("late",), tenant="acme") for _ in range(5)]
    refused = {rows[1].transaction_id, rows[3].transaction_id}

    def fail(batch: Batch, in_doubt: bool) -> None:
        if any(e.transaction_id in refused for e in batch.events):
            raise Refused("unknown column")

    rig = Rig(tmp_path, ListSource(rows), MemorySink(fail=fail))
    rig.run_until(lambda: rig.pipeline.totals.get("delivered") == 3)
    assert outcomes(rig) == {"received": 5, "delivered": 3, "dead_lettered": 2}
    again = list(rig.dead.letters())
    assert [event_of(letter.entry) for letter in again] == [rows[1], rows[3]]
    refused.remove(rows[1].transaction_id)
    rig.restart()

    async def go() -> int:
        task = asyncio.create_task(rig.pipeline.run())
        taken = await asyncio.wait_for(rig.pipeline.deliver_again(again), 60)
        rig.pipeline.stop()
        await task
        return taken

    assert asyncio.run(go()) == 1
    assert sorted(ids(rig.sink.events)) == sorted(e.transaction_id for e in rows if e is not rows[3])
    rig.restart()
    assert outcomes(rig) == {"received": 5, "delivered": 4, "dead_lettered": 1, "replayed": 1}
    [left] = rig.dead.read()
    assert left["transaction_id"] == rows[3].transaction_id


def test_one_bad_row_of_five_thousand_costs_at_most_fourteen_further_inserts(tmp_path: Path) -> None:
    rows = [event() for _ in range(5000)]
    poison = rows[3217]
    refused = 0

    def fail(batch: Batch, in_doubt: bool) -> None:
        nonlocal refused
        if poison in batch.events:
            refused += 1
            raise TooLarge("cannot parse")

    rig = Rig(tmp_path, ListSource(rows), MemorySink(fail=fail))
    rig.drain()
    assert outcomes(rig) == {"received": 5000, "delivered": 4999, "dead_lettered": 1}
    assert len(rig.sink.writes) <= 14
    assert refused <= 15
    assert rig.source.released == 10


def test_a_batch_that_is_too_old_is_dead_lettered_whole(tmp_path: Path) -> None:
    def fail(batch: Batch, in_doubt: bool) -> None:
        raise Expired("older than the store keeps")

    rig = Rig(tmp_path, ListSource([event() for _ in range(100)]), MemorySink(fail=fail))
    rig.drain()
    assert outcomes(rig) == {"received": 100, "dead_lettered": 100}
    assert len(list(rig.dead.read())) == 100
    assert rig.source.released == 10


def test_every_row_of_a_batch_that_is_always_too_large_is_dead_lettered_once(tmp_path: Path) -> None:
    """A 413 that no halving cures ends, and the next batch goes through (spec/reliability.md §4 R12)."""
    bad = [event(uri="http://shop.example/huge") for _ in range(6)]
    good = [event() for _ in range(3)]

    def fail(batch: Batch, in_doubt: bool) -> None:
        if any(e.uri.endswith("huge") for e in batch.events):
            raise TooLarge("the destination answered 413")

    rig = Rig(tmp_path, ListSource(bad, good), MemorySink(fail=fail), max_events=6)
    rig.drain()
    assert outcomes(rig) == {"received": 9, "delivered": 3, "dead_lettered": 6}
    assert sorted(letter["transaction_id"] for letter in rig.dead.read()) == ids(bad)
    assert rig.pipeline.counts.retries == 0


def test_refused_credentials_keep_everything_raise_the_alarm_and_heal_alone(tmp_path: Path) -> None:
    """Nothing is dead-lettered, and it resumes alone (spec/reliability.md §4 R13)."""
    answers = iter([*["401", "402", "403"] * 5])

    def fail(batch: Batch, in_doubt: bool) -> None:
        if (status := next(answers, "")) != "":
            assert status != "403" or rig.pipeline.counts.unauthorised
            raise Unauthorised(f"the destination answered {status}")

    rig = Rig(tmp_path, ListSource([event() for _ in range(4)]), MemorySink(fail=fail))
    rig.drain()
    assert outcomes(rig) == {"received": 4, "delivered": 4}
    assert (rig.pipeline.counts.unauthorised, list(rig.dead.read())) == (False, [])


@pytest.mark.parametrize(
    ("asked_s", "attempt", "least", "most"),
    [(5.0, 1, 5, 5), (120.0, 1, 120, 120), (86_400.0, 1, 600, 600), (0.0, 1, 0.4, 0.6), (None, 1, 0.4, 0.6),
     (None, 50, 4, 6), (None, 10**6, 4, 6), (1.0, 50, 4, 6)],
)  # fmt: skip
def test_retry_after_is_honoured_and_never_makes_a_hot_loop(
    asked_s: float | None, attempt: int, least: float, most: float
) -> None:
    """No sooner than asked (up to 120 intervals) and than backing off would be (spec/reliability.md §4 R08)."""
    for uniform in (0.0, 0.5, 0.999):
        wait = wait_s(RetrySettings(), attempt, Retryable("429", retry_after_s=asked_s), uniform)
        assert least <= wait <= most
        assert 24 <= wait_s(RetrySettings(), attempt, Unauthorised("401"), uniform) <= 36
