"""Requests that are forwarded whole: none lost, counted where they end, whatever the destination or a restart does."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from exporter.errors import Refused, Retryable, TooLarge, Unauthorised
from exporter.forward import RawPipeline, RequestSink, Taken
from exporter.journal import Journal
from exporter.refused import RefusedRequests
from exporter.settings import BatchSettings, RetrySettings
from exporter.source import RawRequest

QUICK_RETRY = RetrySettings(initial_interval_s=0.001, max_interval_s=0.002, unauthorised_interval_s=0.001)


def request(
    number: int, records: int = 3, signal: str = "traces", tenant: str = "acme", body: bytes = b""
) -> RawRequest:
    body = body or b"body %d" % number
    return RawRequest(number * 10, number * 10 + 10, signal, tenant, "application/x-protobuf", "gzip", body, records)


class ListSource:
    """A spool of ten bytes per request."""

    def __init__(self, *requests: RawRequest) -> None:
        self.requests = list(requests)
        self.released = 0

    async def next_request(self, position: int, timeout_s: float) -> RawRequest | None:
        if position >= len(self.requests) * 10:
            await asyncio.sleep(min(timeout_s, 0.005))
            return None
        assert position >= self.released, "the pipeline read what it had released"
        return self.requests[position // 10]

    def caught_up(self, position: int) -> bool:
        return position >= len(self.requests) * 10

    def release(self, sink: str, position: int) -> None:
        self.released = position


class MemorySink(RequestSink):
    """Keeps requests; `answer` may raise what a real destination would."""

    def __init__(self, answer: Callable[[RawRequest], Taken | None] = lambda request: None) -> None:
        self.name = "copy"
        self.signals: Collection[str] = ("traces", "logs")
        self.at_once = 4
        self.max_refused_bytes = 1 << 20
        self.answer = answer
        self.taken: list[RawRequest] = []
        self.running = 0
        self.most_running = 0
        self.tries: list[float] = []

    async def open(self) -> None:
        pass

    async def send(self, request: RawRequest) -> Taken:
        self.tries.append(time.monotonic())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0.001)
            taken = self.answer(request) or Taken()
        finally:
            self.running -= 1
        self.taken.append(request)
        return taken

    async def close(self) -> None:
        pass


class Rig:
    def __init__(self, directory: Path, source: ListSource, sink: MemorySink, **batch: Any) -> None:
        self.directory = directory
        self.source = source
        self.sink = sink
        self.batch = BatchSettings(max_age_s=0.01, **batch)
        self.refused = RefusedRequests(directory / "refused")
        self.pipeline = self.build()

    def build(self, retry: RetrySettings = QUICK_RETRY) -> RawPipeline:
        journal = Journal(self.directory / "copy.journal")
        journal.open(0)
        return RawPipeline(self.sink, self.source, journal, self.refused, self.batch, retry)

    def drain(self) -> None:
        async def go() -> None:
            task = asyncio.create_task(self.pipeline.run())
            self.pipeline.stop()
            await asyncio.wait_for(task, 60)

        asyncio.run(go())

    def run_until(self, done: Callable[[], bool]) -> None:
        """Run like a living process and then kill it."""

        async def go() -> None:
            task = asyncio.create_task(self.pipeline.run())
            async with asyncio.timeout(60):
                while not done():
                    await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(go())

    def outcomes(self) -> dict[str, int]:
        assert self.pipeline.journal.books().residue == 0
        return dict(sum((Counter(c) for c in self.pipeline.totals.plain().values()), Counter()))


def test_every_request_arrives_as_it_was_and_is_released(tmp_path: Path) -> None:
    requests = [request(number, signal="logs" if number % 2 else "traces") for number in range(30)]
    rig = Rig(tmp_path, ListSource(*requests), MemorySink(), max_events=20)
    rig.drain()
    assert sorted(rig.sink.taken) == requests
    assert rig.source.released == 300
    assert rig.outcomes() == {"received": 90, "delivered": 90}
    assert 1 < rig.sink.most_running <= 4


def test_a_signal_that_is_not_wanted_is_skipped(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.signals = ("logs",)
    requests = [request(0), request(1, signal="logs"), request(2, tenant="other", records=7)]
    rig = Rig(tmp_path, ListSource(*requests), sink)
    rig.drain()
    assert sink.taken == [requests[1]]
    assert rig.outcomes() == {"received": 13, "delivered": 3, "skipped": 10}
    assert rig.pipeline.totals.plain()["other"] == {"received": 7, "skipped": 7}


def test_a_request_refused_for_good_is_kept_with_the_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    def answer(request: RawRequest) -> None:
        if request.position == 20:
            raise TooLarge("the destination answered 400")
        if request.position == 30:
            raise Refused("the destination answered 413")

    requests = [request(number) for number in range(6)]
    rig = Rig(tmp_path, ListSource(*requests), MemorySink(answer))
    rig.drain()
    assert rig.outcomes() == {"received": 18, "delivered": 12, "dead_lettered": 6}
    kept = list(rig.refused.read())
    assert [(entry["id"], entry["reason"]) for entry in sorted(kept, key=lambda entry: entry["id"])] == [
        ("copy-0000000000000014", "the destination answered 400"),
        ("copy-000000000000001e", "the destination answered 413"),
    ]
    body = tmp_path / "refused" / "copy-0000000000000014.bin"
    assert body.read_bytes() == requests[2].body
    headers = json.loads(body.with_suffix(".headers.json").read_bytes())
    assert (headers["path"], dict(headers["headers"])["Content-Encoding"]) == ("/v1/traces", "gzip")
    assert body.stat().st_mode & 0o077 == 0, "it is not masked"


def test_a_partial_success_counts_what_was_refused_and_keeps_the_request(tmp_path: Path) -> None:
    sink = MemorySink(lambda request: Taken(2, "the endpoint refused 2 records"))
    rig = Rig(tmp_path, ListSource(request(0, records=5), request(1, records=1)), sink)
    rig.drain()
    assert len(sink.taken) == 2, "what was refused is not sent again"
    assert rig.outcomes() == {"received": 6, "delivered": 3, "dead_lettered": 3}
    assert [entry["refused"] for entry in rig.refused.read()] == [2, 2]


def test_refused_requests_are_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    def answer(request: RawRequest) -> None:
        raise TooLarge("the destination answered 400")

    sink = MemorySink(answer)
    sink.max_refused_bytes, sink.at_once = 1000, 1
    requests = [request(number, body=b"x" * (2000 if number == 9 else 300)) for number in range(10)]
    rig = Rig(tmp_path, ListSource(*requests), sink)
    rig.drain()
    assert sorted(entry["id"][-2:] for entry in rig.refused.read()) == ["3c", "46", "50"]
    assert len(list((tmp_path / "refused").iterdir())) == 6
    assert rig.outcomes()["dead_lettered"] == 30


def test_one_at_a_time_knocks_at_a_destination_in_trouble(tmp_path: Path) -> None:
    """However many requests are on their way, retries come at the pace of one (spec/reliability.md §4 R08)."""

    def answer(request: RawRequest) -> None:
        if len(sink.tries) < 12:
            raise Retryable("the destination answered 429", retry_after_s=0.05)

    sink = MemorySink(answer)
    rig = Rig(tmp_path, ListSource(*[request(number) for number in range(8)]), sink)
    rig.drain()
    assert rig.outcomes() == {"received": 24, "delivered": 24}
    waits = [after - before for before, after in zip(sink.tries[3:11], sink.tries[4:12], strict=True)]
    assert min(waits) > 0.03


def test_refused_credentials_keep_everything_and_raise_the_alarm(tmp_path: Path) -> None:
    def answer(request: RawRequest) -> None:
        raise Unauthorised("the destination answered 403")

    sink = MemorySink(answer)
    rig = Rig(tmp_path, ListSource(*[request(number) for number in range(5)]), sink)
    rig.run_until(lambda: rig.pipeline.counts.retries > 6)
    assert rig.pipeline.counts.unauthorised
    assert (rig.outcomes(), rig.source.released) == ({}, 0)
    sink.answer = lambda request: None
    rig.pipeline = rig.build()
    rig.drain()
    assert rig.outcomes() == {"received": 15, "delivered": 15}
    assert list(rig.refused.read()) == []


def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    for seed in range(10):
        dice = random.Random(seed)
        requests = [request(number, records=dice.randrange(0, 9)) for number in range(60)]

        def chance(request: RawRequest, dice: random.Random = dice) -> None:
            if dice.random() < 0.3:
                raise Retryable("connection reset")

        (tmp_path / str(seed)).mkdir()
        rig = Rig(tmp_path / str(seed), ListSource(*requests), MemorySink(chance), max_events=40)
        for _ in range(5):
            target = len(rig.sink.tries) + dice.randrange(1, 25)
            rig.run_until(lambda: len(rig.sink.tries) >= target or rig.source.released == 600)  # noqa: B023
            rig.pipeline.close()
            rig.pipeline = rig.build()
        rig.drain()
        assert sorted(set(rig.sink.taken)) == requests
        assert rig.outcomes() == {"received": sum(r.records for r in requests)} | {
            "delivered": sum(r.records for r in requests)
        }


def test_refused_requests_are_sent_again_when_asked_and_counted_where_they_end_then(tmp_path: Path) -> None:
    never = request(4, tenant="other")

    def answer(request: RawRequest) -> Taken | None:
        if request.position in (10, never.position):
            raise TooLarge("the destination answered 400")
        return Taken(1, "the endpoint refused 1 records") if request.position == 20 else None

    requests = [*(request(number) for number in range(4)), never]
    rig = Rig(tmp_path, ListSource(*requests), MemorySink(answer))
    rig.drain()
    assert rig.outcomes() == {"received": 15, "delivered": 8, "dead_lettered": 7}
    rig.sink.answer = lambda request: None if request.position != never.position else answer(request)
    rig.sink.taken.clear()
    rig.pipeline.close()
    rig.pipeline = rig.build()

    async def go() -> int:
        task = asyncio.create_task(rig.pipeline.run())
        taken = await asyncio.wait_for(rig.pipeline.deliver_again(list(rig.refused.read())), 60)
        rig.pipeline.stop()
        await task
        return taken

    assert asyncio.run(go()) == 3
    assert [r._replace(next_position=20) for r in rig.sink.taken] == [requests[1]], "not the one taken in part"
    assert rig.outcomes() == {"received": 15, "delivered": 11, "dead_lettered": 4, "replayed": 3}
    assert sorted(entry["id"][-2:] for entry in rig.refused.read()) == ["14", "28"]
