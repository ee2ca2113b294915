"""Are the trace ids of a service random where we read them? (spec/sampling.md §2.7)

The ratio samplers of older SDKs keep small values of the trace id and say nothing about it. Among what they
let through, the bytes we compare with a threshold are not uniform, and a rule would keep far too few traces,
or none. Sequential and zero-padded ids look the same from here. This watches the top four bits of R over
distinct traces, per service, with a chi-square test. Bounded memory; it reads arrivals only, never outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence

ALARM = 60.0  # chi-square with 15 degrees of freedom exceeds it by chance once in 4 million tests
FIRST_TEST = 500  # distinct traces; tested again at each doubling, because weak patterns need many
LAST_TEST = FIRST_TEST << 11  # about a million: start afresh
MAX_SERVICES = 1000  # beyond, services share one row
RECENT = 4096  # trace ids remembered to count each trace once; two such generations
OTHERS = "(other services)"

# Only traces whose sixth id byte is below this are watched, one in eight of random ids: the sixth byte has no
# part in R, is random in W3C and X-Ray ids, and 0 in padded ids, which are thus all watched.
WATCHED_BYTE = 5
WATCHED_BELOW = 32


def chi_square(buckets: Sequence[int]) -> float:
    """The statistic against equal expectation in every bucket; 0.0 for no observations."""
    total = sum(buckets)
    if not total:
        return 0.0
    expected = total / len(buckets)
    return sum((n - expected) ** 2 for n in buckets) / expected


class TraceIdWatch:
    """One per sampler. `alarms`: service -> chi-square that raised the alarm; it only grows."""

    def __init__(self) -> None:
        self.alarms: dict[str, float] = {}
        self._buckets: dict[str, list[int]] = {}
        self._next_test: dict[str, int] = {}
        self._seen: set[bytes] = set()
        self._seen_before: set[bytes] = set()

    def observe(self, trace_id: bytes, service: str) -> bool:
        """Count a trace without th and rv once. True when this observation raised an alarm."""
        if trace_id in self._seen or trace_id in self._seen_before:
            return False
        if len(self._seen) >= RECENT:
            self._seen_before, self._seen = self._seen, set()
        self._seen.add(trace_id)
        buckets = self._buckets.get(service)
        if buckets is None:
            if len(self._buckets) >= MAX_SERVICES:
                service = OTHERS
            buckets = self._buckets.setdefault(service, [0] * 16)
        buckets[trace_id[9] >> 4] += 1
        next_test = self._next_test.get(service, FIRST_TEST)
        if sum(buckets) < next_test:
            return False
        statistic = chi_square(buckets)
        self._next_test[service] = next_test * 2
        if next_test >= LAST_TEST or statistic > ALARM:
            self._buckets[service] = [0] * 16
            self._next_test[service] = FIRST_TEST
        if statistic <= ALARM:
            return False
        self.alarms[service] = statistic
        return True

    def statistic(self, service: str) -> float:
        """Chi-square of the traces of this service since the last fresh start, for the metrics."""
        return chi_square(self._buckets.get(service, ()))
