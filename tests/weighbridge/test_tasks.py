"""No background task of the bridge ends unseen: each is told, counted and begun again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge_inside import asked, replay, running, until
from exporter.clickhouse.engine.supervisor import EngineSupervisor
from exporter.pipeline import Pipeline
from exporter.sinks.blackhole import BlackholeSink
from otlp_requests import spans_request
from receiver import app
from spool_tools import on_a_loop
from weighbridge import deliveries, service, tasks, telemetry
from weighbridge.admin.replay import Replays
from weighbridge.lanes import lane
from weighbridge.sampling.moesif_config import MoesifConfiguration
from weighbridge.sampling.running import Sampling
from weighbridge.sampling.windows import Windows
from weighbridge.tasks import Tasks

pytestmark = pytest.mark.process  # a real engine is among the sinks


class Planted(Exception):
    """Nobody expects it."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses in thousandths."""
    monkeypatch.setattr(tasks.Tasks.keep, "__defaults__", (0.001,))
    monkeypatch.setattr(deliveries, "RESTART_S", 0.001)
    monkeypatch.setattr(lane, "TICK_S", 0.01)
    monkeypatch.setattr("weighbridge.admin.ledger.AUDIT_INTERVAL_S", 0.01)


def planted(real: Callable[..., Any], times: int = 3) -> Callable[..., Any]:
    """As `real`, but that the first calls raise."""
    left = [times]

    def failing(*args: Any, **named: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise Planted
        return real(*args, **named)

    async def failing_later(*args: Any, **named: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise Planted
        return await real(*args, **named)

    return failing_later if asyncio.iscoroutinefunction(real) else failing


WINDOW = {"budget": {"events_per_second": 1000, "window_s": 1.0}}
KEPT: dict[str, tuple[Any, str, str, dict[str, Any]]] = {
    "tick": (Sampling, "tick", "sampling", {}),
    "audit": (service, "audit", "audit of the ledger", {}),
    "hangup": (service, "_reload_on_hangup", "reload on SIGHUP", {}),
    "telemetry": (telemetry, "_send_metrics", "telemetry", {"telemetry": {"otlp_endpoint": "http://127.0.0.1:9"}}),
    "moesif": (
        MoesifConfiguration,
        "fetch_if_due",
        "moesif configuration",
        {"sampling": {"moesif_remote": {"enabled": True, "application_id": "x", "base_uri": "http://127.0.0.1:9"}}},
    ),
    "pipeline": (Pipeline, "_collect", "sink none", {}),
    "recovery": (Pipeline, "_recover", "sink none", {}),
}


@pytest.mark.parametrize("name", KEPT)
@on_a_loop
async def test_a_task_that_ends_by_an_exception_is_counted_and_begun_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner, attribute, task, sections = KEPT[name]
    monkeypatch.setattr(owner, attribute, planted(getattr(owner, attribute)))
    async with running(tmp_path, **sections) as (receiver, admin):
        line = f'weighbridge_task_failures_total{{task="{task}"}} 3'
        await until(lambda text: line in text, f"{admin}/metrics")
        await until(lambda text: not json.loads(text)["tasks_down"], f"{admin}/readyz")
        async with aiohttp.ClientSession() as session:
            body, media = spans_request(random.Random(1), 5)[1], "application/x-protobuf"
            async with session.post(f"{receiver}/v1/traces", data=body, headers={"Content-Type": media}) as answer:
                assert answer.status == 200
        delivered = 'weighbridge_sink_records_total{sink="none",tenant="",outcome="received"} 5'
        await until(lambda text: delivered in text, f"{admin}/metrics")
    stacks = [record for record in caplog.records if record.exc_info and isinstance(record.exc_info[1], Planted)]
    assert len(stacks) == 1, "the stack once, a line for each"
    assert sum("ended by Planted" in message for message in caplog.messages) == 3


@on_a_loop
async def test_a_pipeline_that_does_not_run_makes_the_bridge_unready_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "RESTART_S", 0.5)
    monkeypatch.setattr(Pipeline, "_recover", planted(Pipeline._recover, 2))
    async with running(tmp_path) as (_, admin):
        said = json.loads(await until(lambda text: "not ready" in text, f"{admin}/readyz"))
        assert said["reasons"][0].startswith("sink none ended by Planted, the ")
        assert 'weighbridge_sink_stopped{sink="none"} 1' in await asked(f"{admin}/metrics")
        await until(lambda text: '"status": "ready"' in text, f"{admin}/readyz")
        assert 'weighbridge_sink_stopped{sink="none"} 0' in await asked(f"{admin}/metrics")


@on_a_loop
async def test_a_sink_that_cannot_be_closed_keeps_no_other_from_being_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closes: list[str] = []

    async def close(self: BlackholeSink) -> None:
        closes.append(self.name)
        raise Planted

    monkeypatch.setattr(BlackholeSink, "close", close)
    sinks = [{"name": name, "type": "blackhole"} for name in ("a", "b", "c")]
    async with running(tmp_path, exporter={"sinks": sinks}):
        pass
    assert sorted(closes) == ["a", "b", "c"]
    assert sum("ended by Planted" in message for message in caplog.messages) == 3


@on_a_loop
async def test_a_replay_that_fails_is_counted_when_nobody_waits_for_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(self: Replays, *_: Any) -> int:
        await asyncio.sleep(0.05)
        raise Planted

    monkeypatch.setattr(Replays, "replay", failing)
    monkeypatch.setattr("weighbridge.admin.routes.REPLAY_ANSWER_S", 0.001)
    async with running(tmp_path) as (_, admin):
        assert (await replay(admin))["waiting"]
        await until(lambda text: 'failures_total{task="replay of dead letters"} 1' in text, f"{admin}/metrics")


@on_a_loop
async def test_a_chore_of_the_receiver_that_fails_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def do() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise Planted

    chore = asyncio.create_task(app._every(0.001, do))
    async with asyncio.timeout(60):
        while len(calls) < 5:
            await asyncio.sleep(0.001)
    chore.cancel()
    assert sum("a chore of the receiver failed" in message for message in caplog.messages) == 2


@on_a_loop
async def test_an_engine_is_started_again_also_after_an_exception_that_nobody_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = EngineSupervisor(tmp_path / "store")
    await supervisor.start()
    try:
        monkeypatch.setattr(EngineSupervisor, "_launch", planted(EngineSupervisor._launch, 2))
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while supervisor.restarts < 3:
                await asyncio.sleep(0.02)
            await supervisor.ready()
        assert sum("the engine could not be started" in message for message in caplog.messages) == 2
    finally:
        await supervisor.stop()


@on_a_loop
async def test_pauses_double_up_to_the_longest_and_a_task_that_was_well_begins_afresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    now = [0.0]
    lived = [0.0] * 12 + [tasks.HEALTHY_S, 0.0]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("weighbridge.tasks.asyncio.sleep", sleep)
    kept = Tasks(lambda: now[0])

    async def work() -> None:
        if not lived:
            return
        now[0] += lived.pop(0)
        raise Planted

    await kept._keep_running("it", work, 1.0)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 1, 2]
    assert (kept.failures["it"], kept.down) == (14, {})


def test_windows_of_sampling_run_as_a_kept_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @on_a_loop
    async def go() -> None:
        monkeypatch.setattr(Windows, "_run", planted(Windows._run))
        async with running(tmp_path, sampling=WINDOW) as (_, admin):
            line = 'weighbridge_task_failures_total{task="sampling windows"} 3'
            await until(lambda text: line in text, f"{admin}/metrics")

    go()
