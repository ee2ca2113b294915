"""Every metric of the bridge: its name, kind, unit and meaning.

/metrics, what goes out over OTLP and docs/metrics.md are made of it; `weighbridge.admin.metrics` has the values.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Registered(NamedTuple):
    """One name. It is the OpenTelemetry Collector's where the Collector has one for the same thing."""

    name: str  # ends in its unit, and in _total for a counter
    kind: Literal["counter", "gauge"]
    unit: str  # as UCUM has it, for OTLP; "" for what is no quantity
    labels: tuple[str, ...]
    meaning: str
    when: str = ""  # with which setting it is there; "": always


def _counter(name: str, unit: str, labels: str, meaning: str, when: str = "") -> Registered:
    return Registered(f"{name}_total", "counter", unit, tuple(labels.split()), meaning, when)


def _gauge(name: str, unit: str, labels: str, meaning: str) -> Registered:
    return Registered(name, "gauge", unit, tuple(labels.split()), meaning)


_ALL = (
    _counter("otelcol_receiver_accepted_spans", "{span}", "tenant", "Records of traces acknowledged: on disk."),
    _counter("otelcol_receiver_refused_spans", "{span}", "tenant reason", "Records of traces refused, by reason."),
    _counter(
        "otelcol_receiver_accepted_log_records",
        "{log_record}",
        "tenant",
        "Records of logs acknowledged: on disk.",
    ),
    _counter(
        "otelcol_receiver_refused_log_records",
        "{log_record}",
        "tenant reason",
        "Records of logs refused, by reason.",
    ),
    _counter("weighbridge_receiver_requests", "{request}", "tenant signal", "Requests answered 200."),
    _counter(
        "weighbridge_receiver_refused_requests",
        "{request}",
        "tenant reason signal",
        "Requests refused, by reason.",
    ),
    _counter(
        "weighbridge_receiver_warned_requests",
        "{request}",
        "tenant signal",
        "Requests answered 200 with a warning: nothing in them but keys that OTLP/JSON does not have.",
    ),
    _counter("weighbridge_receiver_received_bytes", "By", "tenant signal", "Bodies of requests answered 200, as sent."),
    _counter("weighbridge_receiver_inflated_bytes", "By", "tenant signal", "The same after decompression."),
    _counter(
        "weighbridge_receiver_resent_records",
        "{record}",
        "tenant",
        "Records of requests that had been received before and were not stored again.",
    ),
    _gauge("weighbridge_receiver_connections", "{connection}", "", "Open connections."),
    _gauge("weighbridge_receiver_in_flight_bytes", "By", "", "Bytes of requests under way."),
    _gauge(
        "weighbridge_receiver_certificate_end_timestamp_seconds",
        "s",
        "",
        "When the first certificate in `receiver.tls.certificate_file` ends, in Unix time; 0 when it cannot be read. "
        "Without a value where HTTPS is not served.",
    ),
    _gauge("weighbridge_spool_bytes", "By", "", "Bytes on disk."),
    _gauge(
        "weighbridge_spool_room_bytes",
        "By",
        "",
        "Bytes the spool can still take before requests are refused, by `spool.max_bytes` or by the disk, whichever "
        "is less.",
    ),
    _gauge(
        "weighbridge_disk_free_bytes",
        "By",
        "place",
        "Free bytes on the disk of the `spool`, and of each sink's embedded store or files, by the sink's name.",
    ),
    _gauge("weighbridge_disk_bytes", "By", "place", "Size of that disk."),
    _gauge("weighbridge_spool_requests", "{request}", "", "Requests that some sink still needs."),
    _gauge("weighbridge_spool_oldest_age_seconds", "s", "", "Age of the oldest request kept."),
    _gauge("weighbridge_spool_sync_seconds", "s", "", "Duration of the last fdatasync."),
    _gauge(
        "weighbridge_spool_sync_timestamp_seconds",
        "s",
        "",
        "When the last fdatasync ended, in Unix time; 0 before the first.",
    ),
    _counter("weighbridge_spool_groups", "{commit}", "", "Group commits."),
    _counter("weighbridge_spool_refused_full", "{request}", "", "Appends refused because the spool was full."),
    _counter("weighbridge_spool_refused_failed", "{request}", "", "Appends refused because the disk failed."),
    _counter(
        "weighbridge_spool_quarantined_requests",
        "{request}",
        "",
        "Acknowledged requests that cannot be read any more.",
    ),
    _counter("weighbridge_spool_sync_errors", "{error}", "", "Failed fdatasync calls."),
    _counter("weighbridge_spool_write_errors", "{error}", "", "Writes that failed or found the disk full."),
    _counter(
        "weighbridge_sink_records",
        "{record}",
        "sink tenant outcome",
        "Where records ended, by sink, tenant and outcome; since the sink was new. Outcome `replayed` is "
        "those of `dead_lettered` that ended otherwise when they were sent again.",
    ),
    _gauge(
        "weighbridge_sink_residue_records",
        "{record}",
        "sink",
        "Records that no outcome explains. Anything but 0 is a fault of the bridge.",
    ),
    _gauge(
        "weighbridge_intake_residue_records",
        "{record}",
        "step",
        "Records lost between the socket and the sinks, by step. Anything but 0 is a fault of the bridge.",
    ),
    _gauge("weighbridge_sink_waiting_calls", "{call}", "sink", "Calls read from logs that wait for their span."),
    _gauge("weighbridge_dead_letters", "{event}", "sink", "Events in the file of dead letters."),
    _counter(
        "weighbridge_dead_letters_not_kept",
        "{event}",
        "sink",
        "Dead letters since the start for which the file had no room.",
    ),
    _gauge("weighbridge_dead_letter_bytes", "By", "", "Size of the file of dead letters."),
    _counter("weighbridge_sink_batches", "{batch}", "sink", "Batches delivered since the start."),
    _counter("weighbridge_sink_retries", "{attempt}", "sink", "Attempts that failed since the start."),
    _counter(
        "weighbridge_sink_faults",
        "{attempt}",
        "sink",
        "Attempts that ended by an exception that no sink should raise, since the start.",
    ),
    _counter(
        "weighbridge_sink_engine_restarts",
        "{restart}",
        "sink",
        "How often the embedded engine ended by itself and was started again, since the start.",
    ),
    _counter(
        "weighbridge_sink_folded_calls",
        "{call}",
        "sink",
        "Calls since the start that `api_minutes` counts under `(other)`, because their minute has too many names.",
    ),
    _gauge("weighbridge_sink_unauthorised", "", "sink", "1 while the destination refuses our credentials."),
    _gauge(
        "weighbridge_sink_backlog_records",
        "{record}",
        "sink",
        "Records that this sink has not got yet. What an earlier process left counts when it is read.",
    ),
    _gauge("weighbridge_sink_backlog_bytes", "By", "sink", "Bytes in the spool that this sink has not got yet."),
    _gauge(
        "weighbridge_sink_backlog_oldest_age_seconds",
        "s",
        "sink",
        "Age of the oldest request that this sink has not got yet; 0 when there is none.",
    ),
    _gauge(
        "weighbridge_sink_stopped",
        "",
        "sink",
        "1 while the sink's pipeline waits to begin again: it has ended by a fault of the bridge, or stops its lane.",
    ),
    _counter(
        "weighbridge_should_skip_errors",
        "{call}",
        "",
        "Calls for which `mapping.should_skip` failed, since the start; they are reported.",
    ),
    _counter(
        "weighbridge_sampling_records",
        "{record}",
        "rule reason upstream r_source",
        "Records decided since the start; reason `kept` or why not.",
    ),
    _counter(
        "weighbridge_sampling_capped",
        "{record}",
        "claim",
        "Records that claimed to stand for more than is believed: `threshold` counts as one, `weight` as the most.",
    ),
    _gauge(
        "weighbridge_sampling_audit_z",
        "",
        "rule tenant",
        "Weights of what was kept less what came, in standard errors.",
    ),
    _gauge("weighbridge_sampling_audit_alarm", "", "", "1 while weights do not add up."),
    _gauge(
        "weighbridge_sampling_trace_id_alarm",
        "",
        "service",
        "Chi-square of services whose trace ids are not random.",
    ),
    _gauge("weighbridge_sampling_hashed", "", "", "1 while trace ids are hashed."),
    _counter(
        "weighbridge_sampling_windows_early",
        "{window}",
        "",
        "Windows that ended early for want of memory, so that their second may have had more than its budget.",
        when="sampling.budget.window_s",
    ),
    _counter(
        "weighbridge_set_aside_records",
        "{record}",
        "",
        "Records that stopped the process of a lane, and are left out of their requests.",
    ),
    _gauge("weighbridge_lane_up", "", "lane", "1 while the process of a lane maps, with lanes.count above 0."),
    _counter("weighbridge_lane_restarts", "{restart}", "lane", "Times that the process of a lane ended by itself."),
    _gauge("weighbridge_unmappable_requests", "{request}", "", "Requests kept that cannot be mapped."),
    _gauge("weighbridge_unmappable_bytes", "By", "", "Bytes of their bodies."),
    _counter(
        "weighbridge_unmappable_not_kept",
        "{request}",
        "",
        "Requests that cannot be mapped for which there was no room, since the start.",
    ),
    _counter(
        "weighbridge_task_failures",
        "{failure}",
        "task",
        "Tasks that ended by an exception that nobody expected, since the start; they begin again.",
    ),
    _gauge("weighbridge_task_down", "", "task", "1 while a task waits to begin again."),
)
# In the order of /metrics.
REGISTRY = {one.name: one for one in _ALL}


def table() -> str:
    """The registry as docs/metrics.md has it."""
    lines = ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    for one in REGISTRY.values():
        meaning = f"{one.meaning} Only with `{one.when}`." if one.when else one.meaning
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {one.unit.strip('{}')} | {labels} | {meaning} |")
    return "\n".join(lines) + "\n"
