"""The values of metrics that a lane counts: sinks, sampling, and what it could not map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from exporter.journal import Journal
from exporter.totals import OUTCOMES, Outcome
from mapping.sampling.stated import capped
from weighbridge.admin.lane_ledger import residue
from weighbridge.admin.parts import LaneParts
from weighbridge.admin.sink_state import backlogs
from weighbridge.tasks import Tasks
from weighbridge.unmappable import held

Samples = Iterable[tuple[Mapping[str, str], float]]  # labels -> value
Values = Iterator[tuple[str, Samples]]  # by name


def lane_values(parts: LaneParts) -> Values:
    """What is counted behind the spool."""
    for values in (_sinks, _sampling, _work):
        yield from values(parts)
    yield from ((name, ()) for name in ("weighbridge_lane_up", "weighbridge_lane_restarts_total"))  # of processes


def task_values(tasks: Tasks) -> Values:
    """Of what runs beside the requests in one process."""
    failures = sorted(tasks.failures.items())
    yield "weighbridge_task_failures_total", [({"task": task}, count) for task, count in failures]
    yield "weighbridge_task_down", [({"task": task}, 1) for task in sorted(tasks.down)]


def _sinks(parts: LaneParts) -> Values:
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
    yield "weighbridge_intake_residue_records", [({"step": "mapped"}, residue(parts)["mapped"])]
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
    restarts = {name: pipe.sink.restarts for name, pipe in pipelines.items()}
    yield "weighbridge_sink_engine_restarts_total", by_sink(restarts)
    yield "weighbridge_sink_folded_calls_total", by_sink({name: pipe.sink.folded for name, pipe in pipelines.items()})
    yield "weighbridge_sink_unauthorised", by_sink({name: float(of.unauthorised) for name, of in counts.items()})
    waiting = backlogs(parts)
    yield "weighbridge_sink_backlog_records", by_sink({name: of.records for name, of in waiting.items()})
    yield "weighbridge_sink_backlog_bytes", by_sink({name: of.bytes for name, of in waiting.items()})
    ages = {name: of.oldest_age_seconds for name, of in waiting.items()}
    yield "weighbridge_sink_backlog_oldest_age_seconds", by_sink(ages)
    yield "weighbridge_sink_stopped", by_sink({name: float(f"sink {name}" in parts.tasks.down) for name in pipelines})


def _sampling(parts: LaneParts) -> Values:
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


def _work(parts: LaneParts) -> Values:
    requests, size = held(parts.directory / "unmappable")
    yield "weighbridge_set_aside_records_total", _one(parts.feed.counts.set_aside)
    yield "weighbridge_unmappable_requests", _one(requests)
    yield "weighbridge_unmappable_bytes", _one(size)
    yield "weighbridge_unmappable_not_kept_total", _one(parts.feed.left_out.not_kept)
    yield from task_values(parts.tasks)


def _one(value: float) -> Samples:
    return [({}, value)]


def _ever(journal: Journal, outcome: Outcome, tenant: str) -> int:
    """Records that had this outcome, whatever became of them later: a counter only grows."""
    return journal.totals.get(outcome, tenant) + journal.lowered.get(outcome, tenant)
