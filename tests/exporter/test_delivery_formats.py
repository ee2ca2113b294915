"""Files of delivery that an earlier version wrote are read by this one, and those of a later one are refused.

testdata/delivery/version-N holds what a release writes; a change of format adds a folder and keeps the old ones.
"""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge import BridgeProcess
from events import event
from exporter.deadletter import DeadLetters, event_of
from exporter.journal import Journal, JournalError, Plan
from mapping.event import LOG
from project_files import TESTDATA

VERSION_1 = TESTDATA / "delivery" / "version-1"


def line(entry: dict[str, Any]) -> bytes:
    text = orjson.dumps(entry)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def newer(path: Path) -> bytes:
    """A journal of version 2, whose checkpoint has other keys."""
    content = line({"journal": "ab", "version": 2, "position": "0:90"}) + line({"plan": 3})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content


def test_a_journal_of_version_1_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "store.journal"
    shutil.copy(VERSION_1 / "store.journal", path)
    for _ in range(2):  # as it was written, and as this version writes it
        journal = Journal(path)
        journal.open(0)
        assert (journal.journal_id, journal.cursor, journal.next_sequence) == ("0f1e2d3c4b5a6978", 8192, 10)
        assert list(journal.waiting) == [(5000, 0)]
        assert journal.open_plans == [
            Plan(8, 8192, 9000, add=((3072, 0),), counts={"acme": {"received": 3}}),
            Plan(9, 9000, 9500, counts={"acme": {"received": 2}}, rows=2),
        ]
        assert journal.totals.plain() == {
            "": {"received": 50, "delivered": 38, "skipped": 8, "deduplicated": 2, "dead_lettered": 0},
            "acme": {"received": 5, "delivered": 4, "sampled_out": 1},
        }
        assert journal.low_water() == 3072
        journal.close()


def test_dead_letters_of_version_1_are_read_and_can_be_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "deadletter.jsonl"
    shutil.copy(VERSION_1 / "deadletter.jsonl", path)
    letters = DeadLetters(path)
    first, second = letters.read()
    assert (first["sink"], first["reason"].split()[2], first["dead_lettered_unix_ns"]) == (
        "store",
        "27",
        1_795_200_000_000_000_000,
    )
    assert event_of(first) == event(
        transaction_id="11111111-1111-5111-8111-111111111111",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        tenant="acme",
        request_headers={"accept": "*/*"},
        flags=("late",),
    )
    assert (event_of(second).event_type, event_of(second).body) == (LOG, '{"message":"no"}')


def test_a_damaged_dead_letter_costs_only_itself_and_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "deadletter.jsonl"
    good = (VERSION_1 / "deadletter.jsonl").read_bytes()
    path.write_bytes(b"{damaged\n" + good + b'{"torn":')
    letters = DeadLetters(path)
    assert len(list(letters.read())) == 2
    letters.remove(lambda entry: entry["sink"] == "moesif")
    assert path.read_bytes() == b"{damaged\n" + good.splitlines(keepends=True)[0]


def test_a_line_torn_by_a_kill_or_a_full_disk_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "deadletter.jsonl"
    letters = DeadLetters(path)
    letters.add("store", "no", [event()])
    path.write_bytes(path.read_bytes()[:-50])
    after = event()
    letters.add("store", "no", [after])
    assert [event_of(entry) for entry in letters.read()] == [after]


def test_dead_letters_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "deadletter.jsonl")
    letters.add("store", "no", [event(), event()])
    letters.remove(lambda entry: False)
    assert letters.path.stat().st_mode & 0o077 == 0


def test_an_entry_of_another_shape_is_told_from_one_that_can_be_sent(tmp_path: Path) -> None:
    entry = orjson.loads((VERSION_1 / "deadletter.jsonl").read_bytes().splitlines()[0])
    for row in (None, {}, {**entry["row"], "colour": "red"}, {**entry["row"], "decision": [1]}):
        with pytest.raises(ValueError, match="another version"):
            event_of({**entry, "row": row})


def test_a_journal_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.journal"
    content = newer(path)
    with pytest.raises(JournalError, match=r"store\.journal is of format 2, this weighbridge reads 1"):
        Journal(path).open(0)
    assert path.read_bytes() == content


def test_a_bridge_does_not_start_over_a_newer_journal(tmp_path: Path) -> None:
    bridge = BridgeProcess(tmp_path, exporter={"sinks": [{"name": "none", "type": "blackhole"}]})
    newer(tmp_path / "spool" / "sinks" / "none.journal")
    done = bridge.command("serve", check=False)
    assert done.returncode == 1
    assert "is of format 2" in done.stderr.splitlines()[-1]
