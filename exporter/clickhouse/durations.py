"""Durations as `api_minutes` counts them: in buckets of which any rows add up.

They grow by GAMMA, as DDSketch has them (Masson, Rim, Lee 2019): bucket i holds what is in (GAMMA^(i-1), GAMMA^i]
milliseconds, so that 2 GAMMA^i / (GAMMA + 1) is within RELATIVE_ERROR of all of them.
"""

from __future__ import annotations

from math import ceil, log
from typing import Final

RELATIVE_ERROR: Final = 0.01
GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_BUCKET: Final = 1 / log(GAMMA)
# What is shorter than a microsecond, or longer than twelve days, counts as that.
SHORTEST_MS, LONGEST_MS = 0.001, 1e9


def bucket_of(duration_ms: float) -> int:
    """The bucket that counts this duration."""
    return ceil(log(min(max(duration_ms, SHORTEST_MS), LONGEST_MS)) * _PER_BUCKET)
