"""The ledger finds what is planted: records that were acknowledged, mapped or delivered and are not accounted for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from receiver.spool import SpoolSettings
from weighbridge.admin import ledger
from weighbridge.service import Bridge
from weighbridge.settings import ExporterSettings, Settings


def bridge(directory: Path) -> Bridge:
    """Not started: only its counters matter."""
    exporter = ExporterSettings.model_validate({"sinks": [{"name": "none", "type": "blackhole"}]})
    return Bridge(Settings(spool=SpoolSettings(directory=directory / "spool"), exporter=exporter))


def test_what_is_acknowledged_and_not_stored_is_a_residue(tmp_path: Path) -> None:
    found = bridge(tmp_path)
    found.acknowledged["acme"], found.resent["acme"], found.lane.feed.stored["acme"] = 10, 4, 5
    found.lane.feed.stored["other"] = 3  # its sender was gone before the answer: nobody was promised anything
    assert ledger.residue(found) == {"stored": 1, "mapped": 0}
    rows = {row["tenant"]: row for row in ledger.intake(found)}
    assert (rows["acme"]["unanswered"], rows["other"]["unanswered"]) == (0, 3)


def test_what_mapping_loses_is_a_residue(tmp_path: Path) -> None:
    found = bridge(tmp_path)
    found.lane.feed.counts.taken, found.lane.feed.counts.events, found.lane.feed.counts.skipped = 10, 7, 2
    assert ledger.residue(found)["mapped"] == 1


def test_refusals_are_told_by_reason_and_tenant(tmp_path: Path) -> None:
    found = bridge(tmp_path)
    found.counts.refused("acme", "traces", "quota", 7)
    found.counts.refused("", "", "unauthenticated")
    found.counts.accepted("acme", "logs", 5, 2, 100, 100)
    rows = {row["tenant"]: row for row in ledger.intake(found)}
    assert rows["acme"]["refused"] == {"partial": 2, "quota": 7}
    assert rows["acme"]["refused_requests"] == {"quota": 1}
    assert rows[""]["refused_requests"] == {"unauthenticated": 1}


def test_the_log_says_when_the_ledger_does_not_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger, "AUDIT_INTERVAL_S", 0.001)
    found = bridge(tmp_path)

    async def go() -> None:
        auditing = asyncio.create_task(ledger.audit(found))
        await asyncio.sleep(0.02)
        assert caplog.messages == []
        found.acknowledged[""] = 2
        await asyncio.sleep(0.05)
        auditing.cancel()
        await asyncio.gather(auditing, return_exceptions=True)

    asyncio.run(go())
    assert caplog.messages == ["the ledger does not add up: stored 2"], "once, not every time"
