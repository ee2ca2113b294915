"""What waits for each sink of a lane, and what is wrong with it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, NamedTuple

from weighbridge.admin.lane_ledger import sinks
from weighbridge.admin.parts import LaneParts


class Backlog(NamedTuple):
    """What a sink has not got yet."""

    records: int
    bytes: int
    oldest_age_seconds: float


def backlogs(parts: LaneParts) -> dict[str, Backlog]:
    """By sink."""
    records: Counter[str] = Counter()
    for row in sinks(parts):
        records[row["sink"]] += row["in_spool"] + row["waiting_for_span"]
    found = {}
    for name, pipeline in parts.pipelines.items():
        begin = pipeline.cursor
        oldest = pipeline.oldest_unix_ns
        if not oldest and not parts.feed.caught_up(begin):  # it has not begun to read
            oldest = parts.spool.oldest_received_unix_ns
        age_s = max(0.0, (time.time_ns() - oldest) / 1e9) if oldest else 0.0
        found[name] = Backlog(records[name], parts.spool.bytes_from(begin), age_s)
    return found


def sink_facts(parts: LaneParts) -> dict[str, Any]:
    """For /readyz."""
    return {
        name: {
            "backlog_records": backlog.records,
            "backlog_bytes": backlog.bytes,
            "oldest_undelivered_age_s": round(backlog.oldest_age_seconds, 3),
            "last_error": parts.pipelines[name].counts.last_error or None,
        }
        for name, backlog in backlogs(parts).items()
    }
