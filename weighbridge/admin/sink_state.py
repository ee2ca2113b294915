"""What the running bridge says about each sink: what it got, what waits for it, what is wrong with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from exporter.journal import Journal
from exporter.totals import OUTCOMES, Outcome
from weighbridge.admin.ledger import residue, sinks
from weighbridge.admin.server import Metric

if TYPE_CHECKING:
    from weighbridge.service import Bridge


class Backlog(NamedTuple):
    """What a sink has not got yet."""

    records: int
    bytes: int
    oldest_age_seconds: float


def backlogs(bridge: Bridge) -> dict[str, Backlog]:
    """By sink."""
    records: Counter[str] = Counter()
    for row in sinks(bridge):
        records[row["sink"]] += row["in_spool"] + row["waiting_for_span"]
    found = {}
    for name, pipeline in bridge.pipelines.items():
        begin = pipeline.cursor
        oldest = pipeline.oldest_unix_ns
        if not oldest and not bridge.feed.caught_up(begin):  # it has not begun to read
            oldest = bridge.spool.oldest_received_unix_ns
        age_s = max(0.0, (time.time_ns() - oldest) / 1e9) if oldest else 0.0
        found[name] = Backlog(records[name], bridge.spool.bytes_from(begin), age_s)
    return found


def sink_facts(bridge: Bridge) -> dict[str, Any]:
    """For /readyz."""
    return {
        name: {
            "backlog_records": backlog.records,
            "backlog_bytes": backlog.bytes,
            "oldest_undelivered_age_s": round(backlog.oldest_age_seconds, 3),
            "last_error": bridge.pipelines[name].counts.last_error or None,
        }
        for name, backlog in backlogs(bridge).items()
    }


def sink_metrics(bridge: Bridge) -> Iterator[Metric]:
    """Of /metrics, everything with a sink."""
    pipelines = bridge.pipelines
    waiting = backlogs(bridge)
    yield Metric(
        "weighbridge_sink_records_total",
        "counter",
        "Where records ended, by sink, tenant and outcome; since the sink was new. Outcome `replayed` is those of "
        "`dead_lettered` that ended otherwise when they were sent again.",
        [
            ({"sink": name, "tenant": tenant, "outcome": outcome}, _ever(pipeline.journal, outcome, tenant))
            for name, pipeline in pipelines.items()
            for tenant in pipeline.totals.tenants()
            for outcome in OUTCOMES
        ],
    )
    yield Metric(
        "weighbridge_sink_residue_records",
        "gauge",
        "Records that no outcome explains. Anything but 0 is a fault of the bridge.",
        [({"sink": name}, pipeline.journal.books().residue) for name, pipeline in pipelines.items()],
    )
    yield Metric(
        "weighbridge_intake_residue_records",
        "gauge",
        "Records lost between the socket and the sinks, by step. Anything but 0 is a fault of the bridge.",
        [({"step": step}, residue(bridge)[step]) for step in ("stored", "mapped")],
    )
    yield Metric(
        "weighbridge_sink_waiting_calls",
        "gauge",
        "Calls read from logs that wait for their span.",
        [({"sink": name}, pipeline.waiting) for name, pipeline in pipelines.items()],
    )
    letters = bridge.dead_letters
    yield Metric(
        "weighbridge_dead_letters",
        "gauge",
        "Events in the file of dead letters.",
        [({"sink": name}, letters.kept[name]) for name in sorted({*pipelines, *letters.kept})],
    )
    yield Metric(
        "weighbridge_dead_letters_not_kept_total",
        "counter",
        "Dead letters since the start for which the file had no room.",
        [({"sink": name}, letters.not_kept[name]) for name in sorted({*pipelines, *letters.not_kept})],
    )
    yield Metric("weighbridge_dead_letter_bytes", "gauge", "Size of the file of dead letters.", [({}, letters.size)])
    yield Metric(
        "weighbridge_sink_batches_total",
        "counter",
        "Batches delivered since the start.",
        [({"sink": name}, pipeline.counts.batches) for name, pipeline in pipelines.items()],
    )
    yield Metric(
        "weighbridge_sink_retries_total",
        "counter",
        "Attempts that failed since the start.",
        [({"sink": name}, pipeline.counts.retries) for name, pipeline in pipelines.items()],
    )
    yield Metric(
        "weighbridge_sink_faults_total",
        "counter",
        "Attempts that ended by an exception that no sink should raise, since the start.",
        [({"sink": name}, pipeline.counts.faults) for name, pipeline in pipelines.items()],
    )
    yield Metric(
        "weighbridge_sink_unauthorised",
        "gauge",
        "1 while the destination refuses our credentials.",
        [({"sink": name}, float(pipeline.counts.unauthorised)) for name, pipeline in pipelines.items()],
    )
    for name, help_ in (
        ("records", "Records that this sink has not got yet. What an earlier process left counts when it is read."),
        ("bytes", "Bytes in the spool that this sink has not got yet."),
        ("oldest_age_seconds", "Age of the oldest request that this sink has not got yet; 0 when there is none."),
    ):
        yield Metric(
            f"weighbridge_sink_backlog_{name}",
            "gauge",
            help_,
            [({"sink": sink}, getattr(backlog, name)) for sink, backlog in waiting.items()],
        )
    yield Metric(
        "weighbridge_sink_stopped",
        "gauge",
        "1 while the sink's pipeline has ended by a fault of the bridge and waits to begin again.",
        [({"sink": name}, float(f"sink {name}" in bridge.tasks.down)) for name in pipelines],
    )


def _ever(journal: Journal, outcome: Outcome, tenant: str) -> int:
    """Records that had this outcome, whatever became of them later: a counter only grows."""
    return journal.totals.get(outcome, tenant) + journal.lowered.get(outcome, tenant)
