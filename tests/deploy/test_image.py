"""The image, built by the Dockerfile's own lines and run as compose runs it: reachable, closed, home on its volume."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import eventually
from image import ADDRESS, Builder, Container

pytestmark = [pytest.mark.tools, pytest.mark.process]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    base, work = Path(os.environ["DEBIAN_ROOT"]), tmp_path_factory.mktemp("image")
    yield Builder(base, work, base.parent / "pip-cache")
    shutil.rmtree(work)  # most of a gigabyte


@pytest.fixture
def containers(builder: Builder, tmp_path: Path) -> Iterator[list[Container]]:
    """What a test starts is ended with it."""
    started: list[Container] = []
    yield started
    for container in started:
        container.stop(signal.SIGKILL)


def rows(container: Container, sql: str) -> list[dict[str, int]]:
    asked = container.exec("weighbridge", "query", sql, "--format", "json")
    assert asked.returncode == 0, asked.stderr
    found: list[dict[str, int]] = json.loads(asked.stdout)
    return found


COUNT = "SELECT count() AS n, uniqExact(event_id) AS different FROM api_events"


def test_a_bridge_lives_in_its_image_and_outlives_it(
    builder: Builder, containers: list[Container], tmp_path: Path
) -> None:
    """Serve, demo, query, kill -9, a new container on the same volume, SIGTERM."""
    volume = tmp_path / "volume"
    first = Container(builder, "embedded", tmp_path / "first", volume)
    containers.append(first)
    first.start()
    first.wait_until_healthy()

    status = first.status()
    assert (status["Uid"].split(), status["NoNewPrivs"]) == (["10001"] * 4, "1")
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    for path in ("/etc/x", "/opt/weighbridge/x", "/x"):
        assert "Read-only file system" in first.exec("touch", path).stderr
    assert first.exec("touch", "/tmp/x", "/var/lib/weighbridge/x").returncode == 0
    assert oct(volume.stat().st_mode & 0o777) == "0o700"

    ask = f"import urllib.request as u; print(u.urlopen('http://{ADDRESS}:13133/metrics').read().decode())"
    assert "weighbridge_spool_bytes" in first.exec("python", "-c", ask).stdout  # as Prometheus asks, from outside
    refused = first.exec("python", "-c", ask.replace(ADDRESS, "bridge-1"))
    assert "421" in refused.stderr  # by a name that nobody allowed

    shown = first.exec("weighbridge", "demo", "--requests", "40")
    assert shown.returncode == 0, shown.stderr
    before = rows(first, COUNT)[0]
    assert before["n"] == before["different"] >= 40
    assert first.exec("weighbridge", "check").returncode == 0

    first.stop(signal.SIGKILL)
    second = Container(builder, "embedded", tmp_path / "second", volume)
    containers.append(second)
    second.start()
    second.wait_until_healthy()
    after = rows(second, COUNT)[0]
    assert after["n"] == after["different"] >= before["n"]
    assert second.exec("weighbridge", "demo", "--requests", "10").returncode == 0
    assert rows(second, COUNT)[0]["n"] > after["n"]
    assert second.stop() == 0
    assert "stopped, " in second.log.read_text()


def test_the_small_image_has_every_destination_but_the_engine(
    builder: Builder, containers: list[Container], tmp_path: Path
) -> None:
    bare = Container(builder, "small", tmp_path / "bare", tmp_path / "volume-1")
    containers.append(bare)
    bare.start()
    assert bare.stop(0) == 1
    assert "the embedded store needs the Python package `chdb-core`" in bare.log.read_text()

    settings = tmp_path / "own.yaml"
    settings.write_text(
        "exporter: {sinks: [{name: files, type: jsonlines, path: /var/lib/weighbridge/events.jsonl},\n"
        "  {name: topic, type: kafka, brokers: ['127.0.0.1:1'], topic: events, backlog_bytes: 1000000}]}\n"
    )
    own = {"WEIGHBRIDGE_CONFIG": "/etc/weighbridge/weighbridge.yaml"}
    small = Container(builder, "small", tmp_path / "small", tmp_path / "volume-2", **own)
    containers.append(small)
    small.start(settings)
    small.wait_until_healthy()  # without receiver.endpoint of its own it listens where the image says
    assert small.exec("weighbridge", "demo", "--requests", "5").returncode in (0, 1)  # there is no store to look in
    events = tmp_path / "volume-2" / "events.jsonl"
    eventually(lambda: events.exists() and len(events.read_text().splitlines()) > 5, "the file has the events")
    assert small.stop() == 0


def test_a_receiver_that_nobody_reaches_is_not_healthy(
    builder: Builder, containers: list[Container], tmp_path: Path
) -> None:
    settings = tmp_path / "own.yaml"
    settings.write_text(
        "receiver: {endpoint: '127.0.0.1:4318'}\nexporter: {sinks: [{name: nowhere, type: blackhole}]}\n"
    )
    own = {"WEIGHBRIDGE_CONFIG": "/etc/weighbridge/weighbridge.yaml"}
    hidden = Container(builder, "small", tmp_path / "hidden", tmp_path / "volume", **own)
    containers.append(hidden)
    hidden.start(settings)
    alive = (
        "import http.client as h; c = h.HTTPConnection('127.0.0.1:13133'); c.request('GET', '/readyz'); c.getresponse()"
    )

    eventually(lambda: hidden.exec("python", "-c", alive).returncode == 0, "the bridge is up")
    asked = hidden.healthy()
    assert (asked.returncode, "receiver.endpoint cannot be reached" in asked.stderr) == (1, True)
