"""More than can be stored: what does not fit is refused at once and for now (spec/reliability.md §4 R24)."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections import Counter

from otlp_http import RunningReceiver, receiver, request, spans
from receiver.intake import Received


def test_a_spike_over_a_slow_store_is_answered_503_in_part_and_passes() -> None:
    """Every request is answered, within the store's own time; nothing but 200 and 503; what got 200 was taken in."""
    with receiver(max_in_flight_bytes=2 << 20) as server:

        async def slowly(received: Received) -> None:
            await asyncio.sleep(0.5)

        server.intake.before = slowly
        raw = request(gzip.compress(spans(512)), encoding="gzip")
        answers: Counter[int] = Counter()
        slowest: list[float] = []

        def client() -> None:
            with server.connect() as wire:
                for _ in range(3):
                    started = time.monotonic()
                    wire.send(raw)
                    answer = wire.answer()
                    slowest.append(time.monotonic() - started)
                    answers[answer.status] += 1
                    assert answer.status == 200 or answer.headers["retry-after"] == "1"

        clients = [threading.Thread(target=client) for _ in range(40)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        assert sum(answers.values()) == 120
        assert set(answers) == {200, 503}
        assert answers[200] == len(server.intake.received)
        assert max(slowest) < 60
        assert server.counts.in_flight_bytes == 0

        server.intake.before = None
        assert server.is_well()


def test_the_same_spike_over_a_quick_store_loses_nothing() -> None:
    with receiver() as server:
        raw = request(gzip.compress(spans(512)), encoding="gzip")

        def client() -> None:
            with server.connect() as wire:
                for _ in range(5):
                    wire.send(raw)
                    assert wire.answer().status == 200

        clients = [threading.Thread(target=client) for _ in range(40)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        assert len(server.intake.received) == 200
        assert _records(server) == 200 * 512


def _records(server: RunningReceiver) -> int:
    return sum(server.counts.accepted_records.values())
