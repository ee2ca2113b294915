"""The part of the ledger that a lane keeps: every record from its partition to where it ended, per sink and tenant.

per sink, since the sink was new               received = its outcomes + waiting for a span + in the spool
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from exporter.totals import ENDED
from weighbridge.admin.parts import LaneParts


def sinks(parts: LaneParts) -> list[dict[str, Any]]:
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


def residue(parts: LaneParts) -> dict[str, int]:
    """Records that nothing explains, by step; anything but 0 is a fault of ours.

    mapped: mapping lost or invented them. Then each sink's.
    """
    counts = parts.feed.counts
    steps = {"mapped": counts.taken - counts.events - counts.skipped - counts.sampled_out - counts.failed}
    ahead: Counter[str] = Counter()  # more taken in by a sink than there was
    for row in sinks(parts):
        ahead[row["sink"]] += max(0, -row["in_spool"])
    for name, pipeline in parts.pipelines.items():
        steps[f"sink {name}"] = pipeline.journal.books().residue or ahead[name]
    return steps
