"""The alert rules: each fires on what it is for and on nothing else, by promtool; each has a paragraph for a person."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from bridge import BridgeProcess, eventually, free_port
from exporter.clickhouse.engine.endpoint import read_published
from project_files import ROOT
from weighbridge.admin.registry import REGISTRY

RULES_FILE = ROOT / "deploy/helm/weighbridge/files/alerts.yaml"
RULES: list[dict[str, Any]] = yaml.safe_load(RULES_FILE.read_text())["groups"][0]["rules"]
MOST_RULES = 15
HOUR = 60  # samples: one a minute
W = "weighbridge_"


class Case(NamedTuple):
    """Series by minute in promtool's notation, and the labels with which the alert fires; None: it does not."""

    alert: str
    series: dict[str, str]
    fires: dict[str, str] | None
    minute: int = 3 * HOUR


CASES = [
    Case("WeighbridgeDown", {'up{job="weighbridge-headless"}': "1x10 0x200"}, {"job": "weighbridge-headless"}),
    Case("WeighbridgeDown", {'up{job="weighbridge"}': "1x200", 'up{job="node"}': "0x200"}, None),
    # 10 GB of room, 60 MB less each minute: 166 minutes.
    Case("WeighbridgeSpoolFills", {f"{W}spool_room_bytes": "10e9-60e6x60"}, {}, 50),
    Case("WeighbridgeSpoolFills", {f"{W}spool_room_bytes": "0x60"}, {}, 50),
    Case("WeighbridgeSpoolFills", {f"{W}spool_room_bytes": "10e9-1e6x60"}, None, 50),
    Case("WeighbridgeSpoolFills", {f"{W}spool_room_bytes": "1e9+60e6x60"}, None, 50),
    Case("WeighbridgeUndelivered", {f'{W}sink_backlog_oldest_age_seconds{{sink="s"}}': "0+60x200"}, {"sink": "s"}, 40),
    Case("WeighbridgeUndelivered", {f'{W}sink_backlog_oldest_age_seconds{{sink="s"}}': "30x200"}, None),
    Case("WeighbridgeSinkStuck", {f'{W}sink_stopped{{sink="s"}}': "1x200"}, {"sink": "s"}),
    Case("WeighbridgeSinkStuck", {f'{W}sink_unauthorised{{sink="s"}}': "1x200"}, {"sink": "s"}),
    Case(
        "WeighbridgeSinkStuck",
        {f'{W}sink_retries_total{{sink="s"}}': "0+2x200", f'{W}sink_batches_total{{sink="s"}}': "7x200"},
        {"sink": "s"},
    ),
    Case(  # a retry now and then, between batches that arrive
        "WeighbridgeSinkStuck",
        {f'{W}sink_retries_total{{sink="s"}}': "0+1x200", f'{W}sink_batches_total{{sink="s"}}': "0+9x200"},
        None,
    ),
    Case("WeighbridgeQuarantine", {f"{W}spool_quarantined_requests_total": "0x170 4x30"}, {}),
    Case("WeighbridgeQuarantine", {f"{W}spool_quarantined_requests_total": "_x170 4x30"}, {}),  # found at a start
    Case("WeighbridgeQuarantine", {f"{W}spool_quarantined_requests_total": "4x200"}, None),  # looked at long ago
    Case("WeighbridgeQuarantine", {f"{W}spool_quarantined_requests_total": "0x200"}, None),
    Case("WeighbridgeDeadLetters", {f'{W}dead_letters{{sink="s"}}': "3x170 9x30"}, {"sink": "s"}),
    Case("WeighbridgeDeadLetters", {f'{W}dead_letters{{sink="s"}}': "3x200"}, None),
    Case("WeighbridgeDeadLetters", {f"{W}unmappable_requests": "0x170 1x30"}, {}),
    Case("WeighbridgeDeadLetters", {f'{W}dead_letters_not_kept_total{{sink="s"}}': "0x170 5x30"}, {"sink": "s"}),
    Case(
        "WeighbridgeDeadLetters",
        {f'{W}sink_records_total{{sink="s",tenant="t",outcome="dropped"}}': "0x170 5x30"},
        {"sink": "s", "tenant": "t", "outcome": "dropped"},
    ),
    Case(  # whole requests that another OTLP endpoint refused, which are in no file of events
        "WeighbridgeDeadLetters",
        {f'{W}sink_records_total{{sink="s",tenant="t",outcome="dead_lettered"}}': "0x170 5x30"},
        {"sink": "s"},
    ),
    Case("WeighbridgeDeadLetters", {f'{W}sink_records_total{{sink="s",outcome="stored"}}': "0+50x200"}, None),
    Case("WeighbridgeUnexplained", {f'{W}sink_residue_records{{sink="s"}}': "-2x200"}, {"sink": "s"}),
    Case("WeighbridgeUnexplained", {f'{W}intake_residue_records{{step="stored"}}': "1x200"}, {"step": "stored"}),
    Case("WeighbridgeUnexplained", {f'{W}sink_residue_records{{sink="s"}}': "0x175 1x2 0x30"}, None),
    Case("WeighbridgeWeightsWrong", {f"{W}sampling_audit_alarm": "1x200"}, {}),
    Case("WeighbridgeWeightsWrong", {f"{W}sampling_audit_alarm": "0x200"}, None),
    Case(
        "WeighbridgeWeightsCapped",
        {f'{W}sampling_capped_total{{claim="threshold"}}': "0+1x200"},
        {"claim": "threshold"},
    ),
    Case("WeighbridgeWeightsCapped", {f'{W}sampling_capped_total{{claim="threshold"}}': "8x200"}, None),
    Case(
        "WeighbridgeRefuses",
        {
            f'{W}receiver_refused_requests_total{{tenant="a",signal="logs",reason="quota"}}': "0+10x200",
            f'{W}receiver_requests_total{{tenant="a",signal="logs"}}': "0+40x200",
            f'{W}receiver_requests_total{{tenant="b",signal="traces"}}': "0+40x200",
        },
        {"reason": "quota"},
    ),
    Case(  # nothing is taken any more
        "WeighbridgeRefuses",
        {f'{W}receiver_refused_requests_total{{tenant="",signal="logs",reason="unauthorized"}}': "0+10x200"},
        {"reason": "unauthorized"},
    ),
    Case(
        "WeighbridgeRefuses",
        {
            f'{W}receiver_refused_requests_total{{tenant="a",signal="logs",reason="quota"}}': "0+1x200",
            f'{W}receiver_requests_total{{tenant="a",signal="logs"}}': "0+100x200",
        },
        None,
    ),
    Case("WeighbridgeSyncSlow", {f"{W}spool_sync_seconds": "0.002x100 0.9x100"}, {}),
    Case("WeighbridgeSyncSlow", {f"{W}spool_sync_errors_total": "0x170 3x30"}, {}),
    Case("WeighbridgeSyncSlow", {f"{W}spool_write_errors_total": "0x170 3x30"}, {}),
    Case("WeighbridgeSyncSlow", {f"{W}spool_sync_seconds": "0.002x179 0.9x1 0.002x30"}, None),
    # Time begins at 0: a week is 604800 s, minute 180 is 10800 s.
    Case("WeighbridgeCertificateEnds", {f"{W}receiver_certificate_end_timestamp_seconds": "600000x200"}, {}),
    Case("WeighbridgeCertificateEnds", {f"{W}receiver_certificate_end_timestamp_seconds": "0x200"}, {}),  # unreadable
    Case("WeighbridgeCertificateEnds", {f"{W}receiver_certificate_end_timestamp_seconds": "900000x200"}, None),
    Case(
        "WeighbridgeEngineRestarts",
        {f'{W}sink_engine_restarts_total{{sink="s"}}': "0x150 1x9 2x9 3x9 4x30"},
        {"sink": "s"},
    ),
    Case("WeighbridgeEngineRestarts", {f'{W}sink_engine_restarts_total{{sink="s"}}': "0x150 1x60"}, None),
    Case("WeighbridgeTaskDown", {f'{W}task_down{{task="sampling"}}': "1x200"}, {"task": "sampling"}),
    Case("WeighbridgeTaskDown", {f'{W}task_failures_total{{task="audit"}}': "0+1x200"}, {"task": "audit"}),
    Case("WeighbridgeTaskDown", {f'{W}task_failures_total{{task="audit"}}': "2x200"}, None),
    Case("WeighbridgeTaskDown", {f'{W}lane_up{{lane="0"}}': "1x100 0x100"}, {"lane": "0"}),
    Case("WeighbridgeTaskDown", {f'{W}lane_restarts_total{{lane="1"}}': "0+1x200"}, {"lane": "1"}),
    Case("WeighbridgeTaskDown", {f'{W}lane_up{{lane="0"}}': "1x175 0x1 1x30"}, None),  # begun again at once
    Case(
        "WeighbridgeDiskFills",
        {f'{W}disk_free_bytes{{place="spool"}}': "5e9x200", f'{W}disk_bytes{{place="spool"}}': "100e9x200"},
        {"place": "spool"},
    ),
    Case(  # 45 GB, 50 MB less each minute: 15 hours
        "WeighbridgeDiskFills",
        {f'{W}disk_free_bytes{{place="store"}}': "45e9-50e6x200", f'{W}disk_bytes{{place="store"}}': "100e9x200"},
        {"place": "store"},
    ),
    Case(
        "WeighbridgeDiskFills",
        {f'{W}disk_free_bytes{{place="store"}}': "45e9-1e6x200", f'{W}disk_bytes{{place="store"}}': "100e9x200"},
        None,
    ),
]


def rule(alert: str) -> dict[str, Any]:
    (found,) = (one for one in RULES if one["alert"] == alert)
    return found


def expected(alert: str, labels: dict[str, str]) -> dict[str, Any]:
    of = rule(alert)
    return {"exp_labels": of["labels"] | labels, "exp_annotations": of["annotations"]}


def promtool_test(name: str, series: dict[str, str], minute: int, alerts: dict[str, list[dict[str, str]]]) -> Any:
    """One test of promtool: at a minute exactly these alerts fire, each with these labels."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": of, "exp_alerts": [expected(of, one) for one in labels]}
            for of, labels in alerts.items()
        ],
    }


def run_promtool(tests: list[Any], tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(RULES_FILE.read_text())
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.tools
@pytest.mark.process
def test_prometheus_reads_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES_FILE)], capture_output=True, text=True)
    assert (done.returncode, f"{len(RULES)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.tools
@pytest.mark.process
def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else(tmp_path: Path) -> None:
    tests = [
        promtool_test(
            f"{number} {case.alert}",
            case.series,
            case.minute,
            {of["alert"]: [case.fires] if of["alert"] == case.alert and case.fires is not None else [] for of in RULES},
        )
        for number, case in enumerate(CASES)
    ]
    run_promtool(tests, tmp_path)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    names = {of["alert"] for of in RULES}
    assert {case.alert for case in CASES if case.fires is not None} == names
    assert {case.alert for case in CASES if case.fires is None} == names


def test_there_are_few_rules_and_each_asks_for_what_is_told() -> None:
    assert len(RULES) <= MOST_RULES
    for of in RULES:
        asked = set(re.findall(r"\b(?:weighbridge|otelcol)_\w+", of["expr"]))
        assert asked <= set(REGISTRY), of["alert"]
        assert asked or of["alert"] == "WeighbridgeDown"
        assert of["labels"]["severity"] in ("page", "ticket")


def test_each_alert_leads_to_its_paragraph() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    sections = dict(re.findall(r"^### (Weighbridge\w+)\n\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == [of["alert"] for of in RULES]
    for of in RULES:
        assert of["annotations"]["runbook_url"] == f"docs/operations.md#{of['alert'].lower()}"
        for question in ("**Means.**", "**Look at.**", "**Do.**"):
            assert question in sections[of["alert"]], of["alert"]


# -- what a real bridge tells in trouble ---------------------------------------------------------------------


def scraped(bridge: BridgeProcess) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def drawn_out(before: dict[str, float], after: dict[str, float], minutes: int = HOUR) -> dict[str, str]:
    """Two scrapes as series: the change between them goes on at one pace for so long, then the last value stays."""
    found = {}
    for name, value in after.items():
        began = before.get(name, 0)
        found[name] = f"{began:.6f}{(value - began) / minutes:+.6f}x{minutes - 1} {value:.6f}x{HOUR}"
    return found


@pytest.mark.tools
@pytest.mark.process
def test_what_a_real_bridge_tells_of_a_destination_that_is_away_until_the_spool_is_full(tmp_path: Path) -> None:
    away = free_port()
    bridge = BridgeProcess(
        tmp_path,
        spool={"max_bytes": 1 << 20, "segment_bytes": 1 << 18},
        exporter={
            "sinks": [
                {"name": "files", "type": "jsonlines", "path": str(tmp_path / "events")},
                {"name": "gone", "type": "clickhouse", "dsn": f"http://127.0.0.1:{away}/analytics"},
            ],
            "batch": {"max_age_s": 0.05},
            "retry": {"initial_interval_s": 0.05, "max_interval_s": 0.1},
        },
    )
    bridge.start()
    try:
        before = scraped(bridge)

        def full() -> bool:
            body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"%d %s"}}]}]}]}'
            sent = body % (time.monotonic_ns(), b"x" * 60_000)
            return bridge.post("/v1/logs", sent, Content_Type="application/json")[0] == 503

        while not full():
            pass
        for _ in range(30):
            assert full()
        eventually(lambda: bridge.metric("weighbridge_sink_retries_total") > 5, "the sink is tried again")
        after = scraped(bridge)
    finally:
        bridge.stop()
    room = after["weighbridge_spool_room_bytes"]
    assert room < 1 << 18  # what a full spool has left is less than a request
    (reason,) = {
        label for name in after if "refused_requests_total" in name for label in re.findall(r'reason="(\w+)"', name)
    }
    stuck, healthy = drawn_out(before, after), drawn_out(before, before)
    quiet: dict[str, list[dict[str, str]]] = {of["alert"]: [] for of in RULES}
    disk = {"WeighbridgeDiskFills"}  # of the machine that the test runs on
    for name in disk:
        quiet.pop(name)
    run_promtool(
        [
            promtool_test("healthy", healthy, 2 * HOUR, quiet),
            promtool_test(
                "away and full",
                stuck,
                HOUR,
                quiet
                | {
                    "WeighbridgeSpoolFills": [{}],
                    "WeighbridgeSinkStuck": [{"sink": "gone"}],
                    "WeighbridgeRefuses": [{"reason": reason}],
                },
            ),
        ],
        tmp_path,
    )


@pytest.mark.tools
@pytest.mark.process
def test_what_a_real_bridge_tells_of_a_damaged_spool_wrong_credentials_and_bold_senders(tmp_path: Path) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(400 if self.path == "/v1/traces" else 401)  # of the tee: refused for good
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    def post(number: int, key: str = "k-1", state: str = "") -> int:
        ids = {"traceId": f"{number:032x}", "spanId": f"{number:016x}", "kind": 2, "traceState": state}
        times = {"startTimeUnixNano": str(time.time_ns()), "endTimeUnixNano": str(time.time_ns() + 1000)}
        told = {"http.request.method": "GET", "url.path": "/a", "user.id": "4711"}
        attributes = [{"key": name, "value": {"stringValue": value}} for name, value in told.items()]
        span = {**ids, **times, "name": "GET /a", "attributes": attributes}
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
        return bridge.post("/v1/traces", body, Content_Type="application/json", Authorization=f"Bearer {key}")[0]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    moesif = {"type": "moesif", "application_id": "wrong-0001", "base_url": f"http://127.0.0.1:{server.server_port}"}
    # The second sink is well, so that what comes is mapped while the first one waits.
    sinks = [
        {"name": "moesif", "entry_wait_s": 0, **moesif},
        {"name": "files", "type": "jsonlines", "path": str(tmp_path / "events")},
        {"name": "tee", "type": "otlphttp", "endpoint": moesif["base_url"]},
    ]
    bridge = BridgeProcess(
        tmp_path,
        receiver={"tenants": {"acme": {"keys": ["k-1"]}}},
        exporter={"sinks": sinks, "batch": {"max_age_s": 0.05}},
    )
    bridge.start()
    try:
        before = scraped(bridge)
        assert {post(number) for number in range(1, 40)} == {200}
        bridge.kill()
        (segment,) = (tmp_path / "spool").glob("*.spool")
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 0xFF  # a disk that lies
        segment.write_bytes(content)
        bridge.start()
        claim = "ot=th:ffffffffffffff"  # stands for 2^56 calls
        assert {post(number, state=claim) for number in range(100, 110)} == {200}
        assert {post(number, key="k-2") for number in range(200, 210)} == {401}
        eventually(lambda: bridge.metric("weighbridge_sink_unauthorised") == 1, "the sink is refused")
        eventually(lambda: bridge.metric("weighbridge_sampling_capped_total") > 0, "the claim is seen")
        refused = f'{W}sink_records_total{{sink="tee",tenant="acme",outcome="dead_lettered"}}'
        eventually(lambda: scraped(bridge).get(refused, 0) > 0, "the tee has refused requests")
        after = scraped(bridge)
    finally:
        bridge.stop()
        server.shutdown()
        server.server_close()
    assert after["weighbridge_spool_quarantined_requests_total"] > 0
    series = drawn_out(before, after)
    quiet: dict[str, list[dict[str, str]]] = {of["alert"]: [] for of in RULES if of["alert"] != "WeighbridgeDiskFills"}
    lasting: dict[str, list[dict[str, str]]] = {
        "WeighbridgeQuarantine": [{}],
        "WeighbridgeDeadLetters": [{"sink": "tee"}],
        "WeighbridgeWeightsCapped": [{"claim": "threshold"}],
    }
    (reason,) = {
        label for name in after if "refused_requests_total" in name for label in re.findall(r'reason="(\w+)"', name)
    }
    growing = {**quiet, **lasting, "WeighbridgeRefuses": [{"reason": reason}]}
    growing.pop("WeighbridgeSinkStuck")  # from the first minutes on, by its retries, or not yet
    grown = {**quiet, **lasting, "WeighbridgeSinkStuck": [{"sink": "moesif"}]}
    run_promtool(
        [promtool_test("growing", series, HOUR - 1, growing), promtool_test("grown", series, HOUR + 25, grown)],
        tmp_path,
    )


@pytest.mark.tools
@pytest.mark.process
def test_what_a_real_bridge_tells_of_an_engine_that_ends_and_a_certificate_near_its_end(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "3", "-subj", "/CN=bridge"]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    bridge = BridgeProcess(
        tmp_path,
        receiver={"tls": {"certificate_file": str(certificate), "private_key_file": str(key)}},
        exporter={"sinks": [{"name": "store", "type": "clickhouse", "dsn": f"chdb://{tmp_path}/store"}]},
    )
    bridge.start()
    try:
        store = tmp_path / "store"

        def engine(but: int = 0) -> int:
            found = read_published(store)
            return found.pid if found is not None and found.pid != but else 0

        eventually(engine, "the engine runs")
        before = scraped(bridge)
        for _ in range(3):
            ended = engine()
            os.kill(ended, signal.SIGKILL)
            eventually(lambda ended=ended: engine(ended), "it is started again")  # type: ignore[misc]
        restarts = "weighbridge_sink_engine_restarts_total"
        eventually(lambda: bridge.metric(restarts) - before.get(f'{restarts}{{sink="store"}}', 0) >= 3, "it is counted")
        after, now = scraped(bridge), time.time()
    finally:
        bridge.stop()
    for told in (before, after):  # promtool's clock begins at 0
        told["weighbridge_receiver_certificate_end_timestamp_seconds"] -= now
    fires: dict[str, list[dict[str, str]]] = {of["alert"]: [] for of in RULES if of["alert"] != "WeighbridgeDiskFills"}
    fires |= {
        "WeighbridgeEngineRestarts": [{"sink": "store"}],
        "WeighbridgeCertificateEnds": [{}],
    }
    del fires["WeighbridgeSinkStuck"], fires["WeighbridgeUndelivered"]  # for a moment, or not at all
    # Three restarts in twenty minutes; a certificate is told of after an hour.
    series = drawn_out(before, after, 20)
    certain = {name: fires[name] for name in fires if name != "WeighbridgeCertificateEnds"}
    later = {"WeighbridgeCertificateEnds": fires["WeighbridgeCertificateEnds"]}
    run_promtool(
        [promtool_test("ended", series, 25, certain), promtool_test("an hour", series, HOUR + 5, later)], tmp_path
    )
