"""`weighbridge export` on a real engine: whole days, in every format, begun again after a kill, in bounded memory."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import COMMAND, eventually
from engine_process import EngineProcess
from events import NOW_NS, event
from exporter.clickhouse.engine import frames
from exporter.clickhouse.engine.endpoint import WRITER, password
from exporter.clickhouse.engine.lanes import EngineError, Piece
from stored import count_events, store_events

DAY_NS = 86_400 * 10**9
ODD = 'a "quoted"\nline, with a comma; and a tab\t'
EVENTS = 400  # a day


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("engine") / "store", readers=1)
    rows = [
        event(
            start_unix_ns=NOW_NS - day * DAY_NS - number * 10**6,
            received_unix_ns=NOW_NS - day * DAY_NS,
            user_id=f"user-{number % 7}",
            response_body=ODD,
            metadata='{"flags.experiment":"x","n":1.5}',
        )
        for day in range(3)
        for number in range(EVENTS)
    ]
    store_events(process, rows)
    count_events(process, rows)
    yield process
    assert process.stop() == 0


def settings_file(folder: Path, dsn: str) -> Path:
    sink = {"name": "store", "type": "clickhouse", "dsn": dsn, "retention_days": 3650}
    path = folder / "weighbridge.yaml"
    path.write_text(yaml.safe_dump({"exporter": {"sinks": [sink]}, "spool": {"directory": str(folder / "spool")}}))
    return path


@pytest.fixture(params=["embedded", "server"])
def config(request: pytest.FixtureRequest, engine: EngineProcess, tmp_path: Path) -> Path:
    """Settings whose store is this engine, as the embedded store or as a server that happens to be one."""
    server = f"http://writer:{password(engine.data, WRITER)}@127.0.0.1:{engine.port}/analytics"
    return settings_file(tmp_path, f"chdb://{engine.data}" if request.param == "embedded" else server)


def export(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "export", *arguments, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def days_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "counts")


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_every_event_is_in_the_folder_of_its_day(
    engine: EngineProcess, config: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    done = export(config, str(out), "--format", form)
    assert done.returncode == 0, done.stderr
    assert f"{3 * EVENTS} events of 3 days" in done.stderr
    days = days_of(out)
    assert [day.name for day in days] == ["2026-11-18", "2026-11-19", "2026-11-20"]
    for day in days:
        rows = list(read(engine, day, form))
        assert len(rows) == EVENTS
        assert len({row["event_id"] for row in rows}) == EVENTS
        assert {str(row["event_time"])[:10] for row in rows} == {day.name}
        assert {row["response_body"] for row in rows} == {ODD}
        assert all(path.stat().st_mode & 0o077 == 0 for path in day.iterdir())
        assert counted(engine, day.parent / "counts" / day.name, form) == EVENTS


def counted(engine: EngineProcess, day: Path, form: str) -> int:
    """Records by the counts of an exported day."""
    if form == "jsonl":
        return sum(json.loads(line)["records"] for line in (day / "counts.jsonl").read_text().splitlines())
    if form == "csv":
        with (day / "counts.csv").open(newline="") as file:
            return sum(int(row["records"]) for row in csv.DictReader(file))
    code, text = engine.ask(f"SELECT sum(records) FROM file('{day}/*.parquet', Parquet)", user=WRITER)
    assert code == 0, text
    return int(text)


def read(engine: EngineProcess, day: Path, form: str) -> Iterator[dict[str, Any]]:
    if form == "jsonl":
        for line in (day / "events.jsonl").read_text().splitlines():
            row = json.loads(line)
            assert row["metadata"] == {"flags": {"experiment": "x"}, "n": 1.5}
            assert isinstance(row["start_unix_ns"], int)
            yield row
    elif form == "csv":
        with (day / "events.csv").open(newline="") as file:
            yield from csv.DictReader(file)
    else:
        files = f"file('{day}/*.parquet', Parquet)"
        code, text = engine.ask(
            f"SELECT event_id, event_time, response_body FROM {files} FORMAT JSONEachRow", user=WRITER
        )
        assert code == 0, text
        yield from map(json.loads, text.splitlines())


def test_a_second_run_writes_only_what_changed(engine: EngineProcess, tmp_path: Path) -> None:
    config, out = settings_file(tmp_path, f"chdb://{engine.data}"), tmp_path / "out"
    assert export(config, str(out), "--format", "jsonl", "--until", "2026-11-20").returncode == 0
    first = {path: path.stat().st_mtime_ns for path in out.rglob("events.jsonl")}
    assert len(first) == 2
    (out / "2026-11-19" / "events.jsonl").unlink()
    assert export(config, str(out), "--format", "jsonl", "--until", "2026-11-20").returncode == 0
    second = {path: path.stat().st_mtime_ns for path in out.rglob("events.jsonl")}
    assert second.keys() == first.keys()
    assert [path.parent.name for path in first if first[path] == second[path]] == ["2026-11-18"]
    other = export(config, str(out), "--format", "csv")
    assert (other.returncode, "holds an export as jsonl" in other.stderr) == (2, True)
    strange = export(config, str(tmp_path), "--format", "csv")
    assert (strange.returncode, "there is no export.json" in strange.stderr) == (2, True)


def test_a_killed_export_goes_on_and_leaves_no_half_day(tmp_path: Path) -> None:
    """Bodies that cannot be compressed make some 200 MB; the engine's answer to a reader ends at 64 MiB."""
    engine = EngineProcess(tmp_path / "store", reader_max_result_bytes=1 << 20)
    store_events(engine, [event(start_unix_ns=NOW_NS - DAY_NS, received_unix_ns=NOW_NS - DAY_NS)])
    many = 4000
    code, said = engine.ask(
        "INSERT INTO analytics.api_events (event_type, event_time, event_id, response_body)"
        " SELECT 'api_call', toDateTime64('2026-11-20 00:00:00', 6, 'UTC') + number, toString(generateUUIDv4()),"
        f" randomPrintableASCII(50000) FROM numbers({many})",
        user=WRITER,
    )
    assert code == 0, said
    config, out = settings_file(tmp_path, f"chdb://{engine.data}"), tmp_path / "out"
    command = [*COMMAND, "export", str(out), "--format", "jsonl", "--config", str(config)]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    eventually(lambda: (out / ".2026-11-20.new" / "events.jsonl").exists(), "the second day is begun", 60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert [day.name for day in days_of(out) if not day.name.startswith(".")] == ["2026-11-19"]
    before = _peak_kib(engine)
    measured = subprocess.run([*command[:-2], "--config", str(config)], capture_output=True, text=True, timeout=120)
    assert measured.returncode == 0, measured.stderr
    assert [day.name for day in days_of(out)] == ["2026-11-19", "2026-11-20"]
    with (out / "2026-11-20" / "events.jsonl").open() as file:
        assert sum(1 for line in file if json.loads(line)["event_type"] == "api_call") == many
    assert _peak_kib(engine) - before < 500_000
    assert engine.ask("SELECT 1") == (0, "1\n")
    assert engine.stop() == 0


def _peak_kib(engine: EngineProcess) -> int:
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_an_engine_that_dies_in_mid_answer_is_seen(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path / "store")
    store_events(engine, [event()])
    engine.ask(
        "INSERT INTO analytics.api_events (event_type, event_time, event_id, response_body)"
        " SELECT 'log', toDateTime64('2026-11-20 00:00:00', 6, 'UTC') + number, toString(number),"
        " randomPrintableASCII(50000) FROM numbers(4000)",
        user=WRITER,
    )
    config, out = settings_file(tmp_path, f"chdb://{engine.data}"), tmp_path / "out"
    command = [*COMMAND, "export", str(out), "--format", "jsonl", "--config", str(config)]
    exporting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    eventually(lambda: (out / ".2026-11-20.new" / "events.jsonl").exists(), "the day is begun", 60)
    os.kill(engine.process.pid, signal.SIGKILL)
    _, said = exporting.communicate(timeout=60)
    engine.kill()
    assert exporting.returncode == 1
    assert "\n" not in said.strip()
    assert not (out / "2026-11-20").exists()


class _Wire:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)

    def flush(self) -> None:
        pass

    def read(self, size: int, /) -> bytes:
        part, self.data = self.data[:size], self.data[size:]
        return part


def test_frames_that_are_cut_anywhere_are_no_answer() -> None:
    pieces = [Piece(b"abc", 2), Piece(b"", 0), Piece(b"d" * 100, 1)]
    wire = _Wire(b"")
    frames.write_frames(wire, pieces[0], iter(pieces[2:]))
    whole = wire.data
    assert list(frames.read_frames(_Wire(whole))) == [pieces[0], pieces[2]]
    for length in range(len(whole)):
        with pytest.raises(frames.Cut):
            list(frames.read_frames(_Wire(whole[:length])))

    def failing() -> Iterator[Piece]:
        raise EngineError(241, "no memory")
        yield pieces[0]

    wire = _Wire(b"")
    frames.write_frames(wire, pieces[0], failing())
    with pytest.raises(EngineError, match="no memory"):
        list(frames.read_frames(wire))
