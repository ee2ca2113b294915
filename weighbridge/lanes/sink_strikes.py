"""Sinks that stop their lane: the third time at the same batch the sink is set aside, and the others go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

THRICE = 3
# For so long at first, then twice as long each time: it may be somebody else's doing, and that must mend itself.
FIRST_PAUSE_S = 600.0
LONGEST_PAUSE_S = 86_400.0
# Where no batch was under way, the ends of lanes that ran for so long before have nothing to do with each other.
HEALTHY_S = 60.0


@dataclass
class _Strikes:
    batch: int
    times: int
    until_s: float = 0.0  # when it is given another try, on our clock; 0: it is not set aside
    why: str = ""


class SinkStrikes:
    """Of one lane, for as long as the bridge runs."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._sinks: dict[str, _Strikes] = {}
        self.total = 0  # strikes so far

    def strike(self, sink: str, batch: int, lived_s: float) -> None:
        """The lane, which had lived so long, was ended in this sink's code. batch: that it had, 0 for none."""
        known = self._sinks.get(sink)
        if known is None or known.batch != batch or (not batch and lived_s > HEALTHY_S):
            known = self._sinks[sink] = _Strikes(batch, 0)
        known.times += 1
        self.total += 1
        if known.times < THRICE:
            log.error("the lane was in a call of sink %s, the %d. time at this batch", sink, known.times)
            return
        pause_s = min(FIRST_PAUSE_S * 2 ** min(known.times - THRICE, 32), LONGEST_PAUSE_S)
        known.until_s = self._clock_s() + pause_s
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() + pause_s))
        known.why = f"sink {sink} is set aside: it stopped its lane {known.times} times at the same batch; "
        known.why += f"it is tried again at {when}, at a reload or a restart"
        log.error("%s", known.why)

    def set_aside(self) -> dict[str, str]:
        """Which are, and why."""
        self.due()
        return {sink: known.why for sink, known in self._sinks.items() if known.until_s}

    def due(self) -> list[str]:
        """Those that are to be tried again, from now on: each is named once."""
        now = self._clock_s()
        found = [sink for sink, known in self._sinks.items() if known.until_s and known.until_s <= now]
        for sink in found:
            self._sinks[sink].until_s = 0.0
        return found

    def forget(self) -> None:
        """Somebody has changed something."""
        self._sinks.clear()
