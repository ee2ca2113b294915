"""Why the bridge is not ready, and what proves that requests go all the way."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from weighbridge.admin.metrics import metrics
from weighbridge.admin.parts import Parts
from weighbridge.admin.report import Report
from weighbridge.admin.server import Metric
from weighbridge.room import why_full


class Health:
    """`weighbridge.admin.server.HealthSource` of a bridge."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def not_ready(self) -> list[str]:
        """Why a request would be refused now, or not reach a sink for a fault of ours.

        A sink that is away is no reason: the spool takes its place.
        """
        parts, spool = self._parts, self._parts.spool
        if not parts.accepting:
            return ["the bridge is starting or stopping"]
        if spool.failed:
            return [f"the spool cannot be written: {spool.failed}"]
        full = spool.full
        reasons = [why_full(parts, full)] if full else []
        # Requests are still taken in, and wait in the spool; but nothing brings this in order except people.
        down = parts.report().down
        return reasons + [why for task, why in sorted(down.items()) if task.startswith(("sink ", "lane "))]

    def facts(self) -> dict[str, Any]:
        """What proves that requests go all the way: to the disk, and on to the sinks."""
        parts, spool = self._parts, self._parts.spool
        synced = spool.last_sync_unix_ns
        behind = parts.report()
        return {
            "oldest_undelivered_age_s": round(_age_s(spool.oldest_received_unix_ns), 3),
            "last_sync_age_s": round(_age_s(synced), 3) if synced else None,
            "last_sync_s": round(spool.last_sync_s, 6) if synced else None,
            "sinks_retrying": sorted(name for name, facts in behind.facts.items() if facts["last_error"]),
            "sinks": behind.facts,
            "lanes": parts.lane_facts(),
            "set_aside": _set_aside(behind),
            "tasks_down": sorted(behind.down.values()),
            "keys_file_error": parts.keys_complaint or None,
        }

    async def refresh(self) -> None:
        await self._parts.refresh()

    def metrics(self) -> Iterable[Metric]:
        return metrics(self._parts)


def _age_s(since_unix_ns: int) -> float:
    """Seconds since a moment; 0 when there was none yet."""
    return (time.time_ns() - since_unix_ns) / 1e9 if since_unix_ns else 0


def _set_aside(behind: Report) -> str | None:
    """What waits for somebody to look at it, in words."""
    requests = sum(int(count) for _, count in behind.metrics.get("weighbridge_unmappable_requests", ()))
    if not requests:
        return None
    return f"{requests} requests, or parts of them, could not be mapped: see `weighbridge deadletter list`"
