"""`weighbridge export s3://…` into a server that speaks S3's protocol and checks signatures (moto)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import COMMAND, end, eventually, free_port
from engine_process import EngineProcess
from exporter.clickhouse.engine.endpoint import WRITER
from store_files import embedded, odd_events, write_settings
from stored import store_events
from weighbridge.commands.bucket import Bucket

pytestmark = pytest.mark.drivers

MOTO = "moto[s3,server]==5.2.5"
A_DAY = 50
BUILD_S = 600


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of somebody who may write into the bucket `lake`; signatures are checked."""
    folder, port = tmp_path_factory.mktemp("moto"), free_port()
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=BUILD_S)
    python = str(folder / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", MOTO]
    subprocess.run(pip, check=True, timeout=BUILD_S)
    address = f"http://127.0.0.1:{port}"
    # All that is done before keys are asked for: a user, their rights and keys, and the bucket.
    made = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4", "MOTO_PORT": str(port)}
    serve = [str(folder / "venv" / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(serve, stdout=log, stderr=log, env=made)
    try:
        eventually(lambda: answers(address), "moto is there")
        setup = subprocess.run(
            [python, str(Path(__file__).parent / "storage" / "prepare.py"), address],
            capture_output=True,
            text=True,
            timeout=BUILD_S,
        )
        assert setup.returncode == 0, setup.stderr
        access, secret = setup.stdout.split()
        yield {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    finally:
        end(server)
        log.close()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/moto-api/") as answer:
            return int(answer.status) == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("engine") / "store", readers=1)
    store_events(process, odd_events(days=3, a_day=A_DAY))
    yield process
    assert process.stop() == 0


def export(config: Path, to: str, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "export", to, *options, "--config", str(config)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


def there(storage: dict[str, str], to: str) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(Bucket(to, storage).get("export.json") or b"{}")
    return about


def test_days_are_written_once_and_what_changes_is_written_anew(
    engine: EngineProcess, storage: dict[str, str], tmp_path: Path
) -> None:
    config, to = write_settings(tmp_path, embedded(engine)), "s3://lake/events of/2026+all"
    done = export(config, to, storage, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert f"{3 * A_DAY} events of 3 days in {to}" in done.stderr
    days = there(storage, to)["days"]
    assert [day["events"] for day in days.values()] == [A_DAY] * 3
    bucket = Bucket(to, storage)
    for day in days:
        lines = [json.loads(line) for line in (bucket.get(f"{day}/events.jsonl") or b"").splitlines()]
        assert len({line["event_id"] for line in lines}) == A_DAY
    again = export(config, to, storage, "--format", "jsonl")
    assert (again.returncode, again.stderr.count("  50 events")) == (0, 0)
    bucket.remove(f"{max(days)}/events.jsonl")  # somebody tidied up
    assert export(config, to, storage, "--format", "jsonl").stderr.count("  50 events") == 1
    assert bucket.has(f"{max(days)}/events.jsonl")
    engine.ask(
        f"DELETE FROM analytics.api_events WHERE toDate(event_time) = '{max(days)}' AND user_id = 'user-1'",
        user=WRITER,
        lightweight_deletes_sync="2",
    )
    fewer = export(config, to, storage, "--format", "jsonl")
    assert fewer.returncode == 0, fewer.stderr
    assert there(storage, to)["days"][max(days)]["events"] < A_DAY
    other = export(config, to, storage)
    assert (other.returncode, "as jsonl: name another folder" in other.stderr) == (2, True)


def test_parquet_and_what_storage_refuses(engine: EngineProcess, storage: dict[str, str], tmp_path: Path) -> None:
    config = write_settings(tmp_path, embedded(engine))
    done = export(config, "s3://lake/parquet/", storage, "--since", "3650d")
    assert done.returncode == 0, done.stderr
    (day, *_) = there(storage, "s3://lake/parquet")["days"]
    content = Bucket("s3://lake/parquet", storage).get(f"{day}/events-00001.parquet") or b""
    assert (content[:4], content[-4:]) == (b"PAR1", b"PAR1")
    wrong = export(config, "s3://lake/x", {**storage, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert wrong.returncode == 1
    assert "refuses GET /lake/x/export.json: 403" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    nowhere = export(config, "s3://nobodys/x", storage)
    assert (nowhere.returncode, "refuses PUT /nobodys/x/" in nowhere.stderr) == (1, True)
    away = export(config, "s3://lake/x", {**storage, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"})
    assert (away.returncode, "does not answer" in away.stderr) == (1, True)
    unsaid = export(config, "s3://lake/x", {"AWS_ACCESS_KEY_ID": ""})
    assert (unsaid.returncode, "set AWS_ACCESS_KEY_ID" in unsaid.stderr) == (2, True)
