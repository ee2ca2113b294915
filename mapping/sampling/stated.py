"""Weights that senders state as an attribute (spec/mapping.md §3.8): a stage of sampling of unknown randomness."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from math import isfinite
from typing import Any, Final

from mapping.event import Decision
from mapping.sampling.thresholds import MOST_CALLS

STATED: Final = "weight_attribute"  # Decision.upstream of such a record
WEIGHTS: Final = ("moesif.weight", "sampling.weight")
HEAVIEST: Final = (1 << 32) - 1  # a stated weight times the bridge's own: what the store's UInt32 and Moesif take
_NUMBER: Final = re.compile(r"\s{0,8}(\d{1,15}(?:\.\d{0,15})?)\s{0,8}", re.ASCII).fullmatch


class Capped:
    """How many stated weights of this process were more than a record may have, and were cut to that."""

    def __init__(self) -> None:
        self.count = 0


capped: Final = Capped()


def weigh(decision: Decision, weight: Any, unit: bytes) -> Decision:
    """The decision times a stated weight; as it is when the weight is no number >= 1 or the record carries a `th`.

    A number may be written as text: attributes pass through baggage, environments and other protocols.
    unit: what the record is sampled by. It draws the integer of a fractional weight, so records of one trace agree.
    """
    weight = _number(weight)
    if weight <= 1 or decision.th_in or not decision.keep:
        return decision
    factor = min(weight, MOST_CALLS)
    whole = int(factor)
    if weight > MOST_CALLS or decision.weight * (whole + 1) > HEAVIEST:
        capped.count += 1
    if factor != whole:
        drawn = int.from_bytes(sha256(b"weighbridge/weight/1\0" + unit).digest()[:7], "big")
        whole += drawn < (factor - whole) * (1 << 56)
    return multiplied(decision, factor, whole)


def stated_factor(weight: Any) -> float:
    """What a stated weight multiplies a record by that carries no `th`; 1 when it is no number >= 1."""
    return min(max(_number(weight), 1.0), float(MOST_CALLS))


def _number(weight: Any) -> int | float:
    """0 when it is none. A list of one counts as its item: headers and metadata come as lists."""
    if isinstance(weight, list | tuple) and len(weight) == 1:
        weight = weight[0]
    if isinstance(weight, str):
        weight = float(number[1]) if (number := _NUMBER(weight)) else 0
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
        return 0
    return weight


@lru_cache(maxsize=4096)
def multiplied(decision: Decision, factor: float, whole: int) -> Decision:
    """A kept record's decision times a stated weight and its integer. Decisions of one rate and weight are one object.

    For records that wait: the factors are read back from the decision that waits, and apply to the final one.
    """
    adjusted = min(decision.adjusted_count * factor, float(HEAVIEST))
    heavy = min(decision.weight * whole, HEAVIEST)
    return decision._replace(weight=heavy, adjusted_count=adjusted, p=1 / adjusted, upstream=STATED)
