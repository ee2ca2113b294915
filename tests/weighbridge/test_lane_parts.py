"""The parts that lanes of their own are made of: which settings allow several, who is stuck, what is left out, who gets
which request."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.sink import Batch, Sink
from exporter.threads import in_thread
from mapping.event import Event
from mapping.otlp.cut import cut, encoded, singles
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from otlp_requests import spans_request
from receiver.spool import Entry, SpoolSettings, Stored
from spool_tools import on_a_loop
from weighbridge.admin.report import Report, merged
from weighbridge.lanes import crossing, watch
from weighbridge.lanes.marks import MOST, Marks, Working
from weighbridge.lanes.messages import Channel, Gone, packed, unpacked
from weighbridge.lanes.sink_strikes import FIRST_PAUSE_S, HEALTHY_S, SinkStrikes
from weighbridge.lanes.watch import Usage, Watch
from weighbridge.partitions import MOST_BEHIND, Partitions
from weighbridge.progress import Progress, new_file
from weighbridge.set_aside import FILE, MOST_TIMES, TWICE, SetAside
from weighbridge.settings import Settings

ALONE: dict[str, Any] = {"mapping": {"inherit_across_requests_s": 0}}


def settings(**sections: Any) -> Settings:
    return Settings.model_validate({**ALONE, **sections})


# -- what crosses lanes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"mapping": {}}, "mapping.inherit_across_requests_s"),
        ({"sampling": {"rate": 10, "randomness": "hash"}}, "sampling.trust_upstream"),
        ({"sampling": {"rules": [{"name": "a", "rate": 10}], "randomness": "hash"}}, "sampling.trust_upstream"),
        ({"sampling": {"trust_upstream": False, "tail": {}}}, "sampling.tail"),
        ({"sampling": {"budget": {"events_per_second": 5, "window_s": 1}}}, "sampling.budget.window_s"),
        ({"sampling": {"budget": {"events_per_second": 5}}}, "sampling.trust_upstream"),
        ({"sampling": {"trust_upstream": False, "rate": 10}}, "sampling.randomness"),
        ({"exporter": {"sinks": [{"name": "a", "type": "jsonlines", "path": "x"}]}}, "exporter.sinks.0"),
        (
            {"exporter": {"sinks": [{"name": "a", "type": "clickhouse", "dsn": "http://h/d", "shared": False}]}},
            "exporter.sinks.0.shared",
        ),
    ],
)
def test_several_lanes_are_refused_by_the_name_of_what_needs_one(section: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        settings(**section, lanes=2)
    for count in (0, 1, "auto"):
        assert crossing.lanes_of(settings(**section, lanes=count))[0] in (0, 1)


def test_auto_leaves_a_core_to_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, lanes in ((1, 1), (2, 1), (3, 2), (16, 15)):
        monkeypatch.setattr(crossing, "cores", lambda cores=cores: cores)
        assert crossing.lanes_of(settings(lanes="auto")) == (lanes, "")
        count, why = crossing.lanes_of(Settings.model_validate({"lanes": "auto"}))
        assert (count, bool(why)) == (1, cores > 2)
    assert crossing.lanes_of(Settings()) == (0, ""), "settings of today mean what they meant"


# -- who is stuck --------------------------------------------------------------------------------------------


def test_a_process_is_ended_for_standing_still_or_for_memory_and_for_nothing_else() -> None:
    descriptor = new_file()
    ours, theirs = Progress(descriptor), Progress(descriptor)
    os.close(descriptor)
    looking = Watch(ours, 1000, 0.0)
    assert looking.look(watch.STUCK_S * 2, Usage(50.0, 10)) == "", "it loads its modules"
    theirs.beat()
    assert looking.look(30.0, Usage(60.0, 10)) == ""
    assert looking.look(30.0 + watch.STUCK_S, Usage(60.0, 10)) == "", "it had no time of the machine"
    assert "nothing has moved" in looking.look(30.0 + watch.STUCK_S, Usage(60.0 + watch.STUCK_CPU_S, 10))
    theirs.begin(7)
    assert looking.look(60.0, Usage(99.0, 10)) == ""
    theirs.step()
    assert looking.look(90.0, Usage(199.0, 10)) == ""
    assert "nothing has moved" in looking.look(90.0 + watch.DEAD_S, Usage(199.0, 10)), "it waits for ever"
    theirs.beat()
    assert "memory" in looking.look(200.0, Usage(200.0, 1001))
    assert ours.read()[1] == 7
    theirs.end()
    assert ours.read()[1] == 0


class PlainSink(Sink):
    """Whose code can be looked at while it runs."""

    name = "plain"

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self.working: list[Working] = []
        self.seen: tuple[str, int] | None = None

    async def open(self) -> None:
        await asyncio.sleep(0)
        self.seen = self.marks.running()

    async def write(self, batch: Batch, *, in_doubt: bool) -> list[Event]:
        await self.open()
        self.seen = self.marks.running()
        self.working = await in_thread(self.marks.working)
        await asyncio.Event().wait()
        return []

    async def existing(self, events: Sequence[Event], not_in: Collection[int]) -> set[str]:
        raise SystemExit(3)

    async def close(self) -> None:
        raise ValueError("as it comes")


@on_a_loop
async def test_whose_code_runs_is_seen_from_outside_on_the_loop_and_in_a_thread() -> None:
    descriptor = new_file()
    looking, marks = Marks(Progress(descriptor)), Marks(Progress(descriptor))
    os.close(descriptor)
    assert looking.running() is None
    sink = marks.watch(PlainSink(looking))
    writing = asyncio.create_task(sink.write(Batch(1 << 63, ()), in_doubt=False))
    while not sink.working:
        await asyncio.sleep(0)
    assert sink.seen == ("plain", 0), "the call within the call"
    [working] = sink.working
    assert (working.sink, working.thread) != ("plain", 0)
    assert looking.running() is None, "it waits"
    assert looking.working() == []
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    with pytest.raises(ValueError, match="as it comes"):
        await sink.close()
    with pytest.raises(SystemExit):
        await sink.existing((), ())
    assert looking.running() == ("plain", 0), "whose doing it was"
    await sink.open()
    assert looking.running() == ("plain", 0), "others that end with the process leave it"
    for number in range(MOST + 1):  # more than there is room for
        sink = PlainSink(looking)
        sink.name = f"sink-{number:059}"
        await marks.watch(sink).open()
    assert len(looking.working()) == 0


def test_a_sink_that_computes_on_and_on_in_a_thread_is_seen_and_one_that_waits_is_not() -> None:
    descriptor = new_file()
    progress = Progress(descriptor)
    os.close(descriptor)
    cpu = {7: 100.0, 8: 0.0}
    working = [Working("waits", 1, 8, 1), Working("computes", 2, 7, 1)]
    looking = Watch(progress, 1000, 0.0, lambda: working, cpu.__getitem__)
    progress.beat()
    for second in range(int(watch.STUCK_S)):
        progress.beat()
        assert looking.look(float(second), Usage(0.0, 0)) == ""
        cpu[7] += 1.0
    progress.beat()
    assert "sink computes" in looking.look(watch.STUCK_S, Usage(0.0, 0))
    assert looking.stuck == working[1]
    looking.stuck = None
    working[1] = working[1]._replace(number=2)
    progress.beat()
    assert looking.look(watch.STUCK_S + 1, Usage(0.0, 0)) == "", "that is another piece of work"


def test_the_third_time_at_a_batch_a_sink_is_set_aside_for_longer_and_longer() -> None:
    now = 0.0
    strikes = SinkStrikes(lambda: now)
    for batch in (1, 2, 2):
        strikes.strike("a", batch, 1.0)
        strikes.strike("b", 0, HEALTHY_S + 1)
    strikes.strike("b", 0, 1.0)
    assert strikes.set_aside() == {}, "different batches, or long after each other"
    strikes.strike("a", 2, 1.0)
    assert "3 times at the same batch" in strikes.set_aside()["a"]
    assert strikes.due() == []
    now = FIRST_PAUSE_S
    assert strikes.due() == ["a"]
    assert (strikes.due(), strikes.set_aside()) == ([], {})
    strikes.strike("a", 2, 1.0)
    now += FIRST_PAUSE_S
    assert "4 times" in strikes.set_aside()["a"], "twice as long"
    strikes.forget()
    assert strikes.set_aside() == {}


# -- what is left out ----------------------------------------------------------------------------------------


def request(count: int) -> tuple[Stored, Decoded]:
    _, body = spans_request(random.Random(count), count)
    return Stored(5, 9, Entry("traces", "", "application/x-protobuf", "", 1, body)), Decoder().traces(body)


def aside(folder: Path, times: int, bad: set[int], asked: list[int]) -> SetAside:
    async def alone(entry: Entry, count: int) -> dict[int, str]:
        asked.append(count)
        return dict.fromkeys(sorted(bad), "stops it")

    descriptor = new_file()
    progress = Progress(descriptor)
    os.close(descriptor)
    return SetAside(folder, {5: times}, progress, alone)


@on_a_loop
async def test_a_request_that_stopped_a_lane_twice_is_tried_once_and_known_from_then_on(tmp_path: Path) -> None:
    stored, decoded = request(4)
    asked: list[int] = []
    assert not (await aside(tmp_path, TWICE - 1, {2}, asked).look(stored, decoded)).records
    first = aside(tmp_path, TWICE, {2}, asked)
    found = await first.look(stored, decoded)
    assert (set(found.records), found.why) == ({2}, "stops it")
    first.remember(stored.position, found)
    for one in (first, aside(tmp_path, TWICE, set(), asked), aside(tmp_path, TWICE + 1, set(), asked)):
        known = await one.look(stored, decoded)
        assert (set(known.records), known.why) == ({2}, ""), "the next process, too"
    assert asked == [4]
    again = await aside(tmp_path, 2 * TWICE, {0}, asked).look(stored, decoded)
    assert again.records == {0, 2}, "it went on stopping the lane"
    every = await aside(tmp_path, MOST_TIMES, set(), asked).look(stored, decoded)
    assert every.records == {0, 1, 2, 3}


@on_a_loop
async def test_what_is_known_of_requests_that_are_gone_leaves_the_file(tmp_path: Path) -> None:
    stored, decoded = request(4)
    first = aside(tmp_path, TWICE, {2}, [])
    first.remember(stored.position, await first.look(stored, decoded))
    file = tmp_path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b":5,", b":1,") + whole + b'{"position": 5, "rec')  # torn by a kill
    for begin, left in ((0, 2), (5, 1), (6, 0)):
        SetAside(tmp_path, {}, first.progress, first._try_alone, begin)
        assert len(file.read_bytes().splitlines()) == left
        assert not left or file.read_bytes().endswith(whole), "what is still there is not touched"


def test_a_part_of_a_request_is_a_request() -> None:
    _, decoded = request(6)
    wanted = {1, 4}
    part, rest = cut(decoded, wanted, keep=True), cut(decoded, wanted, keep=False)
    assert (part.accepted, rest.accepted) == (2, 4)
    again = Decoder().traces(encoded(part))
    ids = [record.span_id for group in decoded.groups for record in group.records]
    assert [record.span_id for group in again.groups for record in group.records] == [ids[1], ids[4]]
    assert again.groups[0].resource == decoded.groups[0].resource
    assert [one.groups[0].records[0].span_id for one in singles(decoded)] == ids


# -- between the processes -----------------------------------------------------------------------------------


@on_a_loop
async def test_messages_are_answered_also_with_what_went_wrong() -> None:
    ends = socket.socketpair()
    ours, theirs = [await Channel.over(end) for end in ends]
    heard: list[str] = []

    async def handle(message: dict[str, Any]) -> dict[str, Any] | None:
        heard.append(message.get("of", message["what"]))
        if message.get("of") == "fail":
            raise ValueError("as planned")
        return {"twice": message["value"] * 2} if "value" in message else None

    async def silent(message: dict[str, Any]) -> None:
        return None

    running = [asyncio.create_task(theirs.run(handle)), asyncio.create_task(ours.run(silent))]
    ours.send("news", large="x" * 300_000)
    assert (await ours.ask("double", value=21))["twice"] == 42
    with pytest.raises(ValueError, match="as planned"):
        await ours.ask("fail")
    assert heard == ["news", "double", "fail"]
    assert unpacked(packed(Settings())) == Settings()
    theirs.close()
    with pytest.raises(Gone):
        await ours.ask("double", value=1)
    await asyncio.gather(*running)


@pytest.mark.parametrize("slow", [0, 1])
@on_a_loop
async def test_a_trace_stays_with_its_lane_unless_that_one_is_behind(tmp_path: Path, slow: int) -> None:
    partitions = Partitions(SpoolSettings(directory=tmp_path), [0, 1], [], lambda *_: None)
    await partitions.open()
    requests = [Decoder().traces(spans_request(random.Random(seed), 1)[1]) for seed in range(64)]
    first = [partitions.choose(one) for one in requests]
    assert {0, 1} == set(first)
    assert [partitions.choose(one) for one in requests] == first

    def waiting_bytes(number: int) -> int:
        return (MOST_BEHIND + 1) * (number == slow)

    partitions.waiting_bytes = waiting_bytes  # type: ignore[method-assign]
    assert {partitions.choose(one) for one in requests} == {1 - slow}
    await partitions.close()


def test_what_lanes_report_is_added_up() -> None:
    def one(delivered: int, age: float, z: float) -> Report:
        metrics = {
            "weighbridge_sink_batches_total": [({"sink": "a"}, float(delivered))],
            "weighbridge_sink_backlog_oldest_age_seconds": [({"sink": "a"}, age)],
        }
        row = {"sink": "a", "tenant": "", "received": delivered, "delivered": delivered, "catching_up": age > 1}
        fact = {
            "backlog_records": 1,
            "backlog_bytes": 2,
            "oldest_undelivered_age_s": age,
            "last_error": None if age > 1 else "away",
        }
        sampled = {"rule": "none", "tenant": "", "kept": delivered, "audit_z": z}
        return Report(metrics, [row], {"mapped": 0, "sink a": 1}, {"a": fact}, [sampled], {})

    both = merged([one(3, 5.0, -4.0), one(4, 0.5, 1.0)])
    assert both.metrics["weighbridge_sink_batches_total"] == [({"sink": "a"}, 7)]
    assert both.metrics["weighbridge_sink_backlog_oldest_age_seconds"] == [({"sink": "a"}, 5.0)]
    assert both.sinks == [{"sink": "a", "tenant": "", "received": 7, "delivered": 7, "catching_up": True}]
    assert both.residue == {"mapped": 0, "sink a": 2}
    assert both.facts["a"] == {
        "backlog_records": 2,
        "backlog_bytes": 4,
        "oldest_undelivered_age_s": 5.0,
        "last_error": "away",
    }
    assert both.sampled == [{"rule": "none", "tenant": "", "kept": 7, "audit_z": -4.0}]
