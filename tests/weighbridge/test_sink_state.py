"""What /metrics and /readyz say of each sink on its own."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bridge_inside import asked, post, replay, running, until
from otlp_requests import spans_request
from spool_tools import on_a_loop

QUICK: dict[str, Any] = {"batch": {"max_age_s": 0.01}, "retry": {"initial_interval_s": 0.01, "max_interval_s": 0.05}}


def value(metrics: str, name: str, **labels: str) -> float:
    """Of one sample."""
    for line in metrics.splitlines():
        if line.startswith(f"{name}{{") and all(f'{key}="{text}"' in line for key, text in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no {name} {labels}")


@on_a_loop
async def test_backlog_and_age_are_of_each_sink(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()  # where its file should be
    sinks = [
        {"name": "well", "type": "blackhole"},
        {"name": "away", "type": "jsonlines", "path": str(away)},
        {"name": "copy", "type": "otlphttp", "endpoint": "http://127.0.0.1:9"},
    ]
    dice = random.Random(2)
    async with running(tmp_path, exporter={"sinks": sinks, **QUICK}) as (receiver, admin):
        for _ in range(10):
            await post(receiver, spans_request(dice, 5)[1])
        await until(lambda text: value(text, "weighbridge_sink_backlog_records", sink="well") == 0, f"{admin}/metrics")
        metrics = await until(
            lambda text: value(text, "weighbridge_sink_backlog_oldest_age_seconds", sink="away") > 0.2,
            f"{admin}/metrics",
        )
        for sink in ("away", "copy"):
            assert value(metrics, "weighbridge_sink_backlog_records", sink=sink) == 50
            assert value(metrics, "weighbridge_sink_backlog_bytes", sink=sink) > 50 * 50
            assert 0 < value(metrics, "weighbridge_sink_backlog_oldest_age_seconds", sink=sink) < 600
        assert value(metrics, "weighbridge_sink_backlog_bytes", sink="well") == 0
        assert value(metrics, "weighbridge_sink_backlog_oldest_age_seconds", sink="well") == 0
        ready = json.loads(await asked(f"{admin}/readyz"))
        assert ready["status"] == "ready", "a sink that is away is no reason"
        assert ready["sinks"]["away"]["backlog_records"] == 50
        assert ready["sinks"]["away"]["last_error"]
        assert ready["sinks"]["well"] == {
            "backlog_records": 0,
            "backlog_bytes": 0,
            "oldest_undelivered_age_s": 0.0,
            "last_error": None,
        }
        shutil.rmtree(away)
        metrics = await until(
            lambda text: value(text, "weighbridge_sink_backlog_records", sink="away") == 0, f"{admin}/metrics"
        )
        assert value(metrics, "weighbridge_sink_backlog_oldest_age_seconds", sink="away") == 0
    assert len(away.read_text().splitlines()) == 50


@on_a_loop
async def test_after_a_restart_the_age_is_that_of_what_an_earlier_process_left(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    sinks = [{"name": "away", "type": "jsonlines", "path": str(away)}]
    async with running(tmp_path, exporter={"sinks": sinks, **QUICK}) as (receiver, admin):
        await post(receiver, spans_request(random.Random(3), 5)[1])
        await until(
            lambda text: value(text, "weighbridge_sink_backlog_oldest_age_seconds", sink="away") > 0.3,
            f"{admin}/metrics",
        )
    async with running(tmp_path, exporter={"sinks": sinks, **QUICK}) as (_, admin):
        metrics = await asked(f"{admin}/metrics")
        assert value(metrics, "weighbridge_sink_backlog_oldest_age_seconds", sink="away") > 0.3
        assert value(metrics, "weighbridge_sink_backlog_bytes", sink="away") > 0


class Refuses:
    """Stands in for Moesif: 400 for whatever it is sent, until told otherwise."""

    def __init__(self) -> None:
        self.refuses = True
        self.taken: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        rows = json.loads(await request.read())
        if self.refuses:
            return web.Response(status=400)
        self.taken += [row["transaction_id"] for row in rows]
        return web.Response(status=201)


@on_a_loop
async def test_counters_only_grow_over_refusals_and_replays_and_what_lies_there_is_a_gauge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    double = Refuses()
    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/{path:.*}", double.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    sinks = [{"name": "moesif", "type": "moesif", "application_id": "a", "base_url": base_url, "send_actions": True}]
    async with running(tmp_path, exporter={"sinks": sinks, **QUICK}) as (receiver, admin):
        ids, body = spans_request(random.Random(5), 178)
        await post(receiver, body)
        name = "weighbridge_sink_records_total"
        metrics = await until(
            lambda text: f'{name}{{sink="moesif",tenant="",outcome="dead_lettered"}} 178' in text, f"{admin}/metrics"
        )
        assert value(metrics, "weighbridge_dead_letters", sink="moesif") == 178
        told = [message for message in caplog.messages if "records refused for good" in message]
        assert len(told) == 1
        assert "sink moesif: 178 records refused for good" in told[0]
        double.refuses = False
        assert await replay(admin) == {"replayed": 178, "waiting": False}
        metrics = await asked(f"{admin}/metrics")
        outcomes = {
            outcome: value(metrics, name, sink="moesif", outcome=outcome)
            for outcome in ("received", "delivered", "dead_lettered", "replayed")
        }
        assert outcomes == {"received": 178, "delivered": 178, "dead_lettered": 178, "replayed": 178}
        assert value(metrics, "weighbridge_dead_letters", sink="moesif") == 0
        assert value(metrics, "weighbridge_sink_residue_records", sink="moesif") == 0
        [row] = json.loads(await asked(f"{admin}/ledger"))["sinks"]
        assert (row["dead_lettered"], row["delivered"]) == (0, 178)
        assert await replay(admin) == {"replayed": 0, "waiting": False}
    assert len(double.taken) == len(set(double.taken)) == 178
    assert len(ids) == 178
    assert (tmp_path / "spool" / "deadletter.jsonl").stat().st_size == 0
    await runner.cleanup()
