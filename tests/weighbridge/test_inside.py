"""docs/inside.md is true: its files, names and folders exist, and a bridge writes no file that its table has not."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path
from typing import Any

import pytest

from bridge_inside import post, running
from otlp_requests import spans_request
from project_files import PACKAGES, ROOT, project_file

TEXT = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
FILES = sorted(set(re.findall(rf"`((?:{'|'.join(PACKAGES)}|tests)/[\w./-]+)`", TEXT)))


@pytest.mark.parametrize("name", FILES)
def test_every_file_and_folder_that_it_names_exists(name: str) -> None:
    path = project_file(name.rstrip("/"))
    assert path.is_dir() if name.endswith("/") else path.is_file()


def test_every_folder_has_its_line() -> None:
    rooms = TEXT.split("## The rooms")[1].split("## The walk")[0]
    listed = set(re.findall(r"^\| `([\w/]+)/` \|", rooms, re.MULTILINE))
    there = {
        f"{package}/{path.parent.relative_to(project_file(package))}".removesuffix("/.")
        for package in PACKAGES
        for path in project_file(package).rglob("*.py")
    }
    assert listed == there


@pytest.mark.parametrize("row", re.findall(r"^\| [^|`]+\? \| (.*) \|$", TEXT, re.MULTILINE))
def test_what_an_answer_names_is_in_the_file_it_names(row: str) -> None:
    assert re.match(r"[^`]*`[\w/]+", row)
    for name, symbol in re.findall(r"`([\w/]+\.py)`, `([\w.]+)`", row):
        text = project_file(name).read_text(encoding="utf-8")
        assert all(re.search(rf"(?:def |class |^){part}\b", text, re.MULTILINE) for part in symbol.split(".")), symbol


def patterns(text: str) -> list[str]:
    """The names in the table of the spool's directory, as patterns of paths in it."""
    table = text.split("In `spool.directory`:")[1].split("Beside the data")[0]
    found = []
    for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", cell)
        for name in (first, *(re.sub(r"\.bin$", other, first) for other in others)):
            plain = re.sub(r"0000000001", r"\\d{10}", re.escape(name))
            found.append(re.sub(r"NAME|SINK|POSITION", r"[\\w-]+", plain) + (".*" if name.endswith("/") else ""))
    return found


@pytest.mark.parametrize(
    "sampling",
    [
        {"rate": 50, "budget": {"events_per_second": 5, "window_s": "1s"}},
        {"rate": 50, "budget": {"events_per_second": 5}},
        {"rate": 50, "tail": {"decision_wait_s": 0.2}},
    ],
    ids=["window", "budget", "whole-traces"],
)
def test_every_file_that_a_bridge_writes_is_in_the_table(tmp_path: Path, sampling: dict[str, Any]) -> None:
    async def work() -> None:
        sinks = [{"name": "files", "type": "jsonlines", "path": str(tmp_path / "events")}]
        async with running(tmp_path, sampling=sampling, exporter={"sinks": sinks}) as (receiver, _):
            await post(receiver, spans_request(random.Random(1), 20)[1])

    asyncio.run(work())
    spool = tmp_path / "spool"
    written = [str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file()]
    assert len(written) >= 3
    known = patterns(TEXT)
    assert [name for name in written if not any(re.fullmatch(pattern, name) for pattern in known)] == []
