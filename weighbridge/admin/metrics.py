"""The values of the metrics that `weighbridge.admin.registry` names, read from where they are counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from receiver.counts import Key
from weighbridge.admin.ledger import unstored
from weighbridge.admin.parts import Parts
from weighbridge.admin.registry import REGISTRY
from weighbridge.admin.server import Metric
from weighbridge.admin.supplies import certificate_end, disks, room_bytes

Samples = Iterable[tuple[Mapping[str, str], float]]  # labels -> value
Values = Iterator[tuple[str, Samples]]  # by name

_INTAKE_RESIDUE = "weighbridge_intake_residue_records"


def metrics(parts: Parts) -> Iterator[Metric]:
    """All of them, as they are now."""
    behind = parts.report().metrics
    for values in (_receiver(parts), _spool(parts), behind.items()):
        for name, samples in values:
            if name == _INTAKE_RESIDUE:
                samples = [({"step": "stored"}, unstored(parts)), *samples]
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
    ends = certificate_end(parts.settings)
    yield "weighbridge_receiver_certificate_end_timestamp_seconds", [] if ends is None else _one(ends)


def _spool(parts: Parts) -> Values:
    spool, counts = parts.spool, parts.spool.counts
    oldest = spool.oldest_received_unix_ns
    yield "weighbridge_spool_bytes", _one(spool.bytes_used)
    yield "weighbridge_spool_room_bytes", _one(room_bytes(parts))
    found = disks(parts)
    yield "weighbridge_disk_free_bytes", [({"place": place}, disk.free_bytes) for place, disk in found.items()]
    yield "weighbridge_disk_bytes", [({"place": place}, disk.bytes) for place, disk in found.items()]
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


def _one(value: float) -> Samples:
    return [({}, value)]


def _by_key(counter: Mapping[Key, int], signal: str | None = None) -> Samples:
    for key, value in sorted(counter.items()):
        if signal is None or key.signal == signal:
            labels = {"tenant": key.tenant} | ({"reason": key.reason} if key.reason else {})
            yield labels if signal else {**labels, "signal": key.signal}, value
