"""What was known of calls when a log was decided is known whenever it is decided again: by any sink, after any kill."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator
from pathlib import Path

import pytest

from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.of_calls import KnownCall
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from otlp_requests import NOW, log, logs, span, traces
from receiver.spool import Entry, Spool, SpoolSettings
from weighbridge.feed import Feed
from weighbridge.sampling import lent_calls
from weighbridge.sampling.lent_calls import LentCalls, packed, unpacked

RULES = [{"name": "errors", "rate": 100, "when": [{"path": "status", "op": "gte", "value": 500}]}]
SINKS = ("one", "other")

Outcome = list[tuple[str, str, str]]  # (transaction, rule, th) of what was kept of a request


class Process:
    """A spool, its feed and what maps it. Another one over the same directory is the next process."""

    def __init__(self, directory: Path, counted: int) -> None:
        settings = SamplingSettings.model_validate({"rate": 10, "rules": RULES})
        self.sampler = Sampler(settings)
        self.mapper = Mapper(MappingSettings(), self.sampler)
        spool = SpoolSettings(directory=directory / "spool", segment_bytes=16384, max_bytes=1 << 22)
        self.spool = Spool(spool, lambda appended, entry, payload: self.feed.committed(appended, entry, payload))
        self.lent = LentCalls(directory / "calls.sqlite", lambda: self.sampler, self.spool)
        nothing = directory / "unmappable"
        self.feed = Feed(
            self.spool.read, self._decode, self._steps, lambda _: None, list(SINKS), 1 << 20, nothing, lent=self.lent
        )
        self.counted = counted

    async def open(self) -> None:
        await self.spool.open()
        self.feed.start(self.spool.end_position, self.counted)

    async def kill(self) -> None:
        """Nothing is said or written; files are let go of, since the next process is this one."""
        self.lent._file.close()
        await self.spool.close()

    async def _decode(self, entry: Entry) -> Decoded:
        return decoded(entry)

    def _steps(self, request: Decoded, received_unix_ns: int, tenant: str) -> Generator[None, None, Mapped]:
        return self.mapper.steps(request, received_unix_ns=received_unix_ns, tenant=tenant, lent=self.lent.now)


def decoded(entry: Entry) -> Decoded:
    return Decoder().traces(entry.body) if entry.signal == "traces" else Decoder().logs(entry.body)


def requests(dice: random.Random, count: int) -> list[Entry]:
    """Calls, some of which fail, and logs of calls before and after them."""
    known = [dice.randbytes(16) for _ in range(count)]
    failing = {trace_id for trace_id in known if dice.random() < 0.4}
    made = []
    for place in range(count):
        if place % 2:
            body = logs(
                *(
                    log(f"line {place}", trace_id=one, span_id=(1).to_bytes(8, "big"))
                    for one in known[max(0, place - 6) : place + 3]
                )
            ).SerializeToString()
        else:
            body = traces(
                *(
                    span(
                        {
                            "http.request.method": "GET",
                            "http.route": "/items",
                            "http.response.status_code": 500 if one in failing else 200,
                        },
                        trace_id=one,
                    )
                    for one in known[place : place + 2]
                )
            ).SerializeToString()
        made.append(Entry("logs" if place % 2 else "traces", "t", "application/x-protobuf", "", NOW + place, body))
    return made


@pytest.mark.parametrize("seed", range(2))
def test_every_sink_and_every_process_after_a_kill_decide_the_same(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lent_calls, "AHEAD_BYTES", 3000)

    async def go() -> None:
        dice = random.Random(seed)
        entries = requests(dice, 80)
        first: dict[int, Outcome] = {}
        cursors = dict.fromkeys(SINKS, 0)
        seen = 0  # outcomes that were compared with the first
        counted = 0
        process = Process(tmp_path, counted)
        await process.open()
        while entries or min(cursors.values()) < process.feed.end:
            if dice.random() < 0.03:
                # Books are behind by up to a second, cursors by what was not acknowledged by a destination.
                counted = dice.choice([counted, process.feed.counted])
                cursors = {name: dice.choice([at, cursors["other"], 0]) for name, at in cursors.items()}
                await process.kill()
                process = Process(tmp_path, counted)
                await process.open()
            if entries and dice.random() < 0.5:
                entry = entries.pop(0)
                await process.spool.append(entry, decoded(entry))
            name = dice.choice(SINKS)
            unit = await process.feed.next(cursors[name], 0)
            if unit is None:
                continue
            outcome = [(one.transaction_id, one.decision.rule, one.decision.th) for one in unit.events]
            assert first.setdefault(unit.position, outcome) == outcome
            seen += 1
            cursors[name] = unit.next_position
        await process.kill()
        assert seen >= 2 * len(first) == 160
        lines = [one for outcome in first.values() for one in outcome if one[1] == "errors"]
        assert len(lines) > 30, "logs were kept for their calls"

    asyncio.run(go())


def test_what_is_known_is_read_back_as_it_was() -> None:
    lent = {bytes([n]) * (24 + n): KnownCall(1 << n, n << 48) for n in range(9)}
    assert unpacked(packed(lent)) == lent
    many = {n.to_bytes(24, "big"): KnownCall(5, 0) for n in range(10_000)}
    assert unpacked(packed(many)) == many


def test_under_other_rules_and_of_another_spool_it_is_not_used(tmp_path: Path) -> None:
    async def go() -> None:
        process = Process(tmp_path, 0)
        await process.open()
        await process.spool.append(requests(random.Random(1), 1)[0])
        lent = {bytes(24): KnownCall(1, 0)}
        await process.lent.begin(0, again=False)
        assert process.lent.now is None
        await process.lent.end(0, lent)
        await process.lent.begin(0, again=True)
        assert process.lent.now == lent
        process.sampler = Sampler(SamplingSettings.model_validate({"rate": 20, "rules": RULES}))
        await process.lent.begin(0, again=True)
        assert process.lent.now == {}
        await process.lent.begin(1 << 62, again=False)
        await process.lent.end(1 << 62, lent)
        await process.kill()
        (tmp_path / "calls.sqlite").replace(tmp_path / "kept.sqlite")
        other = Process(tmp_path / "elsewhere", 0)
        await other.open()
        (tmp_path / "kept.sqlite").replace(tmp_path / "elsewhere/calls.sqlite")
        await other.lent.begin(0, again=False)
        assert other.lent.now is None, "its positions are those of a spool that is gone"
        await other.kill()

    asyncio.run(go())


def test_after_a_stop_nothing_is_unsure_and_after_a_kill_what_was_marked(tmp_path: Path) -> None:
    async def go() -> None:
        first = Process(tmp_path, 0)
        await first.open()
        for entry in requests(random.Random(1), 6):
            await first.spool.append(entry)
        places = [0]
        while (stored := await first.spool.read(places[-1])) is not None:
            places.append(stored.next_position)
        await first.lent.begin(places[0], again=False)
        await first.lent.end(places[0], {})
        await first.lent.close()
        await first.kill()
        second = Process(tmp_path, 0)
        await second.open()
        unsure = []
        for place in places[:3]:
            await second.lent.begin(place, again=False)
            unsure.append(second.lent.now)
            await second.lent.end(place, {})
        assert unsure == [{}, None, None]
        await second.kill()
        third = Process(tmp_path, 0)
        await third.open()
        for place in places[:-1]:
            await third.lent.begin(place, again=False)
            assert third.lent.now == {}
        await third.lent.begin(places[2] + lent_calls.AHEAD_BYTES, again=False)
        assert third.lent.now is None
        await third.kill()

    asyncio.run(go())


def test_without_rules_about_calls_there_is_no_file(tmp_path: Path) -> None:
    async def go() -> None:
        process = Process(tmp_path, 0)
        process.sampler = Sampler(SamplingSettings(rate="10"))
        await process.lent.begin(7, again=True)
        await process.lent.end(7, None)
        await process.lent.close()
        assert process.lent.now is None
        assert not process.lent._path.exists()

    asyncio.run(go())
