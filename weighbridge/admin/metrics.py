"""The values of the metrics that `weighbridge.admin.registry` names, read from where they are counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from exporter.journal import Journal
from exporter.totals import OUTCOMES, Outcome
from mapping.sampling.stated import capped
from receiver.counts import Key
from weighbridge.admin.ledger import residue
from weighbridge.admin.parts import Parts
from weighbridge.admin.registry import REGISTRY
from weighbridge.admin.server import Metric
from weighbridge.admin.sink_state import backlogs
from weighbridge.unmappable import held

Samples = Iterable[tuple[Mapping[str, str], float]]  # labels -> value
Values = Iterator[tuple[str, Samples]]  # by name


def metrics(parts: Parts) -> Iterator[Metric]:
    """All of them, as they are now."""
    for values in (_receiver, _spool, _sinks, _sampling, _work):
        for name, samples in values(parts):
            known = REGISTRY[name]
            yield Metric(name, known.kind, known.meaning, samples, known.unit)


def _receiver(parts: Parts) -> Values:
    counts = parts.counts
    for signal, noun in (("traces", "spans"), ("logs", "log_records")):
        yield f"otelcol_receiver_accepted_{noun}_total", _by_key(counts.accepted_records, signal)
        yield f"otelcol_receiver_refused_{noun}_total", _by_key(counts.refused_records, signal)
    yield "weighbridge_receiver_requests_total", _by_key(counts.requests)
    yield "weighbridge_receiver_refused_requests_total", _by_key(counts.refused_requests)
    yield "weighbridge_receiver_warned_requests_total", _by_key(counts.warned_requests)
    yield "weighbridge_receiver_received_bytes_total", _by_key(counts.received_bytes)
    yield "weighbridge_receiver_inflated_bytes_total", _by_key(counts.inflated_bytes)
    yield (
        "weighbridge_receiver_resent_records_total",
        [({"tenant": tenant}, count) for tenant, count in sorted(parts.resent.items())],
    )
    yield "weighbridge_receiver_connections", _one(counts.connections)
    yield "weighbridge_receiver_in_flight_bytes", _one(counts.in_flight_bytes)


def _spool(parts: Parts) -> Values:
    spool, counts = parts.spool, parts.spool.counts
    oldest = spool.oldest_received_unix_ns
    yield "weighbridge_spool_bytes", _one(spool.bytes_used)
    yield "weighbridge_spool_requests", _one(spool.request_count)
    yield "weighbridge_spool_oldest_age_seconds", _one((time.time_ns() - oldest) / 1e9 if oldest else 0)
    yield "weighbridge_spool_sync_seconds", _one(spool.last_sync_s)
    yield "weighbridge_spool_sync_timestamp_seconds", _one(spool.last_sync_unix_ns / 1e9)
    yield "weighbridge_spool_groups_total", _one(counts.groups)
    yield "weighbridge_spool_refused_full_total", _one(counts.refused_full)
    yield "weighbridge_spool_refused_failed_total", _one(counts.refused_failed)
    yield "weighbridge_spool_quarantined_requests_total", _one(counts.quarantined_requests)
    yield "weighbridge_spool_sync_errors_total", _one(counts.sync_errors)
    yield "weighbridge_spool_write_errors_total", _one(counts.write_errors)


def _sinks(parts: Parts) -> Values:
    pipelines, letters = parts.pipelines, parts.dead_letters

    def by_sink(values: Mapping[str, float]) -> Samples:
        return [({"sink": sink}, value) for sink, value in values.items()]

    yield (
        "weighbridge_sink_records_total",
        [
            ({"sink": name, "tenant": tenant, "outcome": outcome}, _ever(pipeline.journal, outcome, tenant))
            for name, pipeline in pipelines.items()
            for tenant in pipeline.totals.tenants()
            for outcome in OUTCOMES
        ],
    )
    residues = {name: pipeline.journal.books().residue for name, pipeline in pipelines.items()}
    yield "weighbridge_sink_residue_records", by_sink(residues)
    steps = residue(parts)
    yield "weighbridge_intake_residue_records", [({"step": step}, steps[step]) for step in ("stored", "mapped")]
    yield "weighbridge_sink_waiting_calls", by_sink({name: pipe.waiting for name, pipe in pipelines.items()})
    yield (
        "weighbridge_dead_letters",
        by_sink({name: letters.kept[name] for name in sorted({*pipelines, *letters.kept})}),
    )
    yield (
        "weighbridge_dead_letters_not_kept_total",
        by_sink({name: letters.not_kept[name] for name in sorted({*pipelines, *letters.not_kept})}),
    )
    yield "weighbridge_dead_letter_bytes", _one(letters.size)
    counts = {name: pipeline.counts for name, pipeline in pipelines.items()}
    yield "weighbridge_sink_batches_total", by_sink({name: of.batches for name, of in counts.items()})
    yield "weighbridge_sink_retries_total", by_sink({name: of.retries for name, of in counts.items()})
    yield "weighbridge_sink_faults_total", by_sink({name: of.faults for name, of in counts.items()})
    yield "weighbridge_sink_unauthorised", by_sink({name: float(of.unauthorised) for name, of in counts.items()})
    waiting = backlogs(parts)
    yield "weighbridge_sink_backlog_records", by_sink({name: of.records for name, of in waiting.items()})
    yield "weighbridge_sink_backlog_bytes", by_sink({name: of.bytes for name, of in waiting.items()})
    ages = {name: of.oldest_age_seconds for name, of in waiting.items()}
    yield "weighbridge_sink_backlog_oldest_age_seconds", by_sink(ages)
    yield "weighbridge_sink_stopped", by_sink({name: float(f"sink {name}" in parts.tasks.down) for name in pipelines})


def _sampling(parts: Parts) -> Values:
    sampling, windows = parts.books.sampling, parts.books.windows
    yield "weighbridge_should_skip_errors_total", _one(parts.should_skip_errors)
    yield (
        "weighbridge_sampling_records_total",
        [(key._asdict(), sums.records) for key, sums in sorted(sampling.totals.items())],
    )
    implausible = sum(sums.records for key, sums in sampling.totals.items() if key.upstream == "implausible")
    yield (
        "weighbridge_sampling_capped_total",
        [({"claim": "threshold"}, implausible), ({"claim": "weight"}, capped.count)],
    )
    audits = sorted(sampling.ledger.audits.items())
    yield (
        "weighbridge_sampling_audit_z",
        [({"rule": rule, "tenant": tenant}, audit.z()) for (rule, tenant), audit in audits],
    )
    yield "weighbridge_sampling_audit_alarm", _one(float(bool(sampling.ledger.alarms())))
    alarms = sorted(sampling.sampler.watch.alarms.items())
    yield "weighbridge_sampling_trace_id_alarm", [({"service": name}, value) for name, value in alarms]
    yield "weighbridge_sampling_hashed", _one(float(sampling.sampler.hashed))
    if windows is not None:
        yield "weighbridge_sampling_windows_early_total", _one(windows.early)


def _work(parts: Parts) -> Values:
    requests, size = held(parts.directory / "unmappable")
    yield "weighbridge_unmappable_requests", _one(requests)
    yield "weighbridge_unmappable_bytes", _one(size)
    yield "weighbridge_unmappable_not_kept_total", _one(parts.feed.counts.unmappable_not_kept)
    failures = sorted(parts.tasks.failures.items())
    yield "weighbridge_task_failures_total", [({"task": task}, count) for task, count in failures]
    yield "weighbridge_task_down", [({"task": task}, 1) for task in sorted(parts.tasks.down)]


def _one(value: float) -> Samples:
    return [({}, value)]


def _by_key(counter: Mapping[Key, int], signal: str | None = None) -> Samples:
    for key, value in sorted(counter.items()):
        if signal is None or key.signal == signal:
            labels = {"tenant": key.tenant} | ({"reason": key.reason} if key.reason else {})
            yield labels if signal else {**labels, "signal": key.signal}, value


def _ever(journal: Journal, outcome: Outcome, tenant: str) -> int:
    """Records that had this outcome, whatever became of them later: a counter only grows."""
    return journal.totals.get(outcome, tenant) + journal.lowered.get(outcome, tenant)
