"""`weighbridge meter` on a real engine: exact at any sampling, a key for each line, late calls corrected."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import events
from bridge import COMMAND
from cli_process import run_cli
from clickhouse_rig import with_sink
from engine_process import EngineProcess
from exporter.clickhouse.sink import ClickHouseSink
from exporter.sink import Batch, Calls
from mapping.event import UNSAMPLED, Decision, Event
from mapping.sampling.dropped import counted_only
from weighbridge.commands.meter_state import MeterState

HOUR_NS = 3600 * 10**9
FIRST = (time.time_ns() // HOUR_NS - 30) * HOUR_NS  # the beginning of a window
TENTH = UNSAMPLED._replace(th="e668", adjusted_count=10.0, p=0.1, weight=10)
DROPPED = UNSAMPLED._replace(keep=False, weight=0, adjusted_count=0.0, p=0.1, reason="sampled_out")
HEAD = UNSAMPLED._replace(th="c", th_in="c", adjusted_count=4.0, p=0.25, weight=4, upstream="th")


def calls(company: str, window: int, count: int, decision: Decision = UNSAMPLED, **changes: Any) -> list[Event]:
    start = FIRST + window * HOUR_NS
    times = {"start_unix_ns": start + 1, "end_unix_ns": start + 2, "received_unix_ns": time.time_ns()}
    fields = {"company_id": company, "hop": "entry", "decision": decision, **times, **changes}
    return [events.event(**fields) for _ in range(count)]


def store(engine: EngineProcess, rows: Sequence[Event]) -> None:
    """Write what is kept, and count all."""
    kept = [one for one in rows if one.decision.keep]
    gone = [found for one in rows if not one.decision.keep and (found := counted_only(one, one.decision))]

    async def go(sink: ClickHouseSink) -> None:
        for day in {one.start_unix_ns // (24 * HOUR_NS) for one in rows}:
            number = random.SystemRandom().randrange(1, 1 << 60)

            def of_day(some: Sequence[Event], day: int = day) -> list[Event]:
                return [one for one in some if one.start_unix_ns // (24 * HOUR_NS) == day]

            if batch := of_day(kept):
                await sink.write(Batch(number, batch), in_doubt=False)
            await sink.count(Calls(number, of_day(kept), of_day(gone), True), in_doubt=False)

    with_sink(engine, go)


class Command:
    """`weighbridge meter` with settings whose store is this engine, and a state of its own."""

    def __init__(self, folder: Path, engine: EngineProcess) -> None:
        self.folder = folder
        settings = {"exporter": {"sinks": [{"name": "s", "type": "clickhouse", "dsn": f"chdb://{engine.data}"}]}}
        (folder / "weighbridge.yaml").write_text(yaml.safe_dump(settings))

    def run(self, *more: str, state: str = "state") -> subprocess.CompletedProcess[str]:
        return run_cli("meter", "--state", state, "--since", "2d", *more, cwd=self.folder)

    def lines(self, *more: str, state: str = "state") -> list[dict[str, Any]]:
        done = self.run(*more, state=state)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def command(tmp_path: Path, clean: EngineProcess) -> Command:
    store(clean, calls("acme", 0, 1))  # the table is made
    store(clean, calls("acme", 0, 2, TENTH) + calls("acme", 0, 17, DROPPED) + calls("acme", 1, 3, TENTH))
    store(clean, calls("o'hara & sons", 0, 5, DROPPED) + calls("", 0, 4, TENTH) + calls("acme", 0, 9, hop="inner"))
    return Command(tmp_path, clean)


def test_each_window_is_told_once_and_corrected_when_calls_come_late(command: Command, clean: EngineProcess) -> None:
    first = command.lines()
    assert [(one["subject"], one["data"]["value"]) for one in first] == [
        ("acme", 20),
        ("o'hara & sons", 5),
        ("acme", 3),
    ]
    assert {(one["specversion"], one["type"], one["source"]) for one in first} == {("1.0", "api.calls", "weighbridge")}
    assert len({one["id"] for one in first}) == 3
    assert (
        first[0]["time"]
        == first[0]["data"]["window_start"]
        == time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(FIRST / 1e9))
    )
    assert "4 calls name no customer" in command.run(state="other").stderr
    assert command.lines() == []
    assert command.lines(state="third") == first, "keys and values are those of the window, whoever tells them"
    store(clean, calls("acme", 0, 30, DROPPED))
    (late,) = command.lines()
    data = late["data"]
    assert (data["value"], data["total"], data["revision"], data["corrects"]) == (30, 50, 1, first[0]["id"])
    assert late["id"] not in {one["id"] for one in first}
    assert command.lines() == []
    program, *words = shlex.split(next(one for one in first if "hara" in one["subject"])["data"]["events"])
    assert program == "weighbridge"
    (row,) = json.loads(run_cli(*words, "--format", "json", cwd=command.folder).stdout)
    assert row["calls"] == 5, "the line leads to what it counts"


def test_lines_that_were_not_printed_are_printed_by_the_next_run(command: Command, clean: EngineProcess) -> None:
    arguments = [*COMMAND, "meter", "--state", "state", "--since", "2d"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(arguments, cwd=command.folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode != 0
    with MeterState(command.folder / "state") as state:
        waiting = [line for _, line in state.waiting()]
    assert len(waiting) == 3
    store(clean, calls("acme", 0, 30, DROPPED))
    *again, late = command.run().stdout.splitlines()
    assert again == waiting
    assert json.loads(late)["data"]["value"] == 30


def test_an_estimate_is_refused_and_another_meter_of_the_same_name(command: Command, clean: EngineProcess) -> None:
    assert len(command.lines("--where", "status=5xx")) == 0
    done = command.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "knows api.calls as another meter" in done.stderr
    store(clean, calls("acme", 1, 1, HEAD, service="edge"))
    done = command.run(state="new")
    assert (done.returncode, done.stdout) == (1, "")
    assert "an SDK had dropped calls" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert command.lines("--name", "daily", "--window", "day", "--where", "service=nothing", state="new") == []
