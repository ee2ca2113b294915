"""Are the trace ids of a service random where we read them? (spec/sampling.md §2.7)

The ratio samplers of older SDKs keep small values of the trace id and say nothing about it. Among what they
let through, the bytes we compare with a threshold are not uniform, and a rule would keep far too few traces,
or none. Sequential and zero-padded ids look the same from here. This watches the top four bits of R over
distinct traces, per service, with a chi-square test. Bounded memory; it reads arrivals only, never outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence

ALARM = 60.0  # chi-square with 15 degrees of freedom exceeds it by chance once in 4 million tests
# Of few traces the tail of chi-square is heavier: at n traces the alarm is at ALARM + FEW / n, 83 for the first test.
FEW = 1500.0
FIRST_TEST = 64  # distinct traces; tested again at each doubling, because weak patterns need many
LAST_TEST = FIRST_TEST << 14  # about a million: start afresh
# A sampler that keeps up to 3 % of traces by the small end leaves nothing else in the ninth byte, the first of those
# that it compares: 64 random ids are like that once in 2^320. It is no part of R; a UUID's has its highest bit set.
RATIO_BYTE = 8
RATIO_BELOW = 8
MAX_SERVICES = 1000  # beyond, services share one row
RECENT = 4096  # trace ids remembered to count each trace once; two such generations
OTHERS = "(other services)"

# Only traces whose sixth id byte is below this are watched, one in eight of random ids: the sixth byte has no
# part in R, is random in W3C and X-Ray ids, and 0 in padded ids, which are thus all watched. Of a process's first
# traces all are: behind a sampler of 0.1 % each stands for a thousand.
WATCHED_BYTE = 5
WATCHED_BELOW = 32
WATCHED_AT_FIRST = 4096
ALL = 256


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
        self._mixed: set[str] = set()  # services of which a ninth byte was not below RATIO_BELOW since the fresh start
        self._observed = 0
        self.seen: set[bytes] = set()  # the last of those that were counted
        self._seen_before: set[bytes] = set()

    @property
    def below(self) -> int:
        """Traces whose sixth byte is below this are to be observed now."""
        return ALL if self._observed < WATCHED_AT_FIRST else WATCHED_BELOW

    def observe(self, trace_id: bytes, service: str) -> bool:
        """Count a trace without th and rv once. True when this observation raised an alarm."""
        if trace_id in self.seen or trace_id in self._seen_before:
            return False
        if len(self.seen) >= RECENT:
            self._seen_before, self.seen = self.seen, set()
        self.seen.add(trace_id)
        buckets = self._buckets.get(service)
        if buckets is None:
            if len(self._buckets) >= MAX_SERVICES:
                service = OTHERS
            buckets = self._buckets.setdefault(service, [0] * 16)
        self._observed += 1
        buckets[trace_id[9] >> 4] += 1
        if trace_id[RATIO_BYTE] >= RATIO_BELOW:
            self._mixed.add(service)
        next_test = self._next_test.get(service, FIRST_TEST)
        if sum(buckets) < next_test:
            return False
        # Of a ninth byte that is always small: its own first four bits, all in one bucket.
        statistic = chi_square(buckets) if service in self._mixed else 15.0 * sum(buckets)
        alarm = statistic > ALARM + FEW / next_test
        self._next_test[service] = next_test * 2
        if next_test >= LAST_TEST or alarm:
            self._buckets[service] = [0] * 16
            self._next_test[service] = FIRST_TEST
            self._mixed.discard(service)
        if not alarm:
            return False
        self.alarms[service] = statistic
        return True

    def statistic(self, service: str) -> float:
        """Chi-square of the traces of this service since the last fresh start, for the metrics."""
        return chi_square(self._buckets.get(service, ()))
