"""Every record from the socket to where it ended, per tenant and sink, and what nobody can explain.

The promise of spec/design.md §3 P4, put together:

at the socket, since this process started      accepted + refused = what arrived
                                               accepted - resent + unanswered = stored in the spool
per sink, since the sink was new               received = its outcomes + waiting for a span + in the spool
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from weighbridge.admin.parts import Counted

log = logging.getLogger(__name__)

AUDIT_INTERVAL_S = 10.0


def intake(parts: Counted) -> list[dict[str, Any]]:
    """One row per tenant.

    `unanswered`: stored, but the answer is still to come, or its sender was gone before it came. `refused` counts
    records of requests that were decoded, `refused_requests` requests; both by reason.
    """
    counts = parts.counts
    stored = parts.stored - parts.returned  # these were counted when they came
    named = [*counts.accepted_records, *counts.refused_records, *counts.refused_requests]
    rows = []
    for tenant in sorted({key.tenant for key in named} | stored.keys() | parts.acknowledged.keys()):
        accepted, resent = parts.acknowledged[tenant], parts.resent[tenant]
        rows.append(
            {
                "tenant": tenant,
                "accepted": accepted,
                "resent": resent,
                "unanswered": max(0, stored[tenant] - (accepted - resent)),
                "stored": stored[tenant],
                "refused": _by_reason(counts.refused_records, tenant),
                "refused_requests": _by_reason(counts.refused_requests, tenant),
            }
        )
    return rows


def sinks(parts: Counted) -> list[dict[str, Any]]:
    """One row per sink and tenant, of all lanes: `weighbridge.admin.lane_ledger`."""
    return parts.report().sinks


def unstored(parts: Counted) -> int:
    """Records that were acknowledged and are new, yet never came into the spool."""
    return sum(
        max(0, parts.acknowledged[tenant] - parts.resent[tenant] - parts.stored[tenant] + parts.returned[tenant])
        for tenant in parts.acknowledged
    )


def residue(parts: Counted) -> dict[str, int]:
    """Records that nothing explains, by step; anything but 0 is a fault of ours.

    stored: acknowledged and new, yet not in the spool. mapped: mapping lost or invented them. Then each sink's.
    """
    return {"stored": unstored(parts), **parts.report().residue}


async def audit(parts: Counted) -> None:
    """Look at the residue for as long as the bridge runs; say when it changes. Metrics have it too."""
    known: dict[str, int] = {}
    while True:
        await asyncio.sleep(AUDIT_INTERVAL_S)
        found = {step: count for step, count in residue(parts).items() if count}
        if found != known:
            known = found
            if found:
                log.error("the ledger does not add up: %s", ", ".join(f"{step} {n}" for step, n in found.items()))


def _by_reason(counter: Any, tenant: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, count in sorted(counter.items()):
        if key.tenant == tenant:
            found[key.reason] = found.get(key.reason, 0) + count
    return found
