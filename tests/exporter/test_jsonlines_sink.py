"""The file sink: torn lines, files set aside, and batches in doubt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from events import event
from exporter.sink import Batch
from exporter.sinks.jsonlines import JsonLinesSink, Settings, create
from mapping.event_json import event_json


def run(path: Path | str, use: Callable[[JsonLinesSink], Awaitable[None]], **settings: Any) -> None:
    async def go() -> None:
        sink = create(Settings(name="file", path=str(path), **settings))
        await sink.open()
        await use(sink)
        await sink.close()

    asyncio.run(go())


def lines(folder: Path) -> list[str]:
    """Transaction ids in all files of the folder, oldest file first."""
    files = sorted(folder.iterdir(), key=lambda path: (path.name == "events.jsonl", path.name))
    return [json.loads(line)["transaction_id"] for file in files for line in file.read_text().splitlines()]


def test_a_line_is_what_map_prints(tmp_path: Path) -> None:
    one = event(user_id="ü")

    async def use(sink: JsonLinesSink) -> None:
        await sink.write(Batch(1, [one]), in_doubt=False)

    run(tmp_path / "events.jsonl", use)
    assert json.loads((tmp_path / "events.jsonl").read_text()) == event_json(one)


def test_a_torn_line_is_cut_off_and_its_batch_completed(tmp_path: Path) -> None:
    rows = [event() for _ in range(10)]
    path = tmp_path / "events.jsonl"

    async def first(sink: JsonLinesSink) -> None:
        await sink.write(Batch(1, rows), in_doubt=False)

    run(path, first)
    whole = path.read_bytes()
    for cut in (1, 100, len(whole) // 2, len(whole) - 1, len(whole)):
        path.write_bytes(whole[: len(whole) - cut])

        async def again(sink: JsonLinesSink) -> None:
            await sink.write(Batch(1, rows), in_doubt=True)

        run(path, again)
        assert lines(tmp_path) == [row.transaction_id for row in rows]


def test_a_full_file_is_set_aside_and_only_as_many_are_kept_as_asked(tmp_path: Path) -> None:
    rows = [event(request_body=json.dumps("x" * 70_000), request_body_encoding="json") for _ in range(6)]

    async def use(sink: JsonLinesSink) -> None:
        for number, row in enumerate(rows):
            await sink.write(Batch(number, [row]), in_doubt=False)

    run(tmp_path / "all" / "events.jsonl", use, max_bytes=1 << 16)
    assert lines(tmp_path / "all") == [row.transaction_id for row in rows]
    assert len(list((tmp_path / "all").iterdir())) == 6
    run(tmp_path / "few" / "events.jsonl", use, max_bytes=1 << 16, keep_files=2)
    assert lines(tmp_path / "few") == [row.transaction_id for row in rows[3:]]


def test_a_batch_in_doubt_is_also_found_in_the_file_set_aside_last(tmp_path: Path) -> None:
    rows = [event(request_body=json.dumps("x" * 40_000), request_body_encoding="json") for _ in range(4)]

    async def use(sink: JsonLinesSink) -> None:
        await sink.write(Batch(1, rows[:2]), in_doubt=False)
        await sink.write(Batch(1, rows), in_doubt=True)
        await sink.write(Batch(1, rows), in_doubt=True)

    run(tmp_path / "events.jsonl", use, max_bytes=1 << 16)
    assert lines(tmp_path) == [row.transaction_id for row in rows]


def test_standard_output_is_a_file_too(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    one = event()

    async def use(sink: JsonLinesSink) -> None:
        await sink.write(Batch(1, [one]), in_doubt=False)

    run("-", use)
    assert json.loads(capfdbinary.readouterr().out)["transaction_id"] == one.transaction_id


def test_the_id_of_a_line_is_the_events_own_whatever_its_bodies_hold(tmp_path: Path) -> None:
    """A batch in doubt: neither written twice, nor an event taken for written that is not there."""
    victim, nested = event(), event()
    rows = [
        event(request_body=json.dumps({"transaction_id": victim.transaction_id}), request_body_encoding="json"),
        event(request_headers={"transaction_id": victim.transaction_id}),
        event(uri=f'http://shop.example/?"transaction_id":"{victim.transaction_id}"'),
        event(metadata=json.dumps({"transaction_id": victim.transaction_id})),
        event(user_id=f'","transaction_id":"{victim.transaction_id}'),
        nested._replace(response_body=json.dumps([{"transaction_id": ""}]), response_body_encoding="json"),
    ]

    async def first(sink: JsonLinesSink) -> None:
        await sink.write(Batch(1, rows), in_doubt=False)

    async def again(sink: JsonLinesSink) -> None:
        for _ in range(2):
            await sink.write(Batch(1, [*rows, victim]), in_doubt=True)

    run(tmp_path / "events.jsonl", first)
    run(tmp_path / "events.jsonl", again)
    assert lines(tmp_path) == [row.transaction_id for row in [*rows, victim]]
