"""What the log says about a sink: one line for each change of its state, and rarely one while nothing changes.

The table of states and their lines is in docs/reliability.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from exporter.errors import Fault, SinkError, Unauthorised

log = logging.getLogger(__name__)

# A sink that comes and goes within seconds tells each of its states at most this often; the counters have the rest.
AGAIN_S = 10.0
# While a sink stays as it is, it is told again this often.
STILL_S = 600.0
# Lines about records refused for one reason.
REFUSED_S = 60.0
# Reasons with a pace of their own: a destination's texts are its own, and may differ for every row.
MOST_REASONS = 64
OTHER_REASONS = "other reasons"

_AWAY = "is away"
_UNAUTHORISED = "refuses our credentials"
_FAULTY = "meets a fault of the bridge"
_DISK = "cannot write to its disk"


@dataclass
class _Refusals:
    """Of one reason: not told yet, and when they were told last."""

    count: int = 0
    told_s: float = float("-inf")


class SinkLog:
    """The lines of one sink. Call from the event loop only."""

    def __init__(self, sink: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock_s = clock_s
        self._state = ""  # what is wrong, as it was said or would have been; "" while all is well
        self._since_s = 0.0  # of the trouble, whatever state it is in
        self._tries = 0
        self._told: dict[str, float] = {}  # state -> when a line said so
        self._said = False  # whether any line spoke of this trouble: then its end is told too
        self._refusals: dict[str, _Refusals] = {}

    def failed(self, error: SinkError) -> None:
        """An attempt failed."""
        state = {Unauthorised: _UNAUTHORISED, Fault: _FAULTY}.get(type(error), _AWAY)
        self._trouble(state, str(error), error.__cause__ if state == _FAULTY else None)

    def disk_failed(self, error: Exception) -> None:
        """Its journal or a dead letter could not be written."""
        self._trouble(_DISK, str(error))

    def well(self) -> None:
        """An attempt succeeded."""
        if self._state:
            if self._said:
                seconds = self._clock_s() - self._since_s
                log.info(
                    "sink %s is in order again after %s and %d tries that failed",
                    self._sink,
                    duration(seconds),
                    self._tries,
                    extra={"sink": self._sink},
                )
            self._state, self._tries, self._said = "", 0, False
        self.tell_refused()

    def refused(self, reason: str, count: int) -> None:
        """So many records became dead letters for this reason."""
        if reason not in self._refusals and len(self._refusals) >= MOST_REASONS:
            reason = OTHER_REASONS
        self._refusals.setdefault(reason, _Refusals()).count += count
        self.tell_refused()

    def tell_refused(self, *, now: bool = False) -> None:
        """Say what is due of refusals; now: all that was not said yet."""
        for reason, refusals in self._refusals.items():
            due = now or self._clock_s() - refusals.told_s >= REFUSED_S
            if refusals.count and due:
                log.warning(
                    "sink %s: %d records refused for good, see `weighbridge deadletter list`: %s",
                    self._sink,
                    refusals.count,
                    reason,
                    extra={"sink": self._sink},
                )
                refusals.count, refusals.told_s = 0, self._clock_s()

    def _trouble(self, state: str, why: str, cause: BaseException | None = None) -> None:
        now = self._clock_s()
        if not self._state:
            self._since_s = now
        self._tries += 1
        changed, self._state = state != self._state, state
        since_told = now - self._told.get(state, float("-inf"))
        if since_told < (AGAIN_S if changed else STILL_S):
            return
        self._told[state] = now
        # Refused credentials and our own faults are mended by nobody but people.
        level = logging.WARNING if state in (_AWAY, _DISK) else logging.ERROR
        if self._said and not changed:
            state = f"still {state} after {duration(now - self._since_s)} and {self._tries} tries"
        self._said = True
        log.log(
            level,
            "sink %s %s, what is for it waits in the spool: %s",
            self._sink,
            state,
            why,
            extra={"sink": self._sink},
            exc_info=cause,
        )


def duration(seconds: float) -> str:
    """For people: 12 s, 5 min, 3 h."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
