"""What a sink's journal remembers over restarts, kills in mid-write and damage."""

from __future__ import annotations

import errno
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exporter import journal as journal_module
from exporter.journal import Journal, JournalError, Plan


def reopened(path: Path) -> Journal:
    journal = Journal(path)
    journal.open(0)
    return journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.journal"


def test_a_new_journal_begins_at_the_oldest_record_of_the_spool(path: Path) -> None:
    journal = Journal(path)
    journal.open(700)
    assert (journal.cursor, journal.next_sequence, journal.open_plans) == (700, 0, [])
    journal.close()
    assert reopened(path).cursor == 700


def test_a_plan_without_done_is_open_again_after_a_restart_with_the_same_id_and_rows(path: Path) -> None:
    journal = reopened(path)
    plan = Plan(0, 0, 90, ((10, 3),), ((20, 1),), (), frozenset())
    journal.plan(plan)
    first_id = journal.journal_id
    journal.close()
    again = reopened(path)
    assert (again.open_plans, again.journal_id, again.cursor) == ([plan], first_id, 0)


def test_done_moves_the_cursor_and_is_remembered(path: Path) -> None:
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90))
    journal.done(0, {}, sync=False)
    journal.close()
    again = reopened(path)
    assert (again.open_plans, again.cursor, again.next_sequence) == ([], 90, 1)


def test_the_spool_keeps_records_of_open_plans_and_of_waiting_calls(path: Path) -> None:
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90, defer=((40, 0),)))
    assert journal.low_water() == 0
    journal.done(0, {}, sync=False)
    assert journal.low_water() == 40
    journal.plan(Plan(1, 90, 120, add=((40, 0),)))
    assert journal.low_water() == 40
    journal.done(1, {}, sync=False)
    assert journal.low_water() == 120


def test_a_call_whose_span_came_waits_no_more_after_a_restart(path: Path) -> None:
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90, defer=((40, 0), (41, 2))))
    journal.done(0, {}, sync=False)
    journal.plan(Plan(1, 90, 95, gone=frozenset({(40, 0)})))
    journal.done(1, {}, sync=False)
    journal.close()
    assert list(reopened(path).waiting) == [(41, 2)]


@pytest.mark.parametrize("cut", range(2, 40))
def test_a_torn_last_line_is_as_if_it_had_never_been_written(path: Path, cut: int) -> None:
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90))
    journal.done(0, {}, sync=False)
    before = path.stat().st_size
    journal.plan(Plan(1, 90, 120))
    journal.close()
    torn = path.read_bytes()[:-cut]
    assert len(torn) > before
    path.write_bytes(torn)
    again = reopened(path)
    assert (again.cursor, again.open_plans) == (90, [])


def test_a_damaged_line_in_the_middle_costs_only_itself(path: Path) -> None:
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90))
    journal.done(0, {}, sync=False)
    journal.plan(Plan(1, 90, 120))
    journal.close()
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"done", b"dune")
    path.write_bytes(b"\n".join(lines))
    # The batch that was done is open again: the sink will be asked and will say that it has it.
    assert [plan.sequence for plan in reopened(path).open_plans] == [0, 1]


def test_the_number_of_a_lost_plan_is_not_given_again(path: Path) -> None:
    """The store would take other rows under the same token for the same batch, and drop them without a word."""
    journal = reopened(path)
    for number in range(2):
        journal.plan(Plan(number, number * 90, number * 90 + 90))
        journal.done(number, {}, sync=False)
    journal.close()
    path.write_bytes(path.read_bytes().replace(b'"plan":1', b'"plan":7'))
    again = reopened(path)
    assert again.cursor == 90
    assert again.next_sequence > 2


def test_a_file_without_a_checkpoint_is_refused_with_what_to_do(path: Path) -> None:
    path.write_bytes(b"garbage\n")
    with pytest.raises(JournalError, match=r"store\.journal holds no readable checkpoint.*Move the file away"):
        Journal(path).open(0)
    assert path.read_bytes() == b"garbage\n"


def test_the_file_does_not_grow_with_history(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_AT_BYTES", 2000)
    journal = reopened(path)
    for number in range(500):
        journal.plan(Plan(number, number * 10, number * 10 + 10, defer=((number * 10, 0),) if number == 7 else ()))
        journal.done(number, {"acme": {"delivered": 2}}, sync=False)
    assert path.stat().st_size < 3000
    journal.close()
    again = reopened(path)
    assert (again.cursor, again.next_sequence, list(again.waiting)) == (5000, 500, [(70, 0)])
    assert again.totals.plain() == {"acme": {"delivered": 1000}}


def test_a_failed_compaction_leaves_the_old_file_in_force(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that follow must not go into a new file that never got the journal's name."""
    monkeypatch.setattr(journal_module, "COMPACT_AT_BYTES", 300)
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90, defer=((10, 1),)))
    disk = FailingDisk(monkeypatch, rename=errno.ENOSPC)
    for number in range(1, 5):
        journal.done(number - 1, {}, sync=False)
        journal.plan(Plan(number, number * 90, number * 90 + 90))
    assert disk.failed
    journal.close()
    left = reopened(path)
    assert (left.cursor, [plan.sequence for plan in left.open_plans], list(left.waiting)) == (360, [4], [(10, 1)])
    disk.well()
    left.done(4, {}, sync=False)
    assert path.stat().st_size < 300
    left.close()
    assert reopened(path).cursor == 450


def test_after_a_failed_sync_everything_goes_into_a_new_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second sync of the old one may say yes without having written anything."""
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90))
    journal.done(0, {"": {"delivered": 3}}, sync=False)
    first = path.stat().st_ino
    disk = FailingDisk(monkeypatch, fdatasync=errno.EIO)
    for _ in range(2):
        with pytest.raises(JournalError, match="Input/output error"):
            journal.plan(Plan(1, 90, 120))
    disk.well()
    journal.plan(Plan(1, 90, 120))
    assert path.stat().st_ino != first
    journal.close()
    again = reopened(path)
    assert (again.cursor, again.totals.get("delivered")) == (90, 3)
    assert [plan.sequence for plan in again.open_plans] == [1]


def test_a_full_disk_does_not_stop_a_bridge_from_starting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must deliver for there to be room again."""
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90))
    journal.close()
    with path.open("ab") as file:
        file.write(b"torn")
    disk = FailingDisk(monkeypatch, rename=errno.ENOSPC)
    again = reopened(path)
    again.done(0, {}, sync=True)
    assert (disk.failed, again.released()) == (1, 90)
    again.close()
    assert path.read_bytes().count(b"torn") == 0
    assert reopened(path).cursor == 90


def test_the_spool_lets_go_only_of_what_the_disk_knows_to_be_done(path: Path) -> None:
    """Else a power cut could bring a plan back whose records are gone: the ledger would call them failed."""
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90))
    journal.done(0, {}, sync=False)
    assert journal.released() == 0
    journal.plan(Plan(1, 90, 120))
    assert journal.released() == 90
    journal.done(1, {}, sync=True)
    assert journal.released() == 120


class FailingDisk:
    """Calls of os that fail until all is well again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **errors: int) -> None:
        self.failed = 0
        self._errors = errors
        for name in errors:
            monkeypatch.setattr(os, name, functools.partial(self._call, name, getattr(os, name)))

    def _call(self, name: str, call: Any, *arguments: Any) -> Any:
        if name in self._errors:
            self.failed += 1
            raise OSError(self._errors[name], os.strerror(self._errors[name]))
        return call(*arguments)

    def well(self) -> None:
        self._errors = {}


def test_a_plan_that_is_made_again_is_counted_once(path: Path) -> None:
    journal = reopened(path)
    journal.plan(Plan(0, 0, 90, counts={"": {"received": 5, "skipped": 2}}))
    journal.close()
    journal = reopened(path)
    assert journal.totals.plain() == {}
    journal.done(0, {"": {"delivered": 3}}, sync=False)
    journal.close()
    totals = reopened(path).totals
    assert (totals.get("received"), totals.ended()) == (5, 5)


def test_records_from_the_mark_on_are_told_from_those_before(path: Path) -> None:
    """The ledger compares what this process took in with what a sink has taken of it."""
    journal = Journal(path, mark=100)
    journal.open(0)
    journal.plan(Plan(0, 0, 90, counts={"": {"received": 5}}))
    journal.done(0, {"": {"delivered": 5}}, sync=False)
    assert (journal.at_mark, journal.books().received_since_mark("")) == (None, 0)
    journal.plan(Plan(1, 100, 120, counts={"": {"received": 3}, "acme": {"received": 2}}))
    journal.done(1, {}, sync=False)
    assert (journal.books().received_since_mark(""), journal.books().received_since_mark("acme")) == (3, 2)
    journal.close()
    next_process = Journal(path, mark=120)
    next_process.open(0)
    assert next_process.books().received_since_mark("") == 0


def test_the_books_add_up_at_every_moment_another_thread_looks(path: Path) -> None:
    """The journal is written in a thread while the ledger is shown."""
    journal = reopened(path)
    stop = threading.Event()
    wrong: list[int] = []

    def look() -> None:
        while not stop.is_set():
            books = journal.books()
            wrong.extend([books.residue] if books.residue else [])
            assert sum(books.totals.get("received", tenant) for tenant in books.totals.tenants()) >= 0

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look)
        for number in range(300):
            defer, gone = ((number * 10, 0),), frozenset({(number * 10 - 10, 0)} if number else ())
            counts = {f"tenant {number}": {"received": 4}, f"tenant {number - 1}": {"deduplicated": len(gone)}}
            journal.plan(Plan(number, number * 10, number * 10 + 10, defer=defer, gone=gone, counts=counts))
            journal.done(number, {f"tenant {number}": {"delivered": 3}}, sync=False)
        stop.set()
        looking.result()
    assert wrong == []


def test_what_a_change_lowers_is_known_over_restarts_and_checkpoints(tmp_path: Path) -> None:
    """So that counters made of totals only grow."""
    for changes in range(1, 4):
        journal = Journal(tmp_path / "s.journal")
        journal.open(0)
        journal.adjust({"acme": {"delivered": 2, "dead_lettered": -2, "failed": -1}}, "a")
        assert journal.lowered.plain()["acme"] == {"dead_lettered": 2 * changes, "failed": changes}
        journal.close()
