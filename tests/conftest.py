"""Shared fixtures: a real bridge process with its embedded store, and a guard against errors that were only logged."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from bridge import BridgeProcess
from engine_process import EngineProcess

# On a developer's machine every run tries new examples; in CI the same ones: a change is judged by its own faults.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


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
