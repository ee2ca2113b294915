"""Where bodies are decoded: what takes long goes to the thread, and what was made to take long waits for its answer."""

from __future__ import annotations

import asyncio
import time

import pytest

from mapping.otlp.decode import Decoder
from otlp_http import json_span, json_spans, spans
from otlp_requests import span, traces
from receiver.answers import Media
from receiver.decode import turns as decoding
from receiver.decode.request import DecodeLimits
from receiver.decode.turns import Decoding
from receiver.errors import BadRequest

LIMITS = DecodeLimits(4 << 20, 50_000, 1_000_000)


def one_span(attributes: int, value: str) -> bytes:
    made = span()
    for number in range(attributes):
        made.attributes.add(key="k").value.string_value = f"{value}{number % 10}"
    return traces(made).SerializeToString()


@pytest.mark.parametrize(
    ("media", "body", "slow"),
    [
        (Media.PROTOBUF, spans(512), False),
        (Media.PROTOBUF, spans(5001), True),
        (Media.PROTOBUF, one_span(5000, "some text of a usual length"), False),
        (Media.PROTOBUF, one_span(60_000, ""), True),
        (Media.PROTOBUF, b"\x0a\x0c\x1a\x0aabcdefghij" * 5001, True),
        (Media.PROTOBUF, b"\xff" * 1000, False),
        (Media.JSON, json_spans(*[json_span()] * 20).encode(), False),
        (Media.JSON, b"[" + b"{}," * 5001 + b"0]", True),
    ],
)
def test_only_bodies_of_many_small_things_are_slow_for_their_size(media: Media, body: bytes, slow: bool) -> None:
    assert {decoding._is_slow(media, body) for _ in range(100)} == {slow}  # it looks at other places each time


def test_a_body_that_is_refused_after_long_work_makes_its_sender_wait() -> None:
    """Four times as long as the work took, so that a flood of them leaves the core to others."""

    async def flood() -> tuple[float, float]:
        decode = Decoding(Decoder(), LIMITS)
        started, used = time.monotonic(), time.process_time()
        for _ in range(3):
            with pytest.raises(BadRequest):
                await decode.decode("traces", Media.PROTOBUF, (), b"\x0a\x00" * 500_000)
        await decode.close()
        return time.monotonic() - started, time.process_time() - used

    elapsed_s, used_s = asyncio.run(flood())
    assert elapsed_s > 2.5 * used_s


def test_many_long_bodies_of_one_sender_delay_another_by_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    begin = decoding._Turns._begin

    def told(turns: decoding._Turns, sender: str) -> None:
        begun.append(sender)
        begin(turns, sender)

    monkeypatch.setattr(decoding._Turns, "_begin", told)

    async def done() -> list[str]:
        decode = Decoding(Decoder(), LIMITS)
        done: list[str] = []

        async def send(sender: str) -> None:
            with pytest.raises(BadRequest):
                await decode.decode("traces", Media.PROTOBUF, (), b"\x0a\x00" * 300_000, sender)
            done.append(sender)

        flood = [asyncio.create_task(send("noisy")) for _ in range(8)]
        await asyncio.sleep(0)
        flood[2].cancel()  # a client that goes away while it waits
        await asyncio.gather(send("quiet"), send("calm"), *flood, return_exceptions=True)
        await decode.close()
        return done

    ends = asyncio.run(done())
    assert sorted(begun[:3]) == ["calm", "noisy", "quiet"]
    assert sorted(ends) == ["calm", *["noisy"] * 7, "quiet"]


def test_a_sender_has_one_turn_at_a_time_and_rests_after_one_that_was_refused() -> None:
    async def run() -> None:
        turns = decoding._Turns(2)
        await turns.take("noisy")
        again = asyncio.create_task(turns.take("noisy"))
        await asyncio.wait_for(turns.take("quiet"), 60)  # the second place is never the noisy one's
        turns.give("quiet")
        await asyncio.sleep(0)
        assert not again.done()
        turns.give("noisy", 0.2)
        rested_from = time.monotonic()
        for name in ("calm", "mild"):  # both places are free for others meanwhile
            await asyncio.wait_for(turns.take(name), 60)
            turns.give(name)
        await asyncio.wait_for(again, 60)
        assert time.monotonic() - rested_from >= 0.19
        turns.give("noisy")

    asyncio.run(run())
