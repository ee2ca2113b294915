"""What leaves mapping at most, whatever a record says: times, levels and durations that every sink can hold."""

from __future__ import annotations

from typing import Final

# Nanoseconds since 1970: what int64 and the store's DateTime64(9) hold, until April 2262.
LAST_NS: Final = (1 << 63) - 1
MOST_SEVERE: Final = 24  # FATAL4, the highest severity number of OTLP; the wire has 32 bits for it, the store 8
# Milliseconds: a call that took longer than a year did not; its number had another unit.
LONGEST_MS: Final = 366 * 86_400_000.0


def held(unix_ns: int) -> int:
    """The time, 0 (no time) for one that is negative or beyond LAST_NS."""
    return unix_ns if 0 <= unix_ns <= LAST_NS else 0
