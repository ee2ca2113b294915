"""`weighbridge erase --tenant`: one tenant's person goes from files, and another's of the same name stays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from events import event
from exporter.deadletter import DeadLetters
from exporter.request_file import write_request
from exporter.sink import Batch
from exporter.sinks.jsonlines import Settings as LinesSettings
from exporter.sinks.jsonlines import create
from weighbridge.commands.erase import run_erase
from weighbridge.settings import load_settings

TENANTS = ("acme", "globex", "")


def erased(folder: Path, capsys: pytest.CaptureFixture[str], tenant: str | None, *, dry: bool) -> dict[str, Any]:
    config = folder / "weighbridge.yaml"
    sink = {"name": "files", "type": "jsonlines", "path": str(folder / "events.jsonl")}
    config.write_text(json.dumps({"spool": {"directory": str(folder / "spool")}, "exporter": {"sinks": [sink]}}))
    run_erase(load_settings(str(config)), ["4711"], [], tenant, None, "json", dry=dry)
    return {one["place"].partition(",")[0]: one for one in json.loads(capsys.readouterr().out)["found"]}


def fill(folder: Path) -> None:
    """An event, a dead letter and a kept request of one id for each tenant; and a line of an earlier version."""
    events = [event(user_id="4711", tenant=tenant) for tenant in TENANTS]

    async def write() -> None:
        sink = create(LinesSettings(name="files", path=str(folder / "events.jsonl")))
        await sink.open()
        await sink.write(Batch(1, events), in_doubt=False)
        await sink.close()

    asyncio.run(write())
    letters = DeadLetters(folder / "spool" / "deadletter.jsonl")
    letters.add("files", "no", events)
    for number, tenant in enumerate(TENANTS):
        about = {"tenant": tenant, "records": 1, "sinks": ["files"], "reason": "no", "dead_lettered_unix_ns": 1}
        write_request(folder / "spool" / "unmappable" / f"{number}.bin", "logs", "application/json", "", b"4711", about)


def left(folder: Path) -> list[list[str]]:
    """Of which tenants something is left: lines, dead letters, requests."""
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    letters = DeadLetters(folder / "spool" / "deadletter.jsonl").read()
    requests = [json.loads(path.read_text()) for path in sorted((folder / "spool" / "unmappable").glob("*.json"))]
    found = ([one for one in lines if one["event_type"] != "erased"], [one["row"] for one in letters], requests)
    return [[one.get("tenant", "") for one in of] for of in found]


def test_only_the_tenants_own_person_is_erased(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spool").mkdir()
    fill(tmp_path)
    assert left(tmp_path) == [list(TENANTS)] * 3
    for dry in (True, False):
        said = erased(tmp_path, capsys, "acme", dry=dry)
        numbers = {place: one["number"] for place, one in said.items() if one["number"]}
        assert numbers == {"files files": 1, "dead letters": 1, "requests that could not be mapped": 1}
        assert said["files files"]["note"] == (
            "1 further ones of such ids name no tenant; without --tenant they go, too"
        )
    assert left(tmp_path) == [["globex", ""]] * 3
    assert erased(tmp_path, capsys, "nobody", dry=False)["files files"]["number"] == 0
    assert erased(tmp_path, capsys, None, dry=False)["files files"]["number"] == 2
    assert left(tmp_path) == [[], [], []]
