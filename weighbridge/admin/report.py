"""What a lane tells of itself, as plain data that crosses processes, and what several tell together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from weighbridge.admin.lane_ledger import residue, sinks
from weighbridge.admin.lane_metrics import lane_values, task_values
from weighbridge.admin.parts import LaneParts
from weighbridge.admin.sink_state import sink_facts
from weighbridge.sampling.running import Sampling
from weighbridge.tasks import Tasks

# Values of several lanes are added up but for these, of which the largest counts: ages, and what is yes or no.
_LARGEST = ("_age_seconds", "_alarm", "_hashed", "_stopped", "_unauthorised", "_audit_z", "_down")
_LABELS = ("sink", "tenant", "rule", "minute_unix_s")

Samples = list[tuple[dict[str, str], float]]


class Report(NamedTuple):
    """Of one lane, or of several."""

    metrics: dict[str, Samples]
    sinks: list[dict[str, Any]]  # rows of the ledger
    residue: dict[str, int]
    facts: dict[str, dict[str, Any]]  # of each sink, for /readyz
    sampled: list[dict[str, Any]]  # rows by rule and tenant, since the start
    down: dict[str, str]  # by task, what does not run now, in words


def report(lane: LaneParts) -> Report:
    """What this lane says now."""
    return Report(
        {name: [(dict(labels), value) for labels, value in samples] for name, samples in lane_values(lane)},
        sinks(lane),
        residue(lane),
        sink_facts(lane),
        _since_the_start(lane.books.sampling),
        dict(lane.tasks.down),
    )


def merged(reports: Sequence[Report]) -> Report:
    """Of all lanes together."""
    if len(reports) == 1:
        return reports[0]
    return Report(
        _added_samples(reports),
        _added_rows((row for one in reports for row in one.sinks), any_of=("catching_up",)),
        _added_counts(one.residue for one in reports),
        _facts(reports),
        _added_rows((row for one in reports for row in one.sampled), largest=("audit_z",)),
        {task: why for one in reports for task, why in one.down.items()},
    )


def added_minutes(lanes: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What sampling decided by minute, of all lanes together, oldest first."""
    if len(lanes) == 1:
        return lanes[0]
    rows = _added_rows(row for rows in lanes for row in rows)
    return sorted(rows, key=lambda row: (row["minute_unix_s"], row["tenant"], row["rule"]))


def of_tasks(tasks: Tasks) -> Report:
    """What a process without a lane says of what runs beside the requests."""
    metrics = {name: [(dict(labels), value) for labels, value in samples] for name, samples in task_values(tasks)}
    return Report(metrics, [], {}, {}, [], dict(tasks.down))


def _added_samples(reports: Iterable[Report]) -> dict[str, Samples]:
    found: defaultdict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
    for one in reports:
        for name, samples in one.metrics.items():
            values = found[name]
            for labels, value in samples:
                key = tuple(labels.items())
                if key not in values:
                    values[key] = value
                elif name.endswith(_LARGEST):
                    values[key] = max(values[key], value)
                else:
                    values[key] += value
    return {name: [(dict(key), value) for key, value in values.items()] for name, values in found.items()}


def _added_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for one in counts:
        for name, count in one.items():
            found[name] += count
    return dict(found)


def _added_rows(
    rows: Iterable[dict[str, Any]], any_of: tuple[str, ...] = (), largest: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """One row for all with the same labels: their numbers added up."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row.get(label) for label in _LABELS)
        known = found.get(key)
        if known is None:
            found[key] = dict(row)
            continue
        for name, value in row.items():
            if name in any_of:
                known[name] = known[name] or value
            elif name in largest:
                known[name] = max(known[name], value, key=abs)
            elif name not in _LABELS:
                known[name] += value
    return list(found.values())


def _facts(reports: Sequence[Report]) -> dict[str, dict[str, Any]]:
    found = {}
    for sink in {sink: None for one in reports for sink in one.facts}:
        each = [one.facts[sink] for one in reports if sink in one.facts]
        found[sink] = {
            "backlog_records": sum(facts["backlog_records"] for facts in each),
            "backlog_bytes": sum(facts["backlog_bytes"] for facts in each),
            "oldest_undelivered_age_s": max(facts["oldest_undelivered_age_s"] for facts in each),
            "last_error": next((facts["last_error"] for facts in each if facts["last_error"]), None),
        }
    return found


def _since_the_start(sampling: Sampling) -> list[dict[str, Any]]:
    """One row per rule and tenant, of requests mapped for the first time by this process."""
    return [
        {"rule": rule, "tenant": tenant, **row._asdict(), "audit_z": sampling.ledger.audits[rule, tenant].z()}
        for (rule, tenant), row in sorted(sampling.sums.items())
    ]
