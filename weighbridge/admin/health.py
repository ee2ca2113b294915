"""What the running bridge says about itself: why it is not ready, its metrics, its ledger."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mapping.sampling.stated import capped
from receiver.counts import Key
from weighbridge.admin.door import parameters, whole_number
from weighbridge.admin.ledger import intake, residue, sinks
from weighbridge.admin.replay import Replays
from weighbridge.admin.server import Metric
from weighbridge.admin.sink_state import sink_facts, sink_metrics
from weighbridge.room import why_full
from weighbridge.unmappable import held

if TYPE_CHECKING:
    from weighbridge.service import Bridge

log = logging.getLogger(__name__)

# A replay is answered by then also when its destination is away; it goes on.
REPLAY_ANSWER_S = 10.0
MOST_MINUTES = 60 * 24 * 366 * 10  # ten years

Samples = Iterable[tuple[Mapping[str, str], float]]


class Health:
    """Reads the parts of one bridge; changes nothing."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._replays = Replays(
            bridge.dead_letters, bridge.deliveries.refused_requests, bridge.pipelines, bridge.returns.replay
        )

    def not_ready(self) -> list[str]:
        """Why a request would be refused now, or not reach a sink for a fault of ours.

        A sink that is away is no reason: the spool takes its place.
        """
        spool = self._bridge.spool
        if not self._bridge.accepting:
            return ["the bridge is starting or stopping"]
        if spool.failed:
            return [f"the spool cannot be written: {spool.failed}"]
        full = spool.full
        reasons = [why_full(self._bridge, full)] if full else []
        # Requests are still taken in, and wait in the spool; but nothing brings this in order except people.
        return reasons + [why for task, why in sorted(self._bridge.tasks.down.items()) if task.startswith("sink ")]

    def facts(self) -> dict[str, Any]:
        """What proves that requests go all the way: to the disk, and on to the sinks."""
        spool = self._bridge.spool
        synced = spool.last_sync_unix_ns
        return {
            "oldest_undelivered_age_s": round(_age_s(spool.oldest_received_unix_ns), 3),
            "last_sync_age_s": round(_age_s(synced), 3) if synced else None,
            "last_sync_s": round(spool.last_sync_s, 6) if synced else None,
            "sinks_retrying": sorted(
                name for name, pipeline in self._bridge.pipelines.items() if pipeline.counts.last_error
            ),
            "sinks": sink_facts(self._bridge),
            "tasks_down": sorted(self._bridge.tasks.down.values()),
            "keys_file_error": self._bridge.keys_complaint or None,
        }

    def routes(self) -> list[web.RouteDef]:
        """For the command line: the ledger, and where an embedded store lives."""

        async def ledger(request: web.Request) -> web.Response:
            bridge = self._bridge
            return web.json_response({"intake": intake(bridge), "sinks": sinks(bridge), "residue": residue(bridge)})

        async def sampled(request: web.Request) -> web.Response:
            asked = parameters(request, ("minutes",))
            if "minutes" not in asked:
                return web.json_response(self.sampling())
            minutes = whole_number("minutes", asked["minutes"], 1, MOST_MINUTES)
            await self._bridge.books.save()
            since_s = int(time.time()) // 60 * 60 - 60 * (minutes - 1)
            return web.json_response(await asyncio.to_thread(self._bridge.books.minutes.since, since_s))

        async def stores(request: web.Request) -> web.Response:
            paths = (sink.engine_path for sink in self._bridge.settings.exporter.sinks)
            return web.json_response([str(path.absolute()) for path in paths if path])

        async def replay(request: web.Request) -> web.Response:
            asked = parameters(request, ("since_unix_ns", "reason"))
            since = whole_number("since_unix_ns", asked.get("since_unix_ns", "0"))
            reason = asked.get("reason", "").lower()
            passed_over = self._replays.busy
            replaying = self._bridge.tasks.once("replay of dead letters", self._replays.replay(reason, since))
            done, _ = await asyncio.wait([replaying], timeout=REPLAY_ANSWER_S)
            taken = await replaying if done else 0
            return web.json_response({"replayed": taken, "waiting": not done or (passed_over and not taken)})

        return [
            web.get("/ledger", ledger),
            web.get("/stores", stores),
            web.get("/sampling", sampled),
            web.post("/deadletter/replay", replay),
        ]

    def sampling(self) -> list[dict[str, Any]]:
        """One row per rule and tenant, of requests mapped for the first time by this process."""
        sampling = self._bridge.books.sampling
        return [
            {"rule": rule, "tenant": tenant, **row._asdict(), "audit_z": sampling.ledger.audits[rule, tenant].z()}
            for (rule, tenant), row in sorted(sampling.sums.items())
        ]

    def _sampling_metrics(self) -> Iterator[Metric]:
        sampling = self._bridge.books.sampling
        yield Metric(
            "weighbridge_should_skip_errors_total",
            "counter",
            "Calls for which `mapping.should_skip` failed, since the start; they are reported.",
            [({}, self._bridge.should_skip_errors_before + self._bridge.mapper.should_skip_errors)],
        )
        yield Metric(
            "weighbridge_sampling_records_total",
            "counter",
            "Records decided since the start; reason `kept` or why not.",
            [(key._asdict(), sums.records) for key, sums in sorted(sampling.totals.items())],
        )
        implausible = sum(sums.records for key, sums in sampling.totals.items() if key.upstream == "implausible")
        yield Metric(
            "weighbridge_sampling_capped_total",
            "counter",
            "Records that claimed to stand for more than is believed: `threshold` counts as one, `weight` as the most.",
            [({"claim": "threshold"}, implausible), ({"claim": "weight"}, capped.count)],
        )
        audits = {key: audit.z() for key, audit in sorted(sampling.ledger.audits.items())}
        yield Metric(
            "weighbridge_sampling_audit_z",
            "gauge",
            "Weights of what was kept less what came, in standard errors.",
            [({"rule": rule, "tenant": tenant}, z) for (rule, tenant), z in audits.items()],
        )
        yield _gauge(
            "weighbridge_sampling_audit_alarm", "1 while weights do not add up.", float(bool(sampling.ledger.alarms()))
        )
        yield Metric(
            "weighbridge_sampling_trace_id_alarm",
            "gauge",
            "Chi-square of services whose trace ids are not random.",
            [({"service": name}, value) for name, value in sorted(sampling.sampler.watch.alarms.items())],
        )
        yield _gauge("weighbridge_sampling_hashed", "1 while trace ids are hashed.", float(sampling.sampler.hashed))
        if (windows := self._bridge.books.windows) is not None:
            yield Metric(
                "weighbridge_sampling_windows_early_total",
                "counter",
                "Windows that ended early for want of memory, so that their second may have had more than its budget.",
                [({}, windows.early)],
            )

    def metrics(self) -> Iterator[Metric]:
        """Names of the OpenTelemetry Collector where it has one for the same thing."""
        yield from self._receiver_metrics()
        yield from self._spool_metrics()
        yield from sink_metrics(self._bridge)
        yield from self._sampling_metrics()
        requests, size = held(self._bridge.directory / "unmappable")
        yield _gauge("weighbridge_unmappable_requests", "Requests kept that cannot be mapped.", requests)
        yield _gauge("weighbridge_unmappable_bytes", "Bytes of their bodies.", size)
        yield Metric(
            "weighbridge_unmappable_not_kept_total",
            "counter",
            "Requests that cannot be mapped for which there was no room, since the start.",
            [({}, self._bridge.feed.counts.unmappable_not_kept)],
        )
        yield Metric(
            "weighbridge_task_failures_total",
            "counter",
            "Tasks that ended by an exception that nobody expected, since the start; they begin again.",
            [({"task": task}, count) for task, count in sorted(self._bridge.tasks.failures.items())],
        )
        yield Metric(
            "weighbridge_task_down",
            "gauge",
            "1 while a task waits to begin again.",
            [({"task": task}, 1) for task in sorted(self._bridge.tasks.down)],
        )

    def _receiver_metrics(self) -> Iterator[Metric]:
        counts = self._bridge.counts
        for signal, noun in (("traces", "spans"), ("logs", "log_records")):
            yield Metric(
                f"otelcol_receiver_accepted_{noun}_total",
                "counter",
                f"Records of {signal} acknowledged: on disk.",
                _by_key(counts.accepted_records, signal),
            )
            yield Metric(
                f"otelcol_receiver_refused_{noun}_total",
                "counter",
                f"Records of {signal} refused, by reason.",
                _by_key(counts.refused_records, signal),
            )
        yield Metric(
            "weighbridge_receiver_requests_total", "counter", "Requests answered 200.", _by_key(counts.requests)
        )
        yield Metric(
            "weighbridge_receiver_refused_requests_total",
            "counter",
            "Requests refused, by reason.",
            _by_key(counts.refused_requests),
        )
        yield Metric(
            "weighbridge_receiver_warned_requests_total",
            "counter",
            "Requests answered 200 with a warning: nothing in them but keys that OTLP/JSON does not have.",
            _by_key(counts.warned_requests),
        )
        yield Metric(
            "weighbridge_receiver_received_bytes_total",
            "counter",
            "Bodies of requests answered 200, as sent.",
            _by_key(counts.received_bytes),
        )
        yield Metric(
            "weighbridge_receiver_inflated_bytes_total",
            "counter",
            "The same after decompression.",
            _by_key(counts.inflated_bytes),
        )
        yield Metric(
            "weighbridge_receiver_resent_records_total",
            "counter",
            "Records of requests that had been received before and were not stored again.",
            [({"tenant": tenant}, count) for tenant, count in sorted(self._bridge.resent.items())],
        )
        yield _gauge("weighbridge_receiver_connections", "Open connections.", counts.connections)
        yield _gauge("weighbridge_receiver_in_flight_bytes", "Bytes of requests under way.", counts.in_flight_bytes)

    def _spool_metrics(self) -> Iterator[Metric]:
        spool = self._bridge.spool
        yield _gauge("weighbridge_spool_bytes", "Bytes on disk.", spool.bytes_used)
        yield _gauge("weighbridge_spool_records", "Requests that some sink still needs.", spool.record_count)
        yield _gauge(
            "weighbridge_spool_oldest_age_seconds",
            "Age of the oldest request kept.",
            _age_s(spool.oldest_received_unix_ns),
        )
        yield _gauge("weighbridge_spool_sync_seconds", "Duration of the last fdatasync.", spool.last_sync_s)
        yield _gauge(
            "weighbridge_spool_sync_timestamp_seconds",
            "When the last fdatasync ended, in Unix time; 0 before the first.",
            spool.last_sync_unix_ns / 1e9,
        )
        for name, help_ in (
            ("groups", "Group commits."),
            ("refused_full", "Appends refused because the spool was full."),
            ("refused_failed", "Appends refused because the disk failed."),
            ("quarantined_records", "Acknowledged requests that cannot be read any more."),
            ("sync_errors", "Failed fdatasync calls."),
            ("write_errors", "Writes that failed or found the disk full."),
        ):
            yield Metric(f"weighbridge_spool_{name}_total", "counter", help_, [({}, getattr(spool.counts, name))])


def _age_s(since_unix_ns: int) -> float:
    """Seconds since a moment; 0 when there was none yet."""
    return (time.time_ns() - since_unix_ns) / 1e9 if since_unix_ns else 0


def _gauge(name: str, help_: str, value: float) -> Metric:
    return Metric(name, "gauge", help_, [({}, value)])


def _by_key(counter: Mapping[Key, int], signal: str | None = None) -> Samples:
    for key, value in sorted(counter.items()):
        if signal is None or key.signal == signal:
            labels = {"tenant": key.tenant} | ({"reason": key.reason} if key.reason else {})
            yield labels if signal else {**labels, "signal": key.signal}, value
