"""`weighbridge erase` on a running bridge: what is one person's goes from everywhere, and nothing brings it back."""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bridge import BridgeProcess, eventually
from engine_process import EngineProcess
from events import event
from exporter.deadletter import DeadLetters
from exporter.request_file import write_request
from otlp_requests import span, traces
from store_files import as_server

ERASED, OTHER = "user-to-erase", "user-to-keep"


def spans_of(users: dict[str, int], start_ns: int = 0) -> list[Any]:
    """So many calls of each user, all new, from now or from a moment."""
    at = start_ns or time.time_ns()
    return [
        span(
            {"http.request.method": "GET", "url.path": "/items", "user.id": user, "company.id": f"of-{user}"},
            number=secrets.randbits(63),
            end_unix_ns=at,
            trace_id=secrets.token_bytes(16),
        )
        for user, count in users.items()
        for _ in range(count)
    ]


def send(bridge: BridgeProcess, spans: list[Any]) -> None:
    status, answer = bridge.post("/v1/traces", traces(*spans).SerializeToString())
    assert status == 200, answer


def stored(bridge: BridgeProcess) -> dict[str, int]:
    rows = bridge.query("SELECT user_id, count() AS n FROM api_events GROUP BY user_id")
    return {row["user_id"]: row["n"] for row in rows}


def erase(bridge: BridgeProcess, *arguments: str) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads(bridge.command("erase", *arguments, "--format", "json").stdout)
    return receipt


def found(receipt: dict[str, Any]) -> dict[str, int]:
    return {one["place"].partition(",")[0]: one["number"] for one in receipt["found"] if one["number"]}


def test_everything_of_one_person_goes_and_stays_away(tmp_path: Path) -> None:
    lines = tmp_path / "events.jsonl"
    sinks = [
        {"name": "store", "type": "clickhouse", "dsn": f"chdb://{tmp_path}/store"},
        {"name": "files", "type": "jsonlines", "path": str(lines)},
        {"name": "tee", "type": "otlphttp", "endpoint": "http://127.0.0.1:9", "backlog_bytes": "1MiB"},
    ]
    bridge = BridgeProcess(tmp_path, exporter={"sinks": sinks})
    bridge.start()
    theirs, others = spans_of({ERASED: 5}), spans_of({OTHER: 4})
    send(bridge, [*theirs, *others])
    eventually(lambda: stored(bridge) == {ERASED: 5, OTHER: 4}, "all is stored")
    eventually(lambda: len(lines.read_text().splitlines()) == 9, "all is in the file")
    spool = tmp_path / "spool"
    letters = DeadLetters(spool / "deadletter.jsonl")
    letters.add("store", "no", [event(user_id=ERASED), event(user_id=OTHER)])
    for number, user in enumerate((ERASED, OTHER)):
        body = traces(*spans_of({user: 1})).SerializeToString()
        about = {"tenant": "", "records": 1, "sinks": ["store"], "reason": "no", "dead_lettered_unix_ns": 1}
        write_request(spool / "unmappable" / f"{number:016x}.bin", "traces", "application/x-protobuf", "", body, about)

    expected = {"store store": 5, "files files": 5, "dead letters": 1, "requests that could not be mapped": 1}
    dry = erase(bridge, "--user", ERASED, "--dry-run")
    assert (found(dry), dry["dry_run"]) == (expected, True)
    assert stored(bridge) == {ERASED: 5, OTHER: 4}
    receipt = erase(bridge, "--user", ERASED)
    assert found(receipt) == expected
    assert [one["sink"] for one in receipt["not_reached"]] == ["tee"]
    assert stored(bridge) == {OTHER: 4}
    for path in (lines, spool / "deadletter.jsonl", spool / "erased.jsonl", *spool.glob("unmappable/*")):
        assert ERASED.encode() not in path.read_bytes(), path
    assert [json.loads(line)["event_type"] for line in lines.read_text().splitlines()].count("erased") == 5
    assert [entry["row"]["user_id"] for entry in letters.read()] == [OTHER]

    send(bridge, [*theirs, *others])  # the same bytes
    send(bridge, theirs[::-1])  # the same events in another request
    late, new = spans_of({ERASED: 1}, time.time_ns() - 10**12), spans_of({ERASED: 2, OTHER: 1})
    send(bridge, late)
    send(bridge, new)
    eventually(lambda: stored(bridge) == {OTHER: 5, ERASED: 2}, "what comes of them later is stored")
    bridge.kill()
    bridge.start()
    send(bridge, theirs)
    send(bridge, spans_of({OTHER: 1}))
    eventually(lambda: stored(bridge) == {OTHER: 6, ERASED: 2}, "a restart changes nothing")
    assert not erase(bridge, "--company", f"of-{OTHER}", "--before", "2020-01-01")["failed"]
    assert stored(bridge) == {OTHER: 6, ERASED: 2}
    of_company = {one["place"]: one["number"] for one in erase(bridge, "--company", f"of-{ERASED}")["found"]}
    assert of_company["store store, analytics.api_events"] == 2
    assert of_company["store store, analytics.api_minutes"] > 0
    assert stored(bridge) == {OTHER: 6}
    assert bridge.query(f"SELECT count() AS n FROM api_minutes WHERE company_id = 'of-{ERASED}'") == [{"n": 0}]
    residue = bridge.ledger()["residue"]
    assert not any(residue.values()) if isinstance(residue, dict) else not residue, residue
    wrong = bridge.command("erase", check=False)
    assert (wrong.returncode, "name whose events" in wrong.stderr) == (2, True)
    assert bridge.stop() == 0


def test_what_waits_for_a_store_that_is_away_never_gets_there(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path / "engine")
    sinks = [{"name": "store", "type": "clickhouse", "dsn": as_server(engine)}]
    bridge = BridgeProcess(tmp_path, exporter={"sinks": sinks, "retry": {"max_interval_s": 0.5}})
    bridge.start()
    send(bridge, spans_of({OTHER: 1, ERASED: 1}))
    eventually(lambda: stored(bridge) == {OTHER: 1, ERASED: 1}, "the first are stored")
    port, password = engine.port, (engine.data / "writer.password").read_text()
    engine.kill()
    send(bridge, spans_of({OTHER: 3, ERASED: 3}))
    away = bridge.command("erase", "--user", ERASED, check=False)
    assert (away.returncode, "not everything is erased" in away.stderr) == (1, True), away.stderr
    engine = EngineProcess(tmp_path / "engine")
    assert (engine.data / "writer.password").read_text() == password
    dsn = as_server(engine)
    bridge.configure(
        exporter={
            "sinks": [{"name": "store", "type": "clickhouse", "dsn": dsn}],
            "retry": {"max_interval_s": 0.5},
            "batch": {"max_age_s": 0.2},
        }
    )
    assert engine.port != port or dsn
    bridge.reload()
    eventually(lambda: stored(bridge) == {OTHER: 4, ERASED: 1}, "what waited arrives, without theirs")
    assert found(erase(bridge, "--user", ERASED))["store store"] == 1
    assert stored(bridge) == {OTHER: 4}
    assert bridge.stop() == 0
    engine.stop()


def test_erasing_under_load_with_kills(own_bridge: BridgeProcess) -> None:
    """Kills of the bridge while events of both come, are erased, and are sent again; the other user loses nothing."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    own_bridge.start()
    sent: list[list[Any]] = []
    stopping = threading.Event()

    def produce() -> None:
        while not stopping.is_set():
            spans = spans_of({ERASED: 5, OTHER: 5})
            while not answered(spans):  # also when stopping: what a kill left unanswered may be stored
                time.sleep(0.05)
            sent.append(spans)

    def answered(spans: list[Any]) -> bool:
        try:
            return own_bridge.post("/v1/traces", traces(*spans).SerializeToString())[0] == 200
        except OSError:
            return False

    producers = [threading.Thread(target=produce) for _ in range(2)]
    for producer in producers:
        producer.start()
    asked: list[float] = []
    for _ in range(4):
        time.sleep(dice.uniform(0.2, 1.0))
        killer = threading.Timer(dice.uniform(0.0, 1.5), own_bridge.kill)
        killer.start()
        done = own_bridge.command("erase", "--user", ERASED, "--format", "json", check=False)
        killer.join()
        own_bridge.start()
        assert done.returncode in (0, 1), done.stderr
        asked.append(datetime.fromisoformat(json.loads(done.stdout)["before"]).timestamp())
    stopping.set()
    for producer in producers:
        producer.join()
    last = datetime.fromisoformat(erase(own_bridge, "--user", ERASED)["before"]).timestamp()
    for spans in sent[::3]:  # senders and collectors send again
        send(own_bridge, spans[::-1])
    send(own_bridge, spans_of({"the last": 1}))
    wanted = {OTHER: 5 * len(sent), "the last": 1}
    eventually(lambda: stored(own_bridge) == wanted, "all of the other, nothing of the erased", 120)
    assert last > max(asked)
    ids = own_bridge.query("SELECT uniqExact(event_id) AS n FROM api_events")
    assert ids == [{"n": 5 * len(sent) + 1}]
    assert own_bridge.stop() == 0
