"""Every record from the socket to where it ended, per tenant and sink, and what nobody can explain.

The promise of spec/design.md §3 P4, put together:

at the socket, since this process started      accepted + refused = what arrived
                                               accepted - resent + unanswered = stored in the spool
per sink, since the sink was new               received = its outcomes + waiting for a span + in the spool
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

from exporter.totals import ENDED
from weighbridge.admin.parts import Counted

log = logging.getLogger(__name__)

AUDIT_INTERVAL_S = 10.0


def intake(parts: Counted) -> list[dict[str, Any]]:
    """One row per tenant.

    `unanswered`: stored, but the answer is still to come, or its sender was gone before it came. `refused` counts
    records of requests that were decoded, `refused_requests` requests; both by reason.
    """
    counts = parts.counts
    stored = parts.feed.stored - parts.returned  # these were counted when they came
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
    """One row per sink and tenant. `received` is the sum of what follows it.

    in_spool: taken in by this process, not yet done with by this sink. What an earlier process left unread counts
    when it is read: until then `catching_up` is true.
    """
    rows = []
    for name, pipeline in parts.pipelines.items():
        books = pipeline.journal.books()
        totals = books.totals
        for tenant in sorted({*totals.tenants(), *parts.feed.stored}):
            done = totals.get("received", tenant)
            in_spool = parts.feed.stored[tenant] - books.received_since_mark(tenant)
            in_spool -= parts.deliveries.stored_before(name, tenant)
            row: dict[str, Any] = {"sink": name, "tenant": tenant, "received": done + in_spool}
            row.update({outcome: totals.get(outcome, tenant) for outcome in ENDED})
            row["waiting_for_span"] = done - totals.ended(tenant)
            row["in_spool"] = in_spool
            row["catching_up"] = not parts.feed.passed(pipeline.cursor, pipeline.journal.mark)
            rows.append(row)
    return rows


def residue(parts: Counted) -> dict[str, int]:
    """Records that nothing explains, by step; anything but 0 is a fault of ours.

    stored: acknowledged and new, yet not in the spool. mapped: mapping lost or invented them. Then each sink's.
    """
    stored = parts.feed.stored
    lost = {
        tenant: parts.acknowledged[tenant] - parts.resent[tenant] - stored[tenant] + parts.returned[tenant]
        for tenant in parts.acknowledged
    }
    counts = parts.feed.counts
    mapped = counts.taken - counts.events - counts.skipped - counts.sampled_out - counts.failed
    steps = {"stored": sum(max(0, count) for count in lost.values()), "mapped": mapped}
    ahead: Counter[str] = Counter()  # more taken in by a sink than there was
    for row in sinks(parts):
        ahead[row["sink"]] += max(0, -row["in_spool"])
    for name, pipeline in parts.pipelines.items():
        steps[f"sink {name}"] = pipeline.journal.books().residue or ahead[name]
    return steps


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
