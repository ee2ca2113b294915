"""Stores for the tests of commands that copy: settings files, odd events, and everything a store has, to compare."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from bridge import COMMAND
from engine_process import EngineProcess
from events import NOW_NS, event
from exporter.clickhouse.engine.endpoint import WRITER, password
from mapping.event import Event

DAY_NS = 86_400 * 10**9
ODD = 'a "quoted"\nline, with a comma; and\ta tab\r\n\\N \\ \x01 ü'
RETENTION_DAYS = 3650  # the events are of 2026


def write_settings(folder: Path, dsn: str, **of_the_sink: Any) -> Path:
    """A settings file with one store in it."""
    folder.mkdir(exist_ok=True)
    sink = {"name": "store", "type": "clickhouse", "dsn": dsn, "retention_days": RETENTION_DAYS}
    sink |= {"minutes_retention_days": RETENTION_DAYS, **of_the_sink}
    path = folder / "weighbridge.yaml"
    spool = {"directory": str(folder / "spool")}
    path.write_text(yaml.safe_dump({"exporter": {"sinks": [sink]}, "spool": spool}))
    return path


def embedded(engine: EngineProcess) -> str:
    return f"chdb://{engine.data}"


def as_server(engine: EngineProcess, database: str = "analytics") -> str:
    """The dsn under which an engine is a server like any other."""
    return f"http://writer:{password(engine.data, WRITER)}@127.0.0.1:{engine.port}/{database}"


def odd_events(days: int, a_day: int) -> list[Event]:
    """Events whose texts and numbers are hard to copy."""
    return [
        event(
            start_unix_ns=NOW_NS - day * DAY_NS - number * 10**6,
            received_unix_ns=NOW_NS - day * DAY_NS,
            user_id=f"user-{number % 7}",
            company_id=("acme", "globex")[number % 2],
            response_body=ODD,
            duration_ms=-1.0 if number % 3 else 1.5,
            metadata='{"flags.experiment":"x","n":1.5,"m":"1.0","deep.list":[1,"a"],"t":"' + "\\t" + '"}',
            flags=("late",) if number % 2 else (),
        )
        for day in range(days)
        for number in range(a_day)
    ]


def run(config: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def everything(engine: EngineProcess, database: str = "analytics") -> list[dict[str, Any]]:
    """All rows with all stored columns, in the order of their ids."""
    code, text = engine.ask(f"SELECT * FROM {database}.api_events ORDER BY event_id FORMAT JSONEachRow")
    assert code == 0, text
    return [json.loads(line) for line in text.splitlines()]


def everything_counted(engine: EngineProcess, database: str = "analytics") -> list[str]:
    """What is counted, by hour, in whatever rows it is."""
    keys = "toStartOfHour(minute) AS hour, company_id, service, method, endpoint, status_code, direction, hop, tenant"
    code, text = engine.ask(
        f"SELECT {keys}, sum(records), sum(kept), sum(calls), sum(duration_sum_ms),"
        f" arraySort(mapKeys(sumMap(durations)))"
        f" FROM {database}.api_minutes WHERE batch_id = 0 GROUP BY ALL ORDER BY ALL"
    )
    assert code == 0, text
    return text.splitlines()


def counted_from(engine: EngineProcess, database: str = "analytics") -> int:
    """Since when the store says that it counts."""
    where = f"database = '{database}' AND name = 'api_minutes'"
    return int(engine.ask(f"SELECT comment FROM system.tables WHERE {where}")[1].rsplit(" ", 1)[1])
