"""Dead letters sent again count once: whatever kills the process, and whatever is asked for the next time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from events import event
from exporter import again
from exporter.deadletter import DeadLetters, Letter
from exporter.errors import Refused, Retryable, TooLarge
from exporter.journal import Journal
from exporter.sink import Batch
from mapping.event import Event
from pipeline_rig import ListSource, Rig, outcomes
from sink_memory import MemorySink

REASONS = ("unknown column", "bad value")


class Killed(BaseException):
    """What a kill -9 is to those who hold a file: nothing after this step happens."""


def refusing(refused: dict[str, str]) -> Callable[[Batch, bool], None]:
    """refused: ids and the reasons; taken out of it, a row is accepted."""

    def fail(batch: Batch, in_doubt: bool) -> None:
        for row in batch.events:
            if row.transaction_id in refused:
                raise Refused(refused[row.transaction_id])

    return fail


def made(folder: Path, rows: list[Event], refused: dict[str, str]) -> Rig:
    rig = Rig(folder, ListSource(rows), MemorySink(fail=refusing(refused)))
    rig.drain()
    assert rig.pipeline.totals.get("dead_lettered") == len(refused)
    rig.pipeline.close()
    return rig


def replay(rig: Rig, wanted: Callable[[dict[str, Any]], bool] = lambda entry: True) -> int:
    """Of a running pipeline, as the admin port does it; a Killed ends it."""
    rig.restart()

    async def go() -> int:
        task = asyncio.create_task(rig.pipeline.run())
        taken = 0
        try:
            for parcel in again.parcels_of(rig.dead.letters(), lambda letter: wanted(letter.entry)):
                try:
                    taken += await asyncio.wait_for(rig.pipeline.deliver_again(parcel), 60)
                except (Retryable, TimeoutError):
                    await task  # what ended it
                    raise
            rig.pipeline.stop()
        finally:
            await asyncio.gather(task, return_exceptions=True)
        return taken

    try:
        return asyncio.run(go())
    finally:
        rig.pipeline.close()


STEPS: dict[str, tuple[type, str]] = {
    "before its file": (again.Again, "_keep"),
    "before the sink": (MemorySink, "write"),
    "before the books": (Journal, "adjust"),
    "before the marks": (DeadLetters, "delivered"),
    "before its file goes": (again.Again, "_forget"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_in_every_step_of_a_replay_then_another_question(
    step: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [event(tenant="acme") for _ in range(12)]
    refused = {row.transaction_id: REASONS[place % 2] for place, row in enumerate(rows[:6])}
    rig = made(tmp_path, rows, refused)
    refused.clear()
    owner, name = STEPS[step]
    with monkeypatch.context() as patch:
        real = getattr(owner, name)
        if name == "write":

            async def write(self: Any, *args: Any, **named: Any) -> Any:
                if after:
                    await real(self, *args, **named)
                raise Killed

            patch.setattr(owner, name, write)
        else:

            def act(self: Any, *args: Any) -> None:
                if after:
                    real(self, *args)
                raise Killed

            patch.setattr(owner, name, act)
        with pytest.raises(Killed):
            replay(rig)
    replay(rig, lambda entry: entry["reason"] == "bad value")
    rig.restart()
    assert rig.pipeline.totals.get("dead_lettered") in (0, 3)
    rig.pipeline.close()
    replay(rig)
    assert outcomes(rig) == {"received": 12, "delivered": 12, "replayed": 6}
    assert Counter(row.transaction_id for row in rig.sink.events) == Counter(row.transaction_id for row in rows)
    assert list(rig.dead.read()) == []
    assert not (tmp_path / "sink.again").exists()


def test_kills_at_random_between_replays_of_random_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "MOST_LETTERS", 4)
    for seed in range(8):
        dice = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = [event(tenant=dice.choice(("a", "b"))) for _ in range(40)]
        refused = {row.transaction_id: dice.choice(REASONS) for row in rows if dice.random() < 0.6}
        rig = made(folder, rows, refused)
        for row in rows:
            if dice.random() < 0.7:
                refused.pop(row.transaction_id, None)
        for _ in range(6):
            owner, name = dice.choice([step for step in STEPS.values() if step[1] != "write"])
            left = [dice.randrange(4)]
            with monkeypatch.context() as patch:
                real = getattr(owner, name)

                def act(self: Any, *args: Any, real: Any = real, left: list[int] = left) -> None:
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    real(self, *args)

                patch.setattr(owner, name, act)
                reason = dice.choice(REASONS)
                with contextlib.suppress(Killed):
                    replay(rig, lambda entry, reason=reason: entry["reason"] == reason)  # type: ignore[misc]
        replay(rig)
        assert outcomes(rig)["received"] == 40
        assert rig.pipeline.totals.get("dead_lettered") == len(refused)
        assert {entry["transaction_id"] for entry in rig.dead.read()} == set(refused)
        wanted = Counter(row.transaction_id for row in rows if row.transaction_id not in refused)
        assert Counter(row.transaction_id for row in rig.sink.events) == wanted


def test_letters_that_the_books_do_not_know_never_make_a_count_negative(tmp_path: Path) -> None:
    """The journal was moved away to send the spool again; the letters stayed."""
    rows = [event() for _ in range(3)]
    refused = {row.transaction_id: "no" for row in rows}
    rig = made(tmp_path, rows, refused)
    (tmp_path / "sink.journal").unlink()
    rig.source.records = []
    refused.clear()
    assert replay(rig) == 3
    assert outcomes(rig) == {"received": 3, "delivered": 3}
    assert min(min(counts.values()) for counts in rig.pipeline.totals.plain().values()) >= 0


def test_what_the_destination_got_by_other_means_is_not_sent_again(tmp_path: Path) -> None:
    rows = [event() for _ in range(3)]
    rig = made(tmp_path, rows, {row.transaction_id: "no" for row in rows})
    rig.sink.fail = None
    rig.sink.batches["else"] = (7, [rows[1]])
    assert replay(rig) == 2
    assert outcomes(rig) == {"received": 3, "delivered": 2, "deduplicated": 1, "replayed": 3}
    assert len(rig.sink.events) == 3


def test_a_letter_added_again_by_a_restart_counts_once_and_one_refused_twice_ends_twice(tmp_path: Path) -> None:
    row = event(tenant="acme")
    rig = made(tmp_path, [row], {row.transaction_id: "no"})
    rig.dead.add("memory", "no", [row], (0, 10))  # the kill came before the plan was done
    rig.dead.add("memory", "no", [row], (30, 40))
    rig.restart()
    rig.pipeline.journal.adjust({"acme": {"received": 1, "dead_lettered": 1}}, "")
    rig.pipeline.close()
    rig.sink.fail = None
    assert replay(rig) == 1
    assert outcomes(rig) == {"received": 2, "delivered": 1, "deduplicated": 1, "replayed": 2}
    assert list(rig.dead.read()) == []


def test_ten_thousand_letters_are_sent_group_by_group_and_their_room_is_given_back(tmp_path: Path) -> None:
    rows = [event() for _ in range(10_000)]

    def fail(batch: Batch, in_doubt: bool) -> None:
        raise TooLarge("400")

    rig = Rig(tmp_path, ListSource(rows), MemorySink(fail=fail))
    rig.drain()
    rig.pipeline.close()
    rig.sink.fail = None
    assert replay(rig) == 10_000
    assert rig.dead.kept == Counter({"memory": 0})
    assert max(len(batch) for _, batch in rig.sink.batches.values()) <= again.MOST_LETTERS
    assert rig.dead.size > 0
    rig.dead.compact()
    assert rig.dead.size == 0


def test_another_file_in_the_place_of_the_letters_is_left_alone(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead.jsonl")
    letters.add("a", "no", [event(), event()])
    read: Sequence[Letter] = list(letters.letters())
    letters.path.write_bytes(b"x" * 10_000)
    letters.delivered(read)
    assert letters.path.read_bytes() == b"x" * 10_000
    letters.path.unlink()
    letters.delivered(read)
    assert not letters.path.exists()


def test_a_letter_that_has_moved_is_not_mistaken_for_another(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead.jsonl")
    letters.add("a", "no", [event() for _ in range(6)])
    read = list(letters.letters())
    letters.delivered(read[:3])
    letters.compact()
    assert letters.still_dead(read) == []
    letters.delivered(read)
    assert [entry["transaction_id"] for entry in letters.read()] == [
        letter.entry["transaction_id"] for letter in read[3:]
    ]


def test_a_torn_group_is_said_and_does_not_hold_up_the_sink(tmp_path: Path) -> None:
    (tmp_path / "sink.again").write_bytes(b'{"token": "a", "lett')
    rig = Rig(tmp_path, ListSource([event()]), MemorySink())
    rig.drain()
    assert outcomes(rig) == {"received": 1, "delivered": 1}
    assert not (tmp_path / "sink.again").exists()


def test_a_full_disk_refuses_the_replay_and_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [event() for _ in range(3)]
    rig = made(tmp_path, rows, {row.transaction_id: "no" for row in rows})
    rig.sink.fail = None
    later = event()
    rig.source.records.append([later])

    def full(self: Any, group: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(again.Again, "_keep", full)
        rig.restart()

        async def go() -> None:
            task = asyncio.create_task(rig.pipeline.run())
            with pytest.raises(Retryable, match="No space left"):
                await asyncio.wait_for(rig.pipeline.deliver_again(list(rig.dead.letters())), 60)
            rig.pipeline.stop()
            await asyncio.wait_for(task, 60)

        asyncio.run(go())
        rig.pipeline.close()
    assert [row.transaction_id for row in rig.sink.events] == [later.transaction_id]
    assert len(list(rig.dead.read())) == 3
    assert replay(rig) == 3
