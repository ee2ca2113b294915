"""The bridge's own metrics and warnings, at the OTLP endpoint of whoever watches it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bridge import BridgeProcess, eventually, free_port
from otlp_http import spans
from weighbridge.settings import Settings, is_itself


class Watcher:
    """An OTLP endpoint that keeps what it is told."""

    def __init__(self) -> None:
        self.metrics: dict[str, Any] = {}
        self.logs: list[Any] = []
        self.keys: set[str | None] = set()
        watcher = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
                watcher.keys.add(self.headers["X-Key"])
                if self.path == "/v1/metrics":
                    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                        watcher.metrics |= {one.name: one for one in resource.scope_metrics[0].metrics}
                else:
                    for told in ExportLogsServiceRequest.FromString(body).resource_logs:
                        watcher.logs += [record for scope in told.scope_logs for record in scope.log_records]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    with watcher.server:
        thread = threading.Thread(target=watcher.server.serve_forever)
        thread.start()
        yield watcher
        watcher.server.shutdown()
        thread.join()


def bridge_told_to(directory: Path, endpoint: str) -> BridgeProcess:
    nowhere = {"name": "nowhere", "type": "blackhole"}
    telemetry = {"otlp_endpoint": endpoint, "headers": {"X-Key": "hunter2"}, "interval_s": 1}
    return BridgeProcess(directory, exporter={"sinks": [nowhere]}, telemetry=telemetry)


def test_metrics_and_warnings_arrive_with_their_labels(tmp_path: Path, watcher: Watcher) -> None:
    bridge = bridge_told_to(tmp_path, watcher.endpoint)
    bridge.start()
    try:
        assert bridge.post("/v1/traces", spans(7))[0] == 200

        def delivered() -> list[Any]:
            found = watcher.metrics.get("weighbridge_sink_records_total")
            points = found.sum.data_points if found is not None else ()
            return [point for point in points if (point.as_int or point.as_double) == 7]

        (point, *_) = eventually(delivered, "the watcher has been told of seven spans")
        assert {"sink": "nowhere"}.items() <= {item.key: item.value.string_value for item in point.attributes}.items()
        assert watcher.metrics["weighbridge_sink_records_total"].sum.is_monotonic
        assert watcher.metrics["weighbridge_spool_requests"].HasField("gauge")
        bridge.config.write_text("nonsense: 1")
        bridge.reload()
        eventually(lambda: "not reloaded" in bridge.log.read_text(), "the mistake is logged")
    finally:
        assert bridge.stop() == 0
    (record,) = watcher.logs
    assert record.severity_number == 17
    assert "settings not reloaded" in record.body.string_value
    assert watcher.keys == {"hunter2"}
    assert "hunter2" not in bridge.log.read_text()


def test_a_watcher_that_is_away_costs_one_line_and_no_time(tmp_path: Path) -> None:
    bridge = bridge_told_to(tmp_path, f"http://127.0.0.1:{free_port()}")
    bridge.start()
    try:
        eventually(lambda: "telemetry.otlp_endpoint" in bridge.log.read_text(), "it is said")
        assert bridge.post("/v1/traces", spans(1))[0] == 200
    finally:
        assert bridge.stop() == 0
    assert bridge.log.read_text().count("telemetry.otlp_endpoint") == 1
    assert "Traceback" not in bridge.log.read_text()


@pytest.mark.parametrize("address", ["http://127.0.0.1:4318", "http://localhost:4318/", "http://[::1]:4318"])
def test_a_bridge_that_would_watch_itself_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is this bridge"):
        Settings.model_validate({"telemetry": {"otlp_endpoint": address}})


def test_another_bridge_may_watch() -> None:
    assert not is_itself("http://127.0.0.1:4319", "127.0.0.1:4318")
    assert not is_itself("https://watcher.example:4318", "0.0.0.0:4318")
