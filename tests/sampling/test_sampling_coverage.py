"""Intervals hold the truth as often as they say: a small part of `python -m bench.coverage`, with fixed dice."""

from __future__ import annotations

import pytest

from bench.coverage import KINDS, Kind, coverage

REPLICATES = 150
# A true 95 % gives fewer than 136 of 150 once in 200; the dice are fixed, so that this holds or fails for good.
LEAST = 0.9


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("traces", [5, 30])
def test_intervals_hold_in_19_of_20_samples(kind: Kind, traces: int) -> None:
    shares = coverage(kind, traces, REPLICATES, seed=7)
    assert {name: share for name, share in shares.items() if share < LEAST} == {}
