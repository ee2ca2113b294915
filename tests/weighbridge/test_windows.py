"""A hard cap in the running bridge: at most a window's budget is handed out, the same whatever happens."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mapping.sampling.thresholds import M
from mapping.sampling.window import Cap, cap_of
from sink_memory import MemorySink
from weighbridge.sampling import decided_file, windows
from weighbridge.sampling.open_window import Closed
from weighbridge.sampling.window_store import DecidedWindow, WindowStore
from whole_trace_rig import SpanOf
from window_rig import WindowRig

T0 = 1_795_200_000.0
ERRORS = [{"name": "errors", "rate": 100, "when": [{"path": "status", "op": "gte", "value": 500}]}]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of these tests moves in steps."""
    monkeypatch.setattr(windows, "LOOK_S", 0.01)


Request = tuple[list[SpanOf], float]


def traffic(seed: int, requests: int = 60, per_second: int = 12) -> list[Request]:
    """Requests of spans of some traces each, with errors among them."""
    dice = random.Random(seed)
    traces = [dice.randbytes(16) for _ in range(requests)]
    found = []
    for number in range(requests):
        near = traces[max(0, number - 3) : number + 3]
        spans = [(dice.choice(near), 500 if dice.random() < 0.2 else 200) for _ in range(dice.randrange(1, 7))]
        found.append((spans, T0 + number / per_second))
    return found


def test_a_window_hands_out_at_most_its_budget_and_what_it_keeps_stands_for_all(tmp_path: Path) -> None:
    async def go() -> None:
        rig = WindowRig(tmp_path, T0, budget=10)
        await rig.open()
        rs = list(range(0x10, 0xF0, 8))
        await rig.send([(b"\x01" * 9 + bytes([r]) + bytes(6), 200) for r in rs], T0 + 0.1)
        await asyncio.sleep(0.05)
        assert rig.sinks[0].events == [], "the window is open"
        rig.wall_s = T0 + 1
        await rig.until(lambda: bool(rig.closed))
        await rig.stop()
        assert {one[1:3] for one in rig.delivered()} == {(f"{rs[-11]:02x}000000000001", M / (M - (rs[-11] << 48) - 1))}
        assert [int(e.trace_id[18:20], 16) for e in rig.sinks[0].events] == rs[-10:]
        assert rig.outcomes() == {"received": 28, "delivered": 10, "sampled_out": 18}
        [closed] = rig.closed
        assert closed.capped == 18
        sums = {key.reason: s for key, s in closed.counted[0].sums.items()}
        assert (sums["kept"].records, sums["capped"].records) == (10, 18)
        assert sums["kept"].adjusted_out == pytest.approx(sum(one[2] for one in rig.delivered()))

    asyncio.run(go())


def test_a_window_below_its_budget_loses_and_changes_nothing(tmp_path: Path) -> None:
    async def go() -> None:
        rig = WindowRig(tmp_path, T0, budget=1000)
        await rig.open()
        for spans, at_s in traffic(1, 20):
            await rig.send(spans, at_s)
        await rig.stop()
        assert len(rig.delivered()) == rig.next_id - 1
        assert all(one[1:] == ("", 1.0, 1) for one in rig.delivered())

    asyncio.run(go())


def test_windows_end_at_full_lengths_of_the_clock_and_late_records_count_in_the_next(tmp_path: Path) -> None:
    async def go() -> None:
        rig = WindowRig(tmp_path, T0, budget=3)
        await rig.open()
        dice = random.Random(2)
        for at_s in (0.2, 0.9, 1.1, 0.95, 1.9, 2.0):  # the fourth was on disk after one of the next window
            await rig.send([(dice.randbytes(16), 200) for _ in range(10)], T0 + at_s)
        await rig.until(lambda: len(rig.closed) == 2)
        rig.wall_s = T0 + 3
        await rig.until(lambda: len(rig.closed) == 3)
        for at_s in (2.7, 3.1):  # the first of these was on disk after the clock had ended its window
            await rig.send([(dice.randbytes(16), 200) for _ in range(10)], T0 + at_s)
        await rig.stop()
        kept = [sum(len(c.kept) for c in closed.counted) for closed in rig.closed]
        assert kept == [3, 3, 3, 3]
        assert [closed.capped for closed in rig.closed] == [17, 27, 7, 17]

    asyncio.run(go())


def test_an_open_window_ends_although_the_clock_was_set_back(tmp_path: Path) -> None:
    async def go() -> None:
        rig = WindowRig(tmp_path, T0 - 3600, budget=100, window={"window_s": "100ms"})
        await rig.open()
        await rig.send([(b"\x07" * 16, 200)], T0)
        await rig.until(lambda: rig.windows._open is not None)
        assert rig.delivered() == []
        rig.monotonic_s = 0.1
        await rig.until(lambda: len(rig.delivered()) == 1)
        await rig.stop()

    asyncio.run(go())


def kept_of_whole_traces(closed: Closed) -> int:
    """Events that a window kept; of a trace, at most half of the budget counts."""
    traces = Counter(event.trace_id for one in closed.counted for event in one.kept)
    return sum(min(n, 5) for n in traces.values())


async def run(directory: Path, requests: list[Request], kills: list[int], sinks: int = 1, **settings: Any) -> WindowRig:
    """All requests through one process, or through processes that are killed after some of them."""
    rig = WindowRig(directory, T0, *(MemorySink() for _ in range(sinks)), rules=ERRORS, rate=60, **settings)
    rig.books_lag = 2
    await rig.open()
    closed = rig.closed
    saved = 0  # windows in the books on disk, which never go back
    for number, (spans, at_s) in enumerate(requests):
        await rig.send(spans, at_s)
        rig.wall_s = at_s
        if number in kills:
            await asyncio.sleep(0.003 * (number % 7))
            await rig.kill()
            if number % 2:
                del closed[max(saved, len(closed) - 2) :]
            saved = len(closed)
            next_id, counted = rig.next_id, closed[-1].end if closed else 0
            rig = WindowRig(directory, at_s, *rig.sinks, counted=counted, rules=ERRORS, rate=60, **settings)
            rig.next_id, rig.closed, rig.books_lag = next_id, closed, 2
            await rig.open()
    rig.wall_s += 5
    total = rig.next_id - 1
    await rig.until(
        lambda: all(sum(p.totals.get(o) for o in ("delivered", "sampled_out")) == total for p in rig.pipelines)
    )
    await rig.stop()
    for number in range(sinks):
        outcomes = rig.outcomes(number)
        assert outcomes["received"] == total == outcomes["delivered"] + outcomes["sampled_out"]
        assert len(rig.sinks[number].events) == outcomes["delivered"]
    return rig


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_any_moment_lose_nothing_repeat_nothing_and_decide_as_before(tmp_path: Path, seed: int) -> None:
    """Two sinks, and the books: everything is counted once however many processes it took."""

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()

    async def go() -> None:
        requests = traffic(seed)
        dice = random.Random(seed)
        whole = await run(tmp_path / "whole", requests, [], sinks=2)
        killed = await run(tmp_path / "killed", requests, sorted(dice.sample(range(60), 8)), sinks=2)
        assert len(whole.delivered()) > 20
        assert whole.delivered(1) == whole.delivered()
        assert killed.delivered() == killed.delivered(1) == whole.delivered()
        for rig in (whole, killed):
            counted = [one for closed in rig.closed for one in closed.counted]
            kept = [e for one in counted for e in one.kept]
            assert sorted(int(e.span_id, 16) for e in kept) == [one[0] for one in rig.delivered()]
            assert sum(s.records for one in counted for s in one.sums.values()) == rig.next_id - 1
            assert max(map(kept_of_whole_traces, rig.closed)) <= 10
            assert sum(s.adjusted_out for one in counted for s in one.sums.values()) == pytest.approx(
                sum(one[2] for one in rig.delivered())
            )

    asyncio.run(go())


@pytest.mark.parametrize("seed", range(3))
def test_windows_that_the_clock_ended_in_the_middle_are_the_same_after_a_kill(tmp_path: Path, seed: int) -> None:
    """The clock runs ahead of the records by chance, so that what a window held is to be found on disk only."""

    async def go() -> None:
        dice = random.Random(seed)
        requests = traffic(seed, 30)
        rig = WindowRig(tmp_path, T0, MemorySink(), MemorySink())
        hung = rig.sinks[1]
        hung.write = hang  # type: ignore[method-assign,assignment]
        await rig.open()
        for spans, at_s in requests:
            rig.wall_s = at_s
            await rig.send(spans, at_s)
            if dice.random() < 0.4:
                rig.wall_s = T0 + 1000
                before = len(rig.closed)
                await rig.until(lambda before=before: len(rig.closed) > before)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        first = {one[0]: one for one in rig.delivered()}
        ends = rig.closed[len(rig.closed) // 2].end  # up to here the books were saved
        await rig.kill()
        again = WindowRig(tmp_path, T0 + 100, rig.sinks[0], MemorySink(), counted=ends)
        again.next_id = rig.next_id
        await again.open()
        await again.until(lambda: again.pipelines[1].totals.get("received") == again.next_id - 1)
        await again.stop()
        assert len(rig.closed) >= 4
        assert again.delivered() == again.delivered(1)
        assert {n: one for one in again.delivered(1) if (n := one[0]) in first} == first

    async def hang(batch: object, in_doubt: bool = False) -> None:
        await asyncio.sleep(3600)

    asyncio.run(go())


def test_a_sink_that_comes_later_gets_what_the_others_got(tmp_path: Path) -> None:
    async def go() -> None:
        rig = WindowRig(tmp_path, T0, MemorySink(), MemorySink())
        rig.feed.add_sink("memory1")
        await rig.spool.open()
        rig.feed.start(rig.spool.end_position)
        await rig.spool.close()
        late_task = rig.begin
        rig.begin = lambda number: late_task(number) if number == 0 else None  # type: ignore[method-assign]
        await rig.open()
        for spans, at_s in traffic(3):
            await rig.send(spans, at_s)
            rig.wall_s = at_s
        rig.wall_s += 5
        await rig.until(lambda: rig.pipelines[0].totals.get("received") == rig.next_id - 1)
        late_task(1)
        await rig.until(lambda: rig.pipelines[1].totals.get("received") == rig.next_id - 1)
        await rig.stop()
        assert rig.delivered() == rig.delivered(1) != []

    asyncio.run(go())


def test_nothing_is_handed_out_before_its_window_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "RETRY_S", 0.05)

    async def go() -> None:
        rig = WindowRig(tmp_path, T0)
        store = WindowStore(tmp_path / "windows.sqlite")
        await rig.open()
        refusing = True
        add = rig.windows._store.add

        def refuse(window: DecidedWindow, needed_from: int) -> None:
            if refusing:
                raise OSError("no space left on device")
            add(window, needed_from)

        rig.windows._store.add = refuse  # type: ignore[method-assign]
        await rig.send([(b"\x07" * 16, 200)], T0)
        rig.wall_s = T0 + 2
        await asyncio.sleep(0.2)
        assert (rig.delivered(), rig.closed) == ([], [])
        refusing = False
        await rig.until(lambda: len(rig.delivered()) == 1)
        window = store.last()
        assert window is not None
        assert window.end == rig.spool.end_position
        await rig.stop()
        store.close()

    asyncio.run(go())


def test_memory_is_bounded_by_what_may_be_kept_and_by_bytes(tmp_path: Path) -> None:
    async def go() -> None:
        rig = WindowRig(tmp_path, T0, budget=5, window={"window_s": "10s"})
        await rig.open()
        dice = random.Random(4)
        most = 0
        for _ in range(120):
            await rig.send([(dice.randbytes(16), 200) for _ in range(100)], T0 + 0.5)
            await asyncio.sleep(0.001)
            most = max(most, rig.windows._open.bytes if rig.windows._open else 0)
        assert most < 5_000_000 < 12_000 * 1500, "12,000 events came, and 50 may be kept"
        await rig.until(lambda: rig.windows._read_to == rig.feed.end)
        assert rig.feed.memory.bytes < 200_000, "what was read ahead is not held a second time"
        rig.wall_s = T0 + 20
        await rig.until(lambda: len(rig.delivered()) == 50)
        await rig.stop()

    asyncio.run(go())


def test_a_window_that_cannot_be_held_ends_early_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WARN_S", 3600.0)  # however slow the machine is

    async def go() -> None:
        rig = WindowRig(tmp_path, T0, budget=500, window={"window_s": "10s", "max_bytes": "1MiB"})
        await rig.open()
        dice = random.Random(4)
        for _ in range(30):
            await rig.send([(dice.randbytes(16), 200) for _ in range(100)], T0 + 0.5)
            await asyncio.sleep(0)
            assert rig.windows._open is None or rig.windows._open.bytes < 1_300_000
        await rig.send([(dice.randbytes(16), 200)], T0 + 0.6)
        await rig.send([(dice.randbytes(16), 200)], T0 + 12)
        await rig.stop()
        assert len(rig.delivered()) == 3002
        assert rig.windows.early > 3
        assert len(rig.closed) == rig.windows.early + 2, "an early end does not move the next full second"
        assert caplog.text.count("end early") == 1

    asyncio.run(go())


def test_the_spool_and_the_windows_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided_file, "FORGET_EVERY", 1)

    async def go() -> None:
        rig = WindowRig(tmp_path, T0)
        await rig.open()
        for spans, at_s in traffic(6, 120):
            await rig.send(spans, at_s)
        rig.wall_s = T0 + 100
        await rig.until(lambda: rig.spool.request_count == 0)
        await rig.send([(b"\x07" * 16, 200)], T0 + 200)
        rig.wall_s = T0 + 300
        await rig.until(lambda: rig.spool.request_count == 0)
        await rig.stop()
        assert not rig.windows._decided
        with sqlite3.connect(tmp_path / "windows.sqlite") as file:
            assert file.execute("SELECT count(*) FROM windows").fetchone()[0] <= 2

    asyncio.run(go())


def test_windows_on_disk_are_found_again(tmp_path: Path) -> None:
    store = WindowStore(tmp_path / "windows.sqlite")
    assert store.last() is None
    cap = cap_of([(90, 0), (80, 0), (80, 60), (70, 0), (70, 10), (60, 0)], 4, top=100)
    assert cap.own
    store.add(DecidedWindow(10, 20, 7, Cap(5)), 0)
    store.add(DecidedWindow(30, 40, 8, cap), 0)
    store.close()
    again = WindowStore(tmp_path / "windows.sqlite")
    assert again.last() == DecidedWindow(30, 40, 8, cap)
    assert again.around(19) == DecidedWindow(10, 20, 7, Cap(5))
    assert [again.around(position) for position in (5, 20, 29, 40)] == [None] * 4
    again.add(DecidedWindow(40, 50, 9, cap), 35)
    assert again.around(15) is None
    assert again.around(35) is not None
    again.close()


def test_windows_of_another_spool_are_forgotten(tmp_path: Path) -> None:
    store = WindowStore(tmp_path / "windows.sqlite")
    store.add(DecidedWindow(0, 1 << 62, 1 << 40, Cap(M - 1)), 0)
    store.close()

    async def go() -> None:
        rig = WindowRig(tmp_path, T0)
        await rig.open()
        await rig.send([(b"\x07" * 16, 200)], T0)
        await rig.stop()
        assert len(rig.delivered()) == 1

    asyncio.run(go())


def test_a_damaged_file_is_kept_and_windows_begin_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "windows.sqlite").write_bytes(b"no database" * 500)
    store = WindowStore(tmp_path / "windows.sqlite")
    assert store.last() is None
    store.add(DecidedWindow(1, 2, 3, Cap()), 0)
    assert store.last() == DecidedWindow(1, 2, 3, Cap())
    store.close()
    raw = bytearray((tmp_path / "windows.sqlite").read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)  # its first page is whole
    (tmp_path / "windows.sqlite").write_bytes(raw)
    store = WindowStore(tmp_path / "windows.sqlite")
    assert store.around(1) is None
    store.close()
    assert caplog.text.count("windows.damaged") == 2
    assert (tmp_path / "windows.damaged").exists()
