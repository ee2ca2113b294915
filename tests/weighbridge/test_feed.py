"""Requests between spool and pipelines: in order, from memory or from disk, and no busy waiting at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Generator
from pathlib import Path

import pytest

import weighbridge.in_memory as in_memory
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from otlp_requests import spans_request
from receiver.spool import Entry, Spool, SpoolSettings
from weighbridge.feed import Feed
from weighbridge.in_memory import LONGEST_PACE_S


class Rig:
    """A real spool with a feed over it. `broken`: the mapper fails on requests of this many spans."""

    def __init__(self, directory: Path, max_bytes: int = 64 << 20, broken: int = -1) -> None:
        self.directory = directory
        self.decoder = Decoder()
        self.mapper = Mapper(MappingSettings(), Sampler(SamplingSettings()))
        self.broken = broken
        self.decoded_again = 0
        settings = SpoolSettings(directory=directory / "spool", segment_bytes=16384, max_bytes=1 << 20)
        self.spool = Spool(settings, lambda appended, entry, payload: self.feed.committed(appended, entry, payload))
        self.feed = Feed(
            self.spool.read,
            self.decode,
            self.steps,
            self.spool.release,
            ["a", "b"],
            max_bytes,
            directory / "unmappable",
        )
        self.dice = random.Random(11)

    async def decode(self, entry: Entry) -> Decoded:
        self.decoded_again += 1
        return self.decoder.traces(entry.body)

    def steps(self, decoded: Decoded, received_unix_ns: int, tenant: str) -> Generator[None, None, Mapped]:
        if decoded.accepted == self.broken:
            raise RuntimeError("planted fault")
        return self.mapper.steps(decoded, received_unix_ns=received_unix_ns, tenant=tenant)

    async def open(self) -> None:
        await self.spool.open()
        self.feed.start(self.spool.end_position)

    async def send(self, spans: int) -> set[str]:
        ids, body = spans_request(self.dice, spans)
        entry = Entry("traces", "acme", "application/x-protobuf", "", time.time_ns(), body)
        await self.spool.append(entry, self.decoder.traces(body))
        return ids

    async def take_all(self, position: int) -> tuple[list[set[str]], int]:
        """Span ids of every request from `position` on, and where the next one will be."""
        taken = []
        while (unit := await self.feed.next(position, 0.01)) is not None:
            taken.append({event.span_id for event in unit.events})
            position = unit.next_position
        return taken, position


def test_requests_come_in_order_from_memory_over_many_segments(tmp_path: Path) -> None:
    async def go() -> None:
        rig = Rig(tmp_path)
        await rig.open()
        start = rig.spool.start_position
        sent = [await rig.send(10) for _ in range(30)]
        assert len(list((tmp_path / "spool").iterdir())) > 3
        assert (await rig.take_all(start))[0] == sent
        assert (await rig.take_all(start))[0] == sent, "a second sink gets the same"
        assert rig.decoded_again == 0
        await rig.spool.close()

    asyncio.run(go())


def test_what_has_left_memory_is_read_from_the_spool(tmp_path: Path) -> None:
    async def go() -> None:
        rig = Rig(tmp_path, max_bytes=20_000)
        await rig.open()
        start = rig.spool.start_position
        sent = [await rig.send(10) for _ in range(20)]
        assert (await rig.take_all(start))[0] == sent
        assert rig.decoded_again > 10
        await rig.spool.close()

    asyncio.run(go())


def test_while_every_sink_is_away_what_comes_is_left_to_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_memory, "SINKS_GET_ON_S", 0.0)

    async def go() -> None:
        rig = Rig(tmp_path, max_bytes=400_000)
        await rig.open()
        start = rig.spool.start_position
        sent = [await rig.send(10) for _ in range(60)]
        taken, position = await rig.take_all(start)
        assert taken == sent
        again = rig.decoded_again
        assert 20 < again < 60, "the oldest were held, a quarter of the memory full, and no others"
        rig.feed.release("a", position)
        rig.feed.release("b", position)
        sent = [await rig.send(10) for _ in range(3)]
        assert (await rig.take_all(position))[0] == sent
        assert rig.decoded_again == again, "from memory, as the sinks have caught up"
        await rig.spool.close()

    asyncio.run(go())


def test_answers_wait_for_mapping_and_not_for_destinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory, "SINKS_GET_ON_S", 3600.0)  # however slow the machine is

    async def go() -> None:
        rig = Rig(tmp_path, max_bytes=400_000)
        await rig.open()
        position = rig.spool.start_position
        for _ in range(30):
            await rig.send(10)
        _, position = await rig.take_all(position)
        began = time.monotonic()
        await rig.feed.memory.pace()
        assert time.monotonic() - began >= LONGEST_PACE_S / 2, "a sink has not taken what was mapped for another one"
        for sink in ("a", "b"):
            rig.feed.has_read(sink, position)
        assert not rig.feed.memory.is_behind, "all have, though none has delivered it"
        await rig.feed.memory.pace()
        assert rig.spool.request_count == 30, "the spool keeps it"
        await rig.spool.close()

    asyncio.run(go())


def test_nothing_to_do_costs_nothing_also_after_a_restart(tmp_path: Path) -> None:
    """The end of the last segment of an earlier process is not the place where the next record will be."""

    async def first() -> int:
        rig = Rig(tmp_path)
        await rig.open()
        start = rig.spool.start_position
        await rig.send(5)
        _, position = await rig.take_all(start)
        await rig.spool.close()
        return position

    async def second(position: int) -> None:
        rig = Rig(tmp_path)
        await rig.open()
        assert await rig.feed.next(position, 0.01) is None
        assert rig.feed.caught_up(position)
        began, waits = time.process_time(), 0
        deadline = time.monotonic() + 0.4
        while time.monotonic() < deadline:
            assert await rig.feed.next(position, 0.1) is None
            waits += 1
        assert waits <= 6
        assert time.process_time() - began < 0.2
        sent = await rig.send(7)
        assert (await rig.take_all(position))[0] == [sent]
        await rig.spool.close()

    position = asyncio.run(first())
    asyncio.run(second(position))


def test_a_request_that_the_mapper_fails_on_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def go() -> None:
        rig = Rig(tmp_path, broken=3)
        await rig.open()
        position = rig.spool.start_position
        before, _, after = await rig.send(2), await rig.send(3), await rig.send(4)
        taken, _ = await rig.take_all(position)
        assert taken == [before, set(), after]
        assert rig.feed.counts.failed == 3
        [request] = (tmp_path / "unmappable").glob("*.bin")
        assert rig.decoder.traces(request.read_bytes()).accepted == 3
        assert request.with_suffix(".headers.json").exists()
        await rig.spool.close()

    asyncio.run(go())


def test_requests_that_cannot_be_mapped_are_kept_as_the_settings_say(tmp_path: Path) -> None:
    async def go() -> None:
        rig = Rig(tmp_path, broken=3)
        rig.feed.left_out.max_bytes = 0
        await rig.open()
        position = rig.spool.start_position
        await rig.send(3)
        await rig.take_all(position)
        assert (rig.feed.counts.failed, rig.feed.left_out.not_kept) == (3, 1)
        await rig.spool.close()

    asyncio.run(go())
    assert not list(tmp_path.glob("unmappable/*"))


def test_memory_and_spool_are_given_back_when_every_sink_has_passed(tmp_path: Path) -> None:
    async def go() -> None:
        rig = Rig(tmp_path)
        await rig.open()
        position = rig.spool.start_position
        for _ in range(30):
            await rig.send(10)
        _, end = await rig.take_all(position)
        rig.feed.release("a", end)
        assert rig.spool.request_count == 30
        rig.feed.release("b", end)
        assert rig.spool.request_count == 0
        assert rig.feed.memory.bytes == 0
        await rig.spool.close()

    asyncio.run(go())


def test_requests_are_handed_on_as_they_came_with_their_number_of_records(tmp_path: Path) -> None:
    """From the spool, over many segments, whether or not memory still knows them."""

    async def go() -> None:
        rig = Rig(tmp_path, max_bytes=20_000)
        await rig.open()
        position = rig.spool.start_position
        rig.feed.add_sink("copy", forwards=True)
        sent = [await rig.send(count) for count in range(3, 23)]
        taken: list[tuple[int, set[str]]] = []
        while (request := await rig.feed.next_request(position, 0)) is not None:
            units = await rig.feed.next(request.position, 0)
            assert units is not None
            taken.append((request.records, {event.span_id for event in units.events}))
            assert rig.decoder.traces(request.body).accepted == request.records
            assert (request.signal, request.tenant, request.content_encoding) == ("traces", "acme", "")
            position = request.next_position
        assert taken == [(len(ids), ids) for ids in sent]
        assert rig.feed.caught_up(position)
        waiting = asyncio.create_task(rig.feed.next_request(position, 5))
        await asyncio.sleep(0)
        await rig.send(1)
        arrived = await waiting
        assert arrived is not None
        assert arrived.records == 1
        await rig.spool.close()

    asyncio.run(go())


def test_the_spool_waits_for_a_sink_that_comes_and_not_for_one_that_goes(tmp_path: Path) -> None:
    async def go() -> None:
        rig = Rig(tmp_path)
        await rig.open()
        position = rig.spool.start_position
        for _ in range(3):
            await rig.send(10)
        rig.feed.add_sink("c", forwards=True)
        _, end = await rig.take_all(position)
        rig.feed.release("a", end)
        rig.feed.release("b", end)
        assert rig.spool.request_count == 3
        assert rig.feed.memory.bytes == 0, "a sink that forwards needs nothing in memory"
        rig.feed.drop_sink("c")
        assert rig.spool.request_count == 0
        await rig.spool.close()

    asyncio.run(go())
