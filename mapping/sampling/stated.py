"""Weights that senders state as an attribute (mapping.md §3.8): a sampling stage whose randomness we do not know."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from math import isfinite
from typing import Any, Final

from mapping.event import Decision

STATED: Final = "weight_attribute"  # Decision.upstream of such a record
WEIGHTS: Final = ("moesif.weight", "sampling.weight")
_MOST: Final = 1_000_000  # as sampling's max_upstream_adjusted_count: one record must not drown every chart


def weighed(decision: Decision, weight: Any, unit: bytes) -> Decision:
    """The decision times a stated weight; as it is when the weight is no number >= 1 or the record carries a `th`.

    unit: what the record is sampled by. It draws the integer of a fractional weight, so records of one trace agree.
    """
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 1 or not isfinite(weight):
        return decision
    if decision.th_in or not decision.keep:
        return decision
    factor = min(weight, _MOST)
    whole = int(factor)
    if factor != whole:
        drawn = int.from_bytes(sha256(b"weighbridge/weight/1\0" + unit).digest()[:7], "big")
        whole += drawn < (factor - whole) * (1 << 56)
    return multiplied(decision, factor, whole)


@lru_cache(maxsize=4096)
def multiplied(decision: Decision, factor: float, whole: int) -> Decision:
    """A kept record's decision times a stated weight and its integer. Decisions of one rate and weight are one object.

    For records that wait: the factors are read back from the decision that waits, and apply to the final one.
    """
    adjusted = decision.adjusted_count * factor
    return decision._replace(weight=decision.weight * whole, adjusted_count=adjusted, p=1 / adjusted, upstream=STATED)
