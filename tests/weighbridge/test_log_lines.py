"""What the bridge says of itself on standard error: one line a record, in two formats, and why at level debug."""

from __future__ import annotations

import json
import logging
import random
import sys
import urllib.request
from pathlib import Path

import pytest

from bridge import BridgeProcess, eventually, free_port
from exporter.clickhouse.engine.settings import EngineSettings
from exporter.clickhouse.engine.supervisor import command
from exporter.log_format import JsonFormatter, LineFormatter
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from otlp_requests import spans_request
from receiver.decode.request import DecodeLimits, decode_request
from weighbridge.explain import AT_ONCE, EVERY_S, Explainer
from weighbridge.log_lines import log_to_stderr

PATHS = ("readyz", "ledger", "metrics")
LOGGERS = ("urllib3", "clickhouse_connect", "receiver", "mapping", "exporter", "weighbridge", "")


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("exporter.pipeline", logging.WARNING, "p.py", 1, message, (), None)
    vars(made).update(fields)
    return made


def test_a_line_of_json_holds_the_message_and_the_fields() -> None:
    made = record("retrying\nnow", sink="store", wait_s=1.5, path=Path("/x"), level="no")
    line = json.loads(JsonFormatter().format(made))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "exporter.pipeline",
        "message": "retrying\nnow",
        "sink": "store",
        "wait_s": 1.5,
        "path": "/x",
    }


def test_an_exception_stays_in_its_line_of_json() -> None:
    made = record("failed")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    text = JsonFormatter().format(made)
    assert "\n" not in text
    assert "ValueError: why" in json.loads(text)["exception"]


def test_what_a_destination_said_steers_no_terminal() -> None:
    text = LineFormatter().format(record("it said \x1b[2J\u202e", answer="a\r\nb\x9b"))
    assert text.isprintable()
    assert "it said \\x1b[2J\\x202e answer=a\\r\\nb\\x9b" in text


def test_the_engine_logs_in_the_format_of_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    try:
        for form in ("json", "text"):
            log_to_stderr("info", form)
            assert command(Path("/x"), EngineSettings())[-2:] == ["--log-format", form]
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


# -- why ---------------------------------------------------------------------------------------------------------------


def as_value(key: str, value: str) -> dict[str, object]:
    """Of an attribute: headers are lists."""
    return {"arrayValue": {"values": [{"stringValue": value}]}} if "header" in key else {"stringValue": value}


def explained(monkeypatch: pytest.MonkeyPatch, *requests: dict[str, str], service: str = "shop") -> list[str]:
    """What is told of one call for each of these sets of attributes."""
    attributes = [
        [{"key": key, "value": as_value(key, value)}
         for key, value in {"http.request.method": "GET", "http.route": "/x", **given}.items()]
        for given in requests
    ]  # fmt: skip
    spans_ = [
        {"traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "GET /x", "kind": 2, "attributes": given}
        for number, given in enumerate(attributes, 1)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans_}]}]}).encode()
    decoded = decode_request(Decoder(), "traces", "application/json", "", body, DecodeLimits(1 << 20, 1000, 100_000))
    settings = MappingSettings()
    told: list[str] = []
    monkeypatch.setattr("weighbridge.explain.log.debug", lambda text, *more, **_: told.append(text % more))
    now = [0.0]
    explainer = Explainer(settings.identity, lambda: now[0])
    for _ in range(3):  # the same again is not told again
        mapped = Mapper(settings, Sampler(SamplingSettings())).map(decoded, received_unix_ns=1, keep_skips=True)
        assert len(explainer.tell(mapped).events) == len(requests)
    now[0] = EVERY_S
    explainer.tell(mapped)  # after a while it is
    return told


def test_debug_says_why_a_caller_is_nobody_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    header = "http.request.header."
    told = explained(
        monkeypatch,
        {"user.id": "4711"},
        {},
        {f"{header}x-request-id": "hunter2"},
        {f"{header}authorization": "Bearer hunter2"},
    )
    first = told[: len(told) // 2]
    assert [text.partition("user: ")[2][:24] for text in first] == [
        "no request header was ca",
        "of the headers that can ",
        "authorization came and n",
    ]
    assert "there are x-request-id" in first[1]
    assert "the claim sub" in first[2]
    assert "hunter2" not in str(told)
    assert told[len(first) :] == first


def test_explanations_are_bounded_whatever_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [{f"http.request.header.x-{number}-{'n' * 500}": "v"} for number in range(5 * AT_ONCE)]
    told = explained(monkeypatch, *requests)
    assert len(told) <= 2 * AT_ONCE + 1
    assert "explanations were left out" in told[AT_ONCE]
    assert max(map(len, told)) < 1000


# -- a real bridge -----------------------------------------------------------------------------------------------------


def test_a_bridge_that_stops_says_what_it_leaves_and_never_a_password(tmp_path: Path) -> None:
    away = f"http://me:hunter2@127.0.0.1:{free_port()}/base"
    headers = {"X-Api-Key": "hunter2"}
    sinks = [{"name": "away", "type": "otlphttp", "endpoint": away, "headers": headers}]
    bridge = BridgeProcess(tmp_path, exporter={"sinks": sinks}, telemetry={"log_format": "json", "log_level": "debug"})
    bridge.start()
    try:
        stopped_with_requests_left(bridge)
    finally:
        bridge.stop()


def stopped_with_requests_left(bridge: BridgeProcess) -> None:
    for number in range(3):
        assert bridge.post("/v1/traces", spans_request(random.Random(number), 1)[1])[0] == 200
    eventually(lambda: "no answer from" in bridge.log.read_text(), "it is said that the endpoint is away")
    said = []
    for path in PATHS:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/{path}", timeout=30) as answer:
            said.append(answer.read().decode())
    assert bridge.stop() == 0
    lines = [json.loads(line) for line in bridge.log.read_text().splitlines()]
    assert lines[-1]["message"] == "stopped, 3 requests left in the spool"
    assert "hunter2" not in bridge.log.read_text() + "".join(said)
    assert "export OTEL_EXPORTER" not in bridge.log.read_text(), "a log is no terminal"
