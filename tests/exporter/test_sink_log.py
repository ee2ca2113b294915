"""The log has one line for each change of a sink's state, and few while nothing changes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from events import event
from exporter.errors import Fault, Refused, Retryable, SinkError, Unauthorised
from exporter.sink import Batch
from exporter.sink_log import MOST_REASONS, OTHER_REASONS, SinkLog, duration
from pipeline_rig import ListSource, Rig
from sink_memory import MemorySink


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> tuple[SinkLog, Clock, pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO, "exporter")
    clock = Clock()
    return SinkLog("store", clock), clock, caplog


Told = tuple[SinkLog, Clock, pytest.LogCaptureFixture]


def test_a_sink_that_is_away_is_told_once_rarely_again_and_its_return(told: Told) -> None:
    said, clock, log = told
    for _ in range(7200):
        said.failed(Retryable("connection refused"))
        clock.now += 0.5
    assert len(log.messages) == 6
    assert log.messages[0] == "sink store is away, what is for it waits in the spool: connection refused"
    assert log.messages[1].startswith("sink store still is away after 10 min and 1201 tries")
    said.well()
    said.well()
    assert log.messages[6:] == ["sink store is in order again after 60 min and 7200 tries that failed"]


def test_every_change_of_state_is_told_at_once(told: Told) -> None:
    said, _, log = told
    errors: list[SinkError] = [Retryable("503"), Unauthorised("401"), Fault("KeyError"), Unauthorised("401")]
    for error in errors:
        said.failed(error)
    said.disk_failed(OSError(28, "full"))
    said.well()
    assert [message.split(",")[0].split(" after")[0] for message in log.messages] == [
        "sink store is away",
        "sink store refuses our credentials",
        "sink store meets a fault of the bridge",
        "sink store cannot write to its disk",
        "sink store is in order again",
    ]
    assert [record.levelno for record in log.records] == [30, 40, 40, 30, 20]


def test_a_sink_that_comes_and_goes_does_not_fill_the_log(told: Told) -> None:
    said, clock, log = told
    for _ in range(1000):
        said.failed(Retryable("503"))
        said.well()
        clock.now += 0.1
    assert len(log.messages) <= 2 * (100 / 10 + 1)


def test_refusals_are_counted_by_reason_and_none_is_forgotten(told: Told) -> None:
    said, clock, log = told
    for number in range(MOST_REASONS * 3):
        said.refused(f"reason {number}", 2)
    assert sum(int(message.split()[2]) for message in log.messages) == 2 * (MOST_REASONS + 1)
    clock.now += 61
    said.tell_refused()
    assert sum(int(message.split()[2]) for message in log.messages) == 6 * MOST_REASONS
    assert log.messages[-1].endswith(OTHER_REASONS)
    said.refused("reason 0", 5)
    said.refused("reason 0", 6)
    clock.now += 59
    said.tell_refused()
    assert [message.split()[2] for message in log.messages if message.endswith("reason 0")] == ["2", "5"]
    said.tell_refused(now=True)
    assert [message.split()[2] for message in log.messages if message.endswith("reason 0")] == ["2", "5", "6"]


def test_a_pipeline_tells_what_was_refused_for_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(batch: Batch, in_doubt: bool) -> None:
        raise Refused("the destination answered 400")

    rig = Rig(tmp_path, ListSource([event() for _ in range(178)]), MemorySink(fail=fail))
    rig.drain()
    assert (
        "sink memory: 178 records refused for good, see `weighbridge deadletter list`: the destination answered 400"
        in (caplog.messages)
    )


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (0.51, 12.3, 119, 121, 7199, 7300)] == [
        "0.5 s",
        "12 s",
        "119 s",
        "2 min",
        "120 min",
        "2 h",
    ]
