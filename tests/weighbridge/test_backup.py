"""`weighbridge backup`, `restore` and `move` between real engines: nothing lost, nothing twice, whatever is killed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import COMMAND, eventually
from engine_process import EngineProcess
from exporter.clickhouse.copied_counts import total, without
from exporter.clickhouse.engine.endpoint import WRITER
from exporter.clickhouse.minutes_table import columns
from store_files import (
    as_server,
    counted_from,
    embedded,
    everything,
    everything_counted,
    odd_events,
    run,
    write_settings,
)
from stored import count_events, store_events

A_DAY = 50


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("old") / "store", readers=1)
    rows = odd_events(days=3, a_day=A_DAY)
    store_events(process, rows)
    count_events(process, rows)
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("new") / "store", readers=1)
    yield process
    assert process.stop() == 0


@pytest.fixture
def empty(other: EngineProcess) -> Iterator[EngineProcess]:
    yield other
    assert other.ask("DROP DATABASE IF EXISTS analytics SYNC", user=WRITER)[0] == 0


@pytest.mark.parametrize(("source", "target"), [(embedded, as_server), (as_server, embedded)])
def test_what_is_restored_is_what_was_there(
    engine: EngineProcess, empty: EngineProcess, tmp_path: Path, source: object, target: object
) -> None:
    assert callable(source)
    assert callable(target)
    old, new = write_settings(tmp_path / "a", source(engine)), write_settings(tmp_path / "b", target(empty))
    saved = run(old, "backup", str(tmp_path / "saved"))
    assert saved.returncode == 0, saved.stderr
    restored = run(new, "restore", str(tmp_path / "saved"))
    assert restored.returncode == 0, restored.stderr
    assert f"{3 * A_DAY} events restored, 0 were there, of 3 days" in restored.stderr
    assert everything(empty) == everything(engine)
    assert everything_counted(empty) == everything_counted(engine) != []
    assert counted_from(empty) == counted_from(engine) == 0
    again = run(new, "restore", str(tmp_path / "saved"))
    assert (again.returncode, "--merge adds those" in again.stderr) == (2, True)
    code, _ = empty.ask(
        "DELETE FROM analytics.api_events WHERE user_id = 'user-3'", user=WRITER, lightweight_deletes_sync="2"
    )
    assert code == 0
    merged = run(new, "restore", str(tmp_path / "saved"), "--merge")
    assert merged.returncode == 0, merged.stderr
    assert everything(empty) == everything(engine)
    assert everything_counted(empty) == everything_counted(engine), "counted once"


def test_a_backup_is_restored_where_there_was_no_store_yet(engine: EngineProcess, tmp_path: Path) -> None:
    """The machine is new, and no bridge has run on it."""
    old, new = (
        write_settings(tmp_path / "a", embedded(engine)),
        write_settings(tmp_path / "b", f"chdb://{tmp_path}/c/d"),
    )
    assert run(old, "backup", str(tmp_path / "saved")).returncode == 0
    restored = run(new, "restore", str(tmp_path / "saved"))
    assert restored.returncode == 0, restored.stderr
    assert f"{3 * A_DAY} events restored, 0 were there, of 3 days" in restored.stderr
    assert (tmp_path / "c" / "d").stat().st_mode & 0o777 == 0o700


def test_a_store_that_counts_says_that_it_did_not_count_what_was_restored(
    engine: EngineProcess, empty: EngineProcess, tmp_path: Path
) -> None:
    """A bridge that began on an empty store counts since ever; questions of the days that come now go to the events."""
    store_events(engine, odd_events(days=1, a_day=5), "bare")
    assert engine.ask("DROP TABLE bare.api_minutes SYNC", user=WRITER)[0] == 0  # of an earlier version
    old, new = (
        write_settings(tmp_path / "a", as_server(engine, "bare")),
        write_settings(tmp_path / "b", embedded(empty)),
    )
    assert run(old, "backup", str(tmp_path / "saved")).returncode == 0
    store_events(empty, [])
    assert counted_from(empty) == 0
    assert run(new, "restore", str(tmp_path / "saved")).returncode == 0
    since = counted_from(empty)
    assert time.time() - 3600 < since <= time.time()
    assert run(new, "restore", str(tmp_path / "saved"), "--merge").returncode == 0
    assert counted_from(empty) == since  # nothing came
    assert engine.ask("DROP DATABASE bare SYNC", user=WRITER)[0] == 0


def test_counts_that_grew_since_are_copied_again_and_never_added_twice(
    engine: EngineProcess, empty: EngineProcess, tmp_path: Path
) -> None:
    rows = odd_events(days=2, a_day=6)
    store_events(engine, rows, "grows")
    count_events(engine, rows, database="grows")
    old, new = write_settings(tmp_path / "a", as_server(engine, "grows")), as_server(empty)
    assert run(old, "move", "--to", new).returncode == 0
    count_events(engine, rows[:3], batch=1, database="grows")  # late ones of the last day
    assert run(old, "move", "--to", new).returncode == 0
    assert everything_counted(empty) == everything_counted(engine, "grows")
    count_events(empty, rows[:2], batch=2)  # the new bridge counts some of that day itself
    own = everything_counted(empty)
    assert run(old, "move", "--to", new).returncode == 0
    assert everything_counted(empty) == own
    assert counted_from(empty) == 0
    count_events(engine, rows[:1], batch=3, database="grows")  # and then the old one, which no number can tell apart
    store_events(engine, odd_events(days=3, a_day=1)[2:], "grows")
    again = run(old, "move", "--to", new)
    assert again.returncode == 0, again.stderr
    assert "counts of 1 days are not taken along" in again.stderr
    assert everything_counted(empty) == own
    assert counted_from(empty) > time.time() - 3600
    assert engine.ask("DROP DATABASE grows SYNC", user=WRITER)[0] == 0


def test_counts_of_an_erased_company_are_left_out() -> None:
    names = list(columns())

    def row(company: str, minute: str) -> bytes:
        values = {"company_id": company, "minute": minute, "tenant": "t", "records": "2", "kept": "1"}
        return "\t".join(values.get(name, "0") for name in names).encode()

    rows = [
        row("acme", "2026-11-20 10:00:00"),
        row("acme", "2026-11-22T10:00:00Z"),
        row("globex", "2026-11-20 10:00:00"),
    ]
    until = 1_795_219_200 * 10**9  # 2026-11-21
    kept = without(rows, lambda owner: owner.company == "acme" and owner.start_unix_ns < until)
    assert kept == rows[1:]
    assert total(kept) == (4, 2)


def test_who_was_erased_since_is_not_restored(engine: EngineProcess, empty: EngineProcess, tmp_path: Path) -> None:
    old, new = write_settings(tmp_path / "a", embedded(engine)), write_settings(tmp_path / "b", embedded(empty))
    assert run(old, "backup", str(tmp_path / "saved")).returncode == 0
    assert run(new, "erase", "--user", "user-3", "--user", "nobody", "--company", "no'\tone").returncode == 0
    restored = run(new, "restore", str(tmp_path / "saved"))
    assert restored.returncode == 0, restored.stderr
    theirs = [row["event_id"] for row in everything(engine) if row["user_id"] == "user-3"]
    assert f"{len(theirs)} events are of people who were erased since" in restored.stderr
    assert everything_counted(empty) == everything_counted(engine), "an erased user is in no count by name"
    there = {row["event_id"] for row in everything(empty)}
    assert there == {row["event_id"] for row in everything(engine)} - set(theirs)


def test_a_damaged_backup_is_not_restored(engine: EngineProcess, empty: EngineProcess, tmp_path: Path) -> None:
    old, new = write_settings(tmp_path / "a", embedded(engine)), write_settings(tmp_path / "b", embedded(empty))
    saved = tmp_path / "saved"
    assert run(old, "backup", str(saved)).returncode == 0
    file = saved / "2026-11-19" / "events.tsv.zst"
    file.write_bytes(file.read_bytes()[:-20])
    refused = run(new, "restore", str(saved), "--since", "2026-11-19")
    assert (refused.returncode, "is damaged" in refused.stderr) == (1, True)
    assert everything(empty) == []
    about = saved / "backup.json"
    about.write_text(about.read_text().replace('"schema": ', '"schema": 99'))
    late = run(new, "restore", str(saved))
    assert (late.returncode, "by a later weighbridge" in late.stderr) == (2, True)
    nothing = run(new, "restore", str(tmp_path / "a"))
    assert (nothing.returncode, "there is no backup.json" in nothing.stderr) == (2, True)


@pytest.mark.parametrize("target", [embedded, as_server])
def test_a_store_is_moved_and_what_comes_meanwhile_follows(
    engine: EngineProcess, empty: EngineProcess, tmp_path: Path, target: object
) -> None:
    assert callable(target)
    config = write_settings(tmp_path / "a", embedded(engine))
    moved = run(config, "move", "--to", target(empty))
    assert moved.returncode == 0, moved.stderr
    assert f"{3 * A_DAY} events of 3 days are in both stores" in moved.stdout
    assert "writer:…@" in moved.stdout or target is embedded
    assert everything(empty) == everything(engine)
    assert everything_counted(empty) == everything_counted(engine)
    late = odd_events(days=1, a_day=5)
    store_events(engine, late, "late")
    second = write_settings(tmp_path / "b", as_server(engine, "late"))
    followed = run(second, "move", "--to", target(empty), "--from", as_server(engine, "late"))
    assert followed.returncode == 0, followed.stderr
    assert len(everything(empty)) == 3 * A_DAY + 5
    assert engine.ask("DROP DATABASE late SYNC", user=WRITER)[0] == 0


def test_the_same_store_is_refused(engine: EngineProcess, tmp_path: Path) -> None:
    config = write_settings(tmp_path, as_server(engine))
    same = run(config, "move", "--to", as_server(engine))
    assert (same.returncode, "is the store that the events are in" in same.stderr) == (2, True)
    odd = run(config, "move", "--to", "http://host/db?password=x")
    assert (odd.returncode, "--to: dsn: ?password= is not read" in odd.stderr) == (2, True)


def test_a_move_killed_at_any_point_is_finished_by_the_next(tmp_path: Path) -> None:
    """Kills of the command, and of the engine it writes to; then both stores are the same."""
    engine, target = EngineProcess(tmp_path / "old", readers=1), tmp_path / "new"
    store_events(engine, odd_events(days=2, a_day=20))
    code, said = engine.ask(
        "INSERT INTO analytics.api_events (event_type, event_time, event_id, response_body)"
        " SELECT 'log', toDateTime64('2026-11-20 00:00:00', 6, 'UTC') + number % 86000, toString(generateUUIDv4()),"
        " randomPrintableASCII(900) FROM numbers(250000)",
        user=WRITER,
    )
    assert code == 0, said
    config = write_settings(tmp_path / "a", embedded(engine))
    command = [*COMMAND, "move", "--to", f"chdb://{target}", "--config", str(config)]
    receiver = EngineProcess(target)
    for kills in range(1, 4):
        moving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        eventually(lambda: _events(receiver) > kills * 20_000, f"part {kills} of the copy arrives", 120)  # noqa: B023
        if kills == 2:
            receiver.kill()
            told, _ = moving.communicate(timeout=60)
            assert moving.returncode == (0 if "in both stores" in told else 1), told
            receiver = EngineProcess(target)
        else:
            moving.send_signal(signal.SIGKILL)
            moving.communicate()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    same = "SELECT count(), uniqExact(event_id), sum(sipHash64(*)) FROM (SELECT * EXCEPT batch_id FROM api_events)"
    code, there = receiver.ask(same)
    assert (code, there) == engine.ask(same)
    assert there.split("\t")[:2] == ["250040", "250040"]
    assert engine.stop() == receiver.stop() == 0


def _events(engine: EngineProcess) -> int:
    code, text = engine.ask("SELECT count() FROM analytics.api_events")
    return int(text) if code == 0 else 0
