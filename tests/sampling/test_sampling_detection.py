"""Old ratio samplers are noticed before much is lost, and random ids never."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import pytest

from mapping.sampling.detection import FIRST_TEST, TraceIdWatch
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings


def survivors(dice: random.Random, ratio: float, count: int) -> list[bytes]:
    """Ids that TraceIdRatioBased of Go and Python lets through: the last eight bytes are small."""
    return [dice.randbytes(8) + int(dice.random() * ratio * 2**64).to_bytes(8, "big") for _ in range(count)]


def traces_until_alarm(ids: list[bytes]) -> int:
    watch = TraceIdWatch()
    return next((number for number, one in enumerate(ids, 1) if watch.observe(one, "shop")), len(ids) + 1)


@pytest.mark.parametrize("ratio", [0.0001, 0.001, 0.01, 0.03])
def test_a_ratio_sampler_is_noticed_at_the_first_look(ratio: float) -> None:
    assert traces_until_alarm(survivors(random.Random(1), ratio, 1000)) == FIRST_TEST


def test_behind_one_in_a_thousand_little_is_lost() -> None:
    """A rule of 50 % keeps half of a thousand survivors, not an eighth of them."""
    sampler = Sampler(SamplingSettings.model_validate({"rate": 50}))
    kept = 0.0
    for number, one in enumerate(survivors(random.Random(2), 0.001, 1000)):
        kept += sampler.span(one, "", lambda path: "shop" if path == "service" else None).adjusted_count
        sampler.tick(number * 10**9)
    assert 850 <= kept <= 1150


def test_random_ids_uuids_and_short_ids_are_no_alarm() -> None:
    dice = random.Random(3)
    makers: list[Callable[[], bytes]] = [
        lambda: dice.randbytes(16),
        lambda: uuid.UUID(int=dice.getrandbits(128), version=4).bytes,
        lambda: bytes(8) + dice.randbytes(8),
        lambda: bytes(8) + dice.getrandbits(63).to_bytes(8, "big"),
    ]
    for make in makers:
        for _ in range(40):
            assert traces_until_alarm([make() for _ in range(2100)]) > 2000
