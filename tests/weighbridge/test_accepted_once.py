"""What was acknowledged is delivered under whatever limits come later; what could not be mapped can be sent again."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeProcess, eventually, free_port
from mapping.otlp.records import Decoded
from otlp_requests import logs_request, spans_request
from receiver.intake import Received
from weighbridge.admin.ledger import intake, residue, sinks
from weighbridge.service import Bridge
from weighbridge.settings import Settings


@pytest.mark.parametrize(
    "limits", [{"max_records": 10}, {"max_body_bytes": 1024}, {"max_elements": 100}, {"max_records": 1}]
)
def test_limits_lowered_after_the_answer_strand_nothing(
    own_bridge: BridgeProcess, tmp_path: Path, limits: dict[str, int]
) -> None:
    bridge = own_bridge
    away = {"name": "lines", "type": "clickhouse", "dsn": f"http://127.0.0.1:{free_port()}/none"}
    bridge.configure(exporter={"sinks": [away], "batch": {"max_age_s": 0.05, "span_wait_s": 0}})
    bridge.start()
    dice = random.Random(5)
    _, body = spans_request(dice, 1000)
    assert bridge.post("/v1/traces", body)[0] == 200
    _, body = logs_request(dice, 50)
    assert bridge.post("/v1/logs", body)[0] == 200
    bridge.kill()
    lines = tmp_path / "lines.jsonl"
    sink = {"name": "lines", "type": "jsonlines", "path": str(lines)}
    receiver = {"endpoint": f"127.0.0.1:{bridge.port}", **limits}
    bridge.configure(receiver=receiver, exporter={"sinks": [sink], "batch": {"max_age_s": 0.05, "span_wait_s": 0}})
    bridge.start()
    eventually(lambda: lines.exists() and len(lines.read_text().splitlines()) == 1050, "all are delivered")
    row = eventually(lambda: [row for row in bridge.ledger()["sinks"] if row["received"] == 1050], "the books")[0]
    assert (row["delivered"], row["failed"]) == (1050, 0)
    assert not (tmp_path / "spool" / "unmappable").exists()


def settings(directory: Path, *names: str) -> Settings:
    return Settings.model_validate(
        {
            "receiver": {"endpoint": f"127.0.0.1:{free_port()}"},
            "admin": {"endpoint": f"127.0.0.1:{free_port()}"},
            "spool": {"directory": str(directory / "spool")},
            "exporter": {
                "sinks": [
                    {"name": name, "type": "jsonlines", "path": str(directory / f"{name}.jsonl")} for name in names
                ],
                "batch": {"max_age_s": 0.05},
            },
        }
    )


async def until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def send(bridge: Bridge, count: int, seed: int) -> None:
    _, body = spans_request(random.Random(seed), count)
    decoded = bridge.decoder.traces(body)
    received = Received("traces", "acme", "application/x-protobuf", "", time.time_ns(), body, decoded)
    await bridge.accept(received)


def break_mapping(bridge: Bridge, count: int) -> Callable[[], None]:
    """Requests of so many records cannot be mapped, until what comes back is called."""
    before = bridge.lane.mapper.steps

    def steps(decoded: Decoded, **more: Any) -> Any:
        if decoded.accepted == count:
            raise RuntimeError("planted fault")
        return before(decoded, **more)

    bridge.lane.mapper.steps = steps  # type: ignore[method-assign]

    def mend() -> None:
        bridge.lane.mapper.steps = before  # type: ignore[method-assign]

    return mend


def row(bridge: Bridge, sink: str) -> dict[str, Any]:
    return next(row for row in sinks(bridge) if (row["sink"], row["tenant"]) == (sink, "acme"))


def settled(bridge: Bridge, sink: str, **wanted: int) -> bool:
    found = row(bridge, sink)
    return found["in_spool"] == 0 and all(found[name] == count for name, count in wanted.items())


def written(directory: Path, sink: str) -> list[str]:
    path = directory / f"{sink}.jsonl"
    return [json.loads(line)["transaction_id"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_record_that_cannot_be_mapped_costs_no_other(tmp_path: Path) -> None:
    def fails_at(bridge: Bridge, bad: bytes) -> Callable[[], None]:
        before = bridge.lane.mapper.steps

        def steps(decoded: Decoded, **more: Any) -> Any:
            if any(record.span_id == bad for group in decoded.groups for record in group.records):
                raise RuntimeError("planted fault")
            return before(decoded, **more)

        bridge.lane.mapper.steps = steps  # type: ignore[method-assign]
        return lambda: setattr(bridge.lane.mapper, "steps", before)

    async def work() -> None:
        bridge = Bridge(settings(tmp_path, "one"))
        await bridge.start()
        ids, _ = spans_request(random.Random(8), 300)
        bad = sorted(ids)[7]
        mend = fails_at(bridge, bytes.fromhex(bad))
        await send(bridge, 300, 8)
        await until(lambda: settled(bridge, "one", received=300, failed=1, delivered=299), "all others")
        assert not any(residue(bridge).values())
        assert bad not in {line.split("-")[-1] for line in written(tmp_path, "one")}
        mend()
        assert await bridge.replay("planted fault", 0) == 1
        await until(lambda: settled(bridge, "one", received=300, failed=0, delivered=300), "that one, too")
        assert len(set(written(tmp_path, "one"))) == len(written(tmp_path, "one")) == 300
        assert not any(residue(bridge).values())
        await bridge.stop()

    asyncio.run(work())


def test_a_request_that_could_not_be_mapped_is_sent_again_and_the_books_are_right(tmp_path: Path) -> None:
    async def first_life() -> None:
        bridge = Bridge(settings(tmp_path, "one"))
        await bridge.start()
        break_mapping(bridge, 300)
        await send(bridge, 300, 1)
        await send(bridge, 20, 2)
        await until(lambda: settled(bridge, "one", received=320, failed=300, delivered=20), "failed")
        assert not any(residue(bridge).values())
        await bridge.stop()

    async def second_life() -> None:
        """After a restart, with another sink that never saw it; still broken, then mended."""
        bridge = Bridge(settings(tmp_path, "one", "two"))
        await bridge.start()
        mend = break_mapping(bridge, 300)
        assert await bridge.lane.replays.replay("nothing of the kind", 0) == 0
        assert await bridge.lane.replays.replay("planted fault", 0) == 300
        await until(lambda: settled(bridge, "one", received=320, failed=300, delivered=20), "failed again")
        await until(lambda: settled(bridge, "two", received=300, failed=300), "failed for the new one")
        mend()
        assert await bridge.lane.replays.replay("", 0) == 300
        await until(lambda: settled(bridge, "one", received=320, failed=0, delivered=320), "delivered")
        await until(lambda: settled(bridge, "two", received=300, failed=0, delivered=300), "delivered to the new one")
        assert not any(residue(bridge).values())
        assert [row["stored"] for row in intake(bridge)] in ([], [0])
        assert await bridge.lane.replays.replay("", 0) == 0
        await bridge.stop()

    asyncio.run(first_life())
    kept = list((tmp_path / "spool" / "unmappable").glob("*.bin"))
    assert len(kept) == 1
    asyncio.run(second_life())
    assert (len(written(tmp_path, "one")), len(set(written(tmp_path, "one")))) == (320, 320)
    assert (len(written(tmp_path, "two")), len(set(written(tmp_path, "two")))) == (300, 300)
    assert not list((tmp_path / "spool" / "unmappable").iterdir())


def test_the_command_line_lists_and_sends_again(own_bridge: BridgeProcess, tmp_path: Path) -> None:
    async def broken_life() -> None:
        bridge = Bridge(settings(tmp_path, "one"))
        await bridge.start()
        break_mapping(bridge, 7)
        await send(bridge, 7, 1)
        await until(lambda: settled(bridge, "one", failed=7), "failed")
        await bridge.stop()

    asyncio.run(broken_life())
    bridge = own_bridge
    bridge.configure(exporter={"sinks": [{"name": "one", "type": "jsonlines", "path": str(tmp_path / "one.jsonl")}]})
    bridge.start()
    listed = bridge.command("deadletter", "list").stdout
    assert "one  unmappable-" in listed
    assert "request of 7 records  cannot be mapped: RuntimeError: planted fault" in listed
    shown = json.loads(bridge.command("deadletter", "show", listed.split()[2]).stdout)
    assert (shown["records"], shown["tenant"]) == (7, "acme")
    assert "7 events are on their way again" in bridge.command("deadletter", "replay", "--reason", "planted").stdout
    eventually(lambda: len(written(tmp_path, "one")) == 7, "delivered")
    assert "no dead letters" in bridge.command("deadletter", "list").stderr
    eventually(
        lambda: [
            row
            for row in bridge.ledger()["sinks"]
            if (row["received"], row["delivered"], row["failed"], row["in_spool"]) == (7, 7, 0, 0)
        ],
        "the books",
    )
