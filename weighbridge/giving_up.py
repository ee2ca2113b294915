"""A bound on what one sink lets wait in the spool: beyond it the oldest is given up for this sink, and counted.

Only where the settings say so (`backlog_bytes` of a sink). Without it nothing is ever given up, and a sink that never
comes back fills the spool in the end, which is refused to all senders then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exporter.journal import Journal, Plan
from exporter.source import RawSource
from exporter.totals import ENDED, Counts, Totals

# Then so much of the bound is left: each time costs the batch under way, and reading what is given up.
LEFT = 0.9
# Requests in one plan: what a kill makes it read again.
AT_ONCE = 256


async def give_up_oldest(journal: Journal, source: RawSource, enough: Callable[[int], bool]) -> int:
    """End what is planned and what waits, from the oldest on, as `dropped`; how many records.

    The journal is this function's alone meanwhile. A batch that was under way may have arrived: it counts as dropped.
    enough: whether what is from a position on may stay. Killed anywhere, it goes on where the journal is. Raises
    JournalError.
    """
    dropped = 0
    for plan in list(journal.open_plans):
        counts = _rows_by_tenant(plan)
        dropped += sum(outcomes["dropped"] for outcomes in counts.values())
        await asyncio.to_thread(journal.done, plan.sequence, counts, sync=True)
    position = journal.cursor
    while not enough(position):
        begin, totals = position, Totals()
        for _ in range(AT_ONCE):
            request = await source.next_request(position, 0)
            if request is None or begin < journal.mark <= request.position:
                break
            position = request.next_position
            totals.add(request.tenant, "received", request.records)
            totals.add(request.tenant, "dropped", request.records)
            if enough(position):
                break
        waited = frozenset(ref for ref in journal.waiting if ref[0] < position)
        totals.add(_pending_tenant(journal.totals), "dropped", len(waited))
        if position == begin:
            if request is None or not waited:
                return dropped
            position = request.position  # there was nothing before the mark any more
        plan = Plan(journal.next_sequence, begin, position, gone=waited, counts=totals.plain(), rows=0)
        await asyncio.to_thread(journal.plan, plan)
        await asyncio.to_thread(journal.done, plan.sequence, {}, sync=True)
        dropped += totals.get("dropped")
    return dropped


def _rows_by_tenant(plan: Plan) -> Counts:
    """Of a plan's rows, which may be of several tenants, as its counts allow."""
    left = max(0, plan.rows)
    found: Counts = {}
    for tenant, counts in sorted(plan.counts.items()):
        open_ = counts.get("received", 0) - sum(counts.get(outcome, 0) for outcome in ENDED)
        found[tenant] = {"dropped": max(0, min(left, open_))}
        left -= found[tenant]["dropped"]
    if left:  # calls that had waited since earlier plans
        first = min(found, default="")
        found.setdefault(first, {"dropped": 0})["dropped"] += left
    return found


def _pending_tenant(totals: Totals) -> str:
    return max(totals.tenants(), key=lambda tenant: totals.get("received", tenant) - totals.ended(tenant), default="")
