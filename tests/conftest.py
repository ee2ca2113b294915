"""Shared fixtures: a real bridge process with its embedded store, and a guard against errors that were only logged."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from bridge import BridgeProcess
from engine_process import EngineProcess

# On a developer's machine every run tries new examples; in CI the same ones: a change is judged by its own faults.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


# A test that starts a process is marked `process`, and `make test-fast` leaves it out: all of a file with one of the
# starters, or that take one of the fixtures. What else starts one must say so itself.
STARTERS = ("subprocess", "BridgeProcess", "EngineProcess", "run_cli")
PROCESS_FIXTURES = frozenset(("bridge", "own_bridge", "engine", "clean"))
STARTS = frozenset(("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty"))
_started: list[str] = []  # what the running test has started


def _note_start(event: str, args: tuple[Any, ...]) -> None:
    if event in STARTS:
        _started.append(event)


sys.addaudithook(_note_start)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        module = getattr(item, "module", None)
        fixtures = set(getattr(item, "fixturenames", ()))
        starts = any(hasattr(module, name) for name in STARTERS) or fixtures & PROCESS_FIXTURES
        if starts or "process" in item.path.parts:
            item.add_marker(pytest.mark.process)


@pytest.fixture(autouse=True)
def _only_marked_tests_start_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    _started.clear()
    yield
    marked = request.node.get_closest_marker("process") is not None
    assert marked or not _started, "starts a process: mark it with pytest.mark.process"


@pytest.fixture(autouse=True)
def _no_error_is_only_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A task that died is a failure, even when the test's own assertions hold."""
    yield
    lost = [
        record.getMessage() for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.ERROR
    ]
    assert lost == []


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    """A running bridge as `make run` starts it, on free ports; shared by the tests of one file."""
    process = BridgeProcess(tmp_path_factory.mktemp("bridge"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def own_bridge(tmp_path: Path) -> Iterator[BridgeProcess]:
    """A bridge that a test may kill, not yet started."""
    process = BridgeProcess(tmp_path)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """A real engine process on an empty folder, shared by the tests of one file."""
    process = EngineProcess(tmp_path_factory.mktemp("sink"))
    yield process
    assert process.stop() == 0


@pytest.fixture
def clean(engine: EngineProcess) -> EngineProcess:
    """The same without the store's database."""
    engine.client().command("DROP DATABASE IF EXISTS analytics SYNC")
    return engine
